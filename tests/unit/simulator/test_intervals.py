"""Intervals against hand calculations, tables and exact probabilities; what too little data can say."""

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fleetopt.simulator.statistics import (
    batch_means_interval,
    batch_quantile_interval,
    batch_share_interval,
    grouped_share_interval,
    intervals,
    order_statistic_interval,
    paired_block_bootstrap,
    paired_interval,
    warmup,
    wilson_interval,
)
from fleetopt.simulator.statistics.intervals import binomial_quantile, student_quantile


@given(st.integers(1, 3000), st.sampled_from([0.01, 0.5, 0.9, 0.99]), st.sampled_from([0.9, 0.95, 0.999]))
def test_order_statistics_hold_the_quantile_as_often_as_they_say(n: int, probability: float, confidence: float) -> None:
    """Exact: of 1..n the rank is the value; rank r lies above the quantile if fewer than r observations are below."""
    interval = order_statistic_interval(
        np.random.default_rng(n).permutation(np.arange(1.0, n + 1)), probability, confidence
    )
    tail = (1 - confidence) / 2
    below = stats.binom(n, probability)
    assert interval.estimate == math.ceil(n * probability - 1e-9)
    if math.isfinite(interval.lower):
        assert below.cdf(interval.lower - 1) <= tail < below.cdf(interval.lower) + 1e-9
    else:
        assert below.pmf(0) > tail - 1e-12
    if math.isfinite(interval.upper):
        assert below.sf(interval.upper - 1) <= tail + 1e-12 < below.sf(interval.upper - 2) + 1e-9
    else:
        assert below.pmf(n) > tail - 1e-12


@given(st.floats(1e-6, 1 - 1e-6), st.integers(1, 10**6), st.floats(1e-4, 1 - 1e-4))
def test_quantiles_are_those_of_scipy_stats(probability: float, n: int, success: float) -> None:
    k = binomial_quantile(probability, n, success)
    assert stats.binom.cdf(k - 1, n, success) < probability + 1e-9  # either of two neighbours where one is exact
    assert stats.binom.cdf(k, n, success) > probability - 1e-9
    assert student_quantile(probability, n) == stats.t.ppf(probability, n)


@pytest.mark.parametrize("module", [intervals, warmup], ids=lambda module: module.__name__)
def test_examples_in_docstrings(module) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_a_p99_takes_368_independent_observations() -> None:
    assert order_statistic_interval(np.arange(367.0), 0.99).upper == math.inf
    assert order_statistic_interval(np.arange(368.0), 0.99).upper == 367.0
    assert order_statistic_interval(np.array([]), 0.5)[1:] == (-math.inf, math.inf)


def test_batch_means_of_a_textbook_sample() -> None:
    """Four batches of ten with means 1, 6, 2, 3: mean 3, standard error sqrt(14/3/4), t(0.975, 3) = 3.182."""
    interval = batch_means_interval(np.repeat([1.0, 6.0, 2.0, 3.0], 10), n_batches=4)
    assert interval.estimate == 3.0
    assert interval.upper - 3.0 == pytest.approx(3.182 * math.sqrt(14 / 3 / 4), rel=2e-4)
    assert 3.0 - interval.lower == pytest.approx(interval.upper - 3.0)


def test_batch_quantiles_scatter_around_the_quantile_of_all() -> None:
    """Batches 0..99, 20..119, 10..109: their medians are 49, 69, 59, the median of all 59; t(0.975, 2) = 4.303."""
    values = np.concatenate([np.arange(100.0) + shift for shift in (0, 20, 10)])
    interval = batch_quantile_interval(values, 0.5, n_batches=3)
    assert interval.estimate == 59.0
    assert interval.upper - 59.0 == pytest.approx(4.303 * math.sqrt(200 / 2 / 3), rel=2e-4)


def test_correlated_batches_widen_the_interval_or_leave_it_open() -> None:
    """1, 2, 3, 6 in a row: lag-one products -2*-1 + -1*0 + 0*3 = 2 over 14, so the variance grows by 8/7 / (6/7)."""
    values = np.repeat([1.0, 2.0, 3.0, 6.0], 10)
    apart, in_a_row = batch_means_interval(np.roll(values, 20), 4), batch_means_interval(values, 4)
    assert apart.upper - 3 == pytest.approx(3.182 * math.sqrt(14 / 3 / 4), rel=2e-4)
    assert in_a_row.upper - 3 == pytest.approx(math.sqrt(8 / 6) * (apart.upper - 3))
    share = batch_share_interval(np.arange(400) < 200)
    assert share == (0.5, 0.0, 1.0)
    for interval in (batch_means_interval(np.arange(900.0)), batch_quantile_interval(np.arange(900.0), 0.5)):
        assert interval[1:] == (-math.inf, math.inf)


def test_batches_that_are_too_short_bound_nothing() -> None:
    values = np.random.default_rng(4).normal(size=10_000)
    assert batch_means_interval(values[:199])[1:] == (-math.inf, math.inf)
    assert math.isfinite(batch_means_interval(values[:200]).upper)
    assert batch_quantile_interval(values[:-1], 0.99).upper == math.inf
    assert math.isfinite(batch_quantile_interval(values, 0.99).upper)
    assert batch_share_interval(np.ones(199, bool)) == (1.0, 0.0, 1.0)
    for nothing in (batch_means_interval(np.array([])), batch_quantile_interval(np.array([]), 0.5)):
        assert math.isnan(nothing.estimate)
        assert nothing[1:] == (-math.inf, math.inf)


def test_wilson_is_its_definition() -> None:
    """0 of n ends at z^2 / (n + z^2); both ends p solve (share - p)^2 = z^2 p (1 - p) / n (Wilson 1927)."""
    z = 1.959964
    assert wilson_interval(0, 10, z).upper == pytest.approx(z**2 / (10 + z**2))
    assert wilson_interval(0, 10, z).lower == 0
    assert wilson_interval(10, 10, z)[0] == wilson_interval(10, 10, z).upper == 1
    for bound in wilson_interval(37, 120, z)[1:]:
        assert (37 / 120 - bound) ** 2 == pytest.approx(z**2 * bound * (1 - bound) / 120)
    assert wilson_interval(0, 0, z)[1:] == (0, 1)


def test_a_share_of_groups_that_are_alike_is_that_of_independent_requests() -> None:
    interval = grouped_share_interval(np.full(50, 90), np.full(50, 100))
    assert interval == wilson_interval(4500, 5000, float(stats.t.ppf(0.975, 49)))


def test_a_share_of_groups_of_one_mind_is_that_of_the_groups() -> None:
    """Requests of a group all hit or all miss, so 40 groups of 100 are worth about 40 requests."""
    hits = np.where(np.arange(40) < 30, 100, 0)
    interval = grouped_share_interval(hits, np.full(40, 100))
    assert interval.estimate == 0.75
    wanted = wilson_interval(0.75 * 39, 39, float(stats.t.ppf(0.975, 39)))
    assert interval.lower == pytest.approx(wanted.lower)
    assert interval.upper == pytest.approx(wanted.upper)


def test_a_share_of_which_nothing_is_known() -> None:
    assert grouped_share_interval(np.array([5]), np.array([10])) == (0.5, 0.0, 1.0)
    assert grouped_share_interval(np.array([0, 0]), np.array([0, 0]))[1:] == (0.0, 1.0)
    all_hit = grouped_share_interval(np.full(10, 100), np.full(10, 100))
    assert 0.99 < all_hit.lower < 1.0 == all_hit.upper


def test_paired_t_of_a_textbook_sample() -> None:
    """Differences 1, 2, 3, 4, 5: mean 3, t(0.975, 4) = 2.776; the pairs vary far more than their differences."""
    first = np.array([10.0, 50.0, 20.0, 90.0, 30.0])
    paired = paired_interval(first, first + np.arange(1.0, 6.0))
    assert (paired.first, paired.second) == (40.0, 43.0)
    assert paired.difference.estimate == 3.0
    assert paired.difference.upper - 3.0 == pytest.approx(2.776 * math.sqrt(2.5 / 5), rel=2e-4)
    second = first + np.arange(1.0, 6.0)
    assert paired.variance_reduction == pytest.approx(1 - 2.5 / (np.var(first, ddof=1) + np.var(second, ddof=1)))


def test_paired_t_of_too_little() -> None:
    one = paired_interval(np.array([1.0]), np.array([3.0]))
    assert one.difference == (2.0, -math.inf, math.inf)
    assert math.isnan(one.variance_reduction)
    with pytest.raises(ValueError, match="no pairs"):
        paired_interval(np.ones(2), np.ones(3))


def test_a_shift_of_every_request_is_known_exactly_when_paired() -> None:
    rng = np.random.default_rng(1)
    values = rng.exponential(size=3000)
    for paired in paired_block_bootstrap(values, values + 0.25, (None, 0.5, 0.99), 30, 200, rng):
        assert paired.difference == pytest.approx((0.25, 0.25, 0.25), abs=1e-12)
        assert paired.variance_reduction == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("n_blocks", [1, 3, 7, 50])
@pytest.mark.parametrize("kind", ["noise", "trend", "ties"])
def test_resampled_figures_are_those_of_the_blocks_laid_side_by_side(kind: str, n_blocks: int) -> None:
    """A trend moves the quantile of a resample far from that of all; the second series lacks every fifth value."""
    rng = np.random.default_rng(6)
    n, n_resamples, probabilities = 350, 40, (None, 0.1, 0.5, 0.95)
    first = {"noise": rng.normal(size=n), "trend": np.arange(float(n)), "ties": rng.integers(0, 3, n) * 1.0}[kind]
    second = np.where(np.arange(n) % 5 == 0, math.nan, first**2)
    found = paired_block_bootstrap(first, second, probabilities, n_blocks, n_resamples, np.random.default_rng(8), 0.9)
    same, length = np.random.default_rng(8), math.ceil(n / n_blocks)
    differences = []
    for _ in range(n_resamples):
        starts = same.integers(0, n, math.ceil(n / length))
        places = (starts[:, None] + np.arange(length)).ravel() % n
        figures = []
        for values in (first[places], second[places]):
            ranked = np.sort(values[~np.isnan(values)])
            ranks = [math.ceil(p * len(ranked) - 1e-9) - 1 for p in probabilities if p is not None]
            figures.append([ranked.mean(), *ranked[ranks]])
        differences.append(np.subtract(figures[1], figures[0]))
    for paired, resampled in zip(found, np.array(differences).T, strict=True):
        lower, upper = np.quantile(resampled, [0.05, 0.95])
        assert paired.difference.lower == pytest.approx(min(lower, paired.difference.estimate), abs=1e-9)
        assert paired.difference.upper == pytest.approx(max(upper, paired.difference.estimate), abs=1e-9)


def test_a_request_without_a_figure_is_left_out_of_that_fleet_alone() -> None:
    rng = np.random.default_rng(2)
    first = rng.exponential(size=2000)
    second = np.where(first > 2.0, math.nan, first)
    mean, median = paired_block_bootstrap(first, second, (None, 0.5), 20, 200, rng)
    assert mean.first == pytest.approx(first.mean())
    assert mean.second == pytest.approx(first[first <= 2.0].mean())
    assert mean.difference.upper < 0
    assert median.difference.lower <= median.difference.estimate <= median.difference.upper <= 0


def test_a_paired_bootstrap_of_too_little_bounds_nothing() -> None:
    rng = np.random.default_rng(3)
    few = rng.exponential(size=367)
    median, p99 = paired_block_bootstrap(few, few, (0.5, 0.99), 10, 50, rng)
    assert math.isfinite(median.difference.upper)
    assert p99.difference[1:] == (-math.inf, math.inf)
    for nothing in (np.array([]), np.full(400, math.nan)):
        (mean,) = paired_block_bootstrap(nothing, nothing, (None,), 10, 50, rng)
        assert math.isnan(mean.difference.estimate)
        assert mean.difference[1:] == (-math.inf, math.inf)
    with pytest.raises(ValueError, match="no pairs"):
        paired_block_bootstrap(few, few[1:], (None,), 10, 50, rng)
    with pytest.raises(ValueError, match="probability"):
        paired_block_bootstrap(few, few, (99.0,), 10, 50, rng)


@pytest.mark.parametrize(
    "interval",
    [
        lambda c: order_statistic_interval(np.arange(9.0), 0.5, c),
        lambda c: batch_means_interval(np.arange(900.0), confidence=c),
        lambda c: batch_quantile_interval(np.arange(900.0), 0.5, confidence=c),
        lambda c: grouped_share_interval(np.ones(3), np.ones(3), c),
        lambda c: paired_interval(np.arange(9.0), np.arange(9.0), c),
        lambda c: paired_block_bootstrap(np.arange(9.0), np.arange(9.0), (None,), 3, 5, np.random.default_rng(1), c),
    ],
)
def test_confidence_is_between_0_and_1(interval) -> None:
    with pytest.raises(ValueError, match="confidence is 95"):
        interval(95)


def test_two_batches_at_least() -> None:
    with pytest.raises(ValueError, match="n_batches is 1"):
        batch_means_interval(np.arange(900.0), 1)
