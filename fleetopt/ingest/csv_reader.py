"""Fields of CSV records, found by the names in the header above them."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np

from fleetopt.ingest.fields import MISSING, Fields
from fleetopt.ingest.formats.definition import Csv
from fleetopt.ingest.kernels.csv import find_fields, find_names, find_quoted_fields
from fleetopt.ingest.records import FAULT_CODE, Batch

_BYTE_ORDER_MARK: Final = "\ufeff"
_HASH_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a header says.

    Attributes
    ----------
    names : tuple of str
        Columns, in order.
    slots : np.ndarray
        int64[n_columns]: wanted path that a column holds, -1 for none.
    salt : np.ndarray
        int64[2]: what the keys of records below such a header are altered by, as equal bytes below other columns are
        no equal records.
    has_repeat : bool
        Whether a wanted column is there twice, so that it is not known which one counts.
    keeps_text : bool
        Whether every column is known, so that none can hold a prompt, and none names a person.
    """

    names: tuple[str, ...]
    slots: np.ndarray = field(compare=False)
    salt: np.ndarray = field(compare=False)
    has_repeat: bool
    keeps_text: bool


@dataclass(frozen=True, slots=True)
class _Section:
    """Records from one on that stand below the same header; None before the first."""

    start: int
    layout: _Layout | None


class CsvReader:
    """Finds the fields of CSV.

    A header is a record that names each of the columns of ``container.header`` exactly once, in any order and among
    others; it may stand anywhere, as files that were joined have several, and with a byte order mark before it. It
    holds until the next one. White space around names and fields is part of them. An empty field is `NULL`. Records
    above every header have the fault ``no_header``, those below one that names another wanted column twice
    ``repeated_field``, those with more or fewer fields than it ``wrong_field_count``.

    The keys of records are altered by the names and the order of the columns above them.

    Parameters
    ----------
    container : Csv
    paths : tuple of str
        Names of the wanted columns.
    private : tuple of str
        Those of them that must not be kept as they are, such as tenants: below a header with one no text is kept.
    """

    def __init__(self, container: Csv, paths: tuple[str, ...], private: tuple[str, ...] = ()) -> None:
        self._container = container
        self._paths = paths
        self._private = private
        self._longest = np.frombuffer(max(container.header, key=len).encode(), np.uint8)
        delimiter = re.escape(container.delimiter)
        self._field = re.compile(rf'(?:^|{delimiter})(?:"((?:[^"]|"")*)"|([^"{delimiter}]*))')
        self._layout: _Layout | None = None

    def prepare(self, batch: Batch) -> Callable[[], Fields]:
        """Look for headers in the next batch; the result finds its fields."""
        sections = [_Section(0, self._layout)]
        headers = []
        for row in self._candidates(batch):
            names = self._names(batch.record(row))
            if any(names.count(name) != 1 for name in self._container.header):
                continue
            headers.append(row)
            if self._layout is None or names != self._layout.names:
                self._layout = self._layout_of(names)
                sections.append(_Section(row, self._layout))
        return partial(self._find, batch, sections, np.array(headers, np.int64))

    def _candidates(self, batch: Batch) -> list[int]:
        """Records in which the longest name of the header may be a field."""
        places = find_names(batch.data, self._longest, ord(self._container.delimiter))
        if not len(places) or not len(batch):
            return []
        rows = np.unique(np.searchsorted(batch.start, places, side="right") - 1)
        rows = rows[rows >= 0]
        return rows[batch.fault[rows] == 0].tolist()

    def _names(self, record: bytes) -> tuple[str, ...]:
        text = record.decode().removeprefix(_BYTE_ORDER_MARK)
        if not self._container.quoted:
            return tuple(text.split(self._container.delimiter))
        # That the record can be read is known from the splitting.
        return tuple(quoted.replace('""', '"') or plain for quoted, plain in self._field.findall(text))

    def _layout_of(self, names: tuple[str, ...]) -> _Layout:
        known = {*self._container.header, *self._container.harmless, *self._paths}
        rows = {path: row for row, path in enumerate(self._paths)}
        salt = hashlib.blake2b(json.dumps(names).encode(), digest_size=_HASH_BYTES).digest()
        return _Layout(
            names,
            slots=np.array([rows.get(name, -1) for name in names], np.int64),
            salt=np.frombuffer(salt, "<i8"),
            has_repeat=any(names.count(path) > 1 for path in self._paths),
            keeps_text=known.issuperset(names) and not set(names).intersection(self._private),
        )

    def _find(self, batch: Batch, sections: list[_Section], headers: np.ndarray) -> Fields:
        n, shape = len(batch), (len(self._paths), len(batch))
        start, end = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        kind, fault = np.full(shape, MISSING, np.uint8), batch.fault.copy()
        keys = np.array([batch.key_hi, batch.key_lo])
        is_other, keeps_text = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        is_other[headers] = True
        find = find_quoted_fields if self._container.quoted else find_fields
        delimiter = ord(self._container.delimiter)
        for section, stop in zip(sections, [*(later.start for later in sections[1:]), n], strict=True):
            rows, layout = slice(section.start, stop), section.layout
            if layout is None:
                _set_fault(fault[rows], "no_header")
                continue
            keys[:, rows] ^= layout.salt[:, np.newaxis]
            keeps_text[rows] = layout.keeps_text
            if layout.has_repeat:
                _set_fault(fault[rows], "repeated_field")
            within = (section.start, stop)
            find(batch.data, batch.start, batch.end, fault, within, delimiter, layout.slots, start, end, kind)
        kind[:, headers] = MISSING
        fault[headers] = 0
        return Fields(
            paths=self._paths,
            data=batch.data,
            start=start,
            end=end,
            kind=kind,
            fault=fault,
            is_other=is_other,
            is_csv=True,
            key_hi=keys[0],
            key_lo=keys[1],
            keeps_text=keeps_text,
        )


def _set_fault(fault: np.ndarray, reason: str) -> None:
    """Give a fault to those that have none."""
    fault[fault == 0] = FAULT_CODE[reason]
