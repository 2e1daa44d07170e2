"""From the bytes of a file to records: where each one stands, its keyed hash, and what is wrong with its bytes.

Lines end with LF or CRLF, the last one need not end, and blank ones are no records. Where fields of CSV may be quoted,
a record is the shortest run of whole lines that RFC 4180 can read, a byte order mark before it passed: a quote opens a
field only at its beginning, and the one that closes it is at the field's end. If there is none, because a quote stands
elsewhere or is not closed before the file ends or the record is longer than `MAX_LINE_BYTES`, then the first line alone
is a record with fault ``bad_quotes`` and reading goes on at the next line; so a broken record costs its own lines only.
No quote may stand within an unquoted field for this reason too: a line that leaves a field open then has an odd number
of quotes, the next such line closes it or breaks the record, and no byte is looked at more than a few times.

What a record is depends on the bytes of the file alone, not on how many are read at a time.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np

from fleetopt.errors import InputError
from fleetopt.ingest.kernels.lines import count_line_ends, decided_records, split_lines, split_quoted
from fleetopt.ingest.kernels.siphash import hash_records
from fleetopt.ingest.records import FAULT_CODE, Batch

PUBLIC_HASH_KEY: Final = b"fleetopt-public-default-key"
"""Key of the record hashes where the user gives none.

It is public, so whoever guesses a line can confirm the guess from its hash. Set ``FLEETOPT_HASH_KEY`` wherever lines
are sensitive; days that are ingested under another key are read again.
"""
BATCH_BYTES: Final = 4 << 20
MAX_LINE_BYTES: Final = 16 << 20
"""A longer line is counted and hashed, but neither held nor parsed."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_LINE_FEED: Final = 10
_BLANKS_WITHIN_LINES: Final = b" \t\r\v\f"
_COUNTED_BYTES: Final = 1 << 20
_KEY_BYTES: Final = 16
_WORD: Final = np.dtype("<u8")


@dataclass(frozen=True, slots=True)
class LongLine:
    """What is known of a line that is too long to be held: its length without its end, bytes, and its SHA-256."""

    byte_length: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive whole records of one file, not yet split.

    Attributes
    ----------
    data : np.ndarray
        uint8[n_bytes]; empty where it is a long line.
    byte_offset, line_number : int
        Of its first byte in the file, from 0, and of its first line, from 1.
    n_line_ends : int
        Line feeds in it.
    quotes_beside : str or None
        Delimiter of CSV whose fields may be quoted; else None.
    long_line : LongLine, optional
        The one line that it is.
    """

    data: np.ndarray
    byte_offset: int
    line_number: int
    n_line_ends: int
    quotes_beside: str | None
    long_line: LongLine | None = None


def read_chunks(
    stream: BinaryIO, *, batch_bytes: int = BATCH_BYTES, quoted: bool = False, delimiter: str = ","
) -> Iterator[Chunk]:
    """Read a file in pieces of whole records, quickly; `split_chunk` does the work, on any thread.

    Memory follows ``batch_bytes`` and `MAX_LINE_BYTES`, not the lines.

    Parameters
    ----------
    stream : BinaryIO
        The decompressed file from its first byte. A byte order mark at the beginning is part of no line.
    batch_bytes : int
        How much to read at a time, bytes; at most `MAX_LINE_BYTES` is.
    quoted : bool
        Whether it is CSV with fields that may be quoted, and then hold line ends.
    delimiter : str
        Of that CSV: one ASCII character.

    Yields
    ------
    Chunk
        In the order of the file.
    """
    batch_bytes = min(batch_bytes, MAX_LINE_BYTES)
    quotes_beside = delimiter if quoted else None
    buffer, offset = _beginning(stream)
    line_number, is_last = 1, False
    while len(buffer) or not is_last:
        if _begins_with_long_line(buffer):
            long_line, n_bytes, buffer = _pass_long_line(stream, buffer, batch_bytes)
            if long_line is not None:
                yield Chunk(buffer[:0], offset, line_number, 1, quotes_beside, long_line)
            offset, line_number = offset + n_bytes, line_number + 1
            continue
        n_bytes, n_line_ends = _decided(buffer, quotes_beside, is_last)
        if n_bytes:
            yield Chunk(buffer[:n_bytes], offset, line_number, n_line_ends, quotes_beside)
            buffer, offset, line_number = buffer[n_bytes:], offset + n_bytes, line_number + n_line_ends
        if not is_last:
            block = stream.read(max(batch_bytes, len(buffer)))
            is_last = not block
            if is_last and quoted and len(buffer):
                block = b"\n"  # so that the end of the file is no case of its own; one line end more does no harm
            buffer = _joined(buffer, block)


def split_chunk(chunk: Chunk, *, record_key: bytes) -> Batch:
    """Split a chunk into records.

    Parameters
    ----------
    chunk : Chunk
    record_key : bytes
        Key of the hashes of records, 16 bytes (`derive_key`). That of a line too long is the hash of its SHA-256.

    Returns
    -------
    Batch
        Faults are ``nul_byte``, ``not_utf8`` (as `bytes.decode` finds it) and ``bad_quotes``, the first that holds,
        or ``line_too_long``.
    """
    if chunk.long_line is not None:
        return _long_line_batch(chunk, chunk.long_line, record_key)
    capacity = chunk.n_line_ends + 1
    start, end, line = (np.empty(capacity, np.int64) for _ in range(3))
    high, low = (np.empty(capacity, np.uint64) for _ in range(2))
    fault = np.empty(capacity, np.uint8)
    found = (*_words(record_key), start, end, line, high, low, fault)
    if chunk.quotes_beside is None:
        n = n_lines = split_lines(chunk.data, *found)
    else:
        n, n_lines = split_quoted(chunk.data, ord(chunk.quotes_beside), MAX_LINE_BYTES, *found)
    start, end = start[:n], end[:n]
    return Batch(
        data=chunk.data,
        start=start,
        end=end,
        line_number=line[:n] + chunk.line_number,
        record_number=np.ones(n, np.int32),
        byte_offset=start + chunk.byte_offset,
        byte_length=end - start,
        key_hi=high[:n].view(np.int64),
        key_lo=low[:n].view(np.int64),
        fault=fault[:n],
        n_lines=n_lines,
    )


def count_lines(stream: BinaryIO) -> int:
    """Count the non-blank lines of a file, headers included; shares no code with the reading, which it checks."""
    start = b""
    while len(start) < len(_BYTE_ORDER_MARK) and (more := stream.read(len(_BYTE_ORDER_MARK) - len(start))):
        start += more
    block, count, is_open = start.removeprefix(_BYTE_ORDER_MARK), 0, False
    while True:
        text = np.frombuffer(block.translate(None, _BLANKS_WITHIN_LINES), dtype=np.uint8)
        if len(text):
            is_end = text == _LINE_FEED
            count += int(np.count_nonzero(is_end[1:] > is_end[:-1])) + bool(is_open and is_end[0])
            is_open = not is_end[-1]
        block = stream.read(_COUNTED_BYTES)
        if not block:
            return count + is_open


def derive_key(hash_key: bytes, purpose: bytes) -> bytes:
    """Derive a key of 16 bytes for one purpose, so that hashes made for different purposes never meet.

    Parameters
    ----------
    hash_key : bytes
        1 to 64 bytes.
    purpose : bytes
        At most 16 bytes.

    Raises
    ------
    InputError
        If the key has another length.
    """
    if not 1 <= len(hash_key) <= hashlib.blake2b.MAX_KEY_SIZE:
        raise InputError("the key of record hashes needs 1 to 64 bytes")
    return hashlib.blake2b(key=hash_key, digest_size=_KEY_BYTES, person=purpose).digest()


def keyed_hashes(data: np.ndarray, start: np.ndarray, end: np.ndarray, key: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Hash stretches of bytes by SipHash-2-4-128 (Aumasson and Bernstein, 2012).

    Parameters
    ----------
    data : np.ndarray
        uint8[n_bytes]
    start, end : np.ndarray
        int64[n]: stretch i is ``data[start[i]:end[i]]``.
    key : bytes
        16 bytes.

    Returns
    -------
    high, low : np.ndarray
        int64[n]: first and second eight bytes of each hash, little-endian.
    """
    high, low = (np.empty(len(start), np.uint64) for _ in range(2))
    hash_records(data, start, end, *_words(key), high, low)
    return high.view(np.int64), low.view(np.int64)


def _words(key: bytes) -> tuple[np.uint64, np.uint64]:
    first, second = np.frombuffer(key, _WORD)
    return first, second


def _beginning(stream: BinaryIO) -> tuple[np.ndarray, int]:
    """Read the first few bytes; return them without a byte order mark, and how long that is."""
    start = b""
    while len(start) < len(_BYTE_ORDER_MARK) and (more := stream.read(len(_BYTE_ORDER_MARK) - len(start))):
        start += more
    text = start.removeprefix(_BYTE_ORDER_MARK)
    return _joined(np.empty(0, np.uint8), text), len(start) - len(text)


def _joined(buffer: np.ndarray, block: bytes) -> np.ndarray:
    joined = np.empty(len(buffer) + len(block), np.uint8)
    joined[: len(buffer)] = buffer
    joined[len(buffer) :] = np.frombuffer(block, np.uint8)
    return joined


def _decided(buffer: np.ndarray, quotes_beside: str | None, is_last: bool) -> tuple[int, int]:
    """Bytes at the beginning that are whole records, whatever follows, and the line feeds in them."""
    if quotes_beside is None:
        n_line_ends, n_bytes = count_line_ends(buffer)
        return (len(buffer) if is_last else n_bytes), n_line_ends
    n_bytes = decided_records(buffer, ord(quotes_beside), MAX_LINE_BYTES, is_last)
    return n_bytes, count_line_ends(buffer[:n_bytes])[0]


def _begins_with_long_line(buffer: np.ndarray) -> bool:
    """Whether the first line is already known to be longer than `MAX_LINE_BYTES`."""
    if len(buffer) <= MAX_LINE_BYTES:
        return False
    line, _, _ = bytes(buffer[: MAX_LINE_BYTES + 2]).partition(b"\n")
    return len(line.removesuffix(b"\r")) > MAX_LINE_BYTES


def _pass_long_line(stream: BinaryIO, buffer: np.ndarray, batch_bytes: int) -> tuple[LongLine | None, int, np.ndarray]:
    """Read past the line that the buffer begins with.

    Returns
    -------
    LongLine or None
        None for a blank line.
    int
        Its length with its end, bytes.
    np.ndarray
        What was read behind it.
    """
    content, block = _LongContent(), bytes(buffer)
    while block:
        end = block.find(b"\n")
        if end >= 0:
            content.add(block[:end])
            return content.line(), content.n_bytes + 1, _joined(buffer[:0], block[end + 1 :])
        content.add(block)
        block = stream.read(batch_bytes)
    return content.line(), content.n_bytes, buffer[:0]


class _LongContent:
    """A line that comes in pieces; its last byte is held back, since a return before the line end is none of it."""

    def __init__(self) -> None:
        self.n_bytes = 0
        self._sha256 = hashlib.sha256()
        self._is_blank = True
        self._last = b""

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        if piece:
            self.n_bytes += len(piece)
            self._is_blank = self._is_blank and piece.isspace()
            self._sha256.update(self._last)
            self._sha256.update(memoryview(piece)[:-1])
            self._last = piece[-1:]

    def line(self) -> LongLine | None:
        """What is known of it at its end; None if it is blank."""
        if self._last == b"\r":
            return None if self._is_blank else LongLine(self.n_bytes - 1, self._sha256.digest())
        self._sha256.update(self._last)
        return None if self._is_blank else LongLine(self.n_bytes, self._sha256.digest())


def _long_line_batch(chunk: Chunk, line: LongLine, record_key: bytes) -> Batch:
    place = np.zeros(1, np.int64)
    digest = np.frombuffer(line.sha256, np.uint8)
    high, low = keyed_hashes(digest, place, place + len(digest), record_key)
    return Batch(
        data=chunk.data,
        start=place,
        end=place,
        line_number=place + chunk.line_number,
        record_number=np.ones(1, np.int32),
        byte_offset=place + chunk.byte_offset,
        byte_length=place + line.byte_length,
        key_hi=high,
        key_lo=low,
        fault=np.full(1, FAULT_CODE["line_too_long"], np.uint8),
        n_lines=1,
    )
