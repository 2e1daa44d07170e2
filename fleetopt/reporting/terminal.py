"""Tables for the terminal: a recommendation, a plan with its baselines. They read well without colour."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fleetopt.planner.plan import HOURS_PER_YEAR, FleetPlan, PlanResult, PoolPlan
from fleetopt.planner.proof import PEAK, REPLAY
from fleetopt.reporting import formatting, wording

_VERDICT_STYLES = {"confirmed": "bold green", "refuted": "bold red", "undecided": "bold yellow", "none": "bold red"}


def recommendation_table(document: Mapping[str, Any], *, report: str, feed: str) -> RenderableType:
    """A recommendation: its pools predicted and simulated, and below them all that a reader has to know of it.

    Parameters
    ----------
    document : mapping
        From :func:`fleetopt.reporting.document.build_document`.
    report, feed : str
        Paths of the report page and of the procurement files.
    """
    title = Text(f"Fleet {document['fleet']} ({document['model']}), {document['day']}, version {document['version']}")
    title.stylize("bold")
    parts: list[RenderableType] = [title]
    if document["plan"]:
        parts += [Text(), _pools_table(document), Text()]
    parts.append(_facts(document, report, feed))
    return Padding(Group(*parts), (1, 0))


def plan_table(result: PlanResult, *, arrival_rate_rps: float, slo_ttft_p99_s: float) -> RenderableType:
    """A plan beside its baselines, as the model predicts them; or why there is no plan.

    Parameters
    ----------
    result : PlanResult
    arrival_rate_rps : float
        Rate that was planned for, 1/s.
    slo_ttft_p99_s : float
        Target of the P99 time to first token, s.
    """
    target = f"a P99 time to first token of at most {slo_ttft_p99_s:g} s"
    heading = Text(f"Planned for {formatting.rate(arrival_rate_rps)} with {target}", style="bold")
    if result.plan is None:
        return Padding(Group(heading, Text(f"No plan: {result.reason}.", style="bold red")), (1, 0))
    fleets = [result.plan, result.homogeneous, result.pool_routing]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for name in ("", "Plan", "One pool", "Two pools,\nno compression"):
        table.add_column(name, overflow="fold", vertical="top")
    for name, row in _plan_rows(result.plan.usd_per_hour).items():
        table.add_row(name, *(row(fleet) if fleet else formatting.MISSING for fleet in fleets))
    note = Text("Predicted by the model, spare replicas down; not simulated.", style="dim")
    return Padding(Group(heading, Text(), table, Text(), note), (1, 0))


def _pools_table(document: Mapping[str, Any]) -> Table:
    """A row per pool; what belongs together stands above each other, so that it fits 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), leading=1)
    table.add_column("Pool\nGPU type", overflow="fold")
    for name in (
        "Replicas (spare)\nContext tokens\nRate",
        "Slot use\npredicted\nsimulated",
        "P99 TTFT\npredicted\nsimulated\n95 % interval",
        "USD\nper hour",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for pool in document["plan"]["pools"]:
        peak = wording.evidence_of(document, pool["name"], PEAK) or {}
        ttft = (
            formatting.seconds(pool["ttft_p99_s"]),
            formatting.seconds(peak.get("ttft_p99_s")),
            formatting.interval(peak.get("ttft_p99_lower_s"), peak.get("ttft_p99_upper_s")),
        )
        size = (
            f"{formatting.count(pool['replicas'])} ({formatting.count(pool['spare_replicas'])})",
            formatting.count(pool["max_context_tokens"]),
            formatting.rate(pool["arrival_rate_rps"]),
        )
        table.add_row(
            Text(f"{pool['name']}\n{pool['profile']['name']}"),
            "\n".join(size),
            f"{formatting.percent(pool['slot_utilization'])}\n{formatting.percent(peak.get('slot_utilization'))}",
            "\n".join(ttft),
            formatting.usd(pool["usd_per_hour"]),
        )
    return table


def _facts(document: Mapping[str, Any], report: str, feed: str) -> Table:
    """Name and value of what the pools' table does not hold."""
    verdict = document["verdict"]
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    meaning = Text(f": {document['verdict_meaning']}")
    if document["plan"] is None:
        meaning.append(f" {document['reason'][:1].upper()}{document['reason'][1:]}.")
    grid.add_row("Verdict", Text(verdict.upper(), style=_VERDICT_STYLES[verdict]) + meaning)
    if document["plan"]:
        for name, text in _plan_facts(document):
            grid.add_row(name, Text(text))
    target = document["target"]
    grid.add_row("Target", f"P99 time to first token (TTFT) of at most {target['ttft_p99_s']:g} s in every pool")
    grid.add_row("Window", wording.window(document))
    grid.add_row("Report", Text(report, overflow="fold"))
    grid.add_row("Procurement", Text(feed, overflow="fold"))
    return grid


def _plan_facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    plan = document["plan"]
    facts = [
        ("Boundary", wording.boundary(plan)),
        ("Compression", wording.band(plan)),
        ("Cost", f"{formatting.usd(plan['usd_per_hour'])} per hour, {formatting.usd(plan['usd_per_year'])} per year"),
        ("Saving", wording.saving(document)),
    ]
    replayed = [(pool["name"], wording.evidence_of(document, pool["name"], REPLAY)) for pool in plan["pools"]]
    texts = [
        f"{name} {formatting.seconds(item['ttft_p99_s'])} ({item['verdict']})"
        if item["ttft_p99_s"] is not None
        else f"{name} none (no request reaches it)"
        for name, item in replayed
        if item is not None
    ]
    return [*facts, ("Day replayed", f"P99 TTFT {', '.join(texts)}")] if texts else facts


def _plan_rows(plan_usd_per_hour: float) -> dict[str, Any]:
    """Name of each row of the plan's table, and how a fleet fills its cell."""

    def saving(fleet: FleetPlan) -> str:
        if fleet.usd_per_hour in {0.0, plan_usd_per_hour}:
            return formatting.MISSING
        return formatting.percent(1 - plan_usd_per_hour / fleet.usd_per_hour)

    return {
        "Cost per hour": lambda fleet: formatting.usd(fleet.usd_per_hour),
        "Cost per year": lambda fleet: formatting.usd(fleet.usd_per_hour * HOURS_PER_YEAR),
        "Plan saves": saving,
        "Boundary": _boundary,
        "Gamma": lambda fleet: f"{fleet.gamma:g}" if fleet.boundaries_tokens else formatting.MISSING,
        "GPU type": _gpu_types,
        "Replicas": lambda fleet: _per_pool(fleet, lambda pool: formatting.count(pool.replicas)),
        "of which spare": lambda fleet: _per_pool(fleet, lambda pool: formatting.count(pool.spare_replicas)),
        "Context tokens": lambda fleet: _per_pool(fleet, lambda pool: formatting.count(pool.max_context_tokens)),
        "Rate": lambda fleet: _per_pool(fleet, lambda pool: formatting.rate(pool.arrival_rate_rps)),
        "Slot use": lambda fleet: _per_pool(fleet, lambda pool: formatting.percent(pool.slot_utilization)),
        "P99 TTFT": lambda fleet: _per_pool(fleet, lambda pool: formatting.seconds(pool.ttft_p99_s)),
        "P99 TPOT": lambda fleet: _per_pool(fleet, lambda pool: formatting.seconds(pool.tpot_p99_s)),
    }


def _boundary(fleet: FleetPlan) -> str:
    if not fleet.boundaries_tokens:
        return formatting.MISSING
    return f"{', '.join(formatting.count(tokens) for tokens in fleet.boundaries_tokens)} tokens"


def _gpu_types(fleet: FleetPlan) -> Text:
    """One name where all pools have the same, so that a long one is not folded in 80 columns."""
    names = {pool.profile.name for pool in fleet.pools}
    return Text(names.pop()) if len(names) == 1 else _per_pool(fleet, lambda pool: pool.profile.name)


def _per_pool(fleet: FleetPlan, text: Any) -> Text:
    """A line per pool, each with the pool's name where there are several."""
    widest = max(len(pool.name) for pool in fleet.pools)

    def line(pool: PoolPlan) -> str:
        return f"{pool.name:<{widest}} {text(pool)}" if len(fleet.pools) > 1 else str(text(pool))

    return Text("\n".join(line(pool) for pool in fleet.pools))
