"""Compressed files are told by content; damaged ones fail as a whole; the hash is that of the file as it lies."""

import gzip
import hashlib
import io

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetopt.errors import InputError
from fleetopt.ingest.compression import HashingStream, decompressed, kind_of
from fleetopt.ingest.log_file import LogFile

TEXT = b"".join(b"%d,line of a log\n" % (i * 7919 % 10007) for i in range(20_000))
SKIPPABLE = b"\x5a\x2a\x4d\x18\x04\0\0\0abcd"


def zstd(data):
    return pa.compress(data, "zstd", asbytes=True)


def text_of(content, piece=1000):
    text = decompressed(HashingStream(io.BytesIO(content)), "a.csv")
    return b"".join(iter(lambda: text.read(piece), b""))


@pytest.mark.parametrize(
    ("content", "kind", "text"),
    [
        (TEXT, "text", TEXT),
        (b"", "text", b""),
        (b"a", "text", b"a"),
        (b"\x1f", "text", b"\x1f"),
        (b"P\n", "text", b"P\n"),
        (gzip.compress(TEXT), "gzip", TEXT),
        (gzip.compress(TEXT) + gzip.compress(b"") + gzip.compress(b"end"), "gzip", TEXT + b"end"),
        (gzip.compress(b""), "gzip", b""),
        (zstd(TEXT), "zstd", TEXT),
        (zstd(TEXT) + zstd(b"end"), "zstd", TEXT + b"end"),
        (SKIPPABLE + zstd(TEXT) + SKIPPABLE + zstd(b"end"), "zstd", TEXT + b"end"),
    ],
)
@pytest.mark.parametrize("name", ["log.csv", "log.gz", "log.zst", "log.parquet"])
def test_told_by_content_not_by_name(content, kind, text, name, tmp_path):
    assert kind_of(content[:4]) == kind
    assert text_of(content) == text
    (tmp_path / name).write_bytes(content)
    with LogFile(str(tmp_path / name)) as log:
        assert log.stream.read() == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(TEXT)[:-1], "its gzip data ends too early"),
        (gzip.compress(TEXT)[:500], "its gzip data ends too early"),
        (gzip.compress(TEXT) + gzip.compress(TEXT)[:6], "its gzip data ends too early"),
        (gzip.compress(TEXT)[:-6] + b"\0\0\0\0\0\0", "its gzip data is damaged"),
        (gzip.compress(TEXT) + b"garbage after the end", "its gzip data is damaged"),
        (zstd(TEXT)[:-1], "its zstd data ends too early"),
        (zstd(TEXT) + zstd(TEXT)[:5], "its zstd data ends too early"),
        (zstd(TEXT) + b"garbage after the end", "its zstd data is damaged"),
        (b"PAR1whatever", "is a Parquet file"),
    ],
)
def test_damage_is_one_line(content, message):
    with pytest.raises(InputError, match=rf"^a\.csv: {message}[^\n]*$"):
        text_of(content)


@pytest.mark.parametrize(
    "content",
    [  # of `zstd -19` and `pzstd`, from standard input: with a checksum, without a size; behind a skippable frame
        "28b52ffd04682d010022c2060ba02f0608e6969b51a183028028a82778564fbfbf1f56930fda160100fab3fcea09c4af5a83",
        "502a4d18040000003400000028b52ffd04583d0100e8323032342d30352d31322030303a2e3030313233342c3337342c34340a02007f16f56b05a704c4af5a83",
    ],
)
def test_what_the_zstd_tools_write(content):
    line = b"2024-05-12 00:00:00.001234,374,44\n"
    assert text_of(bytes.fromhex(content) * 2) == line * 100
    damaged = bytearray.fromhex(content)
    damaged[-1] ^= 1  # the checksum
    with pytest.raises(InputError, match="its zstd data is damaged"):
        text_of(bytes(damaged))


@given(content=st.binary(max_size=300), pieces=st.lists(st.integers(0, 40), max_size=20), head=st.integers(0, 12))
def test_the_hash_is_that_of_the_file(content, pieces, head):
    stream = HashingStream(io.BytesIO(content))
    assert stream.head(head) == content[:head]
    assert stream.size == 0
    read = b"".join(stream.read(piece) for piece in pieces)
    assert read == content[: sum(pieces)]
    assert stream.size == len(read)
    assert stream.sha256() == hashlib.sha256(content).hexdigest()
    assert stream.size == len(content)


@pytest.mark.parametrize("compress", [gzip.compress, zstd, bytes])
def test_the_hash_is_taken_below_the_decompression(compress):
    content = compress(TEXT)
    stream = HashingStream(io.BytesIO(content))
    text = decompressed(stream, "a.csv")
    while text.read(4096):
        pass
    assert stream.size == len(content)
    assert stream.sha256() == hashlib.sha256(content).hexdigest()


def test_a_failing_disk_is_not_called_damage():
    class Broken(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 100:
                raise OSError(5, "Input/output error")
            return super().read(min(size, 150))

    text = decompressed(HashingStream(Broken(gzip.compress(TEXT))), "a.csv")
    with pytest.raises(OSError, match="Input/output error"):
        while text.read(1000):
            pass
