"""How the planner's plans fare in the simulator, as a table for the terminal, Markdown and JSON."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fleetopt.evidence.plans import MOST_EXCESS, CellKey, PlanCell
from fleetopt.reporting import formatting

_MEANING = (
    "A plan holds if the 95 % upper bound of the P99 TTFT over at least 10 replications is within the target in every "
    "pool, as the model gave it or with the replicas that verification added. Excess: price of the verified plan over "
    "the cheapest confirmed fleet known; 0 also where cheaper ones could save less than 2 %; it fails above 5 % and "
    "one replica. Target: multiple of the workload's own unloaded P99 TTFT. Poisson arrivals, least-loaded; no cap on "
    "utilisation, no spares, gamma up to 1.5, every request compressible at no cost."
)
_SETTLED = 1e-9


def plans_table(cells: Sequence[PlanCell]) -> RenderableType:
    """The summary and every cell, failures first.

    Parameters
    ----------
    cells : sequence of PlanCell
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("Workload", overflow="fold")
    table.add_column("GPUs", overflow="fold")
    for title in ("req/s", "Target", "Holds", "Added", "Trimmed", "Excess"):
        table.add_column(title, justify="right", no_wrap=True)
    for cell in failures_first(cells):
        table.add_row(
            Text(cell.key.workload),
            Text(cell.key.hardware),
            f"{cell.key.arrival_rate_rps:g}",
            f"{cell.key.multiple:g} x",
            _held(cell),
            f"{cell.added}",
            f"{cell.trimmed}",
            _excess(cell.excess),
        )
    parts: list[RenderableType] = [Text("The planner's plans in the simulator", style="bold"), Text()]
    parts += [Text(line) for line in summary(cells)]
    parts += [Text(), table, Text(), *(Text(f"Failed: {line}") for line in failures(cells))]
    return Padding(Group(*parts, Text(_MEANING, style="dim")), (1, 0))


def summary(cells: Sequence[PlanCell]) -> list[str]:
    """What came out, in three sentences."""
    plans = [cell for cell in cells if cell.is_feasible]
    without = [cell for cell in cells if not cell.is_feasible]
    confirmed = [cell for cell in plans if cell.verdict == "confirmed"]
    proved = sum(cell.is_infeasible_proved for cell in without)
    passed = sum(cell.is_passed for cell in cells)
    lines = [
        f"{passed} of {len(cells)} cells pass: {len(confirmed)} of {len(plans)} plans are confirmed by simulation, and "
        f"{proved} of {len(without)} cells without a plan are proved to have none."
    ]
    excess = [cell.excess for cell in confirmed if math.isfinite(cell.excess)]
    if excess:
        exact = sum(value <= _SETTLED for value in excess)
        lines.append(
            f"A verified plan costs {_percent(sum(excess) / len(excess))} more than the cheapest fleet that the "
            f"simulator confirms in the mean and {_percent(max(excess))} at most; for {exact} of {len(excess)} no "
            f"cheaper one was found."
        )
    if plans:
        as_they_came = sum(cell.modelled_verdict == "confirmed" for cell in plans)
        repaired, trimmed = (sum(getattr(cell, name) > 0 for cell in plans) for name in ("added", "trimmed"))
        others = sum(cell.is_other for cell in plans)
        lines.append(
            f"As the model gave them {as_they_came} of {len(plans)} plans hold; verification added replicas to "
            f"{repaired}, took some off {trimmed}, and preferred a plan of other boundaries, band or GPUs to {others}."
        )
    return lines


def failures(cells: Sequence[PlanCell]) -> list[str]:
    """Every cell that is not as it should be, and why, a line each."""
    lines = []
    for cell in cells:
        if cell.is_passed:
            continue
        key = cell.key
        where = f"{key.workload}, {key.hardware}, {key.arrival_rate_rps:g} req/s, {key.multiple:g} x"
        if not cell.is_feasible:
            lines.append(f"{where}: called infeasible, not proved: {cell.reason}")
        elif cell.verdict != "confirmed":
            lines.append(f"{where}: {cell.verified} is {cell.verdict}: {cell.reason}")
        else:
            lines.append(
                f"{where}: {cell.verified} costs {_percent(cell.excess)} more than {cell.cheapest}, which is "
                f"confirmed; {_percent(MOST_EXCESS)} or one replica may be"
            )
    return lines


def failures_first(cells: Sequence[PlanCell]) -> list[PlanCell]:
    """The cells, those that fail before the others, else in their order."""
    return sorted(cells, key=lambda cell: cell.is_passed)


def plans_markdown(cells: Sequence[PlanCell]) -> str:
    """The summary, failures in words, and a Markdown table of all cells, failures first."""
    titles = [
        "workload",
        "GPUs",
        "req/s",
        "target",
        "P99 TTFT target",
        "plan of the model",
        "held",
        "after verification",
    ]
    titles += ["held", "added", "trimmed", "cheapest confirmed", "excess", "excess of the model's", "fleets simulated"]
    lines = [" ".join(summary(cells)), "", *(f"* Failed: {line}" for line in failures(cells))]
    if lines[-1]:
        lines.append("")
    lines += [_markdown_row(titles), _markdown_row(["---"] * 2 + ["---:"] * 3 + ["---"] * (len(titles) - 5))]
    for cell in failures_first(cells):
        key = cell.key
        known = [key.workload, key.hardware, f"{key.arrival_rate_rps:g}", f"{key.multiple:g} x"]
        known.append(formatting.seconds(cell.slo_ttft_p99_s))
        if cell.is_feasible:
            known += [_priced(cell.modelled, cell.modelled_usd_per_hour), cell.modelled_verdict]
            known += [_priced(cell.verified, cell.verified_usd_per_hour), cell.verdict]
            known += [f"{cell.added}", f"{cell.trimmed}", _priced(cell.cheapest, cell.cheapest_usd_per_hour)]
            known += [_excess(cell.excess), _excess(cell.modelled_excess)]
            known.append(f"{cell.fleets_simulated} of {cell.fleets}")
        else:
            known += [f"none: {cell.reason}", "proved" if cell.is_infeasible_proved else "not proved"]
            known += [formatting.MISSING] * (len(titles) - len(known))
        lines.append(_markdown_row(known))
    lines += ["", _MEANING]
    untold = [cell for cell in cells if cell.untold]
    if untold:
        lines += ["", f"In {len(untold)} cells some simulations of the reference were too short to confirm anything."]
    return "\n".join(lines) + "\n"


def plans_json(cells: Sequence[PlanCell]) -> str:
    """The records of all cells, the summary and the failures in words."""
    found = {"summary": summary(cells), "cells": [cell_record(cell) for cell in cells], "failures": failures(cells)}
    return json.dumps(found, indent=1) + "\n"


def cell_record(cell: PlanCell) -> dict[str, Any]:
    """A cell as JSON values, with what follows from it."""
    record = asdict(cell)
    key = record.pop("key")
    record |= {"excess": cell.excess, "modelled_excess": cell.modelled_excess, "is_passed": cell.is_passed}
    return key | {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in record.items()
    }


def cell_from_record(record: dict[str, Any]) -> PlanCell:
    """The cell of a record."""
    key = CellKey(**{field.name: record[field.name] for field in fields(CellKey)})
    names = {field.name for field in fields(PlanCell)} - {"key"}
    values: dict[str, Any] = {
        name: math.nan if value is None else value for name, value in record.items() if name in names
    }
    return PlanCell(key=key, **values)


def _held(cell: PlanCell) -> str:
    if not cell.is_feasible:
        return "none, proved" if cell.is_infeasible_proved else "none"
    if cell.verdict != "confirmed":
        return cell.verdict
    return "as it came" if cell.modelled_verdict == "confirmed" else "repaired"


def _priced(fleet: str, usd_per_hour: float) -> str:
    return f"{fleet}: {_money(usd_per_hour)}" if fleet else formatting.MISSING


def _money(usd_per_hour: float) -> str:
    return f"{usd_per_hour:,.2f} USD/h" if math.isfinite(usd_per_hour) else formatting.MISSING


def _excess(value: float) -> str:
    return _percent(value) if math.isfinite(value) else formatting.MISSING


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
