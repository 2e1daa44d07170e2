"""Numbers as text: counts and decimals, exactly and without Python objects."""

import numpy as np
from numba import njit

from fleetopt.compiled import compiled

READ, ABSENT, UNREADABLE, BELOW_ZERO, ZERO, TOO_LARGE = range(6)
"""What became of a value."""

_NULL, _TEXT, _NUMBER = 1, 2, 4
"""Kinds of `fleetopt.ingest.fields`: up to the first there is no value."""

_LARGEST = 10**17
_MOST_EXPONENT = 10**6


@njit(nogil=True, inline="always")
def _state(kind, is_empty, is_text_allowed):
    """Whether there is a value, and one that may be a number."""
    if kind <= _NULL or (kind == _TEXT and is_empty):
        return ABSENT
    return READ if kind == _NUMBER or (is_text_allowed and kind == _TEXT) else UNREADABLE


@njit(nogil=True)
def _count(data, start, stop, limit):
    """Read one plain decimal integer."""
    is_negative = data[start] == 45
    total = np.int64(0)
    for k in range(start + is_negative, stop):
        digit = np.int64(data[k]) - 48
        if digit < 0 or digit > 9:
            return UNREADABLE, np.int64(0)
        if total < _LARGEST:
            total = total * 10 + digit
    if is_negative and stop - start == 1:
        return UNREADABLE, np.int64(0)
    if total == 0:
        return ZERO, total
    if is_negative or total > limit:
        return BELOW_ZERO if is_negative else TOO_LARGE, np.int64(0)
    return READ, total


@compiled()
def read_counts(data, start, end, kind, is_text_allowed, limit, value, found):
    """Read plain decimal integers.

    Parameters
    ----------
    data : uint8[n_bytes]
    start, end, kind : int64[n], int64[n], uint8[n], where the values stand, and what they are
    is_text_allowed : whether text may hold a number
    limit : values above it are too large
    value : int64[n], filled in; 0 where there is none
    found : uint8[n], filled in, `READ` to `TOO_LARGE`
    """
    for i in range(start.size):
        state, total = _state(kind[i], start[i] == end[i], is_text_allowed), np.int64(0)
        if state == READ:
            state, total = _count(data, start[i], end[i], limit)
        value[i], found[i] = total, state


@njit(nogil=True)
def _skip_digits(data, place, stop):
    while place < stop and 48 <= data[place] <= 57:
        place += 1
    return place


@njit(nogil=True)
def _exponent(data, place, stop):
    """Return the exponent behind an e, at most a million in size, and whether it is one."""
    is_negative = place < stop and data[place] == 45
    if place < stop and (data[place] == 45 or data[place] == 43):
        place += 1
    total = np.int64(0)
    for k in range(place, stop):
        total = min(total * 10 + (np.int64(data[k]) - 48), _MOST_EXPONENT)
    return -total if is_negative else total, place < stop and _skip_digits(data, place, stop) == stop


@njit(nogil=True)
def _scaled(data, start, point, fraction_end, n_whole):
    """Return the whole part of a decimal whose point is moved to behind its n-th digit; above the largest: that."""
    total, n_digits = np.int64(0), 0
    for k in range(start, fraction_end):
        if k == point:
            continue
        if n_digits >= n_whole:
            return total
        n_digits += 1
        total = total * 10 + (np.int64(data[k]) - 48)
        if total >= _LARGEST:
            return np.int64(_LARGEST)
    while n_digits < n_whole and 0 < total < _LARGEST:
        n_digits += 1
        total *= 10
    return min(total, np.int64(_LARGEST))


@njit(nogil=True)
def _decimal(data, start, stop, shift, limit):
    """Read one decimal."""
    is_negative = data[start] == 45
    start += is_negative
    point = _skip_digits(data, start, stop)
    fraction_end, exponent, is_number = point, np.int64(0), point > start
    if point < stop and data[point] == 46:
        fraction_end = _skip_digits(data, point + 1, stop)
        is_number &= fraction_end > point + 1
    if fraction_end < stop:
        exponent, is_exponent = _exponent(data, fraction_end + 1, stop)
        is_number &= is_exponent and data[fraction_end] | 32 == 101
    if not is_number:
        return UNREADABLE, np.int64(0)
    total = _scaled(data, start, point, fraction_end, point - start + shift + exponent)
    if total > limit:
        return TOO_LARGE, np.int64(0)
    return READ, -total if is_negative else total


@compiled()
def read_decimals(data, start, end, kind, is_text_allowed, shift, limit, value, found):
    """Read decimals such as -1.5 or 1e-05 as ``value = trunc(decimal * 10**shift)``, by the digits: nothing is rounded.

    Parameters
    ----------
    data : uint8[n_bytes]
    start, end, kind : int64[n], int64[n], uint8[n], where the values stand, and what they are
    is_text_allowed : whether text may hold a number
    shift : power of ten to multiply by
    limit : values further from zero are too large; below 10**17
    value : int64[n], filled in; 0 where there is none
    found : uint8[n], filled in: `READ`, `ABSENT`, `UNREADABLE` or `TOO_LARGE`
    """
    for i in range(start.size):
        state, total = _state(kind[i], start[i] == end[i], is_text_allowed), np.int64(0)
        if state == READ:
            state, total = _decimal(data, start[i], end[i], shift, limit)
        value[i], found[i] = total, state
