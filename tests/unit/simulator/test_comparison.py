"""Fleets compared on the same requests."""

import math

import numpy as np
import pytest

from fleetopt.errors import InputError
from fleetopt.simulator import Fleet, Pool, simulate
from fleetopt.simulator.comparison import compare_fleets, compare_on_trace
from fleetopt.simulator.measures import ATTAINMENT
from fleetopt.simulator.replications import measure_replications
from fleetopt.simulator.statistics import SloTargets, paired_interval, replication_interval
from tests.unit.simulator.fleets import PROFILE, make_trace, one_pool

TARGETS = SloTargets(ttft_s=0.5)


def rows_of(comparison, name):
    return {(row.pool, row.metric): row for row in comparison.differences[name]}


def figures(runs, metric):
    return np.array([next(v for k, v in run.figures.items() if k[:2] == (None, metric)) for run in runs])


def test_replications_are_compared_in_pairs_on_the_same_requests():
    fleets = {"two": one_pool(2), "three": one_pool(3), "random": one_pool(3, router="random")}
    told = []
    comparison = compare_fleets(
        make_trace, fleets, 5, 7, targets=TARGETS, on_progress=lambda done, total: told.append((done, total))
    )
    assert comparison.baseline == "two"
    assert list(comparison.summaries) == list(fleets)
    assert set(comparison.differences) == {"three", "random"}
    assert told[-1] == (15, 15)
    assert told == sorted(told)
    row = rows_of(comparison, "three")[None, "ttft_p90_s"]
    two, three = (figures(measure_replications(make_trace, fleets[n], 5, 7), "ttft_p90_s") for n in ("two", "three"))
    paired = paired_interval(two, three)
    assert (row.difference, row.lower, row.upper) == paired.difference
    assert (row.first, row.second) == (paired.first, paired.second)
    assert (row.unit, row.method) == ("s", "paired t over 5 replications")
    assert row.upper < 0
    assert comparison.summaries["two"].row("ttft_p90_s").estimate == row.first
    assert rows_of(comparison, "three")["all", "slot_utilization"].upper < 0
    assert rows_of(comparison, "three")[None, ATTAINMENT].difference > 0


def test_common_requests_shrink_the_interval():
    """Mean TTFT of the same fleet under two routers, apart and in pairs."""
    fleets = {"least-loaded": one_pool(3), "round-robin": one_pool(3, router="round-robin")}
    row = rows_of(compare_fleets(make_trace, fleets, 8, 7), "round-robin")[None, "e2e_mean_s"]
    apart = [
        replication_interval(figures(measure_replications(make_trace, f, 8, 7), "e2e_mean_s")) for f in fleets.values()
    ]
    widths = [interval.upper - interval.lower for interval in apart]
    assert row.variance_reduction > 0.5
    assert (row.upper - row.lower) ** 2 == pytest.approx(
        (1 - row.variance_reduction) * (widths[0] ** 2 + widths[1] ** 2)
    )


def test_what_is_equal_is_called_equal_and_what_is_not_known_is_left_open():
    fleets = {"one": one_pool(2), "same": one_pool(2)}
    row = rows_of(compare_fleets(lambda r: make_trace(r, n=900), fleets, 3, 7), "same")
    assert row[None, "ttft_mean_s"].method == "equal in every replication"
    assert row[None, "ttft_mean_s"].difference == row[None, "ttft_mean_s"].upper == 0
    assert row[None, "ttft_p99_s"].method == "too few requests per replication"
    assert row[None, "ttft_p99_s"].upper == math.inf


def test_pools_are_compared_where_both_fleets_have_one_of_that_name():
    def pools(short):
        return Fleet(
            (Pool(short, PROFILE, 1, 2000), Pool("long", PROFILE, 2, 8192)), router="length", boundaries_tokens=(2000,)
        )

    found = rows_of(compare_fleets(make_trace, {"a": pools("short"), "b": pools("brief")}, 2, 7), "b")
    assert {pool for pool, _ in found} == {None, "long"}


def test_a_trace_is_compared_by_blocks_of_its_requests():
    trace = make_trace(0, n=4000)
    fleets = {"two": one_pool(2), "three": one_pool(3), "short": one_pool(3, limit=4000)}
    told = []
    comparison = compare_on_trace(
        trace, fleets, 7, targets=TARGETS, n_resamples=200, on_progress=lambda done, total: told.append((done, total))
    )
    assert told[-1] == (3, 3)
    rows = rows_of(comparison, "three")
    two, three = (simulate(trace, fleets[name]) for name in ("two", "three"))
    row = rows[None, "ttft_p99_s"]
    assert (row.first, row.second) == (two.ttft_quantile_s(0.99), three.ttft_quantile_s(0.99))
    assert row.lower <= row.difference <= row.upper < 0
    assert row.method == "paired bootstrap over blocks of the trace"
    assert rows[None, "e2e_mean_s"].variance_reduction > 0
    assert rows[None, "rejected"].method == "equal in every resample"
    assert rows[None, "slot_utilization"].method == "one run"
    assert (rows[None, "slot_utilization"].first, rows[None, "slot_utilization"].upper) == (
        pytest.approx(two.utilization[0].slot),
        math.inf,
    )
    rejected = rows_of(comparison, "short")[None, "rejected"]
    assert rejected.second == (trace.total_tokens > 4000).sum() == pytest.approx(rejected.difference)
    assert 0 < rejected.lower < rejected.difference < rejected.upper
    assert rows_of(comparison, "short")[None, ATTAINMENT].second == pytest.approx(
        (simulate(trace, fleets["short"]).ttft_s <= 0.5).mean()
    )
    assert comparison.summaries["two"].row("ttft_p99_s").estimate == row.first


def test_a_comparison_repeats_for_a_seed_and_threads_change_nothing():
    fleets = {"random": one_pool(2, router="random"), "robin": one_pool(2, router="round-robin")}
    trace = make_trace(0, n=600)
    first, again, alone = (
        compare_on_trace(trace, fleets, 7, n_resamples=50, max_workers=workers).differences["robin"]
        for workers in (2, 2, 1)
    )
    # nan is not equal to itself, so rows are compared as text
    assert str(first) == str(again) == str(alone)
    assert str(first) != str(compare_on_trace(trace, fleets, 8, n_resamples=50).differences["robin"])


def test_two_fleets_at_least():
    for compare in (lambda f: compare_fleets(make_trace, f, 2, 7), lambda f: compare_on_trace(make_trace(0), f, 7)):
        with pytest.raises(InputError, match="1 fleets to compare"):
            compare({"only": one_pool(1)})
