"""One pass over the bytes of JSON records: the grammar is checked, and the wanted fields are found, copying nothing.

A path such as ``usage.prompt_tokens`` is followed by walking. In an object, a key takes as much of the rest of a path
as it spells, if a dot or the end comes next: so keys with dots and nested objects are found alike, in any mixture. An
array is entered by a number. For every level of nesting on the way, ``offset`` says how much of each path is spelled;
what no path leads into is only checked.
"""

# mypy: ignore-errors
# Numba infers the types.

from typing import Final, NamedTuple

import numpy as np
from numba import njit

from fleetopt.ingest.fields import ESCAPED, FALSE, MISSING, NESTED, NULL, NUMBER, TEXT, TRUE
from fleetopt.ingest.records import FAULT_CODE

MAX_DEPTH: Final = 512
"""Deepest nesting that is read. What is nested deeper is no log record, and others refuse it too."""

_INVALID: Final = -1
_NOT_JSON: Final = FAULT_CODE["not_json"]
_NOT_AN_OBJECT: Final = FAULT_CODE["not_an_object"]
_REPEATED_FIELD: Final = FAULT_CODE["repeated_field"]

_QUOTE, _BACKSLASH, _COMMA, _COLON, _MINUS, _PLUS, _POINT, _ZERO, _NINE = (ord(c) for c in '"\\,:-+.09')
_OBJECT, _ARRAY = ord("{"), ord("[")
_TO_CLOSE: Final = 2  # from "{" to "}" and from "[" to "]"
_FIRST_PRINTABLE: Final = 0x20

_TRUE, _FALSE, _NULL = (np.frombuffer(word, np.uint8) for word in (b"true", b"false", b"null"))
_IS_SPACE: Final = np.isin(np.arange(256), list(b" \t\n\r"))
_IS_PLAIN: Final = (np.arange(256) >= _FIRST_PRINTABLE) & ~np.isin(np.arange(256), [_QUOTE, _BACKSLASH])
_HEX: Final = np.array([int(chr(c), 16) if chr(c) in "0123456789abcdefABCDEF" else _INVALID for c in range(256)])
_ESCAPES: Final = np.zeros(256, np.uint8)
_ESCAPES[list(b'"\\/bfnrt')] = list(b'"\\/\b\f\n\r\t')

_NOWHERE, _HERE, _DEEPER = range(3)


class Plan(NamedTuple):
    """The wanted paths, prepared for walking; ``k`` paths of at most ``w`` bytes.

    Attributes
    ----------
    text : np.ndarray
        uint8[k, w]: UTF-8 of each path, every part followed by a dot, the last one too.
    length : np.ndarray
        int64[k]: bytes of it.
    bit : np.ndarray
        int64[k, w]: a bit for every dot, another for each of a path.
    element : np.ndarray
        int64[k, w]: the array element that is meant by the part that begins here, -1 where it is no number.
    after : np.ndarray
        int64[k, w]: where the next part begins.
    n_levels : int
        Most parts of a path, and one.
    """

    text: np.ndarray
    length: np.ndarray
    bit: np.ndarray
    element: np.ndarray
    after: np.ndarray
    n_levels: int


class _Walk(NamedTuple):
    """Where the walk through a record is; ``offset`` and ``seen`` by level and path, the others by level."""

    offset: np.ndarray
    """int64: bytes of the path that are spelled on the way to the values of this level; -1 where it leads elsewhere."""
    seen: np.ndarray
    """int64: bits of the dots up to which keys of this object have spelled the path."""
    opened: np.ndarray
    """uint8: the bracket that opened it."""
    position: np.ndarray
    """int64: of an array, the element that is looked at."""
    is_repeated: np.ndarray
    """bool, by path: whether it was found twice."""
    key: np.ndarray
    """uint8: a key without its escapes."""
    brackets: np.ndarray
    """uint8[MAX_DEPTH]: what is open inside a value that is only checked."""


class Found(NamedTuple):
    """What is filled in: as in `fleetopt.ingest.fields.Fields`."""

    start: np.ndarray
    end: np.ndarray
    kind: np.ndarray
    fault: np.ndarray


@njit(cache=True, nogil=True)
def find_json_fields(data, start, end, plan, found):
    """Find the wanted fields of every record without a fault, and the faults of the others.

    Parameters
    ----------
    data : np.ndarray
        uint8[n_bytes], valid UTF-8 where records have no fault.
    start, end : np.ndarray
        int64[n]: the records.
    plan : Plan
    found : Found
        Arrays [k, n] of zeros and faults [n], which are filled in.
    """
    n_paths, width = plan.text.shape
    walk = _Walk(
        np.zeros((plan.n_levels, n_paths), np.int64),
        np.zeros((plan.n_levels, n_paths), np.int64),
        np.zeros(plan.n_levels, np.uint8),
        np.zeros(plan.n_levels, np.int64),
        np.zeros(n_paths, np.bool_),
        np.zeros(width, np.uint8),
        np.zeros(MAX_DEPTH, np.uint8),
    )
    for record in range(start.size):
        if found.fault[record] == 0:
            found.fault[record] = _read_record(data, start[record], end[record], plan, walk, found, record)


@njit(nogil=True)
def _read_record(data, i, end, plan, walk, found, record):
    """Read one record; its fault."""
    i = _after_space(data, i, end)
    if i == end:
        return _NOT_JSON
    if data[i] != _OBJECT:
        i = _after_value(data, i, end, walk.brackets, 0)
        return _NOT_AN_OBJECT if i != _INVALID and _after_space(data, i, end) == end else _NOT_JSON
    i = _walk_object(data, i, end, plan, walk, found, record)
    if i == _INVALID or _after_space(data, i, end) != end:
        found.kind[:, record] = MISSING
        walk.is_repeated[:] = False
        return _NOT_JSON
    fault = 0
    for path in range(plan.length.size):
        if walk.is_repeated[path]:
            walk.is_repeated[path] = False
            found.kind[path, record] = MISSING
            fault = _REPEATED_FIELD
    return fault


@njit(nogil=True)
def _walk_object(data, i, end, plan, walk, found, record):
    """Walk through an object as far as paths lead; the position after it, or `_INVALID`."""
    level = 0
    walk.offset[0, :] = 0
    _enter(walk, level, _OBJECT)
    i = _after_space(data, i + 1, end)
    is_empty = i < end and data[i] == _OBJECT + _TO_CLOSE
    while True:
        if not is_empty:
            i, leads = _next_value(data, i, end, plan, walk, level)
            if i == _INVALID or i >= end:
                return _INVALID
            first = data[i]
            if leads == _DEEPER and (first == _OBJECT or first == _ARRAY):
                level += 1
                _take(plan, walk, found, record, level, i, i, NESTED)
                _enter(walk, level, first)
                i = _after_space(data, i + 1, end)
                is_empty = i < end and data[i] == first + _TO_CLOSE
                if not is_empty:
                    continue
            else:
                begin = i
                i, kind = _after_any(data, i, end, walk.brackets, level + 1)
                if i == _INVALID:
                    return _INVALID
                if leads != _NOWHERE:
                    quote = 1 if kind == TEXT or kind == ESCAPED else 0
                    _take(plan, walk, found, record, level + 1, begin + quote, i - quote, kind)
        is_empty = False
        while True:
            i = _after_space(data, i, end)
            if i >= end:
                return _INVALID
            if data[i] == _COMMA:
                walk.position[level] += 1
                i = _after_space(data, i + 1, end)
                break
            if data[i] != walk.opened[level] + _TO_CLOSE:
                return _INVALID
            i += 1
            if level == 0:
                return i
            _close(plan, walk, found, record, level, i)
            level -= 1


@njit(nogil=True)
def _enter(walk, level, bracket):
    walk.opened[level] = bracket
    walk.position[level] = 0
    walk.seen[level, :] = 0


@njit(nogil=True)
def _next_value(data, i, end, plan, walk, level):
    """Go on to the next value of what is open: its position, and whether a path leads to it or into it."""
    if walk.opened[level] == _ARRAY:
        return i, _match_element(plan, walk, level)
    if i >= end or data[i] != _QUOTE:
        return _INVALID, _NOWHERE
    begin = i + 1
    i, is_escaped = _after_string(data, begin, end)
    if i == _INVALID:
        return _INVALID, _NOWHERE
    if is_escaped:
        length = _decode_key(data, begin, i - 1, walk.key)
        leads = _match_key(walk.key, 0, length, plan, walk, level)
    else:
        leads = _match_key(data, begin, i - 1 - begin, plan, walk, level)
    return _after_colon(data, i, end), leads


@njit(nogil=True)
def _match_key(text, begin, length, plan, walk, level):
    """Follow every path that leads here through a key of ``length`` bytes."""
    leads = _NOWHERE
    for path in range(plan.length.size):
        offset = walk.offset[level, path]
        walk.offset[level + 1, path] = -1
        if offset < 0:
            continue
        dot = offset + length
        if dot >= plan.length[path] or plan.text[path, dot] != _POINT:
            continue
        j = 0
        while j < length and text[begin + j] == plan.text[path, offset + j]:
            j += 1
        if j < length:
            continue
        if walk.seen[level, path] & plan.bit[path, dot]:
            walk.is_repeated[path] = True
        walk.seen[level, path] |= plan.bit[path, dot]
        walk.offset[level + 1, path] = dot + 1
        leads = max(leads, _HERE if dot + 1 == plan.length[path] else _DEEPER)
    return leads


@njit(nogil=True)
def _match_element(plan, walk, level):
    """Follow every path that leads here into the element of the array that is looked at."""
    leads = _NOWHERE
    for path in range(plan.length.size):
        offset = walk.offset[level, path]
        walk.offset[level + 1, path] = -1
        if 0 <= offset < plan.length[path] and plan.element[path, offset] == walk.position[level]:
            after = plan.after[path, offset]
            walk.offset[level + 1, path] = after
            leads = max(leads, _HERE if after == plan.length[path] else _DEEPER)
    return leads


@njit(nogil=True)
def _take(plan, walk, found, record, level, begin, after, kind):
    """Note a value for the paths that end at it."""
    for path in range(plan.length.size):
        if walk.offset[level, path] == plan.length[path]:
            if found.kind[path, record] != MISSING:
                walk.is_repeated[path] = True
            found.start[path, record] = begin
            found.end[path, record] = after
            found.kind[path, record] = kind


@njit(nogil=True)
def _close(plan, walk, found, record, level, after):
    """Note the end of what is closed for the paths that end at it."""
    for path in range(plan.length.size):
        if walk.offset[level, path] == plan.length[path]:
            found.end[path, record] = after


@njit(nogil=True)
def _after_space(data, i, end):
    while i < end and _IS_SPACE[data[i]]:
        i += 1
    return i


@njit(nogil=True)
def _after_colon(data, i, end):
    i = _after_space(data, i, end)
    if i >= end or data[i] != _COLON:
        return _INVALID
    return _after_space(data, i + 1, end)


@njit(nogil=True)
def _after_any(data, i, end, brackets, depth):
    """The position after a value, or `_INVALID`, and its kind."""
    if data[i] == _OBJECT or data[i] == _ARRAY:
        return _after_value(data, i, end, brackets, depth), NESTED
    return _after_scalar(data, i, end)


@njit(nogil=True)
def _after_value(data, i, end, brackets, outside):
    """Check a value, of whatever nesting; the position after it, or `_INVALID`. ``outside`` brackets are open."""
    depth = outside
    while True:
        if i == _INVALID or i >= end:
            return _INVALID
        first = data[i]
        if first == _OBJECT or first == _ARRAY:
            if depth == MAX_DEPTH:
                return _INVALID
            brackets[depth] = first
            depth += 1
            i = _after_space(data, i + 1, end)
            if i >= end or data[i] != first + _TO_CLOSE:
                i = _after_key(data, i, end) if first == _OBJECT else i
                continue
        else:
            i, _ = _after_scalar(data, i, end)
            if i == _INVALID:
                return _INVALID
        while True:
            if depth == outside:
                return i
            i = _after_space(data, i, end)
            if i >= end:
                return _INVALID
            if data[i] == _COMMA:
                i = _after_space(data, i + 1, end)
                i = _after_key(data, i, end) if brackets[depth - 1] == _OBJECT else i
                break
            if data[i] != brackets[depth - 1] + _TO_CLOSE:
                return _INVALID
            i += 1
            depth -= 1


@njit(nogil=True)
def _after_key(data, i, end):
    """The position of the value that follows a key, or `_INVALID`."""
    if i >= end or data[i] != _QUOTE:
        return _INVALID
    i, _ = _after_string(data, i + 1, end)
    return _INVALID if i == _INVALID else _after_colon(data, i, end)


@njit(nogil=True)
def _after_scalar(data, i, end):
    """The position after a value that is neither object nor array, or `_INVALID`, and its kind."""
    first = data[i]
    if first == _QUOTE:
        i, is_escaped = _after_string(data, i + 1, end)
        return i, ESCAPED if is_escaped else TEXT
    if first == _TRUE[0]:
        return _after_word(data, i, end, _TRUE), TRUE
    if first == _FALSE[0]:
        return _after_word(data, i, end, _FALSE), FALSE
    if first == _NULL[0]:
        return _after_word(data, i, end, _NULL), NULL
    return _after_number(data, i, end), NUMBER


@njit(nogil=True)
def _after_word(data, i, end, word):
    if end - i < word.size:
        return _INVALID
    for j in range(word.size):
        if data[i + j] != word[j]:
            return _INVALID
    return i + word.size


@njit(nogil=True)
def _after_number(data, i, end):
    if data[i] == _MINUS:
        i += 1
    if i < end and data[i] == _ZERO:
        i += 1
    else:
        i = _after_digits(data, i, end)
    if i != _INVALID and i < end and data[i] == _POINT:
        i = _after_digits(data, i + 1, end)
    if i != _INVALID and i < end and (data[i] == ord("e") or data[i] == ord("E")):
        i += 1
        if i < end and (data[i] == _MINUS or data[i] == _PLUS):
            i += 1
        i = _after_digits(data, i, end)
    return i


@njit(nogil=True)
def _after_digits(data, i, end):
    """The position after one or more digits, or `_INVALID`."""
    begin = i
    while i < end and _ZERO <= data[i] <= _NINE:
        i += 1
    return i if i > begin else _INVALID


@njit(nogil=True)
def _after_string(data, i, end):
    """The position after the closing quote of a string whose first byte is at ``i``, and whether it has escapes."""
    is_escaped = False
    while True:
        while i < end and _IS_PLAIN[data[i]]:
            i += 1
        if i >= end:
            return _INVALID, is_escaped
        if data[i] == _QUOTE:
            return i + 1, is_escaped
        if data[i] != _BACKSLASH or i + 1 >= end:
            return _INVALID, is_escaped
        is_escaped = True
        if data[i + 1] == ord("u"):
            if end - i < 6 or _hex4(data, i + 2) == _INVALID:
                return _INVALID, is_escaped
            i += 6
        elif _ESCAPES[data[i + 1]]:
            i += 2
        else:
            return _INVALID, is_escaped


@njit(nogil=True)
def _hex4(data, i):
    """Value of four hexadecimal digits, or `_INVALID`."""
    value = 0
    for j in range(4):
        digit = _HEX[data[i + j]]
        if digit == _INVALID:
            return _INVALID
        value = value * 16 + digit
    return value


@njit(nogil=True)
def _decode_key(data, i, end, key):
    """Write a key without its escapes, as UTF-8; its length, or more than ``key`` holds if it is too long.

    Halves of surrogate pairs that stand alone become bytes that are no UTF-8, so that they match nothing.
    """
    n = 0
    while i < end and n < key.size:
        if data[i] != _BACKSLASH:
            key[n] = data[i]
            n += 1
            i += 1
        elif data[i + 1] != ord("u"):
            key[n] = _ESCAPES[data[i + 1]]
            n += 1
            i += 2
        else:
            code = _hex4(data, i + 2)
            i += 6
            if 0xD800 <= code < 0xDC00 and end - i >= 6 and data[i] == _BACKSLASH and data[i + 1] == ord("u"):
                low = _hex4(data, i + 2)
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
