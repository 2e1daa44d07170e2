"""Out layer, first half: what the window of days says of lengths and rates."""

from typing import Any

import dagster as dg
import polars as pl

from assets.layers import OUT, WRITE_RETRY
from assets.metadata import OWNERS, column_lineage, copied_from, table_metadata
from assets.partitions import Calendar, partition_day
from assets.window import fleets_in, read_window
from fleetopt.schemas import OUT_LENGTH_CDF, OUT_WORKLOAD_PROFILE
from fleetopt.workload.profile import length_cdf_rows, workload_profile_rows

_CDF_LINEAGE = column_lineage(
    copied_from("core_length_histogram", "fleet", "archetype")
    | {
        "tokens": [("core_length_histogram", "prompt_tokens_lo"), ("core_length_histogram", "output_tokens_lo")],
        "fraction": [("core_length_histogram", "requests")],
    }
)
_PROFILE_LINEAGE = column_lineage(
    copied_from("core_arrivals", "fleet", "archetype")
    | {
        "peak_rate_rps": [("core_arrivals", "requests"), ("core_arrivals", "second")],
        "prompt_tokens_mean": [("core_length_histogram", "prompt_tokens_sum")],
        "output_tokens_mean": [("core_length_histogram", "output_tokens_sum")],
    }
)


def build_workload_assets(calendar: Calendar) -> list[dg.AssetsDefinition]:
    """Define the assets that describe the window."""
    common: dict[str, Any] = {
        "partitions_def": calendar.daily,
        "group_name": OUT,
        "owners": OWNERS,
        "kinds": {"polars", "deltalake"},
        "code_version": "1",
        "retry_policy": WRITE_RETRY,
        "io_manager_key": "io_manager",
        "required_resource_keys": {"settings"},
    }
    histogram = dg.AssetIn("core_length_histogram", partition_mapping=calendar.window)
    arrivals = dg.AssetIn("core_arrivals", partition_mapping=calendar.window)

    @dg.asset(
        **common,
        ins={"core_length_histogram": histogram},
        description=OUT_LENGTH_CDF.description,
        metadata=table_metadata("out_length_cdf", _CDF_LINEAGE),
    )
    def out_length_cdf(context: dg.AssetExecutionContext, core_length_histogram: pl.LazyFrame) -> pl.DataFrame:
        config, day = context.resources.settings.config, partition_day(context)
        fleets = fleets_in(core_length_histogram.collect(), day, config)
        return pl.concat(
            [
                length_cdf_rows(rows, read_window(rows, day, config.pipeline), fleet, config.pipeline.seed)
                for fleet, rows in fleets.items()
            ]
        )

    @dg.asset(
        **common,
        ins={"core_length_histogram": histogram, "core_arrivals": arrivals},
        description=OUT_WORKLOAD_PROFILE.description,
        metadata=table_metadata("out_workload_profile", _PROFILE_LINEAGE),
    )
    def out_workload_profile(
        context: dg.AssetExecutionContext, core_length_histogram: pl.LazyFrame, core_arrivals: pl.LazyFrame
    ) -> pl.DataFrame:
        config, day = context.resources.settings.config, partition_day(context)
        counts = core_arrivals.collect()
        return pl.concat(
            [
                workload_profile_rows(
                    rows,
                    counts.filter(pl.col("fleet") == fleet),
                    read_window(rows, day, config.pipeline),
                    fleet,
                    config.fleet[fleet].peak,
                )
                for fleet, rows in fleets_in(core_length_histogram.collect(), day, config).items()
            ]
        )

    return [out_length_cdf, out_workload_profile]
