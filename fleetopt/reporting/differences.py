"""How a plan differs from the previous one and from the fleet that runs today, and why."""

from collections.abc import Iterable, Mapping
from typing import Any

from fleetopt.config import Fleet
from fleetopt.planner.plan import FleetPlan
from fleetopt.profiles import GpuProfile
from fleetopt.workload.demand import Demand


def difference_to_previous(
    plan: FleetPlan | None, demand: Demand, previous: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Change against the latest document of an earlier day; None if there is none.

    Returns
    -------
    dict
        ``version`` and ``day`` of the other, ``usd_per_hour`` (change, null where one has no plan), ``changes`` per
        pool in words, and ``why``.
    """
    if previous is None:
        return None
    old_plan = previous["plan"]
    old = {pool["name"]: (pool["replicas"], pool["profile"]["name"]) for pool in old_plan["pools"]} if old_plan else {}
    old_rate = previous["demand"]["planned_rate_rps"]
    why = [_change_of_rate(old_rate, demand.planned_rate_rps)]
    if plan and old_plan and plan.boundary_tokens != old_plan["boundary_tokens"]:
        why.append(f"the boundary moved from {_tokens(old_plan['boundary_tokens'])} to {_tokens(plan.boundary_tokens)}")
    if plan and old_plan and plan.gamma != old_plan["gamma"]:
        why.append(f"the compression band went from {old_plan['gamma']:g} to {plan.gamma:g}")
    if previous["verdict"] != "confirmed":
        why.append(f"the previous plan was {previous['verdict']}")
    return {
        "version": previous["version"],
        "day": previous["day"],
        "usd_per_hour": plan.usd_per_hour - old_plan["usd_per_hour"] if plan and old_plan else None,
        "changes": _changes(old, _pools(plan)),
        "why": "; ".join(why),
    }


def difference_to_running(
    plan: FleetPlan | None, fleet: Fleet, profiles: Iterable[GpuProfile]
) -> dict[str, Any] | None:
    """Change against the fleet that runs today; None if none is declared.

    A pool of a profile that is not among the fleet's has no price here, and then the change of cost is null.
    """
    if not fleet.running:
        return None
    prices = {profile.name: profile.usd_per_replica_hour for profile in profiles}
    is_priced = all(pool.profile in prices for pool in fleet.running)
    cost = sum(pool.replicas * prices.get(pool.profile, 0.0) for pool in fleet.running)
    return {
        "usd_per_hour": plan.usd_per_hour - cost if plan and is_priced else None,
        "changes": _changes({pool.name: (pool.replicas, pool.profile) for pool in fleet.running}, _pools(plan)),
        "why": "the declared fleet against the plan for the measured peak, its headroom and spares",
    }


def _pools(plan: FleetPlan | None) -> dict[str, tuple[int, str]]:
    return {pool.name: (pool.replicas, pool.profile.name) for pool in plan.pools} if plan else {}


def _changes(old: dict[str, tuple[int, str]], new: dict[str, tuple[int, str]]) -> list[str]:
    """One sentence per pool that differs; none where there is no plan to change to."""
    if not new:
        return []
    changes = []
    for name in [*old, *(name for name in new if name not in old)]:
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if after is None:
            changes.append(f"pool {name}: {_replicas(before)} no longer needed")
        elif before is None:
            changes.append(f"pool {name}: {_replicas(after)} new")
        else:
            changes.append(f"pool {name}: {_replicas(before)} become {_replicas(after)}")
    return changes


def _replicas(pool: tuple[int, str] | None) -> str:
    return f"{pool[0]} x {pool[1]}" if pool else "none"


def _tokens(boundary: int | None) -> str:
    return "one pool" if boundary is None else f"{boundary:,} tokens"


def _change_of_rate(old_rps: float, new_rps: float) -> str:
    return f"the planned rate went from {old_rps:.3g} to {new_rps:.3g} requests/s ({new_rps / old_rps - 1:+.1%})"
