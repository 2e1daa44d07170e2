"""Delta tables, one per name, partitioned by day: checked before every write, a day replaced exactly and at once."""

from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path

import polars as pl
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import TableNotFoundError

from fleetopt.schemas import TABLES, Table


class SchemaMismatchError(Exception):
    """A frame is not what ``fleetopt.schemas`` declares; nothing was written."""


class WrongDayError(Exception):
    """A frame holds rows of days that it may not write; nothing was written."""


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


class TableStore:
    """The tables below one directory.

    Delta commits atomically: a reader sees a day as it was or as it is, and a writer that is killed leaves the last
    committed version. Files that it had written are not part of any version.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, table: str) -> Path:
        """Directory of a table."""
        return self.root / _declared(table).name

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
        declared = _declared(table)
        _refuse(declared, schema_differences(frame.schema, declared.schema), "the frame")
        outside = frame.filter(~pl.col("day").is_between(first_day, last_day).fill_null(False))
        if outside.height:
            raise WrongDayError(
                f"{table}: {outside.height} rows are of other days than {first_day} to {last_day}, "
                f"the first of {outside['day'][0]}"
            )
        self._create(declared)
        write_deltalake(
            self.path(table),
            frame,
            mode="overwrite",
            predicate=_days_predicate(first_day, last_day),
            commit_properties=CommitProperties(custom_metadata=dict(commit_metadata or {})),
        )
        return DeltaTable(self.path(table)).version()

    def withdraw(self, tables: Iterable[str], day: date, commit_metadata: Mapping[str, str] | None = None) -> list[str]:
        """Take a day out of tables; those that do not hold it stay as they are.

        Returns
        -------
        list of str
            The tables that held the day.
        """
        held = [table for table in tables if day in self.days(table)]
        for table in held:
            DeltaTable(self.path(table)).delete(
                _days_predicate(day, day),
                commit_properties=CommitProperties(custom_metadata=dict(commit_metadata or {})),
            )
        return held

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
        scan = pl.scan_delta(stored)
        _refuse(declared, self.differences(table), f"the stored table {self.path(table)}")
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

    def differences(self, table: str) -> list[str]:
        """Name what differs between a stored table and its declared schema; empty if nothing does."""
        stored = self._open(table)
        if stored is None:
            return []
        return schema_differences(pl.scan_delta(stored).collect_schema(), _declared(table).schema)

    def _open(self, table: str) -> DeltaTable | None:
        try:
            return DeltaTable(self.path(table))
        except TableNotFoundError:
            return None

    def _create(self, declared: Table) -> None:
        if self._open(declared.name) is None:
            DeltaTable.create(
                self.path(declared.name),
                declared.schema.to_frame().to_arrow().schema,
                mode="ignore",
                partition_by=["day"],
                name=declared.name,
                description=declared.description,
            )


def _declared(table: str) -> Table:
    if table not in TABLES:
        raise KeyError(f"no table '{table}' in fleetopt.schemas; known: {', '.join(TABLES)}")
    return TABLES[table]


def _refuse(declared: Table, differences: list[str], what: str) -> None:
    if differences:
        raise SchemaMismatchError(f"{declared.name}: {what} differs from the declared schema: {'; '.join(differences)}")


def _days_predicate(first_day: date, last_day: date) -> str:
    if first_day == last_day:
        return f"day = '{first_day.isoformat()}'"
    return f"day >= '{first_day.isoformat()}' AND day <= '{last_day.isoformat()}'"
