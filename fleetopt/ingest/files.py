"""Log files in, ``requests.parquet`` and ``quarantine.parquet`` out: what ``fleetopt ingest`` does."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

import polars as pl

from fleetopt.errors import InputError
from fleetopt.ingest.formats import DETECTION_BYTES, LogFormat, detect_format, get_format
from fleetopt.ingest.lines import Tally, check_timezone, count_lines, read_lines
from fleetopt.ingest.places import open_file
from fleetopt.ingest.split import split_in_order
from fleetopt.schemas import TRACE_SCHEMA

REQUESTS_FILE: Final = "requests.parquet"
QUARANTINE_FILE: Final = "quarantine.parquet"
QUARANTINE_COLUMNS: Final = ("file", "line_number", "byte_offset", "byte_length", "reason", "record_hash", "raw_text")
AUTO: Final = "auto"

OnProgress = Callable[[int, int], None]
"""Called with bytes read so far and bytes in all."""


@dataclass(frozen=True, slots=True)
class Balance:
    """Where the lines went: ``lines == requests + duplicates + quarantined``."""

    lines: int
    requests: int
    duplicates: int
    quarantined: int


class BalanceError(Exception):
    """Lines were lost or made up while reading: an error of ours, or a file that changed meanwhile."""


def ingest_files(
    files: list[Path],
    format_name: str,
    clock_start: datetime | None,
    out: Path,
    hash_key: bytes,
    archetype: str = "all",
    timezone: str = "UTC",
    on_progress: OnProgress | None = None,
) -> Balance:
    """Read log files and write their requests, in order of arrival, and the lines that could not be used.

    Parameters
    ----------
    files : list of pathlib.Path
        Read as one source, in this order: byte-equal records of all of them count as one.
    format_name : str
        Name of a log format; ``auto`` tells it from each file's content.
    clock_start : datetime.datetime or None
        Where a relative clock starts, with a zone.
    out : pathlib.Path
        Directory of the two files; made if it is missing. Files of an earlier call are replaced.
    hash_key : bytes
        Key of the record hashes, 1 to 64 bytes.
    archetype : str
        Traffic class of the requests.
    timezone : str
        IANA zone of times that carry none.
    on_progress : callable, optional

    Returns
    -------
    Balance

    Raises
    ------
    InputError
        If a file is missing, holds no line or no usable line, or its format cannot be told or read. Nothing is written.
    """
    check_timezone(timezone)
    if not files:
        raise InputError("no file to read was named")
    formats = [_format_of(file, format_name) for file in files]
    sizes = [file.stat().st_size for file in files]
    frames: list[pl.DataFrame] = []
    for i, (file, log_format) in enumerate(zip(files, formats, strict=True)):
        for frame in _read_file(file, log_format, timezone, clock_start, hash_key):
            frames.append(frame)
            if on_progress is not None:
                end = frame.select((pl.col("byte_offset") + pl.col("byte_length")).last()).item()
                on_progress(sum(sizes[:i]) + end, sum(sizes))
    if on_progress is not None:
        on_progress(sum(sizes), sum(sizes))
    split = split_in_order(pl.concat(frames).with_columns(source=pl.lit("")))
    trace = _trace(split.requests, archetype)
    balance = Balance(sum(map(len, frames)), len(trace), sum(split.duplicates.values()), len(split.quarantined))
    _write_both(out, split.quarantined.select(QUARANTINE_COLUMNS), trace)
    return balance


def _format_of(file: Path, format_name: str) -> LogFormat:
    if file.is_dir():
        raise InputError(f"{file}: is a directory; name the files in it")
    with open_file(str(file)) as stream:
        head = stream.read(DETECTION_BYTES)
    if len(head) < DETECTION_BYTES and not head.removeprefix(b"\xef\xbb\xbf").strip():
        raise InputError(f"{file}: no lines")
    if format_name != AUTO:
        return get_format(format_name)
    try:
        return detect_format(head)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def _read_file(
    file: Path, log_format: LogFormat, timezone: str, clock_start: datetime | None, hash_key: bytes
) -> Iterator[pl.DataFrame]:
    tally = Tally()
    n_usable, first_bad = 0, None
    with open_file(str(file)) as stream:
        for frame in read_lines(
            stream,
            file=str(file),
            log_format=log_format,
            timezone=timezone,
            clock_start=clock_start,
            hash_key=hash_key,
            tally=tally,
        ):
            n_usable += frame["reason"].null_count()
            if first_bad is None:
                first_bad = next(frame.filter(pl.col("reason").is_not_null()).iter_rows(named=True), None)
            yield frame
    with open_file(str(file)) as stream:
        n_lines = count_lines(stream) - tally.headers
    if n_lines != tally.lines:
        raise BalanceError(
            f"{file}: {tally.lines} lines were read, {n_lines} are there; did the file change meanwhile?"
        )
    if n_lines == 0:
        raise InputError(f"{file}: no lines")
    if n_usable == 0 and first_bad is not None:
        raise InputError(
            f"{file}: none of {n_lines} lines could be used as format '{log_format.name}'; "
            f"first reason: {first_bad['reason']} (line {first_bad['line_number']})"
        )


def _trace(requests: pl.DataFrame, archetype: str) -> pl.DataFrame:
    arrival = pl.col("arrival_time")
    return (
        requests.sort("arrival_time", maintain_order=True)
        .with_columns(
            arrival_s=(arrival - arrival.min()).dt.total_microseconds() / 1e6,
            archetype=pl.lit(archetype),
        )
        .select(TRACE_SCHEMA.names())
    )


def _write_both(out: Path, quarantine: pl.DataFrame, trace: pl.DataFrame) -> None:
    """Write both files beside their places, then move them there; the requests last, so they never stand alone."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made a directory: {(error.strerror or '').lower()}") from error
    with ExitStack() as leftovers:
        moves = []
        for name, frame in ((QUARANTINE_FILE, quarantine), (REQUESTS_FILE, trace)):
            temporary = out / f".{name}.{os.getpid()}.{uuid4().hex}"
            leftovers.callback(temporary.unlink, missing_ok=True)
            frame.write_parquet(temporary)
            moves.append((temporary, out / name))
        for temporary, target in moves:
            temporary.replace(target)
