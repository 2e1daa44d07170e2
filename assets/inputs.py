"""What a recommendation is computed from, and digests of it, which say whether it is still current."""

import hashlib
import json
from datetime import date, timedelta
from importlib.metadata import version
from typing import Any

import polars as pl

from assets.hardware import fleet_profiles, running_prices
from fleetopt.config import Config
from fleetopt.reporting.document import Document


def input_digests(
    histogram: pl.DataFrame,
    arrivals: pl.DataFrame,
    quality: pl.DataFrame,
    requests: pl.DataFrame,
    settings: Any,
    fleet: str,
) -> dict[str, str]:
    """SHA-256 of the content of all that a fleet's recommendation is computed from, and the release that computes it.

    Parameters
    ----------
    histogram, arrivals, quality, requests : pl.DataFrame
        The fleet's rows: of the window, of the window, of the window, of the day.
    settings : Settings
    fleet : str
    """
    config: Config = settings.config
    declared = config.fleet[fleet]
    profiles = fleet_profiles(declared, fleet, settings.config_path)
    sources = {
        name: source.model_dump(mode="json", exclude={"path"}) for name, source in config.sources_of(fleet).items()
    }
    declaration = {
        "fleet": declared.model_dump(mode="json"),
        "pipeline": config.pipeline.model_dump(mode="json", exclude={"tables"}),
        "profiles": [profile.model_dump() for profile in profiles],
        "running": running_prices(declared, fleet, settings.config_path),
        "sources": sources,
    }
    return {
        "length_histogram": _digest(histogram),
        "arrivals": _digest(arrivals),
        "line_balances": _digest(quality.drop("landing_digest", "files")),
        "requests_of_the_day": _digest(requests),
        "configuration": _text_digest(json.dumps(declaration, sort_keys=True)),
        "fleetopt": version("fleetopt"),
    }


def is_current(document: Document, tables: Any, settings: Any) -> bool:
    """Whether a recommendation was made from the tables and the configuration as they are now."""
    fleet, config = document["fleet"], settings.config
    if fleet not in config.fleet:
        return False
    day = date.fromisoformat(document["day"])
    first_day = day - timedelta(days=config.pipeline.window_days - 1)
    of_fleet, of_sources = pl.col("fleet") == fleet, pl.col("source").is_in(list(config.sources_of(fleet)))
    now = input_digests(
        tables.read("core_length_histogram", first_day, day).filter(of_fleet).collect(),
        tables.read("core_arrivals", first_day, day).filter(of_fleet).collect(),
        tables.read("stg_quality", first_day, day).filter(of_sources).collect(),
        fleet_requests(tables.read("core_requests", day, day).collect(), fleet),
        settings,
        fleet,
    )
    return bool(now == document["inputs"])


def fleet_requests(requests: pl.DataFrame, fleet: str) -> pl.DataFrame:
    """A fleet's rows of ``core_requests``, in order of arrival."""
    return requests.filter(pl.col("fleet") == fleet).sort("arrival_time", "source", "file", "line_number")


def _digest(frame: pl.DataFrame) -> str:
    """SHA-256 of the rows of a table's slice, whatever their order; places of lines in files are not content."""
    content = frame.drop("file", "line_number", strict=False)
    return _text_digest(content.sort(content.columns).write_csv())


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
