"""The search: every boundary, band and profile per pool; the cheapest fleet that holds, and the baselines beside it."""

from fleetopt.planner.mixture import PoolMixture, split
from fleetopt.planner.plan import Candidate, FleetPlan, PlanResult, PoolPlan
from fleetopt.planner.problem import POOL_NAMES, Problem
from fleetopt.planner.sizing import PoolRequirements, size_pool
from fleetopt.queueing.pool import predict_pool
from fleetopt.queueing.work import request_work


def plan_fleet(problem: Problem) -> PlanResult:
    """Find the cheapest fleet of one or two pools that meets the target.

    Every boundary among :func:`candidate_boundaries` and every band gamma = 1.0, 1.1, ... up to the cap is sized, each
    pool with the profile that makes it cheapest. Of fleets of equal price the one with fewer replicas, then with fewer
    pools, then with less compression wins.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    PlanResult

    References
    ----------
    FleetOpt, arXiv 2603.16514, Algorithm 1; unlike it, the short pool is described with its compressed requests and
    the prefill is that of the loaded iteration.
    """
    homogeneous = _size(problem, (), 1.0)
    candidates = [homogeneous]
    for boundary in candidate_boundaries(problem):
        candidates += [_size(problem, (boundary,), gamma) for gamma in problem.gammas]
    chosen = _cheapest(candidates)
    return PlanResult(
        plan=chosen,
        reason="" if chosen else homogeneous.reason,
        homogeneous=homogeneous.plan,
        pool_routing=_cheapest([c for c in candidates if c.boundaries_tokens and c.gamma == 1]),
        candidates=tuple(candidates),
    )


def candidate_boundaries(problem: Problem) -> list[int]:
    """Boundaries to try: 2^k and 1.5 x 2^k tokens, as in the published CDFs, that leave requests on both sides."""
    total = problem.lengths.total_tokens
    grid = sorted({size for k in range(6, 24) for size in (2**k, 3 * 2 ** (k - 1))})
    return [size for size in grid if total[0] <= size < total[-1] and size < problem.max_context_tokens]


def _size(problem: Problem, boundaries: tuple[int, ...], gamma: float) -> Candidate:
    """Size the pools that a boundary and a band give."""
    mixtures = split(problem.lengths, boundaries, gamma)
    requests = sum(mixture.requests for mixture in mixtures)
    if len(mixtures) == 2 and min(mixture.requests for mixture in mixtures) <= 0:
        return Candidate(boundaries_tokens=boundaries, gamma=gamma, plan=None, reason="a pool gets no request")
    limits = (*boundaries, problem.max_context_tokens)
    pools: list[PoolPlan] = []
    for name, mixture, limit in zip(POOL_NAMES[len(mixtures)], mixtures, limits, strict=True):
        sized = _cheapest_pool(problem, name, mixture, problem.arrival_rate_rps * mixture.requests / requests, limit)
        if isinstance(sized, str):
            return Candidate(boundaries_tokens=boundaries, gamma=gamma, plan=None, reason=sized)
        pools.append(sized)
    plan = FleetPlan(pools=tuple(pools), boundaries_tokens=boundaries, gamma=gamma)
    return Candidate(boundaries_tokens=boundaries, gamma=gamma, plan=plan)


def _cheapest_pool(
    problem: Problem, name: str, mixture: PoolMixture, arrival_rate_rps: float, limit: int
) -> PoolPlan | str:
    """The profile that makes the pool cheapest; or why none can."""
    requirements = PoolRequirements(
        slo_ttft_p99_s=problem.slo.ttft_of(name),
        max_utilization=problem.max_utilization,
        spare_replicas=problem.spare_replicas,
        max_context_tokens=limit,
    )
    profiles = [offer.profile for offer in problem.offers]
    sized = [size_pool(name, mixture, arrival_rate_rps, profile, requirements) for profile in profiles]
    pools = [pool for pool in sized if isinstance(pool, PoolPlan)]
    if not pools:
        return "; ".join(str(reason) for reason in sized)
    return min(pools, key=lambda pool: (pool.usd_per_hour, pool.replicas))


def _cheapest(candidates: list[Candidate]) -> FleetPlan | None:
    """The cheapest plan; ties go to fewer replicas, fewer pools, less compression, more even pools."""
    plans = [candidate.plan for candidate in candidates if candidate.plan is not None]
    return min(
        plans,
        key=lambda plan: (
            round(plan.usd_per_hour, 9),
            plan.replicas,
            len(plan.pools),
            plan.gamma,
            -min(pool.arrival_rate_rps for pool in plan.pools),
            plan.boundaries_tokens,
        ),
        default=None,
    )


def prediction_caveats(plan: FleetPlan, problem: Problem) -> tuple[str, ...]:
    """Why not to trust the figures of a plan without simulation, a sentence for each reason and pool; mostly none."""
    found = []
    for pool, mixture in zip(plan.pools, split(problem.lengths, plan.boundaries_tokens, plan.gamma), strict=True):
        work = request_work(pool.profile, mixture.weight, mixture.prompt_tokens, mixture.output_tokens)
        prediction = predict_pool(work, pool.arrival_rate_rps, pool.loaded_replicas)
        found += [f"{pool.name} pool: {caveat}" for caveat in (prediction.caveats if prediction else ())]
    return tuple(found)
