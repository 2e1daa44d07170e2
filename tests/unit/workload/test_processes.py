"""What every arrival process has in common, and what it refuses."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetopt.errors import InputError
from fleetopt.workload.processes import (
    ArrivalProcess,
    gamma_arrivals,
    markov_modulated_arrivals,
    poisson_arrivals,
    rate_curve_arrivals,
    weibull_arrivals,
)

rates = st.floats(1e-3, 1e4)
seconds = st.floats(1e-2, 1e4)
PROCESSES = st.one_of(
    st.builds(partial, st.just(poisson_arrivals), rates),
    st.builds(partial, st.sampled_from([gamma_arrivals, weibull_arrivals]), rates, st.floats(0.001, 1000)),
    st.builds(
        lambda high, low, stay: partial(markov_modulated_arrivals, [low, high, high / 2], [stay, stay / 3, stay]),
        rates,
        st.just(0.0) | rates,
        seconds,
    ),
    st.builds(lambda high, low, stay: partial(rate_curve_arrivals, [low, high], stay), rates, st.just(0.0), seconds),
)


@settings(max_examples=80)
@given(PROCESSES, st.integers(0, 300), st.integers(0, 2**32))
def test_times_rise_from_0_and_repeat_for_a_seed(process: ArrivalProcess, n: int, seed: int) -> None:
    first, again = (process(n, np.random.default_rng(seed)) for _ in range(2))
    assert (first == again).all()
    assert first.shape == (n,)
    assert first.dtype == np.float64
    assert np.isfinite(first).all()
    assert (np.diff(first, prepend=0.0) >= 0).all()


def test_a_curve_of_one_rate_is_a_poisson_stream() -> None:
    """Repeating it changes nothing: the same unit-rate arrivals, at the same times up to rounding."""
    poisson = poisson_arrivals(4.0, 500, np.random.default_rng(1))
    assert np.allclose(rate_curve_arrivals([4.0], 7.0, 500, np.random.default_rng(1)), poisson, rtol=1e-12)
    assert np.allclose(rate_curve_arrivals([4.0, 4.0], [3.0, 9.0], 500, np.random.default_rng(1)), poisson, rtol=1e-12)


def test_a_jump_of_probability_0_never_happens() -> None:
    """States go round 0, 1, 2; only state 2 has arrivals: groups are apart by the visits to two others."""
    round_trip = np.roll(np.eye(3), 1, axis=1)
    arrival_s = markov_modulated_arrivals([0, 0, 1e4], [1e-3, 1e3, 1e-3], 200, np.random.default_rng(2), round_trip)
    gaps = np.diff(arrival_s)
    assert ((gaps < 0.05) | (gaps > 0.5)).all()
    assert (gaps > 0.5).any()


BAD: list[tuple[Callable[..., np.ndarray], tuple[object, ...], str]] = [
    *[(poisson_arrivals, (rate, 10), "rate_rps: ") for rate in (0.0, -1.0, float("inf"), float("nan"))],
    (poisson_arrivals, (1.0, -1), "n: -1 requests"),
    *[(gamma_arrivals, (1.0, cv, 10), "cv: ") for cv in (0.0, -1.0, float("inf"), float("nan"), 1e4)],
    (gamma_arrivals, (float("nan"), 1.0, 10), "rate_rps: nan"),
    (weibull_arrivals, (1.0, 0.0, 10), "cv: 0.0"),
    (weibull_arrivals, (0.0, 1.0, 10), "rate_rps: 0.0"),
    (markov_modulated_arrivals, ([1.0], [1.0], 10), "one state"),
    (markov_modulated_arrivals, ([], [], 10), "there are no rates"),
    (markov_modulated_arrivals, ([0.0, 0.0], [1.0, 1.0], 10), "all are 0"),
    (markov_modulated_arrivals, ([-1.0, 1.0], [1.0, 1.0], 10), "negative"),
    (markov_modulated_arrivals, ([1.0, 2.0], [1.0], 10), "mean_sojourn_s: 1 times for 2 rates"),
    (markov_modulated_arrivals, ([1.0, 2.0], [0.0, 1.0], 10), "mean_sojourn_s: a time"),
    (markov_modulated_arrivals, ([1.0, 2.0], [1.0, 1.0], -1), "n: -1"),
    (rate_curve_arrivals, ([], 1.0, 10), "there are no rates"),
    (rate_curve_arrivals, ([0.0, 0.0], 1.0, 10), "all are 0"),
    (rate_curve_arrivals, ([1.0, float("nan")], 1.0, 10), "not finite"),
    (rate_curve_arrivals, ([1.0, 2.0], [1.0, 2.0, 3.0], 10), "duration_s: 3 times for 2 rates"),
    (rate_curve_arrivals, ([1.0, 2.0], float("nan"), 10), "duration_s: a time"),
    (rate_curve_arrivals, ([1.0, 2.0], 1.0, -2), "n: -2"),
]


@pytest.mark.parametrize(("process", "arguments", "message"), BAD)
def test_bad_parameters_are_one_line(process, arguments, message) -> None:
    with pytest.raises(InputError, match=message) as caught:
        process(*arguments, np.random.default_rng(1))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("next_state", "message"),
    [
        (np.ones((2, 2)) / 2, "shape"),
        ([[0, 0.5, 0.4], [1, 0, 0], [1, 0, 0]], "sum to 1"),
        ([[0, 1.5, -0.5], [1, 0, 0], [1, 0, 0]], "probabilities"),
        ([[0.5, 0.5, 0], [1, 0, 0], [1, 0, 0]], "0 on the diagonal"),
        ([[0, 1, 0], [1, 0, 0], [1, 0, 0]], "reached"),
    ],
)
def test_bad_jump_probabilities_are_refused(next_state, message) -> None:
    with pytest.raises(InputError, match=message):
        markov_modulated_arrivals([1.0, 2.0, 3.0], [1.0, 1.0, 1.0], 10, np.random.default_rng(1), next_state)
