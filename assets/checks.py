"""Asset checks. The blocking ones on staging decide whether a day is published to core (write, audit, publish)."""

import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import polars as pl

from assets.audit import (
    Finding,
    balance_finding,
    key_finding,
    presence_finding,
    quarantine_finding,
    schema_finding,
)
from assets.expectations import SUITES, SuiteBuilder
from assets.partitions import Calendar, partition_day
from fleetopt.schemas import STG_REQUESTS

_STAGING_TABLES = ("stg_requests", "quarantined_requests", "stg_quality")
_STAGING_CHECKS = {
    "schema": "The staging tables have their declared schemas.",
    "line_balance": "Lines = requests + duplicates + quarantined, per source, counted again from the raw lines.",
    "sources_present": "Every source that should have logs of the day has them, and every file gave requests.",
    "quarantined_fraction": "No source has more unusable lines than the configuration allows.",
    "key_is_unique": "Every request stands at its own place: source, file and line.",
}


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
            additional_deps=["quarantined_requests", "stg_quality"],
            blocking=True,
            description=description,
            partitions_def=calendar.daily,
        )
        for name, description in _STAGING_CHECKS.items()
    ]

    @dg.multi_asset_check(name="audit_staging", specs=specs, required_resource_keys={"tables", "landing", "settings"})
    def audit_staging(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        findings = staging_findings(context.resources, partition_day(context))
        for name, finding in findings.items():
            yield check_result(finding, check_name=name, asset_key="stg_requests")

    return audit_staging


def staging_findings(resources: Any, day: date) -> dict[str, Finding]:
    """Audit one staged day; see ``assets.audit`` for what each finding looks at."""
    tables, landing = resources.tables, resources.landing
    requests, quarantined, quality = (tables.read(table, day, day) for table in _STAGING_TABLES)
    raw = pl.concat([landing.raw.read(name, day) for name in landing.sources])
    limit = resources.settings.config.pipeline.max_quarantined_fraction
    return {
        "schema": schema_finding({table: tables.differences(table) for table in _STAGING_TABLES}),
        "line_balance": balance_finding(raw, requests, quarantined, quality),
        "sources_present": presence_finding(day, raw, landing.missing_files(day), landing.defects(day)),
        "quarantined_fraction": quarantine_finding(quality, quarantined, limit),
        "key_is_unique": key_finding(requests, "stg_requests", STG_REQUESTS.key),
    }


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
