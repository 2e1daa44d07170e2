"""Tables of plans: how they look, and cells that several of them have."""

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.table import Table

from fleetopt.planner.plan import FleetPlan
from fleetopt.reporting import formatting


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    """An empty table without a frame; columns named in ``right`` are numbers."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        made.add_column(name, overflow="fold", vertical="top", justify="right" if name in right else "left")
    return made


def facts() -> Table:
    """An empty table of names and values."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    return grid


def fleet_cells(fleet: FleetPlan | None, types: Mapping[str, str]) -> tuple[str, ...]:
    """Boundary, gamma, replicas and price of a fleet; what stands there where none meets the targets.

    Parameters
    ----------
    fleet : FleetPlan or None
    types : mapping of str to str
        What GPU types are called, from `short_names`.
    """
    if fleet is None:
        return ("none meets the targets", formatting.MISSING, formatting.MISSING, formatting.MISSING)
    return (
        "\n".join(formatting.count(tokens) for tokens in fleet.boundaries_tokens) or formatting.MISSING,
        f"{fleet.gamma:g}" if fleet.boundaries_tokens else formatting.MISSING,
        "\n".join(
            pool_count(pool.name, pool.replicas, len(fleet.pools), types.get(pool.profile.name, ""))
            for pool in fleet.pools
        ),
        formatting.usd(fleet.usd_per_hour or None),
    )


def pool_count(name: str, replicas: int, pools: int, gpu_type: str = "") -> str:
    """Replicas of a pool, with its name where there are several, and its GPU type where there are several."""
    return " ".join(
        part
        for part in (name if pools > 1 else "", formatting.count(replicas), f"x {gpu_type}" if gpu_type else "")
        if part
    )


def short_names(names: Sequence[str]) -> dict[str, str]:
    """What GPU types are called in narrow columns: without the parts at their end that all have; nothing for one alone.

    Examples
    --------
    >>> short_names(["a100-llama3.1-8b", "h100-llama3.1-8b"])
    {'a100-llama3.1-8b': 'a100', 'h100-llama3.1-8b': 'h100'}
    >>> short_names(["a100-llama3.1-8b"])
    {}
    """
    if len(names) < 2:
        return {}
    parts = [name.split("-") for name in names]
    same = 0
    while same < min(map(len, parts)) - 1 and len({part[-1 - same] for part in parts}) == 1:
        same += 1
    return {name: "-".join(part[: len(part) - same]) for name, part in zip(names, parts, strict=True)}


def difference(usd_per_hour: float | None, of_usd_per_hour: float | None) -> str:
    """By how much a price is above another, in percent; missing where one is unknown, and none but rounding is 0."""
    if not usd_per_hour or not of_usd_per_hour:
        return formatting.MISSING
    share = round(usd_per_hour / of_usd_per_hour - 1, 9)
    return "below 0.1 %" if 0 < share < 0.001 else formatting.percent(share)
