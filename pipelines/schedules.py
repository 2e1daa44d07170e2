"""Schedules: when jobs run."""

import dagster as dg

from pipelines.jobs import night_watch, nightly

nightly_schedule = dg.build_schedule_from_partitioned_job(
    nightly,
    name="nightly_at_3_utc",
    hour_of_day=3,
    description="Plans the day before, at 03:00 UTC.",
    # On from the start: whoever runs the daemon wants the nightly run, and a night that is silently off is the failure
    # that nobody notices.
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

night_watch_schedule = dg.ScheduleDefinition(
    name="night_watch_at_6_utc",
    job=night_watch,
    cron_schedule="0 6 * * *",
    execution_timezone="UTC",
    description="Checks at 06:00 UTC that the night has happened.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

SCHEDULES = [nightly_schedule, night_watch_schedule]
