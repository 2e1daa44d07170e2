"""The fields of JSON records: one object per record, checked and searched in one pass over its bytes."""

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from fleetopt.errors import InputError
from fleetopt.ingest.fields import Fields
from fleetopt.ingest.kernels.json import MAX_PARTS, MAX_PATH_BYTES, MAX_PATHS, WALK, find_json_fields
from fleetopt.ingest.mapping import Paths
from fleetopt.ingest.records import Batch

_MAX_INDEX_DIGITS: Final = 9


class JsonReader:
    """Finds the fields of records that are JSON objects, at paths as `fleetopt.ingest.mapping.Paths` has them.

    A record is read if it is one JSON object by RFC 8259 (which has no NaN and no Infinity), nested at most
    `fleetopt.ingest.kernels.json_grammar.MAX_DEPTH` deep; else it has the fault ``not_json`` or ``not_an_object``.

    A wanted field must be named once. If its key, or one on the way to it, stands twice in an object, or if keys with
    dots and nested objects both lead to it, the record has the fault ``repeated_field`` and that field is missing.
    Other keys may be repeated: nothing depends on them.

    Parameters
    ----------
    paths : tuple of str
        What is wanted.

    Raises
    ------
    InputError
        If there are more than 128 paths, or one has more than 32 parts or 255 bytes.
    """

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._plan = _plan(paths)

    def prepare(self, batch: Batch) -> Callable[[], Fields]:
        """Return what finds the fields of a batch; there is nothing to remember from one batch to the next."""
        return partial(_find, self._paths, self._plan, batch)


def _find(paths: Paths, plan: np.ndarray, batch: Batch) -> Fields:
    shape = len(paths), len(batch)
    start, end, kind = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.uint8)
    fault = batch.fault.copy()
    # Arrays that can be written to are another type to Numba, for which it would compile everything again.
    data = batch.data.view()
    data.flags.writeable = False
    find_json_fields(data, batch.start, batch.end, plan.copy(), start, end, kind, fault)
    is_other = np.zeros(len(batch), np.bool_)
    return Fields(
        paths=paths,
        data=batch.data,
        start=start,
        end=end,
        kind=kind,
        fault=fault,
        is_other=is_other,
        is_csv=False,
        key_hi=batch.key_hi,
        key_lo=batch.key_lo,
        keeps_text=is_other,
    )


def _plan(paths: Paths) -> np.ndarray:
    """Prepare paths for walking: `WALK`[1]."""
    if len(paths) > MAX_PATHS:
        raise InputError(f"{len(paths)} fields of JSON are wanted; read at most {MAX_PATHS}")
    plan = np.zeros(1, WALK)
    walk = plan[0]
    walk["n_paths"] = len(paths)
    walk["element"][:] = -1
    for row, path in enumerate(paths):
        text, parts = f"{path}.".encode(), path.encode().split(b".")
        if len(text) > MAX_PATH_BYTES or len(parts) > MAX_PARTS:
            raise InputError(
                f"path '{path[:80]}' is too long: at most {MAX_PARTS} parts and {MAX_PATH_BYTES - 1} bytes can be read"
            )
        walk["length"][row] = len(text)
        walk["text"][row, : len(text)] = np.frombuffer(text, np.uint8)
        begin = 0
        for number, part in enumerate(parts):
            dot = begin + len(part)
            walk["part"][row, dot] = number
            walk["after"][row, begin] = dot + 1
            if part.isdigit() and len(part) <= _MAX_INDEX_DIGITS:
                walk["element"][row, begin] = int(part)
            begin = dot + 1
    return plan
