"""Arrival processes against closed forms: figures of independent streams, theory within their 99.9 % interval."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from scipy import stats

from fleetopt.simulator.statistics import replication_interval
from fleetopt.workload.processes import (
    ArrivalProcess,
    gamma_arrivals,
    markov_modulated_arrivals,
    poisson_arrivals,
    rate_curve_arrivals,
    weibull_arrivals,
)
from fleetopt.workload.synthesis import scale_rate
from fleetopt.workload.trace import make_trace

RATE_RPS = 4.0


def assert_mean_is(theory: float, figure: Callable[[np.random.Generator], float], half_width: float) -> None:
    """Theory lies within the interval, and the interval is no wider than half_width (a share of theory) each way."""
    values = [figure(np.random.default_rng(stream)) for stream in np.random.SeedSequence(314).spawn(20)]
    interval = replication_interval(np.array(values), confidence=0.999)
    assert interval.lower <= theory <= interval.upper
    assert (interval.upper - interval.lower) / 2 <= half_width * theory


def dispersion(arrival_s: np.ndarray, rate_rps: float, window_s: float) -> float:
    """Index of dispersion with the true mean, which has no bias: E (N - mean)^2 / mean."""
    counts = np.bincount((arrival_s / window_s).astype(np.int64))[:-1]
    mean = rate_rps * window_s
    return float(((counts - mean) ** 2).mean() / mean)


def renewal(cv: float) -> list[ArrivalProcess]:
    return [partial(gamma_arrivals, RATE_RPS, cv), partial(weibull_arrivals, RATE_RPS, cv)]


@pytest.mark.parametrize("cv", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("kind", [0, 1])
def test_renewal_gaps_have_the_rate_and_the_cv(kind: int, cv: float) -> None:
    process = renewal(cv)[kind]
    assert_mean_is(1 / RATE_RPS, lambda rng: process(50_000, rng)[-1] / 50_000, 0.02)
    # E gap^2 = (1 + cv^2) / rate^2 has an estimate without bias
    second_moment = (1 + cv**2) / RATE_RPS**2
    assert_mean_is(second_moment, lambda rng: float((np.diff(process(50_000, rng), prepend=0) ** 2).mean()), 0.06)


@pytest.mark.parametrize("kind", [0, 1])
def test_renewal_dispersion_tends_to_the_squared_cv(kind: int) -> None:
    """cv^2 is the limit; with windows of 800 gaps the next term, of order 1 / window, is below 1 %."""
    process = renewal(2.0)[kind]
    assert_mean_is(4.0, lambda rng: dispersion(process(400_000, rng), RATE_RPS, 200.0), 0.06)


@pytest.mark.parametrize("kind", [0, 1])
def test_a_cv_of_1_is_poisson(kind: int) -> None:
    gaps = np.diff(renewal(1.0)[kind](20_000, np.random.default_rng(8)), prepend=0.0)
    assert stats.kstest(gaps, "expon", args=(0, 1 / RATE_RPS)).pvalue > 0.001


def test_gamma_and_weibull_are_the_distributions_of_that_name() -> None:
    gamma, weibull = (np.diff(p(20_000, np.random.default_rng(9)), prepend=0.0) for p in renewal(2.0))
    assert stats.kstest(gamma, stats.gamma(0.25, scale=1.0).cdf).pvalue > 0.001
    shape = 0.5426904  # stats.weibull_min(0.5426904): standard deviation / mean is 2, asserted below
    unit = stats.weibull_min(shape)
    assert unit.std() / unit.mean() == pytest.approx(2, rel=1e-5)
    assert stats.kstest(weibull, stats.weibull_min(shape, scale=0.25 / unit.mean()).cdf).pvalue > 0.001


def mmpp2_dispersion(rates_rps: np.ndarray, sojourn_s: np.ndarray, window_s: float) -> float:
    """Index of dispersion of counts of a stationary two-state MMPP (Fischer and Meier-Hellstern 1993)."""
    leave = 1 / sojourn_s
    total = leave.sum()
    share = sojourn_s / sojourn_s.sum()
    limit = 2 * leave.prod() * (rates_rps[0] - rates_rps[1]) ** 2 / (total**3 * (share @ rates_rps))
    return 1 + limit * (1 - (1 - np.exp(-total * window_s)) / (total * window_s))


@pytest.mark.parametrize(("rates", "sojourns"), [((1.0, 12.0), (8.0, 3.0)), ((0.0, 20.0), (2.0, 0.5))])
def test_mmpp_has_the_dispersion_of_the_closed_form_at_every_window(rates, sojourns) -> None:
    rates_rps, sojourn_s = np.array(rates), np.array(sojourns)
    mean_rate = rates_rps @ sojourn_s / sojourn_s.sum()
    process = partial(markov_modulated_arrivals, rates_rps, sojourn_s)
    assert_mean_is(mean_rate, lambda rng: 30_000 / process(30_000, rng)[-1], 0.05)
    for window_s in (0.2, 3.0, 60.0):
        theory = mmpp2_dispersion(rates_rps, sojourn_s, window_s)
        assert_mean_is(theory, lambda rng, w=window_s: dispersion(process(150_000, rng), mean_rate, w), 0.12)


def test_mmpp_of_three_states_spends_its_time_as_its_generator_says() -> None:
    """Dispersion 1 + 2 / (m w) int (w - u) C(u) du, where C(u) is the covariance of the rate over a lag u under Q."""
    rates_rps, sojourn_s = np.array([2.0, 9.0, 30.0]), np.array([5.0, 2.0, 0.7])
    jumps = np.array([[0, 0.9, 0.1], [0.4, 0, 0.6], [1.0, 0, 0]])
    generator = (jumps - np.eye(3)) / sojourn_s[:, None]
    share = np.linalg.lstsq(np.vstack((generator.T, np.ones(3))), np.array([0, 0, 0, 1.0]), rcond=None)[0]
    mean_rate, window_s = share @ rates_rps, 4.0
    values, right = np.linalg.eig(generator)
    step = window_s / 4000
    lags = (np.arange(4000) + 0.5) * step
    later = np.einsum("ij,lj,jk,k->li", right, np.exp(np.outer(lags, values)), np.linalg.inv(right), rates_rps).real
    covariance = later @ (share * rates_rps) - mean_rate**2
    theory = 1 + 2 * step * float(((window_s - lags) * covariance).sum()) / (mean_rate * window_s)
    process = partial(markov_modulated_arrivals, rates_rps, sojourn_s, next_state=jumps)
    assert_mean_is(theory, lambda rng: dispersion(process(150_000, rng), mean_rate, window_s), 0.06)


def test_mmpp_starts_stationary() -> None:
    """Arrivals in the first tenth of a second, before the chain has moved, come at the mean rate."""
    process = partial(markov_modulated_arrivals, np.array([0.0, 100.0]), np.array([90.0, 10.0]))

    def early_rate(rng: np.random.Generator) -> float:
        return float(np.mean([(process(30, rng) < 0.1).sum() / 0.1 for _ in range(400)]))

    assert_mean_is(10.0, early_rate, 0.25)


def test_counts_of_a_rate_curve_are_poisson_in_every_step() -> None:
    """Means and variances of the counts in each step over many rounds of the curve (Fisher's dispersion test)."""
    rates, durations, rounds = np.array([1.0, 0.0, 8.0, 3.0]), np.array([10.0, 5.0, 2.0, 20.0]), 3000
    expected = rates * durations
    arrival_s = rate_curve_arrivals(rates, durations, int(expected.sum() * rounds * 1.1), np.random.default_rng(5))
    edges = (np.arange(rounds)[:, None] * 37.0 + np.array([0, 10.0, 15.0, 17.0])).ravel()
    counts = np.diff(np.searchsorted(arrival_s, np.append(edges, rounds * 37.0))).reshape(rounds, 4)
    assert (counts[:, 1] == 0).all()
    for step in (0, 2, 3):
        lower, upper = stats.poisson.ppf([0.0005, 0.9995], expected[step] * rounds)
        assert lower <= counts[:, step].sum() <= upper
        assert upper / lower < 1.05
        lower, upper = stats.chi2.ppf([0.0005, 0.9995], rounds - 1) / (rounds - 1)
        assert lower < counts[:, step].var(ddof=1) / counts[:, step].mean() < upper
    within = arrival_s[(arrival_s % 37.0) > 17.0] % 37.0
    assert stats.kstest(within, stats.uniform(17.0, 20.0).cdf).pvalue > 0.001


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_a_scaled_trace_has_the_dispersion_of_the_closed_form_at_the_window_scaled(factor: float) -> None:
    """I_k(w) = I(k w): for an MMPP that is an MMPP with rates k times as high and sojourns 1/k as long."""
    rates_rps, sojourn_s = np.array([1.0, 12.0]), np.array([8.0, 3.0])
    mean_rate = factor * (rates_rps @ sojourn_s) / sojourn_s.sum()

    def scaled(rng: np.random.Generator) -> np.ndarray:
        arrival_s = markov_modulated_arrivals(rates_rps, sojourn_s, 150_000, rng)
        ones = np.ones(len(arrival_s), np.int64)
        return scale_rate(make_trace(arrival_s, ones, ones), factor).arrival_s

    for window_s in (0.5, 10.0):
        theory = mmpp2_dispersion(rates_rps, sojourn_s, factor * window_s)
        assert_mean_is(theory, lambda rng, w=window_s: dispersion(scaled(rng), mean_rate, w), 0.1)


def test_a_scaled_poisson_trace_is_poisson_at_the_new_rate() -> None:
    arrival_s = poisson_arrivals(3.0, 20_000, np.random.default_rng(6))
    ones = np.ones(len(arrival_s), np.int64)
    gaps = np.diff(scale_rate(make_trace(arrival_s, ones, ones), 4.0).arrival_s)
    assert stats.kstest(gaps, "expon", args=(0, 1 / 12)).pvalue > 0.001
