"""The report page: one self-contained HTML file that a manager reads in a minute and an engineer to the end."""

import json
from collections.abc import Iterable, Mapping
from importlib import resources
from itertools import groupby
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from fleetopt.planner.proof import PEAK, REPLAY
from fleetopt.reporting import formatting, wording
from fleetopt.reporting.log_notes import log_notes, summed

SCENARIO_TEXTS = {PEAK: "Poisson stream at the planned peak", REPLAY: "the day's own requests"}
MEASURES = {"ttft_p99_s": "P99 TTFT", "slot_utilization": "slot utilization"}
FLEETS = {"homogeneous": "One pool for all requests", "pool_routing": "Two pools, no compression"}


def render_page(
    document: Mapping[str, Any],
    *,
    figures: Mapping[str, str],
    accuracy: list[dict[str, Any]],
    quality: list[dict[str, Any]],
    provenance: Mapping[str, object],
    observed_ttft_p99_s: float | None = None,
) -> str:
    """The report of one recommendation as HTML, without anything that has to be loaded from elsewhere.

    Parameters
    ----------
    document : mapping
        From :func:`fleetopt.reporting.document.build_document`.
    figures : mapping of str to str
        ``<svg>`` elements by name, from :func:`fleetopt.reporting.drawing.svg_text`; they are put in as they are.
    accuracy : list of dict
        Rows of ``schemas.OUT_ACCURACY_REPORT`` of the fleet and day; empty if there is no earlier recommendation.
    quality : list of dict
        Rows of ``schemas.STG_QUALITY`` of the fleet's sources, of one day or more.
    provenance : mapping
        What is no part of the version: commit, clock, table versions, packages.
    observed_ttft_p99_s : float, optional
        P99 time to first token of the day in the logs, s; None where they hold no latencies.

    Returns
    -------
    str
        All text in it is escaped.
    """
    template = _environment().from_string((resources.files("fleetopt.reporting") / "page.html.j2").read_text("utf-8"))
    return template.render(
        document=document,
        plan=document["plan"],
        headline=wording.HEADLINES[document["verdict"]],
        summary=_summary(document),
        evidence=_evidence_rows(document),
        fleets=_fleet_rows(document),
        differences=_differences(document),
        accuracy=_accuracy_groups(accuracy),
        observed=_observed(accuracy, observed_ttft_p99_s),
        quality=_quality_rows(quality),
        figures=[(name, Markup(svg), _captions(document).get(name, "")) for name, svg in figures.items()],  # noqa: S704
        provenance=_flat(provenance),
    )


def _environment() -> Environment:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals["interval"] = formatting.interval
    for function in (
        wording.band,
        wording.boundary,
        formatting.count,
        formatting.percent,
        formatting.rate,
        wording.saving,
        formatting.seconds,
        formatting.usd,
        wording.published_ttft,
        wording.window,
    ):
        environment.filters[function.__name__] = function
    return environment


def _summary(document: Mapping[str, Any]) -> str:
    """What the verdict means for who has to decide, in one or two sentences."""
    plan = document["plan"]
    if plan is None:
        return f"No fleet of the declared hardware meets the target: {document['reason']}."
    is_split = len(plan["pools"]) > 1
    pools = " and ".join(
        formatting.replicas(pool["replicas"], pool["profile"]["name"]) + (f" ({pool['name']} pool)" if is_split else "")
        for pool in plan["pools"]
    )
    price = f"{formatting.usd(plan['usd_per_hour'])} per hour, {formatting.usd(plan['usd_per_year'])} per year"
    if document["verdict"] == "confirmed":
        return f"Run {pools} for {price}. {document['verdict_meaning']}"
    return f"{document['verdict_meaning']} The plan that was tried: {pools} for {price}."


def _captions(document: Mapping[str, Any]) -> dict[str, str]:
    """Captions of the figures of :func:`fleetopt.reporting.figures.report_figures`: of what is really drawn."""
    plan = document["plan"]
    lengths = "Distribution of request lengths over the window, a line per traffic class."
    if plan and plan["boundaries_tokens"]:
        lengths += " Requests left of a boundary go to the pool that it ends."
        if plan["gamma"] > 1:
            lengths += " Compressible ones in the shaded band are compressed to fit it."
    cost = (
        "Cost of the cheapest fleet at every boundary and compression band (gamma), as the planner sizes it before "
        "simulation."
    )
    if plan:
        cost += (
            " The plan stands at its price after simulation, repairs included; a cheaper candidate that was not "
            "simulated and confirmed is not recommended."
        )
    ttft = (
        "Share of requests that wait longer than a time for their first token, with every spare replica down. A pool "
        "meets the target where its line crosses 1 % (P99) left of the target."
    )
    return {"length_cdf": lengths, "cost_by_boundary": cost, "ttft": ttft}


def _evidence_rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row per pool and scenario, with what was predicted for the planned peak."""
    pools = {pool["name"]: pool for pool in document["plan"]["pools"]} if document["plan"] else {}
    order = [(name, scenario) for name in pools for scenario in (PEAK, REPLAY)]
    found = [(pools[name], wording.evidence_of(document, name, scenario)) for name, scenario in order]
    return [
        {
            **item,
            "scenario": SCENARIO_TEXTS[item["scenario"]],
            "predicted": pool if item["scenario"] == PEAK else None,
            "published": pool["published"] if item["scenario"] == PEAK else None,
        }
        for pool, item in found
        if item is not None
    ]


def _fleet_rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The plan and its baselines side by side."""
    plan = document["plan"]
    if plan is None:
        return []
    replicas = {pool["name"]: pool["replicas"] for pool in plan["pools"]}
    rows = [{"name": "This plan", **plan, "replicas": replicas, "verdict": document["verdict"]}]
    baselines = document["baselines"]
    return rows + [
        {"name": name, **baselines[key]} if baselines[key] else {"name": name, "usd_per_hour": None}
        for key, name in FLEETS.items()
    ]


def _differences(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What changes against the previous version and the running fleet; nothing does where there is no plan."""
    has_plan = document["plan"] is not None
    titles = {
        "previous": ("Since the previous version", "This is the first recommendation for this fleet."),
        "running": ("Against the fleet that runs today", "The configuration declares no running fleet."),
    }
    found = []
    for key, (title, absent) in titles.items():
        difference = document["differences"].get(key) or {}
        text = absent if not difference else "" if has_plan else "Nothing changes: there is no plan."
        why = difference.get("why") if has_plan or key == "previous" else None
        found.append({"title": title, "text": text, "difference": difference, "why": why})
    return found


def _accuracy_groups(accuracy: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of each recommendation that is judged, newest first."""
    rows = sorted(accuracy, key=lambda row: (str(row["recommended_day"]), row["version"]), reverse=True)
    return [
        {"day": day, "version": version, "rows": [{**row, "measure": MEASURES[row["measure"]]} for row in group]}
        for (day, version), group in groupby(rows, key=lambda row: (str(row["recommended_day"]), row["version"]))
    ]


def _observed(accuracy: Iterable[Mapping[str, Any]], observed_ttft_p99_s: float | None) -> str:
    """Observed latency, or that there is none."""
    if observed_ttft_p99_s is not None:
        p99 = formatting.seconds(observed_ttft_p99_s)
        return f"The logs of the day hold latencies: their P99 time to first token is {p99}."
    if any(row["observed"] is not None for row in accuracy):
        return "The logs hold latencies; what was observed stands in the table."
    return "These logs hold no latencies, so nothing here is compared with an observed time to first token."


def _quality_rows(quality: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Line balance per source, summed over its days, with what is unusual about its logs."""
    rows = []
    ordered = sorted(quality, key=lambda row: (row["source"], str(row["day"])))
    for source, group in groupby(ordered, key=lambda row: row["source"]):
        days = list(group)
        total = summed(days)
        span = str(days[0]["day"]) if len(days) == 1 else f"{days[0]['day']} to {days[-1]['day']}"
        rows.append(
            {
                **total,
                "source": source,
                "span": span,
                "format": ", ".join(sorted({day["format"] for day in days})),
                "unserved": sum(total[name] for name in ("failed", "aborted", "cache_hits", "other_models")),
                "notes": list(log_notes(total)),
            }
        )
    return rows


def _flat(provenance: Mapping[str, object]) -> list[tuple[str, str]]:
    """Nested mappings as dotted names, values as text."""
    rows: list[tuple[str, str]] = []
    for key, value in provenance.items():
        if isinstance(value, Mapping):
            rows += [(f"{key}.{inner}", text) for inner, text in _flat(value)]
        else:
            rows.append((str(key), value if isinstance(value, str) else json.dumps(value, default=str)))
    return rows
