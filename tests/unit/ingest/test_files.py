"""Files in, requests and quarantine out."""

import hashlib
import io
import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from fleetopt.errors import InputError
from fleetopt.ingest import files as files_module
from fleetopt.ingest.files import BalanceError, Reading, ingest_files
from fleetopt.ingest.staging import QUARANTINE_SCHEMA
from fleetopt.schemas import TRACE_SCHEMA
from fleetopt.workload.demo import DEMO_SOURCES, demo_day
from fleetopt.workload.trace import trace_from_frame
from tests.unit.ingest.helpers import HEADER, KEY, START

CHAT = HEADER + b"\r\n2023-11-16 18:00:10.5,374,44\r\n2023-11-16 18:00:00.25,3,4\r\n\r\n2023-11-16 18:00:20,0,4"
MORE = HEADER + b"\n2023-11-16 18:00:00.25,3,4\n2023-11-16 18:00:10.5,1,1\nx\n2023-11-16 18:00:10.5,2,2\n"
MOONCAKE = b'{"timestamp": 500, "input_length": 3, "output_length": 4}\n' * 2


def ingest(paths, out, on_progress=None, **how):
    return ingest_files(paths, out, Reading(**{"hash_key": KEY, "format_name": "azure", **how}), on_progress)


def counts(balance):
    """Lines, requests, duplicates, quarantined; they always add up."""
    assert balance.lines == balance.requests + balance.duplicates + balance.quarantined
    return balance.lines, balance.requests, balance.duplicates, balance.quarantined


def _write(tmp_path, **contents):
    paths = []
    for name, content in contents.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(content)
    return paths


def test_requests_and_quarantine_of_two_files(tmp_path):
    paths = _write(tmp_path, b=CHAT, a=MORE)
    progress = []
    balance = ingest(
        paths, tmp_path / "out", lambda done, total, what: progress.append((done, total)), archetype="chat"
    )
    assert counts(balance) == (7, 4, 1, 2)
    requests = pl.read_parquet(tmp_path / "out" / "requests.parquet")
    assert requests.schema == TRACE_SCHEMA
    assert requests["prompt_tokens"].to_list() == [3, 1, 2, 374]
    assert requests["arrival_s"].to_list() == [0.0, 10.25, 10.25, 10.25]
    assert requests["arrival_time"][0] == datetime(2023, 11, 16, 18, 0, 0, 250000, UTC)
    assert requests["archetype"].unique().to_list() == ["chat"]
    assert len(trace_from_frame(requests, "requests")) == 4
    quarantine = pl.read_parquet(tmp_path / "out" / "quarantine.parquet")
    assert quarantine.schema == QUARANTINE_SCHEMA
    assert quarantine["file"].to_list() == [str(path) for path in paths]
    assert quarantine["file_hash"].to_list() == [hashlib.sha256(content).hexdigest() for content in (CHAT, MORE)]
    assert quarantine["reason"].to_list() == ["zero_tokens", "wrong_field_count"]
    assert quarantine["raw_text"].to_list() == ["2023-11-16 18:00:20,0,4", "x"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["quarantine.parquet", "requests.parquet"]
    total = len(CHAT) + len(MORE)
    assert progress == sorted(progress)
    assert (len(CHAT), total) in progress
    assert progress[-1] == (total, total)


def test_requests_of_equal_times_are_ordered_by_what_they_say(tmp_path):
    lines = [f"2023-11-16 18:00:0{i % 3},{i % 50 + 1},{i + 1}".encode() for i in range(20_000)]
    random.Random(1).shuffle(lines)
    ingest(_write(tmp_path, a=b"\n".join([HEADER, *lines])), tmp_path / "out")
    rows = pl.read_parquet(tmp_path / "out" / "requests.parquet").select("arrival_s", "prompt_tokens", "output_tokens")
    expected = [(i % 3, i % 50 + 1, i + 1) for i in range(20_000)]
    assert rows.rows() == sorted(expected, key=lambda row: (row[0], row[1], -row[2]))


def test_formats_are_told_per_file(tmp_path):
    paths = _write(tmp_path, a=CHAT, b=MOONCAKE)
    assert counts(ingest(paths, tmp_path / "out", format_name="auto", clock_start=START)) == (5, 3, 1, 1)
    assert pl.read_parquet(tmp_path / "out" / "requests.parquet")["arrival_s"].to_list() == [0.0, 0.25, 10.25]


@pytest.mark.parametrize(
    ("content", "format_name", "message"),
    [
        (b"", "azure", r"/f: no lines$"),
        (b"", "auto", r"/f: no lines$"),
        (b"\xef\xbb\xbf\r\n \n", "auto", r"/f: no lines$"),
        (HEADER + b"\r\n", "azure", r"/f: no line of it is a request, usable or not$"),
        (HEADER + b"\n\n", "auto", r"/f: no line of it is a request, usable or not$"),
        (b"prompt\n1\n2\n", "azure", r"/f: none of 3 lines .* 'azure'; first reason: no_header \(line 1\)$"),
        (HEADER + b"\n\n2023-11-16 18:00:20,0,4", "auto", r"none of 1 lines .* first reason: zero_tokens \(line 3\)$"),
        (CHAT, "mooncake", r"none of 4 lines could be used as format 'mooncake'; first reason: not_json \(line 1\)$"),
        (CHAT, "csv", r"^unknown log format 'csv'"),
        (b"prompt\n1\n2\n", "auto", r"/f: no known log format fits"),
    ],
)
def test_input_that_cannot_be_used_writes_nothing(content, format_name, message, tmp_path):
    paths = _write(tmp_path, good=CHAT, f=content)
    for order in (paths[1:], paths if format_name in {"azure", "auto"} else paths[1:]):
        with pytest.raises(InputError, match=message):
            ingest(order, tmp_path / "out", format_name=format_name, clock_start=START)
    assert not (tmp_path / "out").exists()


def test_bad_lines_are_not_kept_where_they_name_sessions(tmp_path):
    header = (
        "Timestamp,{}Model,Request tokens,Response tokens,Total tokens,Log Type\n5,{}m,x,1,2,API log\n5,{}m,2,1,2,a\n"
    )
    paths = _write(tmp_path, a=header.format(*[""] * 3).encode(), b=header.format("Session ID,", "s1,", "s1,").encode())
    ingest(paths, tmp_path / "out", format_name="auto", clock_start=START)
    quarantine = pl.read_parquet(tmp_path / "out" / "quarantine.parquet").sort("file")
    assert quarantine["raw_text"].to_list() == ["5,m,x,1,2,API log", None]


def test_a_file_may_hold_nothing_but_what_is_said_of_requests(tmp_path):
    usage = (
        b'{"ts": "2026-10-05T08:00:04", "event": "llm_usage", "request_id": "1", "model": "m", "prompt_tokens": 7, '
        b'"completion_tokens": 2, "completion_latency_ms": 100}\n'
    )
    decision = b'{"ts": "2026-10-05T08:00:04", "event": "routing_decision", "request_id": "1", "decision": "code"}\n'
    paths = _write(tmp_path, a=decision, b=usage)
    assert counts(ingest(paths, tmp_path / "out", format_name="auto")) == (1, 1, 0, 0)
    assert pl.read_parquet(tmp_path / "out" / "requests.parquet")["archetype"].to_list() == ["code"]
    with pytest.raises(InputError, match=r"a: none of its lines is a request"):
        ingest(paths[:1], tmp_path / "out", format_name="auto")


def test_missing_files_directories_clocks_and_zones(tmp_path):
    (mooncake,) = _write(tmp_path, m=MOONCAKE)
    for paths, options, message in (
        ([tmp_path / "none.csv"], {}, r"none\.csv: no such file or directory$"),
        ([tmp_path], {}, "is a directory; name the files in it$"),
        ([Path("s3://logs/a.csv")], {}, r"a URL is the path of a source, for `fleetopt nightly`$"),
        ([], {}, "no file to read was named"),
        ([mooncake], {}, r"/m: format 'mooncake' counts time from a start .*--start"),
        ([mooncake], {"timezone": "Nowhere"}, "unknown time zone 'Nowhere'"),
    ):
        with pytest.raises(InputError, match=message):
            ingest(paths, tmp_path / "out", format_name="auto", **options)
    with pytest.raises(InputError, match=r"/m: cannot be made a directory: file exists$"):
        ingest([mooncake], mooncake, format_name="auto", clock_start=START)


def test_models_that_no_request_names_are_refused_with_those_there_are(tmp_path):
    lines = [
        f'{{"id": "{i}", "object": "chat.completion", "created": {1700000000 + i}, "model": "{"ab"[i % 2]}", '
        f'"usage": {{"prompt_tokens": {i + 1}, "completion_tokens": 2}}}}'
        for i in range(4)
    ]
    paths = _write(tmp_path, usage="\n".join(lines).encode())
    with pytest.raises(InputError, match=r"^no request that was served is of model c; others are of a, b$"):
        ingest(paths, tmp_path / "out", format_name="auto", models=frozenset({"c"}))
    assert not (tmp_path / "out").exists()
    balance = ingest(paths, tmp_path / "out", format_name="auto", models=frozenset({"b", "c"}))
    assert (balance.requests, balance.unserved) == (4, {"other_model": 2})


def test_models_of_logs_that_name_none_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"^requests of model a cannot be told from others: these logs name no models$"
    ):
        ingest(_write(tmp_path, a=CHAT), tmp_path / "out", models=frozenset({"a"}))
    assert not (tmp_path / "out").exists()


def test_a_failure_while_writing_leaves_what_was_there(tmp_path, monkeypatch):
    (path,) = _write(tmp_path, a=CHAT)
    out = tmp_path / "out"
    ingest([path], out)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    path.write_bytes(MORE)

    def fail(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(files_module, "quarantine_rows", fail)
    with pytest.raises(OSError, match="no space left"):
        ingest([path], out)
    with pytest.raises(OSError, match="no space left"):
        ingest([path], tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_a_lost_line_is_an_error(tmp_path, monkeypatch):
    (path,) = _write(tmp_path, a=CHAT)
    monkeypatch.setattr(files_module, "count_lines", lambda stream: len(stream.readlines()) + 1)
    with pytest.raises(BalanceError, match="4 lines were read, 6 are there"):
        ingest([path], tmp_path / "out")


_RECORDS = st.lists(st.sampled_from([f"2023-11-16 18:00:{i % 7:02},{i % 5},4".encode() for i in range(35)]), min_size=1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.lists(_RECORDS, min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_the_order_of_the_files_does_not_matter(contents, seed, tmp_path):
    good = b"\n2023-11-16 18:00:09,9,9\n"
    paths = _write(tmp_path, **{f"f{i}": HEADER + good + b"\n".join(lines) for i, lines in enumerate(contents)})
    n_lines = sum(len(lines) + 1 for lines in contents)
    results = []
    for order in (paths, random.Random(seed).sample(paths, len(paths))):
        balance = ingest(order, tmp_path / "out")
        assert counts(balance)[0] == n_lines
        requests = pl.read_parquet(tmp_path / "out" / "requests.parquet")
        assert requests["arrival_time"].is_sorted()
        quarantine = pl.read_parquet(tmp_path / "out" / "quarantine.parquet")
        results.append((counts(balance), requests, quarantine.select("reason", "record_hash", "raw_text")))
    assert results[0][0] == results[1][0]
    for first, second in zip(results[0][1:], results[1][1:], strict=True):
        assert_frame_equal(first, second)
    distinct = {line for lines in contents for line in lines if b",0,4" not in line} | {good.strip()}
    assert results[0][0][1] == len(distinct)


def test_every_quarantined_place_points_at_its_line(tmp_path):
    rng = random.Random(3)
    lines = [HEADER]
    for i in range(300):
        moment = datetime(2023, 11, 16, 18, tzinfo=UTC) + timedelta(seconds=i)
        line = bytearray(f"{moment:%Y-%m-%d %H:%M:%S},{i + 1},4".encode())
        if rng.random() < 0.3:
            line[rng.randrange(len(line))] = rng.choice(b"\0\xff,x")
        lines.append(bytes(line))
    (path,) = _write(tmp_path, a=b"".join(line + rng.choice([b"\n", b"\r\n", b"\n\n"]) for line in lines))
    balance = ingest([path], tmp_path / "out")
    assert counts(balance)[0] == 300
    data, damaged = path.read_bytes(), []
    for row in pl.read_parquet(tmp_path / "out" / "quarantine.parquet").iter_rows(named=True):
        content = data[row["byte_offset"] : row["byte_offset"] + row["byte_length"]]
        assert io.BytesIO(data).readlines()[row["line_number"] - 1].rstrip(b"\r\n") == content
        damaged.append(content)
    assert set(damaged) <= set(lines)
    assert balance.quarantined == len(damaged) > 50


@pytest.mark.parametrize("source", DEMO_SOURCES)
def test_of_the_demo_s_logs_only_the_broken_lines_are_left_aside(source, tmp_path):
    first_day = date(2025, 9, 29)
    for age in (0, 4, 33):
        day = first_day + timedelta(days=age)
        (path,) = _write(tmp_path, a=demo_day(source, day, first_day=first_day, seed=20260316))
        clock_start = datetime(first_day.year, first_day.month, first_day.day, tzinfo=UTC)
        balance = ingest([path], tmp_path / "out", format_name="auto", clock_start=clock_start)
        assert counts(balance)[3] in {2, 3}
        assert balance.clock_restarts == 0
        days = pl.read_parquet(tmp_path / "out" / "requests.parquet")["arrival_time"].dt.date().unique().to_list()
        assert days == [day]
