"""Figures of a simulation: what a run did over time, and how long requests waited; fleets beside each other."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from fleetopt.reporting.drawing import ALARM, GREY, STYLE, WIDTH_IN, exceedance, legend_below, line_styles, second_ticks
from fleetopt.reporting.formatting import seconds
from fleetopt.simulator import Fleet, SimulationResult, Timeline
from fleetopt.simulator.comparison import Comparison

_ARRIVAL_BINS = 120
_UNITS = ((1.0, "s"), (60.0, "min"), (3600.0, "h"), (86_400.0, "days"))
_LEAST_SHARE = 5e-4
_DIFFERENCES = {
    "ttft_p50_s": "TTFT P50",
    "ttft_p99_s": "TTFT P99",
    "tpot_p50_s": "TPOT P50",
    "tpot_p99_s": "TPOT P99",
    "e2e_p50_s": "E2E P50",
    "e2e_p99_s": "E2E P99",
    "slo_attainment": "Within targets",
    "slot_utilization": "Slots used",
    "kv_utilization": "KV used",
}
"""Metrics of the figure of a comparison, and what it calls them."""


def simulation_figure(result: SimulationResult, fleet: Fleet, *, title: str, slo_ttft_s: float | None = None) -> Figure:
    """A run: arrivals, requests running and waiting and KV use over time, and the time to first token, per pool.

    Parameters
    ----------
    result : SimulationResult
        With a timeline.
    fleet : Fleet
        The fleet that was simulated.
    title : str
    slo_ttft_s : float, optional
        Target of the P99 time to first token, s.

    Raises
    ------
    ValueError
        If the result holds no timeline.
    """
    timeline = result.timeline
    if timeline is None:
        raise ValueError("the result holds no timeline; simulate with timeline_interval_s")
    styles = dict(zip(result.pool_names, line_styles(_unlike_all(result.pool_names)), strict=True))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 10.2))
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        grid = figure.add_gridspec(5, 1, height_ratios=(0.7, 1, 1, 1, 1.7))
        first = figure.add_subplot(grid[0])
        panels = [first, *(figure.add_subplot(grid[row], sharex=first) for row in (1, 2, 3))]
        for panel in panels[:-1]:
            panel.tick_params(labelbottom=False)
        scale_s, unit = _time_unit(float(timeline.time_s[-1] - timeline.time_s[0]) if len(timeline.time_s) else 0.0)
        start_s = float(result.arrival_s[0]) if len(result) else 0.0
        _draw_arrivals(panels[0], result, start_s, scale_s)
        _draw_counts(panels[1], timeline, timeline.running, start_s, scale_s, styles)
        _draw_counts(panels[2], timeline, timeline.waiting, start_s, scale_s, styles)
        _draw_held(panels[2], timeline, start_s, scale_s)
        _draw_kv(panels[3], timeline, fleet, start_s, scale_s, styles)
        for panel, (name, label) in zip(
            panels,
            (
                ("Arrivals", "requests/s"),
                ("Requests running, all replicas of a pool", "requests"),
                ("Requests waiting, all replicas of a pool", "requests"),
                ("KV cache held: mean and range of the replicas that are up", "share of blocks"),
            ),
            strict=True,
        ):
            panel.set(title=name, ylabel=label)
            panel.set_ylim(bottom=0)
            _draw_failures(panel, fleet, start_s, scale_s)
        panels[-1].yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g} %"))
        panels[-1].set_xlabel(f"time since the first arrival, {unit}")
        axes = figure.add_subplot(grid[4])
        groups = {name: result.ttft_s[result.pool_mask(i)] for i, name in enumerate(result.pool_names)}
        _draw_ttft(axes, groups, styles, slo_ttft_s)
        legend_below(figure, np.array([*panels, axes]))
    return figure


def _unlike_all(names: Sequence[str]) -> list[str]:
    """Names that `line_styles` gives colours: black is for all pools together, and a single pool may be named "all"."""
    return [f"pool {name}" for name in names]


def _time_unit(span_s: float) -> tuple[float, str]:
    """The largest unit of which the span holds at least three."""
    return max((unit for unit in _UNITS if span_s >= 3 * unit[0]), default=_UNITS[0])


def _draw_arrivals(axes: Axes, result: SimulationResult, start_s: float, scale_s: float) -> None:
    span_s = float(result.arrival_s[-1]) - start_s if len(result) else 0.0
    if span_s <= 0.0:
        axes.text(0.02, 0.5, "all at once", transform=axes.transAxes, color=GREY)
        return
    counts, edges = np.histogram(result.arrival_s - start_s, bins=_ARRIVAL_BINS, range=(0.0, span_s))
    axes.stairs(counts / np.diff(edges), edges / scale_s, fill=True, color=GREY, alpha=0.45)


def _draw_counts(
    axes: Axes, timeline: Timeline, counts: np.ndarray, start_s: float, scale_s: float, styles: dict[str, Any]
) -> None:
    for pool, (name, style) in enumerate(styles.items()):
        total = counts[:, timeline.pool == pool].sum(axis=1)
        axes.plot((timeline.time_s - start_s) / scale_s, total, label=_pool_label(name), **{**style, "linewidth": 1.2})
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))


def _draw_held(axes: Axes, timeline: Timeline, start_s: float, scale_s: float) -> None:
    """Requests at the gateway: they wait for any replica to be up."""
    if timeline.held.any():
        time = (timeline.time_s - start_s) / scale_s
        axes.plot(time, timeline.held, color="black", linewidth=1.2, label="held at the gateway: no replica is up")


def _draw_kv(
    axes: Axes, timeline: Timeline, fleet: Fleet, start_s: float, scale_s: float, styles: dict[str, Any]
) -> None:
    time = (timeline.time_s - start_s) / scale_s
    is_down = _is_down(timeline, fleet)
    for index, (pool, (name, style)) in enumerate(zip(fleet.pools, styles.items(), strict=True)):
        mine = timeline.pool == index
        share = np.ma.masked_array(timeline.kv_blocks[:, mine] / pool.profile.kv_blocks, is_down[:, mine])
        axes.fill_between(time, share.min(axis=1), share.max(axis=1), color=style["color"], alpha=0.2, linewidth=0)
        axes.plot(time, share.mean(axis=1), label=_pool_label(name), **{**style, "linewidth": 1.2})


def _is_down(timeline: Timeline, fleet: Fleet) -> np.ndarray:
    """bool[m, r], whether a replica is down at a sample."""
    is_down = np.zeros(timeline.running.shape, dtype=np.bool_)
    for failure in fleet.failures:
        when = (timeline.time_s >= failure.down_s) & (timeline.time_s < failure.up_s)
        pool = timeline.pool_names.index(failure.pool)
        is_down |= when[:, None] & ((timeline.pool == pool) & (timeline.replica == failure.replica))[None, :]
    return is_down


def _draw_failures(axes: Axes, fleet: Fleet, start_s: float, scale_s: float) -> None:
    right = axes.get_xlim()[1]
    for failure in fleet.failures:
        ends = (failure.down_s - start_s) / scale_s, min((failure.up_s - start_s) / scale_s, right)
        axes.axvspan(*ends, color=ALARM, alpha=0.08, linewidth=0, zorder=0, label="a replica is down")
    axes.set_xlim(right=right)


def _draw_ttft(axes: Axes, groups: dict[str, np.ndarray], styles: dict[str, Any], slo_ttft_s: float | None) -> None:
    """Share of requests that wait longer, on log axes, where the tail can be read; a mark at each P99."""
    axes.set(title="Time to first token; dots: P99", ylabel="requests that wait longer")
    axes.set_xlabel("time to first token, s (log scale)")
    served = {name: values[~np.isnan(values)] for name, values in groups.items()}
    drawn = [values for values in served.values() if len(values)]
    if not drawn:
        axes.text(0.5, 0.5, "no request was served", transform=axes.transAxes, ha="center", color=GREY)
        return
    for name, values in served.items():
        if not len(values):
            continue
        ttft_s, share = exceedance(values)
        axes.step(ttft_s, share, where="post", label=_pool_label(name), **styles[name])
        p99_s = float(np.quantile(values, 0.99, method="inverted_cdf"))
        mark: dict[str, Any] = {"marker": "o", "ms": 6, "color": styles[name]["color"], "zorder": 5}
        axes.plot([p99_s], [0.01], linestyle="none", label=f"{_pool_label(name)}: P99 {seconds(p99_s)}", **mark)
    everything = np.concatenate(drawn)
    low, high = float(np.quantile(everything, 0.001)), float(everything.max())
    if slo_ttft_s is not None:
        axes.axvline(slo_ttft_s, color=ALARM, linewidth=1.5, label=f"target: {slo_ttft_s:g} s")
        low, high = min(low, slo_ttft_s), max(high, slo_ttft_s)
    axes.axhline(0.01, color=GREY, linewidth=1.0, linestyle=(0, (5, 2)))
    axes.set_yscale("log")
    axes.set_ylim(_LEAST_SHARE, 1.3)
    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.6g} %"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    second_ticks(axes, low / 1.3, max(high, low * math.e) * 1.3)


def _pool_label(name: str) -> str:
    return name if "pool" in name else f"{name} pool"


def comparison_figure(comparison: Comparison, *, title: str) -> Figure:
    """Fleets beside each other: their times to first token, and how much each differs from the first.

    Parameters
    ----------
    comparison : Comparison
    title : str
    """
    styles = dict(zip(comparison.summaries, line_styles(_unlike_all(list(comparison.summaries))), strict=True))
    with mpl.rc_context(STYLE):
        rows = len(_drawn_metrics(comparison))
        figure = Figure(figsize=(WIDTH_IN, 3.8 + (0.2 + 0.13 * len(styles)) * rows))
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        top, bottom = figure.subplots(2, 1, height_ratios=(3.5, max(rows, 1)))
        _draw_levels(top, comparison, styles)
        _draw_differences(bottom, comparison, styles)
        legend_below(figure, np.array([top, bottom]))
    return figure


def _draw_levels(axes: Axes, comparison: Comparison, styles: dict[str, Any]) -> None:
    """P50, P90 and P99 of the time to first token of every fleet, with intervals."""
    metrics = ("ttft_p50_s", "ttft_p90_s", "ttft_p99_s")
    drawn = []
    for name, offset in zip(styles, _offsets(len(styles)), strict=True):
        rows = [comparison.summaries[name].row(metric) for metric in metrics]
        values = [(row.estimate, row.lower, row.upper) for row in rows]
        drawn += [end for value in values for end in value if math.isfinite(end) and end > 0]
        _draw_intervals(axes, np.array(values), offset, styles[name]["color"], name)
    _name_rows(axes, [f"P{metric[6:8]}" for metric in metrics])
    axes.set(title="Time to first token", xlabel="s (log scale); bars: 95 % intervals")
    if drawn:
        second_ticks(axes, min(drawn) / 1.3, max(drawn) * 1.3)


def _draw_differences(axes: Axes, comparison: Comparison, styles: dict[str, Any]) -> None:
    """Differences in percent of the first fleet's figure."""
    metrics = _drawn_metrics(comparison)
    for name, offset in zip(comparison.differences, _offsets(len(comparison.differences)), strict=True):
        rows = {row.metric: row for row in comparison.differences[name] if row.pool is None}
        drawn = [rows[metric] for metric in metrics]
        values = np.array([(row.difference, row.lower, row.upper) for row in drawn]).reshape(-1, 3)
        percent = 100.0 * values / np.array([row.first for row in drawn])[:, None]
        _draw_intervals(axes, percent, offset, styles[name]["color"], None)
    axes.axvline(0.0, color="black", linewidth=1.0)
    _name_rows(axes, [_DIFFERENCES[metric] for metric in metrics])
    axes.set_title(f"Difference to {comparison.baseline}")
    axes.set_xlabel(f"% of {comparison.baseline}'s figure; a bar across 0: not distinguishable from no difference")


def _drawn_metrics(comparison: Comparison) -> list[str]:
    """Metrics of which the first fleet has a figure other than 0, so that a difference can be in percent of it."""
    first = comparison.summaries[comparison.baseline]
    known = {row.metric for row in first.rows if row.pool is None and row.estimate > 0.0}
    return [metric for metric in _DIFFERENCES if metric in known]


def _draw_intervals(axes: Axes, values: np.ndarray, offset: float, colour: str, label: str | None) -> None:
    """A dot per row of estimate, lower and upper, and a bar where there is an interval."""
    places = np.arange(len(values)) + offset
    bounded = np.isfinite(values).all(axis=1)
    axes.hlines(places[bounded], values[bounded, 1], values[bounded, 2], color=colour, linewidth=4, alpha=0.45)
    axes.plot(values[:, 0], places, marker="o", ms=5, color=colour, linestyle="none", label=label, zorder=4)


def _offsets(n: int) -> np.ndarray:
    """Where n fleets stand within a row, the first on top."""
    return np.linspace(-0.28, 0.28, n) if n > 1 else np.zeros(1)


def _name_rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
