"""The arrivals of a trace, replayed: the rate asked for, the same bursts, no end."""

import numpy as np
import pytest

from fleetopt.errors import InputError
from fleetopt.workload.dispersion import dispersion_of_times
from fleetopt.workload.processes import markov_modulated_arrivals, poisson_arrivals
from fleetopt.workload.replay import index_in_windows, replayed_arrivals
from fleetopt.workload.synthesis import scale_rate
from fleetopt.workload.trace import make_trace

RNG = np.random.default_rng(3)
SPELLS_S = markov_modulated_arrivals(np.array([1.0, 20.0]), np.array([5.0, 1.0]), 30_000, RNG)


def test_a_round_has_the_gaps_of_the_trace_at_the_rate_asked_for():
    replayed = replayed_arrivals(SPELLS_S)
    n = len(SPELLS_S) - 1
    times_s = replayed.stretch(0, n, 8.0)
    assert times_s[-1] == pytest.approx(n / 8.0)
    factor = 8.0 * (SPELLS_S[-1] - SPELLS_S[0]) / n
    ones = np.ones(n + 1)
    scaled = scale_rate(make_trace(SPELLS_S, ones, ones), factor)
    np.testing.assert_allclose(times_s, scaled.arrival_s[1:] - scaled.arrival_s[0], rtol=1e-9)


def test_rounds_follow_each_other_and_stretches_join():
    replayed = replayed_arrivals(np.array([3.0, 3.0, 4.0, 6.0, 7.0, 7.5, 9.0]))
    np.testing.assert_allclose(replayed.stretch(0, 6, 1.0) + 3.0, [3.0, 4.0, 6.0, 7.0, 7.5, 9.0])
    whole = np.diff(replayed.stretch(4, 20, 2.0), prepend=0.0)
    parts = [np.diff(replayed.stretch(first, 10, 2.0), prepend=0.0) for first in (4, 14)]
    np.testing.assert_allclose(whole, np.concatenate(parts))
    np.testing.assert_allclose(whole[:6], whole[6:12])


def test_the_index_of_dispersion_is_that_of_the_replay():
    replayed = replayed_arrivals(SPELLS_S)
    again = dispersion_of_times(replayed.stretch(0, len(SPELLS_S) - 1, 5.0))
    said, windows_s = replayed.dispersion_at(5.0), (0.1, 1.0, 10.0, 100.0)
    np.testing.assert_allclose(said.at(windows_s), again.at(windows_s), rtol=0.02)
    assert said.at(10.0) > 5
    assert index_in_windows(SPELLS_S, 5.0, 10.0) == pytest.approx(float(said.at(10.0)))


def test_poisson_arrivals_have_an_index_of_one_and_too_few_have_none():
    assert index_in_windows(poisson_arrivals(2.0, 50_000, RNG), 20.0, 10.0) == pytest.approx(1.0, abs=0.15)
    assert index_in_windows(np.array([1.0, 1.0]), 20.0, 10.0) is None
    assert index_in_windows(np.empty(0), 20.0, 10.0) is None
    with pytest.raises(InputError, match="at one time"):
        replayed_arrivals(np.array([1.0, 1.0]))
