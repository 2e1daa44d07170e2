"""FleetOpt's published fleets, reproduced and judged, as a page for the terminal and in Markdown, and as JSON."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fleetopt.evidence.needed import NeededPool
from fleetopt.evidence.published_figures import (
    AZURE,
    GPU,
    MAX_CONTEXT_TOKENS,
    SLO_TTFT_P99_S,
    TABLE_5,
    TABLE_5_SIMULATED,
)
from fleetopt.evidence.reproduce import JudgedFleet, JudgedPool, Reproduction, saving_pct
from fleetopt.evidence.trials import SimulatedPool
from fleetopt.reporting import formatting
from fleetopt.simulator.statistics import Interval, slo_verdict

_TARGET_MS = 1000 * SLO_TTFT_P99_S
_VERDICTS = {"confirmed": "met", "refuted": "missed", "undecided": "undecided"}
_LEFT = {"Workload", "Fleet", "Pool", "Simulator", "Target", "Slots are"}
"""Columns of words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """A table of the page with its title and what its columns mean."""

    title: str
    meaning: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def reproduce_page(page: Reproduction) -> RenderableType:
    """The page for a terminal of 100 columns or more.

    Parameters
    ----------
    page : Reproduction
    """
    parts: list[RenderableType] = [Text("FleetOpt (arXiv 2603.16514), reproduced and judged", style="bold"), Text()]
    parts += [Text(line) for line in _opening(page)]
    for section in _sections(page):
        parts += [Text(), Text(section.title, style="bold"), Text(), _terminal_table(section)]
        parts += [Text(), Text(section.meaning, style="dim")]
    parts += [Text(), *(Text(line, style="dim") for line in _notes(page))]
    return Padding(Group(*parts), (1, 0))


def reproduce_markdown(page: Reproduction, command: str) -> str:
    """The page in Markdown.

    Parameters
    ----------
    page : Reproduction
    command : str
        What made it.
    """
    lines = ["# FleetOpt (arXiv 2603.16514), reproduced and judged", "", f"Made by `{command}`.", ""]
    lines += [f"* {line}" for line in _opening(page)]
    for section in _sections(page):
        lines += ["", f"## {section.title}", "", _markdown_row(section.columns)]
        lines += [_markdown_row("---" if column in _LEFT else "---:" for column in section.columns)]
        lines += [_markdown_row(row) for row in section.rows]
        lines += ["", section.meaning]
    lines += ["", "## Notes", "", *(f"* {line}" for line in _notes(page))]
    return "\n".join(lines) + "\n"


def _opening(page: Reproduction) -> list[str]:
    """Three sentences: what reproduces, which fleets do not hold, what the target takes."""
    hits = sum(figure.is_reproduced for figure in page.figures)
    return [
        f"Reproduced: {hits} of {len(page.figures)} printed figures come out to the last digit: GPUs, dollars, savings "
        "and gamma of Tables 3 and 6, analytic utilisation of Table 5.",
        _what_fails(page),
        _what_it_takes(page),
    ]


def _what_fails(page: Reproduction) -> str:
    compressing = [fleet for fleet in _different(page.fleets) if fleet.plan.gamma > 1]
    unstable = sum(fleet_stability(fleet) == "unstable" for fleet in compressing)
    worst = max(compressing, key=lambda fleet: fleet.pools[0].model_load)
    short = worst.pools[0]
    return (
        f"Not stable: in the simulator {unstable} of the {len(compressing)} fleets that compress, because their short "
        "pool is sized for requests that were short before compression. The worst, "
        f"{worst.published.workload.name}'s {_sum_of(worst.published.gpus)} GPUs at gamma {worst.plan.gamma:g}, said "
        f"to save {worst.published.saving_pct:g} %, is offered {short.offered_utilization:.2f} times what its short "
        f"pool carries by the paper's own service times, {short.model_load:.2f} times by the sound model, and its "
        f"backlog grows by {100 * short.simulated.backlog_growth.estimate:.0f} % of the arrivals."
    )


def _what_it_takes(page: Reproduction) -> str:
    table_3 = _different([fleet for fleet in page.fleets if fleet.published.table == 3])
    steady = [fleet for fleet in table_3 if fleet_stability(fleet) != "unstable"]
    ratios = [
        pool.simulated.ttft_p99_s.estimate / pool.paper.ttft_p99_s
        for fleet in table_3
        for pool in fleet.pools
        if pool.simulated.stability.verdict != "unstable" and pool.model_load < 1
    ]
    missing = sum(fleet_target(fleet) == "missed" for fleet in steady)
    azure = {(fleet.published.kind, fleet.slots): fleet for fleet in page.needed if fleet.published.workload == AZURE}
    fleetopt, one_pool = azure["FleetOpt", "reserved"], azure["one pool", "paged"]
    return (
        "Not on time: the P99 TTFT of the paper leaves out the load. In the pools of Table 3 that keep up the "
        f"simulated one is {min(ratios):.1f} to {max(ratios):.1f} times as long, and {missing} of its {len(steady)} "
        f"fleets that are not unstable miss the target of {_TARGET_MS:.0f} ms. Sized soundly, azure at that gamma "
        f"takes {formatting.count(fleetopt.gpus)} GPUs and not {sum(fleetopt.published.gpus)}; one pool takes "
        f"{formatting.count(one_pool.gpus)} and not {sum(one_pool.published.gpus)}, if its slots share the KV cache "
        f"and do not reserve {MAX_CONTEXT_TOKENS:,} tokens each."
    )


def _different(fleets: Iterable[JudgedFleet]) -> list[JudgedFleet]:
    """Without those that are printed twice."""
    return list(
        {(fleet.published.workload, fleet.published.arrival_rate_rps, fleet.plan): fleet for fleet in fleets}.values()
    )


def _sections(page: Reproduction) -> list[_Section]:
    table_3 = [fleet for fleet in page.fleets if fleet.published.table == 3]
    table_6 = [fleet for fleet in page.fleets if fleet.published.table == 6]
    return [
        _counts(table_3),
        _loads(table_3),
        _waits(table_3),
        _utilizations(table_3),
        _rates(table_6),
        _needed(page),
        _searched(page),
    ]


def _counts(fleets: Sequence[JudgedFleet]) -> _Section:
    rows: list[tuple[str, ...]] = []
    for fleet in fleets:
        printed = fleet.published
        saving = saving_pct(printed.workload, fleet.plan, printed.arrival_rate_rps)
        rows.append(
            (
                *_names(fleet),
                _sum_of(printed.gpus),
                _sum_of([pool.gpus for pool in fleet.plan.pools]),
                formatting.count(printed.thousand_usd_per_year),
                formatting.count(fleet.plan.usd_per_year / 1000),
                formatting.MISSING if printed.saving_pct is None else f"{printed.saving_pct:.1f} %",
                formatting.MISSING if printed.saving_pct is None else f"{saving:.1f} %",
            )
        )
    return _Section(
        title="Table 3: GPUs, thousands of dollars a year, saving against one pool",
        meaning="Published beside ours, at 1,000 req/s, A100. GPUs: short + long pool. Beside a fleet: its gamma.",
        columns=("Workload", "Fleet", "GPUs", "ours", "K$/yr", "ours ", "Saving", "ours  "),
        rows=rows,
    )


def _loads(fleets: Sequence[JudgedFleet]) -> _Section:
    rows = [
        (
            *_names(fleet),
            pool.name,
            formatting.count(pool.paper.gpus),
            formatting.count(pool.paper.slots_per_gpu),
            f"{pool.paper.utilization:.2f}",
            f"{pool.offered_utilization:.2f}",
            f"{pool.model_load:.2f}",
            _stability(pool.simulated),
        )
        for fleet in fleets
        for pool in fleet.pools
    ]
    return _Section(
        title="Do these fleets carry their load?",
        meaning=(
            "Slots: of a GPU. Claimed: utilisation by the paper. Offered: the same by the paper's own service times, "
            "with the requests that the pool really gets. Model: arrival rate / stability limit of the sound model, "
            "which reads prompts and contexts as the simulator does; above 1 the pool fails, and 1 - 1 / load of its "
            "arrivals are never served. Simulator: with what the requests without a first token grow by, as a share of "
            "the arrivals."
        ),
        columns=("Workload", "Fleet", "Pool", "GPUs", "Slots", "Claimed", "Offered", "Model", "Simulator"),
        rows=rows,
    )


def _waits(fleets: Sequence[JudgedFleet]) -> _Section:
    rows = [
        (
            *_names(fleet),
            pool.name,
            f"{1000 * pool.paper.ttft_p99_s:.0f}",
            _model_ms(pool),
            *_simulated_ms(pool.simulated),
        )
        for fleet in fleets
        for pool in fleet.pools
    ]
    return _Section(
        title=f"P99 time to first token, ms; the target is {_TARGET_MS:.0f} ms",
        meaning=(
            "Claimed: P99 wait for a slot and mean prefill on an idle GPU. 95 %: over replications; the target is met "
            "or missed if all of the interval is, and missed where the pool is unstable."
        ),
        columns=("Workload", "Fleet", "Pool", "Claimed", "Model", "Simulated", "95 %", "Target"),
        rows=rows,
    )


def _utilizations(fleets: Sequence[JudgedFleet]) -> _Section:
    rows: list[tuple[str, ...]] = []
    for fleet in fleets:
        if fleet.published.kind != "routing":
            continue
        name = fleet.published.workload.name
        for pool, printed, theirs in zip(fleet.pools, TABLE_5[name], TABLE_5_SIMULATED[name], strict=True):
            seen = pool.simulated.slot_utilization
            rows.append(
                (
                    name,
                    pool.name,
                    formatting.count(pool.paper.gpus),
                    f"{printed:.3f}",
                    f"{pool.paper.utilization:.3f}",
                    f"{theirs:.3f}",
                    f"{pool.model_slot_utilization:.3f}",
                    f"{seen.estimate:.3f}",
                    _between(seen, 1.0, 3),
                )
            )
    return _Section(
        title="Table 5: utilisation, that is slots taken, routing alone",
        meaning=(
            "Analytic and their simulation agree because the simulation of the reference code draws the same service "
            "times, those of a GPU whose slots are all taken. With fewer taken an iteration is shorter, and so is the "
            "time that a slot is held."
        ),
        columns=("Workload", "Pool", "GPUs", "Analytic", "ours", "Their sim.", "Model", "Simulated", "95 %"),
        rows=rows,
    )


def _rates(fleets: Sequence[JudgedFleet]) -> _Section:
    rows = [
        (
            formatting.count(fleet.published.arrival_rate_rps),
            _with_gamma(fleet.published.kind, fleet.plan.gamma),
            formatting.count(fleet.published.gpus[0]),
            formatting.count(fleet.plan.gpus),
            " / ".join(f"{pool.model_load:.2f}" for pool in fleet.pools),
            fleet_stability(fleet),
            " / ".join(_simulated_ms(pool.simulated)[0] for pool in fleet.pools),
            fleet_target(fleet),
        )
        for fleet in fleets
    ]
    return _Section(
        title="Table 6: agent-heavy by arrival rate",
        meaning="Model: load of each pool as above, short / long. P99: simulated P99 TTFT, ms.",
        columns=("req/s", "Fleet", "GPUs", "ours", "Model", "Simulator", "P99", "Target"),
        rows=rows,
    )


def _needed(page: Reproduction) -> _Section:
    rows: list[tuple[str, ...]] = []
    for fleet in page.needed:
        printed = fleet.published
        rows.append(
            (
                printed.workload.name,
                _with_gamma(printed.kind, printed.gamma),
                fleet.slots,
                _sum_of(printed.gpus),
                _sum_of([pool.gpus for pool in fleet.pools]),
                " / ".join(_needed_ms(pool) for pool in fleet.pools),
                " / ".join(f"{1000 * seen.ttft_p99_s.estimate:.0f}" for seen in fleet.simulated) or formatting.MISSING,
                _together([_target(seen) for seen in fleet.simulated]) if fleet.simulated else "missed",
            )
        )
    return _Section(
        title="What the sound model asks for at the paper's boundary and target",
        meaning=(
            "Fewest GPUs with the model's P99 TTFT within the target, at 85 % of the stability limit or less. Slots "
            "reserved: the paper's, each made for the longest request of its pool. Paged: every pool runs as many "
            "requests at once as the paper's short pool, if the KV cache holds them 99 % of the time. P99 TTFT in ms; "
            "idle: on GPUs without load, so that no number is enough."
        ),
        columns=("Workload", "Fleet", "Slots are", "Published", "Needed", "Model", "Simulated", "Target"),
        rows=rows,
    )


def _searched(page: Reproduction) -> _Section:
    rows = [
        (
            found.workload.name,
            formatting.count(found.workload.boundary_tokens),
            formatting.MISSING if found.plan.boundary_tokens is None else formatting.count(found.plan.boundary_tokens),
            f"{found.plan.gamma:g}",
            _sum_of([pool.gpus for pool in found.plan.pools]),
            f"{found.saving_pct:.1f} %",
            f"{found.offered_utilization:.2f}",
            f"{found.model_load:.2f}",
        )
        for found in page.searched
    ]
    return _Section(
        title="The boundary is not searched in the paper's tables; if it is",
        meaning=(
            "By the paper's own accounting, over all breakpoints of the CDF. Gamma 2 is the edge of its grid. Offered, "
            "model: load of the short pool, as above."
        ),
        columns=("Workload", "Paper's B", "Best B", "Gamma", "GPUs", "Saving", "Offered", "Model"),
        rows=rows,
    )


def _notes(page: Reproduction) -> list[str]:
    return [
        f"Simulated: {page.replications} replications of each fleet, each of {page.requests:,} requests or "
        f"{page.span_s:,.0f} s of Poisson arrivals, whichever is more; least-loaded replica within a pool, continuous "
        "batching, chunked prefill of 512 tokens, paged KV cache. Lengths: the published CDFs, uniform within a bin, "
        "80 % prompt.",
        f"Profile {GPU}: as published, not measured. It charges prefill nothing but its iterations, and its "
        "'GPU' holds 320 GiB of KV cache, an 8-GPU node priced as one GPU: dollars are low by about 8 times, ratios "
        "between fleets stand.",
        "Compression is taken as free and as lossless here, as in the paper; agent-heavy compresses 75 % of its band.",
    ]


def _names(fleet: JudgedFleet) -> tuple[str, str]:
    return fleet.published.workload.name, _with_gamma(fleet.published.kind, fleet.plan.gamma)


def _with_gamma(kind: str, gamma: float) -> str:
    return f"{kind} {gamma:.1f}" if gamma > 1 else kind


def _sum_of(gpus: Iterable[int | None]) -> str:
    return " + ".join("none" if each is None else formatting.count(each) for each in gpus)


def _stability(seen: SimulatedPool) -> str:
    if seen.stability.verdict != "unstable":
        return seen.stability.verdict
    return f"unstable, {100 * seen.backlog_growth.estimate:+.1f} %"


def fleet_stability(fleet: JudgedFleet) -> str:
    """The worst verdict of its pools: ``unstable``, ``undecided`` or ``stable``."""
    verdicts = {pool.simulated.stability.verdict for pool in fleet.pools}
    return next(verdict for verdict in ("unstable", "undecided", "stable") if verdict in verdicts)


def _target(seen: SimulatedPool) -> str:
    if seen.stability.verdict == "unstable":
        return "missed"
    return _VERDICTS[slo_verdict(seen.ttft_p99_s.lower, seen.ttft_p99_s.upper, SLO_TTFT_P99_S)]


def fleet_target(fleet: JudgedFleet) -> str:
    """Whether the simulated P99 TTFT is within the target in every pool: ``missed``, ``undecided`` or ``met``."""
    return _together([_target(pool.simulated) for pool in fleet.pools])


def _together(targets: Sequence[str]) -> str:
    return next(target for target in ("missed", "undecided", "met") if target in targets)


def _model_ms(pool: JudgedPool) -> str:
    return f"{1000 * pool.model_ttft_p99_s:.0f}" if math.isfinite(pool.model_ttft_p99_s) else "unstable"


def _needed_ms(pool: NeededPool) -> str:
    if pool.gpus is None:
        return f"{1000 * pool.unloaded_ttft_p99_s:.0f} idle"
    return f"{1000 * pool.model_ttft_p99_s:.0f}"


def _simulated_ms(seen: SimulatedPool) -> tuple[str, str, str]:
    """Estimate, interval, target; an unstable pool has no steady state to estimate."""
    if seen.stability.verdict == "unstable":
        return "grows", "", "missed"
    return f"{1000 * seen.ttft_p99_s.estimate:.0f}", _between(seen.ttft_p99_s, 1000.0, 0), _target(seen)


def _between(interval: Interval, scale: float, digits: int) -> str:
    if not math.isfinite(interval.upper):
        return ""
    return f"{max(0.0, scale * interval.lower):.{digits}f} to {scale * interval.upper:.{digits}f}"


def _terminal_table(section: _Section) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for column in section.columns:
        table.add_column(column.strip(), justify="left" if column in _LEFT else "right", no_wrap=True)
    previous: tuple[str, ...] = ("", "")
    for row in section.rows:
        is_same = row[0] == previous[0]
        table.add_row("" if is_same else row[0], "" if is_same and row[1] == previous[1] else row[1], *row[2:])
        previous = row
    return table


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.strip() for cell in cells)} |"
