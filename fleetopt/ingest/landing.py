"""The landing place of a source: which files hold a day, and what is read from each of them."""

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from fleetopt.config import Source
from fleetopt.errors import InputError
from fleetopt.ingest.days import home_days, local_dates
from fleetopt.ingest.formats import Csv, LogFormat
from fleetopt.ingest.formats.user import log_format_of
from fleetopt.ingest.interpret import Interpretation
from fleetopt.ingest.lines import BATCH_BYTES, count_lines
from fleetopt.ingest.log_file import LogFile
from fleetopt.ingest.parts import PartsWriter
from fleetopt.ingest.places import Place, find_files, matching, parse_place, shown_file
from fleetopt.ingest.reading import Tally, read_records, records_and_notes
from fleetopt.ingest.segments import ClockSegments

_ANY_DATE: Final = "[0-9]" * 4 + "-" + "[0-9]" * 2 + "-" + "[0-9]" * 2
_ISO_DATE = re.compile(r"(?=(\d{4}-\d{2}-\d{2}))")


@dataclass(frozen=True, slots=True)
class LandingFile:
    """A file of a source.

    Attributes
    ----------
    file : str
        Path or URL for `fleetopt.ingest.log_file.LogFile`.
    local_date : datetime.date or None
        The local date that its name gives, if the source's path has ``{date}``.
    is_next : bool
        Whether it is of the date after those of the day: it holds what arrived on the day and was logged later.
    """

    file: str
    local_date: date | None
    is_next: bool = False


@dataclass(slots=True)
class FileReading:
    """What was found in a file.

    Attributes
    ----------
    sha256 : str
        Of the file as it lies, hex.
    size : int
        Bytes as it lies.
    lines : int
        Non-blank lines of the whole file; rows of Parquet.
    records : int
        Records in them; headers, notes and events of other kinds are none.
    notes : int
        Lines that are no record but say something of one.
    restarts : int
        Times that a relative clock started again in it.
    usable : int
        Records of the whole file without a reason.
    rows : int
        Records of the day that was asked for.
    fields : frozenset of str
        Of `Mapping.optional_fields`, those that some line has a value for.
    first_reason : str, optional
        Why the first of the file's records without a use could not be used.
    days : dict
        Day -> a fingerprint of the records and notes that belong to it; None: they belong to no day.
    """

    sha256: str = ""
    size: int = 0
    lines: int = 0
    records: int = 0
    notes: int = 0
    restarts: int = 0
    usable: int = 0
    rows: int = 0
    fields: frozenset[str] = frozenset()
    first_reason: str | None = None
    days: dict[date | None, str] = field(default_factory=dict)


def list_files(source: Source, source_name: str, day: date | None, config_dir: Path, data_dir: Path) -> list[str]:
    """List the files that can hold lines of a UTC day.

    Parameters
    ----------
    source, source_name
        The source and its name in the configuration.
    day : datetime.date or None
        UTC day; None for all files.
    config_dir, data_dir : pathlib.Path
        What relative paths and ``{data}`` start at.

    Returns
    -------
    list of str
        Paths and URLs, sorted by date and name. Empty if the source has files, but none of that day.
        Over HTTP, where nothing can be listed, an empty list may also mean that no day has a file.

    Raises
    ------
    InputError
        If the path matches nothing on any day, cannot be reached, or is of an unknown scheme.
    """
    return [found.file for found in landing_files(source, source_name, day, config_dir, data_dir) if not found.is_next]


def check_source(source_name: str, source: Source, config_dir: Path, data_dir: Path) -> None:
    """Check that a source can be read at all: its format, the start of its clock, and that its path matches files.

    Raises
    ------
    InputError
        Names the key ``source.<name>.<key>``.
    """
    source_format(source_name, source)
    list_files(source, source_name, None, config_dir, data_dir)


def read_file(
    found: LandingFile,
    source_name: str,
    source: Source,
    *,
    hash_key: bytes,
    day: date | None = None,
    writer: PartsWriter | None = None,
    forgotten_tenants: Collection[str] = (),
    batch_bytes: int = BATCH_BYTES,
) -> FileReading:
    """Read a file once, streaming: the records of a day go to a writer, and of all others it is told what they are.

    Parameters
    ----------
    found : LandingFile
    source_name, source
        The source and its name in the configuration.
    hash_key : bytes
        Key of all hashes, 1 to 64 bytes.
    day : datetime.date, optional
        UTC day whose records are wanted.
    writer : PartsWriter, optional
        Takes them. Notes go there that stand within the horizon of repeats around the day.
    forgotten_tenants : collection of str
        Keyed hashes (hex) of tenants whose records of that day count as no records.
    batch_bytes : int
        How much to read at a time, bytes.

    Raises
    ------
    InputError
        If the format is unknown or needs a ``clock_start``, if the file cannot be read, or no day can be given.
    """
    log_format = source_format(source_name, source)
    shown, tally, reading, prints = shown_file(found.file), Tally(), FileReading(), _Fingerprints()
    segments = None
    if log_format.mapping.time.is_relative:
        segments = ClockSegments(source.clock_restart_s, source.clock_starts)
    with LogFile(found.file) as log:
        frames = read_records(
            log.stream,
            file=shown,
            log_format=log_format,
            how=_interpretation(source, hash_key),
            segments=segments,
            tally=tally,
            is_parquet=log.is_parquet,
            batch_bytes=batch_bytes,
        )
        records = _without_notes(frames, source, day, writer, prints)
        for home, rows in home_days(records, file=shown, timezone=source.timezone, local_date=found.local_date):
            prints.add(home, rows)
            usable = rows["reason"].null_count()
            reading.usable += usable
            if reading.first_reason is None and usable < rows.height:
                reading.first_reason = rows["reason"].drop_nulls()[0]
            if home == day and writer is not None:
                kept = rows.filter(~pl.col("tenant").is_in(forgotten_tenants).fill_null(False))
                tally.records -= rows.height - kept.height
                writer.add(kept)
                reading.rows += kept.height
        reading.sha256, reading.size = log.sha256(), log.position
    reading.lines, reading.records, reading.notes = tally.lines, tally.records, tally.notes
    reading.fields = frozenset(tally.fields)
    reading.days = prints.shown()
    reading.restarts = 0 if segments is None else segments.restarts
    return reading


def count_again(file: str) -> tuple[int, str]:
    """Count a file's non-blank lines (of Parquet, rows) by other code than what parses them, and hash it again.

    Returns
    -------
    tuple
        The count, and the file's SHA-256, hex.
    """
    with LogFile(file) as log:
        n_lines = pq.ParquetFile(log.stream).metadata.num_rows if log.is_parquet else count_lines(log.stream)
        return n_lines, log.sha256()


def sha256_of(file: str) -> str:
    """Hash a file as it lies; hex."""
    with LogFile(file) as log:
        return log.sha256()


def no_day(source_name: str, source: Source, file: str, first_reason: str | None) -> str:
    """Say why no day can be given to a file's records, by the reason that the first of them has."""
    log_format = source_format(source_name, source)
    if first_reason == "no_header" and isinstance(log_format.container, Csv):
        why = f"no line is a header with the columns {', '.join(log_format.container.header)}"
    else:
        why = f"no line has a readable time at {' or '.join(log_format.mapping.time.paths)} ({first_reason})"
    return f"{shown_file(file)}: {why}, so no day can be given"


def landing_digest(contents: Sequence[tuple[str, str]], source: Source) -> str:
    """Hash the contents of files and the declaration of their source.

    Parameters
    ----------
    contents : sequence of tuple
        Name and SHA-256 (hex) of each file, in order.
    source : Source

    Returns
    -------
    str
        SHA-256, hex. The same for the same contents, in order, wherever they are; the last part of each file's name
        counts.
    """
    digest = hashlib.sha256(source.model_dump_json().encode())
    for file, sha256 in contents:
        digest.update(bytes.fromhex(sha256) + hashlib.sha256(file.rpartition("/")[2].encode()).digest())
    return digest.hexdigest()


def source_format(source_name: str, source: Source) -> LogFormat:
    """Return the log format of a source.

    Raises
    ------
    InputError
        If there is none of that name, or it needs a ``clock_start``.
    """
    try:
        log_format = log_format_of(source)
    except InputError as error:
        raise InputError(f"source.{source_name}.format: {error}") from error
    if log_format.mapping.time.is_relative and source.clock_start is None:
        raise InputError(
            f"source.{source_name}.clock_start: format '{log_format.name}' counts time from a start that its lines do "
            "not hold; declare it, for example clock_start = 2023-11-16T18:15:00Z"
        )
    return log_format


def reads_next_date(source_name: str, source: Source) -> bool:
    """Whether the file of the next date can say something of a day: of requests that were logged when they finished.

    So can the parts of a request that are logged below it, and notes on it.
    """
    mapping = source_format(source_name, source).mapping
    is_finish = (source.time or mapping.time_is) == "finish"
    return source.is_dated and (is_finish or bool(mapping.parent_id or mapping.note_when))


def _interpretation(source: Source, hash_key: bytes) -> Interpretation:
    return Interpretation(
        timezone=source.timezone,
        clock_start=source.clock_start,
        time_is=source.time,
        hash_key=hash_key,
        models=source.own_models,
    )


def _without_notes(
    frames: Iterator[pl.DataFrame],
    source: Source,
    day: date | None,
    writer: PartsWriter | None,
    prints: "_Fingerprints",
) -> Iterator[pl.DataFrame]:
    """Yield the records, and give the notes within the horizon of the day to the writer."""
    horizon = timedelta(seconds=source.duplicate_horizon_s)
    for frame in frames:
        records, notes = records_and_notes(frame)
        if notes.height:
            # What stands near midnight may be said of requests on its other side.
            prints.add_notes(notes, horizon if source.is_dated else timedelta(0))
        if notes.height and writer is not None and day is not None:
            midnight = datetime.combine(day, time(), UTC)
            near = pl.col("time").is_between(midnight - horizon, midnight + timedelta(days=1) + horizon)
            writer.add_notes(notes.filter(near))
        if records.height:
            yield records


class _Fingerprints:
    """Counts what a file says of each day, so that it can be told later whether that has changed."""

    def __init__(self) -> None:
        self._rows: dict[date | None, int] = {}
        self._sums: dict[date | None, int] = {}

    def add(self, day: date | None, rows: pl.DataFrame) -> None:
        self._rows[day] = self._rows.get(day, 0) + rows.height
        total = int(np.add.reduce(rows["key_lo"].to_numpy() ^ rows["key_hi"].to_numpy()))
        self._sums[day] = (self._sums.get(day, 0) + total) % (1 << 64)

    def add_notes(self, notes: pl.DataFrame, horizon: timedelta) -> None:
        """Count notes for each day that has a time within the horizon of theirs."""
        first, last = ((pl.col("time") + sign * horizon).dt.date() for sign in (-1, 1))
        days = pl.date_ranges(first, last).alias("day")
        for (day,), rows in notes.drop_nulls("time").with_columns(days).explode("day").group_by("day"):
            self.add(day, rows)

    def shown(self) -> dict[date | None, str]:
        return {day: f"{rows}-{self._sums[day]:016x}" for day, rows in self._rows.items()}


def landing_files(
    source: Source, source_name: str, day: date | None, config_dir: Path, data_dir: Path
) -> list[LandingFile]:
    """List files as `list_files` does, and after them those of the next date, where they can say something of the day.

    Whether there is one of the next date, and whether it grows, matters only for what it says of the day.
    """
    try:
        place = parse_place(source.path, config_dir, data_dir)
        found = _of_dates(source, place, day) if source.is_dated else _undated(place)
        if not found and (not source.is_dated or (place.can_list and not find_files(_any_date(place)))):
            raise InputError(f"no file matches {place.shown}")
        if day is not None and reads_next_date(source_name, source):
            found += _of_next_date(source, place, day, {each.file for each in found})
    except InputError as error:
        if str(error).startswith("source."):
            raise
        raise InputError(f"source.{source_name}.path: {error}") from error
    return found


def _of_next_date(source: Source, place: Place, day: date, known: set[str]) -> list[LandingFile]:
    local = local_dates(day, source.timezone)[-1] + timedelta(days=1)
    return [
        LandingFile(file, local, is_next=True) for file in find_files(place.at(local.isoformat())) if file not in known
    ]


def _undated(place: Place) -> list[LandingFile]:
    return [LandingFile(file, None) for file in find_files(place)]


def _of_dates(source: Source, place: Place, day: date | None) -> list[LandingFile]:
    if day is None:
        known = _dates_of(find_files(_any_date(place)), place) if place.can_list else {}
        return sorted((LandingFile(file, local) for file, local in known.items()), key=_by_date)
    dates: dict[str, date] = {}
    for local in local_dates(day, source.timezone):
        for file in find_files(place.at(local.isoformat())):
            _give_date(dates, file, local)
    return [LandingFile(file, local) for file, local in dates.items()]


def _by_date(found: LandingFile) -> tuple[date, str]:
    return found.local_date or date.min, found.file


def _any_date(place: Place) -> Place:
    return place.at(_ANY_DATE if place.root is not None else "*")


def _dates_of(files: list[str], place: Place) -> dict[str, date]:
    """Find the date of each file: the one that, put into the pattern, matches it. Files without one are left out."""
    candidates = {found for file in files for found in _ISO_DATE.findall(file)}
    dates: dict[str, date] = {}
    for candidate in sorted(candidates):
        try:
            local = date.fromisoformat(candidate)
        except ValueError:
            continue
        for file in matching(place.at(candidate), files):
            _give_date(dates, file, local)
    return dates


def _give_date(dates: dict[str, date], file: str, local: date) -> None:
    if file in dates:
        raise InputError(f"{shown_file(file)} matches two dates, {dates[file]} and {local}; narrow the pattern")
    dates[file] = local
