"""Jobs: selections of assets, nothing else."""

import dagster as dg

from assets.layers import CORE, RAW, STAGING

MAX_RUNTIME = {"dagster/max_runtime": 4 * 60 * 60}
"""Seconds. A run that hangs is ended by run monitoring, long before the next night."""

_NIGHT_WATCH_CHECKS = dg.AssetSelection.checks(
    dg.AssetCheckKey(asset_key=dg.AssetKey("core_requests"), name="yesterday_is_in_core")
)

ingest_day = dg.define_asset_job(
    "ingest_day",
    selection=dg.AssetSelection.groups(RAW, STAGING, CORE) - _NIGHT_WATCH_CHECKS,
    description="A day from its landing files to core and its histograms, with its audit. What backfills run.",
    tags=MAX_RUNTIME,
)

nightly = dg.define_asset_job(
    "nightly",
    selection=dg.AssetSelection.all() - _NIGHT_WATCH_CHECKS,
    description="Everything: a day into core, then the plan, its simulation, the report and the procurement files.",
    tags=MAX_RUNTIME,
)

night_watch = dg.define_asset_job(
    "night_watch",
    selection=_NIGHT_WATCH_CHECKS,
    description="Looks whether yesterday is in core.",
)

JOBS = [ingest_day, nightly, night_watch]
