"""Tables of simulations for the terminal: a run or its replications, and fleets compared. They fit 80 columns."""

import math
from collections.abc import Callable, Iterable

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fleetopt.reporting import formatting
from fleetopt.simulator import Fleet
from fleetopt.simulator.comparison import Comparison, ComparisonRow
from fleetopt.simulator.measures import FleetSummary, SummaryRow

_VERDICT_STYLES = {"stable": "bold green", "unstable": "bold red", "undecided": "bold yellow"}
_LATENCY_NAMES = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "End to end", "queue_wait": "Queue wait"}
_FIGURES = ("mean", "p50", "p90", "p99")
_COUNTS = {
    "requests": "Requests",
    "rejected": "Rejected",
    "unserved": "Unserved",
    "retries": "Retries",
    "preemptions": "Preemptions",
}
_ABBREVIATIONS = (
    "TTFT: time to first token. TPOT: time per output token after the first. E2E: end to end. Wait: until first "
    "admitted. pp: percentage points."
)
_MEANINGS = (
    "TTFT: time to first token. TPOT: time per output token after the first. Queue wait: until first admitted. "
    "Slots: mean running / max_sequences. KV cache: mean blocks held / blocks. Busy: share of time in an iteration. "
    "All three over all time, idle included. Compute: 1 - base_s / mean iteration, while busy."
)
_UNSTABLE = "An unstable fleet has no steady state: its figures grow with the length of the run."
_WITH_INTERVALS = ("ttft", "tpot", "e2e", "queue_wait", "slo_", "slot_", "kv_", "busy_", "compute_")
"""Metrics whose interval, or the lack of one, is shown."""
_TARGETS = "Within targets: requests that were rejected or never served count as misses."
_COMPARED = {
    "ttft_mean_s": "TTFT mean",
    "ttft_p50_s": "TTFT P50",
    "ttft_p90_s": "TTFT P90",
    "ttft_p99_s": "TTFT P99",
    "tpot_p50_s": "TPOT P50",
    "tpot_p99_s": "TPOT P99",
    "e2e_p50_s": "E2E P50",
    "e2e_p99_s": "E2E P99",
    "queue_wait_p99_s": "Wait P99",
    "slo_attainment": "Within targets",
    "slot_utilization": "Slots used",
    "kv_utilization": "KV used",
    "busy_utilization": "Busy",
    "rejected": "Rejected",
    "unserved": "Unserved",
    "retries": "Retries",
    "preemptions": "Preemptions",
}
"""Figures that fleets are compared by, in the order of the table."""


def simulation_table(summary: FleetSummary, fleet: Fleet, *, title: str, notes: Iterable[str] = ()) -> RenderableType:
    """What became of the requests, how long they waited, and how much of each pool was used.

    Parameters
    ----------
    summary : FleetSummary
    fleet : Fleet
        The fleet that was simulated.
    title : str
    notes : iterable of str
        Lines to print below.
    """
    scopes: list[str | None] = [None]
    if len(fleet.pools) > 1:  # one pool is the whole fleet
        scopes += [pool.name for pool in fleet.pools]
    parts: list[RenderableType] = [Text(title, style="bold"), Text()]
    parts += [_counts_table(summary, fleet, scopes), Text()]
    parts += [_latency_table(summary, scopes, fleet), Text()]
    parts += [_use_table(summary, scopes, fleet), Text(), _facts(summary, notes)]
    return Padding(Group(*parts), (1, 0))


def comparison_table(
    comparison: Comparison, fleets: dict[str, Fleet], *, title: str, notes: Iterable[str] = ()
) -> RenderableType:
    """The figures of the first fleet, and for each other fleet its own and how they differ.

    Parameters
    ----------
    comparison : Comparison
    fleets : dict of str to Fleet
        The fleets, by the names of the comparison.
    title : str
    notes : iterable of str
        Lines to print below.
    """
    parts: list[RenderableType] = [Text(title, style="bold"), Text(), _fleets_table(comparison, fleets)]
    for name, rows in comparison.differences.items():
        parts += [Text(), Text(f"{name} against {comparison.baseline}", style="bold"), _difference_table(rows)]
        parts += [Text(line) for line in difference_sentences(name, rows)]
    if any(summary.stability.verdict == "unstable" for summary in comparison.summaries.values()):
        notes = (*notes, _UNSTABLE)
    if any(_has_targets(summary) for summary in comparison.summaries.values()):
        notes = (_TARGETS, *notes)
    parts += [Text(), *(Text(note, style="dim") for note in (_ABBREVIATIONS, _methods(comparison), *notes))]
    return Padding(Group(*parts), (1, 0))


def _methods(comparison: Comparison) -> str:
    """Where the intervals of differences come from, and why some have none."""
    rows = [row for rows in comparison.differences.values() for row in rows if row.pool is None]
    shown = [row for row in rows if row.metric in _COMPARED and not row.first == row.second == 0.0]
    methods = dict.fromkeys(row.method for row in shown if row.is_bounded)
    reasons = dict.fromkeys(row.method for row in shown if not row.is_bounded)
    text = f"95 % intervals of differences: {'; '.join(methods) or 'none'}."
    return f"{text} -: {'; '.join(reasons)}." if reasons else text


def difference_sentences(name: str, rows: Iterable[ComparisonRow]) -> list[str]:
    """Say what the comparison shows of the whole fleet, and what it does not.

    Parameters
    ----------
    name : str
        Of the second fleet.
    rows : iterable of ComparisonRow
    """
    of_fleet = [row for row in rows if row.pool is None and row.metric in _COMPARED]
    judged = [row for row in of_fleet if _is_judged(row.metric)]
    differ = any(row.difference != 0.0 for row in of_fleet if row.metric in {"rejected", "unserved"})
    less = [_COMPARED[row.metric] for row in judged if row.is_distinguishable and row.difference < 0]
    more = [_COMPARED[row.metric] for row in judged if row.is_distinguishable and row.difference > 0]
    same = [_COMPARED[row.metric] for row in judged if row.is_bounded and not row.is_distinguishable]
    unknown = [_COMPARED[row.metric] for row in judged if not row.is_bounded]
    caution = (
        ["The fleets did not finish the same requests, and latencies are of finished ones only."] if differ else []
    )
    return caution + [
        f"{start}: {', '.join(metrics)}."
        for start, metrics in (
            (f"{name} is lower in", less),
            (f"{name} is higher in", more),
            ("Not distinguishable from zero", same),
            ("Too few requests to say", unknown),
        )
        if metrics
    ]


def _counts_table(summary: FleetSummary, fleet: Fleet, scopes: list[str | None]) -> Table:
    table = _table("Pool\nreplicas", *_COUNTS.values())
    for scope in scopes:
        pools = [pool for pool in fleet.pools if scope in {None, pool.name}]
        gpus = {pool.profile.name for pool in pools}
        gpu = gpus.pop() if len(gpus) == 1 else "several types"
        name = f"{_scope_name(scope, fleet)}\n{formatting.replicas(sum(pool.replicas for pool in pools), gpu)}"
        table.add_row(Text(name), *(_count(summary.row(metric, scope)) for metric in _COUNTS))
    return table


def _latency_table(summary: FleetSummary, scopes: list[str | None], fleet: Fleet) -> Table:
    table = _table("Seconds", "Pool", *(figure.capitalize() for figure in _FIGURES))
    table.columns[1].justify = "left"
    for latency, name in _LATENCY_NAMES.items():
        for scope in scopes:
            rows = [summary.row(f"{latency}_{figure}_s", scope) for figure in _FIGURES]
            first = name if scope == scopes[0] else ""
            table.add_row(Text(first), Text(_scope_name(scope, fleet)), *(_with_interval(row, _plain) for row in rows))
    return table


def _use_table(summary: FleetSummary, scopes: list[str | None], fleet: Fleet) -> Table:
    metrics = [f"{name}_utilization" for name in ("slot", "kv", "busy", "compute")]
    names = ["Slots", "KV cache", "Busy", "Compute"]
    if _has_targets(summary):
        metrics, names = [*metrics, "slo_attainment"], [*names, "Within\ntargets"]
    table = _table("Use", *names)
    for scope in scopes:
        rows = [summary.row(metric, scope) for metric in metrics]
        table.add_row(Text(_scope_name(scope, fleet)), *(_with_interval(row, formatting.percent) for row in rows))
    return table


def _facts(summary: FleetSummary, notes: Iterable[str]) -> RenderableType:
    verdict = summary.stability.verdict
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    reason = Text(f": {summary.stability.reason}")
    grid.add_row("Verdict", Text(verdict.upper(), style=_VERDICT_STYLES[verdict]) + reason)
    if summary.replications > 1:
        notes = (f"Figures are means over {summary.replications:,} replications.", *notes)
    if verdict == "unstable":
        notes = (*notes, _UNSTABLE)
    if _has_targets(summary):
        notes = (_TARGETS, *notes)
    return Group(grid, Text(), *(Text(line, style="dim") for line in (_MEANINGS, _intervals(summary), *notes)))


def _reason(row: SummaryRow) -> str:
    """Why a figure has no interval, in words that need no other."""
    if row.metric == "slo_attainment":
        return "targets met by too uneven batches"
    if row.method == "one run":
        return "utilisations of one run"
    return row.method


def _intervals(summary: FleetSummary) -> str:
    """Where the intervals come from, and why the figures without one have none."""
    shown = [row for row in summary.rows if row.metric.startswith(_WITH_INTERVALS) and math.isfinite(row.estimate)]
    methods = dict.fromkeys(row.method for row in shown if _is_bounded(row))
    reasons = dict.fromkeys(_reason(row) for row in shown if not _is_bounded(row))
    why = f"{'; '.join(reasons)}."
    if not methods:
        return f"No 95 % intervals: {why}" if reasons else "No 95 % intervals: nothing was measured."
    text = f"95 % intervals stand below the figures: {'; '.join(methods)}."
    return f"{text} Where none stands: {why}" if reasons else text


def _has_targets(summary: FleetSummary) -> bool:
    return any(row.metric == "slo_attainment" for row in summary.rows)


def _fleets_table(comparison: Comparison, fleets: dict[str, Fleet]) -> Table:
    table = _table("Fleet", "Replicas", "USD\nper hour", "TTFT P50, s", "TTFT P99, s", "Verdict")
    for name, summary in comparison.summaries.items():
        table.add_row(
            Text(name),
            formatting.count(sum(pool.replicas for pool in fleets[name].pools)),
            formatting.usd(fleets[name].usd_per_hour),
            _with_interval(summary.row("ttft_p50_s"), _plain),
            _with_interval(summary.row("ttft_p99_s"), _plain),
            Text(summary.stability.verdict, style=_VERDICT_STYLES[summary.stability.verdict]),
        )
    return table


def _difference_table(rows: Iterable[ComparisonRow]) -> Table:
    """Figures of both fleets as a whole; a difference that its interval does not tell from zero is marked."""
    table = _table("", "First", "This", "Difference", "95 % interval", "")
    table.columns[5].justify = "left"
    of_fleet = {row.metric: row for row in rows if row.pool is None}
    for metric, name in _COMPARED.items():
        row = of_fleet.get(metric)
        if row is None or (row.first == row.second == 0.0):
            continue
        text = _number(row.unit)
        table.add_row(
            Text(name + (", s" if row.unit == "s" else "")),
            text(_known(row.first)),
            text(_known(row.second)),
            _signed(row, row.difference),
            f"{_signed(row, row.lower)} to {_signed(row, row.upper)}" if row.is_bounded else formatting.MISSING,
            _judgement(row),
        )
    return table


def _judgement(row: ComparisonRow) -> str:
    """What the interval says, in a word or two; nothing where the difference is what it looks like."""
    if row.lower == row.upper == 0.0:
        return "equal"
    return "may be 0" if row.is_bounded and not row.is_distinguishable else ""


def _table(first: str, *names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _scope_name(scope: str | None, fleet: Fleet) -> str:
    return scope or ("all" if len(fleet.pools) > 1 else fleet.pools[0].name)


def _with_interval(row: SummaryRow, text: Callable[[float | None], str]) -> str:
    """The estimate, and its interval on a second line where there is one."""
    estimate = text(_known(row.estimate))
    if not _is_bounded(row):
        return estimate
    return f"{estimate}\n{_between(text(row.lower), text(row.upper))}"


def _is_bounded(row: SummaryRow) -> bool:
    """Whether there is an interval; from nothing to everything is none."""
    says_nothing = row.unit == "share" and (row.lower, row.upper) == (0.0, 1.0)
    return not says_nothing and math.isfinite(row.lower) and math.isfinite(row.upper)


def _between(lower: str, upper: str) -> str:
    """Two numbers of one unit, which is named once."""
    unit = " %"
    return f"{lower.removesuffix(unit)}-{upper}" if upper.endswith(unit) else f"{lower}-{upper}"


def _count(row: SummaryRow) -> str:
    value = _known(row.estimate)
    return formatting.count(value) if value is None or value == round(value) else formatting.three_digits(value)


def _number(unit: str) -> Callable[[float | None], str]:
    return formatting.percent if unit == "share" else _plain


def _plain(value: float | None) -> str:
    return formatting.MISSING if value is None else formatting.three_digits(value)


def _signed(row: ComparisonRow, value: float) -> str:
    """A difference, with one digit more than the figures have that it is of; of shares in percentage points."""
    if not math.isfinite(value):
        return formatting.MISSING
    if row.unit == "share":
        return f"{_rounded(100.0 * value, 2)} pp"
    figure = max((abs(known) for known in (row.first, row.second) if math.isfinite(known)), default=0.0)
    return _rounded(value, max(0, 2 - math.floor(math.log10(figure))) + 1 if figure > 0.0 else 3)


def _rounded(value: float, decimals: int) -> str:
    """With its sign, except for what rounds to 0."""
    rounded = round(value, decimals)
    return f"{rounded:+,.{decimals}f}" if rounded else f"{0:.{decimals}f}"


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _is_judged(metric: str) -> bool:
    """Whether users of the fleet feel it."""
    return metric.startswith((*_LATENCY_NAMES, "slo_"))
