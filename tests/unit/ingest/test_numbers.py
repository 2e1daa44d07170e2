"""Counts, decimals and times, digit by digit, against the standard library."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fleetopt.ingest.fields import NESTED, NULL, NUMBER, TEXT, TRUE
from fleetopt.ingest.kernels import numbers, times

LIMIT = 10_000_000
DIGITS = st.text("0123456789", min_size=1, max_size=25)
ALMOST_NUMBERS = st.text("0123456789+-.eE \u0663x", max_size=30)
DECIMALS = st.builds(
    lambda sign, whole, fraction, exponent: sign + whole + fraction + exponent,
    st.sampled_from(["", "-"]),
    DIGITS,
    st.one_of(st.just(""), DIGITS.map(lambda digits: "." + digits)),
    st.one_of(st.just(""), st.integers(-40, 40).map(lambda n: f"e{n}"), st.integers(0, 30).map(lambda n: f"E+{n}")),
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def spans(texts):
    encoded = [text.encode() for text in texts]
    end = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    start = end - np.array([len(text) for text in encoded], np.int64)
    return np.frombuffer(b"".join(encoded) + b"\n", np.uint8), start, end


def filled(kernel, texts, kind, *arguments):
    data, start, end = spans(texts)
    value, found = np.empty(len(texts), np.int64), np.empty(len(texts), np.uint8)
    kernel(data, start, end, np.full(len(texts), kind, np.uint8), *arguments, value, found)
    return list(zip(value.tolist(), found.tolist(), strict=True))


def count_of(text):
    if text == "":
        return 0, numbers.ABSENT
    if not re.fullmatch("-?[0-9]+", text):
        return 0, numbers.UNREADABLE
    value = int(text)
    if value == 0:
        return 0, numbers.ZERO
    if value < 0 or value > LIMIT:
        return 0, numbers.BELOW_ZERO if value < 0 else numbers.TOO_LARGE
    return value, numbers.READ


@settings(deadline=None)
@given(st.lists(st.one_of(DIGITS, DIGITS.map("-{}".format), ALMOST_NUMBERS), min_size=1, max_size=5))
@example(["9223372036854775808", "18446744073709551617", "-0", "-", "007", "1e3", "1.0", "NaN", "+1", " 1", "1_0"])
def test_counts_are_plain_decimal_integers(texts):
    assert filled(numbers.read_counts, texts, TEXT, True, LIMIT) == [count_of(text) for text in texts]


@pytest.mark.parametrize(
    ("kind", "is_text_allowed", "found"),
    [
        (NUMBER, False, numbers.READ),
        (TEXT, True, numbers.READ),
        (TEXT, False, numbers.UNREADABLE),
        (TRUE, True, numbers.UNREADABLE),
        (NESTED, True, numbers.UNREADABLE),
        (NULL, True, numbers.ABSENT),
    ],
)
def test_only_numbers_are_counts_and_text_where_it_may_be(kind, is_text_allowed, found):
    assert filled(numbers.read_counts, ["12"], kind, is_text_allowed, LIMIT)[0][1] == found
    assert filled(numbers.read_decimals, ["12"], kind, is_text_allowed, 0, LIMIT)[0][1] == found


def decimal_of(text, shift, limit):
    if text == "":
        return 0, numbers.ABSENT
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text):
        return 0, numbers.UNREADABLE
    scaled = int(Decimal(text).scaleb(shift))
    return (0, numbers.TOO_LARGE) if abs(scaled) > limit else (scaled, numbers.READ)


@settings(deadline=None)
@given(
    st.lists(st.one_of(DECIMALS, ALMOST_NUMBERS.filter(lambda text: not re.search("[eE][^0]", text))), max_size=5),
    st.sampled_from([-3, 0, 3, 6, 9]),
    st.sampled_from([1000, 10**16]),
)
@example(["1700000000.1234567", "1e-05", "0.0000001", "-0.5", "1.", ".5", "1e", "1e+", "00.5", "1.5.2"], 6, 10**16)
def test_decimals_are_read_by_their_digits(texts, shift, limit):
    expected = [decimal_of(text, shift, limit) for text in texts]
    assert filled(numbers.read_decimals, texts, TEXT, True, shift, limit) == expected


def test_exponents_of_any_size_end():
    texts = ["1e999999999999", "1e-999999999999", "0e999999999999", "1" * 1000, "0." + "0" * 1000 + "1"]
    expected = [numbers.TOO_LARGE, numbers.READ, numbers.READ, numbers.TOO_LARGE, numbers.READ]
    assert [found for _, found in filled(numbers.read_decimals, texts, TEXT, True, 6, 10**16)] == expected


def iso(texts, kind=TEXT, n_after=1):
    data, start, end = spans(texts)
    data = data[: len(data) - 1 + n_after]
    n = len(texts)
    us, is_local, found = np.empty(n, np.int64), np.empty(n, np.bool_), np.empty(n, np.uint8)
    n_local = times.read_iso_times(data, start, end, np.full(n, kind, np.uint8), us, is_local, found)
    assert n_local == is_local.sum()
    return list(zip(us.tolist(), is_local.tolist(), found.tolist(), strict=True))


def microseconds(wall):
    return (wall.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


ISO = re.compile(
    "([0-9]{4})-([0-9]{2})-([0-9]{2})[ T]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.]([0-9]{1,9}))?"
    "(Z|[+-](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?)?"
)


def iso_of(text):
    """The same by a pattern and `datetime`."""
    match = ISO.fullmatch(text)
    if match is None:
        return 0, False, times.UNREADABLE if text else times.ABSENT
    *parts, fraction, zone = match.groups()
    try:
        wall = datetime(*map(int, parts))  # noqa: DTZ001  # the zone comes below
    except ValueError:
        return 0, False, times.UNREADABLE
    digits = re.sub("[^0-9]", "", zone or "").ljust(4, "0")
    offset_us = (int(digits[:2]) * 60 + int(digits[2:])) * 60_000_000 * (-1 if zone and zone[0] == "-" else 1)
    us = microseconds(wall) + int((fraction or "").ljust(9, "0")[:6])
    return us - offset_us, zone is None, times.READ


ZONES = st.one_of(
    st.sampled_from(["", "Z", "+00:00", "-0530", "+14:59", "-14", "+15"]),
    st.builds(
        "{}{:02}{}{:02}".format,
        st.sampled_from("+-"),
        st.integers(0, 15),
        st.sampled_from([":", ""]),
        st.integers(0, 60),
    ),
)
ISO_TEXTS = st.builds(
    lambda time, separator, fraction, zone: f"{time:%Y}".zfill(4) + f"{time:-%m-%d{separator}%H:%M:%S}{fraction}{zone}",
    st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)),  # noqa: DTZ001  # the zone comes as text
    st.sampled_from(" T"),
    st.one_of(st.just(""), st.text("0123456789", max_size=10).map(".{}".format)),
    ZONES,
)


@st.composite
def changed(draw, texts):
    """Texts with one character changed, gone or added."""
    text, character = draw(texts), draw(st.sampled_from("0123456789-:. TZ+/\u0663z"))
    i = draw(st.integers(0, len(text)))
    return text[:i] + draw(st.sampled_from(["", character])) + text[i + draw(st.integers(0, 1)) :]


@settings(deadline=None)
@given(st.lists(st.one_of(ISO_TEXTS, changed(ISO_TEXTS), st.text("0123456789-:. TZ+", max_size=30)), min_size=1))
def test_iso_times_are_those_of_the_standard_library(texts):
    assert iso(texts) == [iso_of(text) for text in texts]


@pytest.mark.parametrize(
    "text",
    [
        *("2023-02-29 18:15:46", "2100-02-29 00:00:00", "2023-11-31 18:15:46", "2023-13-01 18:15:46"),
        *("2023-00-01 00:00:00", "2023-01-00 00:00:00", "2023-11-16 24:00:00", "2023-11-16 23:59:60"),
        *("2023-11-16 23:60:00", "2023-11-16", "2023-11-16 18:15", "2023-11-16 18:15:46."),
        *("2023-11-16 18:15:46.1234567890", "2023-11-16 18:15:46.123456x", "2023-11-16 18:15:46 Z"),
        *(
            "2023-11-16 18:15:46+15:00",
            "2023-11-16 18:15:46+0",
            "2023-11-16 18:15:46+1:00",
            "2023-11-16 18:15:46+00:60",
        ),
        *("2023-11-16 18:15:46+00:0", "2023-11-16 18:15:46+00:000", "2023-11-16 18:15:46Zulu", "2023-11-16 18:15:46-"),
        *(" 2023-11-16 18:15:46", "16/11/2023 18:15:46", "2023-11-16_18:15:46", "2023-11-16 18.15.46"),
        *(
            "2023-11-16 18:15:4\u0663",
            "-023-11-16 18:15:46",
            "2023-11-16 -8:15:46",
            "1700158546",
            "2023-11-16 18:15:46z",
        ),
    ],
)
def test_what_is_no_iso_time(text):
    assert iso([text]) == [(0, False, times.UNREADABLE)]
    # Nor does it harm its neighbours, some of which are of its day.
    good = "2023-11-16 18:15:46.25"
    assert [found for _, _, found in iso([good, text, good])] == [times.READ, times.UNREADABLE, times.READ]


def test_a_year_divisible_by_400_has_a_leap_day_and_there_are_times_before_1970():
    assert iso(["2000-02-29 00:00:00Z", "1969-12-31 23:59:59.999999Z", "0000-03-01 00:00:00Z"]) == [
        (microseconds(datetime(2000, 2, 29)), False, times.READ),  # noqa: DTZ001
        (-1, False, times.READ),
        (microseconds(datetime(1, 1, 1)) - 306 * 86_400_000_000, False, times.READ),  # noqa: DTZ001
    ]


@pytest.mark.parametrize("fraction", ["", ".1234567", ".12345678", ".123456789", ".123456x", ".123"])
def test_nothing_is_read_behind_the_last_byte(fraction):
    text = "2023-11-16 18:15:46" + fraction
    assert iso([text], n_after=0) == iso([text]) == [iso_of(text)]


def test_numbers_are_no_iso_times():
    assert iso(["2023-11-16 18:15:46"], NUMBER)[0][2] == times.UNREADABLE
    assert iso([""])[0][2] == times.ABSENT
