"""Log files in, ``requests.parquet`` and ``quarantine.parquet`` out: what ``fleetopt ingest`` does."""

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl
import pyarrow.parquet as pq

from fleetopt.errors import InputError
from fleetopt.ingest.formats import (
    DETECTION_BYTES,
    LogFormat,
    Sample,
    detect_format,
    get_format,
    sample_of_lines,
    sample_of_parquet,
)
from fleetopt.ingest.interpret import Interpretation
from fleetopt.ingest.lines import count_lines
from fleetopt.ingest.log_file import LogFile
from fleetopt.ingest.parsed import OTHER_MODEL
from fleetopt.ingest.parts import Parts, PartsWriter
from fleetopt.ingest.reading import Tally, read_records, records_and_notes
from fleetopt.ingest.segments import ClockSegments
from fleetopt.ingest.staging import QUARANTINE_SCHEMA, Staged, quarantine_rows, stage
from fleetopt.schemas import TRACE_SCHEMA

REQUESTS_FILE: Final = "requests.parquet"
QUARANTINE_FILE: Final = "quarantine.parquet"
AUTO: Final = "auto"
_LIKE_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""How a URL begins as a path, which has no empty parts."""
EXAMPLES: Final = 3
"""Lines that are kept as examples of each reason."""

OnProgress = Callable[[int, int, str], None]
"""Called with bytes read so far, bytes in all, and what is being done."""


@dataclass(slots=True)
class Balance:
    """Where the lines went: ``lines == requests + duplicates + quarantined``.

    Attributes
    ----------
    lines, requests, duplicates, quarantined : int
        Lines that hold several records count for each of them; headers and other lines that are no request are none.
    unserved : dict
        Outcome -> requests of it: failed, aborted, answered by a cache. They are no demand on GPUs and are not written.
    clock_restarts : int
        Times that a relative clock started again within a file.
    finish_times : int
        Requests whose arrival is their finish, for want of a duration.
    models : list of str
        Models that the requests written name, in order.
    examples : dict
        Reason -> the places of the first lines with it, and their text where it cannot hold a prompt.
    """

    lines: int = 0
    requests: int = 0
    duplicates: int = 0
    quarantined: int = 0
    unserved: dict[str, int] = field(default_factory=dict)
    clock_restarts: int = 0
    finish_times: int = 0
    models: list[str] = field(default_factory=list)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


class BalanceError(Exception):
    """Lines were lost or made up while reading: an error of ours, or a file that changed meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How `ingest_files` is to read.

    Attributes
    ----------
    format_name : str
        Name of a log format; ``auto`` tells it from each file's content.
    timezone : str
        IANA zone of times that carry none.
    clock_start : datetime.datetime or None
        Where a relative clock starts, with a zone.
    hash_key : bytes
        Key of all hashes, 1 to 64 bytes.
    archetype : str
        Traffic class of requests whose lines name none.
    horizon_s : float
        Lines with the same id repeat each other up to this far apart, s.
    clock_restart_s : float
        A relative clock that goes back by more than this has started again, s.
    models : frozenset of str, optional
        Models whose requests count; None: all.
    """

    format_name: str = AUTO
    timezone: str = "UTC"
    clock_start: datetime | None = None
    hash_key: bytes
    archetype: str = "all"
    horizon_s: float = 3600.0
    clock_restart_s: float = 300.0
    models: frozenset[str] | None = None


def ingest_files(files: Sequence[Path], out: Path, reading: Reading, on_progress: OnProgress | None = None) -> Balance:
    """Read log files and write their requests, in order of arrival, and the lines that could not be used.

    Memory does not grow with the files.

    Parameters
    ----------
    files : sequence of pathlib.Path
        Read as one source: a record that another of them repeats counts once. Their order does not matter.
    out : pathlib.Path
        Directory of the two files; made if it is missing. Files of an earlier call are replaced.
    reading : Reading
    on_progress : callable, optional

    Returns
    -------
    Balance

    Raises
    ------
    InputError
        If a file is missing, holds no line or no usable line, or its format cannot be told or read; if no request is of
        the models asked for. Nothing is written.
    """
    _check_timezone(reading.timezone)
    if not files:
        raise InputError("no file to read was named")
    logs = [_Log(file, reading) for file in files]
    balance = Balance()
    with _made(out), tempfile.TemporaryDirectory(prefix=".ingest-", dir=out) as folder:
        parts = _read(logs, Path(folder), balance, on_progress)
        size = sum(log.size for log in logs)

        def on_written(records: int) -> None:
            if on_progress is not None:
                on_progress(size, size, f"writing, {records:,} of {parts.rows:,} records")

        _write(parts, out, reading, {str(log.file): log.sha256 for log in logs}, balance, on_written)
    return balance


@contextmanager
def _made(directory: Path) -> Iterator[None]:
    """Make a directory; if what is done in it fails, it is removed unless it was there before."""
    is_new = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{directory}: cannot be made a directory: {(error.strerror or '').lower()}") from error
    try:
        yield
    except BaseException:
        if is_new:
            directory.rmdir()
        raise


def _read(logs: Sequence["_Log"], place: Path, balance: Balance, on_progress: OnProgress | None) -> Parts:
    total, done = sum(log.size for log in logs), 0
    with PartsWriter(place) as writer:
        for log in logs:
            for position in log.read_into(writer, balance):
                if on_progress is not None:
                    on_progress(done + position, total, "reading")
            done += log.size
        if on_progress is not None:
            on_progress(total, total, "writing")
        parts = writer.finish("parts")
    if parts.rows == 0:
        raise InputError(f"{', '.join(str(log.file) for log in logs)}: none of its lines is a request")
    return parts


def _check_timezone(timezone: str) -> None:
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InputError(f"unknown time zone '{timezone}'; use an IANA name such as Europe/Berlin") from error


class _Log:
    """A file to read, its format told from its beginning."""

    def __init__(self, file: Path, reading: Reading) -> None:
        if file.is_dir():
            raise InputError(f"{file}: is a directory; name the files in it")
        if _LIKE_URL.match(str(file)) and not file.exists():
            raise InputError(f"{file}: files are read here; a URL is the path of a source, for `fleetopt nightly`")
        self.file, self.reading = file, reading
        with LogFile(str(file)) as log:
            self.is_parquet = log.is_parquet
            if log.is_parquet:
                self.format = self._format(lambda: sample_of_parquet(log.stream))
            else:
                head = log.stream.read(DETECTION_BYTES)
                if len(head) < DETECTION_BYTES and not head.removeprefix(b"\xef\xbb\xbf").strip():
                    raise InputError(f"{file}: no lines")
                self.format = self._format(lambda: sample_of_lines(head))
        if self.format.mapping.time.is_relative and reading.clock_start is None:
            raise InputError(
                f"{file}: format '{self.format.name}' counts time from a start that its lines do not hold; "
                "declare it (clock_start in the configuration, --start on the command line)"
            )
        self.size = file.stat().st_size
        self.sha256 = ""

    def _format(self, sample: Callable[[], Sample]) -> LogFormat:
        if self.reading.format_name != AUTO:
            return get_format(self.reading.format_name)
        try:
            return detect_format(sample())
        except InputError as error:
            raise InputError(f"{self.file}: {error}") from error

    def read_into(self, writer: PartsWriter, balance: Balance) -> Iterator[int]:
        """Read the file; yields how far it is, in bytes of the file as it lies."""
        tally, n_usable, first_bad = Tally(), 0, None
        segments, start = None, self.reading.clock_start
        if self.format.mapping.time.is_relative and start is not None:
            segments = ClockSegments(self.reading.clock_restart_s, (start,))
        with LogFile(str(self.file)) as log:
            frames = read_records(
                log.stream,
                file=str(self.file),
                log_format=self.format,
                how=self._interpretation(),
                segments=segments,
                tally=tally,
                is_parquet=log.is_parquet,
            )
            for rows in frames:
                n_usable += rows["reason"].null_count()
                bad = rows.filter(pl.col("reason").is_not_null())
                if len(bad):
                    first_bad = first_bad or bad.row(0, named=True)
                    _keep_examples(bad, balance)
                records, notes = records_and_notes(rows)
                writer.add(records)
                writer.add_notes(notes)
                yield log.position
            self.sha256 = log.sha256()
        balance.clock_restarts += 0 if segments is None else segments.restarts
        self._check(tally, n_usable, first_bad)

    def _interpretation(self) -> Interpretation:
        reading = self.reading
        return Interpretation(
            timezone=reading.timezone,
            clock_start=reading.clock_start,
            time_is=None,
            hash_key=reading.hash_key,
            models=reading.models,
        )

    def _check(self, tally: Tally, n_usable: int, first_bad: dict[str, Any] | None) -> None:
        if not self.is_parquet:
            with LogFile(str(self.file)) as log:
                n_lines = count_lines(log.stream)
            if n_lines != tally.lines:
                raise BalanceError(
                    f"{self.file}: {tally.lines} lines were read, {n_lines} are there; did the file change meanwhile?"
                )
        if tally.records == 0 and tally.notes == 0:
            raise InputError(f"{self.file}: no line of it is a request, usable or not")
        if n_usable == 0 and first_bad is not None:
            raise InputError(
                f"{self.file}: none of {tally.records} lines could be used as format '{self.format.name}'; "
                f"first reason: {first_bad['reason']} (line {first_bad['line_number']})"
            )


def _keep_examples(bad: pl.DataFrame, balance: Balance) -> None:
    places = bad.select("reason", "file", "line_number", "byte_offset", "byte_length", "raw_text")
    for place in places.group_by("reason", maintain_order=True).head(EXAMPLES).iter_rows(named=True):
        kept = balance.examples.setdefault(place.pop("reason"), [])
        if len(kept) < EXAMPLES:
            kept.append(place)


def _write(
    parts: Parts,
    out: Path,
    reading: Reading,
    hashes: dict[str, str],
    balance: Balance,
    on_written: Callable[[int], None],
) -> None:
    """Write both files beside their places, then move them there; the requests last, so they never stand alone."""
    with ExitStack() as leftovers:
        moves, writers = [], {}
        for name, schema in ((QUARANTINE_FILE, QUARANTINE_SCHEMA), (REQUESTS_FILE, TRACE_SCHEMA)):
            temporary = out / f".{name}.{uuid4().hex}"
            leftovers.callback(temporary.unlink, missing_ok=True)
            arrow = schema.to_frame().to_arrow(compat_level=pl.CompatLevel.oldest()).schema
            writers[name] = leftovers.enter_context(pq.ParquetWriter(temporary, arrow, compression="zstd"))
            moves.append((temporary, out / name))
        start: datetime | None = None
        others: set[str] = set()
        for staged in stage(parts, date.min, horizon_s=reading.horizon_s):
            _count(staged, balance)
            on_written(balance.lines)
            if len(staged.requests):
                start = start or staged.requests["arrival_time"][0]
                _append(writers[REQUESTS_FILE], _trace(staged.requests, start, reading.archetype))
            others.update(staged.unserved.filter(pl.col("outcome") == OTHER_MODEL)["model"].unique())
            if len(staged.quarantined):
                _append(writers[QUARANTINE_FILE], quarantine_rows(staged.quarantined, hashes))
        _check_models(reading, balance, others)
        for writer in writers.values():
            writer.close()
        for temporary, target in moves:
            temporary.replace(target)


def _check_models(reading: Reading, balance: Balance, others: set[str]) -> None:
    """Refuse models that were asked for where no request that was served names one of them."""
    asked = ", ".join(sorted(reading.models or ()))
    if others and sum(balance.unserved.values()) == balance.requests:
        raise InputError(f"no request that was served is of model {asked}; others are of {', '.join(sorted(others))}")
    if asked and not others and not balance.models:
        raise InputError(f"requests of model {asked} cannot be told from others: these logs name no models")


def _append(writer: pq.ParquetWriter, rows: pl.DataFrame) -> None:
    writer.write_table(rows.to_arrow(compat_level=pl.CompatLevel.oldest()))


def _count(staged: Staged, balance: Balance) -> None:
    balance.lines += staged.lines
    balance.requests += len(staged.requests) + len(staged.unserved)
    balance.duplicates += staged.duplicates
    balance.quarantined += len(staged.quarantined)
    for outcome, n in staged.unserved["outcome"].value_counts().iter_rows():
        balance.unserved[outcome] = balance.unserved.get(outcome, 0) + n
    balance.finish_times += int(staged.requests["is_finish_time"].sum())
    balance.models = sorted({*balance.models, *staged.requests["model"].drop_nulls().unique()})


def _trace(requests: pl.DataFrame, start: datetime, archetype: str) -> pl.DataFrame:
    return requests.with_columns(
        arrival_s=(pl.col("arrival_time") - start).dt.total_microseconds() / 1e6,
        archetype=pl.col("archetype").fill_null(archetype),
    ).select(TRACE_SCHEMA.names())
