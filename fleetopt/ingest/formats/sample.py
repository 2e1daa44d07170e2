"""The beginning of a file, as formats are told from it, and the questions that they ask of it."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import polars as pl

from fleetopt.errors import InputError
from fleetopt.ingest.formats.definition import Csv, Sample

DETECTION_BYTES: Final = 1 << 20
"""How much of a file's beginning to give to `sample_of_lines`."""

_DETECTION_LINES: Final = 100
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def sample_of_lines(head: bytes) -> Sample:
    """Cut the beginning of a file of lines.

    Parameters
    ----------
    head : bytes
        The first `DETECTION_BYTES` of the file, decompressed, or all of it. Lines that cannot be read are left aside.
    """
    cut = head.removeprefix(_BYTE_ORDER_MARK).split(b"\n", _DETECTION_LINES)[:_DETECTION_LINES]
    lines = [line.removesuffix(b"\r") for line in cut if line.strip()]
    return Sample(lines, list(_objects(lines)), ())


def sample_of_parquet(file: str | Path | IO[bytes]) -> Sample:
    """Read the columns and the first rows of a Parquet file.

    Raises
    ------
    InputError
        If it is none, or is damaged.
    """
    try:
        frame = pl.read_parquet(file, n_rows=_DETECTION_LINES, use_pyarrow=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"cannot be read as Parquet: {str(error).splitlines()[0]}; write or copy it again") from error
    return Sample([], frame.to_dicts(), tuple(frame.columns))


def names_header(sample: Sample, container: Csv) -> bool:
    """Whether a line is a header of this container, or a Parquet file has its columns."""
    headers = [sample.columns, *(_columns(line, container) for line in sample.lines)]
    return any(all(header.count(name) == 1 for name in container.header) for header in headers)


def any_object_has(sample: Sample, *paths: str, without: tuple[str, ...] = ()) -> bool:
    """Whether one of the objects has a value (null is none) at every path, and at none of the paths of ``without``."""
    return any(
        all(value_at(each, path) is not None for path in paths)
        and all(value_at(each, path) is None for path in without)
        for each in sample.objects
    )


def any_object_is(sample: Sample, path: str, *values: str) -> bool:
    """Whether one of the objects has one of these texts at this path."""
    return any(value_at(each, path) in values for each in sample.objects)


def value_at(value: Any, path: str) -> Any:
    """The value at a path (`fleetopt.ingest.mapping.Paths`) of an object, None if it has none."""
    if not path:
        return value
    if isinstance(value, list):
        index, _, rest = path.partition(".")
        return value_at(value[int(index)], rest) if index.isdecimal() and int(index) < len(value) else None
    if not isinstance(value, dict):
        return None
    # A dot may part keys or be part of one: the key that has the path's beginning decides.
    found = (value_at(inner, path[len(key) + 1 :]) for key, inner in value.items() if f"{path}.".startswith(f"{key}."))
    return next((inner for inner in found if inner is not None), None)


def _objects(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if not line.lstrip().startswith(b"{"):
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def _columns(line: bytes, container: Csv) -> tuple[str, ...]:
    text = line.removeprefix(_BYTE_ORDER_MARK).decode("utf-8", "replace")
    if not all(name in text for name in container.header):
        return ()
    if not container.quoted:
        return tuple(text.split(container.delimiter))
    try:
        return tuple(next(csv.reader([text], delimiter=container.delimiter), []))
    except csv.Error:
        return ()
