"""Which UTC day a record belongs to; every record of a file belongs to exactly one.

A record belongs to the UTC day of its arrival. In a file whose name gives a local date, a record whose logged time is
of another local date belongs to the UTC day of the file's local noon; so does one that finished on the file's date but
arrived more than one date before, and one without a readable time. Where no name gives a date, a record without a
readable time goes with the nearest one above it that has one, else with the nearest below.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl

from fleetopt.errors import InputError
from fleetopt.ingest.parts import PART_SCHEMA

MAX_WAITING_ROWS: Final = 1_000_000
"""How many records may stand above the first one of a file that has a readable time."""

_OF_ANY_ROW: Final = {
    *("file", "line_number", "record_number", "byte_offset", "byte_length", "arrival_time"),
    *("key_hi", "key_lo", "has_id", "reason", "raw_text"),
}


def noon_day(local_date: date, timezone: str) -> date:
    """Return the UTC day of a local date's noon."""
    return datetime.combine(local_date, time(12), ZoneInfo(timezone)).astimezone(UTC).date()


def local_dates(day: date, timezone: str) -> tuple[date, ...]:
    """Return the local dates whose files can hold lines of a UTC day, in order."""
    zone = ZoneInfo(timezone)
    midnight = datetime.combine(day, time(), UTC)
    # Zones change their offset at most twice a day; every hour looked at is more than enough.
    overlapping = {(midnight + timedelta(hours=hour)).astimezone(zone).date() for hour in range(24)}
    overlapping.add((midnight + timedelta(days=1, microseconds=-1)).astimezone(zone).date())
    near = (day + timedelta(days=shift) for shift in range(-2, 3))
    # A zone that skipped a day (Pacific/Apia, 2011-12-30) gives that date's file to the day of its nominal noon.
    return tuple(sorted(overlapping | {local for local in near if noon_day(local, timezone) == day}))


def home_days(
    frames: Iterable[pl.DataFrame], *, file: str, timezone: str, local_date: date | None = None
) -> Iterator[tuple[date | None, pl.DataFrame]]:
    """Part the records of one file by their days.

    Records at the head of a file before its first readable time are held back until that time is seen.

    Parameters
    ----------
    frames : iterable of pl.DataFrame
        Consecutive records, as `fleetopt.ingest.reading.read_records` yields them, notes apart.
    file : str
        Name for messages.
    timezone : str
        IANA zone of the source.
    local_date : datetime.date, optional
        The date that the file's name gives.

    Yields
    ------
    tuple
        A day, and records of it in the order of the file; None only if the file holds no readable time and has no date
        in its name. Records that do not belong to the date in its name have a reason.

    Raises
    ------
    InputError
        If more than `MAX_WAITING_ROWS` records stand above the first readable time, and no name gives a date.
    """
    last: date | None = None
    waiting: list[pl.DataFrame] = []
    for read in frames:
        frame, days = _place(read, timezone, local_date)
        if last is None and days.null_count() == len(days):
            waiting.append(frame)
            if sum(held.height for held in waiting) > MAX_WAITING_ROWS:
                raise InputError(
                    f"{file}: none of its first {MAX_WAITING_ROWS:,} records has a readable time, so no day can be "
                    "given; is it of the declared format?"
                )
            continue
        if last is None:
            last = days.drop_nulls()[0]
        yield from ((last, held) for held in waiting)
        waiting = []
        days = days.forward_fill().fill_null(last)
        last = days[-1]
        yield from _by_day(frame, days)
    yield from ((None, held) for held in waiting)


def _by_day(frame: pl.DataFrame, days: pl.Series) -> Iterator[tuple[date | None, pl.DataFrame]]:
    if days.min() == days.max():
        yield days[0], frame
        return
    for day in days.unique(maintain_order=True):
        yield day, frame.filter(days == day)


def _place(frame: pl.DataFrame, timezone: str, local_date: date | None) -> tuple[pl.DataFrame, pl.Series]:
    """Give each record its day, null where none is known, and those that do not belong to the file's date a reason."""
    days = frame["arrival_time"].dt.date()
    if local_date is None:
        return frame, days
    home = pl.Series([noon_day(local_date, timezone)]).new_from_index(0, len(days))
    days = days.zip_with(days.is_not_null(), home) if days.null_count() else days
    logged = pl.coalesce("logged_time", "arrival_time").dt.convert_time_zone(timezone)
    is_outside = logged.dt.date() != local_date
    arrival = pl.col("arrival_time").dt.convert_time_zone(timezone)
    is_early = arrival.dt.date() < local_date - timedelta(days=1)
    outside, early = frame.select(is_outside.fill_null(value=False).alias("outside"), is_early.fill_null(value=False))
    if not (outside.any() or early.any()):
        return frame, days
    days = home.zip_with(outside | early, days)
    return _refuse(_refuse(frame, outside, "outside_day"), early, "arrived_long_before"), days


def _refuse(frame: pl.DataFrame, is_refused: pl.Series, reason: str) -> pl.DataFrame:
    """Give records a reason, where they have none, and leave of them what a record with a reason has."""
    return frame.with_columns(
        *(pl.when(~is_refused).then(name).alias(name) for name in PART_SCHEMA if name not in _OF_ANY_ROW),
        reason=pl.when(is_refused).then(pl.coalesce("reason", pl.lit(reason))).otherwise("reason"),
    )
