"""The whole reading of records, from bytes to rows, against the slow reference: samples, and samples with damage."""

import io
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetopt.ingest.csv_reader import CsvReader
from fleetopt.ingest.formats import Csv, detect_format, sample_of_lines
from fleetopt.ingest.interpret import Interpretation, interpret
from fleetopt.ingest.json_reader import JsonReader
from fleetopt.ingest.lines import derive_key, read_chunks, split_chunk
from fleetopt.ingest.reasons import REASONS
from tests.reference.ingest_records import How, count_non_blank, read_rows

SAMPLES = sorted(
    path for path in (Path(__file__).parents[3] / "data" / "samples").iterdir() if path.suffix in {".csv", ".jsonl"}
)
KEY = b"a key"
START = datetime(2026, 10, 5, tzinfo=UTC)
PLACES = ("line_number", "record_number", "byte_offset", "byte_length")
MEANINGS = (
    *("arrival_time", "logged_time", "is_finish_time", "prompt_tokens", "output_tokens", "outcome", "ttft_s", "e2e_s"),
    *("queue_s", "cached_tokens", "finish_reason", "model", "tenant", "session", "archetype", "reason", "is_other"),
)
DAMAGE = [
    *(b"0", b"-1", b"-0", b"007", b"1e3", b"1.5", b"NaN", b"true", b"null", b'""', b'"12"', b"9223372036854775808"),
    *(b"2023-02-29 00:00:00", b"2026-10-05T08:00:00.5+02:00", b"\x00", b"\xff", b'"', b",", b":", b"{", b"}", b"\n"),
    *(b"", b" ", b"\r\n", b"\\", b"-", b"None", b"\xef\xbb\xbf", b"2026-10-25 02:30:00", b"1e400", b"99999999999999"),
]


def engine_rows(data, log_format, how, batch_bytes=1 << 20):
    """Rows of the engine, with the places of the records and their ids' hashes."""
    container, mapping = log_format.container, log_format.mapping
    is_csv = isinstance(container, Csv)
    reader = CsvReader(container, mapping.paths()) if is_csv else JsonReader(mapping.paths())
    options = {"quoted": container.quoted, "delimiter": container.delimiter} if is_csv else {}
    interpretation = Interpretation(
        timezone=how.timezone,
        clock_start=how.clock_start,
        time_is=how.time_is,
        hash_key=how.hash_key,
        models=how.models,
    )
    frames = []
    n_lines = 0
    for chunk in read_chunks(io.BytesIO(data), batch_bytes=batch_bytes, **options):
        batch = split_chunk(chunk, record_key=derive_key(KEY, b"record"))
        n_lines += batch.n_lines
        if log_format.explode is not None:
            batch = log_format.explode(batch)
        frame = interpret(reader.prepare(batch)(), mapping, interpretation)
        frames.append(frame.with_columns(**{name: pl.Series(getattr(batch, name)) for name in PLACES}))
    assert n_lines == count_non_blank(data)
    return pl.concat(frames).to_dicts() if frames else []


def assert_alike(data, log_format, how, batch_bytes=1 << 20):
    expected, found = read_rows(data, log_format, how), engine_rows(data, log_format, how, batch_bytes)
    assert [tuple(row[name] for name in PLACES) for row in found] == [
        tuple(row[name] for name in PLACES) for row in expected
    ]
    for row, wanted in zip(found, expected, strict=True):
        assert {name: row[name] for name in MEANINGS} == {name: wanted[name] for name in MEANINGS}, wanted
        assert row["reason"] is None or row["reason"] in REASONS
    hashes = {}
    for row, wanted in zip(found, expected, strict=True):
        for name in ("id", "parent"):
            if is_named(name, wanted):
                assert hashes.setdefault(wanted[name], hash_of(row, name)) == hash_of(row, name)
            else:
                assert hash_of(row, name) == (None, None)
    assert len(set(hashes.values())) == len(hashes)


def is_named(name, wanted):
    """Whether the engine has to know an id: of requests and of notes about them."""
    return wanted[name] is not None and (not wanted["is_other"] or (name == "id" and wanted["is_note"]))


def hash_of(row, name):
    return row[f"{name}_hi"], row[f"{name}_lo"]


def damaged(data, changes):
    """Replace pieces of a file: (where, how much, by what), each where as a share of the file."""
    for where, length, piece in changes:
        place = int(where * len(data))
        data = data[:place] + piece + data[place + length :]
    return data


def with_other_values(data, changes):
    """Put other values in place of numbers and texts: (which, what), each which as a share of the values."""
    for which, piece in changes:
        starts = [i for i in range(1, len(data)) if data[i - 1 : i] in {b",", b":", b" "} and data[i : i + 1].isalnum()]
        place = starts[int(which * len(starts))]
        end = next((i for i in range(place, len(data)) if data[i : i + 1] in {b",", b"}", b"\n", b"\r"}), len(data))
        data = data[:place] + piece + data[end:]
    return data


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
@pytest.mark.parametrize("batch_bytes", [1, 1000, 1 << 20])
def test_samples_are_read_alike(path, batch_bytes):
    data = path.read_bytes()
    assert_alike(data, detect_format(sample_of_lines(data)), How(clock_start=START), batch_bytes)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
@pytest.mark.parametrize(
    "how",
    [
        How(clock_start=START, timezone="Europe/Berlin", time_is="finish"),
        How(clock_start=START, timezone="America/New_York", time_is="arrival", hash_key=b"another"),
        How(clock_start=START, models=frozenset({"llama-70b", "GPT-4"})),
        How(clock_start=START, models=frozenset()),
    ],
    ids=["finish", "arrival", "models", "no models"],
)
def test_samples_are_read_alike_under_other_declarations(path, how):
    data = path.read_bytes()
    assert_alike(data, detect_format(sample_of_lines(data)), how)


shares = st.floats(0, 1, exclude_max=True)
pieces = st.sampled_from(DAMAGE)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
@settings(max_examples=15, deadline=None)
@given(
    changes=st.lists(st.tuples(shares, st.integers(0, 40), pieces | st.binary(max_size=4)), min_size=1, max_size=6),
    values=st.lists(st.tuples(shares, pieces), max_size=6),
    batch_bytes=st.sampled_from([1, 700, 1 << 20]),
)
def test_damaged_samples_are_read_alike(path, changes, values, batch_bytes):
    data = path.read_bytes()
    log_format = detect_format(sample_of_lines(data))
    how = How(clock_start=START, timezone="Europe/Berlin")
    assert_alike(with_other_values(data, values), log_format, how, batch_bytes)
    assert_alike(damaged(data, changes), log_format, how, batch_bytes)


def test_polars_has_met_numpy_before_there_are_threads():
    """Two threads that meet their first array at the same time break its lazy import of numpy."""
    code = "import polars.series.series as s; import fleetopt.ingest.interpret; print('ndarray' in vars(s.np))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"
