"""The frontier of a problem: what a shorter time to first token costs."""

from dataclasses import dataclass, replace

import numpy as np

from fleetopt.planner.best_first import cheapest, describe
from fleetopt.planner.infeasible import least_factor
from fleetopt.planner.plan import FleetPlan
from fleetopt.planner.problem import Problem

_HOPELESS_S, _NO_TARGET_S = 1e-6, 1e6
_SAME_USD = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierPoint:
    """A target that the P99 TTFT of every pool has to meet, s, and the cheapest plan that meets it."""

    ttft_p99_s: float
    plan: FleetPlan


def frontier(problem: Problem, targets: int = 24, slowest_factor: float = 64.0) -> tuple[FrontierPoint, ...]:
    """Cheapest plans over a geometric grid of targets; of targets with the same price the tightest is kept.

    Parameters
    ----------
    problem : Problem
        Its own targets of the TTFT do not matter: every pool gets the one of the grid.
    targets : int
        Points of the grid, from the tightest feasible target up.
    slowest_factor : float
        The last target as a multiple of the first. The grid ends before where a target is so long that it no longer
        decides: a fleet without a target is no cheaper.

    Returns
    -------
    tuple of FrontierPoint
        Targets rise and prices fall; empty where no target is feasible.
    """
    floor = _plan_for(problem, _NO_TARGET_S)
    if floor is None:  # else many targets would each be proved infeasible
        return ()
    tightest_s = _tightest_target_s(problem)
    if tightest_s is None:
        return ()
    points: list[FrontierPoint] = []
    for target_s in tightest_s * np.geomspace(1.0, slowest_factor, targets):
        plan = _plan_for(problem, float(target_s))
        if plan is None:
            continue
        if not points or plan.usd_per_hour < points[-1].plan.usd_per_hour - _SAME_USD:
            points.append(FrontierPoint(ttft_p99_s=float(target_s), plan=plan))
        if plan.usd_per_hour <= floor.usd_per_hour + _SAME_USD:
            break
    return tuple(points)


def _plan_for(problem: Problem, target_s: float) -> FleetPlan | None:
    slo = replace(problem.slo, ttft_p99_s=target_s, pool_ttft_p99_s={})
    asked = replace(problem, slo=slo)
    choice, _ = cheapest(asked)
    return None if choice is None else describe(asked, choice)


def _tightest_target_s(problem: Problem) -> float | None:
    """The tightest target for which a plan is feasible, s; None where there is none."""
    met = least_factor(lambda factor: _plan_for(problem, _HOPELESS_S * factor))
    return _HOPELESS_S * met[0] if met else None
