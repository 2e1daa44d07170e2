"""The records of a source and day as Parquet files: written once, whole or not at all, and read in slices of time.

Files of about half a million rows, each sorted by arrival time, hold the records; of a day in order they follow each
other, and of any other day each spans what its records span. Row groups are small, so that a slice of time reads little
more than its rows. A column that has one value throughout a file is not stored in it, but in the description beside it.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import uuid4

import numpy as np
import polars as pl

from fleetopt.ingest.background import Background
from fleetopt.ingest.columns import has_one_value, write_columns
from fleetopt.schemas import RAW_REQUESTS, UTC_MICROSECONDS

PART_SCHEMA: Final = pl.Schema(
    {name: dtype for name, dtype in RAW_REQUESTS.schema.items() if name not in {"day", "source"}}
)
"""Columns of a record in a part; day and source are the same for all of them."""

NOTE_SCHEMA: Final = pl.Schema(
    {
        "time": UTC_MICROSECONDS,
        "key_hi": pl.Int64(),
        "key_lo": pl.Int64(),
        "is_parent": pl.Boolean(),
        "archetype": pl.String(),
    }
)
"""What a line says of a request by its key: that it is the parent of another, or which traffic class it is of."""

DESCRIPTION: Final = "parts.json"
"""File of a set of parts that says what is in it; without it, it is none."""
PART_ROWS: Final = 1 << 19
"""Rows of a part: enough that parts are few, and little enough to sort in memory."""
SLICE_ROWS: Final = 500_000
"""Rows of a slice, unless told otherwise."""

_PART_TEXT_BYTES: Final = 128 << 20
_ROW_GROUP_ROWS: Final = 1 << 16
_TEXT_BYTES_PER_ROW: Final = 128  # a row of plain columns takes about that much memory
_MINUTE_US: Final = 60_000_000
_OFTEN_CONSTANT: Final = (pl.String, pl.Boolean, pl.Int32)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Part:
    """One file.

    Attributes
    ----------
    name : str
        In the directory of the parts.
    rows : int
    first_us, last_us : int or None
        Earliest and latest time in it, microseconds since 1970; None: its rows have no time.
    constants : dict
        Column -> the value that all rows have; it is not in the file.
    """

    name: str
    rows: int
    first_us: int | None
    last_us: int | None
    constants: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows that are looked at together: of whole minutes, or of those without a time.

    Attributes
    ----------
    start_us, end_us : int or None
        Microseconds since 1970, the end not included; None: the rows without a time.
    piece, pieces : int
        Where the rows of one minute (or those without a time) are more than a slice holds, each slice has those whose
        key leaves the remainder ``piece`` by ``pieces``, so that repeats stay together.
    """

    start_us: int | None
    end_us: int | None
    piece: int = 0
    pieces: int = 1

    @property
    def is_last_piece(self) -> bool:
        """Whether its span of time ends with it."""
        return self.piece == self.pieces - 1


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a source and day.

    Attributes
    ----------
    directory : pathlib.Path
    files, notes : tuple of Part
        Records, and what other lines say of them.
    minutes : dict
        Minute since 1970 -> memory that its rows take, in rows; a row with much text counts for several.
    untimed : int
        The same of rows without a time.
    """

    directory: Path
    files: tuple[Part, ...]
    notes: tuple[Part, ...]
    minutes: dict[int, int]
    untimed: int

    @property
    def rows(self) -> int:
        """Records in all."""
        return sum(part.rows for part in self.files)

    def slices(self, max_rows: int = SLICE_ROWS) -> list[Slice]:
        """Cut the day into slices of at most ``max_rows`` rows, in order of time; those without a time come last."""
        cuts: list[Slice] = []
        start, held = 0, 0
        minutes = sorted(self.minutes)
        for i, minute in enumerate(minutes):
            held += self.minutes[minute]
            following = self.minutes[minutes[i + 1]] if i + 1 < len(minutes) else max_rows
            if held + following > max_rows:
                pieces = -(-held // max_rows)
                span = (minutes[start] * _MINUTE_US, (minute + 1) * _MINUTE_US)
                cuts.extend(Slice(*span, piece, pieces) for piece in range(pieces))
                start, held = i + 1, 0
        pieces = -(-self.untimed // max_rows)
        cuts.extend(Slice(None, None, piece, pieces) for piece in range(pieces))
        return cuts

    def read(self, cut: Slice, columns: Sequence[str] = tuple(PART_SCHEMA)) -> Iterator[pl.DataFrame]:
        """Read the rows of a slice, part by part, with some columns of `PART_SCHEMA` or all of them."""
        for part in self.files:
            if _overlaps(part, cut.start_us, cut.end_us):
                yield self._scan(part, cut).select(columns).collect()

    def scan(self) -> pl.LazyFrame:
        """Scan all rows, with the columns of `PART_SCHEMA`."""
        if not self.files:
            return PART_SCHEMA.to_frame(eager=False)
        return pl.concat([_complete(self._scan_file(part), part, PART_SCHEMA) for part in self.files])

    def read_notes(self, first: datetime, last: datetime) -> pl.DataFrame:
        """Read the notes of a span of time, both ends included; see `NOTE_SCHEMA`."""
        bounds = _us(first), _us(last) + 1
        wanted = pl.col("time").is_between(first, last)
        found = [
            _complete(self._scan_file(part).filter(wanted), part, NOTE_SCHEMA).collect()
            for part in self.notes
            if _overlaps(part, *bounds)
        ]
        return pl.concat([NOTE_SCHEMA.to_frame(), *found])

    def read_ids(self, first: datetime) -> pl.DataFrame:
        """Read the keys of ids, reasons and times of the rows from a time on."""
        wanted = ["key_hi", "key_lo", "reason", "arrival_time"]
        bounds = _us(first), 1 << 62
        found = [
            _complete(self._scan_file(part).filter(pl.col("arrival_time") >= first), part, PART_SCHEMA)
            .filter("has_id")
            .select(wanted)
            .collect()
            for part in self.files
            if _overlaps(part, *bounds) and part.constants.get("has_id", True)
        ]
        return pl.concat([PART_SCHEMA.to_frame().select(wanted), *found])

    def _scan_file(self, part: Part) -> pl.LazyFrame:
        return pl.scan_parquet(self.directory / part.name, hive_partitioning=False, glob=False)

    def _scan(self, part: Part, cut: Slice) -> pl.LazyFrame:
        scan = self._scan_file(part)
        if cut.start_us is not None and cut.end_us is not None and not _is_within(part, cut.start_us, cut.end_us):
            time = pl.col("arrival_time")
            scan = scan.filter(time >= _time(cut.start_us), time < _time(cut.end_us))
        if cut.pieces > 1:
            scan = scan.filter(pl.col("key_lo").mod(cut.pieces) == cut.piece)
        return _complete(scan, part, PART_SCHEMA)


class PartsWriter:
    """Writes the parts of a source and day into a directory of its own, which appears whole or not at all.

    Parts are written on a thread of its own, while the next one is gathered.

    A context manager: what is not finished when it ends is removed, and what a run that was killed has left is removed
    by the next writer in the same place.

    Parameters
    ----------
    place : pathlib.Path
        Where the directory is to appear.
    part_rows : int
        Rows of a part.
    """

    def __init__(self, place: Path, part_rows: int = PART_ROWS) -> None:
        self._place = place
        self._part_rows = part_rows
        self._held: dict[str, list[pl.DataFrame]] = {"part": [], "note": []}
        self._files: dict[str, list[Part]] = {"part": [], "note": []}
        self._text_bytes = 0
        self._minutes: dict[int, int] = {}
        self._untimed = 0
        self._background = Background()

    def __enter__(self) -> Self:
        self._place.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self._place)
        self._lock, self._directory = _own_directory(self._place)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._background.close()
        shutil.rmtree(self._directory, ignore_errors=True)
        _lock_file(self._directory).unlink(missing_ok=True)
        os.close(self._lock)

    def add(self, rows: pl.DataFrame) -> None:
        """Take records, with the columns of `PART_SCHEMA` at least."""
        self._add("part", rows.select(PART_SCHEMA.names()))
        self._text_bytes += int(rows["raw_text"].str.len_bytes().sum())
        if self._text_bytes >= _PART_TEXT_BYTES:
            self._flush("part")

    def add_notes(self, notes: pl.DataFrame) -> None:
        """Take what lines say of requests, with the columns of `NOTE_SCHEMA`."""
        self._add("note", notes.select(NOTE_SCHEMA.names()))

    def finish(self, name: str) -> Parts:
        """Give the directory its name; where one of that name is already, that one counts."""
        for kind in self._held:
            self._flush(kind)
        self._background.wait()
        parts = Parts(
            self._place / name, tuple(self._files["part"]), tuple(self._files["note"]), self._minutes, self._untimed
        )
        described = {**asdict(parts), "directory": None}
        (self._directory / DESCRIPTION).write_text(json.dumps(described))
        try:
            self._directory.rename(parts.directory)
        except OSError:
            if not parts.directory.is_dir():
                raise
        return open_parts(parts.directory)

    def _add(self, kind: str, frame: pl.DataFrame) -> None:
        held = self._held[kind]
        held.append(frame)
        if sum(each.height for each in held) >= self._part_rows:
            self._flush(kind)

    def _flush(self, kind: str) -> None:
        held, self._held[kind] = self._held[kind], []
        self._text_bytes = 0
        if held:
            self._background.run(partial(self._write_sorted, kind, held))

    def _write_sorted(self, kind: str, held: list[pl.DataFrame]) -> None:
        frame = pl.concat(held)
        held.clear()
        time = frame.columns[frame.dtypes.index(UTC_MICROSECONDS)]
        if frame[time].null_count():
            self._write(kind, frame.filter(pl.col(time).is_null()), time)
            frame = frame.filter(pl.col(time).is_not_null())
        self._write(kind, frame if frame[time].is_sorted() else frame.sort(time), time)

    def _write(self, kind: str, frame: pl.DataFrame, time: str) -> None:
        if frame.is_empty():
            return
        if kind == "part":
            self._weigh(frame)
        constants = _constants(frame)
        name = f"{kind}-{len(self._files[kind]):05d}.parquet"
        write_columns(frame.drop(constants), self._directory / name, row_group_rows=_ROW_GROUP_ROWS)
        first, last = frame[time].cast(pl.Int64)[0], frame[time].cast(pl.Int64)[-1]
        self._files[kind].append(Part(name, frame.height, first, last, constants))

    def _weigh(self, frame: pl.DataFrame) -> None:
        """Add what sorted rows take in memory to their minutes."""
        weight = 1 + (frame["raw_text"].str.len_bytes().fill_null(0) // _TEXT_BYTES_PER_ROW).to_numpy()
        if frame["arrival_time"].null_count():
            self._untimed += int(weight.sum())
            return
        minute = frame["arrival_time"].cast(pl.Int64).to_numpy() // _MINUTE_US
        starts = np.flatnonzero(np.diff(minute, prepend=minute[0] - 1))
        for at, total in zip(minute[starts].tolist(), np.add.reduceat(weight, starts).tolist(), strict=True):
            self._minutes[at] = self._minutes.get(at, 0) + total


def open_parts(directory: Path) -> Parts:
    """Open parts that a `PartsWriter` finished."""
    described = json.loads((directory / DESCRIPTION).read_bytes())
    return Parts(
        directory=directory,
        files=tuple(Part(**part) for part in described["files"]),
        notes=tuple(Part(**part) for part in described["notes"]),
        minutes={int(minute): weight for minute, weight in described["minutes"].items()},
        untimed=described["untimed"],
    )


def remove_leftovers(place: Path) -> None:
    """Remove what writers in a place left that were killed; those that still run hold their locks."""
    for lock in place.glob(".*.lock"):
        held = os.open(lock, os.O_RDWR)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(lock.with_suffix(".parts"), ignore_errors=True)
            lock.unlink(missing_ok=True)
        finally:
            os.close(held)


def _own_directory(place: Path) -> tuple[int, Path]:
    """Make a directory that no other writer removes while this process lives; also return its lock."""
    while True:
        directory = place / f".{uuid4().hex}.parts"
        lock = os.open(_lock_file(directory), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Between its creation and our hold on it, another writer may have taken it for a leftover.
        if _lock_file(directory).exists():
            directory.mkdir()
            return lock, directory
        os.close(lock)


def _lock_file(directory: Path) -> Path:
    return directory.with_suffix(".lock")


def _constants(frame: pl.DataFrame) -> dict[str, Any]:
    """Find the columns with one value throughout, among those where that is worth a look, and that value."""
    found: dict[str, Any] = {}
    for column in frame.iter_columns():
        if column.null_count() == frame.height:
            found[column.name] = None
        elif column.dtype in _OFTEN_CONSTANT and has_one_value(column):
            found[column.name] = column[0]
    return found


def _complete(scan: pl.LazyFrame, part: Part, schema: pl.Schema) -> pl.LazyFrame:
    """Put back the columns that are not in the file."""
    constants = [pl.lit(value, dtype=schema[name]).alias(name) for name, value in part.constants.items()]
    return scan.with_columns(constants).select(schema.names())


def _overlaps(part: Part, start_us: int | None, end_us: int | None) -> bool:
    if part.first_us is None or part.last_us is None or start_us is None or end_us is None:
        return part.first_us is None and start_us is None
    return part.first_us < end_us and part.last_us >= start_us


def _is_within(part: Part, start_us: int, end_us: int) -> bool:
    return part.first_us is not None and part.last_us is not None and start_us <= part.first_us <= part.last_us < end_us


def _us(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def _time(us: int) -> pl.Expr:
    return pl.lit(us, dtype=pl.Int64).cast(UTC_MICROSECONDS)
