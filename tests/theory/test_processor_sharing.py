"""Limits in which a replica shares its time among the running requests: M/G/1-PS, limited sharing, and W > 0.

An iteration of n sequences lasts W + a n and gives each of them one token (with one-token prompts that cost what a
decode step costs, p = a, the first iteration is like any other). Tokens come out at the speed n / (W + a n) and are
spread evenly: as iterations become short against a request, a processor-sharing server whose speed depends on n.

W -> 0 is M/G/1-PS whatever the outputs; a -> 0 is M/G/infinity, or with c slots M/M/c (test_queue_limits.py). The
queue M/M/c-PS proper, a server of speed min(n, c), is not a limit of one replica, whose speed has no corner at c, nor
of several, among which requests do not move once they are routed; it has the number in system, and so by Little the
mean sojourn, of M/M/c, which the slots give. What one replica gives instead is the whole family between M/G/infinity
and M/G/1-PS, of which the corner is a caricature, and what several give is c processor-sharing servers behind a router.

An arrival waits for the end of the running iteration, at most a token of everybody who runs: with outputs of m tokens
in the mean of the order of 1 / m of the sojourn, far below the width of the intervals, and not corrected for.
"""

from collections.abc import Callable

import numpy as np
import pytest

from fleetopt.simulator import Fleet
from tests.theory.queues import (
    assert_theory_within,
    birth_death,
    fleet_of,
    poisson,
    replica,
    replicate,
    serve,
    shortest_queue_mean_sojourn,
    steady,
)

MEAN_TOKENS = 300
N_REQUESTS = 20_000

Outputs = Callable[[np.random.Generator], np.ndarray]


def geometric(rng: np.random.Generator) -> np.ndarray:
    return rng.geometric(1.0 / MEAN_TOKENS, N_REQUESTS)


def two_point(rng: np.random.Generator) -> np.ndarray:
    """A tenth of the requests does seven tenths of the work: squared coefficient of variation 4."""
    return np.where(rng.random(N_REQUESTS) < 0.1, 2_100, 100)


def constant(rng: np.random.Generator) -> np.ndarray:
    return np.full(N_REQUESTS, MEAN_TOKENS)


def sharing(base_s: float, per_token_s: float, slots: int = 1_000, replicas: int = 1) -> Fleet:
    profile = replica(base_s=base_s, per_sequence_s=per_token_s, per_prefill_token_s=per_token_s, max_sequences=slots)
    return fleet_of(profile, replicas)


@pytest.mark.parametrize("outputs", [geometric, two_point, constant])
def test_without_base_time_a_replica_is_m_g_1_ps(outputs: Outputs):
    """W = 0: the mean sojourn of a request of x tokens is a x / (1 - load), the same factor for short and for long.

    Kleinrock (1976), Queueing Systems II, section 4.4: neither the distribution of the outputs nor their order counts.
    """
    load, fleet = 0.6, sharing(0.0, 1.0)

    def simulated(rng: np.random.Generator) -> tuple[float, float, float]:
        tokens = outputs(rng)
        sojourn_s = steady(serve(fleet, poisson(load / MEAN_TOKENS, N_REQUESTS, rng), tokens).e2e_s)
        tokens = steady(tokens)
        is_short = tokens <= np.median(tokens)
        short, long = (float(sojourn_s[part].sum() / max(tokens[part].sum(), 1)) for part in (is_short, ~is_short))
        return float(sojourn_s.mean()), short, long

    mean_s, short_slowdown, long_slowdown = replicate(simulated).T
    assert_theory_within(mean_s, MEAN_TOKENS / (1 - load), 0.05)
    assert_theory_within(short_slowdown, 1 / (1 - load), 0.05)
    if outputs is not constant:
        assert_theory_within(long_slowdown, 1 / (1 - load), 0.05)


@pytest.mark.parametrize("outputs", [geometric, two_point, constant])
@pytest.mark.parametrize(("base_s", "load"), [(1.0, 0.7), (40.0, 0.8)])
def test_with_base_time_the_number_running_is_negative_binomial(outputs: Outputs, base_s: float, load: float):
    """W > 0: n run with probability (1 - x)^r (r)_n x^n / n!, x = rate m a, r = W / a + 1, whatever the outputs.

    The product of rate m (W + a k) / k over k = 1 ... n, normalised: the stationary law of a processor-sharing server
    of speed n / (W + a n) (Cohen, 1979, The multiple phase service network with generalized processor sharing; Kelly,
    1979, Reversibility and Stochastic Networks, 3.3). Its mean r x / (1 - x) makes the mean sojourn, after Little,
    m (W + a) / (1 - x): what an engine of this kind does at any load, without fluid limit. Its probability of 0 is
    (1 - x)^r: the busy share that the fluid equilibrium of a replica takes as given.
    """
    fleet = sharing(base_s, 1.0)

    def simulated(rng: np.random.Generator) -> tuple[float, float]:
        result = serve(fleet, poisson(load / MEAN_TOKENS, N_REQUESTS, rng), outputs(rng))
        return float(steady(result.e2e_s).mean()), 1.0 - result.utilization[0].busy

    mean_s, idle = replicate(simulated).T
    # The wait for the end of an iteration, half of W + a n in the mean, is of the order of 1 / m of this.
    assert_theory_within(mean_s, MEAN_TOKENS * (base_s + 1.0) / (1 - load), 0.06)
    if base_s == 1.0:  # with 40 it is 2e-29
        assert_theory_within(idle, (1 - load) ** 2, 0.06)


@pytest.mark.parametrize("base_s", [0.0, 4.0])
def test_slots_limit_the_sharing(base_s: float):
    """N slots: at most N share, others wait first come, first served (limited processor sharing).

    With geometric outputs the number in system is a birth-death process that completes at min(n, N) / (W + a min(n, N))
    / m; who finds N or more waits for n - N + 1 completions. For W = 0 that is M/M/1, whatever N: the wait for a slot
    is load^N m a / (1 - load) in the mean (Avi-Itzhak and Halfin, 1988).
    """
    load, slots, fleet = 0.75, 6, sharing(base_s, 1.0, slots=6)
    full_speed = slots / (base_s + slots)
    rate_rps = load * full_speed / MEAN_TOKENS
    sharers = np.minimum(np.arange(1, 400), slots)
    probability = birth_death(rate_rps, sharers / (base_s + sharers) / MEAN_TOKENS)
    number = np.arange(400)
    sojourn_s = probability @ number / rate_rps
    wait_s = probability @ np.maximum(number - slots + 1, 0) * MEAN_TOKENS / full_speed
    if base_s == 0.0:
        assert wait_s == pytest.approx(load**slots * MEAN_TOKENS / (1 - load), rel=1e-9)
    # Who finds a slot free on a busy replica waits for the end of the iteration.
    boundary_s = probability[1:slots] @ (base_s + number[1:slots]) / 2.0

    def simulated(rng: np.random.Generator) -> tuple[float, float]:
        result = serve(fleet, poisson(rate_rps, N_REQUESTS, rng), geometric(rng))
        return float(steady(result.e2e_s).mean()), float(steady(result.queue_wait_s).mean())

    mean_s, mean_wait_s = replicate(simulated).T
    assert_theory_within(mean_s, sojourn_s, 0.06)
    assert_theory_within(mean_wait_s - boundary_s, wait_s, 0.12)


def test_least_loaded_of_two_sharing_replicas_is_the_shortest_queue():
    """Two M/M/1-PS servers of which arrivals join the one with fewer requests: the shortest queue, as with one slot.

    Gupta, Harchol-Balter, Sigman and Whitt (2007), Performance Evaluation 64: with exponential service the discipline
    at the servers does not matter.
    """
    load, fleet = 0.8, sharing(0.0, 1.0, replicas=2)

    def simulated(rng: np.random.Generator) -> float:
        result = serve(fleet, poisson(2 * load / MEAN_TOKENS, N_REQUESTS, rng), geometric(rng))
        return float(steady(result.e2e_s).mean())

    assert_theory_within(replicate(simulated), shortest_queue_mean_sojourn(2 * load / MEAN_TOKENS, MEAN_TOKENS), 0.05)
