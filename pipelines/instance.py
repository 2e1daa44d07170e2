"""The Dagster instance of a data directory, as ``dagster.yaml`` describes it."""

import os
from pathlib import Path

import dagster as dg

from pipelines.resources.paths import PROJECT_ROOT
from pipelines.resources.settings import Settings


def instance_environment(settings: Settings) -> dict[str, str]:
    """Environment of a process that Dagster starts for these settings: web server, daemon, runs."""
    return {
        "DAGSTER_HOME": str(PROJECT_ROOT),
        "FLEETOPT_DAGSTER_DIR": str(settings.paths.dagster),
        "FLEETOPT_CONFIG": str(settings.config_path),
        "FLEETOPT_DATA": str(settings.data_dir),
    }


def open_instance(settings: Settings, config_dir: Path = PROJECT_ROOT) -> dg.DagsterInstance:
    """Open the instance whose storage is in the settings' data directory; use it as a context manager.

    The web server over the same data directory shows what is run in it.
    """
    settings.paths.dagster.mkdir(parents=True, exist_ok=True)
    os.environ.update(instance_environment(settings))
    return dg.DagsterInstance.from_config(str(config_dir))
