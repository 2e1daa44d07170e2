"""Waiting-time formulas against exact arithmetic, closed forms and numerical convolution."""

from fractions import Fraction
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from fleetopt.queueing.waiting import WaitTail, dispatched_wait, erlang_c, mgc_wait, sum_exceeds


def erlang_c_exact(n_servers: int, load: Fraction) -> Fraction:
    """Erlang's delay formula as it is printed, in exact fractions."""
    last = load**n_servers / factorial(n_servers) * Fraction(n_servers) / (n_servers - load)
    return last / (sum(load**k / factorial(k) for k in range(n_servers)) + last)


@given(n_servers=st.integers(1, 120), percent=st.integers(1, 99))
def test_erlang_c_equals_the_printed_formula(n_servers, percent):
    load = Fraction(percent, 100) * n_servers
    assert erlang_c(n_servers, float(load)) == pytest.approx(float(erlang_c_exact(n_servers, load)), rel=1e-9)


def test_erlang_c_known_value():
    # Two servers, one erlang: 1/3 (L. Kleinrock, Queueing Systems I, 1975, example after eq. 3.41).
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3, rel=1e-12)


def test_erlang_c_of_thirty_thousand_servers_is_a_probability_and_rises_with_load():
    loads = [29_000, 29_700, 29_900, 29_990]
    values = [erlang_c(30_000, load) for load in loads]
    assert all(0 <= value <= 1 for value in values)
    assert values == sorted(values)
    assert values[-1] > 0.9


@given(load=st.floats(0.05, 0.95), service_cv2=st.floats(0, 10))
def test_one_server_has_the_mean_wait_of_pollaczek_and_khinchine(load, service_cv2):
    expected = load * (1 + service_cv2) / (2 * (1 - load))
    for wait in (mgc_wait(1, load, 1.0, service_cv2), dispatched_wait(1, load, 1.0, service_cv2)):
        assert wait.probability * wait.mean_s == pytest.approx(expected, rel=1e-9)


@given(
    n_servers=st.integers(2, 40),
    load=st.floats(0.1, 0.95),
    service_cv2=st.floats(0, 4),
)
def test_a_queue_per_server_waits_longer_than_one_queue_for_all(n_servers, load, service_cv2):
    arguments = (n_servers, load * n_servers, 1.0, service_cv2)
    pooled, dispatched = mgc_wait(*arguments), dispatched_wait(*arguments)
    assert dispatched.probability >= pooled.probability


def test_overload_is_an_error():
    with pytest.raises(ValueError, match="unstable"):
        mgc_wait(2, 2.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="unstable"):
        dispatched_wait(2, 2.0, 1.0, 1.0)


waits = st.builds(WaitTail, probability=st.floats(0.01, 1.0), mean_s=st.floats(0.05, 20.0))


@given(first=waits, second=waits, x=st.floats(0.0, 60.0))
def test_sum_of_two_waits_is_their_convolution(first, second, x):
    def density(t):
        return first.probability / first.mean_s * np.exp(-t / first.mean_s)

    inner, _ = integrate.quad(
        lambda t: density(t) * float(second.exceeds(np.array(x - t))), 0, x, epsabs=1e-11, epsrel=1e-11, limit=200
    )
    expected = (1 - first.probability) * float(second.exceeds(np.array(x))) + float(first.exceeds(np.array(x))) + inner
    assert float(sum_exceeds(first, second, np.array(x))) == pytest.approx(expected, rel=1e-5, abs=1e-8)


def test_a_sum_of_waits_exceeds_anything_negative():
    wait = WaitTail(probability=0.2, mean_s=1.0)
    assert sum_exceeds(wait, wait, np.array([-1.0, 0.0]))[0] == 1.0
