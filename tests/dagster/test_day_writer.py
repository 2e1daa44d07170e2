"""Writing a day in many frames and publishing it: one commit, exactly that day, nothing half done, several writers."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from polars.testing import assert_frame_equal

from fleetopt.schemas import STG_REQUESTS
from pipelines.resources import table_files, tables
from pipelines.resources.tables import SchemaMismatchError, TableStore, WrongDayError
from tests.dagster.test_tables import DAY, NEXT_DAY, arrivals

ROOT = Path(__file__).resolve().parents[2]


def requests(n: int, first: int = 0) -> pl.DataFrame:
    start = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)
    rows = {
        "day": [DAY] * n,
        "source": ["chat"] * n,
        "fleet": ["assistant"] * n,
        "archetype": ["chat"] * n,
        "arrival_time": [start + timedelta(seconds=first + i) for i in range(n)],
        "prompt_tokens": [100 + i for i in range(n)],
        "output_tokens": [5] * n,
        "file": ["a b%/c.csv"] * n,
        "line_number": list(range(first + 1, first + n + 1)),
        "record_number": [1] * n,
    }
    return (
        pl.DataFrame(rows | {name: [None] * n for name in STG_REQUESTS.schema if name not in rows})
        .cast(dict(STG_REQUESTS.schema))
        .select(STG_REQUESTS.schema.names())
    )


@pytest.fixture
def store(tmp_path):
    return TableStore(tmp_path / "tables")


def parquet_files(store, table):
    return sorted(str(path) for path in (store.files.root / table).rglob("*.parquet"))


def write_in_parts(store, sizes, table="stg_requests"):
    with store.day_writer(table, DAY, {"run": "r"}) as writer:
        first = 0
        for size in sizes:
            writer.write(requests(size, first))
            first += size
    return writer


def test_many_frames_are_one_commit_and_keep_their_order(store):
    writer = write_in_parts(store, [3, 0, 5, *[2] * 20])
    read = store.read("stg_requests").collect()
    assert_frame_equal(read, requests(8 + 40).with_columns(prompt_tokens=read["prompt_tokens"]))
    assert read["prompt_tokens"][:8].to_list() == [100, 101, 102, 100, 101, 102, 103, 104]
    assert (writer.rows, writer.version) == (48, 1)
    assert store.version("stg_requests") == 1
    assert store.rows("stg_requests", DAY) == 48
    assert DeltaTable(store.uri("stg_requests")).history(1)[0]["run"] == "r"


def test_a_writer_replaces_its_day_alone_and_older_versions_stay(store):
    store.write_day("core_arrivals", DAY, arrivals(DAY, 5))
    store.write_day("core_arrivals", NEXT_DAY, arrivals(NEXT_DAY, 7))
    with store.day_writer("core_arrivals", DAY) as writer:
        writer.write(arrivals(DAY, 2))
        assert store.read("core_arrivals", DAY, DAY).collect().height == 5  # nothing is seen before the block ends
        writer.write(arrivals(DAY, 1))
    assert store.read("core_arrivals", DAY, DAY).collect().height == 3
    assert store.read("core_arrivals", NEXT_DAY, NEXT_DAY).collect().height == 7
    assert pl.read_delta(store.uri("core_arrivals"), version=2).height == 12


def test_files_hold_no_day_and_are_read_back_with_the_declared_schema(store):
    write_in_parts(store, [4])
    (file,) = parquet_files(store, "stg_requests")
    assert f"day={DAY}" in file
    assert "day" not in pl.read_parquet_schema(file)
    assert store.read("stg_requests").collect_schema() == STG_REQUESTS.schema
    assert store.differences("stg_requests") == []


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (lambda: arrivals(NEXT_DAY, 2), WrongDayError),
        (lambda: arrivals(DAY, 2).drop("fleet"), SchemaMismatchError),
        (lambda: 1 // 0, ZeroDivisionError),
    ],
)
def test_an_exception_in_the_block_leaves_the_table_and_no_file(store, frame, error):
    store.write_day("core_arrivals", DAY, arrivals(DAY, 5))
    before = parquet_files(store, "core_arrivals")
    with pytest.raises(error), store.day_writer("core_arrivals", DAY) as writer:
        writer.write(arrivals(DAY, 3))
        writer.write(frame())
    assert store.version("core_arrivals") == 1
    assert parquet_files(store, "core_arrivals") == before


def test_a_disk_that_fills_up_leaves_the_table_and_no_file(store, monkeypatch):
    store.write_day("core_arrivals", DAY, arrivals(DAY, 5))
    before = parquet_files(store, "core_arrivals")

    def half_a_file(table, where, **options):
        Path(where).write_bytes(b"PAR1")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"), store.day_writer("core_arrivals", DAY) as writer:
        writer.write(arrivals(DAY, 3))
        monkeypatch.setattr(pq, "write_table", half_a_file)
        writer.write(arrivals(DAY, 3))
    assert store.read("core_arrivals").collect().height == 5
    assert parquet_files(store, "core_arrivals") == before


KILLED = """
import os, signal, sys
from pathlib import Path
from pipelines.resources.tables import TableStore
from tests.dagster.test_tables import DAY, arrivals
with TableStore(Path(sys.argv[1])).day_writer("core_arrivals", DAY) as writer:
    writer.write(arrivals(DAY, 3))
    writer.finish()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_writer_that_is_killed_leaves_files_that_no_version_names(store):
    store.write_day("core_arrivals", DAY, arrivals(DAY, 5))
    run = [sys.executable, "-c", KILLED, str(store.files.root)]
    killed = subprocess.run(run, cwd=ROOT, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert killed.returncode == -signal.SIGKILL
    assert len(parquet_files(store, "core_arrivals")) == 2
    assert store.read("core_arrivals").collect().height == 5
    with store.day_writer("core_arrivals", DAY) as writer:
        writer.write(arrivals(DAY, 4))
    assert store.read("core_arrivals").collect().height == 4
    stored = DeltaTable(store.uri("core_arrivals"))
    stored.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False, full=True)
    assert len(parquet_files(store, "core_arrivals")) == 1


def test_writers_at_once_each_replace_the_day_and_lose_no_other(store):
    """Half of them start on an empty day, where two commits that only add would leave both."""

    def write(n: int) -> int:
        day = DAY if n % 2 else NEXT_DAY
        with store.day_writer("core_arrivals", day) as writer:
            writer.write(arrivals(day, n + 1))
        return writer.version

    with ThreadPoolExecutor(6) as pool:
        versions = list(pool.map(write, range(12)))
    assert sorted(versions) == list(range(1, 13))
    last = {
        day: max((v, n) for n, v in enumerate(versions) if (DAY if n % 2 else NEXT_DAY) == day)[1]
        for day in (DAY, NEXT_DAY)
    }
    for day, n in last.items():
        assert_frame_equal(store.read("core_arrivals", day, day).collect(), arrivals(day, n + 1))


def test_a_commit_that_another_one_overtakes_on_an_empty_day_leaves_only_its_own_rows(store, monkeypatch):
    store.write_day("core_arrivals", NEXT_DAY, arrivals(NEXT_DAY, 1))
    commit, overtaken = DeltaTable.create_write_transaction, []

    def overtake(self, *args, **kwargs):
        if not overtaken:
            overtaken.append(True)
            store.write_day("core_arrivals", DAY, arrivals(DAY, 9))
        commit(self, *args, **kwargs)

    monkeypatch.setattr(DeltaTable, "create_write_transaction", overtake)
    assert store.write_day("core_arrivals", DAY, arrivals(DAY, 2)) == 3
    assert_frame_equal(store.read("core_arrivals", DAY, DAY).collect(), arrivals(DAY, 2))


def test_a_commit_that_never_goes_through_is_an_error_and_keeps_its_files(store, monkeypatch):
    store.write_day("core_arrivals", DAY, arrivals(DAY, 5))

    def refuse(*args, **kwargs):
        raise CommitFailedError("no")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", refuse)
    monkeypatch.setattr(tables.time, "sleep", lambda s: None)
    with pytest.raises(CommitFailedError), store.day_writer("core_arrivals", DAY) as writer:
        writer.write(arrivals(DAY, 3))
    assert len(parquet_files(store, "core_arrivals")) == 2  # it may have gone through without an answer
    assert store.read("core_arrivals").collect().height == 5


def test_publishing_gives_the_same_rows_without_writing_them(store, monkeypatch):
    write_in_parts(store, [3, 4])
    monkeypatch.setattr(pl.DataFrame, "write_parquet", None)
    version = store.publish_day("stg_requests", "core_requests", DAY, {"run": "r"})
    assert version == store.version("core_requests") == 1
    assert_frame_equal(store.read("core_requests").collect(), store.read("stg_requests").collect())
    assert store.rows("core_requests", DAY) == 7
    pairs = zip(parquet_files(store, "stg_requests"), parquet_files(store, "core_requests"), strict=True)
    assert all(Path(old).samefile(new) for old, new in pairs)


def test_what_is_published_outlives_the_day_it_was_made_from(store):
    write_in_parts(store, [3])
    store.publish_day("stg_requests", "core_requests", DAY)
    store.withdraw(["stg_requests"], DAY)
    stored = DeltaTable(store.uri("stg_requests"))
    stored.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert parquet_files(store, "stg_requests") == []
    assert store.read("core_requests").collect().height == 3
    store.publish_day("stg_requests", "core_requests", DAY)
    assert store.days("core_requests") == []


def test_publishing_again_replaces_the_day(store):
    write_in_parts(store, [3])
    store.publish_day("stg_requests", "core_requests", DAY)
    write_in_parts(store, [2])
    store.publish_day("stg_requests", "core_requests", DAY)
    assert store.read("core_requests").collect().height == 2


def test_publishing_copies_where_links_cannot_be_made(store, monkeypatch):
    write_in_parts(store, [3])

    def refuse(*args):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(table_files.os, "link", refuse)
    store.publish_day("stg_requests", "core_requests", DAY)
    assert store.read("core_requests").collect().height == 3


def test_publishing_refuses_a_table_of_another_schema(store):
    store.write_day("core_arrivals", DAY, arrivals(DAY, 5))
    with pytest.raises(SchemaMismatchError, match="the stored table"):
        store.publish_day("core_arrivals", "core_requests", DAY)


def test_publishing_from_a_table_that_was_never_written_leaves_the_day_empty(store):
    store.publish_day("stg_requests", "core_requests", DAY)
    assert store.days("core_requests") == []
