"""Sensors: what starts a job because something has happened."""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import dagster as dg

from pipelines.jobs import ingest_day
from pipelines.resources.sources import Landing
from pipelines.resources.watch import DayFiles, Watch

OLDER_DAYS: Final = 14
"""Days before the window that a tick looks at; the next one goes on where it stopped, and so round all of them."""

MAX_REQUESTS: Final = 7
"""Most days that a tick asks for; the latest first. The others are the next tick's."""


@dg.sensor(
    name="new_files",
    job=ingest_day,
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    required_resource_keys={"landing", "settings"},
    description="Ingests the days of landing files that are new, or not what their day was made from.",
)
def new_files(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Compare names, sizes and times of change of the landing files with what the raw layer was read from.

    Every tick looks at the days of the window and, in turn, at some of the older ones. A day that was never read is
    asked for once each source with dates in its file names has all its files of it; the schedule takes a day that
    stays incomplete. Files without dates are read once, with the latest day; that tells which days they are of.

    The run key holds the state of the files, so a state that fails is tried once.
    """
    pipeline = context.resources.settings.config.pipeline
    cursor = _Cursor.parse(context.cursor)
    days, older = _days_to_look_at(pipeline.first_day, pipeline.window_days, cursor.older)
    watch = Watch(context.resources.landing)
    wanted = _wanted(context.resources.landing, watch, days)
    asked = {day: state for day, state in cursor.asked.items() if wanted.get(day) == state}
    fresh = [day for day in wanted if day not in asked][:MAX_REQUESTS]
    cursor = _Cursor(older, asked | {day: wanted[day] for day in fresh})
    for name, problem in watch.problems.items():
        context.log.warning(f"source {name} was not looked at: {problem}")
    return dg.SensorResult(
        run_requests=[dg.RunRequest(partition_key=str(day), run_key=f"{day}:{wanted[day]}") for day in fresh],
        skip_reason=None if fresh else _reason(len(days), watch.problems),
        cursor=cursor.text(),
    )


@dataclass(frozen=True, slots=True)
class _Cursor:
    """Where the round of the older days stands, and which states of days looked at were asked for already."""

    older: date | None
    asked: dict[date, str]

    @classmethod
    def parse(cls, text: str | None) -> "_Cursor":
        stored = json.loads(text or "{}")
        older = stored.get("older")
        return cls(
            date.fromisoformat(older) if older else None,
            {date.fromisoformat(day): state for day, state in stored.get("asked", {}).items()},
        )

    def text(self) -> str:
        asked = {str(day): state for day, state in self.asked.items()}
        return json.dumps({"older": str(self.older) if self.older else None, "asked": asked})


def _today() -> date:
    return datetime.now(UTC).date()


def _days_to_look_at(first_day: date, window_days: int, older: date | None) -> tuple[list[date], date | None]:
    """Days of the window that are over, latest first, and the next older ones; and where those stop."""
    yesterday = _today() - timedelta(days=1)
    known = [yesterday - timedelta(days=back) for back in range((yesterday - first_day).days + 1)]
    window, before = known[:window_days], known[window_days:]
    following = [day for day in before if older is None or day < older] or before
    share = following[:OLDER_DAYS]
    return window + share, share[-1] if share else None


def _wanted(landing: Landing, watch: Watch, days: list[date]) -> dict[date, str]:
    """Days that are to be ingested with the state of their files, in the order given."""
    ingested = set(landing.ingested_days())
    found: dict[date, DayFiles] = {day: watch.day(day) for day in days}
    wanted = {
        day: files.state
        for day, files in found.items()
        if files.is_new and (day in ingested or not landing.missing_files(day))
    }
    unread = [day for day, files in found.items() if files.may_be_new]
    if unread and not wanted:
        first = next((day for day in unread if day in ingested), unread[0])
        wanted[first] = found[first].state
    return wanted


def _reason(n_days: int, problems: dict[str, str]) -> str:
    if problems:
        return "; ".join(problems.values())
    return f"no landing file of the {n_days} days looked at is new"


SENSORS = [new_files]
