"""Pools of a problem's fleet, and the fleet made of them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fleetopt.planner.cells import compression_usd_per_hour
from fleetopt.planner.mixture import PoolMixture, compressed_requests
from fleetopt.planner.plan import FleetPlan, PoolPlan
from fleetopt.planner.problem import Offer, Problem
from fleetopt.planner.provision import committed_saving_usd_per_hour
from fleetopt.planner.sizing import PoolCase

Rank = tuple[float, int, int, float, float, tuple[int, ...], tuple[int, ...]]


def pool_case(problem: Problem, name: str, offer: Offer, mixture: PoolMixture, limit_tokens: int) -> PoolCase:
    """A pool of the problem's fleet that gets a mixture, with its share of the arrivals."""
    return PoolCase(
        name=name,
        offer=offer,
        arrival_rate_rps=problem.arrival_rate_rps * mixture.requests / float(problem.lengths.weight.sum()),
        max_context_tokens=limit_tokens,
    )


def compression_price(problem: Problem, boundaries_tokens: Sequence[int], gamma: float) -> float:
    """What compressing a fleet's requests costs, USD/h."""
    if problem.usd_per_compressed_request == 0:
        return 0.0
    share = compressed_requests(problem.lengths, boundaries_tokens, gamma) / float(problem.lengths.weight.sum())
    return compression_usd_per_hour(problem, problem.arrival_rate_rps * share)


def fleet_plan(
    problem: Problem, boundaries_tokens: tuple[int, ...], gamma: float, pools: tuple[PoolPlan, ...]
) -> FleetPlan:
    """A plan of pools, with what commitments save and compression costs."""
    plan = FleetPlan(
        pools=pools,
        boundaries_tokens=boundaries_tokens,
        gamma=gamma,
        compression_usd_per_hour=compression_price(problem, boundaries_tokens, gamma),
    )
    saving = committed_saving_usd_per_hour(problem, plan.gpus_by_profile)
    return replace(plan, commitment_saving_usd_per_hour=saving)


def rank(problem: Problem, plan: FleetPlan) -> Rank:
    """Order of plans: price, to 1e-9 USD/h, then what decides between equals; see `plan_fleet`."""
    offers = [offer.profile.name for offer in problem.offers]
    return (
        float(np.rint(plan.usd_per_hour * 1e9)),
        plan.replicas,
        len(plan.pools),
        plan.gamma,
        -min(pool.arrival_rate_rps for pool in plan.pools),
        plan.boundaries_tokens,
        tuple(offers.index(pool.profile.name) for pool in plan.pools),
    )


def limits_exceeded(problem: Problem, plan: FleetPlan) -> str:
    """What a plan takes too many of, in words; empty if nothing."""
    needed = plan.gpus_by_profile
    return "; ".join(
        f"{needed[offer.profile.name]} {offer.profile.name} GPUs are needed, {offer.max_gpus} can be had"
        for offer in problem.offers
        if offer.max_gpus is not None and needed.get(offer.profile.name, 0) > offer.max_gpus
    )
