"""Great Expectations: all rows in bounded memory, and a broken expectation is an error of ours, not bad data."""

import json
from datetime import UTC, datetime, timedelta

import great_expectations as gx
import great_expectations.expectations as gxe
import polars as pl
import pytest
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import ColumnMapExpectation
from great_expectations.expectations.metrics import ColumnMapMetricProvider, column_condition_partial

from assets import checks
from assets.checks import suite_finding
from assets.expectations.staging import stg_requests_suite
from fleetopt.schemas import STG_REQUESTS
from pipelines.resources.validation import ValidationMachineryError, Validator
from tests.dagster.project import DAYS

START = datetime(DAYS[0].year, DAYS[0].month, DAYS[0].day, tzinfo=UTC)


class ExplodingCondition(ColumnMapMetricProvider):
    condition_metric_name = "column_values.test_explodes"

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column, **kwargs):  # noqa: N805  # the decorator makes it a class method
        raise ZeroDivisionError("the machinery broke")


class ExpectColumnValuesToExplode(ColumnMapExpectation):
    map_metric = "column_values.test_explodes"


def requests(n: int, **changed) -> pl.LazyFrame:
    rows = {
        "day": [DAYS[0]] * n,
        "source": ["chat"] * n,
        "fleet": ["assistant"] * n,
        "archetype": ["chat"] * n,
        "arrival_time": [START + timedelta(seconds=i) for i in range(n)],
        "prompt_tokens": [100 + i for i in range(n)],
        "output_tokens": [5] * n,
        "file": ["a.csv"] * n,
        "line_number": list(range(2, n + 2)),
        "record_number": [1] * n,
    }
    return pl.LazyFrame({name: [None] * n for name in STG_REQUESTS.schema} | rows | changed, schema=STG_REQUESTS.schema)


def validate(project, frame, chunk_rows=1_000_000):
    return Validator(chunk_rows).validate(frame, lambda: stg_requests_suite(project.settings.config, DAYS[0]))


def test_good_rows_pass(project):
    outcome = validate(project, requests(50))
    assert outcome.passed, outcome.failures
    assert outcome.rows == 50


@pytest.mark.parametrize(
    ("changed", "broken", "n_broken"),
    [
        ({"source": ["chat"] * 45 + ["other"] * 5}, "column=source", 5),
        ({"archetype": ["agent"] * 49 + ["rag"]}, "column=archetype", 1),
        ({"fleet": ["elsewhere"] * 50}, "column=fleet", 50),
        ({"prompt_tokens": [-1] * 2 + [10] * 48}, "column=prompt_tokens", 2),
        ({"output_tokens": [10] * 47 + [10**12] * 3}, "column=output_tokens", 3),
        ({"ttft_s": [None] * 49 + [-0.5]}, "column=ttft_s", 1),
        ({"e2e_s": [-1.0] * 2 + [1.0] * 48}, "column=e2e_s", 2),
        ({"queue_s": [0.0] * 48 + [-1e-9] * 2}, "column=queue_s", 2),
        ({"cached_tokens": [100] * 49 + [150]}, "column_B=cached_tokens", 1),
        ({"cached_tokens": [0] * 47 + [-1] * 3}, "column=cached_tokens", 3),
        (
            {"arrival_time": [datetime(2026, 1, 6, tzinfo=UTC)] * 4 + [datetime(2026, 1, 5, tzinfo=UTC)] * 46},
            "arrival",
            4,
        ),
        ({"prompt_tokens": [None] * 6 + [1] * 44}, "not_be_null(column=prompt_tokens", 6),
    ],
)
@pytest.mark.parametrize("chunk_rows", [1_000_000, 16])
def test_bad_rows_are_counted_over_all_chunks(project, changed, broken, n_broken, chunk_rows):
    outcome = validate(project, requests(50, **changed), chunk_rows)
    assert outcome.rows == 50
    (failure,) = outcome.failures
    assert broken in failure.expectation
    assert failure.unexpected == n_broken
    finding = suite_finding("stg_requests", outcome)
    assert not finding.passed
    assert f"{n_broken} rows" in finding.summary
    json.dumps(finding.figures)


def test_no_row_at_all_fails(project):
    outcome = validate(project, requests(0))
    assert [failure.expectation for failure in outcome.failures] == ["table_row_count_to_be_between(min_value=1)"]


@pytest.fixture
def sizes(monkeypatch):
    """Heights of the frames that go through pandas."""
    seen = []
    original = pl.DataFrame.to_pandas
    monkeypatch.setattr(pl.DataFrame, "to_pandas", lambda self: seen.append(self.height) or original(self))
    return seen


def suite_of(*expectations):
    """Builder of a suite from functions that make an expectation each."""
    return lambda: gx.ExpectationSuite("s", expectations=[make() for make in expectations])


def test_good_rows_are_settled_by_a_few_of_them(project, sizes):
    assert validate(project, requests(50_000), chunk_rows=1000).passed
    assert len(sizes) == 1
    assert sizes[0] < 20


def test_bad_rows_are_counted_in_chunks_of_the_given_size_and_of_their_columns_only(sizes):
    suite = suite_of(
        lambda: gxe.ExpectColumnValuesToBeBetween(column="x", max_value=24_989),
        lambda: gxe.ExpectColumnValuesToNotBeNull(column="y"),
    )
    frame = pl.LazyFrame({"x": range(25_000), "y": ["text"] * 25_000})
    outcome = Validator(chunk_rows=1000).validate(frame, suite)
    assert [(each.rows, each.unexpected) for each in outcome.expectations] == [(25_000, 10), (25_000, 0)]
    assert sum(sizes[1:]) == 25_000
    assert max(sizes[1:]) <= 1000


def test_what_extremes_do_not_decide_is_run_on_all_rows():
    suite = suite_of(
        lambda: gxe.ExpectColumnValuesToBeBetween(column="x", max_value=8, mostly=0.95),
        lambda: gxe.ExpectColumnValuesToMatchRegex(column="y", regex="^[0-9]+$"),
        lambda: gxe.ExpectColumnValuesToBeInSet(column="y", value_set=[str(n) for n in range(5000)]),
    )
    frame = pl.LazyFrame({"x": [*range(9), 100] * 500, "y": [str(n) for n in range(5000)]})
    outcome = Validator(chunk_rows=1300).validate(frame, suite)
    assert [each.passed for each in outcome.expectations] == [False, True, True]
    assert [(each.rows, each.unexpected) for each in outcome.expectations] == [(5000, 500), (5000, 0), (5000, 0)]


@pytest.mark.parametrize(
    "expectation",
    [
        lambda: ExpectColumnValuesToExplode(column="prompt_tokens"),
        lambda: gxe.ExpectColumnValuesToBeInSet(column="no_such_column", value_set=[1]),
    ],
)
def test_an_exception_inside_an_expectation_is_our_error(expectation):
    with pytest.raises(ValidationMachineryError, match="raised instead of answering"):
        Validator().validate(requests(5), lambda: gx.ExpectationSuite("s", expectations=[expectation()]))


def test_an_exception_inside_a_check_fails_the_step_and_reports_no_bad_data(project, instance, monkeypatch):
    def broken_suite(config, day):
        return gx.ExpectationSuite("s", expectations=[ExpectColumnValuesToExplode(column="prompt_tokens")])

    monkeypatch.setitem(checks.SUITES, "stg_requests", broken_suite)
    result = project.ingest(DAYS[0], instance)
    assert not result.success
    (failure,) = result.get_step_failure_events()
    assert failure.step_key == "stg_requests_expectations"
    assert "ValidationMachineryError" in failure.event_specific_data.error.to_string()
    assert "expectations" not in {check.check_name for check in result.get_asset_check_evaluations()}
    assert project.tables.days("core_requests") == []


def test_data_docs_show_the_latest_day_and_drop_old_pages(project):
    validated = project.defs.resources["data_docs"]
    suite = stg_requests_suite(project.settings.config, DAYS[0])
    first = validated.publish({"stg_requests": (requests(20), suite)})
    assert first.passed
    assert first.index.is_file()
    pages = len(list(first.index.parent.rglob("*.html")))
    again = validated.publish({"stg_requests": (requests(20), stg_requests_suite(project.settings.config, DAYS[0]))})
    assert len(list(again.index.parent.rglob("*.html"))) == pages
    bad = stg_requests_suite(project.settings.config, DAYS[1])
    assert not validated.publish({"stg_requests": (requests(20), bad)}).passed
