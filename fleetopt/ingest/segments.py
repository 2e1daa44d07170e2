"""Clocks that start again within a file: every run of lines between two starts is a segment with a start of its own."""

from datetime import datetime

import numpy as np
import polars as pl

from fleetopt.ingest.kernels.times import follow_clock
from fleetopt.ingest.parsed import PARSED_SCHEMA
from fleetopt.ingest.times import LATEST_US, microseconds
from fleetopt.schemas import UTC_MICROSECONDS

_TIMES = ("arrival_time", "logged_time")
_OF_ANY_ROW = {"logged_time", "id_hi", "id_lo", "parent_hi", "parent_lo", "reason", "is_other"}


class ClockSegments:
    """Moves the times of one file with a relative clock to where its segments stand.

    A time that is more than ``restart_s`` below the highest one of its segment so far begins a new segment; one that is
    less below is a line out of order. A segment starts where that is declared. One whose start is not follows on the
    latest time of the segment before: if its first time is within ``restart_s`` of the start of the clock, the clock
    starts there; else its first time stands ``restart_s`` after it, as lines out of order may be earlier by that much.
    So no line of a segment is sorted into the one before it. Lines without a time, and those that cannot be used, are
    of the segment above them: a broken line says nothing of the clock.

    Parameters
    ----------
    restart_s : float
        s
    starts : tuple of datetime.datetime
        Start of the first segment, as it was given to `fleetopt.ingest.interpret.interpret`, and of those after it as
        far as they are declared.

    Attributes
    ----------
    restarts : int
        How many segments began after the first.
    """

    def __init__(self, restart_s: float, starts: tuple[datetime, ...]) -> None:
        if not starts:
            raise ValueError("starts: the first segment needs one")
        self._restart_us = round(restart_s * 1_000_000)
        self._starts_us = np.array([microseconds(start) for start in starts], np.int64)
        self._state = np.array([-1, 0, 0], np.int64)

    @property
    def restarts(self) -> int:
        """How many segments began after the first."""
        return max(int(self._state[0]), 0)

    def shift(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Move the times of the next rows of the file.

        Parameters
        ----------
        frame : pl.DataFrame
            Rows with the columns of `fleetopt.ingest.parsed.PARSED_SCHEMA`, in the order of the file; ids, and whether
            they are other lines, play no part and may be missing.

        Returns
        -------
        pl.DataFrame
            The same rows; one that comes to lie after the year 2199 has the reason ``time_out_of_range``.
        """
        logged = frame["logged_time"].to_physical()
        moved_us = np.empty(len(frame), np.int64)
        is_known = (logged.is_not_null() & frame["reason"].is_null()).to_numpy()
        follow_clock(
            *(logged.fill_null(0).to_numpy(), is_known, self._restart_us, self._starts_us, LATEST_US + 1),
            *(self._state, moved_us),
        )
        if not moved_us.any():
            return frame
        moved = pl.Series(moved_us)
        shifted = frame.with_columns(
            (pl.col(name).to_physical() + moved).cast(UTC_MICROSECONDS).alias(name) for name in _TIMES
        )
        is_late = (shifted["arrival_time"].to_physical() > LATEST_US).fill_null(value=False)
        return _without_late(shifted, is_late) if is_late.any() else shifted


def _without_late(frame: pl.DataFrame, is_late: pl.Series) -> pl.DataFrame:
    """Leave of late rows what a row with a reason has."""
    reason = pl.when(is_late).then(pl.coalesce("reason", pl.lit("time_out_of_range"))).otherwise("reason")
    return frame.with_columns(
        reason.alias("reason"),
        *(pl.when(~is_late).then(name).alias(name) for name in PARSED_SCHEMA.names() if name not in _OF_ANY_ROW),
    )
