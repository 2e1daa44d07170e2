"""All that is said of a problem: the plan or why there is none, its baselines, its certificate, on request more."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from fleetopt.planner.baselines import homogeneous, pool_routing, retrofit
from fleetopt.planner.certificate import Certificate, certify
from fleetopt.planner.frontier import FrontierPoint
from fleetopt.planner.frontier import frontier as find_frontier
from fleetopt.planner.plan import Candidate, FleetPlan, PlanResult, SearchEffort
from fleetopt.planner.problem import Problem
from fleetopt.planner.proof import PEAK, PoolEvidence, Proof
from fleetopt.planner.published import (
    PublishedBaseline,
    PublishedPrediction,
    published_baseline,
    published_predictions,
)
from fleetopt.planner.recommend import Recommendation, recommend
from fleetopt.planner.search import plan_fleet, prediction_caveats
from fleetopt.planner.surface import cost_surface, round_boundaries

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
        The cheapest fleet of one pool, and of two without compression; None where there is none. Verified as the plan.
    routed_effort : SearchEffort or None
        What the search for ``pool_routing`` did.
    retrofit : FleetPlan or None
        ``pool_routing`` with compression added; not verified.
    published : PublishedBaseline or None
        The fleet that the published planner would buy, and what the sound model says of it.
    published_predictions : dict of str to PublishedPrediction
        What the published model says of the plan's pools, by name; empty where it does not cover it.
    caveats : tuple of str
        Where the prediction of the plan is known to be weak, in sentences.
    certificate : Certificate or None
        Why the search's plan is the cheapest; None where there is no plan.
    frontier : tuple of FrontierPoint
        Cost against the target of the P99 TTFT; empty where it was not asked.
    verification : Recommendation or None
        What the simulator says; None where it was not asked, or there is no plan.
    """

    problem: Problem
    result: PlanResult
    homogeneous: FleetPlan | None
    pool_routing: FleetPlan | None
    retrofit: FleetPlan | None
    published: PublishedBaseline | None
    published_predictions: dict[str, PublishedPrediction]
    caveats: tuple[str, ...]
    certificate: Certificate | None
    frontier: tuple[FrontierPoint, ...]
    verification: Recommendation | None
    routed_effort: SearchEffort | None = None

    @property
    def plan(self) -> FleetPlan | None:
        """The plan, after verification where there was one; None where nothing meets the targets."""
        return self.proof.plan if self.proof else self.result.plan

    @property
    def proof(self) -> Proof | None:
        """The evidence for the plan; None where it was not simulated."""
        return self.verification.proof if self.verification else None

    def evidence_of(self, pool: str) -> PoolEvidence | None:
        """What the simulator says of a pool of the plan at the planned rate; None where it was not simulated."""
        evidence = self.proof.evidence if self.proof else ()
        return next((item for item in evidence if (item.pool, item.scenario) == (pool, PEAK)), None)


def answer(
    problem: Problem,
    cdf: Cdf | None = None,
    *,
    frontier: bool = False,
    verify: bool = False,
    seed: int = 0,
    on_progress: Callable[[str], None] = lambda message: None,
) -> Answer:
    """Plan, and say all that is asked for.

    Parameters
    ----------
    problem : Problem
    cdf : tuple of (float, float), optional
        The points that the lengths were made from, for the published model.
    frontier, verify, seed
        As of `fleetopt.planner.ask.plan`.
    on_progress : callable
        Told, in words, what is being simulated.
    """
    result = plan_fleet(problem)
    verification = recommend(problem, None, None, seed, on_progress) if verify and result.plan else None
    if verification is None:
        one_pool, routing = homogeneous(problem), pool_routing(problem)
        routed, routed_effort = routing.plan, routing.effort
    else:
        one_pool, routed = (
            proof.plan if proof else None for proof in (verification.homogeneous, verification.pool_routing)
        )
        routed_effort = verification.routed_effort
    plan = verification.proof.plan if verification and verification.proof else result.plan
    return Answer(
        problem=problem,
        result=result,
        homogeneous=one_pool,
        pool_routing=routed,
        routed_effort=routed_effort,
        retrofit=retrofit(problem),
        published=published_baseline(problem, cdf),
        published_predictions=published_predictions(plan, problem, cdf) if plan else {},
        caveats=prediction_caveats(plan, problem) if plan else (),
        certificate=certify(problem, result.plan) if result.plan else None,
        frontier=find_frontier(problem) if frontier else (),
        verification=verification,
    )


def cost_cells(problem: Problem, plan: FleetPlan | None) -> tuple[Candidate, ...]:
    """Fleets of one and two pools at round boundaries and those of a plan, for figures and tables.

    Parameters
    ----------
    problem : Problem
    plan : FleetPlan or None
    """
    boundaries = sorted({*round_boundaries(problem), *(plan.boundaries_tokens if plan else ())})
    return cost_surface(replace(problem, max_pools=min(2, problem.max_pools)), boundaries)
