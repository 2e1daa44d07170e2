"""Routers over replicas that are servers of exponential service, where queueing theory knows what they do."""

import numpy as np
import pytest

from fleetopt.simulator import Fleet, SimulationResult, simulate
from fleetopt.workload.trace import make_trace
from tests.theory.queues import (
    assert_theory_within,
    erlang_arrivals_mean_wait,
    fleet_of,
    poisson,
    replica,
    replicate,
    shortest_queue_mean_sojourn,
    steady,
)

TOKENS_PER_S = 20_000
SERVER = replica(base_s=0.0, per_prefill_token_s=1.0 / TOKENS_PER_S, max_sequences=1)
"""One request at a time, of one output token, all of its prompt in one iteration: a server without a grain of time."""


def servers(n: int, router: str) -> Fleet:
    return fleet_of(SERVER, n, router)


def run(
    fleet: Fleet, load: float, n: int, rng: np.random.Generator, interval_s: float | None = None
) -> SimulationResult:
    """Poisson arrivals at ``load`` per server and exponential service of mean 1 s, in units of 1 / 20,000 s."""
    prompt = np.maximum(1, np.rint(rng.exponential(TOKENS_PER_S, n))).astype(np.int64)
    trace = make_trace(poisson(load * fleet.pools[0].replicas, n, rng), prompt, np.ones(n, dtype=np.int64))
    return simulate(trace, fleet, seed=int(rng.integers(1 << 31)), timeline_interval_s=interval_s)


def test_random_makes_independent_m_m_1_queues():
    """Poisson arrivals thinned at random are Poisson: the sojourn is exponential with mean 1 / (1 - load), at each."""
    load, fleet = 0.7, servers(10, "random")

    def simulated(rng: np.random.Generator) -> tuple[float, float, float]:
        result = run(fleet, load, 20_000, rng)
        sojourn_s = steady(result.e2e_s)
        return float(sojourn_s.mean()), float((sojourn_s > 10.0).mean()), float(np.mean(result.replica == 3))

    mean_s, is_late, share = replicate(simulated).T
    assert_theory_within(mean_s, 1 / (1 - load), 0.05)
    assert_theory_within(is_late, float(np.exp(-10.0 * (1 - load))), 0.15)
    assert_theory_within(share, 0.1, 0.03)


@pytest.mark.parametrize("replicas", [2, 5])
def test_round_robin_makes_queues_with_erlang_arrivals(replicas: int):
    """Each of c servers gets every c-th arrival of a Poisson stream: E_c/M/1."""
    load, fleet = 0.8, servers(replicas, "round-robin")
    wait_s = replicate(lambda rng: float(steady(run(fleet, load, 40_000, rng).queue_wait_s).mean()))
    assert_theory_within(wait_s, erlang_arrivals_mean_wait(replicas, load, 1.0), 0.06)


def test_least_loaded_of_two_servers_is_the_shortest_queue():
    """The router counts the request in service, so arrivals join the shorter of two queues (Haight, 1958)."""
    load, fleet = 0.8, servers(2, "least-loaded")
    sojourn_s = replicate(lambda rng: float(steady(run(fleet, load, 60_000, rng).e2e_s).mean()))
    assert_theory_within(sojourn_s, shortest_queue_mean_sojourn(2 * load, 1.0), 0.04)


def test_power_of_two_choices_follows_its_mean_field():
    """On many servers a share load^(2^k - 1) of them holds k requests or more (Mitzenmacher, 2001, section 3).

    The mean sojourn is the sum over k >= 1 of load^(2^k - 2). Both hold for infinitely many servers; on 500 the
    difference drowns in the interval.
    """
    load, fleet = 0.8, servers(500, "power-of-two")

    def simulated(rng: np.random.Generator) -> tuple[float, ...]:
        result = run(fleet, load, 80_000, rng, interval_s=1.0)
        assert result.timeline is not None
        number = steady(result.timeline.running + result.timeline.waiting)
        return float(steady(result.e2e_s).mean()), *(float((number >= k).mean()) for k in (1, 2, 3, 4))

    mean_s, *shares = replicate(simulated, replications=20).T
    assert_theory_within(mean_s, sum(load ** (2**k - 2) for k in range(1, 12)), 0.02)
    for k, share in enumerate(shares, start=1):
        assert_theory_within(share, load ** (2**k - 1), 0.02 * 2**k)
