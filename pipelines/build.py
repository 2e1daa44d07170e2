"""Assembly: settings in, definitions out. Tests and commands build their own; nothing is wired at import."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.checks import build_checks
from assets.core import build_core_assets
from assets.docs import build_docs_assets
from assets.partitions import Calendar
from assets.planning import build_planning_assets
from assets.published import build_published_assets
from assets.raw import build_raw_assets
from assets.reports import build_report_assets
from assets.staging import build_staging_assets
from assets.workload import build_workload_assets
from pipelines.jobs import JOBS
from pipelines.resources.data_docs import DataDocs
from pipelines.resources.io_manager import DeltaIOManager
from pipelines.resources.provenance import Provenance
from pipelines.resources.raw_files import RawFiles
from pipelines.resources.settings import Settings
from pipelines.resources.sources import Landing
from pipelines.resources.tables import TableStore
from pipelines.resources.validation import Validator
from pipelines.schedules import SCHEDULES
from pipelines.sensors import SENSORS


def build_defs(
    settings: Settings,
    *,
    resource_overrides: Mapping[str, Any] | None = None,
    loggers: Mapping[str, dg.LoggerDefinition] | None = None,
) -> dg.Definitions:
    """Assemble the project for one configuration and one data directory.

    Parameters
    ----------
    settings : Settings
    resource_overrides : mapping, optional
        Resources that replace those of the same name.
    loggers : mapping, optional
        Where runs write their messages; default: Dagster's console logger.

    Notes
    -----
    Steps run in the process of their run: Polars must not be forked, and a process per step would import and compile
    everything again.
    """
    calendar = Calendar(settings.config.pipeline.first_day, settings.config.pipeline.window_days)
    return dg.Definitions(
        assets=[
            *build_raw_assets(calendar),
            *build_staging_assets(calendar),
            *build_core_assets(calendar),
            *build_workload_assets(calendar),
            *build_planning_assets(calendar),
            *build_report_assets(calendar),
            *build_published_assets(calendar),
            *build_docs_assets(),
        ],
        asset_checks=build_checks(calendar),
        jobs=JOBS,
        schedules=SCHEDULES,
        sensors=SENSORS,
        resources={**build_resources(settings), **(resource_overrides or {})},
        executor=dg.in_process_executor,
        loggers=loggers,
    )


def build_resources(settings: Settings) -> dict[str, Any]:
    """Build what assets, checks and sensors reach through ``context.resources``."""
    tables = TableStore(settings.tables_root)
    return {
        "settings": settings,
        "tables": tables,
        "io_manager": DeltaIOManager(tables),
        "landing": Landing(settings, RawFiles(settings.paths.raw)),
        "validator": Validator(),
        "data_docs": DataDocs(settings.paths.expectations),
        "provenance": Provenance(tables),
    }
