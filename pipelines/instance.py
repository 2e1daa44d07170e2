"""The Dagster instance of a data directory: what ``dagster.yaml`` describes, with its storage in that directory."""

import json
import os

import dagster as dg

from assets.files import write_atomically
from pipelines.resources.paths import PROJECT_ROOT
from pipelines.resources.settings import Settings

_DEFAULT_STORAGE = "base_dir: data/dagster\n"


def instance_environment(settings: Settings) -> dict[str, str]:
    """Put ``dagster.yaml``, with absolute paths, into the data directory and return the environment that points to it.

    For any process that runs Dagster over these settings: web server, daemon, runs.
    """
    described = (PROJECT_ROOT / "dagster.yaml").read_text(encoding="utf-8")
    storage = f"base_dir: {json.dumps(str(settings.paths.dagster))}\n"
    write_atomically(settings.paths.dagster / "dagster.yaml", described.replace(_DEFAULT_STORAGE, storage).encode())
    return {
        "DAGSTER_HOME": str(settings.paths.dagster),
        "FLEETOPT_CONFIG": str(settings.config_path),
        "FLEETOPT_DATA": str(settings.data_dir),
    }


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """Open the instance of the settings' data directory; use it as a context manager.

    A web server over the same data directory shows what is run in it.
    """
    os.environ.update(instance_environment(settings))
    return dg.DagsterInstance.from_config(str(settings.paths.dagster))
