"""Records of a file: places, faults, hashes and line ends, in files cut anywhere, against a reading line by line."""

import io
import re
import tracemalloc
from typing import NamedTuple
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fleetopt.errors import InputError
from fleetopt.ingest import lines
from fleetopt.ingest.lines import count_lines, derive_key, keyed_hashes, read_chunks, split_chunk
from fleetopt.ingest.records import FAULTS

KEY = bytes(range(16))
MARK = b"\xef\xbb\xbf"
BLANK = b" \t\r\n\v\f"


class Record(NamedTuple):
    content: bytes | None
    line_number: int
    byte_offset: int
    byte_length: int
    key: bytes
    fault: str | None


def read(data, *, batch_bytes=1 << 20, quoted=False, delimiter=","):
    """Records of a file, and the non-blank lines that they are said to be made of."""
    found, n_lines = [], 0
    for chunk in read_chunks(io.BytesIO(data), batch_bytes=batch_bytes, quoted=quoted, delimiter=delimiter):
        batch = split_chunk(chunk, record_key=KEY)
        assert batch.record_number.tolist() == [1] * len(batch)
        n_lines += batch.n_lines
        for i in range(len(batch)):
            fault = FAULTS[batch.fault[i]]
            key = batch.key_hi[i].tobytes() + batch.key_lo[i].tobytes()
            places = (int(batch.line_number[i]), int(batch.byte_offset[i]), int(batch.byte_length[i]))
            found.append(Record(None if fault == "line_too_long" else batch.record(i), *places, key, fault))
    return found, n_lines


# The slow reading


def siphash(data, key):
    """SipHash-2-4 with 128 bits, from the paper's description and with the reference code's constants."""
    mask = (1 << 64) - 1

    def turned(x, bits):
        return ((x << bits) | (x >> (64 - bits))) & mask

    def rounds(count):
        for _ in range(count):
            v[0] = (v[0] + v[1]) & mask
            v[1] = turned(v[1], 13) ^ v[0]
            v[0] = turned(v[0], 32)
            v[2] = (v[2] + v[3]) & mask
            v[3] = turned(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & mask
            v[3] = turned(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & mask
            v[1] = turned(v[1], 17) ^ v[2]
            v[2] = turned(v[2], 32)

    first, second = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    text = b"somepseudorandomlygeneratedbytes"
    v = [int.from_bytes(text[i : i + 8], "big") ^ (second if i % 16 else first) for i in range(0, 32, 8)]
    v[1] ^= 0xEE
    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) % 256])
    for i in range(0, len(padded), 8):
        word = int.from_bytes(padded[i : i + 8], "little")
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xEE
    rounds(4)
    result = (v[0] ^ v[1] ^ v[2] ^ v[3]).to_bytes(8, "little")
    v[1] ^= 0xDD
    rounds(4)
    return result + (v[0] ^ v[1] ^ v[2] ^ v[3]).to_bytes(8, "little")


def fault_of(content):
    if b"\0" in content:
        return "nul_byte"
    try:
        content.decode()
    except UnicodeDecodeError:
        return "not_utf8"
    return None


def physical_lines(data):
    """Number, offset and content with its end of each line, blank or not."""
    offset = len(MARK) if data.startswith(MARK) else 0
    for number, line in enumerate(re.findall(rb"[^\n]*\n|[^\n]+", data[offset:]), start=1):
        yield number, offset, line
        offset += len(line)


def without_end(text):
    return text.removesuffix(b"\n").removesuffix(b"\r")


def slow_records(data, longest, *, quoted=False, delimiter=","):
    """Read a line at a time; of CSV with quotes, try longer and longer runs of lines until one can be read."""
    field = rb'(?:"(?:[^"]|"")*"|[^"\n%s]*)' % delimiter.encode()
    readable = re.compile(rb"(?:%s)?%s(?:%s%s)*" % (MARK, field, delimiter.encode(), field))
    physical = list(physical_lines(data))
    while physical:
        number, offset, line = physical[0]
        content, n_used, fault = without_end(line), 1, None
        if len(content) > longest:
            fault = "line_too_long"
        elif quoted and content.strip(BLANK):
            runs = (b"".join(each[2] for each in physical[:n]) for n in range(1, len(physical) + 1))
            good = [
                (n, without_end(run))
                for n, run in enumerate(runs, start=1)
                if len(without_end(run)) <= longest and readable.fullmatch(without_end(run))
            ]
            n_used, content = good[0] if good else (1, content)
            fault = None if good else "bad_quotes"
        physical = physical[n_used:]
        if content.strip(BLANK):
            yield number, offset, content, fault if fault == "line_too_long" else fault_of(content) or fault


def check(data, records, expected):
    expected = list(expected)
    assert [(each.line_number, each.byte_offset) for each in records] == [each[:2] for each in expected]
    for record, (_, offset, content, fault) in zip(records, expected, strict=True):
        assert record.fault == fault
        assert record.byte_length == len(content)
        assert data[offset : offset + len(content)] == content
        if fault != "line_too_long":
            assert record.content == content
            assert record.key == siphash(content, KEY)


# Hashes


def test_the_hash_is_that_of_the_reference_code():
    """Aumasson and Bernstein's vectors_sip128: key 00..0f, inputs of 0, 1, 2 and 3 bytes 00, 01, 02."""
    data = np.arange(3, dtype=np.uint8)
    start, end = np.zeros(4, np.int64), np.arange(4)
    high, low = keyed_hashes(data, start, end, KEY)
    assert [(a.tobytes() + b.tobytes()).hex() for a, b in zip(high, low, strict=True)] == [
        "a3817f04ba25a8e66df67214c7550293",
        "da87c1d86b99af44347659119b22fc45",
        "8177228da4a45dc7fca38bdef60affe4",
        "9c70b60c5267a94e5f33b6b02985ed51",
    ]


@settings(max_examples=100, deadline=None)
@given(
    data=st.binary(max_size=300), key=st.binary(min_size=16, max_size=16), cuts=st.tuples(*[st.integers(0, 300)] * 2)
)
def test_hashes_of_stretches_against_plain_python(data, key, cuts):
    start, end = sorted(min(cut, len(data)) for cut in cuts)
    high, low = keyed_hashes(np.frombuffer(data, np.uint8), np.array([start]), np.array([end]), key)
    assert high.tobytes() + low.tobytes() == siphash(data[start:end], key)


def test_keys_of_different_purposes_or_secrets_differ():
    keys = [derive_key(secret, purpose) for secret in (b"a", b"b") for purpose in (b"record", b"id")]
    assert len(set(keys)) == 4
    assert {len(key) for key in keys} == {16}


@pytest.mark.parametrize("hash_key", [b"", b"k" * 65])
def test_a_secret_of_another_length_is_refused(hash_key):
    with pytest.raises(InputError, match="1 to 64 bytes"):
        derive_key(hash_key, b"record")


# Lines

HAND_MADE = (
    b"\xef\xbb\xbfTIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    b"2023-11-16 18:15:46.6805900,374,44\r\n"
    b"\r\n"
    b"2023-11-16 18:15:50,396,109\n"
    b" \t \n"
    b"2023-11-16 18:15:51,\xff,1\r\n"
    b"2023-11-16 18:15:52,\x00,1\n"
    b"2023-11-16 18:15:53,caf\xc3\xa9,1\r\r\n"
    b"2023-11-16 18:15:54,5,6"
)


def test_records_of_a_hand_made_file():
    records, n_lines = read(HAND_MADE)
    assert n_lines == len(records) == 7
    assert [each.line_number for each in records] == [1, 2, 4, 6, 7, 8, 9]
    assert [each.byte_offset for each in records] == [3, 44, 82, 114, 139, 163, 193]
    assert [each.byte_length for each in records] == [39, 34, 27, 23, 23, 28, 23]
    assert [each.fault for each in records] == [None, None, None, "not_utf8", "nul_byte", None, None]
    assert records[5].content == b"2023-11-16 18:15:53,caf\xc3\xa9,1\r"


@pytest.mark.parametrize("data", [b"", b"\n\r\n  \n", MARK, MARK + b"\n", b"\v\f \r"])
@pytest.mark.parametrize("quoted", [False, True])
def test_files_without_a_record(data, quoted):
    assert read(data, quoted=quoted) == ([], 0)
    assert count_lines(io.BytesIO(data)) == 0


def test_utf8_is_what_python_decodes():
    """Every lead byte with every second byte, and the limits of the bytes after it."""
    rest = (b"", b"\x80", b"\x80\x80", b"\xbf\xbf", b"\x7f\x80", b"\x80\xc0", b"\x80\x80\x80")
    sequences = [bytes([a, b]) + c for a in range(0x80, 0x100) for b in range(0x80, 0x100) for c in rest]
    sequences += [bytes([a]) + c for a in range(0x80, 0x100) for c in rest]
    records, _ = read(b"\n".join(b"12345" + each for each in sequences))
    assert len(records) == len(sequences)
    assert all(each.fault == fault_of(each.content) for each in records)


def test_a_line_of_100_megabytes_is_passed_without_being_held():
    size, block = 100_000_000, b"7" * (1 << 20)

    class LongLine(io.RawIOBase):
        n_left = size

        def read(self, n=-1):
            if self.n_left > 0:
                self.n_left -= min(n, len(block), self.n_left)
                return block[: min(n, len(block), self.n_left + n)]
            self.n_left -= 1
            return b"\r\nnext\n" if self.n_left == -1 else b""

    tracemalloc.start()
    batches = [split_chunk(chunk, record_key=KEY) for chunk in read_chunks(LongLine())]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [FAULTS[batch.fault[0]] for batch in batches] == ["line_too_long", None]
    assert [int(batch.line_number[0]) for batch in batches] == [1, 2]
    assert batches[0].start[0] == batches[0].end[0]
    assert batches[1].byte_offset[0] == batches[0].byte_length[0] + 2
    assert batches[1].record(0) == b"next"
    assert peak < 6 * lines.MAX_LINE_BYTES


def test_long_lines_that_differ_have_keys_that_differ():
    with mock.patch.object(lines, "MAX_LINE_BYTES", 5):
        records, _ = read(b"123456\n123457\r\n123456\r\n12345\r\n123456")
    assert [each.fault for each in records] == ["line_too_long"] * 3 + [None, "line_too_long"]
    keys = [each.key for each in records]
    assert keys[0] == keys[2] == keys[4] != keys[1]
    assert [each.byte_length for each in records] == [6, 6, 6, 5, 6]


def test_reading_is_streaming():
    class Endless(io.RawIOBase):
        def read(self, size=-1):
            return (b"2023-11-16 18:15:46,3,4\n" * 10)[: max(size, 0)]

    chunks = read_chunks(Endless(), batch_bytes=240)
    assert [len(split_chunk(next(chunks), record_key=KEY)) for _ in range(3)] == [10, 10, 10]


_PIECES = st.sampled_from(
    [b"\n", b"\n", b"\r\n", b"\r", b" ", b"\t", b"\v", b"\0", b"\xff", MARK, b"\xc3\xa9", b"12345678", b"1,2", b"abc"]
)
_FILES = st.one_of(st.binary(max_size=120), st.lists(_PIECES, max_size=40).map(b"".join))


@settings(max_examples=300, deadline=None)
@given(data=_FILES, batch_bytes=st.integers(1, 60), longest=st.one_of(st.integers(2, 8), st.integers(2, 60)))
@example(data=b"1234567\r\n", batch_bytes=9, longest=60)
@example(data=b"\n     \r\nx", batch_bytes=3, longest=5)
def test_any_bytes_are_read_as_the_slow_reading_does(data, batch_bytes, longest):
    with mock.patch.object(lines, "MAX_LINE_BYTES", longest):
        records, n_lines = read(data, batch_bytes=batch_bytes)
    check(data, records, slow_records(data, longest))
    n_expected = sum(1 for _, _, line in physical_lines(data) if line.strip(BLANK))
    assert n_lines == count_lines(io.BytesIO(data)) == n_expected


def test_lines_are_counted_across_blocks():
    for size in (1, 2, 3, 5):
        with mock.patch.object(lines, "_COUNTED_BYTES", size):
            assert count_lines(io.BytesIO(HAND_MADE)) == 7
            assert count_lines(io.BytesIO(b"a\n  b\n \n\n c")) == 3


# Records of CSV that quotes may carry over line ends


def quoted(data, **options):
    records, n_lines = read(data, quoted=True, **options)
    return [(each.content, each.line_number, each.fault) for each in records], n_lines


def test_a_record_goes_on_within_quotes():
    data = b'id,text\r\n1,"one\r\n\r\ntwo ""2""\n"\r\n2,"x"\n\n3,""\n'
    assert quoted(data) == (
        [
            (b"id,text", 1, None),
            (b'1,"one\r\n\r\ntwo ""2""\n"', 2, None),
            (b'2,"x"', 6, None),
            (b'3,""', 8, None),
        ],
        6,
    )


@pytest.mark.parametrize(
    "broken",
    [
        b'1,"cut off',  # as by a crash, and the next process appends
        b'1,"a"b',
        b'1,5" disk',
        b'1,"a" ,2',
        b'1,"a"\r',
        b'"',
    ],
)
def test_a_broken_record_costs_its_line_only(broken):
    data = broken + b'\n2,"x"\n3,"y\nz"\n'
    expected = [(broken.removesuffix(b"\r"), 1, "bad_quotes"), (b'2,"x"', 2, None), (b'3,"y\nz"', 3, None)]
    if broken.endswith(b"\r"):  # that is a line end
        expected[0] = (b'1,"a"', 1, None)
    assert quoted(data) == (expected, 4)


def test_quotes_open_at_the_end_of_the_file_cost_one_line():
    assert quoted(b'1,2\n3,"a\n4,5\n6,7') == (
        [(b"1,2", 1, None), (b'3,"a', 2, "bad_quotes"), (b"4,5", 3, None), (b"6,7", 4, None)],
        4,
    )


def test_a_record_over_the_longest_costs_one_line():
    data = b'1,"a\nbb\ncccc"\n2,3\n'
    with mock.patch.object(lines, "MAX_LINE_BYTES", 12):
        assert [each[2] for each in quoted(data)[0]] == ["bad_quotes", None, "bad_quotes", None]
    with mock.patch.object(lines, "MAX_LINE_BYTES", 13):
        assert [each[2] for each in quoted(data)[0]] == [None, None]


def test_an_open_quote_is_given_up_once_the_longest_record_is_read():
    class Endless(io.RawIOBase):
        n_read = 0

        def read(self, size=-1):
            self.n_read += 1
            return b'1,"a\n' if self.n_read == 1 else b"2,3\n"

    stream = Endless()
    with mock.patch.object(lines, "MAX_LINE_BYTES", 100):
        chunk = next(read_chunks(stream, batch_bytes=4, quoted=True))
        batch = split_chunk(chunk, record_key=KEY)
    assert batch.record(0) == b'1,"a'
    assert FAULTS[batch.fault[0]] == "bad_quotes"
    assert stream.n_read < 40


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"", b"\r"])
@pytest.mark.parametrize("record", [b"12,45", b'1,"4"', b'"\n4"a', b'"\n45"'])
def test_records_of_about_the_longest(record, end):
    data = record + end
    for longest in range(3, 8):
        with mock.patch.object(lines, "MAX_LINE_BYTES", longest):
            found = [read(data, quoted=True, batch_bytes=size)[0] for size in range(1, 9)]
        assert all(each == found[0] for each in found)
        check(data, found[0], slow_records(data, longest, quoted=True))


def test_many_stray_quotes_cost_time_that_follows_the_size_of_the_file():
    """Were a quote in mid-field let pass, each of these lines would open a field that none of the later ones closes."""
    n = 200_000
    records, n_lines = quoted(b'x","\n' * n)
    assert len(records) == n_lines == n
    assert {fault for _, _, fault in records} == {"bad_quotes"}


_QUOTED_PIECES = st.sampled_from(
    [
        b"\n",
        b"\n",
        b"\r\n",
        b"\r",
        b" ",
        b'"',
        b'"',
        b'""',
        b",",
        b",",
        b';"',
        b'",',
        b',"',
        b"ab",
        b"\0",
        b"\xff",
        MARK,
    ]
)
_QUOTED_FILES = st.lists(_QUOTED_PIECES, max_size=30).map(b"".join)


@settings(max_examples=500, deadline=None)
@given(
    data=_QUOTED_FILES,
    batch_bytes=st.integers(1, 60),
    longest=st.one_of(st.integers(2, 8), st.integers(2, 60)),
    delimiter=st.sampled_from([",", ";"]),
)
def test_any_quotes_are_read_as_the_slow_reading_does(data, batch_bytes, longest, delimiter):
    with mock.patch.object(lines, "MAX_LINE_BYTES", longest):
        records, n_lines = read(data, batch_bytes=batch_bytes, quoted=True, delimiter=delimiter)
    check(data, records, slow_records(data, longest, quoted=True, delimiter=delimiter))
    assert n_lines == count_lines(io.BytesIO(data))
