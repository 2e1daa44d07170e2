"""The search: the cheapest fleet that meets everything, or why there is none."""

from fleetopt.planner.best_first import cheapest, describe
from fleetopt.planner.engine import pool_work
from fleetopt.planner.infeasible import explain
from fleetopt.planner.mixture import split
from fleetopt.planner.plan import FleetPlan, PlanResult
from fleetopt.planner.problem import Problem
from fleetopt.queueing.pool import predict_pool


def plan_fleet(problem: Problem) -> PlanResult:
    """Find the cheapest fleet of one to three pools that meets every target and constraint.

    Every boundary of ``problem.boundary_candidates`` (every pair for three pools), every band and every GPU type per
    pool is covered. Of fleets of equal price the one with fewer replicas, then with fewer pools, then with less
    compression, then with the more even pools wins, then the lower boundaries and the offers named first.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    PlanResult

    Notes
    -----
    Best first: the cell whose lower bound (:mod:`fleetopt.planner.bounds`) comes first is sized by the full model, pool
    by pool, and put back with what was found; the first to come up sized is the optimum, the same as that of
    exhaustive evaluation (`fleetopt.planner.surface.cost_surface`).

    Of more than 4,096 boundaries, as of a length histogram of many days, a few hundred are searched in full, none of
    the others more than 1/64 shorter than one of them (`fleetopt.planner.spacing`). Then the others, as far as their
    bounds let them be cheaper and no more than 512 cells; pairs of them for three pools are not. What was not searched
    to the end, and what it costs at least, is in ``effort``. While no feasible fleet is known the search goes on, over
    all boundaries and every pair of them: only what is proved is called infeasible, which may take minutes, and longer
    where GPUs are nearly enough for three pools.

    References
    ----------
    FleetOpt, arXiv 2603.16514, Algorithm 1; unlike it, the short pool is described with its compressed requests and
    the prefill is that of the loaded iteration. A. H. Land and A. G. Doig (1960), Econometrica 28(3), for the method.
    """
    choice, effort = cheapest(problem)
    if choice is not None:
        return PlanResult(plan=describe(problem, choice), effort=effort)
    return PlanResult(plan=None, infeasibility=explain(problem), effort=effort)


def prediction_caveats(plan: FleetPlan, problem: Problem) -> tuple[str, ...]:
    """Why not to trust the figures of a plan without simulation, a sentence for each reason and pool; mostly none."""
    found = []
    for pool, mixture in zip(plan.pools, split(problem.lengths, plan.boundaries_tokens, plan.gamma), strict=True):
        rate, work = pool.arrival_rate_rps, pool_work(problem, pool.profile, mixture)
        prediction = predict_pool(work, rate, pool.loaded_replicas, problem.dispersion_of(rate))
        where = "" if len(plan.pools) == 1 else f"{pool.name} pool: "
        found += [f"{where}{caveat}" for caveat in (prediction.caveats if prediction else ())]
    return tuple(found)
