"""Where the wanted fields of CSV records stand."""

import numpy as np
from numba import njit

from fleetopt.compiled import compiled
from fleetopt.ingest.fields import ESCAPED, MISSING, NULL, TEXT
from fleetopt.ingest.kernels.words import ONES, every_zero_byte, find_byte, first_bytes, last_word, lowest, word_at
from fleetopt.ingest.records import FAULT_CODE

_LINE_FEED, _RETURN, _QUOTE, _LAST_OF_MARK = 10, 13, 34, 0xBF
_NOT_WANTED = -1
_HIGH = np.uint64(0x80)
_WRONG_FIELD_COUNT, _BAD_QUOTES = FAULT_CODE["wrong_field_count"], FAULT_CODE["bad_quotes"]
_BLOCK = 256


@njit(nogil=True)
def _has_both(data, place, first, last, distance):
    """Whether in a block a byte stands at some distance before another; without a branch, for the vector unit."""
    fore, rear = data[place : place + _BLOCK], data[place + distance : place + distance + _BLOCK]
    found = np.uint8(0)
    for k in range(_BLOCK):
        found |= np.uint8(fore[k] == first) & np.uint8(rear[k] == last)
    return found != 0


@njit(nogil=True)
def _is_edge(data, place, step, delimiter):
    """Whether a field may begin behind a place (step -1) or end before it (step 1), by the byte that is there."""
    if not 0 <= place < data.size or data[place] == delimiter or data[place] == _LINE_FEED:
        return True
    return data[place] == (_RETURN if step > 0 else _LAST_OF_MARK)


@njit(nogil=True)
def _is_field(data, start, stop, delimiter):
    """Whether bytes look like a whole field, in quotes or not."""
    for step, place in ((-1, start - 1), (1, stop)):
        if _is_edge(data, place, step, delimiter):
            continue
        if data[place] != _QUOTE or not _is_edge(data, place + step, step, delimiter):
            return False
    return True


@compiled()
def find_names(data, name, delimiter):
    """Places of a name that may be a whole field of CSV, int64[n].

    Whole blocks that do not hold its first and last byte at the right distance are passed (W. Mula, 2016).
    """
    places = [np.int64(0) for _ in range(0)]
    place, last = 0, data.size - name.size
    while place <= last:
        if place + _BLOCK <= last + 1 and not _has_both(data, place, name[0], name[-1], name.size - 1):
            place += _BLOCK
            continue
        for start in range(place, min(place + _BLOCK, last + 1)):
            k = 0
            while k < name.size and data[start + k] == name[k]:
                k += 1
            if k == name.size and _is_field(data, start, start + k, delimiter):
                places.append(start)
        place += _BLOCK
    return np.array(places, np.int64)


@compiled()
def find_fields(data, start, end, fault, rows, delimiter, slots, starts, ends, kinds):
    """Find the wanted fields of records without quotes.

    Parameters
    ----------
    data : uint8[n_bytes]
    start, end : int64[n]
    fault : uint8[n], updated
        Records with one are passed.
    rows : int, int
        Records that are looked at: from one to before another.
    delimiter : int
    slots : int64[n_columns]
        Row of ``starts``, ``ends`` and ``kinds`` that a column goes to, -1 for none.
    starts, ends : int64[k, n], written
    kinds : uint8[k, n], written
        `MISSING` beforehand.
    """
    delimiters = np.uint64(delimiter) * ONES
    for i in range(rows[0], rows[1]):
        if fault[i]:
            continue
        place, stop, field, column = start[i], end[i], start[i], 0
        while place <= stop:
            word = word_at(data, place) if place + 8 <= data.size else last_word(data, place, stop)
            marks = every_zero_byte(word ^ delimiters)
            if place + 8 > stop:  # the end of the record is as a delimiter
                marks = (marks & first_bytes(stop - place)) | (_HIGH << np.uint64(8 * (stop - place)))
            while marks:
                here = place + lowest(marks)
                slot = slots[column] if column < slots.size else _NOT_WANTED
                if slot >= 0:
                    starts[slot, i], ends[slot, i] = field, here
                    kinds[slot, i] = TEXT if here > field else NULL
                field, column = here + 1, column + 1
                marks &= marks - np.uint64(1)
            place += 8
        if column != slots.size:
            fault[i] = _WRONG_FIELD_COUNT
            kinds[:, i] = MISSING


@njit(nogil=True)
def _closing_quote(data, place, stop):
    """Place of the quote that closes a field, or the stop, and whether a doubled one stands before it."""
    has_doubled = False
    while True:
        place = find_byte(data, place, stop, _QUOTE)
        if place + 1 >= stop or data[place + 1] != _QUOTE:
            return place, has_doubled
        has_doubled = True
        place += 2


@njit(nogil=True)
def _find_quoted(data, i, start, stop, delimiter, slots, starts, ends, kinds):
    """Fault of one record, 0 for none."""
    place, column = start, 0
    while True:
        field, kind = place, TEXT
        if place < stop and data[place] == _QUOTE:
            field += 1
            end, has_doubled = _closing_quote(data, field, stop)
            if has_doubled:
                kind = ESCAPED
            place = end + 1
            if place > stop or (place < stop and data[place] != delimiter):
                return _BAD_QUOTES
        else:
            while place < stop and data[place] != delimiter:
                if data[place] == _QUOTE:
                    return _BAD_QUOTES
                place += 1
            end = place
        slot = slots[column] if column < slots.size else _NOT_WANTED
        if slot >= 0:
            starts[slot, i], ends[slot, i] = field, end
            kinds[slot, i] = kind if end > field else NULL
        column += 1
        if place == stop:
            return 0 if column == slots.size else _WRONG_FIELD_COUNT
        place += 1


@compiled()
def find_quoted_fields(data, start, end, fault, rows, delimiter, slots, starts, ends, kinds):
    """Do what :func:`find_fields` does for records whose fields may be quoted."""
    for i in range(rows[0], rows[1]):
        if fault[i]:
            continue
        fault[i] = _find_quoted(data, i, start[i], end[i], delimiter, slots, starts, ends, kinds)
        if fault[i]:
            kinds[:, i] = MISSING
