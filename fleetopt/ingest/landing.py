"""The landing place of a source: which files hold a day, and their lines as rows of the raw table."""

import hashlib
import re
from collections.abc import Iterator, MutableMapping
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import polars as pl

from fleetopt.config import Source
from fleetopt.errors import InputError
from fleetopt.ingest.days import home_days, local_dates
from fleetopt.ingest.formats import LogFormat, get_format
from fleetopt.ingest.lines import BATCH_BYTES, Tally, count_lines, read_lines
from fleetopt.ingest.places import Place, find_files, open_file, parse_place, shown_file
from fleetopt.ingest.split import Split, split_requests
from fleetopt.schemas import RAW_REQUESTS

__all__ = [
    "Split",
    "Tally",
    "count_lines",
    "days_in_file",
    "iter_day",
    "landing_digest",
    "list_files",
    "open_file",
    "read_day",
    "shown_file",
    "split_requests",
]

_ANY_DATE: Final = "[0-9]" * 4 + "-" + "[0-9]" * 2 + "-" + "[0-9]" * 2
_ISO_DATE = re.compile(r"(?=(\d{4}-\d{2}-\d{2}))")
_DIGEST_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class LandingFile:
    """A file of a source, and the local date that its name gives, if the source's path has ``{date}``."""

    file: str
    local_date: date | None


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
        Paths and URLs for `open_file`, sorted by date and name. Empty if the source has files, but none of that day.
        Over HTTP, where nothing can be listed, an empty list may also mean that no day has a file.

    Raises
    ------
    InputError
        If the path matches nothing on any day, cannot be reached, or is of an unknown scheme.
    """
    return [found.file for found in _landing_files(source, source_name, day, config_dir, data_dir)]


def check_source(source_name: str, source: Source, config_dir: Path, data_dir: Path) -> None:
    """Check that a source can be read at all: its format, the start of its clock, and that its path matches files.

    Raises
    ------
    InputError
        Names the key ``source.<name>.<key>``.
    """
    _format(source_name, source)
    list_files(source, source_name, None, config_dir, data_dir)


def iter_day(
    source_name: str,
    source: Source,
    day: date,
    *,
    config_dir: Path,
    data_dir: Path,
    hash_key: bytes,
    batch_bytes: int = BATCH_BYTES,
    tallies: MutableMapping[str, Tally] | None = None,
) -> Iterator[pl.DataFrame]:
    """Read the lines of a UTC day, streaming.

    Parameters
    ----------
    source_name, source
        The source and its name in the configuration.
    day : datetime.date
        UTC day.
    config_dir, data_dir : pathlib.Path
        As in `list_files`.
    hash_key : bytes
        Key of the record hashes, 1 to 64 bytes.
    batch_bytes : int
        How much to read at a time, bytes.
    tallies : mutable mapping, optional
        Is given the lines and headers of each whole file that was read, by its name from `list_files`.

    Yields
    ------
    pl.DataFrame
        Rows of `fleetopt.schemas.RAW_REQUESTS`, in order of file and line.

    Raises
    ------
    InputError
        As `list_files`; if the format is unknown or needs a ``clock_start``; if a file cannot be read.
    """
    log_format = _format(source_name, source)
    for found in _landing_files(source, source_name, day, config_dir, data_dir):
        tally = Tally()
        with closing(open_file(found.file)) as stream:
            lines = read_lines(
                stream,
                file=shown_file(found.file),
                log_format=log_format,
                timezone=source.timezone,
                clock_start=source.clock_start,
                hash_key=hash_key,
                batch_bytes=batch_bytes,
                local_date=found.local_date,
                tally=tally,
            )
            for frame in home_days(lines, timezone=source.timezone, local_date=found.local_date):
                of_day = frame.filter(pl.col("day") == day)
                if not of_day.is_empty():
                    yield of_day.with_columns(source=pl.lit(source_name)).select(RAW_REQUESTS.schema.names())
        if tallies is not None:
            tallies[found.file] = tally


def read_day(
    source_name: str,
    source: Source,
    day: date,
    *,
    config_dir: Path,
    data_dir: Path,
    hash_key: bytes,
    batch_bytes: int = BATCH_BYTES,
    tallies: MutableMapping[str, Tally] | None = None,
) -> pl.DataFrame:
    """Read the lines of a UTC day into one frame; arguments and errors as in `iter_day`."""
    frames = iter_day(
        source_name,
        source,
        day,
        config_dir=config_dir,
        data_dir=data_dir,
        hash_key=hash_key,
        batch_bytes=batch_bytes,
        tallies=tallies,
    )
    return pl.concat([RAW_REQUESTS.schema.to_frame(), *frames])


def days_in_file(source_name: str, source: Source, file: str, *, config_dir: Path, data_dir: Path) -> set[date]:
    """Return the UTC days that a file's lines belong to; empty if it holds no line.

    Parameters
    ----------
    source_name, source
        The source and its name in the configuration.
    file : str
        A name from `list_files`.
    config_dir, data_dir : pathlib.Path
        As in `list_files`.

    Raises
    ------
    InputError
        If no line of the file has a readable time and its name gives no date, so that no day can be given.
    """
    local_date = None
    if source.is_dated:
        local_date = _dates_of([file], parse_place(source.path, config_dir, data_dir)).get(file)
        if local_date is None:
            raise InputError(f"{shown_file(file)}: is not among the files of source.{source_name}.path")
    days: set[date | None] = set()
    with closing(open_file(file)) as stream:
        lines = read_lines(
            stream,
            file=shown_file(file),
            log_format=_format(source_name, source),
            timezone=source.timezone,
            clock_start=source.clock_start,
            hash_key=b"-",  # the hashes are not used
        )
        for frame in home_days(lines, timezone=source.timezone, local_date=local_date):
            days.update(frame["day"].unique())
    if None in days:
        raise InputError(
            f"{shown_file(file)}: source.{source_name}: no line has a readable time, so no day can be given"
        )
    return {day for day in days if day is not None}


def landing_digest(files: list[str], source: Source) -> str:
    """Hash the contents of files and the declaration of their source.

    Returns
    -------
    str
        SHA-256, hex. The same for the same contents, in order, wherever they are; the last part of each file's name
        counts.
    """
    digest = hashlib.sha256(source.model_dump_json().encode())
    for file in files:
        content = hashlib.sha256()
        with closing(open_file(file)) as stream:
            while chunk := stream.read(_DIGEST_CHUNK_BYTES):
                content.update(chunk)
        digest.update(content.digest() + hashlib.sha256(file.rpartition("/")[2].encode()).digest())
    return digest.hexdigest()


def _format(source_name: str, source: Source) -> LogFormat:
    try:
        log_format = get_format(source.format)
    except InputError as error:
        raise InputError(f"source.{source_name}.format: {error}") from error
    if log_format.has_relative_clock and source.clock_start is None:
        raise InputError(
            f"source.{source_name}.clock_start: format '{log_format.name}' counts time from a start that its lines do "
            "not hold; declare it, for example clock_start = 2023-11-16T18:15:00Z"
        )
    return log_format


def _landing_files(
    source: Source, source_name: str, day: date | None, config_dir: Path, data_dir: Path
) -> list[LandingFile]:
    try:
        place = parse_place(source.path, config_dir, data_dir)
        found = _of_dates(source, place, day) if source.is_dated else _undated(place)
        if not found and (not source.is_dated or (place.can_list and not find_files(_any_date(place)))):
            raise InputError(f"no file matches {place.shown}")
    except InputError as error:
        raise InputError(f"source.{source_name}.path: {error}") from error
    return found


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
        for file in set(files) & set(find_files(place.at(candidate))):
            _give_date(dates, file, local)
    return dates


def _give_date(dates: dict[str, date], file: str, local: date) -> None:
    if file in dates:
        raise InputError(f"{shown_file(file)} matches two dates, {dates[file]} and {local}; narrow the pattern")
    dates[file] = local
