import doctest

import pytest

from fleetopt.planner.plan import SearchEffort
from fleetopt.reporting import formatting, layout, wording
from tests.unit.reporting.samples import ALL_DOCUMENTS, ONE_POOL, document


def test_examples() -> None:
    assert doctest.testmod(formatting).failed == 0
    assert doctest.testmod(wording).failed == 0
    assert doctest.testmod(layout).failed == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.04321, "0.0432"),
        (0.5, "0.500"),
        (0.9996, "1.00"),
        (9.996, "10.0"),
        (99.96, "100"),
        (12345.6, "12,346"),
    ],
)
def test_three_digits(value: float, text: str) -> None:
    assert formatting.three_digits(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(999.994, "$999.99"), (999.996, "$1,000"), (0.0, "$0.00"), (-5.0, "-$5.00"), (None, "-")]
)
def test_usd(value: float | None, text: str) -> None:
    assert formatting.usd(value) == text


def test_missing_values_are_a_dash() -> None:
    for function in (formatting.count, formatting.seconds, formatting.rate, formatting.percent):
        assert function(None) == "-"
    assert formatting.interval(None, None) == ""


def test_window_names_missing_days_as_ranges() -> None:
    assert wording.window(document(days_missing=20)).endswith("missing: 2023-10-20 to 2023-11-08 (20 days)")


def test_saving_needs_a_confirmed_baseline_and_prices() -> None:
    changed = document()
    changed["saving"] = None
    assert wording.saving(changed) == "None to claim: the GPU profiles carry no price."
    changed["baselines"]["homogeneous"]["verdict"] = "refuted"
    assert wording.saving(changed) == "None to claim: the fleet of one pool to compare with is itself refuted."
    assert wording.saving(ALL_DOCUMENTS["infeasible"]) == "None to claim: there is no plan."


@pytest.mark.parametrize(
    ("least_usd", "text"),
    [
        (8.84, "by proven bounds no plan below $8.84 per hour is possible there."),
        (8.849, "by proven bounds no plan below $8.84 per hour is possible there."),
        (1234.9, "by proven bounds no plan below $1,234 per hour is possible there."),
        (0.0, "how cheap a plan may be there is not known."),
    ],
)
def test_boundaries_left_out_and_the_price_of_fleets_there_rounded_down(least_usd: float, text: str) -> None:
    found = SearchEffort(cells=1, opened=1, pools_sized=1, boundaries_left_out=5670, least_usd_left_out=least_usd)
    assert wording.left_out(found) == f"5,670 boundaries between pools were not searched in full: {text}"


def test_nothing_is_said_where_no_boundary_was_left_out() -> None:
    assert wording.left_out(None) == wording.left_out(SearchEffort(cells=1, opened=1, pools_sized=1)) == ""


def test_band_of_one_pool_and_of_no_compression() -> None:
    assert wording.band(document(ONE_POOL)["plan"]).startswith("none")
    assert wording.band({"boundaries_tokens": [4096], "gamma": 1.0}) == "gamma 1: nothing is compressed"
