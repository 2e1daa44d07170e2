"""Arrival statistics against the theory of point processes, on simulated streams with fixed seeds."""

import numpy as np
import pytest
from scipy import stats

from fleetopt.workload.arrivals import index_of_dispersion
from fleetopt.workload.processes import poisson_arrivals


def dispersion(arrival_s: np.ndarray, horizon_s: int, window_s: int) -> float:
    second, requests = np.unique(arrival_s[arrival_s < horizon_s].astype(np.int64), return_counts=True)
    result = index_of_dispersion(second, requests, np.array([[0, horizon_s]]), window_s)
    assert result is not None
    return result


def test_poisson_gaps_are_exponential_with_the_rate() -> None:
    gaps = np.diff(poisson_arrivals(3.0, 20_000, np.random.default_rng(21)), prepend=0.0)
    assert stats.kstest(gaps, "expon", args=(0, 1 / 3)).pvalue > 0.001
    correlation = np.corrcoef(gaps[:-1], gaps[1:])[0, 1]
    assert abs(correlation) < 3.3 / np.sqrt(len(gaps))


@pytest.mark.parametrize("window_s", [1, 10, 60])
def test_dispersion_of_a_poisson_stream_is_1(window_s: int) -> None:
    """(bins - 1) x index is chi-squared with bins - 1 degrees of freedom (Fisher's dispersion test)."""
    horizon_s = 36_000
    index = dispersion(poisson_arrivals(5.0, 200_000, np.random.default_rng(22)), horizon_s, window_s)
    freedom = horizon_s // window_s - 1
    lower, upper = stats.chi2.ppf([0.0005, 0.9995], freedom) / freedom
    assert lower < index < upper


def test_dispersion_of_batches_is_the_batch_size() -> None:
    """Batches of b at Poisson times: variance b^2 r, mean b r, so the index is b."""
    batches = np.repeat(poisson_arrivals(2.0, 80_000, np.random.default_rng(23)), 4)
    freedom = 3600 - 1
    lower, upper = 4 * stats.chi2.ppf([0.0005, 0.9995], freedom) / freedom
    assert lower < dispersion(batches, 36_000, 10) < upper


def test_dispersion_of_a_clock_is_0() -> None:
    assert dispersion(np.arange(0, 3600, 0.5), 3600, 10) == 0
