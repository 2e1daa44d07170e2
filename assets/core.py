"""Core layer: the days that passed their audit, and the sums over them that everything later reads."""

from datetime import timedelta
from typing import Any

import dagster as dg
import polars as pl

from assets.layers import CORE, WRITE_RETRY
from assets.metadata import OWNERS, column_lineage, copied_from, table_metadata, written_metadata
from assets.partitions import Calendar, partition_day
from fleetopt.schemas import CORE_ARRIVALS, CORE_LENGTH_HISTOGRAM, CORE_REQUESTS
from fleetopt.workload.histogram import arrivals_per_second, length_histogram

NIGHT_IS_LATE = dg.FreshnessPolicy.cron(deadline_cron="0 6 * * *", lower_bound_delta=timedelta(hours=3))
"""The nightly run starts at 03:00 UTC; at 06:00 its day must be in core."""

_REQUESTS_LINEAGE = column_lineage(copied_from("stg_requests", *CORE_REQUESTS.schema))
_HISTOGRAM_LINEAGE = column_lineage(
    copied_from("core_requests", "day", "fleet", "archetype")
    | {
        "hour": [("core_requests", "arrival_time")],
        "prompt_tokens_lo": [("core_requests", "prompt_tokens")],
        "output_tokens_lo": [("core_requests", "output_tokens")],
        "prompt_tokens_sum": [("core_requests", "prompt_tokens")],
        "output_tokens_sum": [("core_requests", "output_tokens")],
    }
)
_ARRIVALS_LINEAGE = column_lineage(
    copied_from("core_requests", "day", "fleet", "archetype", "source")
    | {"second": [("core_requests", "arrival_time")]}
)


def build_core_assets(calendar: Calendar) -> list[dg.AssetsDefinition]:
    """Define the core layer."""
    common: dict[str, Any] = {
        "partitions_def": calendar.daily,
        "group_name": CORE,
        "owners": OWNERS,
        "kinds": {"polars", "deltalake"},
        "code_version": "1",
        "retry_policy": WRITE_RETRY,
        "io_manager_key": "io_manager",
    }

    @dg.asset(
        **common,
        description=CORE_REQUESTS.description,
        metadata=table_metadata("core_requests", _REQUESTS_LINEAGE),
        freshness_policy=NIGHT_IS_LATE,
        deps=["stg_requests"],
        required_resource_keys={"tables", "provenance"},
    )
    def core_requests(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        day, tables = partition_day(context), context.resources.tables
        commit = context.resources.provenance.commit_metadata(context.run.run_id)
        version = tables.publish_day("stg_requests", "core_requests", day, commit)
        rows = tables.rows("core_requests", day)
        uri = tables.files.shown("core_requests")
        return dg.MaterializeResult(metadata=written_metadata("core_requests", uri, rows, version, _REQUESTS_LINEAGE))

    @dg.asset(
        **common,
        description=CORE_LENGTH_HISTOGRAM.description,
        metadata=table_metadata("core_length_histogram", _HISTOGRAM_LINEAGE),
    )
    def core_length_histogram(core_requests: pl.LazyFrame) -> pl.DataFrame:
        return length_histogram(core_requests)

    @dg.asset(
        **common,
        description=CORE_ARRIVALS.description,
        metadata=table_metadata("core_arrivals", _ARRIVALS_LINEAGE),
    )
    def core_arrivals(core_requests: pl.LazyFrame) -> pl.DataFrame:
        return arrivals_per_second(core_requests)

    return [core_requests, core_length_histogram, core_arrivals]
