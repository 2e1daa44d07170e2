"""Exhaustive evaluation: every boundary and band sized by the full model, without bounds.

For figures and tables of what the search chose from, and the reference that the search is tested against.
"""

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np

from fleetopt.planner.fleet import fleet_plan, limits_exceeded, pool_case, rank
from fleetopt.planner.mixture import PoolMixture, split
from fleetopt.planner.plan import Candidate, PoolPlan
from fleetopt.planner.problem import POOL_NAMES, Problem
from fleetopt.planner.sizing import Unfit, size_pool


def cost_surface(problem: Problem, boundaries_tokens: Sequence[int] | None = None) -> tuple[Candidate, ...]:
    """Size every boundary and band by the full model; fleets of one pool first, then of two, then of three.

    Parameters
    ----------
    problem : Problem
    boundaries_tokens : sequence of int, optional
        Boundaries, increasing; by default the problem's candidates.

    Notes
    -----
    Takes a few milliseconds a cell, and there may be thousands: see :func:`round_boundaries`.
    """
    boundaries = problem.boundary_candidates if boundaries_tokens is None else tuple(boundaries_tokens)
    candidates = [size_cell(problem, (), 1.0)]
    for n_boundaries in range(1, problem.max_pools):
        for between in combinations(boundaries, n_boundaries):
            candidates += [size_cell(problem, between, gamma) for gamma in problem.gammas]
    return tuple(candidates)


def round_boundaries(problem: Problem) -> tuple[int, ...]:
    """A few dozen of the candidates: those nearest to 2^k and 1.5 x 2^k tokens, as in the published CDFs."""
    candidates = np.array(problem.boundary_candidates)
    if not len(candidates):
        return ()
    grid = sorted({size for k in range(6, 24) for size in (2**k, 3 * 2 ** (k - 1))})
    within = [size for size in grid if candidates[0] <= size <= candidates[-1]]
    nearest = {int(candidates[np.abs(candidates - size).argmin()]) for size in within}
    return tuple(sorted(nearest))


def size_cell(problem: Problem, boundaries_tokens: tuple[int, ...], gamma: float) -> Candidate:
    """The cheapest fleet with given boundaries and band, over the offers of every pool; or why there is none."""
    mixtures = split(problem.lengths, boundaries_tokens, gamma)
    names = POOL_NAMES[len(mixtures)]
    limits = (*boundaries_tokens, problem.max_context_tokens)
    sized: list[list[PoolPlan]] = []
    for name, mixture, limit in zip(names, mixtures, limits, strict=True):
        pools = _sized(problem, name, mixture, limit)
        if isinstance(pools, str):
            return Candidate(boundaries_tokens=boundaries_tokens, gamma=gamma, plan=None, reason=pools)
        sized.append(pools)
    plans = [fleet_plan(problem, boundaries_tokens, gamma, pools) for pools in product(*sized)]
    allowed = [plan for plan in plans if not limits_exceeded(problem, plan)]
    if not allowed:
        least = min(plans, key=lambda plan: rank(problem, plan))
        return Candidate(
            boundaries_tokens=boundaries_tokens, gamma=gamma, plan=None, reason=limits_exceeded(problem, least)
        )
    best = min(allowed, key=lambda plan: rank(problem, plan))
    return Candidate(boundaries_tokens=boundaries_tokens, gamma=gamma, plan=best)


def _sized(problem: Problem, name: str, mixture: PoolMixture, limit: int) -> list[PoolPlan] | str:
    """A pool on each offer that can serve it; or why none can."""
    if mixture.requests <= 0:
        return f"the {name} pool gets no request: this is a fleet of fewer pools"
    sized = [size_pool(problem, pool_case(problem, name, offer, mixture, limit), mixture) for offer in problem.offers]
    pools = [pool for pool in sized if isinstance(pool, PoolPlan)]
    return pools or "; ".join(pool.reason for pool in sized if isinstance(pool, Unfit))
