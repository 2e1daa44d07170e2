"""What the landing files of days are now, against what the raw layer was read from: cheap enough to ask every minute.

Names, sizes and times of change are compared, not contents. A file whose name has a date is of that date's days. One
without may hold lines of any day, until it is read for one: then it is known which, and kept beside that day's raw
data. Of a file that nobody has read yet only that much is said.
"""

import hashlib
from dataclasses import dataclass
from datetime import date
from functools import cache

from fleetopt.errors import InputError
from fleetopt.ingest import landing as places
from pipelines.resources.raw_files import FileState, RawPointer
from pipelines.resources.sources import Landing, declaration, file_state, stamp_of


@dataclass(frozen=True, slots=True)
class DayFiles:
    """What is known of a day's landing files.

    Attributes
    ----------
    state : str
        Fingerprint of the files and of what their sources declare.
    is_new : bool
        There are files that are of this day, and it was not read from them as they are: never, or they changed since.
    may_be_new : bool
        There are files that nobody has read and that may be of this day.
    """

    state: str
    is_new: bool
    may_be_new: bool


class Watch:
    """One look at all sources: what is listed once is not listed again.

    Attributes
    ----------
    problems : dict of str to str
        Sources that could not be looked at, and why in one line; their files count as unchanged.
    """

    def __init__(self, landing: Landing) -> None:
        self._landing = landing
        self.problems: dict[str, str] = {}
        self._undated = cache(self._list_undated)
        self._days_of = cache(self._read_days)

    def day(self, day: date) -> DayFiles:
        """Compare the files of a UTC day with what it was read from."""
        digest = hashlib.sha256()
        is_new = may_be_new = False
        for name, source in self._landing.sources.items():
            if self._landing.is_forgotten(day, name):
                continue
            files, unread = self._files(name, day)
            pointer = self._landing.raw.pointer(name, day)
            if name not in self.problems:
                is_new |= self._differs(name, day, files, pointer)
                may_be_new |= bool(unread)
            beside = self._landing.changes_around(name, day, pointer) if pointer else []
            is_new |= bool(beside)
            stamps = [stamp_of(state) for state in (*files, *unread)]
            digest.update(repr((name, declaration(source), stamps, beside)).encode())
        return DayFiles(digest.hexdigest()[:16], is_new, may_be_new)

    def _differs(self, name: str, day: date, files: list[FileState], pointer: RawPointer | None) -> bool:
        if pointer is None:
            return bool(files)
        read = [state for state in pointer.files if not state.is_next and self._is_of(name, state, day)]
        # A file that is gone is no change: what it held is kept.
        is_same = {stamp_of(state) for state in files} <= {stamp_of(state) for state in read}
        return not is_same or pointer.declaration != declaration(self._landing.sources[name])

    def _files(self, name: str, day: date) -> tuple[list[FileState], list[FileState]]:
        """Files that are of a day, and those of which that is not known."""
        try:
            if self._landing.sources[name].is_dated:
                return [file_state(file) for file in self._landing.files(name, day)], []
            found = self._undated(name)
        except InputError as error:
            self.problems[name] = str(error)
            return [], []
        is_of = [self._is_of(name, state, day) for state in found]
        of_day = [state for state, known in zip(found, is_of, strict=True) if known]
        return of_day, [state for state, known in zip(found, is_of, strict=True) if known is None]

    def _is_of(self, name: str, state: FileState, day: date) -> bool | None:
        """Whether a file has lines of a day; None if nobody has read it."""
        if self._landing.sources[name].is_dated:
            return True
        days = self._days_of(name).get(stamp_of(state))
        return None if days is None else day in days

    def _list_undated(self, name: str) -> list[FileState]:
        settings = self._landing.settings
        source = self._landing.sources[name]
        return [
            file_state(file) for file in places.list_files(source, name, None, settings.config_dir, settings.data_dir)
        ]

    def _read_days(self, name: str) -> dict[tuple[str, int | None, int | None], frozenset[date]]:
        pointers = [self._landing.raw.pointer(name, day) for day in self._landing.raw.days(name)]
        return {
            stamp_of(state): frozenset(map(date.fromisoformat, state.days))
            for pointer in pointers
            if pointer is not None
            for state in pointer.files
        }
