"""The grammar of JSON (RFC 8259): where a value ends. What is skipped is checked all the same.

Every function takes the bytes, a position and the end of the record, and returns the position after what it is named
for, or `INVALID`.
"""

from typing import Final

import numpy as np
from numba import njit

from fleetopt.ingest.fields import ESCAPED, FALSE, NULL, NUMBER, TEXT, TRUE

MAX_DEPTH: Final = 512
"""Deepest nesting that is read. What is nested deeper is no log record, and other readers refuse it too."""
INVALID: Final = -1

QUOTE, BACKSLASH, COMMA, COLON, POINT = (ord(c) for c in '"\\,:.')
OBJECT, ARRAY = ord("{"), ord("[")
TO_CLOSE: Final = 2
"""From an opening bracket to the closing one."""
ESCAPES: Final = np.zeros(256, np.uint8)
"""What a character after a backslash means; zero where it means nothing, or is a ``u``."""
ESCAPES[list(b'"\\/bfnrt')] = list(b'"\\/\b\f\n\r\t')

_MINUS, _PLUS, _ZERO, _NINE = (ord(c) for c in "-+09")
_TRUE, _FALSE, _NULL = (np.frombuffer(word, np.uint8) for word in (b"true", b"false", b"null"))
_SPACE: Final = " \t\n\r"
_IS_SPACE: Final = np.isin(np.arange(256), list(_SPACE.encode()))
_IS_PLAIN: Final = (np.arange(256) >= ord(" ")) & ~np.isin(np.arange(256), [QUOTE, BACKSLASH])
_HEX: Final = np.array([int(chr(c), 16) if chr(c) in "0123456789abcdefABCDEF" else INVALID for c in range(256)])


def _number_array() -> tuple[np.ndarray, np.uint64, np.uint64]:
    """Build an automaton for arrays of numbers.

    A state is a shift: ``steps[byte] >> state & 63`` is the next one, and 0 none. Reading a byte so takes two cycles
    and no branch that could be mispredicted, as the ends of numbers are.

    Returns
    -------
    steps : np.ndarray
        uint64[256]
    start, ends : np.uint64
        The first state; the bits of states in which the array may be closed.
    """
    # Eleven states of six bits are two bits more than there are: the last may only lead to what four bits can name.
    names = ("", "exponent", "int", "start", "minus", "zero", "point", "fraction", "e", "space", "sign")
    shift = {name: 6 * i for i, name in enumerate(names)}
    steps = np.zeros(256, np.uint64)

    def lead(states: str, characters: str, to: str) -> None:
        for state in states.split():
            steps[list(characters.encode())] |= np.uint64(shift[to] << shift[state])

    digits, ends = "0123456789", "zero int fraction exponent space"
    lead("start", _SPACE, "start")
    lead("start", "-", "minus")
    lead("start minus", "0", "zero")
    lead("start minus", digits[1:], "int")
    lead("int", digits, "int")
    lead("zero int", ".", "point")
    lead("point fraction", digits, "fraction")
    lead("zero int fraction", "eE", "e")
    lead("e", "+-", "sign")
    lead("e sign exponent", digits, "exponent")
    lead(ends, _SPACE, "space")
    lead(ends, ",", "start")
    return steps, np.uint64(shift["start"]), np.uint64(sum(1 << shift[name] for name in ends.split()))


_STEPS, _START, _ENDS = _number_array()


@njit(nogil=True)
def after_space(data, i, end):
    """After white space, if there is any."""
    while i < end and _IS_SPACE[data[i]]:
        i += 1
    return i


@njit(nogil=True)
def after_colon(data, i, end):
    """After a colon and the white space around it."""
    i = after_space(data, i, end)
    if i >= end or data[i] != COLON:
        return INVALID
    return after_space(data, i + 1, end)


@njit(nogil=True)
def after_string(data, i, end):
    """After the closing quote of a string whose opening one is before ``i``; and whether it has escapes."""
    is_escaped = False
    while True:
        while i < end and _IS_PLAIN[data[i]]:
            i += 1
        if i >= end:
            return INVALID, is_escaped
        if data[i] == QUOTE:
            return i + 1, is_escaped
        if data[i] != BACKSLASH or i + 1 >= end:
            return INVALID, is_escaped
        is_escaped = True
        if data[i + 1] == ord("u"):
            if end - i < 6 or hex4(data, i + 2) == INVALID:
                return INVALID, is_escaped
            i += 6
        elif ESCAPES[data[i + 1]]:
            i += 2
        else:
            return INVALID, is_escaped


@njit(nogil=True)
def hex4(data, i):
    """Value of four hexadecimal digits, or `INVALID`."""
    value = 0
    for j in range(4):
        digit = _HEX[data[i + j]]
        if digit == INVALID:
            return INVALID
        value = value * 16 + digit
    return value


@njit(nogil=True)
def after_scalar(data, i, end):
    """After a value that is neither object nor array; and its kind."""
    first = data[i]
    if first == QUOTE:
        i, is_escaped = after_string(data, i + 1, end)
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
        return INVALID
    for j in range(word.size):
        if data[i + j] != word[j]:
            return INVALID
    return i + word.size


@njit(nogil=True)
def _after_number(data, i, end):
    if data[i] == _MINUS:
        i += 1
    if i < end and data[i] == _ZERO:
        i += 1
    else:
        i = _after_digits(data, i, end)
    if i != INVALID and i < end and data[i] == POINT:
        i = _after_digits(data, i + 1, end)
    if i != INVALID and i < end and (data[i] == ord("e") or data[i] == ord("E")):
        i += 1
        if i < end and (data[i] == _MINUS or data[i] == _PLUS):
            i += 1
        i = _after_digits(data, i, end)
    return i


@njit(nogil=True)
def _after_digits(data, i, end):
    """After one or more digits."""
    begin = i
    while i < end and _ZERO <= data[i] <= _NINE:
        i += 1
    return i if i > begin else INVALID


@njit(nogil=True)
def _after_numbers(data, i, end):
    """After an array of numbers, not empty, whose bracket is before ``i``; `INVALID` if it is any other array."""
    state = _START
    while i < end:
        next_state = (_STEPS[data[i]] >> state) & np.uint64(63)
        if next_state == 0:
            break
        state = next_state
        i += 1
    is_closed = i < end and data[i] == ARRAY + TO_CLOSE
    return i + 1 if is_closed and (_ENDS >> state) & np.uint64(1) else INVALID


@njit(nogil=True)
def _after_key(data, i, end):
    """After a key and its colon: where the value begins."""
    if i >= end or data[i] != QUOTE:
        return INVALID
    i, _ = after_string(data, i + 1, end)
    return INVALID if i == INVALID else after_colon(data, i, end)


@njit(nogil=True)
def after_value(data, i, end, brackets, outside):
    """After a value of any nesting, in which ``outside`` brackets are open already.

    ``brackets``, uint8[MAX_DEPTH], is written to.
    """
    depth = outside
    while True:
        if i == INVALID or i >= end:
            return INVALID
        first = data[i]
        if first in {OBJECT, ARRAY}:
            if depth == MAX_DEPTH:
                return INVALID
            after = _after_numbers(data, i + 1, end) if first == ARRAY else INVALID
            if after == INVALID:
                brackets[depth] = first
                depth += 1
                i = after_space(data, i + 1, end)
                if i >= end or data[i] != first + TO_CLOSE:
                    i = _after_key(data, i, end) if first == OBJECT else i
                    continue
            else:
                i = after
        else:
            i, _ = after_scalar(data, i, end)
            if i == INVALID:
                return INVALID
        i, depth = _after_brackets(data, i, end, brackets, depth, outside)
        if depth == outside:
            return i


@njit(nogil=True)
def _after_brackets(data, i, end, brackets, depth, outside):
    """After what closes and the comma that follows: where the next value begins; and how many brackets are open."""
    while depth > outside:
        i = after_space(data, i, end)
        if i >= end:
            return INVALID, outside
        if data[i] == COMMA:
            i = after_space(data, i + 1, end)
            return _after_key(data, i, end) if brackets[depth - 1] == OBJECT else i, depth
        if data[i] != brackets[depth - 1] + TO_CLOSE:
            return INVALID, outside
        i += 1
        depth -= 1
    return i, depth
