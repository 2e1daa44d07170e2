"""Published layer: the frozen files that procurement reads, one directory per version, never overwritten."""

import json
import shutil
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import polars as pl

from assets.layers import PUBLISHED, WRITE_RETRY
from assets.metadata import OWNERS
from assets.partitions import Calendar, partition_day
from fleetopt.reporting.document import Document
from fleetopt.reporting.feed import feed_files

_INPUT_TABLES = ("core_requests", "core_length_histogram", "core_arrivals", "stg_quality", "out_fleet_recommendation")


class PublishedVersionChangedError(Exception):
    """A frozen file is not what was published; somebody changed it, and it is not overwritten."""


def build_published_assets(calendar: Calendar) -> list[dg.AssetsDefinition]:
    """Define the published layer."""

    @dg.asset(
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
        side = context.resources.provenance.describe(_INPUT_TABLES) | {
            "dagster_run_id": context.run.run_id,
            "published_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        directories = []
        for text in out_fleet_recommendation.collect()["document"]:
            document = json.loads(text)
            directory = version_directory(root, document["fleet"], day, document["version"])
            publish(directory, document, side)
            mark_superseded(directory, side["published_at"])
            directories.append(directory)
        return dg.MaterializeResult(metadata={directory.parts[-3]: str(directory) for directory in directories})

    return [procurement_feed]


def version_directory(root: Path, fleet: str, day: date, version: str) -> Path:
    """Where the files of a version are."""
    return root / fleet / day.isoformat() / version


def publish(directory: Path, document: Document, side: dict[str, Any]) -> None:
    """Write the files of a version, all at once; a version that is there already stays as it is.

    Raises
    ------
    PublishedVersionChangedError
        A file of the version is there and differs.
    """
    files = feed_files(document)
    if directory.exists():
        for name, content in files.items():
            if (directory / name).read_bytes() != content:
                raise PublishedVersionChangedError(
                    f"{directory / name}: differs from what version {document['version']} published; frozen files are "
                    "never overwritten: restore it or move the directory away"
                )
        return
    temporary = directory.with_name(f".{directory.name}.{uuid4().hex}")
    temporary.mkdir(parents=True)
    try:
        for name, content in files.items():
            (temporary / name).write_bytes(content)
        (temporary / "provenance.json").write_text(json.dumps(side, indent=2, sort_keys=True) + "\n", "utf-8")
        temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def mark_superseded(directory: Path, at: str) -> None:
    """Mark the other versions of the same fleet and day as replaced by this one, and this one as standing."""
    _mark(directory).unlink(missing_ok=True)
    for other in sorted(directory.parent.iterdir()):
        if not other.is_dir() or other.name.startswith(".") or other == directory or _mark(other).exists():
            continue
        notice = {
            "version": other.name,
            "superseded_by": directory.name,
            "reason": "the day was planned again from other inputs",
            "at": at,
        }
        _mark(other).write_text(json.dumps(notice, indent=2, sort_keys=True) + "\n", "utf-8")


def _mark(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.superseded.json")
