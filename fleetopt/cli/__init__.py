"""The `fleetopt` command. The pipeline adds the commands that need Dagster.

A module per command, which imports what it needs when it runs: `--help` and small commands start at once.
"""

import errno
import sys
from collections.abc import Callable
from typing import Annotated

import typer
from typer.exceptions import TyperException

from fleetopt.cli import compare, evidence, ingest, plan, profiles, reproduce, simulate, whatif
from fleetopt.cli.grouped import GroupedCommand
from fleetopt.cli.options import JsonOption
from fleetopt.errors import InputError

__all__ = ["JsonOption", "app", "run"]

app = typer.Typer(
    name="fleetopt",
    help="Plans the cheapest GPU fleet that keeps the P99 time to first token of an LLM service, and proves it.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_COMMANDS: tuple[tuple[Callable[..., None], type[GroupedCommand] | None], ...] = (
    (ingest.formats, None),
    (ingest.ingest, None),
    (plan.plan, GroupedCommand),
    (whatif.whatif, GroupedCommand),
    (simulate.simulate, None),
    (compare.compare, None),
    (reproduce.reproduce, None),
)
for command, shown_by in _COMMANDS:
    app.command(cls=shown_by)(command)
app.add_typer(profiles.profiles, name="profiles")
app.add_typer(evidence.evidence, name="evidence")


_INTERRUPTED = 130
"""Exit status of what is ended by Ctrl-C: 128 and the number of the signal."""


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        print(f"fleetopt {version('fleetopt')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """What stands before a command."""


def run(command: typer.Typer) -> None:
    """Run a command line; bad input is one line on standard error and exit status 2, a full disk the same and 1."""
    try:
        status = command(sys.argv[1:] or ["--help"], standalone_mode=False)
        if status == _INTERRUPTED:  # typer turns an interrupt into this status and says nothing
            raise KeyboardInterrupt
    except (InputError, TyperException) as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        print(f"fleetopt: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EIO}:
            raise
        print(f"fleetopt: the output cannot be written: {error.strerror}", file=sys.stderr)
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        print("fleetopt: interrupted; no file is left half-written", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    sys.exit(status or 0)
