"""Batches of records for the tests of readers."""

import numpy as np

from fleetopt.ingest.records import Batch


def batch_of(records, fault=()):
    """Put records into a batch with nothing between them, so that whoever reads too far finds something."""
    n = len(records)
    lengths = np.array([len(record) for record in records], np.int64)
    end = np.cumsum(lengths, dtype=np.int64)
    return Batch(
        data=np.frombuffer(b"".join(records), np.uint8),
        start=end - lengths,
        end=end,
        line_number=np.arange(1, n + 1, dtype=np.int64),
        record_number=np.ones(n, np.int32),
        byte_offset=end - lengths,
        byte_length=lengths,
        key_hi=np.arange(n, dtype=np.int64),
        key_lo=np.arange(n, dtype=np.int64) + 1000,
        fault=np.array([*fault, *[0] * (n - len(fault))], np.uint8),
        n_lines=n,
    )
