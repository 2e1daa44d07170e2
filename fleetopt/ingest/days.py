"""Which UTC day a line belongs to; every line of a file belongs to exactly one.

A line belongs to the UTC day of its arrival. In a file whose name gives a local date, a line of another local date
belongs to the UTC day of the file's local noon. A line without a readable time goes with the nearest line above it that
has one, else with the nearest below, else with the file's local noon.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl


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
    frames: Iterable[pl.DataFrame], *, timezone: str, local_date: date | None = None
) -> Iterator[pl.DataFrame]:
    """Add ``day`` to the lines of one file, as `fleetopt.ingest.lines.read_lines` yields them.

    Lines at the head of a file before its first readable time are held back until that time is seen.

    Parameters
    ----------
    frames : iterable of pl.DataFrame
        Consecutive lines of one file; ``arrival_time`` is needed.
    timezone : str
        IANA zone of the source.
    local_date : datetime.date, optional
        The date that the file's name gives.

    Yields
    ------
    pl.DataFrame
        The same rows in the same order with ``day`` (Date); null only if the file holds no readable time and has no
        date in its name.
    """
    last: date | None = None
    waiting: list[pl.DataFrame] = []
    for frame in frames:
        day = frame.select(_own_day(timezone, local_date)).to_series()
        known = day.drop_nulls()
        if known.is_empty() and last is None:
            waiting.append(frame)
            continue
        if last is None:
            last = known[0]
            yield from (held.with_columns(day=pl.lit(last)) for held in waiting)
            waiting = []
        day = day.forward_fill().fill_null(last)
        last = day[-1]
        yield frame.with_columns(day)
    only = None if local_date is None else noon_day(local_date, timezone)
    yield from (held.with_columns(day=pl.lit(only, dtype=pl.Date)) for held in waiting)


def _own_day(timezone: str, local_date: date | None) -> pl.Expr:
    arrival = pl.col("arrival_time")
    day = arrival.dt.date()
    if local_date is not None:
        is_outside = arrival.dt.convert_time_zone(timezone).dt.date() != local_date
        day = pl.when(is_outside).then(pl.lit(noon_day(local_date, timezone))).otherwise(day)
    return day.alias("day")
