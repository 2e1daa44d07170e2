"""How the plan changes with one quantity of its problem: rate, target, price, GPU type."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fleetopt.errors import InputError
from fleetopt.planner.plan import FleetPlan
from fleetopt.planner.problem import Problem
from fleetopt.planner.search import plan_fleet

Quantity = Literal["rate", "slo-ttft-p99", "slo-tpot-p99", "price", "gpu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPoint:
    """The plan at one value.

    Attributes
    ----------
    value : float or str
        Of the quantity; of ``gpu`` the name of a profile.
    plan : FleetPlan or None
    homogeneous : FleetPlan or None
        The cheapest fleet of one pool there.
    reason : str
        Why there is no plan; empty where there is one.
    change : str
        How the plan's structure differs from that of the point before, in words; empty where it does not.
    """

    value: float | str
    plan: FleetPlan | None
    homogeneous: FleetPlan | None
    reason: str
    change: str


def sweep(
    problem: Problem,
    quantity: Quantity,
    values: Sequence[float],
    profile: str = "",
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[SweepPoint, ...]:
    """Plan at every value of one quantity, all else as in the problem.

    Parameters
    ----------
    problem : Problem
    quantity : {"rate", "slo-ttft-p99", "slo-tpot-p99", "price", "gpu"}
        Of the targets, those of all pools; ``price`` is that of one GPU type on demand; ``gpu`` takes the problem's
        offers one by one, and no values.
    values : sequence of float
        Requests/s, s, s, or USD per GPU-hour.
    profile : str
        GPU type whose price is varied.
    on_progress : callable
        Told how many points are done, and of how many.

    Returns
    -------
    tuple of SweepPoint
        In the order of the values.

    Raises
    ------
    InputError
        If the profile is none of the problem's, or a value is out of range.
    """
    asked = list(_problems(problem, quantity, values, profile))
    points: list[SweepPoint] = []
    before: FleetPlan | None = None
    for value, varied in asked:
        result = plan_fleet(varied)
        one_pool = result.plan if varied.max_pools == 1 else plan_fleet(replace(varied, max_pools=1)).plan
        # What one GPU type has to do with another is no change of a plan.
        change = structural_change(before, result.plan) if points and quantity != "gpu" else ""
        points.append(
            SweepPoint(value=value, plan=result.plan, homogeneous=one_pool, reason=result.reason, change=change)
        )
        before = result.plan
        on_progress(len(points), len(asked))
    return tuple(points)


def _problems(
    problem: Problem, quantity: Quantity, values: Sequence[float], profile: str
) -> Iterator[tuple[float | str, Problem]]:
    if quantity == "gpu":
        for offer in problem.offers:
            yield offer.profile.name, replace(problem, offers=(offer,))
        return
    if quantity == "price" and profile not in {offer.profile.name for offer in problem.offers}:
        known = ", ".join(offer.profile.name for offer in problem.offers)
        raise InputError(f"price of '{profile}': no GPU type of the problem; there is {known}")
    for value in values:
        if quantity == "rate":
            yield value, replace(problem, arrival_rate_rps=value)
        elif quantity == "slo-ttft-p99":
            yield value, replace(problem, slo=replace(problem.slo, ttft_p99_s=value))
        elif quantity == "slo-tpot-p99":
            yield value, replace(problem, slo=replace(problem.slo, tpot_p99_s=value))
        else:
            yield value, _priced(problem, profile, value)


def _priced(problem: Problem, profile: str, usd_per_gpu_hour: float) -> Problem:
    """The problem with another price on demand; a committed price above it would not be paid."""
    offers = []
    for offer in problem.offers:
        if offer.profile.name == profile:
            priced = offer.profile.model_copy(update={"usd_per_gpu_hour": usd_per_gpu_hour})
            committed = min(offer.committed_usd_per_gpu_hour, usd_per_gpu_hour)
            offers.append(replace(offer, profile=priced, committed_usd_per_gpu_hour=committed))
        else:
            offers.append(offer)
    return replace(problem, offers=tuple(offers))


def structural_change(before: FleetPlan | None, after: FleetPlan | None) -> str:
    """How the structure of a plan differs: pools, GPU types, whether anything is compressed; empty if it does not.

    Numbers of replicas, and where a boundary lies, are no structure: they move all the time.
    """
    if before is None or after is None:
        return "" if before is after else "feasible" if before is None else "infeasible"
    if len(before.pools) != len(after.pools):
        return {1: "one pool", 2: "two pools", 3: "three pools"}[len(after.pools)]
    changes = [
        f"{new.name}: {new.profile.name}" if len(after.pools) > 1 else new.profile.name
        for old, new in zip(before.pools, after.pools, strict=True)
        if old.profile.name != new.profile.name
    ]
    if (before.gamma > 1) != (after.gamma > 1):
        changes.append("compression" if after.gamma > 1 else "no compression")
    return ", ".join(changes)
