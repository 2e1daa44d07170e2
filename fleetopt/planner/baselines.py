"""The fleets that a plan is compared with, each as cheap as it can be under the same constraints."""

from fleetopt.planner.best_first import cheapest, describe
from fleetopt.planner.plan import FleetPlan, PlanResult
from fleetopt.planner.problem import Problem
from fleetopt.planner.surface import size_cell

RETROFIT_GAMMA = 1.5
"""Compression added to a fleet that was laid out without it (arXiv 2603.16514, section 1.5 of its evaluation)."""


def homogeneous(problem: Problem) -> FleetPlan | None:
    """The cheapest fleet of one pool; None where there is none."""
    choice, _ = cheapest(problem, most_pools=1)
    return None if choice is None else describe(problem, choice)


def pool_routing(problem: Problem) -> PlanResult:
    """The cheapest fleet of two pools that compresses nothing, and which boundaries were left out in finding it."""
    choice, effort = cheapest(problem, fewest_pools=2, most_pools=2, gammas=(1.0,))
    return PlanResult(plan=None if choice is None else describe(problem, choice), effort=effort)


def retrofit(problem: Problem) -> FleetPlan | None:
    """The fleet of :func:`pool_routing` with compression added: the same boundary, gamma 1.5, pools sized anew."""
    routed = pool_routing(problem).plan
    return size_cell(problem, routed.boundaries_tokens, RETROFIT_GAMMA).plan if routed else None
