"""How near the queueing model comes to the simulator, as a table for the terminal, Markdown, CSV and JSON."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fleetopt.evidence.fidelity import FidelityCell, Figure, misses
from fleetopt.reporting import formatting

_RATIOS = {
    "iteration_s": "Iteration",
    "slot_utilization": "Slots",
    "ttft_p99_s": "P99 TTFT",
    "ttft_p50_s": "P50 TTFT",
    "tpot_p99_s": "P99 TPOT",
    "busy": "Busy",
    "kv_utilization": "KV",
}
"""Figures of a cell, those with a target first."""
_NARROW = ("iteration_s", "slot_utilization", "ttft_p99_s", "ttft_p50_s", "tpot_p99_s")
"""Those that the terminal has room for."""
_MEANING = (
    "Predicted / simulated. Targets: iteration and slots within 3 %, P99 TTFT within 10 % plus the simulator's own "
    "95 % half-width; * misses it. Load: share of the simulated stability limit. Poisson arrivals, least-loaded, fcfs."
)


def fidelity_table(cells: Sequence[FidelityCell]) -> RenderableType:
    """The ratios of every cell, how many are within target, and every miss in words.

    Parameters
    ----------
    cells : sequence of FidelityCell
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("Workload", overflow="fold")
    for name in ("Replicas", "Load", *(_RATIOS[name].replace(" ", "\n") for name in _NARROW), "Half-\nwidth"):
        table.add_column(name, justify="right", no_wrap=True)
    for cell in cells:
        ratios = (_ratio(cell.figure(name)) for name in _NARROW)
        half_width = _percent(cell.figure("ttft_p99_s").half_width)
        table.add_row(Text(cell.workload), formatting.count(cell.replicas), f"{cell.load:g}", *ratios, half_width)
    notes = [_MEANING, *_profile_notes(cells)]
    parts: list[RenderableType] = [
        Text("The queueing model against the simulator", style="bold"),
        Text(),
        table,
        Text(),
    ]
    parts += [Text(line) for line in (*within_target(cells), *(f"Miss: {line}" for line in misses(cells)))]
    return Padding(Group(*parts, Text(), *(Text(line, style="dim") for line in notes)), (1, 0))


def within_target(cells: Sequence[FidelityCell]) -> list[str]:
    """How many cells meet the target of each figure that has one, a line each."""
    lines = []
    for name, title in _RATIOS.items():
        judged = [judged for cell in cells if (judged := cell.figure(name).is_within) is not None]
        if judged:
            lines.append(f"{title}: {sum(judged)} of {len(judged)} cells within target")
    return lines


def fidelity_markdown(cells: Sequence[FidelityCell]) -> str:
    """A Markdown table of all cells, and lists of what is within target and what is not."""
    titles = ["workload", "GPU profile", "replicas", "load", "req/s", "limit, model / simulated"]
    titles += [*(f"{title}" for title in _RATIOS.values()), "half-width", "P99 TTFT simulated", "predicted in"]
    lines = [_markdown_row(titles), _markdown_row(["---"] * 2 + ["---:"] * (len(titles) - 2))]
    for cell in cells:
        p99 = cell.figure("ttft_p99_s")
        known = [cell.workload, cell.profile, formatting.count(cell.replicas), f"{cell.load:g}"]
        known += [formatting.three_digits(cell.arrival_rate_rps)]
        known += [f"{cell.model_limit_rps / cell.simulated_limit_rps:.3f}", *(_ratio(cell.figure(n)) for n in _RATIOS)]
        known += [_percent(p99.half_width), formatting.seconds(p99.simulated), _milliseconds(cell.prediction_ms)]
        lines.append(_markdown_row(known))
    lines += ["", _MEANING.replace("*", r"\*"), "", *(f"* {line}" for line in within_target(cells)), ""]
    lines += [f"* Miss: {line}" for line in misses(cells)]
    return "\n".join(lines).rstrip() + "\n"


def fidelity_csv(cells: Sequence[FidelityCell]) -> str:
    """One row per cell, every figure predicted and simulated; empty where there is none."""
    records = [_record(cell) for cell in cells]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()


def fidelity_json(cells: Sequence[FidelityCell]) -> str:
    """The records of the CSV, and the misses in words."""
    return json.dumps({"cells": [_record(cell) for cell in cells], "misses": list(misses(cells))}, indent=1) + "\n"


def _record(cell: FidelityCell) -> dict[str, Any]:
    record: dict[str, Any] = {
        "workload": cell.workload,
        "profile": cell.profile,
        "replicas": cell.replicas,
        "load": cell.load,
        "arrival_rate_rps": cell.arrival_rate_rps,
        "simulated_limit_rps": cell.simulated_limit_rps,
        "model_limit_rps": cell.model_limit_rps,
        "requests": cell.requests,
        "replications": cell.replications,
        "is_settled": cell.is_settled,
        "prediction_ms": _finite(cell.prediction_ms),
    }
    for name in _RATIOS:
        figure = cell.figure(name)
        record[f"{name}_predicted"] = _finite(figure.predicted)
        record[f"{name}_simulated"] = _finite(figure.simulated)
        record[f"{name}_half_width"] = _finite(figure.half_width)
        record[f"{name}_ratio"] = _finite(figure.ratio)
        record[f"{name}_is_within"] = figure.is_within
    return record


def _ratio(figure: Figure) -> str:
    if not math.isfinite(figure.ratio):
        return "none*" if figure.is_within is False else "none"
    return f"{figure.ratio:.3f}{'*' if figure.is_within is False else ''}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if math.isfinite(share) else formatting.MISSING


def _milliseconds(value: float) -> str:
    return f"{formatting.three_digits(value)} ms" if math.isfinite(value) else formatting.MISSING


def _profile_notes(cells: Iterable[FidelityCell]) -> list[str]:
    workloads: dict[str, list[str]] = {}
    for cell in cells:
        names = workloads.setdefault(cell.profile, [])
        if cell.workload not in names:
            names.append(cell.workload)
    return [f"Profile {profile}: {', '.join(names)}." for profile, names in workloads.items()]


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
