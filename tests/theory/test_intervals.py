"""Coverage of the intervals on series whose true figures are known: many series, fixed seeds.

Of n intervals that hold with probability p at least ``binom.ppf(0.001, n, p)`` do, but for one time in 1,000.
"""

import numpy as np
import pytest
from scipy import signal, stats

from fleetopt.simulator.statistics import (
    batch_means_interval,
    batch_quantile_interval,
    batch_share_interval,
    grouped_share_interval,
    order_statistic_interval,
    paired_block_bootstrap,
    paired_interval,
    wilson_interval,
)

SERIES = 300
LEAST_AT_95 = stats.binom.ppf(0.001, SERIES, 0.95)
LEAST_AT_90 = stats.binom.ppf(0.001, SERIES, 0.90)


def autoregressive(rng: np.random.Generator, n: int, coefficient: float) -> np.ndarray:
    """Stationary, standard normal at each time."""
    noise = rng.normal(size=n) * np.sqrt(1 - coefficient**2)
    noise[0] = rng.normal()
    return signal.lfilter([1.0], [1.0, -coefficient], noise)


def streams(seed: int) -> list[np.random.Generator]:
    return [np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(SERIES)]


@pytest.mark.parametrize("probability", [0.5, 0.9, 0.99])
def test_order_statistics_cover_whatever_the_distribution(probability: float) -> None:
    target = stats.pareto(1.5).ppf(probability)
    intervals = [order_statistic_interval(rng.pareto(1.5, 2000) + 1, probability) for rng in streams(1)]
    assert sum(i.lower <= target <= i.upper for i in intervals) >= LEAST_AT_95


def test_batch_means_and_batch_quantiles_cover_in_an_autocorrelated_run_and_independent_formulas_do_not() -> None:
    """AR(1), correlated over some 40 places, in batches of 1,000."""
    targets = {0.5: 0.0, 0.9: stats.norm.ppf(0.9), 0.99: stats.norm.ppf(0.99)}
    covered = dict.fromkeys(["mean", *targets, "naive", "share", "wilson"], 0)
    share = stats.norm.cdf(1.0)
    for rng in streams(2):
        values = autoregressive(rng, 20_000, 0.95)
        mean = batch_means_interval(values)
        covered["mean"] += mean.lower <= 0 <= mean.upper
        for probability, target in targets.items():
            interval = batch_quantile_interval(values, probability)
            covered[probability] += interval.lower <= target <= interval.upper
        naive = order_statistic_interval(values, 0.9)
        covered["naive"] += naive.lower <= targets[0.9] <= naive.upper
        hit = batch_share_interval(values <= 1.0)
        covered["share"] += hit.lower <= share <= hit.upper
        wilson = wilson_interval((values <= 1.0).sum(), len(values), 1.96)
        covered["wilson"] += wilson.lower <= share <= wilson.upper
    for name in ("mean", "share", *targets):
        assert covered[name] >= LEAST_AT_95, name
    assert covered["naive"] < SERIES / 2
    assert covered["wilson"] < SERIES / 2


def test_batch_quantiles_are_narrow_enough_to_mean_something() -> None:
    """Against the asymptotic half-width of the P90, from the covariances of the indicator over all lags."""
    widths = [
        i.upper - i.lower for i in (batch_quantile_interval(autoregressive(r, 20_000, 0.95), 0.9) for r in streams(3))
    ]
    quantile = stats.norm.ppf(0.9)
    lags = 0.95 ** np.arange(1, 400)
    joint = [stats.multivariate_normal([0, 0], [[1, c], [c, 1]]).cdf([quantile, quantile]) for c in lags]
    variance = 0.9 * 0.1 + 2 * float(np.sum(np.array(joint) - 0.81))
    half_width = stats.t.ppf(0.975, 19) * np.sqrt(variance / 20_000) / stats.norm.pdf(quantile)
    assert np.mean(widths) / 2 == pytest.approx(half_width, rel=0.1)


def test_a_share_over_replications_covers_near_1_where_a_mean_of_shares_has_no_width() -> None:
    """Share of hits 0.998, misses in clumps of about 5: of ten replications many miss nothing at all."""
    covered = 0
    for rng in streams(4):
        misses = rng.poisson(0.4, 10) * 5
        interval = grouped_share_interval(1000 - misses, np.full(10, 1000))
        covered += interval.lower <= 0.998 <= interval.upper
    assert covered >= LEAST_AT_90


def test_common_random_numbers_cover_the_difference_and_shrink_its_interval() -> None:
    """Pairs with correlation 0.9: variance of the difference 0.2 against 2, a reduction of 0.9."""
    covered, reductions = 0, []
    for rng in streams(5):
        common, own = rng.normal(size=200), rng.normal(size=(2, 200))
        first, second = (np.sqrt(0.9) * common + np.sqrt(0.1) * noise for noise in own)
        paired = paired_interval(first, second + 0.3)
        covered += paired.difference.lower <= 0.3 <= paired.difference.upper
        reductions.append(paired.variance_reduction)
    assert covered >= LEAST_AT_95
    assert np.mean(reductions) == pytest.approx(0.9, abs=0.02)


def test_the_paired_bootstrap_covers_and_is_narrower_than_two_series_apart() -> None:
    """One trace: autocorrelated, the second fleet adds noise of its own, which moves mean and P90 by known amounts."""
    covered, reductions = np.zeros(2), []
    targets = 0.5, 0.5 + stats.norm.ppf(0.9) * (np.sqrt(1.04) - 1)
    for rng in streams(6)[:100]:
        first = autoregressive(rng, 4000, 0.9)
        second = first + 0.5 + 0.2 * autoregressive(rng, 4000, 0.9)
        both = paired_block_bootstrap(first, second, (None, 0.9), 40, 200, rng)
        covered += [p.difference.lower <= t <= p.difference.upper for p, t in zip(both, targets, strict=True)]
        reductions.append([p.variance_reduction for p in both])
    assert (covered >= stats.binom.ppf(0.001, 100, 0.9)).all()
    assert (np.mean(reductions, axis=0) > [0.95, 0.85]).all()
