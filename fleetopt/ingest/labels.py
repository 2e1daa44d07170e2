"""Labels of requests: model, tenant, session and the like. Each distinct value of a batch is looked at once."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import polars as pl

from fleetopt.ingest.fields import NULL
from fleetopt.ingest.kernels.values import find_distinct
from fleetopt.ingest.lines import derive_key, keyed_hashes
from fleetopt.ingest.mapping import Paths
from fleetopt.ingest.values import Quantities, Values, with_first_elements

MAX_LABEL_CHARS: Final = 256
"""A longer text is no label and is not kept: where a field is declared by mistake, it may be a prompt."""

_HASH_BYTES: Final = 16
_NOT_IN_NAMES = re.compile(r"[^a-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Labels:
    """A text per record, or none.

    Attributes
    ----------
    codes : np.ndarray
        int32[n]: number of each record's text, from 1; 0 where there is none.
    texts : list of str
        The distinct texts; the first has number 1.
    """

    codes: np.ndarray
    texts: list[str]

    def among(self, is_wanted: Callable[[str], bool], absent: bool = False) -> np.ndarray:
        """Return bool[n]: whether each record's text is wanted; ``absent`` where there is none."""
        return np.array([absent, *map(is_wanted, self.texts)], np.bool_)[self.codes]

    def column(self, written: Callable[[str], str | None], is_kept: np.ndarray) -> pl.Series:
        """Return String[n]: the texts as they are to be written; null where ``is_kept`` (bool[n]) is false."""
        texts = pl.Series([None, *map(written, self.texts)], dtype=pl.String)
        return texts.gather(pl.Series(np.where(is_kept, self.codes, 0)))


def find_labels(quantities: Quantities, paths: Paths, hash_key: bytes) -> Labels:
    """Read a label of every record: text, numbers and booleans as they are written, of arrays the first text.

    Parameters
    ----------
    quantities : Quantities
    paths : tuple of str
    hash_key : bytes
        Keeps whoever writes the logs from choosing labels that are slow to tell apart.
    """
    values = with_first_elements(quantities.find(paths))
    is_held = is_value(values)
    if not is_held.any():
        return Labels(np.zeros(len(is_held), np.int32), [])
    high, low = keyed_hashes(values.data, *values.stretches(), derive_key(hash_key, b"label"))
    n = len(is_held)
    codes, first = np.empty(n, np.int32), np.empty(n + 1, np.int64)
    table = np.zeros(1 << (2 * n + 1).bit_length(), np.int32)
    n_distinct = find_distinct(high, low, is_held, table, codes, first)
    return Labels(codes, values.texts(first[1 : n_distinct + 1]))


def is_value(values: Values) -> np.ndarray:
    """Return bool[n]: whether there is a value at all."""
    return (values.kind > NULL) & (values.end > values.start)


def find_ids(quantities: Quantities, paths: Paths, hash_key: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hash an id of every record; ids of requests and of their parents meet.

    Returns
    -------
    high, low, is_held : np.ndarray
        int64[n], int64[n], bool[n]: a keyed 128-bit hash, which means nothing where there is no id.
    """
    values = with_first_elements(quantities.find(paths))
    return *keyed_hashes(values.data, *values.stretches(), derive_key(hash_key, b"request")), is_value(values)


def keyed_label(text: str, hash_key: bytes, purpose: Literal["tenant", "session"]) -> str:
    """Hash the id of a tenant or a session: 128 bits as hex.

    The same id has the same hash wherever it is met under the same key, and another as tenant than as session.

    Parameters
    ----------
    text : str
        The id as the log has it.
    hash_key : bytes
        1 to 64 bytes.
    purpose : {"tenant", "session"}
    """
    state = _keyed(hash_key, purpose).copy()  # quicker than to prepare the key each time
    state.update(text.encode())
    return state.hexdigest()


@lru_cache(maxsize=8)
def _keyed(hash_key: bytes, purpose: str) -> "hashlib.blake2b":
    return hashlib.blake2b(key=hash_key, digest_size=_HASH_BYTES, person=purpose.encode())


def short_label(text: str) -> str | None:
    """Return a label as it is, unless it is too long for one."""
    return text if len(text) <= MAX_LABEL_CHARS else None


def archetype_name(text: str) -> str | None:
    """Make a name of an archetype that configurations accept; None if nothing of the text is left in it.

    Lower case; whatever is no letter a to z, digit, ``_`` or ``-`` becomes ``-``, none of which begins or ends it.
    """
    name = _NOT_IN_NAMES.sub("-", text.lower()).strip("-").lstrip("_-")
    return short_label(name) or None
