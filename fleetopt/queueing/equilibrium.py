"""Equilibrium of a pool at a given load: iteration time, busy share, what runs, how much memory it holds."""

from dataclasses import dataclass

import numpy as np

from fleetopt.queueing.routing import Occupancy, least_loaded_occupancy
from fleetopt.queueing.stability import token_budget_load
from fleetopt.queueing.work import RequestWork

_SHORTEST_BASE_S = 1e-6
"""A profile without a base time would make iterations of no time and no end; a microsecond keeps them countable."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PoolState:
    """A replica of a pool in equilibrium.

    Attributes
    ----------
    occupancy : Occupancy
    iteration_s : float
        Mean time of an iteration.
    busy : float
        Share of time in an iteration.
    running : float
        Mean requests running per replica, over all time.
    decode_found_s, decode_variance_s2 : float
        Decode part of the iteration that an arrival finds on a busy replica: mean, s, and variance, s^2.
    prefill_load : float
        Share of time that a replica's prefill queue is not empty.
    kv_utilization : float
        Mean KV tokens held / KV tokens.
    budget_load : float
        Share of the token budget and of the GPU's time that the load asks for; 1 is the stability limit.
    """

    occupancy: Occupancy
    iteration_s: float
    busy: float
    running: float
    decode_found_s: float
    decode_variance_s2: float
    prefill_load: float
    kv_utilization: float
    budget_load: float


def pool_state(work: RequestWork, arrival_rate_rps: float, replicas: int) -> PoolState | None:
    """Equilibrium of a pool under Poisson arrivals and the least-loaded router; None where it has none (overload).

    Parameters
    ----------
    work : RequestWork
    arrival_rate_rps : float
        Rate of the pool, 1/s, above 0.
    replicas : int

    Notes
    -----
    With r the rate per replica, w the work of a request and beta the busy share, the mean iteration lasts exactly
    ``t = W / (1 - r w / beta)``. What runs in a mean iteration, ``r t E[iterations] / beta``, is exact too; over time
    long iterations weigh more, which adds the covariance of the two. One replica has all of that covariance; of a pool
    whose router evens out the counts only the fluctuation of the total is left, one share in ``replicas``.

    References
    ----------
    WAIT, arXiv 2504.11320, section 2.2, for beta = 1 and no covariance.
    """
    profile, rate = work.profile, arrival_rate_rps / replicas
    budget_load = token_budget_load(work, rate)
    throughput_rps = work.throughput_rps
    if budget_load >= 1 or rate >= throughput_rps[-1]:
        return None
    occupancy = least_loaded_occupancy(throughput_rps, arrival_rate_rps, replicas)
    base_s = max(profile.base_s, _SHORTEST_BASE_S)
    # A request needs at least an iteration, whatever the model of the occupancy says.
    busy = min(1.0, max(occupancy.busy, rate * (work.work_s + base_s)))
    iteration_s = base_s / (1 - rate * work.work_s / busy)
    joins, decoding = rate * iteration_s / busy, rate * work.steps * iteration_s / busy
    decode_s = joins * work.decode_s
    chunk_tokens = max(1.0, min(work.chunk_tokens, profile.max_batched_tokens - decoding))
    prefill_load = min(
        1.0, rate * (work.prompt_tokens / chunk_tokens * (profile.base_s + decode_s) + work.prefill_s)
    )
    running_time, decode_time, decode_variance = work.response.covariance(rate, joins, prefill_load)
    # A busy replica holds at least one request, so at light load there is less to fluctuate.
    present = joins * work.iterations
    freedom = max(0.0, 1 - present * (1 - busy)) / replicas
    running = busy * (present + freedom * running_time / iteration_s)
    spread = (1 - 1 / replicas) * decoding * work.step_variance_s2
    return PoolState(
        occupancy=occupancy,
        iteration_s=iteration_s,
        busy=busy,
        running=running,
        decode_found_s=decode_s + freedom * decode_time / iteration_s,
        decode_variance_s2=spread + max(0.0, freedom * decode_variance - decoding * work.step_s**2 / replicas),
        prefill_load=prefill_load,
        kv_utilization=running * work.kv_tokens / profile.kv_tokens,
        budget_load=budget_load,
    )
