"""Eight bytes at a time: a word of bytes, and which of its bytes are equal to one."""

import numpy as np
from numba import njit

ONES = np.uint64(0x0101010101010101)
HIGHS = np.uint64(0x8080808080808080)
_LOWS = np.uint64(0x7F7F7F7F7F7F7F7F)
_COUNT = np.uint64(0x0001020304050607)


@njit(nogil=True, inline="always")
def word_at(data, place):
    """Eight bytes from a place on, little-endian; they must all be there."""
    i = np.uint64(place)
    word = np.uint64(data[i])
    for k in range(1, 8):
        word |= np.uint64(data[i + np.uint64(k)]) << np.uint64(8 * k)
    return word


@njit(nogil=True)
def last_word(data, place, stop):
    """The fewer than eight bytes before the stop, zeros after them."""
    word = np.uint64(0)
    for k in range(stop - place):
        word |= np.uint64(data[place + k]) << np.uint64(8 * k)
    return word


@njit(nogil=True, inline="always")
def zero_bytes(word):
    """High bits of bytes that are zero. Only the lowest that is set is certain: a borrow can set more above it."""
    return (word - ONES) & ~word & HIGHS


@njit(nogil=True, inline="always")
def every_zero_byte(word):
    """High bits of exactly the bytes that are zero."""
    return ~(((word & _LOWS) + _LOWS) | word | _LOWS)


@njit(nogil=True, inline="always")
def lowest(marks):
    """Which byte has the lowest high bit that is set, 0 to 7."""
    return np.int64((((marks & (~marks + np.uint64(1))) >> np.uint64(7)) * _COUNT) >> np.uint64(56))


@njit(nogil=True, inline="always")
def first_bytes(count):
    """Mask of the first 0 to 7 bytes."""
    return (np.uint64(1) << np.uint64(8 * count)) - np.uint64(1)


@njit(nogil=True)
def find_byte(data, place, stop, byte):
    """Place of the first such byte from a place on, or the stop."""
    pattern = np.uint64(byte) * ONES
    while place + 8 <= stop:
        marks = zero_bytes(word_at(data, place) ^ pattern)
        if marks:
            return place + lowest(marks)
        place += 8
    while place < stop and data[place] != byte:
        place += 1
    return place
