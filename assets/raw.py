"""Raw layer: the records of a day, parsed, each with its place in its file."""

from datetime import date
from typing import Any

import dagster as dg

from assets.layers import RAW, READ_RETRY, full_disk_is_final
from assets.metadata import OWNERS, table_metadata
from assets.partitions import Calendar, partition_day
from fleetopt.config import Source
from fleetopt.errors import InputError
from fleetopt.schemas import RAW_REQUESTS

CODE_VERSION = "2"
"""Part of every raw file's id: a change of the parsing code that changes its result must change this too."""


def build_raw_assets(calendar: Calendar) -> list[dg.AssetsDefinition]:
    """Define the raw layer."""

    @dg.asset(
        partitions_def=calendar.daily,
        group_name=RAW,
        owners=OWNERS,
        kinds={"polars", "parquet"},
        code_version=CODE_VERSION,
        retry_policy=READ_RETRY,
        required_resource_keys={"landing"},
        description=RAW_REQUESTS.description,
        metadata=table_metadata("raw_requests"),
    )
    def raw_requests(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        day = partition_day(context)
        landing = context.resources.landing
        pointers = {}
        for name, source in landing.sources.items():
            try:
                with full_disk_is_final():
                    pointers[name] = landing.ingest(name, day, CODE_VERSION)
            except InputError as error:
                raise _unreadable(error, day, source) from error
        return dg.MaterializeResult(
            data_version=dg.DataVersion("-".join(pointer.state for pointer in pointers.values())),
            metadata=_metadata(pointers),
        )

    return [raw_requests]


def _unreadable(error: InputError, day: date, source: Source) -> dg.Failure:
    """Fail the run; core keeps what it holds, since nothing is known of what the landing place holds now.

    A place on the network may answer the next time; a disk will not.
    """
    summary = f"{day}: {error}"
    return dg.Failure(description=summary, metadata={"summary": summary}, allow_retries="://" in source.path)


def _metadata(pointers: dict[str, Any]) -> dict[str, Any]:
    lines = {name: pointer.lines for name, pointer in pointers.items()}
    return {
        "rows": sum(lines.values()),
        "dagster/partition_row_count": sum(lines.values()),
        "lines_by_source": dg.MetadataValue.json(lines),
        "files_by_source": dg.MetadataValue.json(
            {name: [state.file for state in pointer.files] for name, pointer in pointers.items()}
        ),
    }
