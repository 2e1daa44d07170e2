"""From a log file to rows: bytes, records, fields, meaning. On two threads, in the order of the file, streaming."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import BinaryIO, Final

import numpy as np
import polars as pl

from fleetopt.ingest.background import in_order
from fleetopt.ingest.csv_reader import CsvReader
from fleetopt.ingest.fields import NULL, FieldReader, Fields
from fleetopt.ingest.formats.definition import Csv, LogFormat
from fleetopt.ingest.interpret import Interpretation, interpret
from fleetopt.ingest.json_reader import JsonReader
from fleetopt.ingest.lines import BATCH_BYTES, Chunk, derive_key, read_chunks, split_chunk
from fleetopt.ingest.parquet import read_parquet_batches
from fleetopt.ingest.parsed import PARSED_SCHEMA
from fleetopt.ingest.parts import NOTE_SCHEMA
from fleetopt.ingest.records import Batch
from fleetopt.ingest.segments import ClockSegments
from fleetopt.schemas import RAW_REQUESTS

THREADS: Final = 2
_AHEAD: Final = 3
"""Batches that are worked at before they are asked for; with the size of a batch it bounds the memory."""
_BATCH_ROWS: Final = 262_144
_MAX_RAW_TEXT_BYTES: Final = 4096

RECORD_SCHEMA: Final = pl.Schema(
    {
        **{name: dtype for name, dtype in RAW_REQUESTS.schema.items() if name not in {"day", "source"}},
        "logged_time": PARSED_SCHEMA["logged_time"],
        "parent_hi": pl.Int64(),
        "parent_lo": pl.Int64(),
        "is_note": pl.Boolean(),
    }
)
"""What `read_records` yields: the raw table without day and source, and what staging joins by.

``key_*`` are those of the request's id where it has one (``has_id``), else of the record. A note is a line that is no
request but says something of the one with its key.
"""


@dataclass(slots=True)
class Tally:
    """What was seen of a file.

    Attributes
    ----------
    lines : int
        Non-blank lines; rows of Parquet.
    records : int
        Records of requests, usable or not; headers, notes and events of other kinds are none, and a line may hold
        several.
    notes : int
        Lines that are no request but say something of one.
    fields : set of str
        Of `Mapping.optional_fields`, those that some line has a value for.
    """

    lines: int = 0
    records: int = 0
    notes: int = 0
    fields: set[str] = field(default_factory=set)


def read_records(
    stream: BinaryIO,
    *,
    file: str,
    log_format: LogFormat,
    how: Interpretation,
    segments: ClockSegments | None,
    tally: Tally,
    is_parquet: bool = False,
    batch_bytes: int = BATCH_BYTES,
) -> Iterator[pl.DataFrame]:
    """Read the records of a file, in its order; the rows do not depend on ``batch_bytes``.

    Parameters
    ----------
    stream : BinaryIO
        The decompressed file from its first byte; of Parquet, one that can seek.
    file : str
        Name of the file in the result.
    log_format : LogFormat
    how : Interpretation
    segments : ClockSegments, optional
        Where a relative clock restarts; None where the clock is absolute.
    tally : Tally
        Counts along.
    is_parquet : bool
        Whether the stream is a Parquet file.
    batch_bytes : int
        How much to read at a time, bytes.

    Yields
    ------
    pl.DataFrame
        `RECORD_SCHEMA`. A row with a reason has no lengths, but its time where that could be read.

    Raises
    ------
    InputError
        If a Parquet file cannot be read.
    """
    record_key = derive_key(how.hash_key, b"record")
    mapping = log_format.mapping
    paths = mapping.paths()
    container = log_format.container
    csv = container if isinstance(container, Csv) and not is_parquet else None
    reader: FieldReader = JsonReader(paths) if csv is None else CsvReader(csv, paths, mapping.tenant + mapping.session)
    with ThreadPoolExecutor(THREADS) as pool:
        if is_parquet:
            batches = read_parquet_batches(
                stream,
                paths=paths,
                record_key=record_key,
                batch_rows=_BATCH_ROWS,
                whole_rows=not mapping.request_id,
            )
        else:
            is_quoted, delimiter = (False, ",") if csv is None else (csv.quoted, csv.delimiter)
            chunks = read_chunks(stream, batch_bytes=batch_bytes, quoted=is_quoted, delimiter=delimiter)
            split = partial(_split, record_key=record_key, explode=log_format.explode)
            batches = in_order(pool, (partial(split, chunk) for chunk in chunks), _AHEAD)
        tasks = (partial(_rows, batch, reader.prepare(batch), file, log_format, how) for batch in batches)
        for rows in in_order(pool, tasks, _AHEAD):
            tally.lines += rows.n_lines
            tally.records += rows.n_records
            tally.notes += len(rows.frame) - rows.n_records
            tally.fields |= rows.fields
            if len(rows.frame):
                yield rows.frame if segments is None else segments.shift(rows.frame)


def records_and_notes(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Part rows of `RECORD_SCHEMA` into records, and what lines say of other requests (`parts.NOTE_SCHEMA`).

    A record that names its parent is both.
    """
    is_note, has_parent = rows["is_note"], rows["parent_hi"].is_not_null() & rows["reason"].is_null()
    if not is_note.any() and not has_parent.any():
        return rows, NOTE_SCHEMA.to_frame()
    names = NOTE_SCHEMA.names()
    time = pl.col("logged_time")
    labels = rows.filter(is_note).select(
        time.alias("time"), "key_hi", "key_lo", pl.lit(False).alias("is_parent"), "archetype"
    )
    parents = rows.filter(has_parent).select(
        pl.col("arrival_time").alias("time"),
        pl.col("parent_hi").alias("key_hi"),
        pl.col("parent_lo").alias("key_lo"),
        pl.lit(True).alias("is_parent"),
        pl.lit(None, pl.String).alias("archetype"),
    )
    return rows.filter(~is_note), pl.concat([labels.select(names), parents.select(names)])


def _split(chunk: Chunk, record_key: bytes, explode: Callable[[Batch], Batch] | None) -> Batch:
    batch = split_chunk(chunk, record_key=record_key)
    return batch if explode is None else explode(batch)


@dataclass(frozen=True, slots=True)
class _Rows:
    n_lines: int
    n_records: int
    fields: frozenset[str]
    frame: pl.DataFrame


def _rows(
    batch: Batch, find_fields: Callable[[], Fields], file: str, log_format: LogFormat, how: Interpretation
) -> _Rows:
    """Read a batch and put each record beside its place; lines that are no record are only counted."""
    fields = find_fields()
    parsed = interpret(fields, log_format.mapping, how)
    n_others = int(parsed["is_other"].sum())
    has_place = batch.byte_offset[:1] >= 0
    frame = parsed.with_columns(
        file=pl.lit(file),
        line_number=batch.line_number,
        record_number=batch.record_number,
        byte_offset=pl.Series(batch.byte_offset) if has_place.all() else pl.lit(None, pl.Int64),
        byte_length=pl.Series(batch.byte_length) if has_place.all() else pl.lit(None, pl.Int64),
        has_id=pl.col("id_hi").is_not_null() & pl.col("reason").is_null(),
        raw_text=_raw_text(batch, parsed["reason"], fields) if not log_format.holds_text else pl.lit(None, pl.String),
        is_note=pl.col("is_other") & pl.col("id_hi").is_not_null(),
    ).with_columns(
        key_hi=pl.when("has_id").then("id_hi").otherwise(pl.Series(fields.key_hi)),
        key_lo=pl.when("has_id").then("id_lo").otherwise(pl.Series(fields.key_lo)),
    )
    if n_others:
        frame = frame.filter(~pl.col("is_other") | pl.col("is_note"))
    held = frozenset(
        name
        for name, paths in log_format.mapping.optional_fields().items()
        if any((fields.kind[fields.row(path)] > NULL).any() for path in paths)
    )
    return _Rows(batch.n_lines, len(batch) - n_others, held, frame.select(RECORD_SCHEMA.names()))


def _raw_text(batch: Batch, reason: pl.Series, fields: Fields) -> pl.Series:
    """Keep the text of lines that could not be used, cut to 4 KiB, where no prompt, tenant or session can be in it."""
    text = pl.Series("raw_text", [None], dtype=pl.String).new_from_index(0, len(batch))
    rows = np.flatnonzero(reason.is_not_null().to_numpy() & fields.keeps_text)
    if len(rows) == 0:
        return text
    kept = [batch.record(row)[:_MAX_RAW_TEXT_BYTES].decode("utf-8", "ignore") for row in rows.tolist()]
    return text.scatter(rows, pl.Series(kept, dtype=pl.String))
