"""The IO manager: outputs write their partition, inputs are windows of days as one lazy frame."""

from datetime import timedelta

import dagster as dg
import polars as pl
import pytest

from assets.partitions import Calendar
from fleetopt.schemas import CORE_ARRIVALS
from pipelines.resources.io_manager import DeltaIOManager
from pipelines.resources.tables import SchemaMismatchError, TableStore
from tests.dagster.project import DAYS, FIRST_DAY
from tests.dagster.test_tables import arrivals

CALENDAR = Calendar(FIRST_DAY, window_days=2)


@pytest.fixture
def store(tmp_path):
    return TableStore(tmp_path / "tables")


@dg.asset(partitions_def=CALENDAR.daily, io_manager_key="io_manager")
def core_arrivals(context: dg.AssetExecutionContext) -> pl.LazyFrame:
    return pl.concat([arrivals(day, 3) for day in DAYS if str(day) in context.partition_keys]).lazy()


def run(store, partition_keys, *consumers):
    with dg.DagsterInstance.ephemeral() as instance:
        for key in partition_keys:
            result = dg.materialize(
                [core_arrivals, *consumers],
                partition_key=key,
                resources={"io_manager": DeltaIOManager(store)},
                instance=instance,
            )
        return result


def test_output_writes_its_day_and_tells_what_it_wrote(store):
    result = run(store, [str(DAYS[0])])
    metadata = result.asset_materializations_for_node("core_arrivals")[0].metadata
    assert store.days("core_arrivals") == [DAYS[0]]
    assert metadata["dagster/partition_row_count"].value == 3
    assert metadata["delta_version"].value == store.version("core_arrivals")
    assert metadata["dagster/uri"].value.endswith("/tables/core_arrivals")
    columns = metadata["dagster/column_schema"].schema.columns
    assert [column.name for column in columns] == CORE_ARRIVALS.schema.names()


def test_input_window_is_one_lazy_frame_of_its_days(store):
    seen = {}

    @dg.asset(partitions_def=CALENDAR.daily, ins={"core_arrivals": dg.AssetIn(partition_mapping=CALENDAR.window)})
    def consumer(context: dg.AssetExecutionContext, core_arrivals: pl.LazyFrame) -> None:
        seen[context.partition_key] = sorted(core_arrivals.collect()["day"].unique())

    run(store, [str(day) for day in DAYS], consumer)
    assert seen == {str(DAYS[0]): DAYS[:1], str(DAYS[1]): DAYS[:2], str(DAYS[2]): DAYS[1:]}


def test_window_leaves_out_days_that_were_never_written(store):
    store.write_day("core_arrivals", DAYS[2], arrivals(DAYS[2], 1))
    context = dg.build_input_context(
        asset_key=dg.AssetKey("core_arrivals"),
        partition_key=str(DAYS[2]),
        asset_partition_key_range=dg.PartitionKeyRange(str(DAYS[2] - timedelta(days=1)), str(DAYS[2])),
        asset_partitions_def=CALENDAR.daily,
    )
    frame = DeltaIOManager(store).load_input(context)
    assert isinstance(frame, pl.LazyFrame)
    assert frame.collect()["day"].to_list() == [DAYS[2]]


def test_a_run_over_a_range_replaces_the_range_at_once(store):
    job = dg.Definitions(
        assets=[core_arrivals], resources={"io_manager": DeltaIOManager(store)}, jobs=[dg.define_asset_job("all_days")]
    ).resolve_job_def("all_days")
    with dg.DagsterInstance.ephemeral() as instance:
        job.execute_in_process(
            instance=instance,
            tags={
                "dagster/asset_partition_range_start": str(DAYS[0]),
                "dagster/asset_partition_range_end": str(DAYS[2]),
            },
        )
    assert store.days("core_arrivals") == DAYS
    assert store.version("core_arrivals") == 1


def test_schema_drift_fails_the_step_and_writes_nothing(store):
    context = dg.build_output_context(
        asset_key=dg.AssetKey("core_arrivals"),
        asset_partitions_def=CALENDAR.daily,
        partition_key=str(DAYS[0]),
        run_id="run",
    )
    with pytest.raises(SchemaMismatchError, match="second is Int64"):
        DeltaIOManager(store).handle_output(context, arrivals(DAYS[0], 1).with_columns(pl.col("second").cast(pl.Int64)))
    assert store.version("core_arrivals") is None
