"""The fields of JSON records: one object per record, checked and searched in one pass over its bytes."""

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from fleetopt.errors import InputError
from fleetopt.ingest.fields import Fields
from fleetopt.ingest.kernels.json import Found, Plan, find_json_fields
from fleetopt.ingest.mapping import Paths
from fleetopt.ingest.records import Batch

_MAX_PARTS: Final = 60
"""Most parts of a path: each needs a bit of an integer."""
_MAX_INDEX_DIGITS: Final = 9


class JsonReader:
    """Finds the fields of records that are JSON objects, at paths as `fleetopt.ingest.mapping.Paths` has them.

    A record is read if it is one JSON object by RFC 8259 (which has no NaN and no Infinity), nested at most
    `fleetopt.ingest.kernels.json.MAX_DEPTH` deep; else it has the fault ``not_json`` or ``not_an_object``.

    Objects must name a field only once, and its meaning is unclear where they do not: if a key on the way to a wanted
    field, or its own, stands twice in an object, or if keys with dots and nested objects both lead to it, the record has
    the fault ``repeated_field`` and that field is missing. Other keys may be repeated: nothing depends on them.

    Parameters
    ----------
    paths : tuple of str
        What is wanted.

    Raises
    ------
    InputError
        If a path has more than 60 parts.
    """

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._plan = _plan(paths)

    def prepare(self, batch: Batch) -> Callable[[], Fields]:
        """Return what finds the fields of a batch; there is nothing to remember from one batch to the next."""
        return partial(_find, self._paths, self._plan, batch)


def _find(paths: Paths, plan: Plan, batch: Batch) -> Fields:
    shape = len(paths), len(batch)
    found = Found(
        start=np.zeros(shape, np.int64),
        end=np.zeros(shape, np.int64),
        kind=np.zeros(shape, np.uint8),
        fault=batch.fault.copy(),
    )
    find_json_fields(batch.data, batch.start, batch.end, plan, found)
    return Fields(
        paths=paths,
        data=batch.data,
        start=found.start,
        end=found.end,
        kind=found.kind,
        fault=found.fault,
        is_other=np.zeros(len(batch), np.bool_),
        is_csv=False,
        key_hi=batch.key_hi,
        key_lo=batch.key_lo,
        keeps_text=np.zeros(len(batch), np.bool_),
    )


def _plan(paths: Paths) -> Plan:
    texts = [f"{path}.".encode() for path in paths]
    shape = len(paths), max(map(len, texts), default=1)
    plan = Plan(
        text=np.zeros(shape, np.uint8),
        length=np.array([len(text) for text in texts], np.int64),
        bit=np.zeros(shape, np.int64),
        element=np.full(shape, -1, np.int64),
        after=np.zeros(shape, np.int64),
        n_levels=max((text.count(b".") for text in texts), default=0) + 1,
    )
    if plan.n_levels - 1 > _MAX_PARTS:
        longest = max(paths, key=lambda path: path.count("."))
        raise InputError(f"path '{longest[:80]}' has more than {_MAX_PARTS} parts; name fields by shorter paths")
    for row, text in enumerate(texts):
        plan.text[row, : len(text)] = np.frombuffer(text, np.uint8)
        begin = 0
        for number, part in enumerate(text.split(b".")[:-1]):
            dot = begin + len(part)
            plan.bit[row, dot] = 1 << number
            plan.after[row, begin] = dot + 1
            if part.isdigit() and len(part) <= _MAX_INDEX_DIGITS:
                plan.element[row, begin] = int(part)
            begin = dot + 1
    return plan
