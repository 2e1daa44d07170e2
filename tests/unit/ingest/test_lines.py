"""Places of lines in their bytes, hashes, text that is kept, long lines; and mutated files against a slow reading."""

import hashlib
import io
import json
import tracemalloc
from datetime import date, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetopt.errors import InputError
from fleetopt.ingest.formats import get_format
from fleetopt.ingest.lines import LINE_SCHEMA, MAX_LINE_BYTES, Tally, count_lines, read_lines
from fleetopt.ingest.reasons import REASONS
from tests.reference import ingest_lines as reference
from tests.unit.ingest.helpers import HEADER, KEY, START, read

HAND_MADE = (
    b"\xef\xbb\xbfTIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    b"2023-11-16 18:15:46.6805900,374,44\r\n"
    b"\r\n"
    b"2023-11-16 18:15:50,396,109\n"
    b" \t \n"
    b"2023-11-16 18:15:51,\xff,1\r\n"
    b"2023-11-16 18:15:52,\x00,1\n"
    b"TIMESTAMP,ContextTokens,GeneratedTokens\n"
    b"2023-11-16 18:15:53,caf\xc3\xa9,1\r\r\n"
    b"2023-11-16 18:15:54,5,6"
)


def test_rows_of_a_hand_made_file():
    tally = Tally()
    rows = read(HAND_MADE, tally=tally)
    assert rows.schema == LINE_SCHEMA
    assert (tally.lines, tally.headers) == (6, 2)
    assert rows["line_number"].to_list() == [2, 4, 6, 7, 9, 10]
    assert rows["byte_offset"].to_list() == [44, 82, 114, 139, 203, 233]
    assert rows["byte_length"].to_list() == [34, 27, 23, 23, 28, 23]
    assert rows["reason"].to_list() == [None, None, "not_utf8", "nul_byte", "bad_number", None]
    assert rows["prompt_tokens"].to_list() == [374, 396, None, None, None, 5]
    assert rows["raw_text"].to_list() == [None, None, None, None, "2023-11-16 18:15:53,café,1\r", None]
    assert rows["file"].unique().to_list() == ["f"]


def test_the_hash_is_blake2b_of_the_line_without_its_end():
    rows = read(HEADER + b"\r\n2023-11-16 18:15:46,3,4\r\n2023-11-16 18:15:46,3,4")
    expected = hashlib.blake2b(b"2023-11-16 18:15:46,3,4", key=KEY, digest_size=16).hexdigest()
    assert rows["record_hash"].to_list() == [expected, expected]
    assert read(HEADER + b"\n2023-11-16 18:15:46,3,4", hash_key=b"other")["record_hash"][0] != expected


@pytest.mark.parametrize("data", [b"", b"\n\r\n  \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n", HEADER, HEADER + b"\r\n\r\n"])
def test_files_without_a_line(data):
    assert len(read(data)) == 0


def test_kept_text_is_capped():
    rows = read(HEADER + b"\n" + b"x" * 10_000 + b"\n" + "é".encode() * 3000 + b"\n" + b"y" * 4096)
    kept = [len(text.encode()) for text in rows["raw_text"]]
    assert all(size <= 4096 for size in kept)
    assert kept[2] == 4096
    assert rows["byte_length"].to_list() == [10_000, 6000, 4096]


def test_a_long_line_is_read_whole_and_costs_a_few_times_its_size():
    size = 20_000_000
    line = b'{"timestamp": 1, "input_length": 3, "output_length": 4, "text_input": "' + b"x" * size + b'"}'
    data = line + b'\n{"timestamp": 2, "input_length": 3, "output_length": 4}\n'
    tracemalloc.start()
    rows = read(data, "mooncake", batch_bytes=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows["reason"].to_list() == [None, None]
    assert rows["byte_offset"].to_list() == [0, len(line) + 1]
    assert peak < 6 * size


def test_a_line_over_the_limit_is_counted_and_hashed_but_not_parsed():
    line = b"7" * (MAX_LINE_BYTES + 1)
    rows = read(HEADER + b"\n" + line + b"\n2023-11-16 18:15:46,3,4\n")
    assert rows["reason"].to_list() == ["line_too_long", None]
    assert rows["byte_length"][0] == len(line)
    assert rows["record_hash"][0] == reference.keyed_hash(line, KEY)
    assert rows["raw_text"][0] is None


def test_reading_is_streaming():
    class Endless(io.RawIOBase):
        n_read = 0

        def read(self, size=-1):
            self.n_read += 1
            return HEADER + b"\n" if self.n_read == 1 else b"2023-11-16 18:15:46,3,4\n" * 10

    rows = read_lines(
        Endless(),
        file="f",
        log_format=get_format("azure"),
        timezone="UTC",
        clock_start=None,
        hash_key=KEY,
        batch_bytes=9,
    )
    assert [len(next(rows)) for _ in range(3)] == [10, 10, 10]


def test_lines_of_another_local_date_are_outside_the_day():
    data = HEADER + b"\n2023-11-16 23:30:00,1,2\n2023-11-17 00:30:00,1,2\n2023-11-17 00:30:00,0,2\n"
    for zone in ("UTC", "Europe/Berlin"):
        rows = read(data, timezone=zone, local_date=date(2023, 11, 16))
        assert rows["reason"].to_list() == [None, "outside_day", "zero_tokens"]
        assert rows["prompt_tokens"].to_list() == [1, None, None]
        assert rows["raw_text"][1] == "2023-11-17 00:30:00,1,2"
    with_offset = read(HEADER + b"\n2023-11-16 23:30:00Z,1,2", timezone="Europe/Berlin", local_date=date(2023, 11, 16))
    assert with_offset["reason"].to_list() == ["outside_day"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"log_format": "mooncake", "clock_start": None}, "f: format 'mooncake' counts time from a start"),
        ({"clock_start": datetime(2023, 11, 16)}, "needs a zone"),  # noqa: DTZ001  # that is the mistake
        ({"hash_key": b""}, "1 to 64 bytes"),
        ({"hash_key": b"k" * 65}, "1 to 64 bytes"),
        ({"timezone": "Mars/Base"}, "unknown time zone 'Mars/Base'"),
    ],
)
def test_arguments_are_checked_at_once(options, message):
    options = {"log_format": "azure", "clock_start": START, "hash_key": KEY, "timezone": "UTC"} | options
    options["log_format"] = get_format(options["log_format"])
    with pytest.raises(InputError, match=message):
        read_lines(io.BytesIO(b""), file="f", **options)


# Mutated files

_TIMES = st.sampled_from(
    [
        "2023-11-16 18:15:46.6805900",
        "2023-11-16 23:59:59.9999999",
        "2023-11-17 00:00:00",
        "2023-10-29 02:30:00.5",
        "2023-03-26 02:30:00",
        "2024-05-12 00:00:00.123456+00:00",
        "2025-05-01T01:31:14.787Z",
    ]
)
_NUMBERS = st.one_of(
    st.integers(1, 20_000).map(str),
    st.sampled_from(["0", "-1", "1e3", "NaN", "9223372036854775808", "1.0", "", "true"]),
)
_AZURE_LINES = st.one_of(
    st.tuples(_TIMES, _NUMBERS, _NUMBERS).map(",".join),
    st.sampled_from([HEADER.decode(), "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens", "", " ", "a,b,c"]),
)
_MOONCAKE_LINES = st.tuples(
    st.integers(0, 10**8), st.integers(0, 20_000), st.integers(0, 2000), st.lists(st.integers(0, 99), max_size=3)
).map(lambda v: json.dumps(dict(zip(("timestamp", "input_length", "output_length", "hash_ids"), v, strict=True))))
_LINE_ENDS = st.sampled_from([b"\n", b"\r\n"])


@st.composite
def _mutated(draw, lines, header):
    """A valid file with bytes changed, put in and taken out, lines repeated and swapped, and its tail cut."""
    content = [header] * draw(st.integers(0, 1)) + [line.encode() for line in draw(st.lists(lines, max_size=12))]
    for _ in range(draw(st.integers(0, 2))):
        if content:
            i, j = (draw(st.integers(0, len(content) - 1)) for _ in range(2))
            content[i], content[j] = content[j], content[i]
            content.insert(draw(st.integers(0, len(content))), content[i])
    data = bytearray(draw(st.sampled_from([b"", b"\xef\xbb\xbf"])))
    for line in content:
        data += line + draw(_LINE_ENDS)
    special = st.sampled_from(b'\0\n\r,\xff\xef\xbb\xbf9-+ {}"e')
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 2))] = bytes(draw(st.lists(special, max_size=2)))
    return bytes(data[: len(data) - draw(st.integers(0, 5))])


def _check_against_reference(data, rows, expected):
    expected = list(expected)
    assert rows["line_number"].to_list() == [row["line_number"] for row in expected]
    for row, wanted in zip(rows.iter_rows(named=True), expected, strict=True):
        content = data[row["byte_offset"] : row["byte_offset"] + row["byte_length"]]
        assert content == wanted["content"]
        assert row["record_hash"] == reference.keyed_hash(wanted["content"], KEY)
        for name in ("arrival_time", "prompt_tokens", "output_tokens", "reason", "raw_text"):
            assert row[name] == wanted.get(name), (name, content)
        assert row["reason"] is None or row["reason"] in REASONS


@settings(max_examples=150, deadline=None)
@given(
    data=_mutated(_AZURE_LINES, HEADER),
    timezone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
    batch_bytes=st.integers(1, 60),
)
def test_mutated_azure_files_against_the_slow_reading(data, timezone, batch_bytes):
    tally = Tally()
    rows = read(data, timezone=timezone, tally=tally)
    _check_against_reference(data, rows, reference.azure_rows(data, timezone))
    assert count_lines(io.BytesIO(data)) == reference.count_non_blank(data) == len(rows) + tally.headers
    assert tally.lines == len(rows)
    assert rows.equals(read(data, timezone=timezone, batch_bytes=batch_bytes))


@settings(max_examples=150, deadline=None)
@given(data=_mutated(_MOONCAKE_LINES, b""), batch_bytes=st.integers(1, 60))
def test_mutated_mooncake_files_against_the_slow_reading(data, batch_bytes):
    rows = read(data, "mooncake")
    _check_against_reference(data, rows, reference.mooncake_rows(data, START))
    assert count_lines(io.BytesIO(data)) == reference.count_non_blank(data) == len(rows)
    assert rows.equals(read(data, "mooncake", batch_bytes=batch_bytes))


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200), name=st.sampled_from(["azure", "mooncake"]), batch_bytes=st.integers(1, 60))
def test_arbitrary_bytes_lose_no_line(data, name, batch_bytes):
    rows = read(data, name)
    assert len(rows) == count_lines(io.BytesIO(data))
    assert rows.filter(pl.col("reason").is_null()).is_empty()
    assert rows.equals(read(data, name, batch_bytes=batch_bytes))
