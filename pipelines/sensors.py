"""Sensors: what starts a job because something has happened."""

from collections.abc import Iterator

import dagster as dg

from pipelines.jobs import ingest_day


@dg.sensor(
    name="late_files",
    job=ingest_day,
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    required_resource_keys={"landing", "settings"},
    description="Ingests a day of the window again when its landing files are no longer those that it was made from.",
)
def late_files(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Compare names, sizes and times of change of the landing files with what the raw layer was read from.

    Only days that were ingested before are looked at, the latest ``window_days`` of them: the first ingestion of a day
    is the schedule's work, or a backfill's. The run key holds the state of the files, so a state that fails its audit
    is tried once.
    """
    landing = context.resources.landing
    window_days = context.resources.settings.config.pipeline.window_days
    changed = {day: landing.changed_state(day) for day in landing.ingested_days()[-window_days:]}
    requests = [
        dg.RunRequest(partition_key=day.isoformat(), run_key=f"{day}:{state}")
        for day, state in changed.items()
        if state
    ]
    if requests:
        yield from requests
    else:
        yield dg.SkipReason(f"no landing file of the latest {len(changed)} days has changed")


SENSORS = [late_files]
