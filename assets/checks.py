"""Asset checks. The blocking ones on staging decide whether a day is published to core (write, audit, publish)."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import polars as pl

from assets.audit import (
    Finding,
    balance_finding,
    key_finding,
    models_finding,
    notes_finding,
    presence_finding,
    quarantine_finding,
    schema_finding,
)
from assets.expectations import SUITES, SuiteBuilder
from assets.partitions import Calendar, partition_day
from assets.recount import recount
from fleetopt.config import Source
from fleetopt.schemas import STG_REQUESTS

_REQUEST_TABLES = ("stg_requests", "unserved_requests", "quarantined_requests")
_STAGING_TABLES = (*_REQUEST_TABLES, "stg_quality")
_STAGING_CHECKS = {
    "schema": "The staging tables have their declared schemas.",
    "line_balance": "Lines = requests + duplicates + quarantined, per source, counted again from log to tables.",
    "sources_present": "Every source that should have logs of the day has them, and every file gave requests.",
    "quarantined_fraction": "No source has more unusable lines than the configuration allows.",
    "key_is_unique": "Every request stands at its own place: source, file, line and record.",
    "models_declared": "No source mixes requests of several models without saying which are its own.",
    "quality_notes": "What is unusual about the day's logs: restarts of clocks, rounded times, cut lengths. A warning.",
}
_WARNINGS = {"quality_notes"}


def build_checks(calendar: Calendar) -> list[dg.AssetChecksDefinition]:
    """Define the checks of all layers."""
    with warnings.catch_warnings():
        # Partitions of checks are marked as a preview in Dagster 1.13; without them a check of an old day would be
        # recorded for the whole table.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        suites = [suite_check(table, build_suite, calendar) for table, build_suite in SUITES.items()]
        return [_staging_audit(calendar), *suites, _yesterday_is_in_core(calendar)]


def _staging_audit(calendar: Calendar) -> dg.AssetChecksDefinition:
    specs = [
        dg.AssetCheckSpec(
            name,
            asset="stg_requests",
            additional_deps=_STAGING_TABLES[1:],
            blocking=name not in _WARNINGS,
            description=description,
            partitions_def=calendar.daily,
        )
        for name, description in _STAGING_CHECKS.items()
    ]

    @dg.multi_asset_check(name="audit_staging", specs=specs, required_resource_keys={"tables", "landing", "settings"})
    def audit_staging(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        findings = staging_findings(context.resources, partition_day(context))
        for name, finding in findings.items():
            severity = dg.AssetCheckSeverity.WARN if name in _WARNINGS else dg.AssetCheckSeverity.ERROR
            yield check_result(finding, check_name=name, asset_key="stg_requests", severity=severity)

    return audit_staging


def staging_findings(resources: Any, day: date) -> dict[str, Finding]:
    """Audit one staged day; see ``assets.audit`` for what each finding looks at."""
    tables, landing = resources.tables, resources.landing
    staged = {table: tables.read(table, day, day) for table in _STAGING_TABLES}
    requests, quality = staged["stg_requests"], staged["stg_quality"]
    pointers = {name: landing.raw.pointer(name, day) for name in landing.sources}
    raw = {name: landing.raw.parts(name, day) for name, pointer in pointers.items() if pointer is not None}
    return {
        "schema": schema_finding({table: tables.differences(table) for table in _STAGING_TABLES}),
        "line_balance": balance_finding(
            read={name: pointer.lines for name, pointer in pointers.items() if pointer is not None},
            recounts={name: recount(parts) for name, parts in raw.items()},
            tables={table: staged[table] for table in _REQUEST_TABLES},
            committed={table: tables.rows(table, day) for table in _REQUEST_TABLES},
            quality=quality,
        ),
        "sources_present": presence_finding(
            day,
            raw,
            landing.missing_files(day),
            landing.defects(day),
            {name: usable_files(pointers[name]) for name in raw},
        ),
        "quarantined_fraction": quarantine_finding(
            quality, raw, resources.settings.config.pipeline.max_quarantined_fraction
        ),
        "key_is_unique": key_finding(requests, "stg_requests", STG_REQUESTS.key),
        "models_declared": models_finding(
            undeclared_models(landing.sources, [requests, staged["unserved_requests"]], quality)
        ),
        "quality_notes": notes_finding(quality),
    }


def usable_files(pointer: Any) -> set[str]:
    """List the files of which some record can be used, of whatever day, by what was noted when they were read."""
    return {state.file for state in pointer.files if state.usable}


def undeclared_models(
    sources: Mapping[str, Source], tables: Sequence[pl.LazyFrame], quality: pl.LazyFrame
) -> dict[str, list[str]]:
    """List the models that the requests of sources name which do not declare them, where there is more than one."""
    several = quality.filter(pl.col("models") > 1).select("source").collect()["source"]
    undeclared = [name for name in several if not sources[name].models]
    if not undeclared:
        return {}
    requests = pl.concat([rows.select("source", "model") for rows in tables])
    named = requests.filter(pl.col("source").is_in(undeclared)).unique().drop_nulls().sort("source", "model")
    rows = named.collect(engine="streaming").group_by("source", maintain_order=True).agg("model")
    return dict(rows.iter_rows())


def suite_check(table: str, build_suite: SuiteBuilder, calendar: Calendar) -> dg.AssetChecksDefinition:
    """Make a blocking check that runs a Great Expectations suite on all rows of a table's day.

    Parameters
    ----------
    table : str
        Name of the asset and of its table.
    build_suite : callable
        (configuration, day) -> a fresh suite.
    calendar : Calendar
    """

    @dg.asset_check(
        asset=table,
        name="expectations",
        blocking=True,
        description=f"Great Expectations suite of {table}, on all rows of the day.",
        partitions_def=calendar.daily,
        required_resource_keys={"tables", "validator", "settings"},
    )
    def expectations(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        day = partition_day(context)
        rows = context.resources.tables.read(table, day, day)
        outcome = context.resources.validator.validate(
            rows, lambda: build_suite(context.resources.settings.config, day)
        )
        return check_result(suite_finding(table, outcome))

    return expectations


def suite_finding(table: str, outcome: Any) -> Finding:
    """Put the outcome of a suite into a sentence and figures."""
    figures = {
        "rows": outcome.rows,
        "expectations": [
            {
                "expectation": expectation.expectation,
                "passed": expectation.passed,
                "rows": expectation.rows,
                "unexpected": expectation.unexpected,
                "examples": [str(example) for example in expectation.examples],
            }
            for expectation in outcome.expectations
        ],
    }
    if outcome.passed:
        return Finding(True, f"{table}: {outcome.rows} rows meet {len(outcome.expectations)} expectations", figures)
    broken = "; ".join(f"{failure.expectation}: {failure.unexpected} rows" for failure in outcome.failures[:3])
    return Finding(False, f"{table}: {len(outcome.failures)} expectations fail: {broken}", figures)


def check_result(finding: Finding, **where: Any) -> dg.AssetCheckResult:
    """Give a finding the form of a check result; the sentence is the description and the metadata ``summary``."""
    figures = {name: _metadata_value(value) for name, value in finding.figures.items()}
    return dg.AssetCheckResult(
        passed=finding.passed,
        description=finding.summary,
        metadata={"summary": finding.summary, **figures},
        **where,
    )


def _metadata_value(value: Any) -> Any:
    return dg.MetadataValue.json(value) if isinstance(value, list | dict) else value


def _yesterday_is_in_core(calendar: Calendar) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset="core_requests",
        name="yesterday_is_in_core",
        description="The last day that is over was ingested and passed its audit. Looks at the day itself: a freshness "
        "policy is satisfied by any materialization, a backfill of an old day included.",
        required_resource_keys={"tables"},
    )
    def yesterday_is_in_core(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        yesterday = calendar.yesterday(datetime.now(UTC))
        return check_result(night_finding(yesterday, context.resources.tables.days("core_requests")))

    return yesterday_is_in_core


def night_finding(yesterday: date | None, days: Sequence[date]) -> Finding:
    """Judge whether the last day that is over is among the days in core."""
    if yesterday is None:
        return Finding(True, "the first day is not over yet")
    if yesterday in days:
        return Finding(True, f"{yesterday} is in core")
    last = f"the last day in core is {days[-1]}" if days else "core is empty"
    return Finding(False, f"{yesterday} is not in core: its night did not run or its audit failed; {last}")
