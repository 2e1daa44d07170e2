"""Where lines and records of CSV stand in bytes, what is wrong with their bytes, and their hashes."""

import numpy as np
from numba import njit

from fleetopt.compiled import compiled
from fleetopt.ingest.kernels.siphash import add_word, begin, finish, siphash
from fleetopt.ingest.kernels.words import HIGHS, ONES, find_byte, first_bytes, last_word, lowest, word_at, zero_bytes
from fleetopt.ingest.records import FAULT_CODE

_LINE_FEED, _RETURN, _SPACE, _QUOTE = 10, 13, 32, 34
_LINE_FEEDS = np.uint64(_LINE_FEED) * ONES
_NUL_BYTE, _NOT_UTF8, _BAD_QUOTES = FAULT_CODE["nul_byte"], FAULT_CODE["not_utf8"], FAULT_CODE["bad_quotes"]
_GOOD, _BAD, _UNDECIDED = 0, 1, 2


@compiled()
def count_line_ends(data):
    """How many line feeds there are, and the place behind the last one (0 if there is none)."""
    count = 0
    for i in range(data.size):
        count += data[i] == _LINE_FEED
    last = data.size
    while last > 0 and data[last - 1] != _LINE_FEED:
        last -= 1
    return count, last


@njit(nogil=True)
def _is_blank(data, start, stop):
    for i in range(start, stop):
        byte = data[i]
        if byte != _SPACE and not 9 <= byte <= 13:
            return False
    return True


@njit(nogil=True)
def _sequence(lead):
    """Bytes that follow a lead byte of UTF-8, -1 for none that may lead, and the limits of the first of them.

    The Unicode Standard 15, table 3-7, which is what Python's decoder takes.
    """
    if lead < 0x80:
        return 0, 0x80, 0xBF
    if 0xC2 <= lead <= 0xDF:
        return 1, 0x80, 0xBF
    if 0xE0 <= lead <= 0xEF:
        return 2, 0xA0 if lead == 0xE0 else 0x80, 0x9F if lead == 0xED else 0xBF
    if 0xF0 <= lead <= 0xF4:
        return 3, 0x90 if lead == 0xF0 else 0x80, 0x8F if lead == 0xF4 else 0xBF
    return -1, 0x80, 0xBF


@njit(nogil=True)
def _is_utf8(data, start, stop):
    i = start
    while i < stop:
        more, low, high = _sequence(data[i])
        i += 1
        if more == 0:
            continue
        if more < 0 or i + more > stop or not low <= data[i] <= high:
            return False
        for k in range(i + 1, i + more):
            if not 0x80 <= data[k] <= 0xBF:
                return False
        i += more
    return True


@njit(nogil=True)
def _read_to_line_end(data, first, key_0, key_1):
    """Go on from the first byte of a line to its end.

    The words that are searched for the line end are at once those that are hashed: both begin with the line.

    Returns
    -------
    int
        Place of the line end, or of that of the data.
    v0, v1, v2, v3, word : uint64
        State of the hash before the last word, and that word, whatever stands in it behind the line end.
    any_bit, any_zero : uint64
        All the words before it, and the marks of bytes in them that are zero.
    """
    v0, v1, v2, v3 = begin(key_0, key_1)
    any_bit, any_zero, place = np.uint64(0), np.uint64(0), first
    while place + 8 <= data.size:
        word = word_at(data, place)
        marks = zero_bytes(word ^ _LINE_FEEDS)
        if marks:
            return place + lowest(marks), v0, v1, v2, v3, word, any_bit, any_zero
        any_bit |= word
        any_zero |= zero_bytes(word)
        v0, v1, v2, v3 = add_word(v0, v1, v2, v3, word)
        place += 8
    word = last_word(data, place, data.size)
    return find_byte(data, place, data.size, _LINE_FEED), v0, v1, v2, v3, word, any_bit, any_zero


@compiled()
def split_lines(data, key_0, key_1, start, end, line, high, low, fault):
    """Find the lines that are not blank, hash them and look at their bytes, in one pass.

    Parameters
    ----------
    data : uint8[n_bytes]
    key_0, key_1 : uint64
    start, end, line : int64[capacity], written
        Places of the lines without their ends, and how many line ends are before each.
    high, low : uint64[capacity], written
    fault : uint8[capacity], written

    Returns
    -------
    int
        How many were written.
    """
    n, n_ends, after = 0, 0, 0
    while after < data.size:
        first = after
        stop, v0, v1, v2, v3, word, any_bit, any_zero = _read_to_line_end(data, first, key_0, key_1)
        after, size = stop + 1, (stop - first) & 7
        if stop > first and data[stop - 1] == _RETURN:
            stop, size = stop - 1, size - 1
        n_ends += 1
        if stop == first or (data[first] <= _SPACE and _is_blank(data, first, stop)):
            continue
        start[n], end[n], line[n] = first, stop, n_ends - 1
        if size < 0:  # the return was the last byte of a word that is hashed already
            high[n], low[n] = siphash(data, first, stop, key_0, key_1)
        else:
            kept = first_bytes(size)
            any_bit |= word & kept
            any_zero |= zero_bytes(word | ~kept)
            high[n], low[n] = finish(v0, v1, v2, v3, word & kept, stop - first)
        fault[n] = 0
        if any_zero:
            fault[n] = _NUL_BYTE
        elif any_bit & HIGHS and not _is_utf8(data, first, stop):
            fault[n] = _NOT_UTF8
        n += 1
    return n


@njit(nogil=True)
def _fault(data, start, stop):
    any_bit, any_zero, place = np.uint64(0), np.uint64(0), start
    while place + 8 <= stop:
        word = word_at(data, place)
        any_bit |= word
        any_zero |= zero_bytes(word)
        place += 8
    word = last_word(data, place, stop)
    if any_zero | zero_bytes(word | ~first_bytes(stop - place)):
        return _NUL_BYTE
    return _NOT_UTF8 if (any_bit | word) & HIGHS and not _is_utf8(data, start, stop) else 0


@njit(nogil=True)
def _without_return(data, start, stop):
    return stop - 1 if stop > start and data[stop - 1] == _RETURN else stop


@njit(nogil=True)
def _quoted_field_end(data, place, stop):
    """Place behind the quote that closes a field, from behind the one that opens it; -1 if there is none yet.

    A quote at the stop is not known to close: another may follow it. So it does not count as found.
    """
    while place < stop:
        place = find_byte(data, place, stop, _QUOTE)
        if place + 1 >= stop:
            break
        if data[place + 1] != _QUOTE:
            return place + 1
        place += 2
    return -1


@njit(nogil=True)
def _record_end(data, start, stop, delimiter):
    """How a record that begins at start ends before the stop: what is known of it, and the place of its line end.

    The stop is as a byte that could be any; so a record that ends there is undecided. A byte order mark before the
    record is passed, since files that were joined have them before their headers.
    """
    has_mark = start + 3 <= stop and data[start] == 0xEF and data[start + 1] == 0xBB and data[start + 2] == 0xBF
    place = start + 3 if has_mark else start
    while True:
        if place < stop and data[place] == _QUOTE:
            place = _quoted_field_end(data, place + 1, stop)
            if place < 0:
                return _UNDECIDED, stop
            if data[place] == _RETURN and place + 1 == stop:
                return _UNDECIDED, stop
            if data[place] == _RETURN and data[place + 1] == _LINE_FEED:
                return _GOOD, place + 1
        else:
            while place < stop and data[place] != delimiter and data[place] != _LINE_FEED and data[place] != _QUOTE:
                place += 1
            if place == stop:
                return _UNDECIDED, stop
        if data[place] == _LINE_FEED:
            return _GOOD, place
        if data[place] != delimiter:
            return _BAD, place
        place += 1


@njit(nogil=True)
def _next_record(data, start, delimiter, longest, is_last):
    """Whether the record that begins at start is good, bad or undecided, its end, and where the next one begins."""
    line_end = find_byte(data, start, data.size, _LINE_FEED)
    if line_end == data.size or _without_return(data, start, line_end) - start > longest:
        return _UNDECIDED, start, start
    farthest = start + longest + 2
    state, stop = _record_end(data, start, min(data.size, farthest), delimiter)
    if state == _UNDECIDED and stop < farthest and not is_last:
        return _UNDECIDED, start, start
    end = _without_return(data, start, stop)
    if state == _GOOD and end - start <= longest:
        return _GOOD, end, stop + 1
    return _BAD, _without_return(data, start, line_end), line_end + 1


@compiled()
def decided_records(data, delimiter, longest, is_last):
    """Bytes of the records of CSV at the beginning that no later byte can change; blank lines are passed.

    At the last of a file, whose end is a line end, all are decided but those that begin with a line over the longest.
    """
    place = 0
    while place < data.size:
        state, _, after = _next_record(data, place, delimiter, longest, is_last)
        if state == _UNDECIDED:
            break
        place = after
    return place


@compiled()
def split_quoted(data, delimiter, longest, key_0, key_1, start, end, line, high, low, fault):
    """Do what :func:`split_lines` does for records of CSV with quotes, of decided bytes that end with a line end.

    Returns
    -------
    int
        How many were written.
    int
        How many lines they are made of that are not blank.
    """
    n, n_ends, n_lines, place = 0, 0, 0, 0
    while place < data.size:
        state, stop, after = _next_record(data, place, delimiter, longest, True)
        if not _is_blank(data, place, stop):
            start[n], end[n], line[n] = place, stop, n_ends
            high[n], low[n] = siphash(data, place, stop, key_0, key_1)
            fault[n] = _fault(data, place, stop)
            if state == _BAD and fault[n] == 0:
                fault[n] = _BAD_QUOTES
            n += 1
        while place < after:
            line_end = find_byte(data, place, data.size, _LINE_FEED)
            n_lines += not _is_blank(data, place, line_end)
            n_ends += 1
            place = line_end + 1
    return n, n_lines
