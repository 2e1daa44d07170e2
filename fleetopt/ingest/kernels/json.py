"""One pass over the bytes of JSON records: the grammar is checked, and the wanted fields are found, copying nothing.

A path such as ``usage.prompt_tokens`` is followed by walking. In an object, a key takes as much of the rest of a path
as it spells, if a dot or the end comes next: so keys with dots and nested objects are found alike, in any mixture. An
array is entered by a number. For every level of nesting on the way, ``offset`` says how much of each path is spelled;
what no path leads into is only checked.

All state is one record of fixed size, which helpers get as a pointer: passing arrays took nine tenths of the time.
"""

from typing import Final

import numpy as np
from numba import njit

from fleetopt.borrowing import borrowed
from fleetopt.compiled import compiled
from fleetopt.ingest.fields import ESCAPED, MISSING, NESTED, TEXT
from fleetopt.ingest.kernels.json_grammar import (
    ARRAY,
    BACKSLASH,
    COMMA,
    ESCAPES,
    INVALID,
    MAX_DEPTH,
    OBJECT,
    POINT,
    QUOTE,
    TO_CLOSE,
    after_colon,
    after_scalar,
    after_space,
    after_string,
    after_value,
    hex4,
)
from fleetopt.ingest.records import FAULT_CODE

MAX_PATHS: Final = 128
MAX_PATH_BYTES: Final = 256
"""With a dot after every part, the last one too."""
MAX_PARTS: Final = 32

WALK: Final = np.dtype(
    [
        # The paths, prepared by `fleetopt.ingest.json_reader`.
        ("n_paths", np.int64),
        ("length", np.int64, MAX_PATHS),  # bytes
        ("text", np.uint8, (MAX_PATHS, MAX_PATH_BYTES)),  # UTF-8, a dot after every part
        ("part", np.uint8, (MAX_PATHS, MAX_PATH_BYTES)),  # at a dot: which one it is
        ("element", np.int32, (MAX_PATHS, MAX_PATH_BYTES)),  # where a part begins: its number, -1 if it is none
        ("after", np.int16, (MAX_PATHS, MAX_PATH_BYTES)),  # where a part begins: where the next one does
        # Where the walk is, by level of nesting, 0 for the record itself, and by path.
        ("offset", np.int64, (MAX_PARTS + 1, MAX_PATHS)),  # bytes spelled by what leads here; -1 if it leads elsewhere
        ("seen", np.int64, (MAX_PARTS + 1, MAX_PATHS)),  # bits of the dots up to which keys have spelled it
        ("opened", np.uint8, MAX_PARTS + 1),  # the bracket
        ("position", np.int64, MAX_PARTS + 1),  # of an array: the element that is looked at
        # What was found of each path.
        ("start", np.int64, MAX_PATHS),
        ("end", np.int64, MAX_PATHS),
        ("kind", np.uint8, MAX_PATHS),
        ("is_repeated", np.uint8, MAX_PATHS),  # 1 where it was found twice
        # Room.
        ("key", np.uint8, MAX_PATH_BYTES),
        ("brackets", np.uint8, MAX_DEPTH),
    ],
    align=True,
)
"""The paths, and where the walk through a record is."""

_NOT_JSON: Final = FAULT_CODE["not_json"]
_NOT_AN_OBJECT: Final = FAULT_CODE["not_an_object"]
_REPEATED_FIELD: Final = FAULT_CODE["repeated_field"]
_NOWHERE, _HERE, _DEEPER = range(3)


@compiled()
def find_json_fields(owned_data, start, end, walks, found_start, found_end, kind, fault):
    """Find the wanted fields of every record without a fault, and the faults of the others.

    Parameters
    ----------
    owned_data : np.ndarray
        uint8[n_bytes], valid UTF-8 where records have no fault.
    start, end : np.ndarray
        int64[n]: the records.
    walks : np.ndarray
        `WALK`[1], written to.
    found_start, found_end, kind, fault : np.ndarray
        As in `fleetopt.ingest.fields.Fields`: zeros and the faults so far, which are filled in.
    """
    walk = walks[0]
    data = borrowed(owned_data)
    for record in range(start.size):
        if fault[record] != 0:
            continue
        for path in range(walk.n_paths):
            walk.kind[path] = MISSING
            walk.is_repeated[path] = 0
        fault[record] = _read_record(data, start[record], end[record], walk)
        if fault[record] != 0 and fault[record] != _REPEATED_FIELD:
            continue
        for path in range(walk.n_paths):
            if walk.kind[path] != MISSING and not walk.is_repeated[path]:
                found_start[path, record] = walk.start[path]
                found_end[path, record] = walk.end[path]
                kind[path, record] = walk.kind[path]


@njit(nogil=True)
def _read_record(data, i, end, walk):
    """Read one record; its fault."""
    i = after_space(data, i, end)
    if i == end:
        return _NOT_JSON
    is_object = data[i] == OBJECT
    i = _walk_object(data, i, end, walk) if is_object else after_value(data, i, end, walk.brackets, 0)
    if i == INVALID or after_space(data, i, end) != end:
        return _NOT_JSON
    if not is_object:
        return _NOT_AN_OBJECT
    for path in range(walk.n_paths):
        if walk.is_repeated[path]:
            return _REPEATED_FIELD
    return 0


@njit(nogil=True)
def _walk_object(data, i, end, walk):
    """Walk through an object as far as paths lead; the position after it, or `INVALID`."""
    level = 0
    for path in range(walk.n_paths):
        walk.offset[0, path] = 0
    i, is_empty = _open(data, i, end, walk, level)
    while True:
        if not is_empty:
            i, leads = _next_value(data, i, end, walk, level)
            if i == INVALID or i >= end:
                return INVALID
            if leads == _DEEPER and (data[i] == OBJECT or data[i] == ARRAY):
                level += 1
                _take(walk, level, i, i, NESTED)
                i, is_empty = _open(data, i, end, walk, level)
                if not is_empty:
                    continue
            else:
                i = _pass_value(data, i, end, walk, level, leads)
                if i == INVALID:
                    return INVALID
        is_empty = False
        i, level = _close(data, i, end, walk, level)
        if i == INVALID or level < 0:
            return i


@njit(nogil=True)
def _open(data, i, end, walk, level):
    """Enter an object or array; the position of its first key or value, and whether it has none."""
    walk.opened[level] = data[i]
    walk.position[level] = 0
    for path in range(walk.n_paths):
        walk.seen[level, path] = 0
    i = after_space(data, i + 1, end)
    return i, i < end and data[i] == walk.opened[level] + TO_CLOSE


@njit(nogil=True)
def _close(data, i, end, walk, level):
    """After what closes and the comma that follows: where the next key or value is; and its level, -1 at the end."""
    while True:
        i = after_space(data, i, end)
        if i >= end:
            return INVALID, level
        if data[i] == COMMA:
            walk.position[level] += 1
            return after_space(data, i + 1, end), level
        if data[i] != walk.opened[level] + TO_CLOSE:
            return INVALID, level
        i += 1
        if level > 0:
            for path in range(walk.n_paths):
                if walk.offset[level, path] == walk.length[path]:
                    walk.end[path] = i
        level -= 1
        if level < 0:
            return i, level


@njit(nogil=True)
def _next_value(data, i, end, walk, level):
    """Go on to the next value of what is open: its position, and whether a path leads to it or into it."""
    if walk.opened[level] == ARRAY:
        return i, _match_element(walk, level)
    if i >= end or data[i] != QUOTE:
        return INVALID, _NOWHERE
    begin = i + 1
    i, is_escaped = after_string(data, begin, end)
    if i == INVALID:
        return INVALID, _NOWHERE
    if is_escaped:
        leads = _match_key(walk.key, 0, _decode_key(data, begin, i - 1, walk.key), walk, level)
    else:
        leads = _match_key(data, begin, i - 1 - begin, walk, level)
    return after_colon(data, i, end), leads


@njit(nogil=True)
def _match_key(text, begin, length, walk, level):
    """Follow every path that leads here through a key of ``length`` bytes."""
    leads = _NOWHERE
    for path in range(walk.n_paths):
        offset = walk.offset[level, path]
        walk.offset[level + 1, path] = -1
        dot = offset + length
        if offset < 0 or dot >= walk.length[path] or walk.text[path, dot] != POINT:
            continue
        j = 0
        while j < length and text[begin + j] == walk.text[path, offset + j]:
            j += 1
        if j < length:
            continue
        bit = 1 << walk.part[path, dot]
        if walk.seen[level, path] & bit:
            walk.is_repeated[path] = 1
        walk.seen[level, path] |= bit
        walk.offset[level + 1, path] = dot + 1
        leads = max(leads, _HERE if dot + 1 == walk.length[path] else _DEEPER)
    return leads


@njit(nogil=True)
def _match_element(walk, level):
    """Follow every path that leads here into the element of the array that is looked at."""
    leads = _NOWHERE
    for path in range(walk.n_paths):
        offset = walk.offset[level, path]
        walk.offset[level + 1, path] = -1
        if 0 <= offset < walk.length[path] and walk.element[path, offset] == walk.position[level]:
            walk.offset[level + 1, path] = walk.after[path, offset]
            leads = max(leads, _HERE if walk.after[path, offset] == walk.length[path] else _DEEPER)
    return leads


@njit(nogil=True)
def _pass_value(data, i, end, walk, level, leads):
    """Check a value that no path leads into, and take it if one leads to it; the position after it, or `INVALID`."""
    begin, kind = i, NESTED
    if data[i] == OBJECT or data[i] == ARRAY:
        i = after_value(data, i, end, walk.brackets, level + 1)
    else:
        i, kind = after_scalar(data, i, end)
    if i != INVALID and leads != _NOWHERE:
        quote = 1 if kind in {TEXT, ESCAPED} else 0
        _take(walk, level + 1, begin + quote, i - quote, kind)
    return i


@njit(nogil=True)
def _take(walk, level, begin, after, kind):
    """Note a value for the paths that end at it."""
    for path in range(walk.n_paths):
        if walk.offset[level, path] == walk.length[path]:
            if walk.kind[path] != MISSING:
                walk.is_repeated[path] = 1
            walk.start[path] = begin
            walk.end[path] = after
            walk.kind[path] = kind


@njit(nogil=True)
def _decode_key(data, i, end, key):
    """Write a key without its escapes, as UTF-8; its length, or more than ``key`` holds if it is too long.

    Halves of surrogate pairs that stand alone become bytes that are no UTF-8, so that they match nothing.
    """
    n = 0
    while i < end and n < key.size:
        if data[i] != BACKSLASH:
            key[n] = data[i]
            n += 1
            i += 1
        elif data[i + 1] != ord("u"):
            key[n] = ESCAPES[data[i + 1]]
            n += 1
            i += 2
        else:
            code = hex4(data, i + 2)
            i += 6
            if 0xD800 <= code < 0xDC00 and end - i >= 6 and data[i] == BACKSLASH and data[i + 1] == ord("u"):
                low = hex4(data, i + 2)
                if 0xDC00 <= low < 0xE000:
                    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
                    i += 6
            n = _append_utf8(key, n, code)
    return n if i == end else key.size + 1


@njit(nogil=True)
def _append_utf8(key, n, code):
    """Append a character as far as there is room; the length that it would have."""
    n_bytes = 1 if code < 0x80 else 2 if code < 0x800 else 3 if code < 0x10000 else 4
    if n + n_bytes > key.size:
        return key.size + 1
    if n_bytes == 1:
        key[n] = code
        return n + 1
    key[n] = (0xF00 >> n_bytes) & 0xFF | code >> 6 * (n_bytes - 1)
    for j in range(1, n_bytes):
        key[n + j] = 0x80 | code >> 6 * (n_bytes - 1 - j) & 0x3F
    return n + n_bytes
