"""Which of a record's fields holds a value, and which values there are."""

import numpy as np
from numba import njit

from fleetopt.compiled import compiled

_MISSING, _NULL, _TEXT, _NESTED = 0, 1, 2, 7


@njit(nogil=True)
def _is_one_of(data, start, end, listed, listed_end):
    """Whether a stretch of bytes equals one of those that follow each other in a list."""
    begin = 0
    for stop in listed_end:
        if stop - begin == end - start:
            is_equal = True
            for k in range(end - start):
                if data[start + k] != listed[begin + k]:
                    is_equal = False
                    break
            if is_equal:
                return True
        begin = stop
    return False


@compiled()
def first_held(data, start, end, kind, rows, nulls, nulls_end, held_start, held_end, held_kind):
    """Take of each record the first of some fields that holds a value: not null, not empty, nor a word for null.

    Parameters
    ----------
    data : uint8[n_bytes]
    start, end, kind : int64[k, n], int64[k, n], uint8[k, n]
    rows : int64[m], the fields, best first
    nulls : uint8[n_null_bytes], the words for null, one after the other
    nulls_end : int64[n_nulls], where they end
    held_start, held_end, held_kind : int64[n], int64[n], uint8[n], filled in; kind 0 where none holds a value
    """
    for i in range(held_start.size):
        held_start[i], held_end[i], held_kind[i] = 0, 0, _MISSING
        for row in rows:
            if kind[row, i] <= _NULL or (kind[row, i] == _TEXT and start[row, i] == end[row, i]):
                continue
            if kind[row, i] != _NESTED and _is_one_of(data, start[row, i], end[row, i], nulls, nulls_end):
                continue
            held_start[i], held_end[i], held_kind[i] = start[row, i], end[row, i], kind[row, i]
            break


@compiled()
def gather_bytes(data, start, end, offsets, gathered):
    """Copy stretches of bytes one after the other; ``offsets`` (int64[n + 1]) says where they are to stand."""
    for i in range(start.size):
        for k in range(end[i] - start[i]):
            gathered[offsets[i] + k] = data[start[i] + k]


@compiled()
def find_distinct(high, low, is_held, table, code, first):
    """Number the distinct 128-bit hashes in the order in which they are met, from 1; 0 where there is no value.

    Parameters
    ----------
    high, low : int64[n]
    is_held : bool[n]
    table : int32[2**k] of zeros, more than n
    code : int32[n], filled in
    first : int64[n + 1], filled in: row of the first of each number

    Returns
    -------
    The highest number.
    """
    mask, n_distinct, before = np.int64(table.size - 1), 0, -1
    for i in range(high.size):
        code[i] = 0
        if not is_held[i]:
            continue
        if before >= 0 and low[i] == low[before] and high[i] == high[before]:
            code[i] = code[before]
            continue
        slot = low[i] & mask
        while table[slot] != 0:
            row = first[table[slot]]
            if low[i] == low[row] and high[i] == high[row]:
                break
            slot = (slot + 1) & mask
        if table[slot] == 0:
            n_distinct += 1
            table[slot] = n_distinct
            first[n_distinct] = i
        code[i] = table[slot]
        before = i
    return n_distinct
