"""Fields of records as a reader finds them, made of plain values, for the tests of what they mean."""

import json

import numpy as np

from fleetopt.ingest.fields import ESCAPED, FALSE, MISSING, NESTED, NULL, NUMBER, TEXT, TRUE, Fields
from fleetopt.ingest.records import FAULT_CODE

ABSENT = object()
"""A field that the record does not have."""


class Written(str):
    """A number as it is written in JSON."""


def spell(value, is_csv):  # noqa: PLR0911  # one rule a line
    """Bytes and kind of a value."""
    if value is ABSENT:
        return b"", MISSING
    if value is None:
        return b"", NULL
    if isinstance(value, bool):
        return (b"true", TRUE) if value else (b"false", FALSE)
    if isinstance(value, Written | int):
        return str(value).encode(), NUMBER
    if isinstance(value, list | dict):
        return json.dumps(value).encode(), NESTED
    if is_csv:
        return (
            (value.replace('"', '""').encode(), ESCAPED) if '"' in value else (value.encode(), TEXT if value else NULL)
        )
    quoted = json.dumps(value, ensure_ascii="\u0001" in value)[1:-1]
    return quoted.encode(), ESCAPED if "\\" in quoted else TEXT


def fields_of(columns, *, is_csv=False, faults=None, others=()):
    """Fields of n records: path -> n values; faults: row -> reason; others: rows that are no records."""
    n = len(next(iter(columns.values())))
    data, spans = bytearray(b"{"), np.zeros((2, len(columns), n), np.int64)
    kind = np.zeros((len(columns), n), np.uint8)
    for i in range(n):
        for k, values in enumerate(columns.values()):
            text, kind[k, i] = spell(values[i], is_csv)
            spans[:, k, i] = (len(data), len(data) + len(text)) if kind[k, i] > NULL else (0, 1 << 50)
            data += text + b","
    fault, is_other = np.zeros(n, np.uint8), np.zeros(n, np.bool_)
    for row, reason in (faults or {}).items():
        fault[row] = FAULT_CODE[reason]
        # What a reader leaves there means nothing.
        spans[0, :, row], spans[1, :, row], kind[:, row] = 0, 1 << 50, TEXT
    is_other[list(others)] = True
    return Fields(
        paths=tuple(columns),
        data=np.frombuffer(bytes(data), np.uint8),
        start=spans[0].copy(),
        end=spans[1].copy(),
        kind=kind,
        fault=fault,
        is_other=is_other,
        is_csv=is_csv,
        key_hi=np.zeros(n, np.int64),
        key_lo=np.zeros(n, np.int64),
        keeps_text=np.zeros(n, np.bool_),
    )
