"""One night in the foreground: ingest what is out of date in the window, then plan the day that was asked for."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from assets.frozen import stands_alone, version_directory
from assets.hardware import fleet_offers, running_prices
from assets.inputs import is_current
from assets.layers import CORE_TABLES
from assets.reports import report_path
from fleetopt.errors import InputError
from fleetopt.ingest.landing import check_source
from fleetopt.reporting.document import Document
from pipelines.build import build_defs
from pipelines.instance import open_instance
from pipelines.progress import StepCost, progress_logger, sampled_memory, step_costs
from pipelines.resources.raw_files import RawFiles
from pipelines.resources.settings import Settings
from pipelines.resources.sources import Landing
from pipelines.resources.tables import TableStore
from pipelines.resources.watch import Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetNight:
    """What the night left for one fleet."""

    document: Document
    report: Path
    feed: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """What a night did.

    Attributes
    ----------
    day : datetime.date
    ingested : tuple of datetime.date
        Days that were read (again) because they were out of date.
    failed : dict of datetime.date to str
        Days of the window that could not be brought up to date, and why.
    kept : frozenset of datetime.date
        Those of them that core still holds as they were before, and that are used so.
    planned : bool
        False if the recommendation was up to date and nothing was planned.
    fleets : tuple of FleetNight
    steps : tuple of StepCost
        Of the nightly run.
    """

    day: date
    ingested: tuple[date, ...]
    failed: dict[date, str]
    kept: frozenset[date]
    planned: bool
    fleets: tuple[FleetNight, ...]
    steps: tuple[StepCost, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a night tells how far it is: days done of all, and what it does now."""

    on_days: Callable[[int, int], None] = lambda done, total: None
    on_message: Callable[[str], None] = lambda message: None


class _DayFailedError(Exception):
    """The data of a day was refused; the message says which and why."""


def run_night(settings: Settings, day: date | None, progress: Progress, *, ingest_from: date | None = None) -> Night:
    """Bring the window up to date and plan a day, doing only what is out of date.

    Parameters
    ----------
    settings : Settings
    day : datetime.date, optional
        Day to plan, UTC; default: the last one that is over.
    progress : Progress
    ingest_from : datetime.date, optional
        First day to bring up to date; default: the first of the window.

    Raises
    ------
    InputError
        The day cannot be planned because of what it was given: the configuration, a missing path, data that failed
        its audit.
    """
    day = day or datetime.now(UTC).date() - timedelta(days=1)
    _check_request(settings, day)
    night = _NightRun(settings, progress)
    pipeline = settings.config.pipeline
    first = ingest_from or max(pipeline.first_day, day - timedelta(days=pipeline.window_days - 1))
    earlier = [first + timedelta(days=offset) for offset in range((day - first).days)]
    with open_instance(settings) as instance, sampled_memory() as samples:
        outdated = [window_day for window_day in earlier if night.is_out_of_date(window_day)]
        ingested: list[date] = []
        failed: dict[date, str] = {}
        for done, window_day in enumerate(outdated):
            progress.on_days(done, len(outdated) + 1)
            # Reading a file without a date in its name for one day shows which other days it has no lines of.
            if not night.is_out_of_date(window_day):
                continue
            ingested.append(window_day)
            try:
                night.run(instance, "ingest_day", window_day)
            except _DayFailedError as error:
                failed[window_day] = str(error)
        progress.on_days(len(outdated), len(outdated) + 1)
        steps: list[StepCost] = []
        planned = night.is_out_of_date(day) or not night.is_planned(day)
        if planned:
            try:
                run_id = night.run(instance, "nightly", day)
            except _DayFailedError as error:
                raise InputError(f"{day}: nothing is recommended: {error}") from error
            steps = step_costs(instance, run_id, samples)
        progress.on_days(len(outdated) + 1, len(outdated) + 1)
    return Night(
        day=day,
        ingested=tuple(ingested),
        failed=failed,
        kept=frozenset(failed) & set(night.tables.days("core_requests")),
        planned=planned,
        fleets=tuple(night.fleets(day)),
        steps=tuple(steps),
    )


def _check_request(settings: Settings, day: date) -> None:
    """Refuse, before anything runs, a day or a configuration that cannot work."""
    config = settings.config
    if day < config.pipeline.first_day:
        raise InputError(f"{day} is before pipeline.first_day = {config.pipeline.first_day} of {settings.config_path}")
    if day >= datetime.now(UTC).date():
        raise InputError(f"{day} is not over yet (UTC); the last day that can be planned is yesterday")
    for name, fleet in config.fleet.items():
        fleet_offers(fleet, name, settings.config_path)
        running_prices(fleet, name, settings.config_path)
    for name, source in config.source.items():
        try:
            check_source(name, source, settings.config_dir, settings.data_dir)
        except InputError as error:
            raise InputError(f"{settings.config_path}: {error}") from error


class _NightRun:
    """The definitions of one configuration, and what is known of its data."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self.settings = settings
        self.tables = TableStore(settings.tables_root)
        self.landing = Landing(settings, RawFiles(settings.paths.raw))
        self.definitions = build_defs(settings, loggers={"progress": progress_logger(progress.on_message)})

    def is_out_of_date(self, day: date) -> bool:
        """Whether a day has to be read: never read, changed since, or not in core, unless it was forgotten.

        A new file without a date in its name may be of any day, until it is read.

        Raises
        ------
        InputError
            If the landing place of a source cannot be looked at.
        """
        if self.landing.is_forgotten(day):
            return False
        if any(day not in self.tables.days(table) for table in CORE_TABLES):
            return True
        watch = Watch(self.landing)
        files = watch.day(day)
        if watch.problems:
            raise InputError("; ".join(watch.problems.values()))
        return files.is_new or files.may_be_new

    def is_planned(self, day: date) -> bool:
        """Whether the day's recommendations are published and were made from the inputs as they are."""
        documents = self.documents(day)
        with_requests = self.tables.read("core_length_histogram", day, day).select("fleet").unique().collect()
        declared = set(with_requests["fleet"]) & set(self.settings.config.fleet)
        return declared == {document["fleet"] for document in documents} and all(
            is_current(document, self.tables, self.settings)
            and report_path(self.settings.paths.reports, document["fleet"], day).exists()
            and stands_alone(self._feed(document, day))
            for document in documents
        )

    def run(self, instance: dg.DagsterInstance, job: str, day: date) -> str:
        """Run a job for a day in this process; returns the run's id.

        Raises
        ------
        _DayFailedError
            A blocking check or a step refused the data.
        """
        result = self.definitions.resolve_job_def(job).execute_in_process(
            instance=instance,
            partition_key=day.isoformat(),
            raise_on_error=False,
            run_config={"loggers": {"progress": {}}},
        )
        if not result.success:
            _raise_failure(result)
        return str(result.run_id)

    def documents(self, day: date) -> list[Document]:
        """The day's recommendations, as stored."""
        rows = self.tables.read("out_fleet_recommendation", day, day).sort("fleet").collect()
        return [json.loads(text) for text in rows["document"]]

    def fleets(self, day: date) -> list[FleetNight]:
        """The day's recommendations with the paths of their files."""
        return [
            FleetNight(
                document=document,
                report=report_path(self.settings.paths.reports, document["fleet"], day),
                feed=self._feed(document, day),
            )
            for document in self.documents(day)
        ]

    def _feed(self, document: Document, day: date) -> Path:
        return version_directory(self.settings.paths.published, document["fleet"], day, document["version"])


def _raise_failure(result: dg.ExecuteInProcessResult) -> None:
    """Say why a run failed: as bad data if a check or a step says so, else as an error of ours with its traceback."""
    refused = {
        str(evaluation.metadata["summary"].value): evaluation.check_name
        for evaluation in result.get_asset_check_evaluations()
        if not evaluation.passed and evaluation.blocking
    }
    if refused:
        # A suite says the same as an audit in more general words; it is heard where the audit is silent.
        said = [summary for summary, check in refused.items() if check != "expectations"] or list(refused)
        raise _DayFailedError("; ".join(said))
    for event in result.all_events:
        if event.is_step_failure:
            data: Any = event.step_failure_data
            if data.user_failure_data is not None:
                raise _DayFailedError(data.user_failure_data.description)
            raise RuntimeError(f"step {event.step_key} failed:\n{data.error.to_string() if data.error else ''}")
    raise RuntimeError(f"run {result.run_id} failed; the Dagster UI has its log")
