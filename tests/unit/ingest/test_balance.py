"""Whatever happens to a log file, each of its records is a request, a duplicate or quarantined, and none is two."""

import gzip
from functools import cache
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetopt.errors import InputError
from fleetopt.ingest.files import Reading, ingest_files
from tests.unit.ingest.helpers import KEY, START

SAMPLES = Path(__file__).parents[3] / "data" / "samples"
TEXT_SAMPLES = sorted(file.name for file in SAMPLES.iterdir() if file.suffix in {".csv", ".jsonl"})
NASTY = [
    b"\0",
    b"\xff\xfe",
    b"1e3",
    b"NaN",
    b"-1",
    b"9223372036854775808",
    b'"',
    b"{",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\\u0000",
]


@cache
def sample(name):
    return (SAMPLES / name).read_bytes()


def ingest(folder, *contents, format_name="auto"):
    """Ingest contents as files; returns the balance, the requests and the quarantined lines."""
    paths = []
    for i, content in enumerate(contents):
        paths.append(folder / f"log-{i}")
        paths[-1].write_bytes(content)
    reading = Reading(format_name=format_name, hash_key=KEY, clock_start=START)
    balance = ingest_files(paths, folder / "out", reading)
    tables = [pl.read_parquet(folder / "out" / f"{name}.parquet") for name in ("requests", "quarantine")]
    assert balance.lines == balance.requests + balance.duplicates + balance.quarantined
    assert balance.requests == len(tables[0]) + sum(balance.unserved.values())
    assert balance.quarantined == len(tables[1])
    return balance, *tables


@st.composite
def damaged(draw, content):
    """Put nasty bytes over, into or in the place of some of a file's, cut it off, or join it with itself."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        width = draw(st.integers(0, 3))
        data[at : at + width] = draw(st.sampled_from(NASTY) | st.binary(max_size=3))
    if draw(st.booleans()):
        data = data[: draw(st.integers(1, len(data)))]
    if draw(st.booleans()):
        data += b"\n" + content
    return bytes(data)


@pytest.mark.parametrize("name", TEXT_SAMPLES)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_balance(name, data, tmp_path):
    content = data.draw(damaged(sample(name)))
    try:
        balance, requests, _ = ingest(tmp_path, content)
    except InputError:
        return  # one clear line about the file as a whole: its beginning tells no format, or nothing in it can be used
    assert balance.lines >= len(requests)


@pytest.mark.parametrize("name", TEXT_SAMPLES)
def test_whole_repeated_and_compressed_files_give_the_same_requests(name, tmp_path):
    once, requests, quarantine = ingest(tmp_path, sample(name))
    twice, again, quarantine_again = ingest(tmp_path, gzip.compress(sample(name)), sample(name))
    places = ("file", "line_number", "record_number", "file_hash", "byte_offset", "byte_length")
    assert again.equals(requests)
    assert quarantine_again.drop(places).sort("record_hash").equals(quarantine.drop(places).sort("record_hash"))
    assert (twice.requests, twice.quarantined, twice.unserved) == (once.requests, once.quarantined, once.unserved)
    assert twice.lines >= 2 * once.lines
