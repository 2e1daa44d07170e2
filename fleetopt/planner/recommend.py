"""From a problem to a recommendation: search, proof of the plan and of its baselines, replicas at the upper band."""

from collections.abc import Callable
from dataclasses import dataclass

from fleetopt.planner.mixture import split
from fleetopt.planner.plan import FleetPlan, PlanResult
from fleetopt.planner.problem import Problem
from fleetopt.planner.proof import Proof, prove
from fleetopt.planner.search import plan_fleet
from fleetopt.planner.sizing import PoolRequirements, size_pool
from fleetopt.workload.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What the night found for one fleet.

    Attributes
    ----------
    result : PlanResult
        The search, before any simulation.
    proof : Proof or None
        The recommended plan with its evidence; None where nothing is feasible.
    homogeneous, pool_routing : Proof or None
        The baselines, proved the same way, so that a saving compares like with like.
    replicas_upper_band : dict of str to int
        Replicas of each pool at the upper band of rate and lengths; a pool that the model cannot size there is missing.
    """

    result: PlanResult
    proof: Proof | None = None
    homogeneous: Proof | None = None
    pool_routing: Proof | None = None
    replicas_upper_band: dict[str, int]


def recommend(
    problem: Problem,
    upper: Problem,
    day: Trace,
    seed: int,
    on_progress: Callable[[str], None] = lambda message: None,
) -> Recommendation:
    """Search, prove the plan and its baselines, and take the cheapest fleet that the simulator confirms.

    Parameters
    ----------
    problem : Problem
    upper : Problem
        The same at the upper band of rate and lengths.
    day : Trace
        The day's own requests within the context limit.
    seed : int
    on_progress : callable
        Told, in words, what is being done.

    Notes
    -----
    Repair can make the predicted optimum dearer than a baseline that needed none; the comparison is made after it. If
    no fleet is confirmed, the optimum of the search is returned with the verdict that it got.
    """
    on_progress("searching boundaries and bands")
    result = plan_fleet(problem)
    proofs: dict[FleetPlan, Proof] = {}
    for name, plan in (
        ("the plan", result.plan),
        ("the homogeneous baseline", result.homogeneous),
        ("the pool-routing baseline", result.pool_routing),
    ):
        if plan is not None and plan not in proofs:

            def report(message: str, name: str = name) -> None:
                on_progress(f"{name}: {message}")

            proofs[plan] = prove(plan, problem, day, seed, report)
    if result.plan is None:
        return Recommendation(result=result, replicas_upper_band={})
    confirmed = [proof for proof in proofs.values() if proof.verdict == "confirmed"]
    chosen = min(
        confirmed,
        key=lambda proof: (round(proof.plan.usd_per_hour, 9), proof.plan.replicas, len(proof.plan.pools)),
        default=proofs[result.plan],
    )
    return Recommendation(
        result=result,
        proof=chosen,
        homogeneous=proofs.get(result.homogeneous) if result.homogeneous else None,
        pool_routing=proofs.get(result.pool_routing) if result.pool_routing else None,
        replicas_upper_band=_replicas_upper_band(chosen.plan, problem, upper),
    )


def _replicas_upper_band(plan: FleetPlan, problem: Problem, upper: Problem) -> dict[str, int]:
    """Replicas of the plan's pools at the upper band of rate and lengths; boundary, band and profiles are kept.

    What the simulator had to add to the model's number for the plan is added here as well.
    """
    replicas = {}
    for pool, modelled, at_upper in zip(plan.pools, _modelled(plan, problem), _modelled(plan, upper), strict=True):
        if modelled is not None and at_upper is not None:
            replicas[pool.name] = max(pool.replicas, at_upper + pool.replicas - modelled)
    return replicas


def _modelled(plan: FleetPlan, problem: Problem) -> list[int | None]:
    """Replicas that the model asks for in each of the plan's pools; None where it finds no number."""
    mixtures = split(problem.lengths, plan.boundaries_tokens, plan.gamma)
    requests = sum(mixture.requests for mixture in mixtures)
    replicas: list[int | None] = []
    for pool, mixture in zip(plan.pools, mixtures, strict=True):
        sized = size_pool(
            pool.name,
            mixture,
            problem.arrival_rate_rps * mixture.requests / requests,
            pool.profile,
            PoolRequirements(
                slo_ttft_p99_s=problem.slo.ttft_p99_s,
                max_utilization=problem.max_utilization,
                spare_replicas=problem.spare_replicas,
                max_context_tokens=pool.max_context_tokens,
            ),
        )
        replicas.append(None if isinstance(sized, str) else sized.replicas)
    return replicas
