"""What was forgotten on purpose, so that it does not come back: landing files are not ours to change, and may stay.

``forgotten.json`` in the data directory holds it. Ingestion reads no day of a source that is on the list, and drops the
records of tenants that are. An entry that is taken out of the file is forgotten no longer.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Final

from assets.files import write_atomically
from fleetopt.errors import InputError

FILE_NAME: Final = "forgotten.json"


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to be forgotten: all that meets every condition that is given.

    Attributes
    ----------
    before : datetime.date
        First UTC day that is kept.
    first : datetime.date, optional
        First UTC day that goes; None: all from the beginning.
    source : str, optional
        Declared source; None: all.
    tenant : str, optional
        Keyed hash of a tenant, hex; None: all, and lines of which no tenant is known.
    """

    before: date
    first: date | None = None
    source: str | None = None
    tenant: str | None = None

    def has_day(self, day: date) -> bool:
        """Whether a day is among those that go."""
        return day < self.before and (self.first is None or day >= self.first)

    def has(self, source: str, day: date) -> bool:
        """Whether anything of a source and day goes."""
        return self.has_day(day) and self.source in {None, source}


class Forgotten:
    """The list in one data directory, as it is when it is asked."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE_NAME

    def covers(self, source: str, day: date) -> bool:
        """Whether all of a source's day was forgotten."""
        return any(each.tenant is None and each.has(source, day) for each in self._entries())

    def tenants(self, source: str, day: date) -> frozenset[str]:
        """Keyed hashes of the tenants that were forgotten of a source's day."""
        return frozenset(each.tenant for each in self._entries() if each.tenant and each.has(source, day))

    def add(self, selection: Selection) -> None:
        """Put a selection on the list."""
        entries = list(dict.fromkeys([*self._entries(), selection]))
        stored = [{key: str(value) for key, value in asdict(each).items() if value is not None} for each in entries]
        write_atomically(self._path, (json.dumps(stored, indent=1) + "\n").encode())

    def _entries(self) -> Iterable[Selection]:
        try:
            stored = json.loads(self._path.read_bytes())
            return [_selection(**entry) for entry in stored]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError) as error:
            raise InputError(f"{self._path}: is not a list of what was forgotten: {error}") from error


def _selection(
    before: str, first: str | None = None, source: str | None = None, tenant: str | None = None
) -> Selection:
    return Selection(date.fromisoformat(before), date.fromisoformat(first) if first else None, source, tenant)
