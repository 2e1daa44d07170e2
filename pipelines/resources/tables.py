"""Delta tables, one per name, partitioned by day: checked before every write, a day replaced exactly and at once."""

import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from deltalake.transaction import AddAction

from fleetopt.ingest.background import Background
from fleetopt.schemas import TABLES, Table
from pipelines.resources.table_files import TableFiles

_COMMIT_ATTEMPTS = 20
"""A commit is lost only when another writer made one, so this many in a row mean that something else is wrong."""


class SchemaMismatchError(Exception):
    """A frame is not what ``fleetopt.schemas`` declares; nothing was written."""


class WrongDayError(Exception):
    """A frame holds rows of days that it may not write; nothing was written."""


class FilesGoneError(Exception):
    """Files that were to be committed were deleted meanwhile; the table is as it was."""


def schema_differences(actual: Mapping[str, pl.DataType], expected: Mapping[str, pl.DataType]) -> list[str]:
    """Name what differs between two schemas, column by column; empty if they are equal, order included.

    Examples
    --------
    >>> schema_differences({"a": pl.Int32(), "b": pl.String()}, {"a": pl.Int64()})
    ['a is Int32, declared Int64', 'b is not declared']
    """
    differences = [f"{name} is missing" for name in expected if name not in actual]
    for name, dtype in actual.items():
        if name not in expected:
            differences.append(f"{name} is not declared")
        elif dtype != expected[name]:
            differences.append(f"{name} is {dtype}, declared {expected[name]}")
    if not differences and list(actual) != list(expected):
        differences.append(f"columns are in the order {list(actual)}, declared {list(expected)}")
    return differences


class DayWriter:
    """Takes the rows of a day, or of a range of days, in as many frames as it likes: each becomes a file of the table.

    Nothing of it is seen until `TableStore` commits all files together.
    """

    def __init__(self, files: TableFiles, table: Table, first_day: date, last_day: date) -> None:
        self._files = files
        self._table = table
        self._days = (first_day, last_day)
        self._id = uuid.uuid4().hex
        self._background = Background()
        self.rows = 0
        self.version: int | None = None
        self.added: list[AddAction] = []

    def write(self, frame: pl.DataFrame) -> None:
        """Add rows, after those that were added before; they are written on another thread, a frame at a time.

        Parameters
        ----------
        frame : polars.DataFrame
            Exactly the declared columns and types; every row of the writer's days.

        Raises
        ------
        SchemaMismatchError, WrongDayError
            Nothing of the frame is written then.
        """
        _refuse(self._table, schema_differences(frame.schema, self._table.schema), "the frame")
        self._refuse_other_days(frame)
        self.rows += frame.height
        self._background.run(partial(self._write, frame))

    def finish(self) -> None:
        """Wait until all rows are written."""
        self._background.wait()
        self._background.close()

    def discard(self) -> None:
        """Remove the files that were written."""
        self._background.close()
        self._files.remove(f"{self._table.name}/{action.path}" for action in self.added)

    def _write(self, frame: pl.DataFrame) -> None:
        for day, rows in _by_day(frame):
            path = f"day={day.isoformat()}/part-{len(self.added):05d}-{self._id}.parquet"
            self.added.append(_add_action(path, day, 0, rows.height))
            size = self._files.write(rows, f"{self._table.name}/{path}")
            self.added[-1] = replace(self.added[-1], size=size)

    def _refuse_other_days(self, frame: pl.DataFrame) -> None:
        first_day, last_day = self._days
        inside = pl.col("day").is_between(first_day, last_day).fill_null(False)
        outside = frame.select((~inside).sum()).item()
        if outside:
            first = frame.filter(~inside)["day"][0]
            raise WrongDayError(
                f"{self._table.name}: {outside} rows are of other days than {first_day} to {last_day}, "
                f"the first of {first}"
            )


class TableStore:
    """The tables below one directory, or below one URL of an object store.

    Delta commits atomically: a reader sees a day as it was or as it is, and a writer that is killed leaves the last
    committed version. Files that it had written are not part of any version; Delta's own ``vacuum`` removes them.
    Of two writers of a day the later one replaces what the earlier one wrote, all of it. On S3 that rests on
    conditional writes, which S3 and the servers that imitate it have (Delta asks for them by itself).

    Attributes
    ----------
    files : TableFiles
        The root that all tables are below.
    """

    def __init__(self, root: Path | str) -> None:
        self.files = TableFiles(root)

    def uri(self, table: str) -> str:
        """Local path or URL of a table, as Polars and Delta take it."""
        return self.files.uri(_declared(table).name)

    @contextmanager
    def day_writer(
        self, table: str, day: date, commit_metadata: Mapping[str, str] | None = None
    ) -> Iterator[DayWriter]:
        """Replace one day of a table with the rows that are given to the writer, in one commit when the block ends.

        Rows keep their order. If the block raises, the table is as it was and the files written so far are removed.

        Parameters
        ----------
        table : str
            A name in ``fleetopt.schemas.TABLES``.
        day : datetime.date
        commit_metadata : mapping, optional
            Kept in the commit: run, git commit ...

        Yields
        ------
        DayWriter
            Its ``version`` is that of the table once the block has ended.
        """
        with self._writer(_declared(table), day, day, commit_metadata) as writer:
            yield writer

    def write_day(
        self, table: str, day: date, frame: pl.DataFrame, commit_metadata: Mapping[str, str] | None = None
    ) -> int:
        """Replace one day of a table with the frame's rows; an empty frame leaves the day empty.

        Parameters
        ----------
        table : str
            A name in ``fleetopt.schemas.TABLES``.
        day : datetime.date
        frame : polars.DataFrame
            Exactly the declared columns and types; every row of that day.
        commit_metadata : mapping, optional
            Kept in the commit: run, git commit ...

        Returns
        -------
        int
            Version of the table after the write.

        Raises
        ------
        SchemaMismatchError, WrongDayError
            Before anything is written.
        """
        return self.write_days(table, day, day, frame, commit_metadata)

    def write_days(
        self,
        table: str,
        first_day: date,
        last_day: date,
        frame: pl.DataFrame,
        commit_metadata: Mapping[str, str] | None = None,
    ) -> int:
        """Replace the days from first to last in one commit; see :meth:`write_day`."""
        with self._writer(_declared(table), first_day, last_day, commit_metadata) as writer:
            writer.write(frame)
        return _written(writer)

    def publish_day(
        self, from_table: str, to_table: str, day: date, commit_metadata: Mapping[str, str] | None = None
    ) -> int:
        """Replace a day of a table with the same rows as another table holds, without reading them.

        The files get a second name (locally a hard link), so either table can drop its own later.

        Returns
        -------
        int
            Version of the table that was written.

        Raises
        ------
        SchemaMismatchError
            The stored table is not of the schema that is declared for the one it goes to.
        """
        declared = _declared(to_table)
        stored = self._open(from_table)
        if stored is not None:
            _refuse(declared, _stored_differences(stored, declared), f"the stored table {self.uri(from_table)}")
        added, writer_id = [], uuid.uuid4().hex
        for number, file in enumerate(_files_of(stored, day).iter_rows(named=True)):
            path = f"day={day.isoformat()}/part-{number:05d}-{writer_id}.parquet"
            self.files.duplicate(f"{from_table}/{file['path']}", f"{to_table}/{path}")
            added.append(_add_action(path, day, file["size_bytes"], file["num_records"]))
        self._create(declared)
        return self._replace(declared, day, day, added, commit_metadata)

    def withdraw(self, tables: Iterable[str], day: date, commit_metadata: Mapping[str, str] | None = None) -> list[str]:
        """Take a day out of tables; those that do not hold it stay as they are.

        Returns
        -------
        list of str
            The tables that held the day.
        """
        held = [table for table in tables if day in self.days(table)]
        for table in held:
            self._replace(_declared(table), day, day, [], commit_metadata)
        return held

    def purge(self, table: str, is_meant: Callable[[date], bool]) -> int:
        """Delete the files of some days that only earlier versions of a table hold; returns how many.

        Those versions can no longer be read for these days. Files of a writer that has not committed yet go too.
        """
        stored = self._open(table)
        if stored is None:
            return 0
        unused = stored.vacuum(retention_hours=0, dry_run=True, enforce_retention_duration=False, full=True)
        meant = [path for path in unused if (day := _day_of(path)) is not None and is_meant(day)]
        self.files.remove(f"{table}/{path}" for path in meant)
        return len(meant)

    def read(self, table: str, first_day: date | None = None, last_day: date | None = None) -> pl.LazyFrame:
        """Scan the days from first to last (both included; all by default) of a table as one filtered frame.

        A table that was never written reads as empty.

        Raises
        ------
        SchemaMismatchError
            The stored table is not of the declared schema: another release wrote it.
        """
        declared = _declared(table)
        stored = self._open(table)
        if stored is None:
            return declared.schema.to_frame(eager=False)
        _refuse(declared, _stored_differences(stored, declared), f"the stored table {self.uri(table)}")
        scan = pl.scan_delta(stored)
        if first_day is not None:
            scan = scan.filter(pl.col("day") >= first_day)
        if last_day is not None:
            scan = scan.filter(pl.col("day") <= last_day)
        return scan

    def version(self, table: str) -> int | None:
        """Delta version of a table, or None if it was never written."""
        stored = self._open(table)
        return None if stored is None else stored.version()

    def days(self, table: str) -> list[date]:
        """Days that a table holds rows of, in order."""
        stored = self._open(table)
        if stored is None:
            return []
        return sorted({date.fromisoformat(str(partition["day"])) for partition in stored.partitions()})

    def rows(self, table: str, day: date) -> int:
        """Count the rows of a day by what the commits say of their files; nothing is read."""
        return int(_files_of(self._open(table), day)["num_records"].sum())

    def differences(self, table: str) -> list[str]:
        """Name what differs between a stored table and its declared schema; empty if nothing does."""
        stored = self._open(table)
        if stored is None:
            return []
        return _stored_differences(stored, _declared(table))

    @contextmanager
    def _writer(
        self, table: Table, first_day: date, last_day: date, commit_metadata: Mapping[str, str] | None
    ) -> Iterator[DayWriter]:
        writer = DayWriter(self.files, table, first_day, last_day)
        try:
            yield writer
            writer.finish()
        except BaseException:
            writer.discard()
            raise
        self._create(table)
        # A commit that fails may have been made all the same (the answer was lost), so its files stay.
        writer.version = self._replace(table, first_day, last_day, writer.added, commit_metadata)

    def _replace(
        self,
        table: Table,
        first_day: date,
        last_day: date,
        added: list[AddAction],
        commit_metadata: Mapping[str, str] | None,
    ) -> int:
        """Put files in the place of all that a range of days has, in one commit; returns its version."""
        self._refuse_gone(table, added)
        days = [("day", ">=", first_day.isoformat()), ("day", "<=", last_day.isoformat())]
        # Without retries inside, a commit replaces exactly what the version before it holds. With them, of two writers
        # that both found the day empty, each would add to the other's rows.
        properties = CommitProperties(custom_metadata=dict(commit_metadata or {}), max_commit_retries=0)
        for attempt in range(_COMMIT_ATTEMPTS):
            stored = DeltaTable(self.uri(table.name))
            try:
                stored.create_write_transaction(
                    actions=list(added),
                    mode="overwrite",
                    schema=_arrow_schema(table),
                    partition_by=["day"],
                    partition_filters=days,
                    commit_properties=properties,
                )
            except CommitFailedError:
                if attempt + 1 == _COMMIT_ATTEMPTS:
                    raise
                time.sleep(0.01 * attempt)
            else:
                break
        return stored.version() + 1

    def _refuse_gone(self, table: Table, added: list[AddAction]) -> None:
        """Commit no file that is not there: the days of a table with such a file cannot be read at all."""
        gone = [action.path for action in added if not self.files.is_there(f"{table.name}/{action.path}")]
        if gone:
            raise FilesGoneError(
                f"{table.name}: {len(gone)} files were deleted before they were committed, the first {gone[0]}; was "
                "the day forgotten meanwhile?"
            )

    def _open(self, table: str) -> DeltaTable | None:
        try:
            return DeltaTable(self.uri(table))
        except TableNotFoundError:
            return None

    def _create(self, declared: Table) -> None:
        if self._open(declared.name) is not None:
            return
        try:
            DeltaTable.create(
                self.uri(declared.name),
                _arrow_schema(declared),
                mode="ignore",
                partition_by=["day"],
                name=declared.name,
                description=declared.description,
                commit_properties=CommitProperties(max_commit_retries=0),
            )
        except CommitFailedError:
            if self._open(declared.name) is None:  # not because another writer has just created it
                raise


def _arrow_schema(table: Table) -> Any:
    return table.schema.to_frame().to_arrow().schema


def _add_action(path: str, day: date, size: int, rows: int) -> AddAction:
    return AddAction(
        path=path,
        size=size,
        partition_values={"day": day.isoformat()},
        modification_time=time.time_ns() // 1_000_000,
        data_change=True,
        stats=json.dumps({"numRecords": rows}),
    )


def _by_day(frame: pl.DataFrame) -> Iterator[tuple[date, pl.DataFrame]]:
    """Rows of each day, in their order, without the column ``day``: the directory holds it."""
    days = frame["day"].unique(maintain_order=True).to_list()
    for day in days:
        yield day, (frame if len(days) == 1 else frame.filter(pl.col("day") == day)).drop("day")


def _files_of(stored: DeltaTable | None, day: date) -> pl.DataFrame:
    """Path, size and number of rows of the files that hold a day, in order."""
    columns = {"path": pl.String, "size_bytes": pl.Int64, "num_records": pl.Int64}
    if stored is None:
        return pl.DataFrame(schema=columns)
    files = pl.DataFrame(stored.get_add_actions(flatten=True))
    return files.filter(pl.col("partition.day") == day).select(*columns).sort("path")


def _day_of(path: str) -> date | None:
    """Day of a file by its path in the table; None for what somebody else has put there."""
    found = re.match(r"day=(\d{4}-\d{2}-\d{2})/", path)
    return date.fromisoformat(found[1]) if found else None


def _declared(table: str) -> Table:
    if table not in TABLES:
        raise KeyError(f"no table '{table}' in fleetopt.schemas; known: {', '.join(TABLES)}")
    return TABLES[table]


def _refuse(declared: Table, differences: list[str], what: str) -> None:
    if differences:
        raise SchemaMismatchError(f"{declared.name}: {what} differs from the declared schema: {'; '.join(differences)}")


def _stored_differences(stored: DeltaTable, declared: Table) -> list[str]:
    return schema_differences(pl.scan_delta(stored).collect_schema(), declared.schema)


def _written(writer: DayWriter) -> int:
    assert writer.version is not None  # noqa: S101  # its block has ended without an error
    return writer.version
