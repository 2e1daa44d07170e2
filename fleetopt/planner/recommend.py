"""From a problem to a recommendation: search, proof of the best plans and the baselines, replicas at the upper band."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from fleetopt.planner.baselines import homogeneous, pool_routing
from fleetopt.planner.engine import pool_work
from fleetopt.planner.fleet import pool_case
from fleetopt.planner.mixture import split
from fleetopt.planner.plan import FleetPlan, PlanResult, SearchEffort
from fleetopt.planner.problem import Problem
from fleetopt.planner.proof import Proof
from fleetopt.planner.search import plan_fleet
from fleetopt.planner.sizing import Unfit, size_pool
from fleetopt.planner.surface import cost_surface, round_boundaries
from fleetopt.planner.verification import Verifier, offer_of, price, replica_price
from fleetopt.planner.work_floor import fewest_replicas
from fleetopt.workload.trace import Trace

_MOST_CONTENDERS, _MOST_DISMISSED = 8, 20
"""Plans next to the optimum that are proved, and that are looked at only shortly."""
_MOST_PER_BOUNDARY = 2
"""Bands around one boundary are alike: what the simulator finds of one it finds of the next."""
_SAME = 1e-9


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
    routed_effort : SearchEffort or None
        What the search for ``pool_routing`` did.
    plans_proved, plans_dismissed : int
        Plans that were brought to their smallest confirmed fleet, the baselines among them; and plans next to the
        optimum that a short look showed not to hold for less than the cheapest of those.
    replicas_upper_band : dict of str to int
        Replicas of each pool at the upper band of rate and lengths; a pool that the model cannot size there is missing.
    """

    result: PlanResult
    proof: Proof | None = None
    homogeneous: Proof | None = None
    pool_routing: Proof | None = None
    routed_effort: SearchEffort | None = None
    plans_proved: int = 0
    plans_dismissed: int = 0
    replicas_upper_band: dict[str, int]


def recommend(
    problem: Problem,
    upper: Problem | None,
    day: Trace | None,
    seed: int,
    on_progress: Callable[[str], None] = lambda message: None,
) -> Recommendation:
    """Search, prove the plan, what may beat it and the baselines, and take the cheapest fleet that is confirmed.

    Parameters
    ----------
    problem : Problem
    upper : Problem or None
        The same at the upper band of rate and lengths; None where there is no band.
    day : Trace or None
        The day's own requests within the context limit; None where there are none to replay.
    seed : int
    on_progress : callable
        Told, in words, what is being done.

    Notes
    -----
    Repair can make the predicted optimum dearer than a plan that needed none; the comparison is made after it, see
    :func:`cheapest_confirmed`. If no fleet is confirmed, the optimum of the search is returned with the verdict that it
    got.
    """
    on_progress("searching boundaries and bands")
    result = plan_fleet(problem)
    if result.plan is None:
        return Recommendation(result=result, replicas_upper_band={})
    verifier = Verifier(problem, day, seed)
    one_pool, routing = homogeneous(problem), pool_routing(problem)
    routed = routing.plan
    proofs: dict[FleetPlan, Proof] = {}
    for name, plan in (
        ("the plan", result.plan),
        ("the homogeneous baseline", one_pool),
        ("the pool-routing baseline", routed),
    ):
        if plan is not None and plan not in proofs:

            def report(message: str, name: str = name) -> None:
                on_progress(f"{name}: {message}")

            proofs[plan] = verifier.prove(plan, report)
    contenders = [plan for plan in sized_plans(problem) if plan not in proofs]
    # Two routed pools are shown beside a plan even where one pool is all that may be built.
    allowed = [proof for plan, proof in proofs.items() if len(plan.pools) <= problem.max_pools]
    chosen, proved, dismissed = cheapest_confirmed(verifier, allowed, contenders, on_progress)
    return Recommendation(
        result=result,
        proof=chosen or proofs[result.plan],
        homogeneous=proofs.get(one_pool) if one_pool else None,
        pool_routing=proofs.get(routed) if routed else None,
        routed_effort=routing.effort,
        plans_proved=len(proofs) + proved,
        plans_dismissed=dismissed,
        replicas_upper_band=_replicas_upper_band((chosen or proofs[result.plan]).plan, problem, upper) if upper else {},
    )


def sized_plans(problem: Problem) -> list[FleetPlan]:
    """Plans at round boundaries, sized by the model, the cheapest first."""
    cells = cost_surface(problem, round_boundaries(problem))
    plans = [cell.plan for cell in cells if cell.plan is not None]
    return sorted(plans, key=lambda plan: (price(plan), plan.replicas))


def cheapest_confirmed(
    verifier: Verifier,
    proofs: list[Proof],
    contenders: list[FleetPlan],
    on_progress: Callable[[str], None] = lambda message: None,
) -> tuple[Proof | None, int, int]:
    """The cheapest fleet that the simulator confirms among proved plans and contenders.

    Parameters
    ----------
    verifier : Verifier
    proofs : list of Proof
        Of plans that are proved already; the optimum of the search first.
    contenders : list of FleetPlan
        Others, in the order of the model's price.
    on_progress : callable

    Returns
    -------
    proof : Proof or None
        None where none is confirmed.
    proved, dismissed : int
        Contenders that were proved, and that a short look dismissed.

    Notes
    -----
    The model ranks plans, and the simulator may rank them otherwise. A contender is looked at if the fewest replicas
    that its work allows would cost less than the cheapest fleet so far. The first eight in the order of the model's
    price are proved, at most two with the same boundaries; up to twenty more the short look of
    `Verifier.cannot_undercut` dismisses.
    """
    confirmed = [proof for proof in proofs if proof.verdict == "confirmed"]
    best = min(confirmed, key=_rank, default=None)
    proved = dismissed = 0
    tried = Counter(proof.plan.boundaries_tokens for proof in proofs)
    for plan in contenders:
        if proved == _MOST_CONTENDERS or dismissed == _MOST_DISMISSED:
            break
        if tried[plan.boundaries_tokens] >= _MOST_PER_BOUNDARY:
            continue
        if best is not None:
            if least_price(plan, verifier.problem) >= price(best.plan) * (1 - _SAME):
                continue
            if verifier.cannot_undercut(plan, price(best.plan)):
                dismissed += 1
                continue
        on_progress(f"next best plan {proved + 1}: boundaries {plan.boundaries_tokens}, gamma {plan.gamma:g}")
        proof = verifier.prove(plan)
        proved += 1
        tried[plan.boundaries_tokens] += 1
        if proof.verdict == "confirmed" and (best is None or _rank(proof) < _rank(best)):
            best = proof
    return best, proved, dismissed


def least_price(plan: FleetPlan, problem: Problem) -> float:
    """What the plan's pools would cost with the fewest replicas that keep up with their work."""
    mixtures = split(problem.lengths, plan.boundaries_tokens, plan.gamma)
    total = price(plan)
    for pool, mixture in zip(plan.pools, mixtures, strict=True):
        fewest = fewest_replicas(pool_work(problem, pool.profile, mixture), pool.arrival_rate_rps)
        total -= max(pool.loaded_replicas - fewest, 0) * replica_price(pool)
    return total


def _rank(proof: Proof) -> tuple[float, int, int]:
    return round(price(proof.plan), 9), proof.plan.replicas, len(proof.plan.pools)


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
    replicas: list[int | None] = []
    for pool, mixture in zip(plan.pools, mixtures, strict=True):
        case = pool_case(problem, pool.name, offer_of(problem, pool), mixture, pool.max_context_tokens)
        sized = size_pool(problem, case, mixture)
        replicas.append(None if isinstance(sized, Unfit) else sized.replicas)
    return replicas
