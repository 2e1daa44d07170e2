"""How many replicas a pool needs at least, from sums over its requests alone: proved, and cheap enough for every cell.

The full model (:mod:`fleetopt.planner.sizing`) accepts a number of replicas n only if all its checks hold. Each of
them implies a bound. With r = rate / n, w the mean GPU time of a request beyond the iterations' base W, I its mean
iterations, u the cap on utilisation, T the token budget:

1. *Token budget.* ``r (w + W E[tokens] / T) <= u`` is one of the checks itself, and so
   n >= rate (w + W E[tokens] / T) / u.
2. *Slots.* The check is ``running <= u slots``. The mean iteration lasts ``t = W / (1 - r w / beta)`` with the busy
   share beta <= 1, so t >= W / (1 - r w). What runs is ``r t I`` (Little) plus the covariance of what runs with the
   time of an iteration, which is not negative: every request adds to both while it runs. So
   ``r I W / (1 - r w) <= u slots``, which is ``r <= u slots / (I W + u slots w)``. The slots are those of the model:
   the engine's limit, and what the KV cache holds but for the stated probability.
3. *Time to first token.* A request waits at least for its own prefill alone on an idle replica. If that is later than
   the target for more than 1 % of a pool's requests, sizing rejects the pool for any n.
4. *Time per output token.* No decode step is shorter than W. With n > 1 the model's longest kind of iteration has
   more than 1 % of the weight and is at least a mean one without prefill, whose decode part is r t D for a mean decode
   time D per request, a share ``1 - 1/n`` of it whatever the router does. So
   ``W + (1 - 1/n) r D W / (1 - r w) <= target``.
5. *Memory.* A profile whose context limit is below the pool's is rejected.

Bursty arrivals (``Problem.arrivals``) change nothing here: the model accepts a number under them only if it also does
under Poisson arrivals of the same rate.

A small relative slack covers the rounding of the sums.
"""

import numpy as np
from scipy import special

from fleetopt.compiled import compiled
from fleetopt.planner.moments import (
    DECODE_S,
    ITERATIONS,
    KV_FIRST,
    KV_SECOND,
    LATE,
    REQUESTS,
    TOKENS,
    WORK_S,
    base_s,
)
from fleetopt.planner.problem import LATE_SHARE, Problem
from fleetopt.profiles import GpuProfile

INFEASIBLE = np.inf
_SLACK = 1e-9
_SLOTS_SLACK = 1e-6  # a spread near 0 is a difference of nearly equal sums
_LIMITS = 7
_BASE_S, _BUDGET, _KV_TOKENS, _DEVIATIONS, _CAP, _TPOT_S, _CONTEXT = range(_LIMITS)


def replica_limits(problem: Problem, profile: GpuProfile) -> np.ndarray:
    """float64[7], what a replica of the profile can do and what the problem asks of it."""
    # In the other mode the profile's own limit on what runs is already that of the pool's longest requests.
    deviations = special.ndtri(1 - problem.kv_overflow_probability) if problem.slot_mode == "statistical" else np.nan
    return np.array(
        [
            base_s(profile),
            profile.max_batched_tokens,
            profile.kv_tokens,
            deviations,
            problem.max_utilization,
            problem.slo.tpot_p99_s,
            profile.context_limit_tokens,
        ]
    )


@compiled(error_model="numpy")
def least_loaded(
    moments: np.ndarray, rps_per_weight: float, max_sequences: float, context_tokens: float, limits: np.ndarray
) -> float:
    """Fewest loaded replicas that the full model may accept; 0 for an empty pool, infinite where it accepts none.

    Parameters
    ----------
    moments : np.ndarray
        float64[8], sums over the pool's requests, see :mod:`fleetopt.planner.moments`.
    rps_per_weight : float
        Arrival rate of the fleet over the weight of all its requests, 1/s.
    max_sequences : float
        Most requests that a replica of this pool runs at once.
    context_tokens : float
        The pool's context limit.
    limits : np.ndarray
        Of :func:`replica_limits`.
    """
    requests = moments[REQUESTS]
    if requests <= 0:
        return 0.0
    base, target_s = limits[_BASE_S], limits[_TPOT_S]
    is_late = moments[LATE] > (LATE_SHARE + _SLACK) * requests
    if is_late or limits[_CONTEXT] < context_tokens or (base > target_s and moments[DECODE_S] > 0):
        return INFEASIBLE
    work_rps = rps_per_weight * moments[WORK_S]  # GPU time asked for per second beyond the base: r w n
    usable = limits[_CAP] * _most_slots(moments, max_sequences, limits)
    by_slots = rps_per_weight * moments[ITERATIONS] * base / usable + work_rps
    loaded = max(least_by_budget(moments, rps_per_weight, limits), np.ceil(by_slots * (1 - _SLACK)))
    if loaded > 1 and target_s < np.inf and target_s > base:
        decode_rps = (1 - 1 / loaded) * rps_per_weight * moments[DECODE_S]
        loaded = max(loaded, np.ceil((decode_rps * base / (target_s - base) + work_rps) * (1 - _SLACK)))
    return loaded


@compiled(error_model="numpy")
def least_by_budget(moments: np.ndarray, rps_per_weight: float, limits: np.ndarray) -> float:
    """Fewest loaded replicas by the token budget alone, at least 1; requests that come on top never lower it."""
    tokens_rps = rps_per_weight * moments[TOKENS] / limits[_BUDGET]
    by_budget = (rps_per_weight * moments[WORK_S] + limits[_BASE_S] * tokens_rps) / limits[_CAP]
    return max(1.0, np.ceil(by_budget * (1 - _SLACK)))


@compiled(error_model="numpy")
def _most_slots(moments: np.ndarray, max_sequences: float, limits: np.ndarray) -> float:
    """Most requests that fit at once, by the model's own formula (``RequestWork.slots``), rounded in its favour."""
    if np.isnan(limits[_DEVIATIONS]):
        return max_sequences
    mean = moments[KV_FIRST] / moments[ITERATIONS]
    spread = limits[_DEVIATIONS] * np.sqrt(max(moments[KV_SECOND] / moments[ITERATIONS] - mean**2, 0.0))
    root = (np.sqrt(spread**2 + 4 * mean * limits[_KV_TOKENS]) - spread) / (2 * mean)
    return max(1.0, min(max_sequences, np.floor(root**2 * (1 + _SLOTS_SLACK))))
