"""Staging layer: typed requests, each record once, those that no GPU served, unusable records, and their balance."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from assets.frozen import mark_withdrawn
from assets.layers import CORE_TABLES, PLAN_TABLES, STAGING, WRITE_RETRY, full_disk_is_final
from assets.metadata import OWNERS, column_lineage, copied_from, table_metadata, written_metadata
from assets.partitions import Calendar, partition_day
from fleetopt.config import Source
from fleetopt.ingest.background import one_ahead
from fleetopt.ingest.formats.user import log_format_of
from fleetopt.ingest.quality import QualityCount
from fleetopt.ingest.staging import Staged, quarantine_rows, stage
from fleetopt.schemas import OBSERVED, QUARANTINED_REQUESTS, STG_QUALITY, STG_REQUESTS, TABLES, UNSERVED_REQUESTS

_ROW_TABLES = ("stg_requests", "unserved_requests", "quarantined_requests")


_PLACE = ("day", "source", "file", "line_number", "record_number")
_OBSERVED = tuple(column.name for column in OBSERVED)
_REQUEST = copied_from("raw_requests", *_PLACE, "arrival_time", "prompt_tokens", "output_tokens", *_OBSERVED)
_LABELS = {"fleet": [("raw_requests", "source")], "archetype": [("raw_requests", n) for n in ("source", "archetype")]}
_REPEATS = [("raw_requests", name) for name in ("key_hi", "key_lo", "has_id", "arrival_time", "reason")]
_OUTCOMES = ("failed", "aborted", "cache_hits", "other_models")
_LENGTHS = {
    f"{length}_{found}": [("raw_requests", f"{length}_tokens")]
    for length in ("prompt", "output")
    for found in ("cap_tokens", "capped_fraction")
}

_FROM_RAW = {
    "stg_requests": column_lineage(_REQUEST | _LABELS),
    "unserved_requests": column_lineage(_REQUEST | _LABELS | copied_from("raw_requests", "outcome")),
    "quarantined_requests": column_lineage(
        copied_from("raw_requests", *_PLACE, "byte_offset", "byte_length", "reason", "raw_text")
        | {
            "record_hash": [("raw_requests", "key_hi"), ("raw_requests", "key_lo")],
            "file_hash": [("raw_requests", "file")],
        }
    ),
    "stg_quality": column_lineage(
        copied_from("raw_requests", "day", "source")
        | {
            "files": [("raw_requests", "file")],
            "lines": [("raw_requests", "line_number")],
            "requests": _REPEATS,
            "duplicates": _REPEATS,
            "quarantined": _REPEATS,
            "unusable_lines": [("raw_requests", "reason")],
            "models": [("raw_requests", "model")],
            "finish_times": [("raw_requests", "is_finish_time")],
            "distinct_arrival_times": [("raw_requests", "arrival_time")],
            "time_step_s": [("raw_requests", "arrival_time")],
            "duplicates_expected": [
                ("raw_requests", name) for name in ("arrival_time", "prompt_tokens", "output_tokens")
            ],
        }
        | {name: [("raw_requests", "outcome")] for name in _OUTCOMES}
        | _LENGTHS
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
        required_resource_keys={"landing", "tables", "settings", "provenance"},
    )
    def stage_requests(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        """Part the day's records; before that, withdraw the day and what was concluded from it: it is audited anew."""
        day, tables = partition_day(context), context.resources.tables
        commit = context.resources.provenance.commit_metadata(context.run.run_id)
        tables.withdraw((*CORE_TABLES, *PLAN_TABLES), day, commit)
        mark_withdrawn(context.resources.settings.paths.published, day, datetime.now(UTC).isoformat(timespec="seconds"))
        with full_disk_is_final(), ExitStack() as commits:
            writers = {name: commits.enter_context(tables.day_writer(name, day, commit)) for name in _ROW_TABLES}
            quality = [stage_source(context.resources.landing, name, day, writers) for name in _sources(context)]
        with full_disk_is_final(), tables.day_writer("stg_quality", day, commit) as writers["stg_quality"]:
            writers["stg_quality"].write(pl.concat([STG_QUALITY.schema.to_frame(), *quality]))
        for name, writer in writers.items():
            yield dg.MaterializeResult(
                asset_key=name,
                metadata=written_metadata(name, tables.files.shown(name), writer.rows, writer.version, _FROM_RAW[name]),
            )

    return [stage_requests]


def stage_source(landing: Any, name: str, day: date, writers: Any) -> pl.DataFrame:
    """Write a source's rows of a day, a slice after another, and return its quality row; zeros if it has no records.

    Parameters
    ----------
    landing : Landing
    name : str
        Source.
    day : datetime.date
    writers : mapping
        Table -> what takes its rows.
    """
    source, pointer = landing.sources[name], landing.raw.pointer(name, day)
    hashes = {state.file: state.sha256 for state in pointer.files}
    count = QualityCount()
    slices = stage(
        landing.raw.parts(name, day),
        day,
        horizon_s=source.duplicate_horizon_s,
        before=landing.raw.parts(name, day - timedelta(days=1)),
    )
    for staged in one_ahead(slices):
        count.add(staged)
        for table, rows in table_rows(staged, name, source, day, hashes).items():
            if rows.height:
                writers[table].write(rows)
    return count.row(
        day=day,
        source=name,
        format_name=source.format,
        files=sum(state.rows > 0 for state in pointer.files),
        clock_restarts=sum(state.restarts for state in pointer.files if state.rows),
        landing_digest=pointer.landing_digest,
        fields_absent=_fields_absent(source, pointer.files),
    )


def _fields_absent(source: Source, files: Iterable[Any]) -> str | None:
    """Fields that a source's own mapping declares and that no file of the day has: their paths may be mistyped."""
    read = [state for state in files if state.records]
    if source.mapping is None or not read:
        return None
    held = {name for state in read for name in state.fields.split()}
    return " ".join(name for name in log_format_of(source).mapping.optional_fields() if name not in held) or None


def table_rows(
    staged: Staged, source_name: str, source: Source, day: date, hashes: dict[str, str]
) -> dict[str, pl.DataFrame]:
    """Give the rows of a slice the columns of their tables: fleet, and archetype where their lines name none.

    Parameters
    ----------
    staged : Staged
    source_name, source
        The source and its name in the configuration.
    day : datetime.date
    hashes : dict
        File -> its SHA-256.
    """
    place = {"day": pl.lit(day), "source": pl.lit(source_name)}
    labels = {"fleet": pl.lit(source.fleet), "archetype": pl.col("archetype").fill_null(source.archetype)}
    requests, unserved = (rows.with_columns(**place, **labels) for rows in (staged.requests, staged.unserved))
    quarantined = quarantine_rows(staged.quarantined, hashes).with_columns(**place)
    return {
        "stg_requests": requests.select(STG_REQUESTS.schema.names()),
        "unserved_requests": unserved.select(UNSERVED_REQUESTS.schema.names()),
        "quarantined_requests": quarantined.select(QUARANTINED_REQUESTS.schema.names()),
    }


def _sources(context: dg.AssetExecutionContext) -> list[str]:
    return sorted(context.resources.landing.sources)


def _out(name: str) -> dg.AssetOut:
    return dg.AssetOut(
        dagster_type=dg.Nothing,
        io_manager_key="io_manager",
        description=TABLES[name].description,
        owners=OWNERS,
        kinds={"polars", "deltalake"},
        code_version="2",
        metadata=table_metadata(name, _FROM_RAW[name]),
    )
