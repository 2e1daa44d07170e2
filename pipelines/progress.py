"""What a person sees of a night that runs in this process: the current step, and afterwards what each step took."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

_SAMPLE_S = 0.05
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class StepCost:
    """Wall time and peak resident memory of one step of a run."""

    step: str
    wall_s: float
    peak_rss_mib: float


class _MessageHandler(logging.Handler):
    def __init__(self, on_message: Callable[[str], None]) -> None:
        super().__init__(logging.DEBUG)
        self.on_message = on_message

    def emit(self, record: logging.LogRecord) -> None:
        meta = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        if event is None and record.levelno >= logging.INFO:
            self.on_message(str(meta.get("orig_message", record.getMessage())))
        elif event is not None and event.event_type_value == "STEP_START":
            self.on_message(event.step_key)


def progress_logger(on_message: Callable[[str], None]) -> dg.LoggerDefinition:
    """A Dagster logger that hands on the names of steps that start and what steps say themselves."""

    @dg.logger(config_schema=None, description="The progress line of a night that runs in the foreground.")
    def progress(_context: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.Logger("fleetopt.progress", logging.DEBUG)
        logger.addHandler(_MessageHandler(on_message))
        return logger

    return progress


class MemorySamples:
    """Resident memory of this process over time."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, float]] = []

    def peak_mib(self, start: float, end: float) -> float:
        """Highest sample between two moments (epoch seconds), MiB; nan if there is none."""
        return max(
            (rss for at, rss in self._samples if start - _SAMPLE_S <= at <= end + _SAMPLE_S), default=float("nan")
        )

    def add(self) -> None:
        """Take a sample now."""
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmRSS:"):
                self._samples.append((time.time(), int(line.split()[1]) / 1024))


@contextmanager
def sampled_memory() -> Iterator[MemorySamples]:
    """Sample the memory of this process in the background."""
    samples, stop = MemorySamples(), threading.Event()

    def run() -> None:
        while not stop.wait(_SAMPLE_S):
            samples.add()

    thread = threading.Thread(target=run, name="memory-samples", daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


def step_costs(instance: dg.DagsterInstance, run_id: str, samples: MemorySamples) -> list[StepCost]:
    """Wall time and peak memory of the steps of a run, in the order they started."""
    spans = [
        (stats.start_time, stats.end_time, stats.step_key)
        for stats in instance.get_run_step_stats(run_id)
        if stats.start_time is not None and stats.end_time is not None
    ]
    return [StepCost(step, end - start, samples.peak_mib(start, end)) for start, end, step in sorted(spans)]
