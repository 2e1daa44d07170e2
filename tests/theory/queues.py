"""Queueing theory to hold the simulator to, and the fleets in which the engine degenerates to these queues.

In most of them a prompt has one token, so that a request of n output tokens takes part in n iterations: the one that
prefills it yields its first token. Service is then counted in tokens.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse, stats
from scipy.optimize import brentq
from scipy.sparse.linalg import spsolve

from fleetopt.profiles import GpuProfile
from fleetopt.simulator import Fleet, Pool, SimulationResult, simulate
from fleetopt.simulator.statistics import Interval, replication_interval
from fleetopt.workload.trace import make_trace

REPLICATIONS = 30
WARM_UP = 0.1
"""Share of the requests that is cut: those that found an emptier system than later ones."""


def replica(**changes: Any) -> GpuProfile:
    """A replica whose iterations last 1 s whatever they hold, with room for everything, changed as said."""
    values: dict[str, Any] = {
        "name": "test",
        "base_s": 1.0,
        "per_sequence_s": 0.0,
        "per_context_token_s": 0.0,
        "per_prefill_token_s": 0.0,
        "per_prefill_attention_s": 0.0,
        "kv_blocks": 1_000_000,
        "block_tokens": 1_000,
        "max_sequences": 1_000,
        "max_batched_tokens": 1_000_000,
    }
    return GpuProfile(**(values | changes))


def fleet_of(profile: GpuProfile, replicas: int = 1, router: str = "least-loaded") -> Fleet:
    return Fleet((Pool("all", profile, replicas, profile.context_limit_tokens),), router)


def serve(fleet: Fleet, arrival_s: np.ndarray, output_tokens: np.ndarray, prompt_tokens: Any = 1) -> SimulationResult:
    prompt = np.broadcast_to(np.asarray(prompt_tokens, dtype=np.int64), len(arrival_s))
    return simulate(make_trace(arrival_s, prompt, output_tokens), fleet)


def poisson(rate_rps: float, n: int, rng: np.random.Generator) -> np.ndarray:
    return np.cumsum(rng.exponential(1.0 / rate_rps, n))


def steady(values: np.ndarray) -> np.ndarray:
    """Without the first tenth, and without the last, which was served while nothing more arrived."""
    cut = int(WARM_UP * len(values))
    return values[cut:-cut]


def replicate(simulated: Callable[[np.random.Generator], Any], replications: int = REPLICATIONS) -> np.ndarray:
    """Figures of independent replications, one row each."""
    streams = np.random.SeedSequence(20260101).spawn(replications)
    return np.array([simulated(np.random.default_rng(stream)) for stream in streams])


def assert_theory_within(values: np.ndarray, theory: float, half_width: float) -> Interval:
    """The theory lies in the 99.9 % interval of the replications, and this is narrow: at most a share of the theory."""
    interval = replication_interval(values, confidence=0.999)
    assert interval.lower <= theory <= interval.upper, f"{theory} is not in {interval}"
    assert (interval.upper - interval.lower) / 2.0 <= half_width * abs(theory), f"{interval} of {theory} is too wide"
    return interval


class MmcWait(NamedTuple):
    """Wait in M/M/c: 0, or with this probability exponential with this mean."""

    probability: float
    conditional_mean_s: float

    @property
    def mean_s(self) -> float:
        return self.probability * self.conditional_mean_s

    def exceeds(self, x_s: float) -> float:
        return self.probability * float(np.exp(-x_s / self.conditional_mean_s))


def mmc_wait(n_servers: int, arrival_rate_rps: float, service_s: float) -> MmcWait:
    """Wait in M/M/c: Erlang's delay formula, from the recursion of his loss formula.

    Gross and Harris, Fundamentals of Queueing Theory; Kleinrock (1975), Queueing Systems I, eq. 3.41.
    """
    erlangs = arrival_rate_rps * service_s
    loss = 1.0
    for servers in range(1, n_servers + 1):
        loss = erlangs * loss / (servers + erlangs * loss)
    utilization = erlangs / n_servers
    return MmcWait(loss / (1.0 - utilization * (1.0 - loss)), service_s / (n_servers - erlangs))


def mdc_mean_wait(n_servers: int, arrival_rate_rps: float, service_s: float) -> float:
    """Mean wait of M/D/c, by the equations of Crommelin (1932).

    Who is in service at a time has left a service time later, and nobody else has, so that the numbers in the system
    at times one service time apart are a Markov chain, N' = max(N - c, 0) + Poisson(arrivals); Little does the rest.
    """
    arrivals = arrival_rate_rps * service_s
    size = 60 * n_servers
    step = np.zeros((size, size))
    for number in range(size):
        left = max(number - n_servers, 0)
        step[number, left:] = stats.poisson.pmf(np.arange(size - left), arrivals)
        step[number, -1] += 1.0 - step[number].sum()
    probability = np.linalg.matrix_power(step, 1 << 14)[0]
    return float(probability @ np.maximum(np.arange(size) - n_servers, 0)) / arrival_rate_rps


def erlang_arrivals_mean_wait(n_stages: int, arrival_rate_rps: float, service_s: float) -> float:
    """Mean wait of E_k/M/1: s x / (1 - x), where x in (0, 1) solves x = A*(mu (1 - x)), A* the transform of the gaps.

    Kleinrock (1975), Queueing Systems I, eq. 6.27 and 6.31 for GI/M/1.
    """
    stage_rate = n_stages * arrival_rate_rps

    def gap_transform_excess(x: float) -> float:
        return (stage_rate / (stage_rate + (1.0 - x) / service_s)) ** n_stages - x

    root = brentq(gap_transform_excess, 0.0, 1.0 - 1e-6, xtol=1e-14)
    return float(service_s * root / (1.0 - root))


def shortest_queue_mean_sojourn(arrival_rate_rps: float, service_s: float, longest: int = 80) -> float:
    """Mean time in the system of two M/M/1 queues of which arrivals join the shorter one.

    Stationary solution of the Markov chain of both lengths (Haight, 1958), cut where they are ``longest``; who serves
    equal queues first does not matter to the mean. With exponential service it is the same for any work-conserving
    discipline at the servers, processor sharing among them.
    """
    size = longest + 1
    index = np.arange(size * size).reshape(size, size)
    first, second = np.divmod(index.ravel(), size)
    joins_first = first <= second
    moves = [
        (joins_first & (first < longest), size, arrival_rate_rps),
        (~joins_first & (second < longest), 1, arrival_rate_rps),
        (first > 0, -size, 1.0 / service_s),
        (second > 0, -1, 1.0 / service_s),
    ]
    generator = sparse.lil_matrix((size * size, size * size))
    for is_possible, distance, rate in moves:
        source = np.flatnonzero(is_possible)
        generator[source, source + distance] = rate
    generator.setdiag(-np.asarray(generator.sum(axis=1)).ravel())
    balance = generator.T.tolil()
    balance[0, :] = 1.0
    right = np.zeros(size * size)
    right[0] = 1.0
    probability = spsolve(balance.tocsc(), right)
    return float(probability @ (first + second)) / arrival_rate_rps


def birth_death(arrival_rate_rps: float, completion_rate_rps: np.ndarray) -> np.ndarray:
    """Stationary probabilities of 0 ... n in a system that completes at ``completion_rate_rps[k - 1]`` with k in it."""
    weight = np.concatenate(([0.0], np.cumsum(np.log(arrival_rate_rps / completion_rate_rps))))
    probability = np.exp(weight - weight.max())
    return probability / probability.sum()
