"""Requests, repeats, unusable records: every record of a day is one of them, however files were cut and lines ordered.

What is a repeat: records without an id repeat each other where their bytes and their times are the same; of records
with an id, each that is within the horizon of the one before it with the same id repeats it. Of repeats the earliest
counts; among those of one time, a fixed order of what they say decides, so that neither the order of files and lines
nor the cuts between slices matter. Records that could not be used are compared among those of the same reason.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import numpy as np
import polars as pl

from fleetopt.ingest.parsed import SERVED
from fleetopt.ingest.parts import PART_SCHEMA, SLICE_ROWS, Parts, Slice
from fleetopt.schemas import QUARANTINED_REQUESTS, UTC_MICROSECONDS

QUARANTINE_SCHEMA: Final = pl.Schema(
    {name: dtype for name, dtype in QUARANTINED_REQUESTS.schema.items() if name not in {"day", "source"}}
)
"""Quarantined records beside their files' hashes, before they are given a day and a source."""

_GROUP: Final = ("key_lo", "key_hi", "has_id", "reason")
_BEFORE_ALL: Final = -(1 << 62)  # no time and no length is that; of a key it is as good as any value
_CARRIED: Final = ("key_lo", "key_hi", "reason", "arrival_time")
_PLACE: Final = ("file", "line_number", "record_number", "byte_offset")
_CONTENT: Final = (
    "output_tokens",
    *(name for name in PART_SCHEMA if name not in {*_GROUP, *_PLACE, "arrival_time", "output_tokens"}),
)


@dataclass(frozen=True, slots=True)
class Staged:
    """A slice, parted. Its rows have the columns of `PART_SCHEMA`, by arrival time, and by key where that is the same.

    Attributes
    ----------
    cut : Slice
    requests : pl.DataFrame
        Those that GPUs served.
    unserved : pl.DataFrame
        Those of other outcomes.
    quarantined : pl.DataFrame
        Records that could not be used, each once.
    lines : int
        Records in all: ``requests + unserved + quarantined + duplicates``. Records whose key is the parent of another
        are none; they are left out.
    duplicates : int
        Records that repeat another.
    unusable : int
        Records that could not be used, repeats too.
    """

    cut: Slice
    requests: pl.DataFrame
    unserved: pl.DataFrame
    quarantined: pl.DataFrame
    lines: int
    duplicates: int
    unusable: int


def stage(
    parts: Parts,
    day: date,
    *,
    horizon_s: float,
    before: Parts | None = None,
    max_rows: int = SLICE_ROWS,
) -> Iterator[Staged]:
    """Part the records of a source and day, a slice of time after another.

    Parameters
    ----------
    parts : Parts
        The records.
    day : datetime.date
        UTC day.
    horizon_s : float
        Records with the same id repeat each other up to this far apart, s; what a line says of a request by its id
        reaches as far.
    before : Parts, optional
        The records of the day before, as far as they are known: an id may be repeated across midnight, and a line
        before it may say something of a request after it.
    max_rows : int
        Rows of a slice.

    Yields
    ------
    Staged
        In order of time; records without a time come last.
    """
    horizon = timedelta(seconds=horizon_s)
    midnight = datetime.combine(day, time(), UTC)
    carried = PART_SCHEMA.to_frame().select(_CARRIED)
    if before is not None:
        carried = before.read_ids(midnight - horizon).select(_CARRIED)
    days = (parts,) if before is None else (before, parts)
    for cut in parts.slices(max_rows):
        staged, carried = _stage(days, cut, carried, horizon, max_rows)
        yield staged
        del staged


def _stage(
    days: Sequence[Parts], cut: Slice, carried: pl.DataFrame, horizon: timedelta, max_rows: int
) -> tuple[Staged, pl.DataFrame]:
    """Part a slice of the last of some days; also return the ids that later ones may repeat."""
    rows, n_rows, n_unusable = _read(days[-1], cut, max_rows)
    distinct = _distinct(rows, carried, horizon)
    carried = _carry(rows, carried, cut, horizon)
    joined = _with_notes(_in_order(distinct), days, cut, horizon)
    n_parents = distinct.height - joined.height
    return _part(joined, cut, n_rows - n_parents, n_rows - distinct.height, n_unusable), carried


def _read(parts: Parts, cut: Slice, max_rows: int) -> tuple[pl.DataFrame, int, int]:
    """Read the rows of a slice in order of time; also count them, and those that could not be used.

    A record that is repeated so often that its slice holds too much is thinned to one of each time.
    """
    held: list[pl.DataFrame] = []
    n_rows = n_unusable = 0
    for frame in parts.read(cut):
        n_rows += frame.height
        n_unusable += frame.height - frame["reason"].null_count()
        held.append(frame)
        if sum(each.height for each in held) > max_rows:
            held = [_distinct(_by_time(held), PART_SCHEMA.to_frame(), timedelta(0))]
    return _by_time(held), n_rows, n_unusable


def _by_time(frames: list[pl.DataFrame]) -> pl.DataFrame:
    # An empty frame beside them would make polars spell out columns that have one value throughout.
    rows = pl.concat(frames, rechunk=True) if frames else PART_SCHEMA.to_frame()
    return rows if rows["arrival_time"].is_sorted() else rows.sort("arrival_time", maintain_order=True)


def _part(rows: pl.DataFrame, cut: Slice, lines: int, duplicates: int, unusable: int) -> Staged:
    usable, quarantined = rows, rows.clear()
    if unusable:
        usable = rows.filter(pl.col("reason").is_null())
        quarantined = rows.filter(pl.col("reason").is_not_null())
    requests, unserved = usable, usable.clear()
    is_served = usable["outcome"] == SERVED
    if not is_served.all():
        requests, unserved = usable.filter(is_served), usable.filter(~is_served)
    return Staged(cut, requests, unserved, quarantined, lines, duplicates, unusable)


def _distinct(rows: pl.DataFrame, carried: pl.DataFrame, horizon: timedelta) -> pl.DataFrame:
    """Leave out the rows, given in order of time, that repeat one of them or of the slices before."""
    candidates = _candidates(rows, carried)
    if not len(candidates):
        return rows
    repeats = _repeats(rows[candidates].with_columns(index=pl.Series(candidates)), carried, horizon)
    return rows.filter(~_mask(repeats, rows.height)) if len(repeats) else rows


def _candidates(rows: pl.DataFrame, carried: pl.DataFrame) -> np.ndarray:
    """Find the rows that may repeat another or be repeated: few, where logs hold no repeats.

    Without an id it takes the same time, so only rows next to each other come into question. Half of the key is enough
    to tell the others apart.
    """
    candidates = _tied(rows)
    if rows["has_id"].any():
        keys = pl.concat([rows["key_lo"], carried["key_lo"]]).is_duplicated()[: rows.height]
        return np.flatnonzero(keys.to_numpy() & (rows["has_id"].to_numpy() | _mask(candidates, rows.height)))
    return candidates[rows["key_lo"][candidates].is_duplicated().to_numpy()] if len(candidates) else candidates


def _tied(rows: pl.DataFrame) -> np.ndarray:
    """Positions of the rows, in order of time, that have the time of a neighbour; of rows without a time, all."""
    if rows["arrival_time"].null_count():
        return np.arange(rows.height)
    times = rows["arrival_time"].to_physical().to_numpy()
    equals_next = times[1:] == times[:-1]
    if not equals_next.any():
        return np.empty(0, dtype=np.int64)
    tied = np.zeros(rows.height, dtype=np.bool_)
    tied[1:] |= equals_next
    tied[:-1] |= equals_next
    return np.flatnonzero(tied)


def _mask(positions: np.ndarray, n: int) -> np.ndarray:
    mask = np.zeros(n, dtype=np.bool_)
    mask[positions] = True
    return mask


def _repeats(candidates: pl.DataFrame, carried: pl.DataFrame, horizon: timedelta) -> np.ndarray:
    """Find the ``index`` of candidates that repeat another one, or a row of the slices before."""
    # Records without an id that are equal in bytes say the same, and only their places tell them apart.
    content = _CONTENT if candidates["has_id"].any() else ()
    if carried.height and content:
        met = carried.join(candidates.filter("has_id"), on="key_lo", how="semi")
        candidates = pl.concat([met.with_columns(has_id=True, index=pl.lit(-1)), candidates], how="diagonal_relaxed")
    index = candidates["index"].to_numpy()
    group = [_rank(candidates[name]) for name in _GROUP]
    times = _rank(candidates["arrival_time"])
    ranks = [_rank(candidates[name]) for name in (*content, *_PLACE) if _is_varied(candidates[name])]
    order = np.lexsort([*reversed(ranks), times, *reversed(group)])
    is_same = np.logical_and.reduce([np.diff(key[order]) == 0 for key in group])
    reach = np.where(candidates["has_id"].to_numpy()[order[1:]], horizon // timedelta(microseconds=1), 0)
    repeats = index[order[1:][is_same & (np.diff(times[order]) <= reach)]]
    return repeats[repeats >= 0]


def _rank(values: pl.Series) -> np.ndarray:
    """Make numbers that order as the values do, nulls first; more output tokens before less."""
    if values.name == "output_tokens":
        values = -values
    if values.dtype in (pl.String, pl.Boolean, pl.Float64):
        values = values.rank("dense").cast(pl.Int64)
    physical = values.to_physical()
    return physical.fill_null(_BEFORE_ALL).to_numpy() if physical.null_count() else physical.to_numpy()


def _is_varied(values: pl.Series) -> bool:
    """Whether an order can depend on a column: not if it has one value throughout."""
    return not values.eq_missing(values.new_from_index(0, len(values))).all()


def _carry(rows: pl.DataFrame, carried: pl.DataFrame, cut: Slice, horizon: timedelta) -> pl.DataFrame:
    """Keep the ids of the last horizon for the slices that follow."""
    if cut.end_us is None or not (carried.height or rows["has_id"].any()):
        return carried
    end = pl.lit(cut.end_us, dtype=pl.Int64).cast(UTC_MICROSECONDS)
    # The other pieces of the same minutes begin where this one does.
    until = end if cut.is_last_piece else pl.lit(cut.start_us, dtype=pl.Int64).cast(UTC_MICROSECONDS)
    recent = pl.col("arrival_time") >= until - horizon
    return pl.concat([carried.filter(recent), rows.filter(recent & pl.col("has_id")).select(_CARRIED)])


def _in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Order rows of the same time by what they say, and then by their keys: not by where they stand."""
    tied = _tied(rows)
    if not len(tied):
        return rows
    # Half of a key is enough: two that share it and the time are one in 2**64.
    by = ("reason", "key_lo", "output_tokens", "prompt_tokens", "arrival_time")
    among = rows.select(by)[tied]
    order = np.arange(rows.height)
    order[tied] = tied[np.lexsort([_rank(among[name]) for name in by])]
    return rows[order]


def _with_notes(rows: pl.DataFrame, told: Sequence[Parts], cut: Slice, horizon: timedelta) -> pl.DataFrame:
    """Leave out requests that are the parents of others, and give those that notes label their traffic class."""
    if not any(parts.notes for parts in told) or cut.start_us is None or not rows["has_id"].any():
        return rows
    first, last = rows["arrival_time"][0], rows["arrival_time"][-1]
    notes = pl.concat(parts.read_notes(first - horizon, last + horizon) for parts in told)
    rows = rows.with_row_index("index")
    keyed = rows.lazy().filter(pl.col("has_id"), pl.col("reason").is_null())
    gap = (pl.col("time") - pl.col("arrival_time")).abs()
    met = (
        keyed.select("index", "key_hi", "key_lo", "arrival_time")
        .join(notes.lazy(), on=["key_hi", "key_lo"])
        .filter(gap <= horizon)
        .sort("index", gap, "time", "archetype", nulls_last=True)
        .collect()
    )
    parents = met.filter("is_parent").select("index").unique()
    labels = met.filter(pl.col("archetype").is_not_null()).unique("index", keep="first", maintain_order=True)
    return (
        rows.join(parents, on="index", how="anti", maintain_order="left")
        .join(labels.select("index", label="archetype"), on="index", how="left", maintain_order="left")
        .with_columns(archetype=pl.coalesce("archetype", "label"))
        .select(PART_SCHEMA.names())
    )


def quarantine_rows(rows: pl.DataFrame, hashes: Mapping[str, str]) -> pl.DataFrame:
    """Give quarantined records the hashes of their files (by name) and of themselves; see `QUARANTINE_SCHEMA`."""
    halves = zip(rows["key_hi"].to_list(), rows["key_lo"].to_list(), strict=True)
    return rows.with_columns(
        file_hash=pl.col("file").replace_strict(hashes, return_dtype=pl.String),
        record_hash=pl.Series([f"{high % 2**64:016x}{low % 2**64:016x}" for high, low in halves], dtype=pl.String),
    ).select(QUARANTINE_SCHEMA.names())
