"""Time to first token of a pool in equilibrium."""

# mypy: ignore-errors
# Numba infers the types, and NumPy's stubs do not know the fields of a record.

from typing import NamedTuple

import numpy as np
from numba import njit

from fleetopt.compiled import compiled
from fleetopt.queueing.kernels.equilibrium import settle
from fleetopt.queueing.kernels.found import found_busy
from fleetopt.queueing.kernels.gate import Gate, add_gated, is_gated, shared_by_gated
from fleetopt.queueing.kernels.lengths import unloaded_ttft_s
from fleetopt.queueing.kernels.records import Mixture
from fleetopt.queueing.kernels.replica import chunk_beside
from fleetopt.queueing.kernels.routing import FOUND, FOUND_AFTER
from fleetopt.queueing.kernels.transforms import (
    HALF,
    POINTS,
    QUESTION,
    add_uniform,
    invert,
    put,
    question,
    transform_pair,
)

_SHORTEST_S = 1e-12


class Loads(NamedTuple):
    """What a pool is asked for: how many first tokens come late, and the load of its resources.

    Attributes
    ----------
    late : float
        P(time to first token > a given time); 1 where the pool has no equilibrium.
    budget_load, prefill_load, slot_load : float
        Of the token budget and the GPU's time, of the prefill queue, and of the slots, as shares of what they carry;
        the last two are 1 where the pool has no equilibrium.
    """

    late: float
    budget_load: float
    prefill_load: float
    slot_load: float


@compiled(error_model="numpy")
def assess(work, prompts, speed, capacity, response, states, arrival_rate_rps, replicas, time_s):
    """Late first tokens and loads of a pool; see ``Loads``.

    The caller allocates ``states``, STATE[1]: a record does not keep its array from being freed, so fields of one that
    is allocated here would be read after that.
    """
    mixture = Mixture(work, prompts, speed, capacity, response)
    occupancy = settle(mixture, arrival_rate_rps, replicas, states)
    if not states[0].is_stable:
        return Loads(1.0, states[0].budget_load, 1.0, 1.0)
    found, queue = found_busy(mixture, states[0], occupancy, arrival_rate_rps, replicas)
    idle = occupancy[FOUND, 0] + occupancy[FOUND_AFTER, 0]
    masses, transform = _sum(work[0], prompts, found, queue, idle, arrival_rate_rps / replicas, time_s / QUESTION)
    late = min(max(1 - question(masses, transform[0], transform[1]), 0.0), 1.0)
    return Loads(late, states[0].budget_load, states[0].prefill_load, states[0].running / work[0].slots)


@compiled(error_model="numpy")
def ttft_masses(work, prompts, found, queue, idle, rate, end_s):
    """float64[POINTS], masses of the time to first token on a grid that ends at ``end_s``; see ``ttft_distribution``.

    Parameters
    ----------
    work, prompts : see ``Mixture``
    found, queue : of ``found.find_found``
    idle : share of the arrivals that find an idle replica
    rate : arrivals at a replica, 1/s
    """
    masses, transform = _sum(work[0], prompts, found, queue, idle, rate, end_s)
    return masses + invert(transform[0], transform[1])


@njit(error_model="numpy")
def _sum(work, prompts, found, queue, idle, rate, end_s):
    """Masses, float64[POINTS], and a transform, float64[2, HALF], whose sum is the distribution."""
    step_s = end_s / POINTS
    masses, transform = np.zeros(POINTS), np.zeros((2, HALF))
    for k in range(prompts.shape[1]):
        put(masses, idle * prompts[0, k], unloaded_ttft_s(work, prompts[1, k]) / step_s)
    shared = Gate(np.zeros((0, 0)), np.zeros((0, 0, 0)), 0.0)
    for node in range(found.size):
        item = found[node]
        if is_gated(work, prompts, item):
            if shared.prompt.size == 0:
                shared = shared_by_gated(work, prompts, rate, step_s)
            add_gated(work, prompts, item, queue[node], rate, step_s, shared, transform)
        else:
            _add_queued(work, prompts, item, queue[node], rate, step_s, masses, transform)
    return masses, transform


@njit(error_model="numpy")
def _add_queued(work, prompts, item, queue, rate, step_s, masses, transform):
    """Add the time to first token of arrivals that find a busy replica, times their share."""
    chunk = chunk_beside(work, item.decoding)
    free_s, queued_s = work.base_s + item.decode_free_s, work.base_s + item.decode_queued_s
    own, later = np.zeros(POINTS), np.zeros(POINTS)
    mean_s = 0.0
    for k in range(prompts.shape[1]):
        share, prompt, prompt_s = prompts[0, k], prompts[1, k], prompts[2, k]
        chunks = np.ceil(prompt / chunk)
        own_s = chunks * free_s + prompt_s
        # Who arrives meanwhile takes what the last chunk leaves of the budget, up to a prompt.
        unused_s = min(chunks * chunk - prompt, work.prompt_tokens) * work.per_prefill_token_s
        own_s += (1 - np.exp(-rate * own_s)) * unused_s
        put(own, share, own_s / step_s)
        service_s = prompt / chunk * queued_s + prompt_s
        put(later, share, service_s / step_s)
        mean_s += share * service_s
    smooth = np.empty(POINTS)
    add_uniform(own, free_s / step_s, smooth)
    for n in range(POINTS):
        masses[n] += item.share * queue[0] * smooth[n]
    if item.length == 1:
        return
    left = _left(work, prompts, item, later, mean_s, queued_s / chunk, step_s)
    # The last iteration is as long as the running one was, and longer if somebody has come to wait behind.
    in_queue = 0.0
    for j in range(1, item.length):
        in_queue += queue[j] * j
    behind = 1 - np.exp(-rate * (1 + in_queue / (1 - queue[0])) * mean_s)
    last_s = queued_s + behind * work.per_prefill_token_s * min(chunk, work.prompt_tokens)
    add_uniform(later, last_s / step_s, smooth)
    pair = np.empty((4, HALF))
    transform_pair(left, smooth, pair)
    _add_queue(item, queue, pair, transform)


@njit(error_model="numpy", fastmath={"contract"})
def _add_queue(item, queue, pair, transform):
    """Add one time, and of another as many as are in the queue, times their probability."""
    ahead = np.zeros((2, HALF))
    for j in range(item.length - 1, 0, -1):
        probability = item.share * queue[j]
        for f in range(HALF):
            r, i = ahead[0, f] + probability, ahead[1, f]
            ahead[0, f] = r * pair[0, f] - i * pair[1, f]
            ahead[1, f] = r * pair[1, f] + i * pair[0, f]
    for f in range(HALF):
        transform[0, f] += ahead[0, f] * pair[2, f] - ahead[1, f] * pair[3, f]
        transform[1, f] += ahead[0, f] * pair[3, f] + ahead[1, f] * pair[2, f]


@njit(error_model="numpy")
def _left(work, prompts, item, later, mean_s, per_token_s, step_s):
    """float64[POINTS], what is left of the prefill of a prompt ahead; ``later`` are the masses of its whole.

    Arrivals that come whatever the replica does find it at any moment of the prefill; those that take the place of a
    finished request in any iteration of it; the others at any moment of its first ``patience_s``. So the first have
    the density P(prefill > t) / mean, and the last that less P(prefill - patience > t), over its own integral.
    """
    patient, jumps = np.zeros(POINTS), np.zeros(POINTS)
    seen_s, at_0 = 0.0, 0.0
    for k in range(prompts.shape[1]):
        share, prompt, prompt_s = prompts[0, k], prompts[1, k], prompts[2, k]
        service_s = prompt * per_token_s + prompt_s
        seen_s += share * min(service_s, item.patience_s)
        if item.open_share < 1:
            put(patient, share, max(service_s - item.patience_s, 0.0) / step_s)
        if item.after_share > 0:
            at_0 += _add_jumps(work, share * prompt / work.prompt_tokens, prompt, service_s, step_s, jumps)
    left = np.empty(POINTS)
    beyond, beyond_patience, height = 1.0, 1.0, at_0 * step_s
    before = 0.0
    for n in range(POINTS):
        beyond -= later[n]
        beyond_patience -= patient[n]
        height += jumps[n] * step_s
        at_any = beyond / mean_s
        within = (beyond - beyond_patience) / seen_s if item.open_share < 1 else 0.0
        inside = (item.open_share * at_any + (1 - item.open_share) * within) * step_s
        inside = (1 - item.after_share) * inside + item.after_share * height
        left[n] = 0.5 * (before + inside)  # between a point and the next
        before = inside
    return left


@njit(error_model="numpy")
def _add_jumps(work, mass, prompt, service_s, step_s, jumps):
    """Add where the density of what is left jumps, in any iteration of a prefill; returns it at 0.

    A share ``d`` done leaves ``(1 - d)`` of all but the attention and ``(1 - d^2)`` of that: two straight pieces, that
    meet where the mean is kept.
    """
    attention_s = work.per_prefill_attention_s * prompt * prompt / 2
    middle_s = (service_s - attention_s) / 2 + attention_s * (5 / 6)
    before, after = 0.5 * mass / max(service_s - middle_s, _SHORTEST_S), 0.5 * mass / max(middle_s, _SHORTEST_S)
    put(jumps, -before, service_s / step_s)
    put(jumps, before - after, middle_s / step_s)
    return after
