"""How many requests a replica holds when the router sends each to the one that holds the fewest."""

# mypy: ignore-errors
# Numba infers the types.

import numpy as np
from numba import njit

from fleetopt.queueing.kernels.records import TINY

OVER_TIME, FOUND, FOUND_AFTER = 0, 1, 2
"""Rows of an occupancy, as in ``Occupancy``."""
_MOST_POINTS = 4096
_PHASES = 64
NEGLIGIBLE_LOG = 40.0
_NEGLIGIBLE = 1e-18
_LARGE, _OVERWHELMING = 1e100, 1e200
"""Weights above the first are scaled down; one that gets above the second does so in a single stride."""


@njit(error_model="numpy")
def least_loaded_occupancy(throughput_rps, arrival_rate_rps, replicas):
    """Occupancy of a replica of a pool under Poisson arrivals and the least-loaded router.

    The requests in the whole pool are a birth-death process (flow-equivalent server: Chandy, Herzog and Woo, 1975,
    IBM J. Res. Dev. 19(1)), exact for one replica. Given their number, the router keeps replicas at two neighbouring
    levels, but for departures not yet made good: each leaves one replica a level lower and another a level higher than
    in balance. These pairs come and go as a birth-death process too, whose births stop as replicas in balance run out.

    Returns
    -------
    float64[3, n + 1]
        ``OVER_TIME``, ``FOUND`` and ``FOUND_AFTER`` by the requests on a replica.
    """
    low, high = likely_levels(throughput_rps, arrival_rate_rps / replicas, replicas)
    stride = max(1, -(-replicas * (high - low) // _MOST_POINTS))
    occupancy = np.zeros((3, throughput_rps.size))
    mean_pairs, no_pair = _unbalanced(replicas)
    first = replicas * low
    middle = (stride + 1) / (2 * stride)  # of the states that a stride passes through
    weight, summed, peak, before_rps = 1.0, 0.0, 1.0, 0.0
    for total in range(first, replicas * high, stride):
        level, above = divmod(total, replicas)
        phase = above * no_pair.size // replicas
        is_low = level == 0 and replicas > 1
        if is_low:
            # Below one each, pairs are left over from when there were more; they go as their two requests finish.
            fade = np.exp((total - replicas) / np.sqrt(replicas))
            pairs = min(mean_pairs[0] * replicas * (total / replicas) ** 2 * fade, total / 2)
            level = 1
            lower, upper = (replicas - total + pairs) / replicas, pairs / replicas
        else:
            pairs = mean_pairs[phase] * replicas
            lower, upper = pairs / replicas, (above + pairs) / replicas
        between = 1 - lower - upper
        below = max(level - 1, 0)
        served_rps = replicas * (
            lower * throughput_rps[below] + between * throughput_rps[level] + upper * throughput_rps[level + 1]
        )
        if total > first:
            ratio = arrival_rate_rps / ((1 - middle) * before_rps + middle * served_rps)
            weight *= ratio if stride == 1 else ratio**stride
            if weight > _OVERWHELMING:  # then all that came before is negligible
                occupancy[:], summed, peak, weight = 0.0, 0.0, 1.0, 1.0
        before_rps = served_rps
        summed += weight
        occupancy[OVER_TIME, below] += weight * lower
        occupancy[OVER_TIME, level] += weight * between
        occupancy[OVER_TIME, level + 1] += weight * upper
        if is_low:
            occupancy[FOUND, below] += weight
        else:
            occupancy[FOUND, level] += weight * no_pair[phase]
            occupancy[FOUND_AFTER, below] += weight * (1 - no_pair[phase])
        peak = max(peak, weight)
        if weight < _NEGLIGIBLE * peak:
            break
        if weight > _LARGE:
            occupancy /= weight
            summed, peak, weight = summed / weight, 1.0, 1.0
    occupancy /= summed
    return occupancy


@njit(error_model="numpy")
def likely_levels(throughput_rps, rate, replicas):
    """First and last number of requests per replica, about, between which the pool's total nearly always lies."""
    length = throughput_rps.size - 1
    log_weight = np.zeros(length)
    highest = 0.0
    for level in range(1, length):
        log_weight[level] = log_weight[level - 1] + replicas * np.log(rate / max(throughput_rps[level], TINY))
        highest = max(highest, log_weight[level])
    low, high = 0, length - 1
    while log_weight[low] <= highest - NEGLIGIBLE_LOG:
        low += 1
    while log_weight[high] <= highest - NEGLIGIBLE_LOG:
        high -= 1
    return max(0, low - 2), min(length - 1, high + 2)


@njit(error_model="numpy")
def _unbalanced(replicas):
    """Pairs off balance per replica, mean, and the probability of none, float64[phases].

    A phase is the share of the replicas that stand one above the level when balanced. With m pairs a departure from
    one of the ``replicas - above - 2 m`` in balance makes another; an arrival undoes one.
    """
    phases = min(replicas, _PHASES)
    mean_pairs, no_pair = np.empty(phases), np.empty(phases)
    most = int(min(replicas // 2, 6 * np.sqrt(replicas) + 16))
    for phase in range(phases):
        above = phase * replicas // phases
        weight, summed, pairs = 1.0, 1.0, 0.0
        for m in range(1, most + 1):
            weight *= max(replicas - above - 2 * m + 1, 0) / replicas
            summed += weight
            pairs += weight * m
            if weight < _NEGLIGIBLE:
                break
        mean_pairs[phase] = pairs / summed / replicas
        no_pair[phase] = 1 / summed
    return mean_pairs, no_pair
