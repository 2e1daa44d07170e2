"""The raw layer: immutable Parquet of parsed lines, one file per source, day and state of the landing files.

``raw/source=<name>/day=<day>/<raw id>.parquet`` is written once and never changed; ``current.json`` beside it names the
one that counts. The raw id covers everything that decides the file's content: the landing files, the source's
declaration, the key of the hashes and the version of the parsing code.
"""

import json
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from uuid import uuid4

import polars as pl

from assets.files import write_atomically
from fleetopt.schemas import RAW_REQUESTS
from pipelines.resources.tables import SchemaMismatchError, schema_differences

POINTER = "current.json"


@dataclass(frozen=True, slots=True)
class FileState:
    """A landing file as it was when it was read.

    Attributes
    ----------
    file : str
    size, mtime_ns : int, optional
        Bytes and time of change; None where its place does not tell.
    lines : int, optional
        Non-blank lines of the whole file, headers apart; None before it is read.
    defect : str, optional
        What is wrong with the file as a whole, in a sentence.
    """

    file: str
    size: int | None
    mtime_ns: int | None
    lines: int | None = None
    defect: str | None = None


@dataclass(frozen=True, slots=True)
class RawPointer:
    """Which Parquet file holds a source's day, how many lines of that day it has, and what it was read from."""

    raw_id: str
    landing_digest: str
    lines: int
    declaration: str
    files: tuple[FileState, ...]


class RawFiles:
    """The raw layer below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def directory(self, source: str, day: date) -> Path:
        """Where a source's day is."""
        return self.root / f"source={source}" / f"day={day.isoformat()}"

    def write(self, source: str, day: date, raw_id: str, frame: pl.DataFrame) -> None:
        """Write a state's lines once; a file that is there already is left as it is.

        Raises
        ------
        SchemaMismatchError
            Before anything is written.
        """
        differences = schema_differences(frame.schema, RAW_REQUESTS.schema)
        if differences:
            raise SchemaMismatchError(f"raw_requests of {source}, {day}: {'; '.join(differences)}")
        target = self._file(source, day, raw_id)
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{uuid4().hex}")
        try:
            frame.write_parquet(temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def point_to(self, source: str, day: date, pointer: RawPointer) -> None:
        """Make a written state the one that counts."""
        content = json.dumps(asdict(pointer), indent=1).encode()
        write_atomically(self.directory(source, day) / POINTER, content)

    def pointer(self, source: str, day: date) -> RawPointer | None:
        """Return the state that counts, or None if the source's day was never read."""
        try:
            stored = json.loads((self.directory(source, day) / POINTER).read_bytes())
        except FileNotFoundError:
            return None
        return RawPointer(**{**stored, "files": tuple(FileState(**state) for state in stored["files"])})

    def read(self, source: str, day: date) -> pl.LazyFrame:
        """Scan the lines of a source's day as they count now; empty if it was never read."""
        pointer = self.pointer(source, day)
        if pointer is None:
            return RAW_REQUESTS.schema.to_frame(eager=False)
        return pl.scan_parquet(self._file(source, day, pointer.raw_id), hive_partitioning=False)

    def days(self, source: str) -> list[date]:
        """Days of a source that were read, in order."""
        folders = (self.root / f"source={source}").glob(f"day=*/{POINTER}")
        return sorted(date.fromisoformat(folder.parent.name.removeprefix("day=")) for folder in folders)

    def _file(self, source: str, day: date, raw_id: str) -> Path:
        return self.directory(source, day) / f"{raw_id}.parquet"
