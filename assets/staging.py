"""Staging layer: typed requests, each record once, the lines that could not be used, and the balance of both."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import polars as pl

from assets.frozen import mark_withdrawn
from assets.layers import CORE_TABLES, PLAN_TABLES, STAGING, WRITE_RETRY
from assets.metadata import OWNERS, column_lineage, copied_from, table_metadata
from assets.partitions import Calendar, partition_day
from fleetopt.config import Source
from fleetopt.ingest.landing import split_requests
from fleetopt.schemas import QUARANTINED_REQUESTS, STG_QUALITY, STG_REQUESTS, TABLES

_FROM_RAW = {
    "stg_requests": column_lineage(
        copied_from(
            "raw_requests",
            "day",
            "source",
            "arrival_time",
            "prompt_tokens",
            "output_tokens",
            "ttft_s",
            "file",
            "line_number",
        )
        | {"fleet": [("raw_requests", "source")], "archetype": [("raw_requests", "source")]}
    ),
    "quarantined_requests": column_lineage(copied_from("raw_requests", *QUARANTINED_REQUESTS.schema)),
    "stg_quality": column_lineage(
        copied_from("raw_requests", "day", "source")
        | {
            "files": [("raw_requests", "file")],
            "lines": [("raw_requests", "line_number")],
            "requests": [("raw_requests", "record_hash"), ("raw_requests", "reason")],
            "duplicates": [("raw_requests", "record_hash"), ("raw_requests", "reason")],
            "quarantined": [("raw_requests", "reason")],
            "distinct_arrival_times": [("raw_requests", "arrival_time")],
        }
    ),
}


def build_staging_assets(calendar: Calendar) -> list[dg.AssetsDefinition]:
    """Define the staging layer."""

    @dg.multi_asset(
        name="stage_requests",
        outs={name: _out(name) for name in _FROM_RAW},
        deps=["raw_requests"],
        partitions_def=calendar.daily,
        group_name=STAGING,
        retry_policy=WRITE_RETRY,
        required_resource_keys={"landing", "tables", "settings"},
    )
    def stage_requests(context: dg.AssetExecutionContext) -> Iterator[dg.Output[pl.DataFrame]]:
        """Split the day's lines; before that, withdraw the day and what was concluded from it: it is audited anew."""
        day = partition_day(context)
        landing = context.resources.landing
        context.resources.tables.withdraw((*CORE_TABLES, *PLAN_TABLES), day, {"dagster_run_id": context.run.run_id})
        mark_withdrawn(context.resources.settings.paths.published, day, datetime.now(UTC).isoformat(timespec="seconds"))
        lines = pl.concat([landing.raw.read(name, day) for name in landing.sources]).collect()
        requests, _, quarantined = split_requests(lines)
        pointers = {name: landing.raw.pointer(name, day) for name in landing.sources}
        yield dg.Output(stg_requests_frame(requests, landing.sources), "stg_requests")
        yield dg.Output(quarantined.select(QUARANTINED_REQUESTS.schema.names()), "quarantined_requests")
        yield dg.Output(stg_quality_frame(lines, requests, landing.sources, pointers, day), "stg_quality")

    return [stage_requests]


def stg_requests_frame(requests: pl.DataFrame, sources: Mapping[str, Source]) -> pl.DataFrame:
    """Give requests the fleet and archetype of their source, in order of arrival."""
    labelled = requests.with_columns(
        fleet=pl.col("source").replace_strict({n: s.fleet for n, s in sources.items()}, return_dtype=pl.String),
        archetype=pl.col("source").replace_strict({n: s.archetype for n, s in sources.items()}, return_dtype=pl.String),
    )
    return labelled.select(STG_REQUESTS.schema.names()).sort("arrival_time", *STG_REQUESTS.key)


def stg_quality_frame(
    lines: pl.DataFrame, requests: pl.DataFrame, sources: Mapping[str, Source], pointers: Mapping[str, Any], day: Any
) -> pl.DataFrame:
    """Count, per declared source, how the day's lines were used; a source without lines has a row of zeros."""
    declared = pl.DataFrame(
        [
            {"day": day, "source": name, "format": source.format, "landing_digest": pointers[name].landing_digest}
            for name, source in sources.items()
        ],
        schema={name: STG_QUALITY.schema[name] for name in ("day", "source", "format", "landing_digest")},
    )
    usable = pl.col("reason").is_null()
    counted = lines.group_by("source").agg(
        files=pl.col("file").n_unique(),
        lines=pl.len(),
        quarantined=(~usable).sum(),
        usable=usable.sum(),
    )
    kept = requests.group_by("source").agg(requests=pl.len(), distinct_arrival_times=pl.col("arrival_time").n_unique())
    counts = pl.selectors.by_dtype(pl.UInt32).fill_null(0).cast(pl.Int64)
    return (
        declared.join(counted, on="source", how="left")
        .join(kept, on="source", how="left")
        .with_columns(counts)
        .with_columns(duplicates=pl.col("usable") - pl.col("requests"))
        .select(STG_QUALITY.schema.names())
        .sort("source")
    )


def _out(name: str) -> dg.AssetOut:
    return dg.AssetOut(
        io_manager_key="io_manager",
        description=TABLES[name].description,
        owners=OWNERS,
        kinds={"polars", "deltalake"},
        code_version="1",
        metadata=table_metadata(name, _FROM_RAW[name]),
    )
