"""Published layer: the frozen files that procurement reads, one directory per version, never overwritten."""

import json
from datetime import UTC, datetime

import dagster as dg
import polars as pl

from assets.frozen import mark_superseded, publish, version_directory
from assets.layers import PROVENANCE_TABLES, PUBLISHED, WRITE_RETRY
from assets.metadata import OWNERS
from assets.partitions import Calendar, partition_day
from assets.planning import latest_document
from fleetopt.reporting.differences import difference_to_previous


def build_published_assets(calendar: Calendar) -> list[dg.AssetsDefinition]:
    """Define the published layer."""

    @dg.asset(
        # Their blocking checks stand between the evidence and the files.
        deps=["out_length_cdf", "out_workload_profile", "out_simulation_summary"],
        partitions_def=calendar.daily,
        group_name=PUBLISHED,
        owners=[*OWNERS, "team:procurement"],
        kinds={"csv", "json", "parquet"},
        code_version="1",
        retry_policy=WRITE_RETRY,
        required_resource_keys={"settings", "tables", "provenance"},
        description="Frozen recommendation per fleet, day and version: CSV, JSON and Parquet with a JSON Schema, and a "
        "side file that says when and from what it was made. A version that a later one of the same day replaces is "
        "marked in a file of its own.",
    )
    def procurement_feed(
        context: dg.AssetExecutionContext, out_fleet_recommendation: pl.LazyFrame
    ) -> dg.MaterializeResult[None]:
        day = partition_day(context)
        root = context.resources.settings.paths.published
        side = context.resources.provenance.describe(PROVENANCE_TABLES) | {
            "dagster_run_id": context.run.run_id,
            "published_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        directories = []
        for text in out_fleet_recommendation.collect()["document"]:
            document = json.loads(text)
            directory = version_directory(root, document["fleet"], day, document["version"])
            earlier = latest_document(context.resources.tables, document["fleet"], before=day)
            difference = difference_to_previous(document, earlier)
            publish(directory, document, side | {"difference_to_previous": difference})
            mark_superseded(directory, side["published_at"])
            directories.append(directory)
        return dg.MaterializeResult(metadata={directory.parts[-3]: str(directory) for directory in directories})

    return [procurement_feed]
