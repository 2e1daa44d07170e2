"""Time per output token of a pool in equilibrium, as a distribution."""

from dataclasses import dataclass

import numpy as np
from scipy import special

from fleetopt.queueing.distribution import gamma_nodes
from fleetopt.queueing.equilibrium import PoolState
from fleetopt.queueing.work import RequestWork

_REFINEMENTS, _PLACES = 3, 17
_GROUPS_PER_E_FOLD = 5
_NODES = 5
_LEAST_SPREAD = 1.02
"""Independent iterations in a request's steps, at least; at 1 each request would see all or none prefilling."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TpotDistribution:
    """Mean time of a request's decode steps, over the requests with at least two output tokens.

    A step lasts as long as the base and the decode part of its iteration, which hardly change while a request runs,
    and a prompt's chunk in a share of them. That share differs between requests as a Beta distribution, whose variance
    is that of as many independent iterations as there are runs of prefilling ones in the request's steps.

    Attributes
    ----------
    share, spread : np.ndarray
        float64[k], share of requests and independent iterations in their steps.
    decode_iteration_s, weight : np.ndarray
        float64[g], iterations without a chunk, s, and how often they are so long.
    chunk_s : float
        What a chunk adds, s.
    chunk_share : float
        Mean share of iterations with a chunk, 0 to 1.
    """

    share: np.ndarray
    spread: np.ndarray
    decode_iteration_s: np.ndarray
    weight: np.ndarray
    chunk_s: float
    chunk_share: float

    def exceeds(self, times_s: np.ndarray) -> np.ndarray:
        """P(time per output token > x) for each x, s; nan where no request has two output tokens."""
        times_s = np.atleast_1d(np.asarray(times_s, dtype=np.float64))
        if not len(self.share):
            return np.full(len(times_s), np.nan)
        above_s = times_s[:, None] - self.decode_iteration_s
        if self.chunk_s <= 0 or self.chunk_share <= 0:
            return np.asarray((above_s < 0) @ self.weight)
        place = np.clip(above_s / self.chunk_s, 0.0, 1.0)[:, :, None]
        free = self.spread - 1
        over = 1 - special.betainc(self.chunk_share * free, (1 - self.chunk_share) * free, place)
        over = np.where(above_s[:, :, None] < 0, 1.0, np.where(place >= 1, 0.0, over))
        return np.asarray(np.einsum("xgk,g,k->x", over, self.weight, self.share))

    def quantile(self, probability: float) -> float:
        """Time that a share ``probability`` of requests does not exceed, s; nan where none has two output tokens."""
        if not len(self.share):
            return float("nan")
        low = float(self.decode_iteration_s.min())
        high = float(self.decode_iteration_s.max()) + self.chunk_s
        for _ in range(_REFINEMENTS):
            times_s = np.linspace(low, high, _PLACES)
            is_late = self.exceeds(times_s[:-1]) > 1 - probability
            first = int(is_late.sum())  # the probability falls, so these come first
            low, high = float(times_s[max(first - 1, 0)]), float(times_s[first])
        return high


def tpot_distribution(work: RequestWork, state: PoolState, replicas: int) -> TpotDistribution:
    """Distribution of the time per output token of a pool in equilibrium.

    Parameters
    ----------
    work : RequestWork
    state : PoolState
    replicas : int
    """
    share, steps = _steps(work)
    chunk_s, chunk_share = _chunk(work, state)
    run = max(1.0, work.prompt_tokens / min(state.chunk_tokens, work.chunk_tokens)) / max(1 - state.prefill_load, 1e-3)
    # A router that evens out the counts leaves only the requests' own differences to a replica.
    others_s = state.busy * state.decode_found_s + work.step_s
    decode_s = others_s / replicas + (1 - 1 / replicas) * state.decode_s
    nodes, weight = gamma_nodes(state.decode_variation, _NODES)
    return TpotDistribution(
        share=share,
        spread=np.maximum(_LEAST_SPREAD, 1 + (steps - 1) / run),
        decode_iteration_s=work.base_s + nodes * decode_s,
        weight=weight,
        chunk_s=chunk_s,
        chunk_share=min(chunk_share, 1 - 1e-9),
    )


def _chunk(work: RequestWork, state: PoolState) -> tuple[float, float]:
    """Time that prefill adds to an iteration, s, and to which share of the iterations.

    An iteration that prefills takes a full budget, or if that holds more, the chunks of the prompts in their prefill:
    a Poisson number, at least one. Their times differ; one time in a smaller share of iterations has the same mean and
    mean square.
    """
    share, prompt_s = work.prompt_points[0], work.prompt_work_s
    chunks = np.ceil(work.prompt_points[1] / min(state.chunk_tokens, work.chunk_tokens))
    if work.prefill_s <= 0:
        return 0.0, 0.0
    joins = state.running / work.iterations * float(share @ chunks)
    chunk_work_s = work.prefill_s / float(share @ chunks)
    full_s = work.prefill_s * state.chunk_tokens / work.prompt_tokens
    mean_s = min(full_s, chunk_work_s * joins / -np.expm1(-joins))
    chunk_s = min(full_s, float(share @ (prompt_s**2 / chunks)) / work.prefill_s + chunk_work_s * joins)
    return chunk_s, state.chunk_share * mean_s / chunk_s


def _steps(work: RequestWork) -> tuple[np.ndarray, np.ndarray]:
    """Share and decode steps of the requests that make any, a few dozen points."""
    share, output = work.output_points
    has_steps = output > 1
    share, steps = share[has_steps], output[has_steps] - 1
    _, group = np.unique(np.floor(_GROUPS_PER_E_FOLD * np.log(steps)), return_inverse=True)
    mass = np.bincount(group, share)
    return mass / max(float(mass.sum()), 1e-300), np.bincount(group, share * steps) / np.maximum(mass, 1e-300)
