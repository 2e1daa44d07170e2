"""The core layer by itself: a staged day is published as it is, and its sums are made from what was published."""

import dagster as dg
import pytest
from polars.testing import assert_frame_equal

from assets.core import build_core_assets
from assets.partitions import Calendar
from fleetopt.schemas import CORE_REQUESTS
from pipelines.resources.io_manager import DeltaIOManager
from pipelines.resources.provenance import Provenance
from pipelines.resources.tables import TableStore
from tests.dagster.test_day_writer import requests, write_in_parts
from tests.dagster.test_tables import DAY, NEXT_DAY

CALENDAR = Calendar(DAY, window_days=2)


@pytest.fixture
def store(tmp_path):
    return TableStore(tmp_path / "tables")


def materialize(store, day):
    resources = {"tables": store, "io_manager": DeltaIOManager(store), "provenance": Provenance(store)}
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [*build_core_assets(CALENDAR), dg.AssetSpec("stg_requests", partitions_def=CALENDAR.daily)],
            partition_key=str(day),
            resources=resources,
            instance=instance,
        )


def test_a_staged_day_is_published_and_summed(store):
    write_in_parts(store, [30, 20])
    result = materialize(store, DAY)
    assert result.success
    assert_frame_equal(store.read("core_requests").collect(), store.read("stg_requests").collect())
    assert store.read("core_length_histogram", DAY, DAY).collect()["requests"].sum() == 50
    assert store.read("core_arrivals", DAY, DAY).collect()["second"].to_list() == list(range(50))
    metadata = result.asset_materializations_for_node("core_requests")[0].metadata
    assert metadata["rows"].value == metadata["dagster/partition_row_count"].value == 50
    assert metadata["delta_version"].value == store.version("core_requests")
    assert metadata["dagster/uri"].value.endswith("/tables/core_requests")
    assert [column.name for column in metadata["dagster/column_schema"].schema.columns] == CORE_REQUESTS.schema.names()
    assert "arrival_time" in metadata["dagster/column_lineage"].lineage.deps_by_column


def test_a_staged_day_without_requests_empties_the_day_in_core(store):
    store.write_day("stg_requests", DAY, requests(3))
    materialize(store, DAY)
    store.write_day("stg_requests", DAY, requests(0))
    assert materialize(store, DAY).success
    assert materialize(store, NEXT_DAY).success
    assert [store.days(table) for table in ("core_requests", "core_arrivals", "core_length_histogram")] == [[], [], []]
