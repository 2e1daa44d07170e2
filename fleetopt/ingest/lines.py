"""From the bytes of a log file to one row per line, streaming: place, hash, and what its format made of it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import BinaryIO, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl

from fleetopt.errors import InputError
from fleetopt.ingest.formats.base import Clock, LogFormat, Parser
from fleetopt.schemas import RAW_REQUESTS

PUBLIC_HASH_KEY: Final = b"fleetopt-public-default-key"
"""Key of the record hashes where the user gives none.

It is public, so whoever guesses a line can confirm the guess from its hash. Set ``FLEETOPT_HASH_KEY`` wherever lines
are sensitive; days that are ingested under another key are read again.
"""
BATCH_BYTES: Final = 16 << 20
MAX_LINE_BYTES: Final = 64 << 20
"""A longer line is counted and hashed, but not parsed."""

LINE_SCHEMA = pl.Schema({name: dtype for name, dtype in RAW_REQUESTS.schema.items() if name not in {"day", "source"}})
"""What `read_lines` yields: the raw table without the day and the source."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_HASH_BYTES: Final = 16
_MAX_RAW_TEXT_BYTES: Final = 4096


@dataclass(slots=True)
class Tally:
    """What was seen of a file so far: ``headers`` are lines that are no record, ``lines`` the other non-blank ones."""

    headers: int = 0
    lines: int = 0


@dataclass(frozen=True, slots=True)
class _Lines:
    """The non-blank lines of a batch, with their places."""

    content: list[bytes]
    number: np.ndarray
    offset: np.ndarray


def read_lines(
    stream: BinaryIO,
    *,
    file: str,
    log_format: LogFormat,
    timezone: str,
    clock_start: datetime | None,
    hash_key: bytes,
    batch_bytes: int = BATCH_BYTES,
    local_date: date | None = None,
    tally: Tally | None = None,
) -> Iterator[pl.DataFrame]:
    """Read every non-blank line of a file, headers apart, into exactly one row, in the order of the file.

    Memory follows ``batch_bytes`` and the longest line, not the file. The rows do not depend on ``batch_bytes``.

    Parameters
    ----------
    stream : BinaryIO
        The file from its first byte. Lines end with LF or CRLF; the last one need not end. A byte order mark at the
        beginning is part of no line.
    file : str
        Name of the file in the result.
    log_format : LogFormat
    timezone : str
        IANA zone of times that carry none.
    clock_start : datetime.datetime or None
        Where a relative clock starts, with a zone.
    hash_key : bytes
        Key of the record hashes, 1 to 64 bytes.
    batch_bytes : int
        How much to read at a time, bytes.
    local_date : datetime.date, optional
        The only date, in ``timezone``, that the file may hold lines of; others get the reason ``outside_day``.
    tally : Tally, optional
        Counts along.

    Returns
    -------
    Iterator of pl.DataFrame
        `LINE_SCHEMA`. A row with a reason has no lengths, but its time where that could be read.

    Raises
    ------
    InputError
        At once: if the format needs a start of its clock and there is none, or an argument is out of range.
    """
    if log_format.has_relative_clock and clock_start is None:
        raise InputError(
            f"{file}: format '{log_format.name}' counts time from a start that its lines do not hold; "
            "declare it (clock_start in the configuration, --start on the command line)"
        )
    if clock_start is not None and clock_start.tzinfo is None:
        raise InputError(
            f"{file}: clock start {clock_start.isoformat()} needs a zone, such as {clock_start.isoformat()}Z"
        )
    if not 1 <= len(hash_key) <= hashlib.blake2b.MAX_KEY_SIZE:
        raise InputError("the key of record hashes needs 1 to 64 bytes")
    check_timezone(timezone)
    parse = log_format.parser(Clock(timezone, clock_start))
    batches = _batches(stream, batch_bytes)
    tally = Tally() if tally is None else tally
    return _rows(batches, parse, file, hash_key, tally, timezone, local_date)


def check_timezone(timezone: str) -> None:
    """Raise `InputError` if there is no such IANA time zone."""
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InputError(f"unknown time zone '{timezone}'; use an IANA name such as Europe/Berlin") from error


def count_lines(stream: BinaryIO) -> int:
    """Count the non-blank lines of a file, headers included; shares no code with `read_lines`, which it checks."""
    first = stream.readline().removeprefix(_BYTE_ORDER_MARK)
    return bool(first.strip()) + sum(1 for line in stream if line.strip())


def _rows(
    batches: Iterator[bytes],
    parse: Parser,
    file: str,
    hash_key: bytes,
    tally: Tally,
    timezone: str,
    local_date: date | None,
) -> Iterator[pl.DataFrame]:
    offset, number = 0, 1
    for batch in batches:
        lines, n_lines = _split(batch, offset, number)
        offset, number = offset + len(batch), number + n_lines
        if not lines.content:
            continue
        frame = _frame(lines, batch, parse, file, hash_key)
        n_headers = int(frame["is_header"].sum())
        tally.headers += n_headers
        tally.lines += len(frame) - n_headers
        if local_date is not None:
            frame = frame.with_columns(reason=_outside(timezone, local_date))
        if n_headers < len(frame):
            yield frame.filter(~pl.col("is_header")).select(_invariant())


def _batches(stream: BinaryIO, batch_bytes: int) -> Iterator[bytes]:
    """Yield the file in pieces of whole lines."""
    pending: list[bytes] = []
    while chunk := stream.read(batch_bytes):
        end = chunk.rfind(b"\n") + 1
        if end == 0:
            pending.append(chunk)
            continue
        whole = b"".join([*pending, chunk[:end]])
        pending = [chunk[end:]] if end < len(chunk) else []
        yield whole
    if pending:
        yield b"".join(pending)


def _split(batch: bytes, offset: int, number: int) -> tuple[_Lines, int]:
    """Split a batch that begins at a byte offset and a line number; also return how many lines it has, blank or not."""
    content = batch.split(b"\n")
    if not content[-1]:
        content.pop()
    size = np.fromiter(map(len, content), dtype=np.int64, count=len(content)) + 1
    start = offset + np.cumsum(size) - size
    if offset == 0 and content[0].startswith(_BYTE_ORDER_MARK):
        content[0] = content[0].removeprefix(_BYTE_ORDER_MARK)
        start[0] += len(_BYTE_ORDER_MARK)
    if b"\r" in batch:
        content = [line.removesuffix(b"\r") for line in content]
    numbers = np.arange(number, number + len(content), dtype=np.int64)
    kept = [i for i, line in enumerate(content) if line and not line.isspace()]
    if len(kept) < len(content):
        return _Lines([content[i] for i in kept], numbers[kept], start[kept]), len(content)
    return _Lines(content, numbers, start), len(content)


def _frame(lines: _Lines, batch: bytes, parse: Parser, file: str, hash_key: bytes) -> pl.DataFrame:
    faults = _faults(batch, lines.content)
    readable = [b"" if i in faults else line for i, line in enumerate(lines.content)] if faults else lines.content
    text = pl.Series("text", readable, dtype=pl.Binary).cast(pl.String)
    parsed = parse(text)
    fault = pl.Series("fault", [None], dtype=pl.String).new_from_index(0, len(text))
    if faults:
        fault = fault.scatter(list(faults), list(faults.values()))
    return parsed.with_columns(
        text,
        file=pl.lit(file),
        line_number=pl.Series(lines.number),
        byte_offset=pl.Series(lines.offset),
        byte_length=pl.Series(np.fromiter(map(len, lines.content), dtype=np.int64, count=len(lines.content))),
        record_hash=pl.Series(_hashes(lines.content, hash_key), dtype=pl.String),
        reason=pl.coalesce(fault, pl.col("reason"), _time_range()),
        is_header=pl.col("is_header") & fault.is_null(),
        arrival_time=pl.when(fault.is_null() & _time_range().is_null()).then("arrival_time"),
        keeps_text=pl.col("keeps_text") & fault.is_null(),
    )


def _faults(batch: bytes, lines: list[bytes]) -> dict[int, str]:
    """Find the lines that no format can read: position -> reason."""
    if len(batch) <= MAX_LINE_BYTES and batch.isascii() and b"\0" not in batch:
        return {}
    return {i: reason for i, line in enumerate(lines) if (reason := _fault(line))}


def _fault(line: bytes) -> str | None:
    if len(line) > MAX_LINE_BYTES:
        return "line_too_long"
    if b"\0" in line:
        return "nul_byte"
    try:
        line.decode()
    except UnicodeDecodeError:
        return "not_utf8"
    return None


def _hashes(lines: list[bytes], key: bytes) -> list[str]:
    keyed = hashlib.blake2b(key=key, digest_size=_HASH_BYTES)
    hashes = []
    for line in lines:
        state = keyed.copy()  # preparing the key once and copying is half again as fast as a new hash each time
        state.update(line)
        hashes.append(state.hexdigest())
    return hashes


def _time_range() -> pl.Expr:
    is_outside = ~pl.col("arrival_time").dt.year().is_between(1970, 2199)
    return pl.when(is_outside).then(pl.lit("time_out_of_range"))


def _outside(timezone: str, local_date: date) -> pl.Expr:
    is_outside = pl.col("arrival_time").dt.convert_time_zone(timezone).dt.date() != local_date
    return pl.coalesce("reason", pl.when(is_outside).then(pl.lit("outside_day")))


def _invariant() -> list[pl.Expr]:
    """Select `LINE_SCHEMA`; lengths only of usable lines, text only of the others."""
    is_usable = pl.col("reason").is_null()
    text = pl.col("text")
    # A character has at most four bytes.
    short = (
        pl.when(text.str.len_bytes() > _MAX_RAW_TEXT_BYTES)
        .then(text.str.head(_MAX_RAW_TEXT_BYTES // 4))
        .otherwise(text)
    )
    special = {
        "prompt_tokens": pl.when(is_usable).then("prompt_tokens"),
        "output_tokens": pl.when(is_usable).then("output_tokens"),
        "ttft_s": pl.when(is_usable).then("ttft_s"),
        "raw_text": pl.when(~is_usable & pl.col("keeps_text")).then(short),
    }
    return [special.get(name, pl.col(name)).alias(name) for name in LINE_SCHEMA.names()]
