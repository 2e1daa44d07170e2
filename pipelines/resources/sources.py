"""The landing place: which files a source has for a day, their state, and reading them into the raw layer."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta

from fleetopt.config import Source
from fleetopt.errors import InputError
from fleetopt.ingest import landing
from fleetopt.ingest.days import local_dates
from fleetopt.ingest.formats import Csv
from fleetopt.ingest.formats.user import log_format_of
from fleetopt.ingest.parts import PartsWriter
from fleetopt.ingest.places import find_files, parse_place, shown_file, stamp
from pipelines.resources.forgotten import FILE_NAME, Forgotten
from pipelines.resources.raw_files import FileState, RawFiles, RawPointer, tail_of
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
        self._forgotten = Forgotten(settings.data_dir)

    def is_forgotten(self, day: date, name: str | None = None) -> bool:
        """Whether all of a day was forgotten on purpose, of one source or of every one."""
        return all(self._forgotten.covers(each, day) for each in ([name] if name else self.sources))

    def files(self, name: str, day: date) -> list[str]:
        """Files that may hold lines of a UTC day of a source, in order; none before the source's first day.

        Raises
        ------
        InputError
            The path matches nothing on any day, or cannot be reached.
        """
        return [found.file for found in self._landing_files(name, day) if not found.is_next]

    def ingest(self, name: str, day: date, code_version: str) -> RawPointer:
        """Read a source's day into the raw layer; what was read before in the same state is not read again.

        Files that were read and are gone since take nothing with them: logs are deleted some day, and the raw layer
        keeps what they held.

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
            A file cannot be read, or cannot be what the source declares; the day was forgotten on purpose; or it has to
            be read again, and without files that are gone fewer records would be left of it.
        LandingChangedError, LinesLostError
            Nothing is written then.
        """
        if self.is_forgotten(day):
            raise InputError(f"{day} was forgotten on purpose; {FILE_NAME} in the data directory says so")
        code_version = " ".join([code_version, *sorted(self._forgotten.tenants(name, day))])
        found = self._landing_files(name, day)
        known = self.raw.pointer(name, day)
        # Taken before anything is read: what changes from now on is seen as a change.
        states = [replace(file_state(each.file), is_next=each.is_next) for each in found]
        if known is not None and self._is_read(known, name, found, states, code_version):
            now = {state.file: state for state in states}
            pointer = replace(known, files=tuple(_with_stamp(old, now.get(old.file, old)) for old in known.files))
        else:
            pointer = self._read(name, day, found, states, code_version)
            check_loss(name, day, known, pointer)
        if pointer.tail_before is not None:
            before = self.raw.pointer(name, day - timedelta(days=1))
            pointer = replace(pointer, tail_before=before.tail if before else "")
        if pointer != known:
            self.raw.point_to(name, day, pointer)
        return pointer

    def missing_files(self, day: date) -> dict[str, list[str]]:
        """Files that each source with ``{date}`` in its path should have for a UTC day and has not.

        It has one for every local date that overlaps the day, from its first day on. Sources that miss none are left
        out; so are those without ``{date}``, which cannot be read at all when they have no file. A file that was read
        and is gone since is not missed.
        """
        missing = {}
        for name, source in self.sources.items():
            place = parse_place(source.path, self.settings.config_dir, self.settings.data_dir)
            pointer = self.raw.pointer(name, day)
            read = [state.file for state in pointer.files] if pointer else []
            dates = self._expected_dates(source, day) if source.is_dated else []
            absent = [
                place.at(str(local)).shown
                for local in dates
                if not any(str(local) in file for file in read) and not find_files(place.at(str(local)))
            ]
            if absent and not self.is_forgotten(day, name):
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

    def changes_around(self, name: str, day: date, known: RawPointer) -> list[str]:
        """What the days beside a day have since been found to say of it: ids before midnight, requests logged later."""
        changes = []
        before, after = (self.raw.pointer(name, day + timedelta(days=shift)) for shift in (-1, 1))
        tail = before.tail if before else ""
        is_gone = before is None and self.is_forgotten(day - timedelta(days=1), name)
        if known.tail_before is not None and known.tail_before != tail and not is_gone:
            changes.append(tail)
        read = {state.file: state.days.get(day.isoformat()) for state in known.files}
        for state in after.files if after and landing.reads_next_date(name, self.sources[name]) else ():
            said = state.days.get(day.isoformat())
            if not state.is_next and said != read.get(state.file):
                changes.append(f"{state.file}: {said}")
        return changes

    def _expected_dates(self, source: Source, day: date) -> list[date]:
        """Local dates of a UTC day on which the source has logs."""
        first_day = source.first_day or self.settings.config.pipeline.first_day
        return [local for local in local_dates(day, source.timezone) if local >= first_day]

    def _landing_files(self, name: str, day: date) -> list[landing.LandingFile]:
        source = self.sources[name]
        if not self._expected_dates(source, day) or self.is_forgotten(day, name):
            return []
        return landing.landing_files(source, name, day, self.settings.config_dir, self.settings.data_dir)

    def _is_read(
        self,
        known: RawPointer,
        name: str,
        found: Sequence[landing.LandingFile],
        states: Sequence[FileState],
        code_version: str,
    ) -> bool:
        """Whether a day was read from these files as they are, by this code: by their contents, not their times.

        It may have been read from others too, which are gone.
        """
        read = {state.file: state for state in known.files}
        if any(
            state.file not in read or (state.size, state.is_next) != (read[state.file].size, read[state.file].is_next)
            for state in states
        ):
            return False
        names, hashes = [state.file for state in known.files], [state.sha256 for state in known.files]
        if self._raw_id(name, names, hashes, code_version) != known.raw_id:
            return False
        pairs = zip(found, states, strict=True)
        return all(landing.sha256_of(each.file) == read[state.file].sha256 for each, state in pairs)

    def _read(
        self,
        name: str,
        day: date,
        found: Sequence[landing.LandingFile],
        states: Sequence[FileState],
        code_version: str,
    ) -> RawPointer:
        source = self.sources[name]
        files = []
        holds_one_day = source.is_dated and source.timezone == "UTC" and not landing.reads_next_date(name, source)
        with PartsWriter(self.raw.directory(name, day)) as writer, ThreadPoolExecutor(1) as beside:
            for each, state in zip(found, states, strict=True):
                counting = beside.submit(landing.count_again, each.file)
                reading = landing.read_file(
                    each,
                    name,
                    source,
                    hash_key=self.settings.hash_key,
                    day=day,
                    writer=writer,
                    forgotten_tenants=self._forgotten.tenants(name, day),
                )
                check_reading(state.file, reading, counting.result(), holds_one_day=holds_one_day)
                if stamp_of(file_state(each.file)) != stamp_of(state):
                    raise LandingChangedError(f"source {name}: {state.file} changed while it was read")
                files.append(self._with_findings(name, state, reading))
            names, hashes = [state.file for state in files], [state.sha256 for state in files]
            parts = writer.finish(self._raw_id(name, names, hashes, code_version))
        if parts.rows != sum(state.rows for state in files):
            raise LinesLostError(
                f"source {name}, {day}: {sum(s.rows for s in files)} rows were read, {parts.rows} stored"
            )
        has_ids = any(part.constants.get("has_id", True) for part in parts.files)
        return RawPointer(
            raw_id=parts.directory.name,
            landing_digest=landing.landing_digest(list(zip(names, hashes, strict=True)), source),
            lines=parts.rows,
            declaration=declaration(source),
            tail=tail_of(parts, day, timedelta(seconds=source.duplicate_horizon_s)) if has_ids or parts.notes else "",
            tail_before="" if has_ids else None,
            files=tuple(files),
        )

    def _with_findings(self, name: str, state: FileState, reading: landing.FileReading) -> FileState:
        source = self.sources[name]
        looked_at = not source.is_dated or landing.reads_next_date(name, source)
        return replace(
            state,
            sha256=reading.sha256,
            records=reading.records,
            restarts=reading.restarts,
            usable=reading.usable,
            fields=" ".join(sorted(reading.fields)),
            rows=reading.rows,
            days={day.isoformat(): said for day, said in reading.days.items() if day} if looked_at else {},
            defect=self._defect(name, state, reading),
        )

    def _defect(self, name: str, state: FileState, reading: landing.FileReading) -> str | None:
        """Say what is wrong with a file that gives no day any record, although it is not empty."""
        if not reading.records and not reading.notes:
            # Events of other kinds may fill a file of JSON lines; below a header of CSV there is nothing but requests.
            is_of_events = reading.lines and not isinstance(log_format_of(self.sources[name]).container, Csv)
            return f"{state.file} is not empty, but holds no line" if reading.size and not is_of_events else None
        if None not in reading.days:
            return None
        return landing.no_day(name, self.sources[name], state.file, reading.first_reason)

    def _raw_id(self, name: str, files: Sequence[str], hashes: Sequence[str], code_version: str) -> str:
        keyed = hashlib.blake2b(key=self.settings.hash_key, digest_size=20)
        keyed.update(repr((declaration(self.sources[name]), list(files), list(hashes), code_version)).encode())
        return keyed.hexdigest()


def declaration(source: Source) -> str:
    """Hash what is declared of a source."""
    return hashlib.sha256(source.model_dump_json().encode()).hexdigest()


def check_reading(shown: str, reading: landing.FileReading, counted: tuple[int, str], *, holds_one_day: bool) -> None:
    """Compare what was read with a count of the file's lines that shares no code with the parser.

    Parameters
    ----------
    shown : str
        The file's name for messages.
    reading : FileReading
        What the parser found.
    counted : tuple
        What `fleetopt.ingest.landing.count_again` found.
    holds_one_day : bool
        Whether every record of the file belongs to the day that was asked for.

    Raises
    ------
    LandingChangedError
        They saw different files.
    LinesLostError
    """
    lines, sha256 = counted
    if sha256 != reading.sha256:
        raise LandingChangedError(f"{shown} changed while it was read")
    if lines != reading.lines:
        raise LinesLostError(f"{shown}: {lines} lines were counted, {reading.lines} were parsed")
    if reading.rows > reading.records or (holds_one_day and reading.rows != reading.records):
        raise LinesLostError(f"{shown}: {reading.records} records were parsed, {reading.rows} rows are of this day")


def file_state(file: str) -> FileState:
    """Take the size and time of change of a landing file; over HTTP it has neither."""
    return FileState(shown_file(file), *stamp(file))


def check_loss(name: str, day: date, known: RawPointer | None, pointer: RawPointer) -> None:
    """Refuse a reading that has fewer records than the one before because files are gone.

    Raises
    ------
    InputError
    """
    gone = [] if known is None else [old.file for old in known.files if old.file not in {s.file for s in pointer.files}]
    if known is not None and gone and pointer.lines < known.lines:
        more = f" (and {len(gone) - 1} more)" if len(gone) > 1 else ""
        raise InputError(
            f"source {name}: {gone[0]}{more} is gone, and without it {pointer.lines:,} of the {known.lines:,} records "
            f"read before are left of {day}, which stays as it was; put the file back to read the day again"
        )


def _with_stamp(known: FileState, state: FileState) -> FileState:
    """Keep what reading found in a file whose content is the same; only its time of change is new."""
    return replace(known, mtime_ns=state.mtime_ns)


def stamp_of(state: FileState) -> tuple[str, int | None, int | None]:
    """Return what tells that a file is as it was: its name, size and time of change."""
    return state.file, state.size, state.mtime_ns
