"""A run of ``ingest_day`` in a process of its own, to be killed, starved of disk or set against another.

``python -m tests.dagster.interrupted_run ROOT DATA_NAME DAY [--kill-at N | --kill-after S] [--start-when FILE]``

Prints how many file events below the data directory the run had, and how long it took. ``--kill-at`` ends the process
with SIGKILL at the N-th of those events (files opened, renamed, linked, removed, directories made), ``--kill-after`` at
a moment in between, when Polars or delta-rs may be in the middle of a file. ``--start-when`` waits for a file.
"""

import argparse
import os
import signal
import sys
import threading
import time
from datetime import date
from pathlib import Path

import dagster as dg

from tests.dagster.project import Project

EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "shutil.copyfile"}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Events:
    """Counts file events below a directory, and kills the process at one of them."""

    def __init__(self, directory: Path, kill_at: int | None) -> None:
        self.directory = str(directory)
        self.kill_at = kill_at
        self.count = 0

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in EVENTS and any(self.is_below(argument) for argument in arguments[:2]):
            self.count += 1
            if self.count == self.kill_at:
                die()

    def is_below(self, argument: object) -> bool:
        return isinstance(argument, str | os.PathLike) and os.fspath(argument).startswith(self.directory)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("data_name")
    parser.add_argument("day", type=date.fromisoformat)
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("--kill-after", type=float)
    parser.add_argument("--start-when", type=Path)
    options = parser.parse_args()
    project = Project(options.root, options.data_name)
    events = Events(options.root / options.data_name, options.kill_at)
    with dg.DagsterInstance.ephemeral() as instance:
        project.defs.resolve_job_def("ingest_day")
        while options.start_when is not None and not options.start_when.exists():
            time.sleep(0.001)
        sys.addaudithook(events)
        if options.kill_after is not None:
            threading.Timer(options.kill_after, die).start()
        start = time.perf_counter()
        result = project.ingest(options.day, instance)
        print(events.count, time.perf_counter() - start, flush=True)
    return 0 if result.success else 1


if __name__ == "__main__":
    sys.exit(main())
