import numpy as np
import pytest
from scipy import stats

from fleetopt.errors import InputError
from fleetopt.workload.arrivals import index_of_dispersion
from fleetopt.workload.dispersion import POISSON, IndexOfDispersion, dispersion_of_times
from fleetopt.workload.processes import gamma_arrivals, markov_modulated_arrivals, poisson_arrivals
from fleetopt.workload.synthesis import scale_rate
from fleetopt.workload.trace import make_trace


def windows_in(arrival_s: np.ndarray, window_s: float) -> float:
    return float(arrival_s[-1] - arrival_s[0]) / window_s


def test_the_curve_is_interpolated_in_the_logarithm_and_constant_beyond_its_ends() -> None:
    curve = IndexOfDispersion((1.0, 100.0), (2.0, 6.0))
    assert curve.at([0.01, 1.0, 10.0, 100.0, 1e6]).tolist() == pytest.approx([2.0, 2.0, 4.0, 6.0, 6.0])


def test_a_share_keeps_its_share_of_the_excess_and_a_rate_its_counts() -> None:
    curve = IndexOfDispersion((1.0, 100.0), (2.0, 6.0))
    assert curve.thinned(0.25).index == (1.25, 2.25)
    assert curve.at_rate(4.0) == IndexOfDispersion((0.25, 25.0), (2.0, 6.0))
    assert curve.is_bursty
    assert not POISSON.is_bursty
    assert POISSON.thinned(0.3) == POISSON
    assert not IndexOfDispersion((1.0, 2.0), (1.0, 0.5)).is_bursty


@pytest.mark.parametrize(
    ("window_s", "index", "message"),
    [
        ((), (), "0 windows"),
        ((1.0, 2.0), (1.0,), "one index a window"),
        ((2.0, 1.0), (1.0, 1.0), "increase"),
        ((0.0, 1.0), (1.0, 1.0), "increase"),
        ((1.0,), (-1.0,), "negative"),
        ((1.0,), (float("nan"),), "not finite"),
    ],
)
def test_a_curve_that_is_none_is_refused(window_s: tuple[float, ...], index: tuple[float, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        IndexOfDispersion(window_s, index)


def test_a_poisson_stream_has_1_at_every_window() -> None:
    arrival_s = poisson_arrivals(5.0, 100_000, np.random.default_rng(1))
    curve = dispersion_of_times(arrival_s)
    for window_s, index in zip(curve.window_s, curve.index, strict=True):
        freedom = windows_in(arrival_s, window_s) - 1  # at least: overlapping windows know more than consecutive ones
        lower, upper = stats.chi2.ppf([1e-5, 1 - 1e-5], freedom) / freedom
        assert lower < index < upper


@pytest.mark.parametrize("cv", [0.5, 2.0])
def test_long_windows_of_a_renewal_stream_have_the_variation_of_its_gaps(cv: float) -> None:
    """Cox (1962), Renewal Theory, chapter 4."""
    curve = dispersion_of_times(gamma_arrivals(5.0, cv, 200_000, np.random.default_rng(2)))
    assert float(curve.at(100.0)) == pytest.approx(cv**2, rel=0.1)
    assert abs(float(curve.at(0.05)) - 1) < abs(cv**2 - 1)


def test_a_markov_modulated_stream_has_its_closed_form() -> None:
    """Rates a and b, changing at u and v: ``I(t) = 1 + 2 var / (mean k) (1 - (1 - e^(-kt)) / (kt))``, k = u + v.

    The rate's covariance is ``var e^(-k lag)`` (Fischer and Meier-Hellstern 1993, section 2).
    """
    rates, sojourn_s = np.array([2.0, 12.0]), np.array([3.0, 1.0])
    share = sojourn_s / sojourn_s.sum()
    mean, k = share @ rates, (1 / sojourn_s).sum()
    variance = share @ (rates - mean) ** 2
    curve = dispersion_of_times(markov_modulated_arrivals(rates, sojourn_s, 200_000, np.random.default_rng(3)))
    for window_s in (0.2, 1.0, 5.0, 50.0):
        exact = 1 + 2 * variance / (mean * k) * (1 - (1 - np.exp(-k * window_s)) / (k * window_s))
        assert float(curve.at(window_s)) == pytest.approx(exact, rel=0.08)


def test_a_replay_at_another_rate_keeps_the_index_per_expected_count() -> None:
    arrival_s = gamma_arrivals(3.0, 3.0, 20_000, np.random.default_rng(4))
    ones = np.ones(len(arrival_s), np.int64)
    faster = scale_rate(make_trace(arrival_s, ones, ones), 8.0)
    measured, expected = dispersion_of_times(faster.arrival_s), dispersion_of_times(arrival_s).at_rate(8.0)
    np.testing.assert_allclose(measured.window_s, expected.window_s)
    np.testing.assert_allclose(measured.index, expected.index, rtol=0.01)


def test_overlapping_windows_are_counted_at_every_part_of_a_window() -> None:
    arrival_s = np.sort(np.random.default_rng(6).uniform(0, 40, 90))
    counts = [((arrival_s >= start) & (arrival_s < start + 4)).sum() for start in np.arange(0, 36.5, 1.0)]
    result = index_of_dispersion(arrival_s, np.ones(90), np.array([[0.0, 40.0]]), 4.0, overlap=4)
    assert result == pytest.approx(np.var(counts) * len(counts) / (len(counts) - 4) / np.mean(counts))


def test_too_little_to_say_anything_is_refused() -> None:
    with pytest.raises(InputError, match="at one time"):
        dispersion_of_times(np.array([3.0, 3.0]))
    with pytest.raises(InputError, match="at one time"):
        dispersion_of_times(np.array([]))
