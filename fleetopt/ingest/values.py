"""Where the values of one quantity stand in a batch, whichever of its alternative fields holds them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from fleetopt.ingest.fields import ESCAPED, MISSING, NESTED, NULL, TEXT, Fields
from fleetopt.ingest.kernels.values import first_held, gather_bytes
from fleetopt.ingest.mapping import Mapping, Paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """A value per record, or none; no value is `ESCAPED`.

    Attributes
    ----------
    data : np.ndarray
        uint8[n_bytes]
    start, end : np.ndarray
        int64[n]: value i is ``data[start[i]:end[i]]``.
    kind : np.ndarray
        uint8[n]: as in `fleetopt.ingest.fields`.
    """

    data: np.ndarray
    start: np.ndarray
    end: np.ndarray
    kind: np.ndarray

    def texts(self, rows: np.ndarray) -> list[str]:
        """Values of some rows as they are written."""
        chosen = replace(self, start=self.start[rows], end=self.end[rows], kind=self.kind[rows])
        offsets, gathered = chosen.gathered()
        text, edges = gathered.tobytes(), offsets.tolist()
        return [text[start:end].decode("utf-8", "replace") for start, end in pairwise(edges)]

    def stretches(self) -> tuple[np.ndarray, np.ndarray]:
        """Return starts and ends that are equal where there is no value; those of the fields may be anything there."""
        is_none = self.kind <= NULL
        if not is_none.any():
            return self.start, self.end
        return np.where(is_none, 0, self.start), np.where(is_none, 0, self.end)

    def gathered(self) -> tuple[np.ndarray, np.ndarray]:
        """Offsets (int64[n + 1]) and bytes of all values one after the other."""
        start, end = self.stretches()
        offsets = np.zeros(len(start) + 1, np.int64)
        np.cumsum(end - start, out=offsets[1:])
        gathered = np.empty(offsets[-1], np.uint8)
        gather_bytes(self.data, start, end, offsets, gathered)
        return offsets, gathered


class Quantities:
    """The quantities of a batch of records, found by the paths that a mapping names for them.

    Parameters
    ----------
    fields : Fields
    mapping : Mapping
        Its words for null; which fields hold what is said with each question.
    """

    def __init__(self, fields: Fields, mapping: Mapping) -> None:
        is_readable = (fields.fault == 0) & ~fields.is_other
        # Where a record has a fault, what the reader says of its fields means nothing.
        self._kind = fields.kind if is_readable.all() else np.where(is_readable, fields.kind, np.uint8(MISSING))
        self._fields = fields
        words = [word.encode() for word in mapping.null_values]
        self._nulls = np.frombuffer(b"".join(words), np.uint8)
        self._nulls_end = np.cumsum([len(word) for word in words], dtype=np.int64)
        self.is_text_number = fields.is_csv or mapping.numbers_as_text

    def __len__(self) -> int:
        return len(self._fields.fault)

    def find(self, paths: Paths) -> Values:
        """Take of each record the first of the paths that holds a value."""
        fields, rows = self._fields, [self._fields.row(path) for path in paths]
        if len(rows) == 1 and not len(self._nulls_end):
            start, end, kind = fields.start[rows[0]], fields.end[rows[0]], self._kind[rows[0]]
        else:
            n = len(self)
            start, end, kind = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.uint8)
            first_held(
                *(fields.data, fields.start, fields.end, self._kind, np.array(rows, np.int64)),
                *(self._nulls, self._nulls_end, start, end, kind),
            )
        values = Values(data=fields.data, start=start, end=end, kind=kind)
        escaped = np.flatnonzero(kind == ESCAPED)
        if not len(escaped):
            return values
        return with_texts(values, escaped, (_unescaped(text, fields.is_csv) for text in values.texts(escaped)))


def with_texts(values: Values, rows: np.ndarray, texts: Iterable[str | None]) -> Values:
    """Put other texts in place of the values of some rows; None: no value."""
    encoded = [b"" if text is None else text.encode("utf-8", "replace") for text in texts]
    ends = len(values.data) + np.cumsum([len(text) for text in encoded], dtype=np.int64)
    start, end, kind = values.start.copy(), values.end.copy(), values.kind.copy()
    start[rows], end[rows] = ends - [len(text) for text in encoded], ends
    kind[rows] = TEXT
    data = np.concatenate([values.data, np.frombuffer(b"".join(encoded), np.uint8)])
    return replace(values, data=data, start=start, end=end, kind=kind)


def with_first_elements(values: Values) -> Values:
    """Put the first element in place of arrays, where that is text or a number; other arrays and objects: no value."""
    nested = np.flatnonzero(values.kind == NESTED)
    return with_texts(values, nested, map(_first_element, values.texts(nested))) if len(nested) else values


def _unescaped(text: str, is_csv: bool) -> str:
    return text.replace('""', '"') if is_csv else json.loads(f'"{text}"', strict=False)


def _first_element(text: str) -> str | None:
    value = json.loads(text, parse_int=str, parse_float=str)
    first = value[0] if isinstance(value, list) and value else None
    return first if isinstance(first, str) else None
