"""Every suite on a good frame and on bad ones; the results have to survive JSON."""

import json
from dataclasses import asdict
from datetime import UTC, date, datetime

import polars as pl
import pytest

from assets.expectations import SUITES
from fleetopt.config import parse_config
from fleetopt.schemas import TABLES
from pipelines.resources.validation import Validator
from tests.dagster.project import CONFIG

DAY = date(2026, 1, 5)
GOOD = {
    "stg_requests": {
        "source": "chat",
        "archetype": "chat",
        "arrival_time": datetime(2026, 1, 5, 12, tzinfo=UTC),
        "prompt_tokens": 10,
        "output_tokens": 2,
        "file": "a.csv",
        "line_number": 2,
        "record_number": 1,
    },
    "out_length_cdf": {
        "archetype": "chat",
        "quantity": "total_tokens",
        "tokens": 100,
        "fraction": 0.5,
        "fraction_lower": 0.4,
        "fraction_upper": 0.6,
    },
    "out_workload_profile": {
        "archetype": "chat",
        "window_start": DAY,
        "window_days": 3,
        "days_held": 1,
        "requests": 5,
        "observed_s": 60.0,
        "mean_rate_rps": 0.1,
        "peak_rate_rps": 0.2,
        "peak_time": datetime(2026, 1, 5, tzinfo=UTC),
        "peak_rate_upper_rps": 0.3,
        "prompt_tokens_mean": 10.0,
        "output_tokens_mean": 2.0,
        "total_tokens_p50": 10.0,
        "total_tokens_p99": 20.0,
    },
    "out_simulation_summary": {
        "version": "0123456789ab",
        "scenario": "replay",
        "pool": "all",
        "replicas": 1,
        "replications": 1,
        "requests": 5,
        "rejected": 0,
        "ttft_p99_s": 0.5,
        "ttft_p99_lower_s": 0.4,
        "slot_utilization": 0.1,
        "kv_utilization": 0.1,
        "busy": 0.5,
        "preemptions": 0,
        "verdict": "undecided",
    },
    "out_fleet_recommendation": {
        "version": "0123456789ab",
        "status": "infeasible",
        "verdict": "none",
        "reason": "too slow",
        "days_held": 1,
        "planned_rate_rps": 1.0,
        "slo_ttft_p99_s": 1.0,
        "document": "{}",
    },
}
BAD = [
    ("stg_requests", {"prompt_tokens": 0}),
    ("stg_requests", {"source": "undeclared"}),
    ("stg_requests", {"cached_tokens": 11}),
    ("stg_requests", {"queue_s": -0.1}),
    ("stg_requests", {"arrival_time": datetime(2026, 1, 6, tzinfo=UTC)}),
    ("out_length_cdf", {"fraction_lower": 0.55}),
    ("out_length_cdf", {"fraction": 1.5}),
    ("out_length_cdf", {"quantity": "bytes"}),
    ("out_workload_profile", {"days_held": 0}),
    ("out_workload_profile", {"peak_rate_upper_rps": 0.1}),
    ("out_simulation_summary", {"busy": 1.5}),
    ("out_simulation_summary", {"verdict": "fine"}),
    ("out_simulation_summary", {"ttft_p99_upper_s": 0.3}),
    ("out_fleet_recommendation", {"version": "latest"}),
    ("out_fleet_recommendation", {"replicas": 0}),
    ("out_fleet_recommendation", {"fleet": "undeclared"}),
]


def outcome_of(table, changes):
    row = {"day": DAY, "fleet": "assistant"} | GOOD[table] | changes
    columns = TABLES[table].schema
    frame = pl.DataFrame([{name: row.get(name) for name in columns}], schema=columns)
    config = parse_config(CONFIG, "fleetopt.toml")
    return Validator().validate(frame.lazy(), lambda: SUITES[table](config, DAY))


def test_every_suite_has_a_good_and_a_bad_frame_here():
    assert set(GOOD) == set(SUITES) == {table for table, _ in BAD}


@pytest.mark.parametrize("table", SUITES)
def test_a_good_frame_passes_and_its_result_is_json(table):
    outcome = outcome_of(table, {})
    assert outcome.passed, outcome.failures
    assert json.loads(json.dumps(asdict(outcome)))["suite"] == table


@pytest.mark.parametrize(("table", "changes"), BAD)
def test_a_bad_frame_fails_one_expectation_and_its_result_is_json(table, changes):
    outcome = outcome_of(table, changes)
    assert len(outcome.failures) >= 1
    (column,) = changes
    assert any(column in failure.expectation for failure in outcome.failures)
    json.dumps(asdict(outcome), default=str)


@pytest.mark.parametrize("table", SUITES)
def test_a_null_in_a_required_column_fails(table):
    column = TABLES[table].required[2]
    assert not outcome_of(table, {column: None}).passed
