"""Reading of bytes into rows, for the tests of ingest."""

import io
from datetime import UTC, datetime

import polars as pl

from fleetopt.ingest.formats import get_format
from fleetopt.ingest.lines import LINE_SCHEMA, read_lines

KEY = b"a key"
START = datetime(2023, 11, 16, 18, 0, tzinfo=UTC)
HEADER = b"TIMESTAMP,ContextTokens,GeneratedTokens"


def read(data, log_format="azure", timezone="UTC", **options):
    """Read bytes into one frame."""
    options = {"file": "f", "clock_start": START, "hash_key": KEY} | options
    frames = read_lines(io.BytesIO(data), log_format=get_format(log_format), timezone=timezone, **options)
    return pl.concat([LINE_SCHEMA.to_frame(), *frames])


def read_azure_line(line, timezone="UTC", header=HEADER):
    """Read one line below a header into one row."""
    return read(header + b"\n" + line + b"\n", timezone=timezone).row(0, named=True)


def read_mooncake_line(line):
    """Read one JSON line into one row."""
    return read(line, "mooncake").row(0, named=True)
