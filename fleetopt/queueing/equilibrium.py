"""Equilibrium of a pool at a given load: iteration time, busy share, what runs, how much memory it holds."""

from dataclasses import dataclass

import numpy as np

from fleetopt.queueing.kernels.equilibrium import find_state
from fleetopt.queueing.kernels.records import STATE
from fleetopt.queueing.work import RequestWork

_FIELDS = STATE.names[1:] if STATE.names else ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Occupancy:
    """Requests on a replica of a pool; distributions over 0 ... n, beyond which there are practically never more.

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
    def rows(self) -> np.ndarray:
        """float64[3, n + 1], as the kernels take them."""
        return np.stack([self.over_time, self.found, self.found_after_departure])


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

    @property
    def record(self) -> np.ndarray:
        """STATE[1], as the kernels take it."""
        return np.array([(1, *(getattr(self, name) for name in _FIELDS))], STATE)


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
    states = np.zeros(1, STATE)
    over_time, found, found_after = find_state(*work.tables, arrival_rate_rps, replicas, states)
    is_stable, *values = states[0].item()
    if not is_stable:
        return None
    occupancy = Occupancy(over_time=over_time, found=found, found_after_departure=found_after)
    return PoolState(occupancy=occupancy, **dict(zip(_FIELDS, values, strict=True)))
