"""Why a plan is the cheapest: what traffic costs beside its boundaries, where savings come from, what comes next.

Replicas are whole, so nothing has a derivative; what stands for it are differences over ten replicas or more.
"""

from dataclasses import dataclass, replace

import numpy as np

from fleetopt.planner.baselines import homogeneous
from fleetopt.planner.best_first import best_plans, cheapest, describe
from fleetopt.planner.engine import pool_work
from fleetopt.planner.mixture import PoolMixture, split
from fleetopt.planner.plan import FleetPlan, PoolPlan
from fleetopt.planner.problem import Offer, Problem
from fleetopt.planner.sizing import PoolRequirements, smallest
from fleetopt.planner.surface import size_cell

_REPLICAS_APART = 10
_REPLICAS_AT_SCALE, _STEP_AT_SCALE = 200, 0.2
_NEXT_BEST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMargin:
    """What more or less of a pool's own traffic costs.

    Attributes
    ----------
    name : str
    step_rps : float
        By how much the rate is changed, 1/s.
    usd_per_rps_less, usd_per_rps_more : float or None
        Price, USD/h per request/s, of the last and of the next step; None where there is not that much traffic, the
        GPU type has no price, or the model finds no number of replicas.
    binding : str
        What sets the pool's number of replicas.
    """

    name: str
    step_rps: float
    usd_per_rps_less: float | None
    usd_per_rps_more: float | None
    binding: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CostCliff:
    """What a request costs just below a boundary and just above it.

    Attributes
    ----------
    boundary_tokens : int
    below, above : str
        Names of the pools.
    usd_per_request_below, usd_per_request_above : float or None
        Price of one more request of the boundary's length, USD, in a pool of the same requests that has some two
        hundred replicas: in a small one it may cost nothing, or a whole replica.
    slots_below, slots_above : int
        Requests that a replica holds at once.
    """

    boundary_tokens: int
    below: str
    above: str
    usd_per_request_below: float | None
    usd_per_request_above: float | None
    slots_below: int
    slots_above: int

    @property
    def ratio(self) -> float | None:
        """How many times as dear a request is above; None where a price is unknown or nothing."""
        if not self.usd_per_request_below or self.usd_per_request_above is None:
            return None
        return self.usd_per_request_above / self.usd_per_request_below


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A plan with one boundary moved to the candidate next to it; None: that is infeasible."""

    boundaries_tokens: tuple[int, ...]
    usd_per_hour: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """What a cause takes off the price, USD/h, after those named before it."""

    cause: str
    usd_per_hour: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What shows that a plan is the cheapest, and by how much.

    Attributes
    ----------
    margins : tuple of PoolMargin
        Pool by pool. At the optimum of arXiv 2603.16514, Prop. 1, moving traffic over the boundary would change nothing
        to first order; here pools differ in GPU type, cap and whole replicas, so the neighbours are the test.
    cliffs : tuple of CostCliff
        Boundary by boundary.
    neighbours : tuple of Neighbour
        Each boundary moved down, then up, to the next candidate, gamma kept.
    savings : tuple of Saving
        From the cheapest fleet of one pool: routing, compression, GPU types. They sum to the difference to the cheapest
        plan; empty where no fleet of one pool is feasible, or nothing has a price.
    next_best : tuple of FleetPlan
        The plans that come next, cheapest first, at most five.
    """

    margins: tuple[PoolMargin, ...]
    cliffs: tuple[CostCliff, ...]
    neighbours: tuple[Neighbour, ...]
    savings: tuple[Saving, ...]
    next_best: tuple[FleetPlan, ...]


def certify(problem: Problem, plan: FleetPlan) -> Certificate:
    """Make the certificate of a problem's optimum.

    Parameters
    ----------
    problem : Problem
    plan : FleetPlan
        The answer of `plan_fleet`.
    """
    pools = list(zip(plan.pools, split(problem.lengths, plan.boundaries_tokens, plan.gamma), strict=True))
    ranked = best_plans(problem, _NEXT_BEST + 1)
    return Certificate(
        margins=tuple(_margin(problem, pool, mixture) for pool, mixture in pools),
        cliffs=tuple(
            _cliff(problem, boundary, pools[place], pools[place + 1])
            for place, boundary in enumerate(plan.boundaries_tokens)
        ),
        neighbours=_neighbours(problem, plan),
        savings=_savings(problem, plan),
        next_best=tuple(other for other in ranked if other != plan)[:_NEXT_BEST],
    )


def _margin(problem: Problem, pool: PoolPlan, mixture: PoolMixture) -> PoolMargin:
    step_rps = _step_rps(pool)
    less_rps = pool.arrival_rate_rps - step_rps
    return PoolMargin(
        name=pool.name,
        step_rps=step_rps,
        usd_per_rps_less=_usd_per_rps(problem, pool, mixture, less_rps, step_rps) if less_rps > 0 else None,
        usd_per_rps_more=_usd_per_rps(problem, pool, mixture, pool.arrival_rate_rps, step_rps),
        binding=pool.binding,
    )


def _step_rps(pool: PoolPlan) -> float:
    """The traffic of about ten replicas, 1/s."""
    return _REPLICAS_APART * pool.arrival_rate_rps / pool.loaded_replicas


def _usd_per_rps(
    problem: Problem,
    pool: PoolPlan,
    mixture: PoolMixture,
    rate_rps: float,
    step_rps: float,
    added: PoolMixture | None = None,
) -> float | None:
    """Price of a step up from a rate, USD/h per request/s, on demand, spares aside; None where none is known.

    Parameters
    ----------
    added : PoolMixture, optional
        What comes in that step; by default more of the same.
    """
    if not pool.profile.usd_per_gpu_hour:
        return None
    required = PoolRequirements.of(problem, pool.name, pool.arrival_rate_rps)
    after = _mixed(mixture, rate_rps, added, step_rps) if added else mixture
    at_rate = smallest(pool_work(problem, pool.profile, mixture), rate_rps, required)
    beyond = smallest(pool_work(problem, pool.profile, after), rate_rps + step_rps, required)
    if at_rate is None or beyond is None:
        return None
    bought = (beyond - at_rate) / _offer(problem, pool).availability
    return bought * pool.profile.usd_per_replica_hour / step_rps


def _offer(problem: Problem, pool: PoolPlan) -> Offer:
    (offer,) = (offer for offer in problem.offers if offer.profile.name == pool.profile.name)
    return offer


def _mixed(mixture: PoolMixture, rate_rps: float, added: PoolMixture, added_rps: float) -> PoolMixture:
    """Requests of two mixtures that come at given rates, together."""
    return PoolMixture(
        weight=np.append(mixture.weight * rate_rps / mixture.requests, added.weight * added_rps / added.requests),
        prompt_tokens=np.append(mixture.prompt_tokens, added.prompt_tokens),
        output_tokens=np.append(mixture.output_tokens, added.output_tokens),
    )


def _cliff(
    problem: Problem, boundary: int, below: tuple[PoolPlan, PoolMixture], above: tuple[PoolPlan, PoolMixture]
) -> CostCliff:
    """Price of one more request of the boundary's length in either pool."""
    total = problem.lengths.total_tokens
    nearest = int(np.abs(total - boundary).argmin())
    output = max(1.0, problem.lengths.output_tokens[nearest] * boundary / total[nearest])
    one = PoolMixture(
        weight=np.ones(1), prompt_tokens=np.array([max(1.0, boundary - output)]), output_tokens=np.array([output])
    )
    usd = []
    for pool, mixture in (below, above):
        rate_rps = pool.arrival_rate_rps * max(1.0, _REPLICAS_AT_SCALE / pool.loaded_replicas)
        usd_per_rps = _usd_per_rps(problem, pool, mixture, rate_rps, _STEP_AT_SCALE * rate_rps, one)
        usd.append(None if usd_per_rps is None else usd_per_rps / 3600)
    return CostCliff(
        boundary_tokens=boundary,
        below=below[0].name,
        above=above[0].name,
        usd_per_request_below=usd[0],
        usd_per_request_above=usd[1],
        slots_below=below[0].slots_per_replica,
        slots_above=above[0].slots_per_replica,
    )


def _neighbours(problem: Problem, plan: FleetPlan) -> tuple[Neighbour, ...]:
    """The plan with each boundary moved by one candidate, down and up."""
    candidates, found = list(problem.boundary_candidates), []
    for place, boundary in enumerate(plan.boundaries_tokens):
        for step in (-1, 1):
            moved = candidates.index(boundary) + step
            if not 0 <= moved < len(candidates):
                continue
            boundaries = (*plan.boundaries_tokens[:place], candidates[moved], *plan.boundaries_tokens[place + 1 :])
            if len(set(boundaries)) == len(boundaries):
                other = size_cell(problem, boundaries, plan.gamma).plan
                usd_per_hour = None if other is None else other.usd_per_hour
                found.append(Neighbour(boundaries_tokens=boundaries, usd_per_hour=usd_per_hour))
    return tuple(found)


def _savings(problem: Problem, plan: FleetPlan) -> tuple[Saving, ...]:
    """What routing, compression and a choice of GPU types save in turn; each search is wider than the one before."""
    one_pool = homogeneous(problem)
    if one_pool is None or not one_pool.usd_per_hour:
        return ()
    one_type = replace(problem, offers=(_offer(problem, one_pool.pools[0]),))
    routed, _ = cheapest(one_type, gammas=(1.0,))
    compressed, _ = cheapest(one_type)
    prices = [one_pool.usd_per_hour]
    prices += [describe(one_type, choice).usd_per_hour for choice in (routed, compressed) if choice is not None]
    prices.append(plan.usd_per_hour)
    return tuple(
        Saving(cause=cause, usd_per_hour=before - after)
        for cause, before, after in zip(("routing", "compression", "GPU types"), prices[:-1], prices[1:], strict=True)
    )
