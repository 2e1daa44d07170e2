"""Tables on an object store: the same as on disk, and nothing written anywhere tells how it is reached."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from fleetopt.errors import InputError
from pipelines.resources.table_files import parse_root
from pipelines.resources.tables import TableStore
from tests.dagster.test_day_writer import requests, write_in_parts
from tests.dagster.test_tables import DAY, NEXT_DAY, arrivals
from tests.s3 import SECRET


@pytest.fixture
def store(bucket):
    return TableStore(f"s3://{bucket.name}/fleet/tables")


def test_a_day_is_written_published_replaced_and_withdrawn(store, bucket):
    write_in_parts(store, [3, 4])
    assert store.publish_day("stg_requests", "core_requests", DAY) == 1
    assert_frame_equal(store.read("core_requests").collect(), store.read("stg_requests").collect())
    write_in_parts(store, [5])
    assert store.rows("stg_requests", DAY) == 5
    assert store.rows("core_requests", DAY) == 7
    assert_frame_equal(store.read("stg_requests", DAY, DAY).collect(), requests(5))
    assert store.withdraw(["stg_requests", "core_arrivals"], DAY) == ["stg_requests"]
    assert (store.days("stg_requests"), store.days("core_requests")) == ([], [DAY])
    assert store.differences("core_requests") == []
    assert all(key.startswith("fleet/tables/") for key in bucket.contents())


def test_an_exception_leaves_no_file(store, bucket):
    with pytest.raises(ZeroDivisionError), store.day_writer("core_arrivals", DAY) as writer:
        writer.write(arrivals(DAY, 3))
        writer.finish()
        assert len(bucket.contents()) == 1
        1 / 0  # noqa: B018
    assert bucket.contents() == {}


def test_writers_at_once_each_replace_the_day(store):
    def write(n: int) -> int:
        day = DAY if n % 2 else NEXT_DAY
        return store.write_day("core_arrivals", day, arrivals(day, n + 1))

    with ThreadPoolExecutor(4) as pool:
        versions = list(pool.map(write, range(6)))
    assert sorted(versions) == list(range(1, 7))
    for day, remainder in ((DAY, 1), (NEXT_DAY, 0)):
        _, last = max((version, n) for n, version in enumerate(versions) if n % 2 == remainder)
        assert_frame_equal(store.read("core_arrivals", day, day).collect(), arrivals(day, last + 1))


def test_no_object_and_no_address_holds_the_secret(store, bucket):
    write_in_parts(store, [3])
    store.publish_day("stg_requests", "core_requests", DAY)
    assert not [key for key, content in bucket.contents().items() if SECRET.encode() in content]
    assert store.files.shown("stg_requests") == f"s3://{bucket.name}/fleet/tables/stg_requests"
    assert SECRET not in repr(vars(store)) + repr(vars(store.files))


@pytest.mark.parametrize(
    ("declared", "root"),
    [
        ("{data}/tables", Path("/the/data/tables")),
        ("lake", Path("/the/config/lake")),
        ("/lake", Path("/lake")),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("gs://bucket/a", "gs://bucket/a"),
        ("abfss://box@account.dfs.core.windows.net/a", "abfss://box@account.dfs.core.windows.net/a"),
    ],
)
def test_a_root_is_a_directory_or_a_url(declared, root):
    assert parse_root(declared, Path("/the/config"), Path("/the/data")) == root


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("http://host/tables", "pipeline.tables: unknown scheme 'http://'; known: local paths, abfss://, gs://, s3://"),
        ("s3://key:secret@bucket/a", "pipeline.tables: s3://...: holds a port or credentials"),
        ("s3://bucket/a?key=secret", "pipeline.tables: s3://bucket/a: '[?]' and '#' cannot stand in a path"),
        ("s3:///a", "pipeline.tables: s3:///a: names no bucket"),
    ],
)
def test_a_url_that_cannot_be_a_root_is_refused_without_its_secrets(declared, message):
    with pytest.raises(InputError, match=message) as refused:
        parse_root(declared, Path("/the/config"), Path("/the/data"))
    assert "secret" not in str(refused.value)
