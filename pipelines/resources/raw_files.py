"""The raw layer: immutable Parquet of parsed records, one set of parts per source, day and state of the landing files.

``raw/source=<name>/day=<day>/<raw id>/`` appears whole and is never changed; ``current.json`` beside it names the one
that counts. The raw id covers everything that decides the content: the landing files, the source's declaration, the
key of the hashes and the version of the parsing code. Of two runs of a day at once, both leave a whole set, the same
one if they read the same; the last pointer counts.
"""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import polars as pl

from assets.files import write_atomically
from fleetopt.ingest.parts import Parts, open_parts
from fleetopt.schemas import RAW_REQUESTS

POINTER = "current.json"


@dataclass(frozen=True, slots=True)
class FileState:
    """A landing file as it was when it was read.

    Attributes
    ----------
    file : str
    size, mtime_ns : int, optional
        Bytes and time of change; None where its place does not tell.
    is_next : bool
        Whether it is that of the date after the day's, which holds what was logged late. That it grows says nothing of
        the day.
    sha256 : str
        Of the file as it lies, hex; empty before it is read.
    records : int
        Records of the whole file.
    restarts : int
        Times that a relative clock started again in it.
    usable : int
        Records of the whole file that can be used.
    rows : int
        Records of the day.
    days : dict
        ISO day -> fingerprint of what the file says of that day; empty for files of one day that no
        other looks at.
    fields : str
        Of the fields that are no lengths or times, those that some line has a value for, joined by blanks.
    defect : str, optional
        What is wrong with the file as a whole, in a sentence.
    """

    file: str
    size: int | None
    mtime_ns: int | None
    is_next: bool = False
    sha256: str = ""
    records: int = 0
    restarts: int = 0
    usable: int = 0
    rows: int = 0
    days: dict[str, str] = field(default_factory=dict)
    fields: str = ""
    defect: str | None = None


@dataclass(frozen=True, slots=True)
class RawPointer:
    """Which parts hold a source's day, and what they were read from.

    Attributes
    ----------
    raw_id : str
        Name of their directory.
    landing_digest : str
        Hash of the files' contents and the source's declaration.
    lines : int
        Records of the day.
    declaration : str
        Hash of the source's declaration.
    tail : str
        Fingerprint of the ids at the end of the day, which may be repeated on the next one; empty: there are none.
    tail_before : str or None
        That of the day before, as it was known when this day was read; None: this day has no ids that could repeat it.
    files : tuple of FileState
    """

    raw_id: str
    landing_digest: str
    lines: int
    declaration: str
    tail: str
    tail_before: str | None
    files: tuple[FileState, ...]

    @property
    def state(self) -> str:
        """What the staging of the day depends on, in short."""
        return f"{self.raw_id[:12]}{f'.{self.tail_before[-12:]}' if self.tail_before else ''}"


class RawFiles:
    """The raw layer below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def directory(self, source: str, day: date) -> Path:
        """Where a source's day is."""
        return self.root / f"source={source}" / f"day={day.isoformat()}"

    def point_to(self, source: str, day: date, pointer: RawPointer) -> None:
        """Make a written state the one that counts."""
        content = json.dumps(asdict(pointer), indent=1).encode()
        write_atomically(self.directory(source, day) / POINTER, content)

    def pointer(self, source: str, day: date) -> RawPointer | None:
        """Return the state that counts, or None if the source's day was never read (or by another release)."""
        try:
            stored = json.loads((self.directory(source, day) / POINTER).read_bytes())
            return RawPointer(**{**stored, "files": tuple(FileState(**state) for state in stored["files"])})
        except (FileNotFoundError, TypeError):
            return None

    def parts(self, source: str, day: date) -> Parts | None:
        """Open the parts of a source's day as they count now; None if it was never read."""
        pointer = self.pointer(source, day)
        return None if pointer is None else open_parts(self.directory(source, day) / pointer.raw_id)

    def read(self, source: str, day: date) -> pl.LazyFrame:
        """Scan the records of a source's day as they count now, as `RAW_REQUESTS`; empty if it was never read."""
        parts = self.parts(source, day)
        if parts is None:
            return RAW_REQUESTS.schema.to_frame(eager=False)
        return parts.scan().with_columns(day=pl.lit(day), source=pl.lit(source)).select(RAW_REQUESTS.schema.names())

    def days(self, source: str) -> list[date]:
        """Days of a source that were read, in order."""
        folders = (self.root / f"source={source}").glob(f"day=*/{POINTER}")
        return sorted(date.fromisoformat(folder.parent.name.removeprefix("day=")) for folder in folders)


def tail_of(parts: Parts, day: date, horizon: timedelta) -> str:
    """Make a fingerprint of what the day after has to know of a day: its last ids, and what was said of requests then.

    Parameters
    ----------
    parts : Parts
        Those of the day.
    day : datetime.date
    horizon : datetime.timedelta
        How far apart repeats of an id can be.
    """
    midnight = datetime.combine(day + timedelta(days=1), time(), UTC)
    ids = parts.read_ids(midnight - horizon).select("key_hi", "key_lo", time="arrival_time")
    notes = parts.read_notes(midnight - horizon, midnight + horizon).select("key_hi", "key_lo", "time")
    told = pl.concat([ids, notes]).unique().select(pl.col("key_hi"), pl.col("key_lo"), pl.col("time").to_physical())
    if told.is_empty():
        return ""
    mixed = told["key_hi"].to_numpy() ^ told["key_lo"].to_numpy() ^ told["time"].to_numpy()
    return f"{told.height}-{int(mixed.sum()) % (1 << 64):016x}"
