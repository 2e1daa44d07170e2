"""Where the wanted fields of a batch of records stand: what a reader of CSV or JSON finds, before anything is read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from fleetopt.ingest.records import Batch

MISSING: Final = 0
"""The record does not have the field."""
NULL: Final = 1
"""JSON null, or an empty field of CSV."""
TEXT: Final = 2
"""Text as it stands between start and end: a field of CSV, or a JSON string without escapes (quotes apart)."""
ESCAPED: Final = 3
"""Text that needs decoding: a JSON string with escapes (quotes apart), or a CSV field with doubled quotes."""
NUMBER: Final = 4
"""A JSON number, as it is written."""
TRUE: Final = 5
FALSE: Final = 6
NESTED: Final = 7
"""A JSON object or array."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """The fields of n records at k wanted paths.

    Attributes
    ----------
    paths : tuple of str
        [k]
    data : np.ndarray
        uint8[n_bytes]: that of the batch.
    start, end : np.ndarray
        int64[k, n]: the field is ``data[start:end]``; without quotes where it is text.
    kind : np.ndarray
        uint8[k, n]: `MISSING` to `NESTED`.
    fault : np.ndarray
        uint8[n]: code in `fleetopt.ingest.records.FAULTS`: that of the batch, or what the reader found.
    is_other : np.ndarray
        bool[n]: lines that are no record at all, such as headers.
    is_csv : bool
        Whether every value is text, numbers too.
    key_hi, key_lo : np.ndarray
        int64[n]: key of the record: that of the batch, altered where more than its bytes tells records apart.
    keeps_text : np.ndarray
        bool[n]: whether nothing in the record can be a prompt, a tenant or a session, as far as the fields that it has
        say.
    """

    paths: tuple[str, ...]
    data: np.ndarray
    start: np.ndarray
    end: np.ndarray
    kind: np.ndarray
    fault: np.ndarray
    is_other: np.ndarray
    is_csv: bool
    key_hi: np.ndarray
    key_lo: np.ndarray
    keeps_text: np.ndarray

    def row(self, path: str) -> int:
        """Row of a path in ``start``, ``end`` and ``kind``."""
        return self.paths.index(path)


class FieldReader(Protocol):
    """Reads the batches of one file, in order.

    A reader remembers what it needs between batches, such as the last header, in `prepare`, which is quick and called
    in the order of the file. What it returns does the work, and may run on another thread at the same time as those of
    other batches.
    """

    def prepare(self, batch: Batch) -> Callable[[], Fields]:
        """Take note of a batch; the result finds its fields."""
        ...
