"""How many requests a replica holds when the router sends each to the one that holds the fewest."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_MOST_POINTS = 4096
_PHASES = 64
_NEGLIGIBLE_LOG = 40.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Occupancy:
    """Requests on a replica of a pool; distributions over 0 ... n.

    Attributes
    ----------
    over_time : np.ndarray
        float64[n + 1], of a replica at any time.
    found : np.ndarray
        float64[n + 1], on the replica that an arrival is sent to, where all replicas hold at least as many.
    found_after_departure : np.ndarray
        float64[n + 1], the same where that replica has just lost one and no other is as low. The two sum to 1.
    """

    over_time: np.ndarray
    found: np.ndarray
    found_after_departure: np.ndarray

    @property
    def busy(self) -> float:
        """Share of time that a replica holds a request."""
        return float(1 - self.over_time[0])

    def with_idle(self, probability: float) -> "Occupancy":
        """Return the same but for another probability that a single replica is idle, below 1."""
        scale = (1 - probability) / (1 - self.over_time[0])
        over_time = np.append(probability, scale * self.over_time[1:])
        return Occupancy(over_time=over_time, found=over_time, found_after_departure=self.found_after_departure)

    @property
    def mean(self) -> float:
        """Mean requests on a replica."""
        return float(self.over_time @ np.arange(len(self.over_time)))


def least_loaded_occupancy(throughput_rps: np.ndarray, arrival_rate_rps: float, replicas: int) -> Occupancy:
    """Occupancy of a replica of a pool under Poisson arrivals and the least-loaded router.

    Parameters
    ----------
    throughput_rps : np.ndarray
        float64[n + 1], what a replica finishes per second while it holds 0 ... n requests, rising.
    arrival_rate_rps : float
        Rate of the pool, 1/s, below ``replicas * throughput_rps[-1]``.
    replicas : int

    Notes
    -----
    The requests in the whole pool are a birth-death process (flow-equivalent server: Chandy, Herzog and Woo, 1975,
    IBM J. Res. Dev. 19(1)), exact for one replica. Given their number, the router keeps replicas at two neighbouring
    levels, but for departures not yet made good: each leaves one replica a level lower and another a level higher than
    in balance. These pairs come and go as a birth-death process too, whose births stop as replicas in balance run out.
    """
    low, high = _likely_levels(throughput_rps[:-1], arrival_rate_rps / replicas, replicas)
    stride = max(1, -(-replicas * (high - low) // _MOST_POINTS))
    total = np.arange(replicas * low, replicas * high, stride)
    level, above = np.divmod(total, replicas)
    mean_pairs, no_pair = _unbalanced(replicas)
    phase = above * len(no_pair) // replicas
    pairs, balanced = mean_pairs[phase] * replicas, no_pair[phase]
    is_low = total < replicas
    if replicas == 1:
        is_low = np.zeros_like(is_low)
    # Below one each, pairs are left over from when there were more; they go as their two requests finish.
    left_over = (
        mean_pairs[0] * replicas * (total / replicas) ** 2 * np.exp(np.minimum(total - replicas, 0) / np.sqrt(replicas))
    )
    pairs = np.where(is_low, np.minimum(left_over, total / 2), pairs)
    centre = np.where(is_low, 1, level)
    lower = np.where(is_low, replicas - total + pairs, pairs) / replicas
    upper = np.where(is_low, pairs, above + pairs) / replicas
    middle = 1 - lower - upper
    below = np.maximum(centre - 1, 0)
    served_rps = replicas * (
        lower * throughput_rps[below] + middle * throughput_rps[centre] + upper * throughput_rps[centre + 1]
    )
    weight = _birth_death(arrival_rate_rps, served_rps, stride)
    found = np.where(is_low, 0.0, balanced)
    length = len(throughput_rps)

    def distribution(levels: np.ndarray, share: np.ndarray) -> np.ndarray:
        return np.bincount(levels, weight * share, length)

    return Occupancy(
        over_time=distribution(below, lower) + distribution(centre, middle) + distribution(centre + 1, upper),
        found=distribution(centre, found) + distribution(below, np.where(is_low, 1.0, 0.0)),
        found_after_departure=distribution(below, np.where(is_low, 0.0, 1 - balanced)),
    )


def _likely_levels(throughput_rps: np.ndarray, rate: float, replicas: int) -> tuple[int, int]:
    """First and last number of requests per replica, about, between which the pool's total nearly always lies."""
    with np.errstate(divide="ignore"):
        log_weight = replicas * np.cumsum(np.log(rate / np.maximum(throughput_rps[1:], 1e-300)))
    likely = np.flatnonzero(np.r_[0.0, log_weight] > max(0.0, float(log_weight.max())) - _NEGLIGIBLE_LOG)
    return max(0, int(likely[0]) - 2), min(len(throughput_rps) - 1, int(likely[-1]) + 2)


def _birth_death(birth_rps: float, death_rps: np.ndarray, stride: int) -> np.ndarray:
    """Stationary distribution over every ``stride``-th state; sums to 1."""
    middle = (stride + 1) / (2 * stride)  # of the states that a stride passes through
    step = stride * np.log(birth_rps / ((1 - middle) * death_rps[:-1] + middle * death_rps[1:]))
    log_weight = np.concatenate([[0.0], np.cumsum(step)])
    weight = np.exp(log_weight - log_weight.max())
    return np.asarray(weight / weight.sum())


@lru_cache(maxsize=256)
def _unbalanced(replicas: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs off balance per replica, mean, and the probability of none, float64[phases].

    A phase is the share of the replicas that stand one above the level when balanced. With m pairs a departure from
    one of the ``replicas - above - 2 m`` in balance makes another; an arrival undoes one.
    """
    above = np.floor(np.arange(min(replicas, _PHASES)) * replicas / min(replicas, _PHASES))
    pairs = np.arange(int(min(replicas // 2, 6 * np.sqrt(replicas) + 16)) + 1)
    births = np.maximum(replicas - above[:, None] - 2 * pairs[:-1] - 1, 0) / replicas
    weight = np.concatenate([np.ones((len(above), 1)), np.cumprod(births, axis=1)], axis=1)
    weight /= weight.sum(axis=1, keepdims=True)
    return weight @ pairs / replicas, weight[:, 0]
