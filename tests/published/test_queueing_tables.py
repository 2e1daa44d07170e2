"""Printed values of queueing textbooks, against the formulas that judge the simulator, and against the simulator."""

import numpy as np
import pytest

from tests.theory.queues import (
    assert_theory_within,
    erlang_arrivals_mean_wait,
    fleet_of,
    mdc_mean_wait,
    mmc_wait,
    poisson,
    replica,
    replicate,
    serve,
    shortest_queue_mean_sojourn,
    steady,
)

CLINIC_DOCTORS, CLINIC_RATE_PER_HOUR, CLINIC_SERVICE_MINUTES = 3, 6.0, 20.0
"""D. Gross, C. M. Harris, Fundamentals of Queueing Theory, M/M/c: the eye clinic. L_q = 8/9, W = 28.9 minutes."""


def test_the_formula_gives_the_eye_clinic():
    wait = mmc_wait(CLINIC_DOCTORS, CLINIC_RATE_PER_HOUR / 60.0, CLINIC_SERVICE_MINUTES)
    mean_wait_minutes = wait.mean_s
    assert CLINIC_RATE_PER_HOUR / 60.0 * mean_wait_minutes == pytest.approx(0.889, abs=0.0005)
    assert mean_wait_minutes + CLINIC_SERVICE_MINUTES == pytest.approx(28.9, abs=0.05)


def test_the_simulator_gives_the_eye_clinic():
    """Doctors are slots of one replica; an iteration is 4 s of an examination, of 300 iterations in the mean."""
    iteration_s, mean_tokens, n = 4.0, 300.0, 20_000
    clinic = fleet_of(replica(base_s=iteration_s, max_sequences=CLINIC_DOCTORS))

    def simulated(rng: np.random.Generator) -> float:
        result = serve(clinic, poisson(CLINIC_RATE_PER_HOUR / 3600.0, n, rng), rng.geometric(1.0 / mean_tokens, n))
        return float(steady(result.e2e_s).mean()) / 60.0

    # An examination starts with an iteration, half of 4 s after the arrival: 0.1 % of the visit.
    assert_theory_within(replicate(simulated), 28.9, 0.03)


@pytest.mark.parametrize(
    ("servers", "rate_per_hour", "service_hours", "waits", "mean_wait_hours", "waits_an_hour"),
    [(1, 2.0, 1 / 3, 0.667, 0.667, 0.245), (2, 2.0, 1 / 3, 0.167, 0.042, 0.003)],
)
def test_the_formula_gives_the_county_hospital(
    servers, rate_per_hour, service_hours, waits, mean_wait_hours, waits_an_hour
):
    """F. S. Hillier, G. J. Lieberman, Introduction to Operations Research, M/M/s: the emergency room with one doctor
    and with two. P{W_q > 0}, W_q = 2/3 and 1/24 h, P{W_q > 1 h}."""
    wait = mmc_wait(servers, rate_per_hour, service_hours)
    assert wait.probability == pytest.approx(waits, abs=0.0005)
    assert wait.mean_s == pytest.approx(mean_wait_hours, abs=0.0005)
    assert wait.exceeds(1.0) == pytest.approx(waits_an_hour, abs=0.0005)


def test_the_formula_gives_the_call_centre():
    """360 calls per half hour of 4 minutes each, 55 agents: an example in wide use; E_C(55, 48) = 0.239."""
    assert mmc_wait(55, 360 / 30, 4.0).probability == pytest.approx(0.239, abs=0.0005)


@pytest.mark.parametrize("load", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("servers", [2, 5, 10])
def test_constant_service_is_near_the_published_approximation(servers: int, load: float):
    """Cosmetatos (1976), Operational Research Quarterly 27: M/D/c waits against M/M/c, within 2 % at these loads."""
    exact = mdc_mean_wait(servers, servers * load, 1.0)
    exponential = mmc_wait(servers, servers * load, 1.0)
    correction = (1 - load) * (servers - 1) * (np.sqrt(4 + 5 * servers) - 2) / (16 * servers * load)
    assert exact == pytest.approx(0.5 * exponential.mean_s * (1 + correction), rel=0.02)


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_numerical_solutions_have_their_known_special_cases(load: float):
    """One server of constant service is M/D/1, Erlang-1 arrivals are Poisson, and the shortest of two queues lies
    between two servers with one queue and two with a queue each."""
    assert mdc_mean_wait(1, load, 1.0) == pytest.approx(load / (2 * (1 - load)), rel=1e-8)
    assert erlang_arrivals_mean_wait(1, load, 1.0) == pytest.approx(load / (1 - load), rel=1e-9)
    assert 1 / (1 - load**2) < shortest_queue_mean_sojourn(2 * load, 1.0) < 1 / (1 - load)
