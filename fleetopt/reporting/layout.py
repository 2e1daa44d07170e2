"""Tables of plans: how they look, and cells that several of them have."""

from collections.abc import Iterable

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


def fleet_cells(fleet: FleetPlan | None) -> tuple[str, ...]:
    """Boundary, gamma, replicas and price of a fleet; what stands there where none meets the targets."""
    if fleet is None:
        return ("none meets the targets", formatting.MISSING, formatting.MISSING, formatting.MISSING)
    return (
        "\n".join(formatting.count(tokens) for tokens in fleet.boundaries_tokens) or formatting.MISSING,
        f"{fleet.gamma:g}" if fleet.boundaries_tokens else formatting.MISSING,
        "\n".join(pool_count(pool.name, pool.replicas, len(fleet.pools)) for pool in fleet.pools),
        formatting.usd(fleet.usd_per_hour or None),
    )


def pool_count(name: str, replicas: int, pools: int) -> str:
    """Replicas of a pool, with its name where there are several."""
    return f"{name} {formatting.count(replicas)}" if pools > 1 else formatting.count(replicas)
