"""A second count of what a day's raw files hold: no code is shared with staging, and few slices are held."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl

from fleetopt.ingest.background import in_order

_COLUMNS = ("arrival_time", "key_lo", "has_id", "reason")
_THREADS = 2
_ODD = -7046029254386353131
"""2**64 / golden ratio, as a signed number: spreads times over all bits. Products and sums wrap."""


@dataclass(frozen=True, slots=True)
class Recount:
    """What the raw files of a source and day hold.

    Attributes
    ----------
    records : int
    unusable : int
        Those with a reason.
    distinct_usable, distinct_unusable : int
        Distinct ones, by key, whether it is of an id, time (and reason). Slices of time have no record in common, so
        their counts add up. Half of the key is compared: that two of 1.5 million records share it has probability 6e-8.
    has_ids : bool
        Whether a record has an id. Those with the same one repeat each other at different times too, so the distinct
        ones are then an upper bound of what is left when repeats are removed; without ids they are exactly that.
    """

    records: int = 0
    unusable: int = 0
    distinct_usable: int = 0
    distinct_unusable: int = 0
    has_ids: bool = False

    def __add__(self, other: "Recount") -> "Recount":
        return Recount(
            self.records + other.records,
            self.unusable + other.unusable,
            self.distinct_usable + other.distinct_usable,
            self.distinct_unusable + other.distinct_unusable,
            self.has_ids or other.has_ids,
        )


def recount(parts: Any) -> Recount:
    """Count the records of a source and day.

    Parameters
    ----------
    parts : fleetopt.ingest.parts.Parts
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        return sum(in_order(pool, (partial(_count_slice, parts, cut) for cut in parts.slices()), _THREADS), Recount())


def first_reasons(parts: Any, files: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Find, for each of some files, why its first unusable line could not be used."""
    for file in files:
        unusable = parts.scan().filter(pl.col("file") == file, pl.col("reason").is_not_null())
        first = unusable.select("line_number", "reason").bottom_k(1, by="line_number").collect(engine="streaming")
        yield from ((file, reason) for reason in first["reason"])


def _count_slice(parts: Any, cut: Any) -> Recount:
    return _count(pl.concat(list(parts.read(cut, _COLUMNS))))


def _count(rows: pl.DataFrame) -> Recount:
    time = pl.col("arrival_time").to_physical().fill_null(0)
    record = pl.col("key_lo") + time * _ODD + pl.col("has_id").cast(pl.Int64)
    usable = pl.col("reason").is_null()
    unusable = rows.height - int(rows.select(usable.sum()).item())
    bad = rows.filter(~usable) if unusable else rows.clear()
    good = rows.filter(usable) if unusable else rows
    return Recount(
        records=rows.height,
        unusable=unusable,
        distinct_usable=good.select(record.n_unique()).item(),
        distinct_unusable=bad.select(pl.struct(record, "reason").n_unique()).item(),
        has_ids=bool(rows["has_id"].any()),
    )
