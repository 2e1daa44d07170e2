"""How a plan differs from the previous one and from the fleet that runs today, and why."""

from collections.abc import Mapping, Sequence
from typing import Any

from fleetopt.config import Fleet


def difference_to_previous(document: Mapping[str, Any], previous: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Change against the latest recommendation of an earlier day; None if there is none.

    It is no part of a document, whose bytes depend on its inputs alone and not on what was planned before.

    Parameters
    ----------
    document, previous : mapping
        From :func:`fleetopt.reporting.document.build_document`.

    Returns
    -------
    dict
        ``version`` and ``day`` of the other, ``usd_per_hour`` (change; null unless both are confirmed), ``changes``
        per pool in words, and ``why``.
    """
    if previous is None:
        return None
    plan, old_plan = document["plan"], previous["plan"]
    why = [_change_of_rate(previous["demand"]["planned_rate_rps"], document["demand"]["planned_rate_rps"])]
    if plan and old_plan and plan["boundaries_tokens"] != old_plan["boundaries_tokens"]:
        moved = f"from {_tokens(old_plan['boundaries_tokens'])} to {_tokens(plan['boundaries_tokens'])}"
        why.append(f"the boundary moved {moved}")
    if plan and old_plan and plan["gamma"] != old_plan["gamma"]:
        why.append(f"the compression band went from {old_plan['gamma']:g} to {plan['gamma']:g}")
    if previous["verdict"] != "confirmed":
        why.append(f"the previous plan was {previous['verdict']}" if old_plan else "there was no plan before")
    both_confirmed = document["verdict"] == previous["verdict"] == "confirmed"
    return {
        "version": previous["version"],
        "day": previous["day"],
        "usd_per_hour": plan["usd_per_hour"] - old_plan["usd_per_hour"] if both_confirmed else None,
        "changes": _changes(_pools(old_plan), _pools(plan)),
        "why": "; ".join(why),
    }


def with_previous(document: Mapping[str, Any], previous: Mapping[str, Any] | None) -> dict[str, Any]:
    """The document as people read it: with its difference to the previous one put in."""
    difference = difference_to_previous(document, previous)
    return {**document, "differences": {**document["differences"], "previous": difference}}


def difference_to_running(
    plan: Mapping[str, Any] | None, verdict: str, fleet: Fleet, usd_per_replica_hour: Mapping[str, float]
) -> dict[str, Any] | None:
    """Change against the fleet that runs today; None if none is declared.

    Parameters
    ----------
    plan : mapping or None
        The document's plan.
    verdict : str
        Only a confirmed plan has a change of cost; any other would read as a saving.
    fleet : fleetopt.config.Fleet
    usd_per_replica_hour : mapping
        Price of a replica by name of its profile, of every profile that runs.
    """
    if not fleet.running:
        return None
    cost = sum(pool.replicas * usd_per_replica_hour[pool.profile] for pool in fleet.running)
    running = {pool.name: (pool.replicas, pool.profile) for pool in fleet.running}
    return {
        "usd_per_hour": plan["usd_per_hour"] - cost if plan and verdict == "confirmed" else None,
        "changes": _changes(running, _pools(plan)),
        "why": "the declared fleet against the plan for the measured peak, its headroom and spares",
    }


def _pools(plan: Mapping[str, Any] | None) -> dict[str, tuple[int, str]]:
    return {pool["name"]: (pool["replicas"], pool["profile"]["name"]) for pool in plan["pools"]} if plan else {}


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


def _tokens(boundaries: Sequence[int]) -> str:
    return f"{' and '.join(f'{boundary:,}' for boundary in boundaries)} tokens" if boundaries else "one pool"


def _change_of_rate(old_rps: float, new_rps: float) -> str:
    return f"the planned rate went from {old_rps:.3g} to {new_rps:.3g} requests/s ({new_rps / old_rps - 1:+.1%})"
