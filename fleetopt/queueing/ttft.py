"""Time to first token of a pool in equilibrium, as a distribution."""

import numpy as np

from fleetopt.queueing.distribution import Grid, TimeDistribution
from fleetopt.queueing.equilibrium import PoolState
from fleetopt.queueing.found import Found, found_busy
from fleetopt.queueing.gate import gated_transform, is_gated
from fleetopt.queueing.work import RequestWork

_PLACES = 16
_FIRST_GUESS = 0.99


def ttft_distribution(work: RequestWork, state: PoolState, arrival_rate_rps: float, replicas: int) -> TimeDistribution:
    """Distribution of the time to first token of a pool in equilibrium.

    On an idle replica a request starts at once and takes its own iterations. On a busy one it waits for the running
    iteration to end, and then for the prompts ahead of it: each takes ``prompt / tokens per iteration`` iterations, and
    what is left of them together is a sum of as many residual service times as there are prompts ahead, which for one
    replica is Pollaczek and Khinchine's formula. Its own last iteration is shared with who is behind it. Where most
    prompts take one iteration, see :func:`fleetopt.queueing.gate.gated_transform`.

    Parameters
    ----------
    work : RequestWork
    state : PoolState
    arrival_rate_rps : float
        Rate of the pool, 1/s.
    replicas : int
    """
    idle = float(state.occupancy.found[0] + state.occupancy.found_after_departure[0])
    found = found_busy(work, state, arrival_rate_rps, replicas)
    share, alone_s = work.prompt_points[0], work.unloaded_ttft_s

    def masses(grid: Grid) -> np.ndarray:
        transform = np.zeros(grid.points + 1, dtype=np.complex128)
        for item in found:
            of_busy = gated_transform if is_gated(work, item) else _transform
            transform += of_busy(grid, work, item, arrival_rate_rps / replicas)
        return np.asarray(idle * grid.masses(share, alone_s) + grid.invert(transform))

    return TimeDistribution(masses, 2 * work.unloaded_ttft_quantile_s(_FIRST_GUESS))


def _transform(grid: Grid, work: RequestWork, found: Found, rate: float) -> np.ndarray:
    """Transform of the time to first token of arrivals that find a busy replica, times their share."""
    profile = work.profile
    share, prompt = work.prompt_points
    chunk = work.chunk_beside(found.decoding)
    free_s, queued_s = work.base_s + found.decode_free_s, work.base_s + found.decode_queued_s
    chunks = np.ceil(prompt / chunk)
    own_s = chunks * free_s + work.prompt_work_s
    # Who arrives meanwhile takes what the last chunk leaves of the budget, up to a prompt.
    unused_s = np.minimum(chunks * chunk - prompt, work.prompt_tokens) * profile.per_prefill_token_s
    own_s -= np.expm1(-rate * own_s) * unused_s
    total = found.queue[0] * grid.transform(grid.masses(share, own_s)) * grid.transform(grid.uniform(free_s))
    if len(found.queue) > 1:
        base_s = prompt / chunk * queued_s
        service_s = base_s + work.prompt_work_s
        left = grid.transform(_left(grid, work, found, base_s))
        ahead = np.zeros_like(left)
        for probability in found.queue[:0:-1]:
            ahead = (ahead + probability) * left
        # The last iteration is as long as the running one was, and longer if somebody has come to wait behind.
        in_queue = 1 + float(found.queue @ np.arange(len(found.queue))) / (1 - found.queue[0])
        behind = -np.expm1(-rate * in_queue * float(share @ service_s))
        last_s = queued_s + behind * profile.per_prefill_token_s * min(chunk, work.prompt_tokens)
        total = total + ahead * grid.transform(grid.masses(share, service_s)) * grid.transform(grid.uniform(last_s))
    return np.asarray(found.share * total)


def _left(grid: Grid, work: RequestWork, found: Found, base_s: np.ndarray) -> np.ndarray:
    """float64[points], what is left of the prefill of a prompt ahead.

    Arrivals that come whatever the replica does find it at any moment of the prefill; those that take the place of a
    finished request in any iteration of it; the others at any moment of its first ``patience_s``.
    """
    share, prompt = work.prompt_points
    service_s = base_s + work.prompt_work_s
    left = found.open_share * grid.residual(grid.masses(share, service_s), float(share @ service_s))
    done = (np.arange(_PLACES) + 0.5) / _PLACES
    if found.open_share < 1:
        seen_s = np.minimum(service_s, found.patience_s)
        left += (1 - found.open_share) * _spread(grid, share * seen_s, service_s - np.outer(done, seen_s))
    if found.after_share > 0:
        attention_s = work.profile.per_prefill_attention_s * prompt**2 / 2
        by_iteration_s = np.outer(1 - done, service_s - attention_s) + np.outer(1 - done**2, attention_s)
        left = (1 - found.after_share) * left + found.after_share * _spread(grid, share * prompt, by_iteration_s)
    return left


def _spread(grid: Grid, weight: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """float64[points], masses at times of several rows that weigh the same; they sum to 1."""
    return grid.masses(np.tile(weight / (weight.sum() * len(times_s)), len(times_s)), times_s.ravel())
