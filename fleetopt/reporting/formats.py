"""The log formats as a list for the terminal, and as JSON."""

from collections.abc import Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fleetopt.ingest.formats import LogFormat
from fleetopt.ingest.formats.refused import REFUSED
from fleetopt.ingest.mapping import Mapping

_HOLDS: Final = {
    "ids": ("request_id",),
    "outcome": ("status", "error", "cache_hit"),
    "time to first token": ("ttft", "first_token_time"),
    "end-to-end time": ("e2e", "finish_time"),
    "queue time": ("queue",),
    "cached tokens": ("cached_tokens",),
    "model": ("model",),
    "tenant": ("tenant",),
    "session": ("session",),
    "traffic class": ("archetype",),
    "finish reason": ("finish_reason",),
}
"""What a format may hold beside times and lengths, and the fields of a mapping that say so."""


def formats_list(formats: Sequence[LogFormat]) -> RenderableType:
    """Formats one below the other: what each is, its clock, what it holds, and an example; then what is refused.

    Parameters
    ----------
    formats : sequence of LogFormat
    """
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 1, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(ratio=1, overflow="fold")
    for log_format in formats:
        held = _held(log_format.mapping)
        facts = f"Clock: {_clock(log_format.mapping)}." + (f" Also holds: {', '.join(held)}." if held else "")
        example = Text(log_format.example, style="cyan", overflow="fold")
        table.add_row(log_format.name, Group(Text(log_format.description), Text(facts, style="dim"), example))
    refused = [Text(f"{each.name}: {each.advice}.", style="dim") for each in REFUSED.values()]
    return Padding(Group(table, Text("\nRecognised, but of no use:", style="bold"), *refused), (1, 0))


def formats_json(formats: Sequence[LogFormat]) -> list[dict[str, Any]]:
    """What the list says."""
    return [
        {
            "name": log_format.name,
            "description": log_format.description,
            "clock": _clock(log_format.mapping),
            "holds": _held(log_format.mapping),
            "keeps_bad_lines": not log_format.holds_text,
            "example": log_format.example,
        }
        for log_format in formats
    ]


def _clock(mapping: Mapping) -> str:
    if mapping.time.is_relative:
        return "relative, from a start that has to be declared"
    if mapping.time_is == "arrival":
        return "absolute"
    return "absolute, at the finish; arrivals by the end-to-end time"


def _held(mapping: Mapping) -> list[str]:
    return [name for name, fields in _HOLDS.items() if any(getattr(mapping, field) for field in fields)]
