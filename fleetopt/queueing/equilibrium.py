"""Equilibrium of a pool at a given load: iteration time, busy share, what runs, how much memory it holds."""

from dataclasses import dataclass

import numpy as np

from fleetopt.queueing.routing import Occupancy, least_loaded_occupancy
from fleetopt.queueing.stability import token_budget_load
from fleetopt.queueing.work import RequestWork

_CLUMPING = 0.12


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
    decode_s : float
        Decode part of a mean iteration, s.
    chunk_share : float
        Share of the decode steps in iterations with a prefill chunk.
    chunk_tokens : float
        Most prompt tokens of a mean iteration.
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
    decode_s: float
    chunk_share: float
    chunk_tokens: float
    decode_found_s: float
    decode_variance_s2: float
    prefill_load: float
    kv_utilization: float
    budget_load: float

    @property
    def decode_variation(self) -> float:
        """Squared coefficient of variation of the decode part that arrivals find; 0 where nobody decodes."""
        return self.decode_variance_s2 / self.decode_found_s**2 if self.decode_found_s > 0 else 0.0


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
    whose router evens out the counts only the fluctuation of the total is left, one share in ``replicas``, or less.

    References
    ----------
    WAIT, arXiv 2504.11320, section 2.2, for beta = 1 and no covariance.
    """
    rate = arrival_rate_rps / replicas
    budget_load = token_budget_load(work, rate)
    if budget_load >= 1:
        return None
    throughput_rps = work.capacity.throughput_rps
    if rate >= throughput_rps[-1]:
        return None
    occupancy = least_loaded_occupancy(throughput_rps, arrival_rate_rps, replicas)
    # Whatever the model of the occupancy says, iterations are no fuller than the token budget allows.
    mean = _mean_iteration(work, rate, min(1.0, max(occupancy.busy, budget_load)))
    if replicas == 1:
        occupancy = _clumped(work, rate, occupancy, mean)
        mean = _mean_iteration(work, rate, min(1.0, max(occupancy.busy, budget_load)))
    held = _held_alone(work, rate, mean) if replicas == 1 else _held_in_pool(work, rate, occupancy, mean, replicas)
    if held.running >= work.slots:
        return None
    steps = occupancy.over_time * throughput_rps
    return PoolState(
        occupancy=occupancy,
        iteration_s=mean.iteration_s,
        busy=mean.busy,
        running=held.running,
        decode_s=mean.decode_s,
        decode_found_s=held.decode_found_s,
        decode_variance_s2=held.decode_variance_s2,
        chunk_share=1 - float(steps @ work.capacity.free_share) / float(steps.sum()),
        chunk_tokens=work.tokens_beside(mean.decoding),
        prefill_load=mean.prefill_load,
        kv_utilization=work.kv_tokens(held.running, rate, mean.decoding, mean.decode_s) / work.profile.kv_tokens,
        budget_load=budget_load,
    )


@dataclass(frozen=True, kw_only=True)
class _MeanIteration:
    """A mean iteration: its length, who joins and decodes in it, its decode part; the prefill queue's load.

    ``residual`` is what is left, in iterations, of the prefill of a prompt at a random moment of it; ``carried`` the
    share of prompts that wait for others' tokens.
    """

    busy: float
    iteration_s: float
    joins: float
    decoding: float
    decode_s: float
    prefill_load: float
    residual: float
    carried: float


def _carried(work: RequestWork, rate: float, tokens: float, free_s: float) -> float:
    """Share of arrivals whose prompt waits for others' tokens, 0 to 1.

    An iteration takes ``B = tokens / prompt`` prompts at once, so the prefill queue is a birth-death process with
    ``min(j, B)`` of its j prompts served in ``base + min(j, B) prefill``; who finds B or more of them waits. Where
    prompts end chunks have room left for others: only the share of tokens used, ``E[P] / T / E[ceil(P / T)]``, waits.
    """
    chunks = work.prompt_tokens / tokens
    load = rate * (chunks * free_s + work.prefill_s)
    if load >= 1:
        return 1.0
    at_once = max(1.0, 1 / chunks)
    whole = int(at_once)
    service_s = free_s / np.arange(1, whole + 1) + work.prefill_s
    service_s[-1] += (chunks - 1 / at_once) * free_s  # a chunk of less than a prompt takes the base several times
    weight = np.concatenate([[1.0], np.cumprod(rate * service_s)])
    beyond = weight[-1] * load / (1 - load)
    waiting = (1 - (at_once - whole)) * weight[-1] + beyond
    return float(waiting / (weight.sum() + beyond)) * chunks / work.mean_chunks(tokens)


def _mean_iteration(work: RequestWork, rate: float, busy: float) -> _MeanIteration:
    """Mean iteration of a replica that is busy for a share of the time."""
    iteration_s = work.base_s / (1 - rate * work.work_s / busy)
    joins = rate * iteration_s / busy
    decoding, decode_s = joins * work.steps, joins * work.decode_s
    service_s = work.service_s(decoding, decode_s / max(decoding, 1e-300))
    share = work.prompt_points[0]
    mean_service_s = float(share @ service_s)
    return _MeanIteration(
        busy=busy,
        iteration_s=iteration_s,
        joins=joins,
        decoding=decoding,
        decode_s=decode_s,
        prefill_load=min(1.0, rate * mean_service_s),
        residual=float(share @ service_s**2) / (2 * mean_service_s) / iteration_s,
        carried=_carried(work, rate, work.tokens_beside(decoding), work.base_s + decode_s),
    )


def _clumped(work: RequestWork, rate: float, occupancy: Occupancy, mean: _MeanIteration) -> Occupancy:
    """Occupancy of a single replica whose requests differ: those of a mixture clump more, or less, than equal ones.

    The birth-death process takes requests as alike. Rare long ones hold the others up, so that they are together more
    often and the replica is idle more often. With q the variance of what runs over that of equal requests of the mean
    lengths, the log of the probability that nobody decodes is taken as ``q^-0.12`` of what it was. The exponent is
    fitted, once for all: at the loads of Azure code and both, LMSYS, agent-heavy and Mooncake where a replica is idle
    more than 1 % of the time and q is a tenth or more off 1, the simulator's idle share asks for 0.09 to 0.18.
    """
    idle, prefill_free = float(occupancy.over_time[0]), 1 - mean.prefill_load
    if not 0 < idle < prefill_free:
        return occupancy
    fluctuations = (
        response.fluctuation(rate, mean.joins, mean.carried, mean.residual).running_variance
        for response in (work.response, work.equal_response)
    )
    variance, equal_variance = fluctuations
    nobody_decodes = (idle / prefill_free) ** ((variance / equal_variance) ** -_CLUMPING)
    return occupancy.with_idle(prefill_free * nobody_decodes)


@dataclass(frozen=True, kw_only=True)
class _Held:
    """What runs on a replica over all time, and the decode part of iterations while it is busy."""

    running: float
    decode_found_s: float
    decode_variance_s2: float


def _held_alone(work: RequestWork, rate: float, mean: _MeanIteration) -> _Held:
    """What a single replica holds.

    While it idles, think of it as passing empty iterations of the base time each. Then requests join in every iteration
    at a rate that is proportional to the length of the last one, without exception for idleness, and means and
    covariances over these iterations are those of the linear process with no idle time (beta = 1); all that is lost is
    that a request that finds it idle does not wait for an iteration to end. Over time an iteration weighs as much as
    it lasts. A share ``beta t' / t`` of them is busy, t' and t their mean lengths with and without the empty ones.
    """
    fluid = _mean_iteration(work, rate, 1.0)
    moves = work.response.fluctuation(rate, fluid.joins, fluid.carried, fluid.residual)
    busy_iterations = mean.busy * fluid.iteration_s / mean.iteration_s
    second_s2 = (moves.decode_variance + fluid.decode_s**2) / busy_iterations
    return _Held(
        running=fluid.joins * work.iterations + moves.running_time / fluid.iteration_s,
        decode_found_s=(fluid.decode_s + moves.decode_time / fluid.iteration_s) / mean.busy,
        decode_variance_s2=max(0.0, second_s2 - mean.decode_s**2 - mean.decoding * work.step_s**2),
    )


def _held_in_pool(work: RequestWork, rate: float, occupancy: Occupancy, mean: _MeanIteration, replicas: int) -> _Held:
    """What a replica of a pool holds: the mean, and of the fluctuations of a single one a share."""
    moves = work.response.fluctuation(rate, mean.joins, mean.carried, mean.residual)
    present = mean.joins * work.iterations
    freedom = _freedom(occupancy, present, mean.busy, replicas)
    spread_s2 = (1 - 1 / replicas) * mean.decoding * work.step_variance_s2
    moved_s2 = freedom * moves.decode_variance - mean.decoding * work.step_s**2 / replicas
    return _Held(
        running=mean.busy * (present + freedom * moves.running_time / mean.iteration_s),
        decode_found_s=mean.decode_s + freedom * moves.decode_time / mean.iteration_s,
        decode_variance_s2=spread_s2 + max(0.0, moved_s2),
    )


def _freedom(occupancy: Occupancy, present: float, busy: float, replicas: int) -> float:
    """Share of a single replica's fluctuations that is left to one of a pool, 0 to 1.

    A busy replica holds at least one request, so at light load there is less to fluctuate: of a Poisson number with a
    mean of ``present`` while it is not 0, the variance is the mean times ``1 - present (1 - busy)``. In a pool one
    share in ``replicas`` is left of that, and no more than half of the variance, against the mean, that a busy replica
    has: the other half is put down to the step between two neighbouring levels, and it is none while no replica holds
    two.
    """
    alone = max(0.0, 1 - present * (1 - busy))
    counts = np.arange(1, len(occupancy.over_time))
    share = occupancy.over_time[1:] / occupancy.over_time[1:].sum()
    mean = float(share @ counts)
    return min(alone / replicas, 0.5 * float(share @ (counts - mean) ** 2) / mean)
