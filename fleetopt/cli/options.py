"""Options that several commands share, and checks of their values."""

from typing import Annotated

import typer

from fleetopt.errors import InputError

MOST_REPLICAS = 100_000

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output and nothing else there.")]


def require_range(option: str, value: float, low: float, high: float, *, open_ends: bool = False) -> None:
    """Check that the value of an option is between two bounds.

    Raises
    ------
    InputError
        If it is not, or is not a number.
    """
    inside = low < value < high if open_ends else low <= value <= high
    if not inside:
        raise InputError(
            f"{option} {_plain(value)}: has to be between {_plain(low)} and {_plain(high)}"
            f"{', both excluded' if open_ends else ''}"
        )


def _plain(value: float) -> str:
    """Whole numbers with all their digits, others short."""
    return f"{value:,d}" if isinstance(value, int) else f"{value:g}"
