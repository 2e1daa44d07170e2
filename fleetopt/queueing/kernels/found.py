"""What an arrival finds on the replica that it is sent to: who is in the prefill queue, and who is decoding."""

# mypy: ignore-errors
# Numba infers the types, and NumPy's stubs do not know the fields of a record.

from typing import NamedTuple

import numpy as np
from numba import njit

from fleetopt.compiled import compiled
from fleetopt.queueing.kernels.records import FOUND, TINY, Mixture
from fleetopt.queueing.kernels.replica import (
    iteration_s,
    open_prefill_queue,
    open_queue_probability,
    replica_speed,
    tokens_beside,
    weigh_queue,
)
from fleetopt.queueing.kernels.routing import FOUND as FOUND_BALANCED
from fleetopt.queueing.kernels.routing import FOUND_AFTER, OVER_TIME

_NEGLIGIBLE = 1e-7
_LONGEST_OPEN_QUEUE = 256
_MOST_NUMBERS = 12
_NODES_ALONE, _NODES_IN_POOL = 5, 3
MOST_VARIATION = 40.0
"""Squared coefficient of variation beyond which all nodes of a Gamma distribution would be 0."""
_ROUNDS, _SETTLED = 12, 1e-3


def _hermite(count):
    """Nodes and weights of Gauss and Hermite for the standard normal distribution."""
    normal, weights = np.polynomial.hermite_e.hermegauss(count)
    return normal, weights / weights.sum()


_NORMAL_ALONE, _WEIGHT_ALONE = _hermite(_NODES_ALONE)
_NORMAL_IN_POOL, _WEIGHT_IN_POOL = _hermite(_NODES_IN_POOL)


@njit(error_model="numpy")
def gamma_values(variation, normal, weights):
    """A few values with mean 1 that stand for a Gamma distribution of that squared coefficient of variation.

    Gauss-Hermite quadrature through the cube root transform of E. B. Wilson and M. M. Hilferty (1931), PNAS 17(12).
    """
    variation = min(variation, MOST_VARIATION)
    values = np.maximum(1 - variation / 9 + normal * np.sqrt(variation) / 3, 0.0) ** 3
    return values / (weights * values).sum()


@compiled(error_model="numpy")
def find_found(work, prompts, speed, capacity, response, states, occupancy, arrival_rate_rps, replicas):
    """What arrivals at busy replicas find, for decode steps that are short, typical and long.

    Returns
    -------
    found : FOUND[nodes]
    queue : float64[nodes, j], see ``FOUND``
    """
    return found_busy(
        Mixture(work, prompts, speed, capacity, response), states[0], occupancy, arrival_rate_rps, replicas
    )


@njit(error_model="numpy")
def found_busy(mixture, state, occupancy, arrival_rate_rps, replicas):
    """See :func:`find_found`."""
    if replicas == 1:
        return _found_alone(mixture, state, occupancy, arrival_rate_rps)
    return _found_in_pool(mixture, state, occupancy, arrival_rate_rps / replicas, replicas)


@njit(error_model="numpy")
def _variation(state):
    """Squared coefficient of variation of the decode part that arrivals find; 0 where nobody decodes."""
    return state.decode_variance_s2 / state.decode_found_s**2 if state.decode_found_s > 0 else 0.0


@njit(error_model="numpy")
def _found_alone(mixture, state, occupancy, rate):
    """What arrivals find on a single replica: its state at any time.

    The decode part of an iteration is that of the queue length's own mean plus a slow fluctuation; the variance is that
    of all less that of those means. While it is slow the queue may be overloaded, but not for ever: the load is taken
    as at most half way from the mean to 1.
    """
    work, prompts = mixture.work[0], mixture.prompts
    probability, decoding = open_prefill_queue(work, mixture.speed, rate, _LONGEST_OPEN_QUEUE, _ROUNDS, _SETTLED)
    idle = occupancy[OVER_TIME, 0]
    own_s = work.step_s * (decoding - (probability * decoding).sum())
    explained_s2 = min((probability * own_s**2).sum(), state.decode_variance_s2)
    slow = 1 - explained_s2 / max(state.decode_variance_s2, TINY)
    values = gamma_values(_variation(state) * slow, _NORMAL_ALONE, _WEIGHT_ALONE)
    found, queue = np.zeros(values.size, FOUND), np.zeros((values.size, _LONGEST_OPEN_QUEUE + 1))
    highest_load = (1 + state.budget_load) / 2
    for node in range(values.size):
        item, by_queue = found[node], queue[node]
        decode_s = np.maximum(values[node] * state.decode_found_s + own_s, 0.0)
        open_queue_probability(work, prompts, rate, decoding, decode_s, highest_load, by_queue)
        by_queue[0] = max(by_queue[0] - idle, 1e-12)
        item.open_share, item.patience_s = 1.0, np.inf
        decode_s *= by_queue
        _condense(item, by_queue, decode_s, (by_queue * decoding).sum(), _WEIGHT_ALONE[node])
        # Though the two models may differ in how often nobody is in the prefill queue.
        item.share = (1 - idle) * _WEIGHT_ALONE[node]
    return found, queue


class _Present(NamedTuple):
    """Requests on the busy replicas that arrivals are sent to, a dozen numbers at most.

    ``share`` of arrivals find them at balance, ``after_share`` just after a departure; with those that find an idle
    replica they sum to 1.
    """

    requests: np.ndarray
    share: np.ndarray
    after_share: np.ndarray


@njit(error_model="numpy")
def _present(occupancy):
    """No numbers if arrivals practically never find a busy replica."""
    at_balance, after = occupancy[FOUND_BALANCED], occupancy[FOUND_AFTER]
    total = at_balance[1:].sum() + after[1:].sum()
    count = 0
    low, high = 0, 0
    if total >= _NEGLIGIBLE:
        low, high = 1, at_balance.size
        while at_balance[low] + after[low] <= _NEGLIGIBLE * total:
            low += 1
        while at_balance[high - 1] + after[high - 1] <= _NEGLIGIBLE * total:
            high -= 1
        count = min(high - low, _MOST_NUMBERS)
    share, after_share, mean = np.zeros(count), np.zeros(count), np.zeros(count)
    for present in range(low, high):
        group = (present - low) * count // (high - low)
        share[group] += at_balance[present]
        after_share[group] += after[present]
        mean[group] += (at_balance[present] + after[present]) * present
    requests = np.empty(count, np.int64)
    for group in range(count):
        requests[group] = max(1, int(np.rint(mean[group] / max(share[group] + after_share[group], TINY))))
    return _Present(requests, share, after_share)


@njit(error_model="numpy")
def _found_in_pool(mixture, state, occupancy, rate, replicas):
    """The same in a pool of several, where steps are first taken as typical to see how long the others are."""
    work = mixture.work[0]
    present = _present(occupancy)
    if present.requests.size == 0:
        return np.zeros(0, FOUND), np.zeros((0, 1))
    longest = present.requests[-1] + _LONGEST_OPEN_QUEUE // replicas
    values = gamma_values(_variation(state), _NORMAL_IN_POOL, _WEIGHT_IN_POOL)
    found, queue = np.zeros(values.size, FOUND), np.zeros((values.size, longest + 1))
    typical = found[0]
    _find_in_pool(mixture, present, rate, replicas, work.step_s, 1.0, typical, queue[0])
    mean_s = queue[0, 0] * typical.decode_free_s + (1 - queue[0, 0]) * typical.decode_queued_s
    step_s = work.step_s * state.decode_found_s / max(mean_s, TINY)
    for node in range(values.size):
        weight = _WEIGHT_IN_POOL[node]
        _find_in_pool(mixture, present, rate, replicas, values[node] * step_s, weight, found[node], queue[node])
    return found, queue


@njit(error_model="numpy")
def _find_in_pool(mixture, present, rate, replicas, step_s, weight, item, by_queue):
    """Fill in what arrivals at busy replicas of a pool find where a decode step takes ``step_s``.

    Most arrivals take the place of a request that has just finished, on this replica or another; one share in
    ``replicas`` comes with a change of the pool's total. A replica stuck with a long prompt finishes nothing; it soon
    holds more than the others and gets no arrivals until they hold as many, so it is found for about the time between
    two arrivals, ``1 / rate``, not for as long as it is stuck.
    """
    work, prompts = mixture.work[0], mixture.prompts
    item.open_share, item.patience_s = 1 / replicas, 1 / rate
    seen = item.open_share + (1 - item.open_share) * _patient(work, prompts, present, step_s, item.patience_s)
    speed = replica_speed(work, mixture.speed, step_s)
    by_queue[:] = 0.0
    decode_s, row = np.zeros(by_queue.size), np.empty(by_queue.size)
    decoding, after_queued = 0.0, 0.0
    for group in range(present.requests.size):
        requests = present.requests[group]
        # At balance.
        total, _, length = weigh_queue(work, speed, requests, item.open_share, rate, row)
        free = row[0] * iteration_s(speed, min(requests, work.slots), 0)
        share = present.share[group] / (free + seen * (total - free))
        for j in range(length):
            count = max(min(requests - j, work.slots), 0)
            mass = share * row[j] * iteration_s(speed, count, j) * (seen if j > 0 else 1.0)
            by_queue[j] += mass
            decode_s[j] += mass * count * step_s
            decoding += mass * count
        # A departure is likelier while the prefill queue is short, and leaves one less.
        _, finishing, length = weigh_queue(work, speed, requests + 1, item.open_share, rate, row)
        share = present.after_share[group] / max(finishing, TINY)
        for j in range(length):
            count = max(min(requests + 1 - j, work.slots), 0)
            mass = share * row[j] * count
            by_queue[j] += mass
            after_queued += mass if j > 0 else 0.0
            decode_s[j] += mass * max(count - 1, 0) * step_s
            decoding += mass * max(count - 1, 0)
    item.after_share = after_queued / max(by_queue[1:].sum(), TINY)
    _condense(item, by_queue, decode_s, decoding, weight)


@njit(error_model="numpy")
def _patient(work, prompts, present, step_s, patience_s):
    """Share of the prefill of a mean prompt during which arrivals still come."""
    mean = (present.requests * (present.share + present.after_share)).sum()
    mean /= present.share.sum() + present.after_share.sum()
    per_token_s = (work.base_s + step_s * mean) / tokens_beside(work, mean)
    seen_s, all_s = 0.0, 0.0
    for i in range(prompts.shape[1]):
        service_s = prompts[1, i] * per_token_s + prompts[2, i]
        seen_s += prompts[0, i] * min(service_s, patience_s)
        all_s += prompts[0, i] * service_s
    return seen_s / all_s


@njit(error_model="numpy")
def _condense(item, by_queue, decode_s, decoding, weight):
    """Fill in from probabilities by queue length, the decode part of an iteration times them, and mean decoding."""
    share = by_queue.sum()
    length = by_queue.size
    while by_queue[length - 1] <= _NEGLIGIBLE * share:
        length -= 1
    ahead, ahead_s = 0.0, 0.0
    for j in range(1, by_queue.size):
        ahead += by_queue[j] * j
        ahead_s += decode_s[j] * j
    item.length = length
    item.decode_free_s = decode_s[0] / max(by_queue[0], TINY)
    item.decode_queued_s = ahead_s / max(ahead, TINY)
    item.decoding = decoding / share
    item.share = share * weight
    by_queue /= share
