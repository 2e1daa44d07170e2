"""The table store: schema before every write, a day replaced exactly, windows, withdrawal."""

from datetime import date

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from fleetopt.schemas import CORE_ARRIVALS
from pipelines.resources.tables import SchemaMismatchError, TableStore, WrongDayError, schema_differences

DAY, NEXT_DAY = date(2026, 1, 5), date(2026, 1, 6)


def arrivals(day: date, n: int) -> pl.DataFrame:
    rows = {
        "day": [day] * n,
        "fleet": ["assistant"] * n,
        "archetype": ["chat"] * n,
        "source": ["chat"] * n,
        "second": list(range(n)),
        "requests": [1] * n,
    }
    return pl.DataFrame(rows, schema=CORE_ARRIVALS.schema)


@pytest.fixture
def store(tmp_path):
    return TableStore(tmp_path / "tables")


def test_round_trip_keeps_rows_and_types(store):
    store.write_day("core_arrivals", DAY, arrivals(DAY, 5), {"dagster_run_id": "r"})
    read = store.read("core_arrivals").collect().sort("second")
    assert_frame_equal(read, arrivals(DAY, 5))
    assert read.schema == CORE_ARRIVALS.schema


def test_writing_a_day_again_replaces_it_and_nothing_else(store):
    store.write_day("core_arrivals", DAY, arrivals(DAY, 5))
    store.write_day("core_arrivals", NEXT_DAY, arrivals(NEXT_DAY, 7))
    store.write_day("core_arrivals", DAY, arrivals(DAY, 2))
    assert_frame_equal(store.read("core_arrivals", DAY, DAY).collect().sort("second"), arrivals(DAY, 2))
    assert_frame_equal(store.read("core_arrivals", NEXT_DAY, NEXT_DAY).collect().sort("second"), arrivals(NEXT_DAY, 7))


def test_every_version_stays_readable(store):
    first = store.write_day("core_arrivals", DAY, arrivals(DAY, 5))
    second = store.write_day("core_arrivals", DAY, arrivals(DAY, 2))
    assert (first, second) == (1, 2)
    assert store.version("core_arrivals") == 2
    old = pl.read_delta(store.uri("core_arrivals"), version=first)
    assert_frame_equal(old.sort("second"), arrivals(DAY, 5))


def test_empty_frame_empties_the_day(store):
    store.write_day("core_arrivals", DAY, arrivals(DAY, 5))
    store.write_day("core_arrivals", NEXT_DAY, arrivals(NEXT_DAY, 1))
    store.write_day("core_arrivals", DAY, arrivals(DAY, 0))
    assert store.days("core_arrivals") == [NEXT_DAY]


def test_empty_frame_on_first_use(store):
    store.write_day("core_arrivals", DAY, arrivals(DAY, 0))
    assert store.days("core_arrivals") == []
    assert store.read("core_arrivals").collect().schema == CORE_ARRIVALS.schema


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda f: f.with_columns(pl.col("second").cast(pl.Int64)), "second is Int64, declared Int32"),
        (lambda f: f.with_columns(pl.col("requests").cast(pl.Float64) + 0.5), "requests is Float64, declared Int64"),
        (lambda f: f.drop("fleet"), "fleet is missing"),
        (lambda f: f.with_columns(model=pl.lit("x")), "model is not declared"),
        (lambda f: f.select(reversed(f.columns)), "columns are in the order"),
    ],
)
def test_another_schema_is_refused_before_anything_is_written(store, change, named):
    store.write_day("core_arrivals", DAY, arrivals(DAY, 5))
    with pytest.raises(SchemaMismatchError, match=named):
        store.write_day("core_arrivals", DAY, change(arrivals(DAY, 2)))
    assert store.version("core_arrivals") == 1
    assert store.read("core_arrivals").collect().height == 5


def test_rows_of_another_day_are_refused_before_anything_is_written(store):
    with pytest.raises(WrongDayError, match="3 rows are of other days than 2026-01-05"):
        store.write_day("core_arrivals", DAY, pl.concat([arrivals(DAY, 1), arrivals(NEXT_DAY, 3)]))
    assert store.version("core_arrivals") is None


def test_a_table_of_another_release_is_not_read(store, monkeypatch):
    store.write_day("core_arrivals", DAY, arrivals(DAY, 1))
    renamed = CORE_ARRIVALS.columns[:-1]
    other = type(CORE_ARRIVALS)(CORE_ARRIVALS.name, "", renamed, CORE_ARRIVALS.key)
    monkeypatch.setitem(__import__("fleetopt.schemas", fromlist=["TABLES"]).TABLES, "core_arrivals", other)
    assert store.differences("core_arrivals") == ["requests is not declared"]
    with pytest.raises(SchemaMismatchError, match="the stored table"):
        store.read("core_arrivals")


def test_range_replaces_all_its_days_in_one_commit(store):
    store.write_day("core_arrivals", DAY, arrivals(DAY, 5))
    version = store.write_days("core_arrivals", DAY, NEXT_DAY, arrivals(NEXT_DAY, 2))
    assert version == 2
    assert store.days("core_arrivals") == [NEXT_DAY]


def test_withdraw_takes_the_day_out_of_the_tables_that_hold_it(store):
    store.write_day("core_arrivals", DAY, arrivals(DAY, 5))
    store.write_day("core_arrivals", NEXT_DAY, arrivals(NEXT_DAY, 5))
    assert store.withdraw(["core_arrivals", "core_requests"], DAY) == ["core_arrivals"]
    assert store.days("core_arrivals") == [NEXT_DAY]
    assert store.withdraw(["core_arrivals"], DAY) == []
    assert store.version("core_requests") is None


def test_schema_differences_are_empty_only_for_equal_schemas():
    assert schema_differences(CORE_ARRIVALS.schema, CORE_ARRIVALS.schema) == []


def test_unknown_table_is_an_error(store):
    with pytest.raises(KeyError, match="no table 'core_arrival'"):
        store.read("core_arrival")
