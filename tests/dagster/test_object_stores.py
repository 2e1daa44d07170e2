"""Logs and tables in an object store, from the sensor to the tables, and back out when a day is forgotten."""

import gzip
from datetime import timedelta

import dagster as dg
import pyarrow as pa
import pytest

from fleetopt.errors import InputError
from fleetopt.ingest.landing import list_files
from fleetopt.schemas import TABLES
from pipelines import sensors
from pipelines.forgetting import Forgetting
from pipelines.instance import open_instance
from pipelines.resources.forgotten import Selection
from tests.dagster.project import CONFIG, DAYS, TABLES_OF_A_DAY, Project
from tests.s3 import SECRET

PLACES = ("file", "line_number", "byte_offset", "byte_length", "file_hash", "landing_digest", "files")
"""Columns that say where a row comes from."""


def landed(project, bucket):
    """Put a local project's logs into a bucket, compressed and split; return one that reads them there."""
    config = (
        CONFIG.replace("landing/chat/{date}.csv", f"s3://{bucket.name}/chat/{{date}}/*.log")
        .replace("landing/agent/{date}.jsonl", f"s3://{bucket.name}/agent {{date}}*")
        .replace("window_days = 3", f'window_days = 3\ntables = "s3://{bucket.name}/tables"')
    )
    root = project.root / "there"
    root.mkdir()
    (root / "fleetopt.toml").write_text(config)
    for day in DAYS:
        header, *lines = project.landing("chat", day).read_bytes().split(b"\r\n")
        halves = [b"\r\n".join([header, *half]) for half in (lines[:20], lines[20:])]
        bucket.put(f"chat/{day}/first.log", gzip.compress(halves[0]))
        bucket.put(f"chat/{day}/second.log", pa.compress(halves[1], "zstd", asbytes=True))
        bucket.put(f"agent {day}.jsonl", project.landing("agent", day).read_bytes())
    return Project(root)


def rows(project, table):
    """Rows without what says where they come from, in a fixed order."""
    frame = project.tables.read(table).collect()
    left = frame.select([name for name in frame.columns if name not in {*PLACES, "record_hash", "raw_text"}])
    return left.sort(left.columns)


def requested(project, instance, cursor=None):
    context = dg.build_sensor_context(
        instance=instance, definitions=project.defs, resources=dict(project.defs.resources), cursor=cursor
    )
    result = project.defs.resolve_sensor_def("new_files").evaluate_tick(context)
    return [request.partition_key for request in result.run_requests], result.cursor


def test_from_the_sensor_to_the_tables(project, instance, bucket, monkeypatch):
    there = landed(project, bucket)
    monkeypatch.setattr(sensors, "_today", lambda: DAYS[-1] + timedelta(days=1))
    days, cursor = requested(there, instance)
    assert days == [str(day) for day in reversed(DAYS)]
    for day in DAYS:
        assert there.ingest(day, instance).success
        assert project.ingest(day, instance).success
    for table in TABLES_OF_A_DAY:
        assert rows(there, table).equals(rows(project, table)), table
        assert set(there.tables.read(table).collect_schema()) == set(TABLES[table].schema)
    assert not there.settings.paths.tables.exists()
    assert requested(there, instance, cursor)[0] == []
    landing = there.defs.resources["landing"]
    settings = there.settings
    every = list_files(landing.sources["chat"], "chat", None, settings.config_dir, settings.data_dir)
    assert every == [file for day in DAYS for file in landing.files("chat", day)]
    bucket.put(f"chat/{DAYS[1]}/third.log", b"TIMESTAMP,ContextTokens,GeneratedTokens\n2026-01-06 23:59:59.5,7,8\n")
    assert requested(there, instance, cursor)[0] == [str(DAYS[1])]
    assert there.ingest(DAYS[1], instance).success
    assert rows(there, "core_requests").height == rows(project, "core_requests").height + 1


def test_nothing_written_holds_the_credentials(project, bucket, capfd):
    there = landed(project, bucket)
    with open_instance(there.settings) as instance:
        assert there.ingest(DAYS[0], instance).success
        bucket.put(
            f"chat/{DAYS[1]}/first.log", gzip.compress(b"TIMESTAMP,ContextTokens,GeneratedTokens\n" + b"bad\n" * 99)
        )
        assert not there.ingest(DAYS[1], instance).success
    written = {str(path): path.read_bytes() for path in there.settings.data_dir.rglob("*") if path.is_file()}
    written |= bucket.contents()
    written |= {f"standard {i}": text.encode() for i, text in enumerate(capfd.readouterr())}
    assert any("dagster" in name for name in written)
    assert any("_delta_log" in name for name in written)
    assert [name for name, content in written.items() if SECRET.encode() in content] == []


def test_a_day_is_forgotten_in_the_store_too(project, instance, bucket):
    there = landed(project, bucket)
    for day in DAYS[:2]:
        assert there.ingest(day, instance).success
    counts = rows(there, "core_arrivals")
    Forgetting(there.settings, Selection(before=DAYS[1])).forget()
    assert there.tables.days("core_requests") == [DAYS[1]]
    assert rows(there, "core_arrivals").equals(counts)
    gone = [name for name in bucket.contents() if name.startswith("tables/") and f"requests/day={DAYS[0]}" in name]
    assert gone == []
    assert f"chat/{DAYS[0]}/first.log" in bucket.contents()
    Forgetting(there.settings, Selection(before=DAYS[2], source="chat")).forget()
    assert there.rows("core_requests")["source"].unique().to_list() == ["agent"]


def test_a_store_that_fails_fails_the_day_in_one_line(project, instance, bucket, monkeypatch):
    there = landed(project, bucket)
    for day in DAYS:
        bucket.delete(f"agent {day}.jsonl")
    landing = there.defs.resources["landing"]
    with pytest.raises(InputError, match=r"^source\.agent\.path: no file matches s3://[^\n]*$"):
        landing.ingest("agent", DAYS[0], "1")
    bucket.put(f"chat/{DAYS[0]}/first.log", gzip.compress(b"cut")[:-5])
    with pytest.raises(InputError, match=r"^s3://[^\n]*first\.log: its gzip data ends too early[^\n]*$"):
        landing.ingest("chat", DAYS[0], "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("fleetopt.ingest.stores._OPTIONS", {"max_retries": "1", "retry_timeout": "5s"})
    with pytest.raises(InputError, match=r"^source\.chat\.path: s3://[^\n]*: connection refused$"):
        landing.ingest("chat", DAYS[0], "1")
