"""The landing place: which files a source has for a day, their state, and reading them into the raw layer."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
from pyarrow import fs

from fleetopt.config import Source
from fleetopt.errors import InputError
from fleetopt.ingest import landing
from fleetopt.ingest.days import local_dates
from fleetopt.ingest.places import find_files, parse_place
from fleetopt.schemas import RAW_REQUESTS
from pipelines.resources.raw_files import FileState, RawFiles, RawPointer
from pipelines.resources.settings import Settings


class LandingChangedError(Exception):
    """A landing file changed while it was read; reading it again is all that is needed."""


class LinesLostError(Exception):
    """The parser did not give a row for every line that an independent count finds: a fault of ours."""


class Landing:
    """The declared sources and what was read from them.

    Attributes
    ----------
    raw : RawFiles
        The raw layer that days are read into.
    sources : dict
        Declared sources by name.
    """

    def __init__(self, settings: Settings, raw: RawFiles) -> None:
        self.settings = settings
        self.raw = raw
        self.sources: dict[str, Source] = dict(settings.config.source)

    def files(self, name: str, day: date) -> list[str]:
        """Files that may hold lines of a UTC day of a source, in order; none before the source's first day.

        Raises
        ------
        InputError
            The path matches nothing on any day, or cannot be reached.
        """
        source = self.sources[name]
        if not self._expected_dates(source, day):
            return []
        return landing.list_files(source, name, day, self.settings.config_dir, self.settings.data_dir)

    def ingest(self, name: str, day: date, code_version: str) -> RawPointer:
        """Read a source's day into the raw layer; what was read before in the same state is not read again.

        Parameters
        ----------
        name : str
            Source.
        day : datetime.date
            UTC day.
        code_version : str
            Version of the parsing code; another one reads again.

        Raises
        ------
        InputError
            A file cannot be read, or cannot be what the source declares.
        LandingChangedError, LinesLostError
            Nothing is written then.
        """
        source = self.sources[name]
        files = self.files(name, day)
        states = [file_state(file) for file in files]  # taken first: a change from now on is seen as one later
        digest = landing.landing_digest(files, source)
        raw_id = self._raw_id(digest, code_version)
        known = self.raw.pointer(name, day)
        if known is not None and known.raw_id == raw_id:
            pointer = replace(known, files=tuple(_with_findings(states, known.files)))
        else:
            pointer = self._read(name, day, files, states, RawPointer(raw_id, digest, 0, _declaration(source), ()))
        if pointer != known:
            self.raw.point_to(name, day, pointer)
        return pointer

    def missing_files(self, day: date) -> dict[str, list[str]]:
        """Files that each source with ``{date}`` in its path should have for a UTC day and has not.

        It has one for every local date that overlaps the day, from its first day on. Sources that miss none are left
        out; so are those without ``{date}``, which cannot be read at all when they have no file.
        """
        missing = {}
        for name, source in self.sources.items():
            place = parse_place(source.path, self.settings.config_dir, self.settings.data_dir)
            dates = self._expected_dates(source, day) if source.is_dated else []
            absent = [place.at(str(local)).shown for local in dates if not find_files(place.at(str(local)))]
            if absent:
                missing[name] = absent
        return missing

    def defects(self, day: date) -> dict[str, list[str]]:
        """What is wrong with whole files that were read for a UTC day, in sentences, by source."""
        found = {}
        for name in self.sources:
            pointer = self.raw.pointer(name, day)
            sentences = [state.defect for state in pointer.files if state.defect] if pointer else []
            if sentences:
                found[name] = sentences
        return found

    def ingested_days(self) -> list[date]:
        """Days that any source was read for, in order."""
        return sorted({day for name in self.sources for day in self.raw.days(name)})

    def changed_state(self, day: date) -> str | None:
        """Fingerprint of a day's landing files if they, or what their sources declare, changed since; else None.

        Compares names, sizes and times of change, not contents, so it is cheap enough for a sensor. Files behind HTTP
        are compared by name only.
        """
        now = {
            name: (_declaration(source), [_stamp(file_state(file)) for file in self.files(name, day)])
            for name, source in self.sources.items()
        }
        pointers = {name: self.raw.pointer(name, day) for name in self.sources}
        read = {
            name: (known.declaration, [_stamp(state) for state in known.files]) if known else None
            for name, known in pointers.items()
        }
        if now == read:
            return None
        return hashlib.sha256(repr(sorted(now.items())).encode()).hexdigest()[:16]

    def _expected_dates(self, source: Source, day: date) -> list[date]:
        """Local dates of a UTC day on which the source has logs."""
        first_day = source.first_day or self.settings.config.pipeline.first_day
        return [local for local in local_dates(day, source.timezone) if local >= first_day]

    def _read(
        self, name: str, day: date, files: Sequence[str], states: Sequence[FileState], pointer: RawPointer
    ) -> RawPointer:
        source = self.sources[name]
        tallies: dict[str, landing.Tally] = {}
        frame = RAW_REQUESTS.schema.to_frame()
        if files:
            frame = landing.read_day(
                name,
                source,
                day,
                config_dir=self.settings.config_dir,
                data_dir=self.settings.data_dir,
                hash_key=self.settings.hash_key,
                tallies=tallies,
            )
        check_lines(frame, tallies, holds_one_day=source.is_dated and source.timezone == "UTC")
        if landing.landing_digest(list(files), source) != pointer.landing_digest:
            raise LandingChangedError(f"source {name}: a file of {day} changed while it was read")
        self.raw.write(name, day, pointer.raw_id, frame)
        found = [
            replace(state, lines=tallies[file].lines, defect=self._defect(name, file, tallies[file], state))
            for file, state in zip(files, states, strict=True)
        ]
        return replace(pointer, lines=frame.height, files=tuple(found))

    def _defect(self, name: str, file: str, tally: landing.Tally, state: FileState) -> str | None:
        """Say what is wrong with a file that gives no day any line, although it is not empty."""
        if not tally.lines:
            return f"{state.file} is not empty, but holds no line" if state.size else None
        if self.sources[name].is_dated:
            return None
        try:
            landing.days_in_file(
                name,
                self.sources[name],
                file,
                config_dir=self.settings.config_dir,
                data_dir=self.settings.data_dir,
            )
        except InputError as error:
            return str(error)
        return None

    def _raw_id(self, landing_digest: str, code_version: str) -> str:
        keyed = hashlib.blake2b(key=self.settings.hash_key, digest_size=20)
        keyed.update(f"{landing_digest} {code_version}".encode())
        return keyed.hexdigest()


def _declaration(source: Source) -> str:
    return hashlib.sha256(source.model_dump_json().encode()).hexdigest()


def check_lines(frame: pl.DataFrame, tallies: Mapping[str, landing.Tally], *, holds_one_day: bool) -> None:
    """Compare what was read with a count of the files' lines that shares no code with the parser.

    Parameters
    ----------
    frame : polars.DataFrame
        Rows of one source and day.
    tallies : mapping
        File -> lines and headers of the whole file, as the parser met them.
    holds_one_day : bool
        Whether every line of these files belongs to this day; else a file may have lines of other days.

    Raises
    ------
    LinesLostError
    """
    rows = dict(frame.group_by("file").len().iter_rows())
    for file, tally in tallies.items():
        with closing(landing.open_file(file)) as stream:
            counted = landing.count_lines(stream)
        shown = landing.shown_file(file)
        if counted != tally.lines + tally.headers:
            raise LinesLostError(f"{shown}: {counted} lines were counted, {tally.lines + tally.headers} were parsed")
        given = rows.get(shown, 0)
        if given > tally.lines or (holds_one_day and given != tally.lines):
            raise LinesLostError(f"{shown}: {tally.lines} lines were parsed, {given} rows are of this day")


def file_state(file: str) -> FileState:
    """Take the size and time of change of a landing file; over HTTP it has neither."""
    shown = landing.shown_file(file)
    try:
        if "://" not in file:
            found = Path(file).stat()
            return FileState(shown, found.st_size, found.st_mtime_ns)
        if file.startswith(("s3://", "gs://")):
            filesystem, path = fs.FileSystem.from_uri(file)
            info = filesystem.get_file_info(path)
            return FileState(shown, info.size, info.mtime_ns)
    except OSError as error:
        raise InputError(f"{shown}: cannot be read: {error.strerror or type(error).__name__}") from None
    return FileState(shown, None, None)


def _with_findings(states: Sequence[FileState], known: Sequence[FileState]) -> list[FileState]:
    """Carry over what reading found in files whose contents are the same; only their stamps are new."""
    return [replace(state, lines=old.lines, defect=old.defect) for state, old in zip(states, known, strict=True)]


def _stamp(state: FileState) -> tuple[str, int | None, int | None]:
    return state.file, state.size, state.mtime_ns
