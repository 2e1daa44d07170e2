"""Frames of requests as Parquet files, written with little work: most of their columns hold one value, or rising ones.

Polars looks at every row of a column that has one value throughout, and puts numbers into dictionaries; Arrow can be
told what a column is like. That takes a third of the time, the files are smaller, and they are read faster.
"""

from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

_COMPRESSION_LEVEL: Final = 1
"""Level 1 of zstd; level 3 gives nothing more."""
_HASHES: Final = frozenset({"key_hi", "key_lo"})
"""Numbers that nothing makes shorter."""


def write_columns(
    frame: pl.DataFrame, where: Path | str, *, row_group_rows: int, filesystem: fs.FileSystem | None = None
) -> None:
    """Write a frame as a Parquet file, without the columns that hold nothing: readers of a table put nulls there.

    Row groups have statistics of times only.

    Parameters
    ----------
    frame : pl.DataFrame
        Columns of the types of `fleetopt.schemas`.
    where : pathlib.Path or str
        Path, in the file system if one is given.
    row_group_rows : int
        Rows of a row group.
    filesystem : pyarrow.fs.FileSystem, optional
    """
    columns = [column for column in frame.iter_columns() if not frame.height or column.null_count() < frame.height]
    repeated = {column.name for column in columns if frame.height and has_one_value(column)}
    arrays = [_repeated(column) if column.name in repeated else _arrow(column) for column in columns]
    fields = [
        pa.field(column.name, array.type, nullable=column.null_count() > 0)
        for column, array in zip(columns, arrays, strict=True)
    ]
    counts = {f.name for f in fields if pa.types.is_integer(f.type) or pa.types.is_timestamp(f.type)}
    packed = {column.name for column in columns if column.name not in _HASHES}
    pq.write_table(
        pa.table(arrays, schema=pa.schema(fields)),
        where,
        filesystem=filesystem,
        row_group_size=row_group_rows,
        compression={field.name: "zstd" if field.name in packed else "none" for field in fields},
        compression_level=dict.fromkeys(packed, _COMPRESSION_LEVEL),
        use_dictionary=sorted(repeated | {f.name for f in fields if pa.types.is_large_string(f.type)}),
        column_encoding=dict.fromkeys(counts - repeated - _HASHES, "DELTA_BINARY_PACKED"),
        write_statistics=[field.name for field in fields if pa.types.is_timestamp(field.type)],
        store_schema=False,  # it would say that labels are dictionaries
    )


def has_one_value(column: pl.Series) -> bool:
    """Whether a column, not empty, has the same value in all rows; null counts as one."""
    if column.null_count():
        return column.null_count() == len(column)
    return bool(column[0] == column[-1] and (column == column[0]).all())


def _arrow(column: pl.Series) -> pa.Array:
    return column.to_arrow(compat_level=pl.CompatLevel.oldest())


def _repeated(column: pl.Series) -> pa.Array:
    indices = np.zeros(len(column), np.int8)
    values = _arrow(column.head(1))
    return pa.DictionaryArray.from_arrays(indices, values) if column.dtype == pl.String else values.take(indices)
