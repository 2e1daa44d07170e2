"""Files of a source, and the lines of a day."""

import hashlib
import json
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetopt.config import Source
from fleetopt.errors import InputError
from fleetopt.ingest.landing import (
    LandingFile,
    count_again,
    landing_digest,
    landing_files,
    list_files,
    no_day,
    read_file,
    sha256_of,
)
from fleetopt.ingest.parts import PART_SCHEMA
from tests.unit.ingest.helpers import HEADER, read_day

DAY = date(2023, 11, 16)


def _source(path, log_format="azure", **options):
    return Source(path=path, format=log_format, archetype="chat", fleet="f", **options)


def _write(path, *lines, header=HEADER):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\n".join([header, *lines]))
    return str(path)


def _read(source, day, tmp_path, **options):
    return read_day("s", source, day, config_dir=tmp_path, data_dir=tmp_path / "data", **options)


def _list(source, day, tmp_path):
    return list_files(source, "s", day, tmp_path, tmp_path / "data")


def _days_in(source, file, tmp_path):
    found = {each.file: each for each in landing_files(source, "s", None, tmp_path, tmp_path / "data")}
    return set(read_file(found[file], "s", source, hash_key=b"a key").days)


def test_paths_globs_data_and_dates(tmp_path):
    a, b = (_write(tmp_path / "data" / "landing" / f"2023-11-{day}" / "x.csv") for day in (16, 18))
    _write(tmp_path / "data" / "landing" / "2023-11-16" / ".x.csv.part")
    c = _write(tmp_path / "logs [1].csv")
    for path in ("{data}/landing/*/x.csv", "{data}/landing/*/*", "data/landing/**/*.csv", f"{tmp_path}/data/*/*/x.csv"):
        assert _list(_source(path), DAY, tmp_path) == [a, b]
    assert _list(_source("logs [1].csv"), None, tmp_path) == [c]
    assert _list(_source(f"file://{tmp_path}/logs%20[1].csv"), None, tmp_path) == [c]
    assert _list(_source("file://{data}/landing/*/x.csv"), None, tmp_path) == [a, b]
    dated = _source("{data}/landing/{date}/*.csv")
    assert _list(dated, DAY, tmp_path) == [a]
    assert _list(dated, DAY + timedelta(days=1), tmp_path) == []
    assert _list(dated, None, tmp_path) == [a, b]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing.csv", r"^source\.s\.path: no file matches .*/missing\.csv$"),
        ("{data}/*.csv", r"^source\.s\.path: no file matches .*/data/\*\.csv$"),
        ("{data}/{date}.csv", r"^source\.s\.path: no file matches .*/data/\{date\}\.csv$"),
        ("ftp://host/x.csv", r"^source\.s\.path: unknown scheme 'ftp://'; known: local paths, abfss://, file://"),
        ("s3://KEY:hidden@bucket/x.csv", r"^source\.s\.path: s3://\.\.\.: holds a port or credentials"),
    ],
)
def test_paths_that_match_nothing(path, message, tmp_path):
    for day in (DAY, None):
        with pytest.raises(InputError, match=message) as caught:
            _list(_source(path), day, tmp_path)
        assert "hidden" not in str(caught.value)
    with pytest.raises(InputError, match=message):
        _read(_source(path), DAY, tmp_path)


def test_a_file_that_two_dates_match_is_refused(tmp_path):
    _write(tmp_path / "2023-11-16_2023-11-17.csv")
    with pytest.raises(InputError, match="matches two dates, 2023-11-16 and 2023-11-17; narrow the pattern"):
        _list(_source("*{date}*.csv", timezone="Europe/Berlin"), DAY, tmp_path)


def test_a_day_of_an_undated_source(tmp_path):
    _write(tmp_path / "a.csv", b"junk", b"2023-11-16 01:00:00,1,2", b"2023-11-15 23:00:00,3,4", b"x,y", b"")
    _write(tmp_path / "b.csv", b"2023-11-16 05:00:00,5,6", b"2023-11-16 05:00:00,5,6")
    readings = {}
    rows = _read(_source("*.csv"), DAY, tmp_path, readings=readings)
    assert rows.schema == PART_SCHEMA
    assert rows["prompt_tokens"].to_list() == [None, 1, 5, 5]
    assert rows["file"].str.tail(5).to_list() == ["a.csv", "a.csv", "b.csv", "b.csv"]
    counts = {file: (found.lines, found.records, found.rows, found.usable) for file, found in readings.items()}
    assert counts == {str(tmp_path / "a.csv"): (5, 4, 2, 2), str(tmp_path / "b.csv"): (3, 2, 2, 2)}
    for file, found in readings.items():
        assert (found.lines, found.sha256) == count_again(file)
        assert found.sha256 == sha256_of(file) == hashlib.sha256(Path(file).read_bytes()).hexdigest()
    assert _read(_source("*.csv"), date(2023, 11, 15), tmp_path)["prompt_tokens"].to_list() == [3, None]
    assert _days_in(_source("*.csv"), str(tmp_path / "a.csv"), tmp_path) == {DAY, date(2023, 11, 15)}


def test_a_day_of_a_dated_source_in_a_zone_reads_both_local_dates(tmp_path):
    source = _source("{date}.csv", timezone="Europe/Berlin")
    first = _write(tmp_path / "2023-11-16.csv", b"2023-11-16 00:30:00,1,2", b"2023-11-16 09:00:00,3,4")
    second = _write(tmp_path / "2023-11-17.csv", b"2023-11-17 00:30:00,5,6", b"2023-11-18 09:00:00,7,8")
    assert _list(source, DAY, tmp_path) == [first, second]
    rows = _read(source, DAY, tmp_path)
    assert rows["prompt_tokens"].to_list() == [3, 5]
    rows = _read(source, date(2023, 11, 17), tmp_path)
    assert rows["reason"].to_list() == ["outside_day"]
    assert _days_in(source, first, tmp_path) == {date(2023, 11, 15), DAY}
    assert _days_in(source, second, tmp_path) == {DAY, date(2023, 11, 17)}


def test_a_day_without_a_file_is_empty(tmp_path):
    _write(tmp_path / "2023-11-16.csv", b"2023-11-16 00:30:00,1,2")
    rows = _read(_source("{date}.csv"), date(2023, 11, 18), tmp_path)
    assert (len(rows), rows.schema) == (0, PART_SCHEMA)


def test_a_file_without_any_time_has_no_day_unless_its_name_gives_one(tmp_path):
    file = _write(tmp_path / "2023-11-16.csv", b"junk", b"x,y,z")
    assert len(_read(_source("*.csv"), DAY, tmp_path)) == 0
    assert _days_in(_source("*.csv"), file, tmp_path) == {None}
    assert len(_read(_source("{date}.csv"), DAY, tmp_path)) == 2
    assert _days_in(_source("{date}.csv"), file, tmp_path) == {DAY}
    empty = _write(tmp_path / "2023-11-17.csv")
    assert _days_in(_source("*.csv"), empty, tmp_path) == set()


def test_why_a_file_has_no_day_is_said_by_its_first_record(tmp_path):
    for header, why in (
        (HEADER, "no line has a readable time at TIMESTAMP (wrong_field_count)"),
        (b"time,prompt,output", "no line is a header with the columns TIMESTAMP, ContextTokens, GeneratedTokens"),
    ):
        file, source = _write(tmp_path / "a.csv", b"junk", b"x,y,z", header=header), _source("*.csv")
        reading = read_file(LandingFile(file, None), "s", source, hash_key=b"a key")
        assert no_day("s", source, file, reading.first_reason) == f"{file}: {why}, so no day can be given"


def test_the_format_and_its_clock_are_named_by_key(tmp_path):
    _write(tmp_path / "a.jsonl", b'{"timestamp": 86400000, "input_length": 3, "output_length": 4}', header=b"")
    with pytest.raises(InputError, match=r"^source\.s\.format: unknown log format 'csv'"):
        _read(_source("*.jsonl", "csv"), DAY, tmp_path)
    with pytest.raises(InputError, match=r"^source\.s\.clock_start: format 'mooncake' counts time from a start"):
        _read(_source("*.jsonl", "mooncake"), DAY, tmp_path)
    source = _source("*.jsonl", "mooncake", clock_start="2023-11-16T01:00:00+02:00")
    assert _read(source, DAY, tmp_path)["prompt_tokens"].to_list() == [3]


def test_the_digest_follows_contents_and_declaration():
    source = _source("*/x.csv")
    one, other = "1" * 64, "2" * 64
    digest = landing_digest([("a/x.csv", one)], source)
    assert landing_digest([("b/x.csv", one)], source) == digest
    changed = [
        landing_digest([("a/x.csv", one)], _source("*/x.csv", timezone="Europe/Berlin")),
        landing_digest([("a/x.csv", one), ("b/x.csv", one)], source),
        landing_digest([("a/x.csv", other)], source),
        landing_digest([("a/y.csv", one)], source),
    ]
    assert len({digest, *changed}) == 5
    assert len(digest) == 64


FINISHED = "{date}.jsonl"


def _finish_log(path, *requests):
    lines = [json.dumps({"end": end, "took": took, "in": 1, "out": out}).encode() for out, end, took in requests]
    return _write(path, *lines, header=b"")


def _finish_source(timezone="UTC"):
    mapping = {
        "container": "jsonl",
        "time": {"path": ["end"], "unit": "iso"},
        "time_is": "finish",
        "e2e": {"path": ["took"], "unit": "s"},
        "prompt_tokens": ["in"],
        "output_tokens": ["out"],
    }
    return Source(path=FINISHED, format="mapping", mapping=mapping, archetype="chat", fleet="f", timezone=timezone)


def test_requests_that_finish_after_midnight_belong_to_the_day_they_arrived_on(tmp_path):
    source = _finish_source()
    first = _finish_log(tmp_path / "2023-11-16.jsonl", (1, "2023-11-16T00:00:10Z", 20), (2, "2023-11-16T12:00:00Z", 5))
    second = _finish_log(
        tmp_path / "2023-11-17.jsonl",
        *((3, "2023-11-17T00:00:10Z", 20), (4, "2023-11-17T00:00:30Z", 20), (5, "2023-11-16T23:59:50Z", 5)),
        (6, "2023-11-17T20:00:00Z", 100_000),
    )
    assert _list(source, DAY, tmp_path) == [first]
    found = landing_files(source, "s", DAY, tmp_path, tmp_path)
    assert [(each.file, each.is_next) for each in found] == [(first, False), (second, True)]
    rows = {day: _read(source, date(2023, 11, day), tmp_path).sort("line_number") for day in (15, 16, 17, 18)}
    assert rows[15]["output_tokens"].to_list() == [1]
    assert rows[16]["output_tokens"].sort().to_list() == [2, 3, 6]
    assert rows[17].select("output_tokens", "reason").rows() == [(4, None), (None, "outside_day")]
    assert rows[18].is_empty()


def test_a_request_that_arrived_long_before_its_file_is_not_lost(tmp_path):
    source = _finish_source()
    _finish_log(tmp_path / "2023-11-16.jsonl", (1, "2023-11-16T12:00:00Z", 60 * 3600), (2, "2023-11-16T12:00:00Z", 1))
    found = {day: _read(source, date(2023, 11, day), tmp_path) for day in range(13, 18)}
    assert {day: rows["reason"].to_list() for day, rows in found.items() if rows.height} == {
        16: ["arrived_long_before", None]
    }


_MOMENTS = st.integers(0, 5 * 24).map(lambda hour: f"2023-11-{14 + hour // 24} {hour % 24:02}:20:00,1,2".encode())
_LINES = st.lists(
    _MOMENTS | st.sampled_from([b"junk", b"2023-11-16 25:00:00,1,2", b"2023-11-16 01:00:00Z,0,2"]), max_size=8
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.dictionaries(st.sampled_from(["2023-11-15", "2023-11-16", "2023-11-17"]), _LINES, min_size=1),
    timezone=st.sampled_from(["UTC", "Europe/Berlin", "America/Los_Angeles", "Pacific/Kiritimati"]),
    is_dated=st.booleans(),
    batch_bytes=st.sampled_from([1, 60, 10_000]),
)
def test_each_line_is_in_exactly_one_day(files, timezone, is_dated, batch_bytes, tmp_path):
    for old in tmp_path.glob("*.csv"):
        old.unlink()
    for name, lines in files.items():
        _write(tmp_path / f"{name}.csv", *lines)
    source = _source("{date}.csv" if is_dated else "*.csv", timezone=timezone)
    days = [date(2023, 11, 13) + timedelta(days=shift) for shift in range(8)]
    read = {day: _read(source, day, tmp_path, batch_bytes=batch_bytes) for day in days}
    rows = pl.concat([found.with_columns(day=pl.lit(day)) for day, found in read.items()])
    without_day, n_lines = set(), 0
    for file in _list(source, None, tmp_path):
        found = _days_in(source, file, tmp_path)
        if None in found:
            assert found == {None}
            without_day.add(file)
            continue
        assert found == set(rows.filter(pl.col("file") == file)["day"])
        n_lines += count_again(file)[0] - 1
    assert rows.select("file", "line_number").is_unique().all()
    assert len(rows) == n_lines
    assert without_day.isdisjoint(rows["file"])
    assert not (is_dated and without_day)
