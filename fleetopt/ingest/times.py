"""Times and durations of a batch of records: from text and numbers to UTC, or the reason why not."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pyarrow as pa

from fleetopt.errors import InputError
from fleetopt.ingest.fields import TEXT
from fleetopt.ingest.kernels import numbers, times
from fleetopt.ingest.mapping import DurationField, TimeField
from fleetopt.ingest.reasons import REASON_CODE
from fleetopt.ingest.values import Quantities, Values

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
LATEST_US: Final = (datetime(2200, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND - 1
"""Latest time that is believed, us since 1970; the earliest is 0."""
MAX_DURATION_S: Final = 1_000_000
"""Longest duration that is believed, s."""

_DIGITS: Final = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_BUCKET_US: Final = 15 * 60 * 1_000_000
_YEAR_US: Final = 365 * 86_400_000_000
_NONEXISTENT: Final = 1 << 60
_AMBIGUOUS: Final = 1 << 61
_MIXED: Final = 1 << 62
"""In place of an offset: no instant shows the local time, two do, or that differs within a quarter of an hour."""

_REASON_OF: Final = np.array([0, REASON_CODE["missing_field"], *[REASON_CODE["bad_time"]] * 4], np.uint8)
_REASON_OF[numbers.TOO_LARGE] = REASON_CODE["time_out_of_range"]


@dataclass(frozen=True, slots=True)
class Times:
    """A time per record.

    Attributes
    ----------
    us : np.ndarray
        int64[n]: since 1970, UTC, us; means nothing where there is a reason.
    reason : np.ndarray
        uint8[n]: `REASON_CODE` of why there is none, or 0.
    """

    us: np.ndarray
    reason: np.ndarray

    @property
    def is_known(self) -> np.ndarray:
        """bool[n]."""
        return self.reason == 0


def microseconds(time: datetime) -> int:
    """Count the microseconds from 1970 to a time with a zone."""
    return (time - _EPOCH) // _MICROSECOND


def read_times(quantities: Quantities, field: TimeField, *, timezone: str, clock_start: datetime | None) -> Times:
    """Read a time of every record.

    Parameters
    ----------
    quantities : Quantities
    field : TimeField
        Text has zero to nine fractional digits, of which six count, and ``Z``, an offset, or neither. Numbers are read
        by their digits, those below a microsecond dropped. Other patterns are read as Polars reads them.
    timezone : str
        IANA zone of times that carry none.
    clock_start : datetime.datetime or None
        Where a relative clock starts.

    Raises
    ------
    InputError
        If the clock is relative and its start is not declared.
    """
    values = quantities.find(field.paths)
    if field.unit in _DIGITS:
        found = _counted_times(values, field, clock_start, quantities.is_text_number)
    elif field.unit == "iso":
        found = _iso_times(values, timezone)
    else:
        found = _pattern_times(values, field.unit, timezone)
    return in_range(found)


def in_range(found: Times) -> Times:
    """Give times outside the years 1970 to 2199 that reason."""
    # As unsigned numbers, those before 1970 are the largest.
    is_outside = (found.us.view(np.uint64) > np.uint64(LATEST_US)) & found.is_known
    if not is_outside.any():
        return found
    return Times(found.us, np.where(is_outside, np.uint8(REASON_CODE["time_out_of_range"]), found.reason))


def read_durations(quantities: Quantities, field: DurationField) -> np.ndarray:
    """Read a duration of every record as int64[n] nanoseconds, what is below one dropped.

    Returns
    -------
    np.ndarray
        -1 where there is none, or one that cannot be: no number, below zero, above `MAX_DURATION_S`.
    """
    ns, found = _decimals(quantities.find(field.paths), quantities.is_text_number, 9 - _DIGITS[field.unit])
    return np.where((found == numbers.READ) & (ns >= 0) & (ns <= MAX_DURATION_S * 10**9), ns, -1)


def _decimals(values: Values, is_text_number: bool, shift: int) -> tuple[np.ndarray, np.ndarray]:
    value, found = np.empty(len(values.start), np.int64), np.empty(len(values.start), np.uint8)
    numbers.read_decimals(
        *(values.data, values.start, values.end, values.kind, is_text_number, shift, 10**16, value, found)
    )
    return value, found


def _counted_times(values: Values, field: TimeField, clock_start: datetime | None, is_text_number: bool) -> Times:
    us, found = _decimals(values, is_text_number, 6 - _DIGITS[field.unit])
    reason = _REASON_OF[found]
    if field.is_relative:
        if clock_start is None:
            raise InputError(
                "the format counts time from a start that its lines do not hold; "
                "declare it (clock_start in the configuration, --start on the command line)"
            )
        reason[us < 0] = REASON_CODE["bad_time"]
        return Times(us + microseconds(clock_start), reason)
    return Times(us + microseconds(field.epoch) if field.epoch else us, reason)


def _iso_times(values: Values, timezone: str) -> Times:
    n = len(values.start)
    us, is_local, found = np.empty(n, np.int64), np.empty(n, np.bool_), np.empty(n, np.uint8)
    n_local = times.read_iso_times(values.data, values.start, values.end, values.kind, us, is_local, found)
    return _in_zone(Times(us, _REASON_OF[found]), is_local, timezone) if n_local else Times(us, _REASON_OF[found])


def _pattern_times(values: Values, pattern: str, timezone: str) -> Times:
    offsets, text = values.gathered()
    n = len(values.start)
    series = pl.Series(pa.LargeStringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(text)), dtype=pl.String)
    read = series.str.to_datetime(pattern, time_unit="us", strict=False, ambiguous="null")
    is_local = np.full(n, read.dtype.time_zone is None)  # type: ignore[attr-defined]
    reason = np.where(values.kind == TEXT, np.uint8(0), np.uint8(REASON_CODE["bad_time"]))
    reason[read.is_null().to_numpy()] = REASON_CODE["bad_time"]
    reason[offsets[1:] == offsets[:-1]] = REASON_CODE["missing_field"]
    return _in_zone(Times(read.to_physical().fill_null(0).to_numpy(), reason), is_local, timezone)


def _in_zone(local: Times, is_local: np.ndarray, timezone: str) -> Times:
    """Turn times of a zone into UTC, where they are local."""
    if timezone == "UTC":
        return local
    # Those far outside the range that is believed are left alone: calendars end.
    is_near = (local.us >= -_YEAR_US) & (local.us <= LATEST_US + _YEAR_US)
    rows = np.flatnonzero(is_local & is_near & local.is_known)
    if not len(rows):
        return local
    us, reason = local.us.copy(), local.reason.copy()
    offset = _offsets(local.us[rows], timezone)
    us[rows] -= offset
    reason[rows[offset == _NONEXISTENT]] = REASON_CODE["nonexistent_time"]
    reason[rows[offset == _AMBIGUOUS]] = REASON_CODE["ambiguous_time"]
    return Times(us, reason)


def _offsets(local_us: np.ndarray, timezone: str) -> np.ndarray:
    """Find how far a zone is ahead of UTC at each local time, us, `_NONEXISTENT` or `_AMBIGUOUS`.

    Clocks change at quarters of an hour, nearly without exception: where the first and the last microsecond of a
    quarter agree, all in it do; the others are asked one by one.
    """
    bucket = local_us // _BUCKET_US
    begins = np.flatnonzero(np.diff(bucket, prepend=bucket[0] - 1))
    distinct, of_run = np.unique(bucket[begins], return_inverse=True)
    known = np.array([_bucket_offset(int(each), timezone) for each in distinct], np.int64)
    offset = np.repeat(known[of_run], np.diff(begins, append=len(bucket)))
    for row in np.flatnonzero(offset == _MIXED):
        offset[row] = _offset_us(int(local_us[row]), timezone)
    return offset


@lru_cache(maxsize=1 << 16)
def _bucket_offset(bucket: int, timezone: str) -> int:
    first, last = (_offset_us(us, timezone) for us in (bucket * _BUCKET_US, (bucket + 1) * _BUCKET_US - 1))
    return first if first == last else _MIXED


def _offset_us(local_us: int, timezone: str) -> int:
    """Find the offset of one local time, by looking for the instants that show it."""
    zone = ZoneInfo(timezone)
    wall = (_EPOCH + local_us * _MICROSECOND).replace(tzinfo=None)
    offsets = set()
    for fold in (0, 1):
        instant = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
        if instant.astimezone(zone).replace(tzinfo=None) == wall:
            offsets.add(local_us - microseconds(instant))
    if len(offsets) == 1:
        return offsets.pop()
    return _AMBIGUOUS if offsets else _NONEXISTENT
