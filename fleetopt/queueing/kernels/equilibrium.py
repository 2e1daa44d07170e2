"""Equilibrium of a pool at a given load: iteration time, busy share, what runs, how much memory it holds."""

# mypy: ignore-errors
# Numba infers the types, and NumPy's stubs do not know the fields of a record.

from typing import NamedTuple

import numpy as np
from numba import njit

from fleetopt.compiled import compiled
from fleetopt.queueing.kernels.records import TINY, Mixture
from fleetopt.queueing.kernels.replica import chunk_beside, finish_rps, mean_chunks, replica_speed, tokens_beside
from fleetopt.queueing.kernels.response import fluctuation, tabulate_response
from fleetopt.queueing.kernels.routing import NEGLIGIBLE_LOG, OVER_TIME, least_loaded_occupancy

_CLUMPING = 0.12
_LEVELS_BEYOND = 4


class _MeanIteration(NamedTuple):
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


class _Held(NamedTuple):
    """What runs on a replica over all time, and the decode part of iterations while it is busy."""

    running: float
    decode_found_s: float
    decode_variance_s2: float


@compiled(error_model="numpy")
def find_state(work, prompts, speed, capacity, response, arrival_rate_rps, replicas, state):
    """Fill in the equilibrium of a pool under Poisson arrivals and the least-loaded router, if it has one.

    Parameters
    ----------
    work, prompts, speed, capacity, response : see ``Mixture``
    arrival_rate_rps : of the pool, 1/s
    replicas : int
    state : STATE[1]

    Returns
    -------
    float64[3, n + 1]
        See ``routing.least_loaded_occupancy``.
    """
    return settle(Mixture(work, prompts, speed, capacity, response), arrival_rate_rps, replicas, state)


@njit(error_model="numpy")
def budget_load(work, rate):
    """Share of a replica's time that full iterations need for the load."""
    each_s = work.prefill_s + work.decode_s + work.base_s * work.tokens / work.max_batched_tokens
    return rate * each_s


@njit(error_model="numpy")
def settle(mixture, arrival_rate_rps, replicas, states):
    """Fill in the equilibrium, if there is one; see ``pool_state``. Returns the occupancy."""
    work, prompts, state = mixture.work[0], mixture.prompts, states[0]
    rate = arrival_rate_rps / replicas
    state.is_stable = 0
    state.budget_load = budget_load(work, rate)
    if state.budget_load >= 1:
        return np.empty((3, 0))
    throughput_rps = _throughput_rps(mixture, rate, replicas)
    if throughput_rps.size == 0:
        return np.empty((3, 0))
    occupancy = least_loaded_occupancy(throughput_rps, arrival_rate_rps, replicas)
    mean = _mean_iteration(work, prompts, rate, _busy(occupancy, state.budget_load))
    if replicas == 1:
        _clump(mixture, rate, occupancy, mean)
        mean = _mean_iteration(work, prompts, rate, _busy(occupancy, state.budget_load))
        held = _held_alone(mixture, rate, mean)
    else:
        held = _held_in_pool(mixture, rate, occupancy, mean, replicas)
    if held.running >= work.slots:
        return occupancy
    steps, free_steps = 0.0, 0.0
    for present in range(throughput_rps.size):
        of_level = occupancy[OVER_TIME, present] * throughput_rps[present]
        steps += of_level
        free_steps += of_level * mixture.capacity[1, present]
    state.is_stable = 1
    state.iteration_s = mean.iteration_s
    state.busy = mean.busy
    state.running = held.running
    state.decode_s = mean.decode_s
    state.chunk_share = 1 - free_steps / steps
    state.chunk_tokens = tokens_beside(work, mean.decoding)
    state.decode_found_s = held.decode_found_s
    state.decode_variance_s2 = held.decode_variance_s2
    state.prefill_load = mean.prefill_load
    state.kv_utilization = _kv_tokens(work, prompts, held.running, rate, mean) / work.kv_tokens
    return occupancy


@njit(error_model="numpy")
def _throughput_rps(mixture, rate, replicas):
    """float64[n + 1], what a replica finishes by what it holds, as far as it may come to hold; empty in overload."""
    work, capacity = mixture.work[0], mixture.capacity
    speed = replica_speed(work, mixture.speed, work.step_s)
    most = capacity.shape[1] - 1
    weight = np.empty(most + 1)
    if rate >= _finish_rps(work, speed, most, weight, capacity):
        return capacity[0, :0]
    log_weight, highest, beyond = 0.0, 0.0, 0
    for present in range(most + 1):
        throughput_rps = _finish_rps(work, speed, present, weight, capacity)
        if present > 0:
            log_weight += replicas * np.log(rate / max(throughput_rps, TINY))
            highest = max(highest, log_weight)
            # Beyond the level at which it finishes more than arrives, ever less is likely.
            beyond += log_weight <= highest - NEGLIGIBLE_LOG
        if beyond > _LEVELS_BEYOND:
            return capacity[0, : present + 1]
    return capacity[0]


@njit(error_model="numpy")
def _finish_rps(work, speed, present, weight, capacity):
    """From the table, or into it."""
    if np.isnan(capacity[0, present]) or np.isnan(capacity[1, present]):
        return finish_rps(work, speed, present, weight[: present + 1], capacity)
    return capacity[0, present]


@njit(error_model="numpy")
def _busy(occupancy, load):
    """Whatever the model of the occupancy says, iterations are no fuller than the token budget allows."""
    return min(1.0, max(1 - occupancy[OVER_TIME, 0], load))


@njit(error_model="numpy")
def _carried(work, prompts, rate, tokens, free_s):
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
    weight, total = 1.0, 1.0
    for j in range(1, whole + 1):
        service_s = free_s / j + work.prefill_s
        if j == whole:
            service_s += (chunks - 1 / at_once) * free_s  # a chunk of less than a prompt takes the base several times
        weight *= rate * service_s
        total += weight
    beyond = weight * load / (1 - load)
    waiting = (1 - (at_once - whole)) * weight + beyond
    return waiting / (total + beyond) * chunks / mean_chunks(prompts, tokens)


@njit(error_model="numpy")
def _mean_iteration(work, prompts, rate, busy):
    """Mean iteration of a replica that is busy for a share of the time."""
    iteration_s = work.base_s / (1 - rate * (work.prefill_s + work.decode_s) / busy)
    joins = rate * iteration_s / busy
    decoding, decode_s = joins * work.steps, joins * work.decode_s
    tokens = tokens_beside(work, decoding)
    mean_s, square_s2 = _service_moments(prompts, (work.base_s + decode_s) / tokens)
    return _MeanIteration(
        busy,
        iteration_s,
        joins,
        decoding,
        decode_s,
        min(1.0, rate * mean_s),
        square_s2 / (2 * mean_s) / iteration_s,
        _carried(work, prompts, rate, tokens, work.base_s + decode_s),
    )


@njit(error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _service_moments(prompts, per_token_s):
    """Mean and mean square of the time to prefill a prompt whose iterations take so long a token, s and s^2."""
    mean_s, square_s2 = 0.0, 0.0
    for i in range(prompts.shape[1]):
        service_s = prompts[1, i] * per_token_s + prompts[2, i]
        mean_s += prompts[0, i] * service_s
        square_s2 += prompts[0, i] * service_s * service_s
    return mean_s, square_s2


@njit(error_model="numpy")
def _clump(mixture, rate, occupancy, mean):
    """Correct the occupancy of a single replica whose requests differ: they clump more, or less, than equal ones.

    The birth-death process takes requests as alike. Rare long ones hold the others up, so that they are together more
    often and the replica is idle more often. With q the variance of what runs over that of equal requests of the mean
    lengths, the log of the probability that nobody decodes is taken as ``q^-0.12`` of what it was. The exponent is
    fitted, once for all: at the loads of Azure code and both, LMSYS, agent-heavy and Mooncake where a replica is idle
    more than 1 % of the time and q is a tenth or more off 1, the simulator's idle share asks for 0.09 to 0.18.
    """
    work = mixture.work[0]
    idle, prefill_free = occupancy[OVER_TIME, 0], 1 - mean.prefill_load
    if not 0 < idle < prefill_free:
        return
    equal = tabulate_response(mixture.work, np.array([[1.0], [work.prompt_tokens], [work.steps + 1]]))
    own = fluctuation(mixture.response, rate, mean.joins, mean.carried, mean.residual).running_variance
    of_equal = fluctuation(equal, rate, mean.joins, mean.carried, mean.residual).running_variance
    nobody_decodes = (idle / prefill_free) ** ((own / of_equal) ** -_CLUMPING)
    now_idle = prefill_free * nobody_decodes
    occupancy[:2] *= (1 - now_idle) / (1 - idle)
    occupancy[:2, 0] = now_idle


@njit(error_model="numpy")
def _held_alone(mixture, rate, mean):
    """What a single replica holds.

    While it idles, think of it as passing empty iterations of the base time each. Then requests join in every iteration
    at a rate that is proportional to the length of the last one, without exception for idleness, and means and
    covariances over these iterations are those of the linear process with no idle time (beta = 1); all that is lost is
    that a request that finds it idle does not wait for an iteration to end. Over time an iteration weighs as much as
    it lasts. A share ``beta t' / t`` of them is busy, t' and t their mean lengths with and without the empty ones.
    """
    work = mixture.work[0]
    fluid = _mean_iteration(work, mixture.prompts, rate, 1.0)
    moves = fluctuation(mixture.response, rate, fluid.joins, fluid.carried, fluid.residual)
    busy_iterations = mean.busy * fluid.iteration_s / mean.iteration_s
    second_s2 = (moves.decode_variance + fluid.decode_s**2) / busy_iterations
    return _Held(
        fluid.joins * work.iterations + moves.running_time / fluid.iteration_s,
        (fluid.decode_s + moves.decode_time / fluid.iteration_s) / mean.busy,
        max(0.0, second_s2 - mean.decode_s**2 - mean.decoding * work.step_s**2),
    )


@njit(error_model="numpy")
def _held_in_pool(mixture, rate, occupancy, mean, replicas):
    """What a replica of a pool holds: the mean, and of the fluctuations of a single one a share."""
    work = mixture.work[0]
    moves = fluctuation(mixture.response, rate, mean.joins, mean.carried, mean.residual)
    present = mean.joins * work.iterations
    freedom = _freedom(occupancy[OVER_TIME], present, mean.busy, replicas)
    spread_s2 = (1 - 1 / replicas) * mean.decoding * work.step_variance_s2
    moved_s2 = freedom * moves.decode_variance - mean.decoding * work.step_s**2 / replicas
    return _Held(
        mean.busy * (present + freedom * moves.running_time / mean.iteration_s),
        mean.decode_s + freedom * moves.decode_time / mean.iteration_s,
        spread_s2 + max(0.0, moved_s2),
    )


@njit(error_model="numpy")
def _freedom(over_time, present, busy, replicas):
    """Share of a single replica's fluctuations that is left to one of a pool, 0 to 1.

    A busy replica holds at least one request, so at light load there is less to fluctuate: of a Poisson number with a
    mean of ``present`` while it is not 0, the variance is the mean times ``1 - present (1 - busy)``. In a pool one
    share in ``replicas`` is left of that, and no more than half of the variance, against the mean, that a busy replica
    has: the other half is put down to the step between two neighbouring levels, and it is none while no replica holds
    two.
    """
    alone = max(0.0, 1 - present * (1 - busy))
    mass, mean = 0.0, 0.0
    for count in range(1, over_time.size):
        mass += over_time[count]
        mean += over_time[count] * count
    mean /= mass
    variance = 0.0
    for count in range(1, over_time.size):
        variance += over_time[count] * (count - mean) ** 2
    return min(alone / replicas, 0.5 * variance / mass / mean)


@njit(error_model="numpy")
def _kv_tokens(work, prompts, running, rate, mean):
    """Mean KV held on a replica, tokens, over time."""
    chunk_tokens, iteration_s = chunk_beside(work, mean.decoding), work.base_s + mean.decode_s
    prefill_s = (work.iterations - work.steps) * iteration_s + work.prefill_s
    # A chunk's blocks are held from the start of its iteration: half a chunk more than has been computed.
    ahead, of_chunks = 0.0, 0.0
    for i in range(prompts.shape[1]):
        chunks = np.ceil(prompts[1, i] / chunk_tokens)
        ahead += prompts[0, i] * (chunk_tokens * chunks * (chunks - 1) / 2 + prompts[1, i])
        of_chunks += prompts[0, i] * (prompts[1, i] / chunks * prompts[2, i])
    held = ahead * iteration_s + work.prefill_kv_token_s + of_chunks / 2
    if work.steps > 0:
        step_s = max(0.0, running / rate - prefill_s) / work.steps
        held += work.decode_kv_tokens * step_s
        if work.per_context_token_s > 0:  # who holds more decodes more slowly
            held += work.steps * work.step_variance_s2 / work.per_context_token_s
    return rate * held
