"""Deletion of what is known of single requests: of days, of a source, of a tenant. Its bytes go, not only its rows.

The rows of the tables, the raw layer, and what earlier versions of the tables held of the same days are deleted; from
then on those days cannot be read "as of" an earlier version. Counts (of lengths per hour, of arrivals per second, of
lines) and the plans made of them name nobody and stay, so that a plan can learn from more days than requests are kept.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

import polars as pl

from fleetopt.ingest.parts import DESCRIPTION, Parts, PartsWriter, open_parts, remove_leftovers
from fleetopt.schemas import TABLES
from pipelines.resources.forgotten import Forgotten, Selection
from pipelines.resources.raw_files import POINTER, RawFiles
from pipelines.resources.settings import Settings
from pipelines.resources.tables import TableStore

ROW_TABLES: Final = ("stg_requests", "unserved_requests", "quarantined_requests", "core_requests")
"""Tables of single requests and lines."""

_BATCH_ROWS: Final = 1 << 20
_ALL_TIME: Final = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2300, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Held:
    """Rows that are to go.

    Attributes
    ----------
    place : str
        Name of a table, or ``raw_requests``.
    day : datetime.date
    rows : int
    source : str, optional
        Of the raw layer, whose it is.
    """

    place: str
    day: date
    rows: int
    source: str | None = None


class Forgetting:
    """Finds and deletes what a selection means, in one data directory and its tables."""

    def __init__(self, settings: Settings, selection: Selection) -> None:
        self._selection = selection
        self._tables = TableStore(settings.tables_root)
        self._raw = RawFiles(settings.paths.raw)
        self._forgotten = Forgotten(settings.data_dir)

    def held(self) -> list[Held]:
        """Count what is held of the selection now."""
        return [*self._held_in_tables(), *self._held_raw()]

    def forget(self) -> None:
        """Delete it, and see that it does not come back.

        Whatever this is stopped by, it can be called again: the list of what was forgotten is written first.
        """
        held = self.held()
        self._forgotten.add(self._selection)
        for each in held:
            if each.source is None:
                self._delete_rows(each)
        for table in self._tables_meant():
            self._tables.purge(table, self._selection.has_day)
        for source, day in self._raw_days():
            self._delete_raw(source, day)

    def _tables_meant(self) -> tuple[str, ...]:
        if self._selection.tenant is None:
            return ROW_TABLES
        return tuple(table for table in ROW_TABLES if "tenant" in TABLES[table].schema)

    def _meant(self, *, of_source: bool) -> pl.Expr:
        """Rows of a day that go; ``of_source``: all rows are of the selected source."""
        meant = pl.lit(True)
        if self._selection.source is not None and not of_source:
            meant &= pl.col("source") == self._selection.source
        if self._selection.tenant is not None:
            meant &= (pl.col("tenant") == self._selection.tenant).fill_null(False)
        return meant

    def _held_in_tables(self) -> list[Held]:
        found = []
        for table in self._tables_meant():
            for day in filter(self._selection.has_day, self._tables.days(table)):
                found.append(Held(table, day, self._rows_in_table(table, day)))
        return [each for each in found if each.rows]

    def _rows_in_table(self, table: str, day: date) -> int:
        if self._is_of_whole_days:
            return self._tables.rows(table, day)  # said by the commits, so it needs no file that can be read
        rows = self._tables.read(table, day, day).filter(self._meant(of_source=False))
        return int(rows.select(pl.len()).collect().item())

    @property
    def _is_of_whole_days(self) -> bool:
        return self._selection.source is None and self._selection.tenant is None

    def _delete_rows(self, held: Held) -> None:
        said = {"forgotten": "rows were deleted on request"}
        if self._is_of_whole_days:
            self._tables.withdraw([held.place], held.day, said)
            return
        kept = self._tables.read(held.place, held.day, held.day).filter(~self._meant(of_source=False))
        with self._tables.day_writer(held.place, held.day, said) as writer:
            for batch in kept.collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True):
                writer.write(batch)

    def _raw_days(self) -> list[tuple[str, date]]:
        folders = sorted(self._raw.root.glob("source=*/day=*"))
        found = [
            (folder.parent.name.removeprefix("source="), date.fromisoformat(folder.name.removeprefix("day=")))
            for folder in folders
        ]
        return [(source, day) for source, day in found if self._selection.has(source, day)]

    def _held_raw(self) -> list[Held]:
        found = []
        for source, day in self._raw_days():
            rows = sum(self._rows(parts) for parts in self._sets(source, day))
            found.append(Held("raw_requests", day, rows, source))
        return [each for each in found if each.rows]

    def _rows(self, parts: Parts) -> int:
        if self._selection.tenant is None:
            return parts.rows
        return int(parts.scan().filter(self._meant(of_source=True)).select(pl.len()).collect().item())

    def _sets(self, source: str, day: date) -> list[Parts]:
        """Every set of parts of a source's day; all but one were left by earlier readings."""
        folders = [path for path in self._raw.directory(source, day).iterdir() if (path / DESCRIPTION).exists()]
        return [open_parts(folder) for folder in sorted(folders)]

    def _delete_raw(self, source: str, day: date) -> None:
        directory = self._raw.directory(source, day)
        # The pointer goes before what it points to: a run that is stopped in between leaves a day that was never read.
        if self._selection.tenant is None:
            (directory / POINTER).unlink(missing_ok=True)
            for parts in self._sets(source, day):
                _remove_set(parts.directory)
            shutil.rmtree(directory)
            return
        _remove_unfinished(directory)
        sets = self._sets(source, day)
        if not any(map(self._rows, sets)):
            return
        pointer = self._raw.pointer(source, day)
        if pointer is not None:
            kept = self._without(directory, open_parts(directory / pointer.raw_id))
            # Another name than reading gives: the day is read again when it is ingested the next time.
            self._raw.point_to(source, day, replace(pointer, raw_id=kept.directory.name, lines=kept.rows))
        for parts in sets:
            _remove_set(parts.directory)

    def _without(self, directory: Path, parts: Parts) -> Parts:
        """Write a day's parts again without the rows that go."""
        with PartsWriter(directory) as writer:
            for cut in parts.slices():
                for rows in parts.read(cut):
                    writer.add(rows.filter(~self._meant(of_source=True)))
            writer.add_notes(parts.read_notes(*_ALL_TIME))
            return writer.finish(uuid4().hex)


def _remove_set(directory: Path) -> None:
    """Delete a set of parts, its description first: what is left of it if this is stopped is known to be no set."""
    (directory / DESCRIPTION).unlink(missing_ok=True)
    shutil.rmtree(directory)


def _remove_unfinished(directory: Path) -> None:
    """Delete what runs that were stopped have left of a day: sets half written, and sets half deleted."""
    remove_leftovers(directory)
    for path in directory.iterdir():
        if path.is_dir() and not path.name.startswith(".") and not (path / DESCRIPTION).exists():
            shutil.rmtree(path)


def shown_held(held: Sequence[Held]) -> str:
    """Say in lines what is held, by place: rows and days."""
    lines = []
    for place in dict.fromkeys(each.place for each in held):
        rows = [each for each in held if each.place == place]
        days = sorted({each.day for each in rows})
        span = f"{days[0]} to {days[-1]}" if len(days) > 1 else f"{days[0]}"
        lines.append(
            f"{place}: {sum(each.rows for each in rows):,} rows of {len(days)} day{'s' * (len(days) > 1)}, {span}"
        )
    return "\n".join(lines) or "nothing of it is held"
