"""A batch of records: bytes of a file in one buffer, and where each record stands in it and in the file."""

from dataclasses import dataclass
from typing import Final

import numpy as np

FAULTS: Final = (
    None,
    "line_too_long",
    "nul_byte",
    "not_utf8",
    "not_json",
    "not_an_object",
    "repeated_field",
    "no_header",
    "wrong_field_count",
    "bad_quotes",
)
"""What can be wrong with a record as a whole: position = code in ``fault`` arrays, value = reason (`REASONS`)."""

FAULT_CODE: Final = {reason: code for code, reason in enumerate(FAULTS) if reason is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Consecutive records of one file, blank lines left out.

    Attributes
    ----------
    data : np.ndarray
        uint8[n_bytes], C-contiguous.
    start, end : np.ndarray
        int64[n]: record i is ``data[start[i]:end[i]]``, without its line end. Empty for a record that is too long.
    line_number : np.ndarray
        int64[n]: line in the file, from 1; row of a Parquet file.
    record_number : np.ndarray
        int32[n]: record in its line, from 1; always 1 where a line is one record.
    byte_offset : np.ndarray
        int64[n]: offset of the record's line in the (decompressed) file, bytes; -1 where it has none (Parquet).
    byte_length : np.ndarray
        int64[n]: length of that line without its line end, bytes; -1 likewise.
    key_hi, key_lo : np.ndarray
        int64[n]: keyed 128-bit hash of the record's bytes (SipHash-2-4-128; Aumasson and Bernstein, 2012).
    fault : np.ndarray
        uint8[n]: code in `FAULTS`; 0 where the record can be read.
    n_lines : int
        Non-blank physical lines that the batch was made from.
    """

    data: np.ndarray
    start: np.ndarray
    end: np.ndarray
    line_number: np.ndarray
    record_number: np.ndarray
    byte_offset: np.ndarray
    byte_length: np.ndarray
    key_hi: np.ndarray
    key_lo: np.ndarray
    fault: np.ndarray
    n_lines: int

    def __len__(self) -> int:
        return len(self.start)

    def record(self, i: int) -> bytes:
        """Bytes of record i."""
        return self.data[self.start[i] : self.end[i]].tobytes()
