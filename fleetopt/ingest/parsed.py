"""What becomes of a batch of records once its fields are read: one row per record."""

from typing import Final

import polars as pl

from fleetopt.schemas import OBSERVED, UTC_MICROSECONDS

SERVED: Final = "served"
FAILED: Final = "failed"
ABORTED: Final = "aborted"
CACHE_HIT: Final = "cache_hit"
OTHER_MODEL: Final = "other_model"
OUTCOMES: Final = (SERVED, FAILED, ABORTED, CACHE_HIT, OTHER_MODEL)

PARSED_SCHEMA: Final = pl.Schema(
    {
        "arrival_time": UTC_MICROSECONDS,
        "logged_time": UTC_MICROSECONDS,
        "is_finish_time": pl.Boolean(),
        "prompt_tokens": pl.Int64(),
        "output_tokens": pl.Int64(),
        "outcome": pl.String(),
        **{column.name: column.dtype for column in OBSERVED},
        "archetype": pl.String(),
        "id_hi": pl.Int64(),
        "id_lo": pl.Int64(),
        "parent_hi": pl.Int64(),
        "parent_lo": pl.Int64(),
        "reason": pl.String(),
        "is_other": pl.Boolean(),
    }
)
"""What `fleetopt.ingest.interpret.interpret` makes of a batch, a row per record, in order.

``arrival_time`` is null only where ``reason`` or ``is_other`` says why; a row with a reason has it where it could be
read. ``logged_time`` is the time as the line has it (a finish where the log has those); ``is_finish_time`` marks
arrivals that are finish times for want of a duration. ``prompt_tokens`` and ``output_tokens`` are never null
for outcome ``served``; for the others they may be. ``outcome`` is null where there is a reason or the line is no
request. Of a relative clock, times are those of a clock that never restarts; `fleetopt.ingest.segments` shifts them.
``id_*`` and ``parent_*`` are keyed 128-bit hashes of the request's id and its parent's, null where it has none.
Of other lines that are notes (`Mapping.note_when`), ``id_*``, ``archetype`` and ``logged_time`` are given.
"""
