"""SipHash-2-4 with 128 bits: a keyed hash that is fast for short inputs.

J.-P. Aumasson and D. J. Bernstein (2012), SipHash: a fast short-input PRF; the output of 128 bits is that of their
reference code.
"""

import numpy as np
from numba import njit

from fleetopt.compiled import compiled
from fleetopt.ingest.kernels.words import last_word, word_at

_INITIAL = (
    np.uint64(0x736F6D6570736575),
    np.uint64(0x646F72616E646F6D) ^ np.uint64(0xEE),
    np.uint64(0x6C7967656E657261),
    np.uint64(0x7465646279746573),
)
_INITIAL_0, _INITIAL_1, _INITIAL_2, _INITIAL_3 = _INITIAL


@njit(nogil=True, inline="always")
def _turn(word, bits):
    return (word << np.uint64(bits)) | (word >> np.uint64(64 - bits))


@njit(nogil=True, inline="always")
def _round(v0, v1, v2, v3):
    v0 += v1
    v2 += v3
    v1 = _turn(v1, 13) ^ v0
    v3 = _turn(v3, 16) ^ v2
    v0 = _turn(v0, 32) + v3
    v2 += v1
    v3 = _turn(v3, 21) ^ v0
    v1 = _turn(v1, 17) ^ v2
    v2 = _turn(v2, 32)
    return v0, v1, v2, v3


@njit(nogil=True, inline="always")
def begin(key_0, key_1):
    """State before the first word."""
    return _INITIAL_0 ^ key_0, _INITIAL_1 ^ key_1, _INITIAL_2 ^ key_0, _INITIAL_3 ^ key_1


@njit(nogil=True, inline="always")
def add_word(v0, v1, v2, v3, word):
    """State after eight more bytes."""
    v0, v1, v2, v3 = _round(v0, v1, v2, v3 ^ word)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ word, v1, v2, v3


@njit(nogil=True, inline="always")
def finish(v0, v1, v2, v3, rest, length):
    """First and second half of the hash, from the last fewer than eight bytes and the length of all, bytes."""
    v0, v1, v2, v3 = add_word(v0, v1, v2, v3, rest | (np.uint64(length) << np.uint64(56)))
    v2 ^= np.uint64(0xEE)
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    high = v0 ^ v1 ^ v2 ^ v3
    v1 ^= np.uint64(0xDD)
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return high, v0 ^ v1 ^ v2 ^ v3


@njit(nogil=True)
def siphash(data, start, stop, key_0, key_1):
    """Hash of the bytes from start to stop: its first and its second eight bytes, each little-endian."""
    v0, v1, v2, v3 = begin(key_0, key_1)
    place = start
    while place + 8 <= stop:
        v0, v1, v2, v3 = add_word(v0, v1, v2, v3, word_at(data, place))
        place += 8
    return finish(v0, v1, v2, v3, last_word(data, place, stop), stop - start)


@compiled()
def hash_records(data, start, end, key_0, key_1, high, low):
    """Hash ``data[start[i]:end[i]]`` into ``high[i]`` and ``low[i]``, uint64."""
    for i in range(start.size):
        high[i], low[i] = siphash(data, start[i], end[i], key_0, key_1)
