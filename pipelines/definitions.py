"""What Dagster loads: the definitions for the configuration that the environment names."""

from pipelines.build import build_defs
from pipelines.resources.settings import settings_from_environment

defs = build_defs(settings_from_environment())
