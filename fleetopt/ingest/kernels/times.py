"""Times as text, and clocks that start again."""

import numpy as np
from numba import njit

from fleetopt.compiled import compiled

READ, ABSENT, UNREADABLE = range(3)
"""What became of a value; the same numbers as those of `fleetopt.ingest.kernels.numbers`."""

_NULL, _TEXT = 1, 2
_DATE_BYTES, _SECONDS_END = 10, 19
_MOST_FRACTION_DIGITS = 9
_MOST_OFFSET_HOURS = 14
_NO_DATE, _NO_OFFSET = -(10**9), -10_000
_SECOND_US = 1_000_000
_DAY_US = 86_400 * _SECOND_US

# Eight bytes as one number; the first is the lowest.
_HIGHS = np.uint64(0x8080808080808080)
_ZEROS = np.uint64(0x3030303030303030)
_ZERO_CLOCK = np.uint64(0x30303A30303A3030)
_ABOVE_NINE = np.uint64(0x7676767676767676)
_ABOVE_CLOCK = np.uint64(0x76767F76767F7676)
_FIRST_SEVEN = np.uint64(0x00FFFFFFFFFFFFFF)
_PAIRS = np.uint64(0x00FF00FF00FF00FF)
_FOURS = np.uint64(0x0000FFFF0000FFFF)


@njit(nogil=True)
def _two_digits(data, place):
    """Return the number of two digits, or -1."""
    tens, ones = np.int64(data[place]) - 48, np.int64(data[place + 1]) - 48
    return tens * 10 + ones if 0 <= tens <= 9 and 0 <= ones <= 9 else np.int64(-1)


@njit(nogil=True)
def _days(year, month, day):
    """Return the days since 1970-01-01 of a date of the Gregorian calendar, or `_NO_DATE`."""
    is_leap = (year % 4 == 0 and year % 100 != 0) or year % 400 == 0
    if month < 1 or month > 12 or day < 1:
        return np.int64(_NO_DATE)
    longest = 30 + (month + (month > 7)) % 2 if month != 2 else 28 + is_leap
    if day > longest:
        return np.int64(_NO_DATE)
    # Years from March on, so that the leap day is the last one: Howard Hinnant, days_from_civil (2013).
    shifted = year - (month <= 2)
    of_era = shifted % 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return (shifted // 400) * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


@njit(nogil=True)
def _date(data, place):
    """Read YYYY-MM-DD as `_days`."""
    century, year = _two_digits(data, place), _two_digits(data, place + 2)
    month, day = _two_digits(data, place + 5), _two_digits(data, place + 8)
    if century < 0 or year < 0 or data[place + 4] != 45 or data[place + 7] != 45:
        return np.int64(_NO_DATE)
    return _days(century * 100 + year, month, day)


@njit(nogil=True)
def _word(data, place):
    """Eight bytes, little-endian."""
    i = np.uint64(place)
    word = np.uint64(data[i])
    for k in range(1, 8):
        word |= np.uint64(data[i + np.uint64(k)]) << np.uint64(8 * k)
    return word


@njit(nogil=True)
def _clock(data, place):
    """Read a separator and HH:MM:SS as seconds, or -1."""
    if data[place] != 32 and data[place] != 84:
        return np.int64(-1)
    digits = _word(data, place + 1) ^ _ZERO_CLOCK
    if ((digits + _ABOVE_CLOCK) | digits) & _HIGHS:
        return np.int64(-1)
    # In every byte the number that it and the one before it make.
    pairs = digits * np.uint64(10) + (digits >> np.uint64(8))
    hour, minute = np.int64(pairs & np.uint64(255)), np.int64(pairs >> np.uint64(24) & np.uint64(255))
    second = np.int64(pairs >> np.uint64(48) & np.uint64(255))
    if hour > 23 or minute > 59 or second > 59:
        return np.int64(-1)
    return hour * 3600 + minute * 60 + second


@njit(nogil=True)
def _offset_minutes(data, place, stop):
    """Read Z, +HH, +HHMM or +HH:MM; `_NO_OFFSET` if it is none of them."""
    if data[place] == 90:
        return np.int64(0 if place + 1 == stop else _NO_OFFSET)
    if (data[place] != 43 and data[place] != 45) or stop - place < 3:
        return np.int64(_NO_OFFSET)
    hours, minutes = _two_digits(data, place + 1), np.int64(0)
    rest = place + 3
    if rest < stop:
        rest += data[rest] == 58
        if stop - rest != 2:
            return np.int64(_NO_OFFSET)
        minutes = _two_digits(data, rest)
    if hours < 0 or hours > _MOST_OFFSET_HOURS or minutes < 0 or minutes > 59:
        return np.int64(_NO_OFFSET)
    size = hours * 60 + minutes
    return -size if data[place] == 45 else size


@njit(nogil=True)
def _seven_decimals(word):
    """Read seven decimals of a second at once, us; -1 if they are not seven digits.

    Pairs of digits, then pairs of pairs (D. Lemire, 2022, on numbers of eight digits); the eighth is taken for a zero.
    """
    digits = (word ^ _ZEROS) & _FIRST_SEVEN
    if ((digits + _ABOVE_NINE) | digits) & _HIGHS:
        return np.int64(-1)
    pairs = (digits * np.uint64(10) + (digits >> np.uint64(8))) & _PAIRS
    fours = (pairs * np.uint64(100) + (pairs >> np.uint64(16))) & _FOURS
    return np.int64((fours * np.uint64(10_000) + (fours >> np.uint64(32))) & np.uint64(0xFFFFFFFF)) // 100


@njit(nogil=True)
def _decimals(data, place, stop):
    """Read any decimals of a second, us; where they end, 0 if they are none or too many."""
    value_us, weight, first = np.int64(0), np.int64(_SECOND_US // 10), place
    while place < stop and 48 <= data[place] <= 57:
        value_us += weight * (np.int64(data[place]) - 48)
        weight //= 10
        place += 1
    return value_us, place if 1 <= place - first <= _MOST_FRACTION_DIGITS else np.int64(0)


@njit(nogil=True)
def _time(data, place, stop, days):
    """Read what follows a date; whether it is a time, the time in us since 1970, whether it has no zone."""
    second, fraction_us, offset = _clock(data, place), np.int64(0), np.int64(0)
    rest = place + _SECONDS_END - _DATE_BYTES
    if rest < stop and data[rest] == 46:
        fraction_us = np.int64(-1)
        if stop - rest == 8 and stop < data.size:
            fraction_us = _seven_decimals(_word(data, rest + 1))
        if fraction_us >= 0:
            rest = stop
        else:
            fraction_us, rest = _decimals(data, rest + 1, stop)
    is_local = rest == stop
    if not is_local and rest > 0:
        offset = _offset_minutes(data, rest, stop)
    is_time = second >= 0 and rest > 0 and offset != _NO_OFFSET
    return is_time, days * _DAY_US + (second - offset * 60) * _SECOND_US + fraction_us, is_local


@compiled()
def read_iso_times(data, start, end, kind, time_us, is_local, found):
    """Read times such as 2023-11-16 18:15:46.6805900 or 2025-05-01T01:31:14Z.

    Parameters
    ----------
    data : uint8[n_bytes]
    start, end, kind : int64[n], int64[n], uint8[n], where the values stand, and what they are
    time_us : int64[n], filled in: since 1970 in UTC, or by the local clock, us; 0 where there is none
    is_local : bool[n], filled in: whether the time has no zone
    found : uint8[n], filled in: `READ`, `ABSENT` or `UNREADABLE`

    Returns
    -------
    Number of local times.
    """
    n_local, date, day, days = 0, np.uint64(0), np.int64(-1), np.int64(0)
    for i in range(start.size):
        place, stop = start[i], end[i]
        time_us[i], is_local[i], found[i] = 0, False, UNREADABLE
        if kind[i] <= _NULL or (kind[i] == _TEXT and place == stop):
            found[i] = ABSENT
        elif kind[i] == _TEXT and stop - place >= _SECONDS_END:
            # Most lines are of the day of the line before.
            word = _word(data, place)
            ending = np.int64(data[place + 8]) << 8 | np.int64(data[place + 9])
            if word != date or ending != day:
                date, day, days = word, ending, _date(data, place)
            is_time, time, has_no_zone = _time(data, place + _DATE_BYTES, stop, days)
            if is_time and days != _NO_DATE:
                time_us[i], is_local[i], found[i] = time, has_no_zone, READ
                n_local += has_no_zone
    return n_local


@compiled()
def follow_clock(time_us, is_known, restart_us, starts_us, latest_us, state, moved_us):
    """Move the times of a clock that starts again to where its segments stand.

    Parameters
    ----------
    time_us : int64[n], times as if the clock never started again
    is_known : bool[n], rows that have a time
    restart_us : how far below the highest time of its segment a time begins a new one
    starts_us : int64[k], declared starts of the segments, that of the first included
    latest_us : no segment without a declared start is taken to follow on a later time
    state : int64[3], kept from call to call: segment (-1 before the first time), its highest time, its move
    moved_us : int64[n], filled in: how far to move each row
    """
    segment, highest, move = state[0], state[1], state[2]
    for i in range(time_us.size):
        if is_known[i]:
            time = time_us[i]
            if segment < 0:
                segment, highest = 0, time
            elif time < highest - restart_us:
                segment += 1
                if segment < starts_us.size:
                    move = starts_us[segment] - starts_us[0]
                else:
                    # Lines out of order may be earlier by restart_us, but not earlier than the clock's start.
                    early = min(time - starts_us[0], restart_us)
                    move = min(highest + move, latest_us) + early - time
                highest = time
            highest = max(highest, time)
        moved_us[i] = move
    state[0], state[1], state[2] = segment, highest, move
