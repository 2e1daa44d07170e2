"""Why no plan is feasible: the constraint that binds, and the least change that makes a plan feasible."""

import math
from collections.abc import Callable
from dataclasses import replace

from fleetopt.planner.best_first import cheapest, describe
from fleetopt.planner.engine import pool_work
from fleetopt.planner.fleet import limits_exceeded
from fleetopt.planner.mixture import split
from fleetopt.planner.plan import FleetPlan, Infeasibility
from fleetopt.planner.problem import LATE_SHARE, Problem, Slo

_RESOLUTION = 5e-3
"""Relative; the model itself resolves times to about this."""
_MOST_FACTOR = 1e9


def explain(problem: Problem) -> Infeasibility:
    """Say which constraint rules every plan out, and what the nearest feasible problem is.

    Constraints are lifted in the order context limit, limits on GPUs, TPOT, TTFT, until a plan is feasible; the one
    lifted last binds. Then it is tightened again, by bisection, as far as a plan stays feasible; of very many
    boundaries as far as one is soon found, for to prove of every step that there is none takes minutes.

    Parameters
    ----------
    problem : Problem
        One for which no plan is feasible.
    """
    profiles = [offer.profile for offer in problem.offers]
    longest = max(profile.context_limit_tokens for profile in profiles)
    if longest < problem.max_context_tokens:
        names = ", ".join(f"{profile.name} holds {profile.context_limit_tokens:,} tokens" for profile in profiles)
        return Infeasibility(
            binding=f"context limit: requests of up to {problem.max_context_tokens:,} tokens have to fit, and {names}",
            nearest=f"a fleet that refuses requests above {longest:,} tokens",
        )
    unlimited = replace(problem, offers=tuple(replace(offer, max_gpus=None) for offer in problem.offers))
    is_limited = any(offer.max_gpus is not None for offer in problem.offers)
    plan = _plan(unlimited, is_proved=True) if is_limited else None  # else that is the problem itself
    if plan is not None:
        return _too_few_gpus(problem, plan)
    any_tpot = replace(unlimited, slo=replace(problem.slo, tpot_p99_s=math.inf))
    if math.isfinite(problem.slo.tpot_p99_s) and _plan(any_tpot, is_proved=True) is not None:
        return _tpot_too_tight(problem, unlimited)
    return _ttft_too_tight(any_tpot)


def _too_few_gpus(problem: Problem, unlimited: FleetPlan) -> Infeasibility:
    """The GPUs that can be had do not carry the rate; the highest rate that they carry."""
    binding = f"GPUs: without limits {limits_exceeded(problem, unlimited)}"
    rate_rps = problem.arrival_rate_rps
    served = least_factor(lambda factor: _plan(replace(problem, arrival_rate_rps=rate_rps / factor)))
    if served is None:
        return Infeasibility(binding=binding)
    factor, plan = served
    return Infeasibility(
        binding=binding,
        nearest=f"{rate_rps / factor:.4g} requests/s on the GPUs that can be had",
        arrival_rate_rps=rate_rps / factor,
        plan=plan,
    )


def _tpot_too_tight(problem: Problem, unlimited: Problem) -> Infeasibility:
    """No fleet decodes fast enough; the least target that one meets."""
    target_s = problem.slo.tpot_p99_s
    met = least_factor(lambda factor: _plan(replace(unlimited, slo=replace(problem.slo, tpot_p99_s=target_s * factor))))
    binding = f"P99 TPOT: no fleet keeps the time per output token within {target_s:g} s"
    if met is None:
        return Infeasibility(binding=binding)
    factor, plan = met
    return Infeasibility(
        binding=binding,
        nearest=f"a target of {target_s * factor:.4g} s for the P99 TPOT{_more_gpus(problem, plan)}",
        tpot_p99_s=target_s * factor,
        plan=plan,
    )


def _ttft_too_tight(problem: Problem) -> Infeasibility:
    """No fleet is fast enough to the first token; the least targets that one meets, and the pool that sets them."""
    met = least_factor(lambda factor: _plan(replace(problem, slo=_slower(problem.slo, factor))))
    if met is None:
        return Infeasibility(binding=f"P99 TTFT: no fleet meets {_MOST_FACTOR:g} times the targets either")
    factor, plan = met
    name, profile, unloaded_s = _slowest(problem, plan)
    target_s = problem.slo.ttft_of(name)
    where = "" if name == "all" else f" of the {name} pool"
    return Infeasibility(
        binding=f"P99 TTFT{where}: on idle {profile} replicas it is {unloaded_s:.4g} s, the target is {target_s:g} s",
        nearest=f"a target of {target_s * factor:.4g} s for the P99 TTFT"
        + (" of that pool, the others as much longer" if problem.slo.pool_ttft_p99_s else "")
        + _more_gpus(problem, plan),
        ttft_factor=factor,
        plan=plan,
    )


def _more_gpus(problem: Problem, plan: FleetPlan) -> str:
    """What the nearest plan needs beyond the limits, which were lifted to find it."""
    exceeded = limits_exceeded(problem, plan)
    return f", if there were the GPUs: {exceeded}" if exceeded else ""


def _slower(slo: Slo, factor: float) -> Slo:
    """All targets of the time to first token times a factor."""
    pools = {name: target_s * factor for name, target_s in slo.pool_ttft_p99_s.items()}
    return replace(slo, ttft_p99_s=slo.ttft_p99_s * factor, pool_ttft_p99_s=pools)


def _slowest(problem: Problem, plan: FleetPlan) -> tuple[str, str, float]:
    """Name, profile and P99 TTFT on idle replicas, s, of the pool that is slowest against its target even then."""
    mixtures = split(problem.lengths, plan.boundaries_tokens, plan.gamma)
    unloaded = [
        (
            pool.name,
            pool.profile.name,
            pool_work(problem, pool.profile, mixture).unloaded_ttft_quantile_s(1 - LATE_SHARE),
        )
        for pool, mixture in zip(plan.pools, mixtures, strict=True)
    ]
    return max(unloaded, key=lambda pool: pool[2] / problem.slo.ttft_of(pool[0]))


def _plan(problem: Problem, *, is_proved: bool = False) -> FleetPlan | None:
    choice, _ = cheapest(problem, is_proved=is_proved)
    return None if choice is None else describe(problem, choice)


def least_factor(attempt: Callable[[float], FleetPlan | None]) -> tuple[float, FleetPlan] | None:
    """The least factor above 1 with which a plan is feasible, to half a per cent, and the plan.

    Parameters
    ----------
    attempt : callable
        From a factor to the plan that is feasible then, or None.

    Returns
    -------
    tuple of float and FleetPlan, or None
        None where no factor up to a thousand million makes one feasible.
    """
    low, high = 1.0, 2.0
    while (plan := attempt(high)) is None:
        low, high = high, 2 * high
        if high > _MOST_FACTOR:
            return None
    while high / low > 1 + _RESOLUTION:
        middle = math.sqrt(low * high)
        nearer = attempt(middle)
        if nearer is None:
            low = middle
        else:
            high, plan = middle, nearer
    return high, plan
