"""A recommendation for the terminal; it reads well without colour."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

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
