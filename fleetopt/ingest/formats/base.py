"""What a log format is: how to tell it, and how to turn its lines into arrivals and lengths."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from fleetopt.schemas import UTC_MICROSECONDS

PARSED_SCHEMA = pl.Schema(
    (
        ("arrival_time", UTC_MICROSECONDS),
        ("prompt_tokens", pl.Int64()),
        ("output_tokens", pl.Int64()),
        ("ttft_s", pl.Float64()),
        ("reason", pl.String()),
        ("is_header", pl.Boolean()),
        ("keeps_text", pl.Boolean()),
    )
)
"""What a parser makes of each line.

``reason`` is null or a key of `fleetopt.ingest.reasons.REASONS`; with a reason, ``arrival_time`` is still given where
it could be read. ``is_header`` marks lines that are no record at all. ``keeps_text`` says that a quarantined line may
be kept as it is, because nothing in it can be a prompt.
"""

Parser = Callable[[pl.Series], pl.DataFrame]
"""Takes consecutive lines of one file (String, without line ends), returns `PARSED_SCHEMA`, a row per line in order.

A parser sees the batches of one file in order and may remember what it needs between them, such as the last header.
"""


@dataclass(frozen=True, slots=True)
class Clock:
    """How to read the times of a file.

    Attributes
    ----------
    timezone : str
        IANA zone of times that carry none.
    start : datetime.datetime or None
        Where a relative clock starts, with its zone.
    """

    timezone: str
    start: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFormat:
    """One log format of line-wise text.

    Attributes
    ----------
    name, description : str
        Name in configurations; one sentence for `fleetopt formats`.
    example : str
        A line, or a header and a line.
    holds_text : bool
        Whether a line can hold prompts or other text; if so no raw line is ever kept.
    has_relative_clock : bool
        Whether times count from a start that the lines do not hold.
    recognises : callable
        Whether some lines (bytes, without line ends) from the beginning of a file are of this format.
    parser : callable
        Makes a fresh parser for one file.
    """

    name: str
    description: str
    example: str
    holds_text: bool
    has_relative_clock: bool
    recognises: Callable[[list[bytes]], bool]
    parser: Callable[[Clock], Parser]
