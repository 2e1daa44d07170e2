"""Records of Parquet files: each row as one JSON object, so that formats read it as they read lines of JSON."""

import json
from collections.abc import Iterator
from datetime import date
from typing import BinaryIO, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from fleetopt.errors import InputError
from fleetopt.ingest.lines import BATCH_BYTES, keyed_hashes
from fleetopt.ingest.mapping import Paths
from fleetopt.ingest.records import Batch

_STEP_ROWS: Final = 8192
"""Rows that are read at a time; rows may hold long texts."""
_BUFFER_BYTES: Final = 1 << 20
"""How much of a column is read at a time, since row groups may be large."""
_DAMAGES: Final = (pa.ArrowException, OSError, UnicodeDecodeError, pl.exceptions.PanicException)
"""What is raised for a damaged file, by its footer, its pages, its names, and values that are none of their type."""
_FIRST_DATE, _LAST_DATE = date(1, 1, 1), date(9999, 12, 31)


def read_parquet_batches(
    source: BinaryIO,
    *,
    paths: Paths,
    record_key: bytes,
    batch_rows: int,
    batch_bytes: int = BATCH_BYTES,
    whole_rows: bool = True,
) -> Iterator[Batch]:
    """Read a Parquet file, a row a record; memory follows the size of batches and not of the file or its row groups.

    Times are ISO text, in UTC where they have a zone, and null outside the years 1 to 9999. Columns of floats are
    written without a fraction where they are whole, since tools make floats of integers that may be missing; decimals
    are numbers, maps are objects. Columns of bytes are read as UTF-8, as some writers do not say that theirs are text,
    and are null where they are none.

    Parameters
    ----------
    source : BinaryIO
        A file that can seek.
    paths : tuple of str
        What is wanted; it decides which columns are read.
    record_key : bytes
        16 bytes: key of the records' hashes.
    batch_rows, batch_bytes : int
        Most rows of a batch, and about how many bytes of columns.
    whole_rows : bool
        Whether all columns tell rows apart, as all bytes of a line do, and not the wanted ones alone. They have to,
        unless rows have ids: then no column need be read in vain, and rows that lack their id but are equal in the
        wanted columns count as repeats. Columns are taken in the order of their names, so that rows are equal to those
        of files with another order. Columns of types that are refused where they are wanted do not tell rows apart.

    Yields
    ------
    Batch
        ``line_number`` is the row, from 1. Records have no place in bytes: ``byte_offset`` and ``byte_length`` are -1.

    Raises
    ------
    InputError
        If it is no Parquet file, or damaged; if it has none of the wanted columns, or one of them is of a type that
        cannot be read, such as durations and bytes in lists.
    """
    name = getattr(source, "name", "the file")
    try:
        file = pq.ParquetFile(source, buffer_size=_BUFFER_BYTES)
        columns = _columns(file.schema_arrow, paths, whole_rows, name)
        row = 0
        for table in _tables(file, columns, batch_rows, batch_bytes):
            yield _batch(_json_objects(table.select(columns)), row, record_key)
            row += len(table)
    except _DAMAGES as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{name}: no Parquet file that can be read ({reason}); write or copy it again") from error
    if row != file.metadata.num_rows:
        raise InputError(f"{name}: {row} rows instead of {file.metadata.num_rows}; the file is damaged, copy it again")


def _columns(schema: pa.Schema, paths: Paths, whole_rows: bool, name: str) -> list[str]:
    wanted = [column for column in schema.names if any(f"{path}.".startswith(f"{column}.") for path in paths)]
    if not wanted:
        raise InputError(
            f"{name}: the format reads none of its columns ({', '.join(schema.names)[:200]}); name another format"
        )
    repeated = sorted({column for column in schema.names if schema.names.count(column) > 1})
    if repeated:
        raise InputError(f"{name}: column '{repeated[0]}' is there twice; write the file with one of them")
    readable = {field.name for field in schema if _is_binary(field.type) or _is_readable(field.type)}
    for column in wanted:
        if column not in readable:
            dtype = schema.field(column).type
            raise InputError(f"{name}: column '{column}' is of type {dtype}; write it as a number or as text")
    return sorted(readable if whole_rows else wanted)


def _tables(file: pq.ParquetFile, columns: list[str], batch_rows: int, batch_bytes: int) -> Iterator[pa.Table]:
    """Read rows until they are many, or large."""
    steps: list[pa.RecordBatch] = []
    for step in file.iter_batches(min(_STEP_ROWS, batch_rows), columns=columns, use_threads=False):
        step.validate(full=True)  # text in a damaged file may not be UTF-8, which nobody after this expects
        n_rows = sum(map(len, steps))
        if steps and (n_rows + len(step) > batch_rows or sum(each.nbytes for each in steps) >= batch_bytes):
            yield pa.Table.from_batches(steps)
            steps = []
        steps.append(step)
    if steps:
        yield pa.Table.from_batches(steps)


def _batch(objects: pl.Series, row: int, record_key: bytes) -> Batch:
    text = objects.to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, content = text.buffers()
    data = np.frombuffer(content, np.uint8)
    ends = np.frombuffer(offsets, np.int64)[text.offset : text.offset + len(text) + 1].copy()
    start, end = ends[:-1], ends[1:]
    high, low = keyed_hashes(data, start, end, record_key)
    nowhere = np.full(len(text), -1, np.int64)
    return Batch(
        data=data,
        start=start,
        end=end,
        line_number=np.arange(row + 1, row + 1 + len(text), dtype=np.int64),
        record_number=np.ones(len(text), np.int32),
        byte_offset=nowhere,
        byte_length=nowhere,
        key_hi=high,
        key_lo=low,
        fault=np.zeros(len(text), np.uint8),
        n_lines=len(text),
    )


def _json_objects(table: pa.Table) -> pl.Series:
    """Write every row as a JSON object: String[n]."""
    frame = pl.from_arrow(_with_text(table))
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - of a table it is one
    members: list[pl.Expr] = []
    plain: list[pl.Expr] = []
    for column, dtype in frame.schema.items():
        number = _number_text(column, dtype)
        if number is None:
            plain.append(_time(column, dtype))
        else:
            members += [*_members(plain), pl.concat_str(pl.lit(f"{json.dumps(column, ensure_ascii=False)}:"), number)]
            plain = []
    content = pl.concat_str(*members, *_members(plain), separator=",")
    return frame.select(pl.concat_str(pl.lit("{"), content, pl.lit("}"))).to_series()


def _members(columns: list[pl.Expr]) -> list[pl.Expr]:
    """Write columns as members of a JSON object, if there are any."""
    return [pl.struct(columns).struct.json_encode().str.slice(1).str.strip_suffix("}")] if columns else []


def _number_text(column: str, dtype: pl.DataType) -> pl.Expr | None:
    """Write a number with a fraction as JSON, without one if it is whole; None for columns that hold none."""
    value = pl.col(column)
    text = value.cast(pl.String).str.replace(r"\.0+$", "")
    if dtype.is_decimal():
        return text.fill_null("null")
    if dtype.is_float():
        # What is no number has no place in JSON; in quotes it is read as text, and is no length either.
        return pl.when(value.is_finite()).then(text).otherwise(pl.format('"{}"', text)).fill_null("null")
    return None


def _time(column: str, dtype: pl.DataType) -> pl.Expr:
    """Leave out times that cannot be written, such as those that stand for infinity, and give the others in UTC."""
    value = day = pl.col(column)
    if isinstance(dtype, pl.Datetime):
        value = value if dtype.time_zone is None else value.dt.convert_time_zone("UTC")
        day = value.dt.date()
    elif not isinstance(dtype, pl.Date):
        return value
    return pl.when(day.is_between(_FIRST_DATE, _LAST_DATE)).then(value).alias(column)


def _with_text(table: pa.Table) -> pa.Table:
    """Read columns of bytes as UTF-8: some writers do not say that theirs are text."""
    for i, field in enumerate(table.schema):
        if _is_binary(field.type):
            table = table.set_column(i, field.name, _text(table.column(i).cast(pa.large_binary())))
    return table


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.large_string())
    except pa.ArrowInvalid:
        return pa.chunked_array([[_decoded(value) for value in column.to_pylist()]], pa.large_string())


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _is_binary(dtype: pa.DataType) -> bool:
    return any(is_type(dtype) for is_type in _BINARY)


def _is_readable(dtype: pa.DataType) -> bool:
    """Whether values of a type can be written as JSON."""
    if pa.types.is_dictionary(dtype):
        return _is_readable(dtype.value_type)
    if pa.types.is_map(dtype):
        return any(is_type(dtype.key_type) for is_type in _STRING) and _is_readable(dtype.item_type)
    if pa.types.is_nested(dtype) and not pa.types.is_union(dtype):
        return all(_is_readable(dtype.field(i).type) for i in range(dtype.num_fields))
    return any(is_type(dtype) for is_type in (*_PLAIN, *_STRING))


_BINARY: Final = (
    *(pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view),
    pa.types.is_fixed_size_binary,
)
_STRING: Final = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_PLAIN: Final = (
    *(pa.types.is_null, pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal128),
    *(pa.types.is_timestamp, pa.types.is_date, pa.types.is_time),
)
