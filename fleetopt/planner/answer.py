"""All that is said of a problem: the plan or why there is none, its baselines, its certificate, on request more."""

from dataclasses import dataclass

from fleetopt.planner.plan import FleetPlan, PlanResult
from fleetopt.planner.problem import Problem
from fleetopt.planner.published import (
    PublishedBaseline,
    PublishedPrediction,
    published_baseline,
    published_predictions,
)
from fleetopt.planner.search import plan_fleet, prediction_caveats

Cdf = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What the planner says of a problem.

    Attributes
    ----------
    problem : Problem
    result : PlanResult
        The search's: the plan, or why there is none.
    homogeneous, pool_routing : FleetPlan or None
        The cheapest fleet of one pool, and of two without compression; None where there is none.
    published : PublishedBaseline or None
        The fleet that the published planner would buy, and what the sound model says of it.
    published_predictions : dict of str to PublishedPrediction
        What the published model says of the plan's pools, by name; empty where it does not cover it.
    caveats : tuple of str
        Where the prediction of the plan is known to be weak, in sentences.
    """

    problem: Problem
    result: PlanResult
    homogeneous: FleetPlan | None
    pool_routing: FleetPlan | None
    published: PublishedBaseline | None
    published_predictions: dict[str, PublishedPrediction]
    caveats: tuple[str, ...]

    @property
    def plan(self) -> FleetPlan | None:
        """The plan; None where nothing meets the targets."""
        return self.result.plan


def answer(
    problem: Problem, cdf: Cdf | None = None, *, frontier: bool = False, verify: bool = False, seed: int = 0
) -> Answer:
    """Plan, and say all that is asked for.

    Parameters
    ----------
    problem : Problem
    cdf : tuple of (float, float), optional
        The points that the lengths were made from, for the published model.
    frontier, verify, seed
        As of `fleetopt.planner.ask.plan`.
    """
    result = plan_fleet(problem)
    return Answer(
        problem=problem,
        result=result,
        homogeneous=result.homogeneous,
        pool_routing=result.pool_routing,
        published=published_baseline(problem, cdf),
        published_predictions=published_predictions(result.plan, problem, cdf) if result.plan else {},
        caveats=prediction_caveats(result.plan, problem) if result.plan else (),
    )
