"""Figures of a simulation: what a run did over time, and how long requests waited; fleets beside each other."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from fleetopt.reporting.drawing import ALARM, GREY, STYLE, WIDTH_IN, exceedance, legend_below, line_styles, second_ticks
from fleetopt.reporting.formatting import seconds
from fleetopt.simulator import Fleet, SimulationResult, Timeline
from fleetopt.simulator.comparison import Comparison
from fleetopt.simulator.measures import FleetSummary, scopes

_ARRIVAL_BINS = 120
_FEWEST_FOR_P99 = 100
"""Of fewer requests it is the longest: the legend says of how many."""
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
_NO_INTERVAL = "hollow: no interval, too few requests or runs"
_RULE: dict[str, Any] = {"color": "#E5E7EB", "linewidth": 0.7, "zorder": 0}
"""Between the rows of the figure of a comparison."""


def simulation_figure(
    result: SimulationResult,
    fleet: Fleet,
    *,
    title: str,
    slo_ttft_s: float | None = None,
    cut_warm_up: bool = False,
) -> Figure:
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
    cut_warm_up : bool
        Leave the warm-up out of the times to first token, as `measure_run` does: tables and figure agree.

    Raises
    ------
    ValueError
        If the result holds no timeline.
    """
    timeline = result.timeline
    if timeline is None:
        raise ValueError("the result holds no timeline; simulate with timeline_interval_s")
    ttft_s = {
        str(scope.pool): scope.latencies_s["ttft"]
        for scope in scopes(result, fleet, None, cut_warm_up=cut_warm_up)
        if scope.pool is not None
    }
    styles = _pool_styles(ttft_s)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 9.6 + 0.1 * len(styles)))
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
            panel.set_ylim(bottom=0, top=max(1.0, panel.get_ylim()[1]) if label == "requests" else None)
            _draw_failures(panel, fleet, start_s, scale_s)
        panels[-1].yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g} %"))
        panels[-1].set_xlabel(f"time since the first arrival, {unit}")
        axes = figure.add_subplot(grid[4])
        _draw_ttft(axes, ttft_s, styles, slo_ttft_s)
        of_what = "requests after the warm-up" if cut_warm_up else "all finished requests"
        axes.set_title(f"Time to first token of {of_what}; dots: P99")
        legend_below(figure, np.array([*panels, axes]))
    return figure


def _pool_styles(ttft_s: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Line and legend of each pool; the legend gives its P99, so that no dot needs an entry of its own."""
    styles = dict(zip(ttft_s, line_styles(_unlike_all(list(ttft_s))), strict=True))
    for name, values in ttft_s.items():
        pool = "all replicas" if len(ttft_s) == 1 else name if "pool" in name else f"{name} pool"
        p99 = f"P99 TTFT {seconds(_p99(values))}" if len(values) else "none finished"
        if 0 < len(values) < _FEWEST_FOR_P99:
            p99 += f" (of {len(values)})"
        styles[name]["label"] = f"{pool}: {p99}"
    return styles


def _p99(values: np.ndarray) -> float:
    return float(np.quantile(values, 0.99, method="inverted_cdf"))


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
        axes.set_yticks([])
        return
    bins = min(_ARRIVAL_BINS, max(10, len(result) // 10))  # a bin of one request shows a rate that never was
    counts, edges = np.histogram(result.arrival_s - start_s, bins=bins, range=(0.0, span_s))
    axes.stairs(counts / np.diff(edges), edges / scale_s, fill=True, color=GREY, alpha=0.45)


def _draw_counts(
    axes: Axes, timeline: Timeline, counts: np.ndarray, start_s: float, scale_s: float, styles: dict[str, Any]
) -> None:
    for pool, style in enumerate(styles.values()):
        total = counts[:, timeline.pool == pool].sum(axis=1)
        axes.plot((timeline.time_s - start_s) / scale_s, total, **{**style, "linewidth": 1.2})
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda requests, _: f"{requests:,.0f}"))


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
    for index, (pool, style) in enumerate(zip(fleet.pools, styles.values(), strict=True)):
        mine = timeline.pool == index
        share = np.ma.masked_array(timeline.kv_blocks[:, mine] / pool.profile.kv_blocks, is_down[:, mine])
        axes.fill_between(time, share.min(axis=1), share.max(axis=1), color=style["color"], alpha=0.2, linewidth=0)
        axes.plot(time, share.mean(axis=1), **{**style, "linewidth": 1.2})


def _is_down(timeline: Timeline, fleet: Fleet) -> np.ndarray:
    """bool[m, r], whether a replica is down at a sample."""
    is_down = np.zeros(timeline.running.shape, dtype=np.bool_)
    for failure in fleet.failures:
        when = (timeline.time_s >= failure.down_s) & (timeline.time_s < failure.up_s)
        pool = timeline.pool_names.index(failure.pool)
        is_down |= when[:, None] & ((timeline.pool == pool) & (timeline.replica == failure.replica))[None, :]
    return is_down


def _draw_failures(axes: Axes, fleet: Fleet, start_s: float, scale_s: float) -> None:
    left, right = axes.get_xlim()
    for failure in fleet.failures:
        down, up = (min(max((time_s - start_s) / scale_s, left), right) for time_s in (failure.down_s, failure.up_s))
        if down < up:
            axes.axvspan(down, up, color=ALARM, alpha=0.08, linewidth=0, zorder=0, label="a replica is down")
    axes.set_xlim(left, right)


def _draw_ttft(axes: Axes, ttft_s: dict[str, np.ndarray], styles: dict[str, Any], slo_ttft_s: float | None) -> None:
    """Share of requests that wait longer, on log axes, where the tail can be read; a mark at each P99."""
    axes.set(xlabel="time to first token, s (log scale)", ylabel="requests that wait longer")
    served = {name: values for name, values in ttft_s.items() if len(values)}
    if not served:
        axes.text(0.5, 0.5, "no request was served", transform=axes.transAxes, ha="center", color=GREY)
        axes.set(xticks=[], yticks=[])
        return
    for name, values in served.items():
        value, share = exceedance(values)
        # All wait longer than less than the shortest: without this a pool of one request has no line.
        axes.step(np.append(value[0], value), np.append(1.0, share), where="post", **styles[name])
        axes.plot([_p99(values)], [0.01], marker="o", ms=6, color=styles[name]["color"], linestyle="none", zorder=5)
    everything = np.concatenate(list(served.values()))
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
        labels = {name: _fleet_label(name, summary) for name, summary in comparison.summaries.items()}
        figure = Figure(figsize=(WIDTH_IN, 3.8 + (0.2 + 0.13 * len(styles)) * rows))
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        top, bottom = figure.subplots(2, 1, height_ratios=(3.5, max(rows, 1)))
        has_open = _draw_levels(top, comparison, styles, labels)
        has_open = _draw_differences(bottom, comparison, styles) or has_open
        hollow = Line2D([], [], marker="o", ms=5, color=GREY, mfc="white", linestyle="none", label=_NO_INTERVAL)
        legend_below(figure, np.array([top, bottom]), *([hollow] if has_open else []))
    return figure


def _fleet_label(name: str, summary: FleetSummary) -> str:
    """A fleet that does not keep up has figures of this run only, which its name should not let go unsaid."""
    verdicts = {"stable": "", "unstable": " (unstable)", "undecided": " (stability undecided)"}
    return name + verdicts[summary.stability.verdict]


def _draw_levels(axes: Axes, comparison: Comparison, styles: dict[str, Any], labels: dict[str, str]) -> bool:
    """P50, P90 and P99 of the time to first token of every fleet; whether one has no interval."""
    metrics = ("ttft_p50_s", "ttft_p90_s", "ttft_p99_s")
    drawn, has_open = [], False
    for name, offset in zip(styles, _offsets(len(styles)), strict=True):
        rows = [comparison.summaries[name].row(metric) for metric in metrics]
        values = [(row.estimate, row.lower, row.upper) for row in rows]
        drawn += [end for value in values for end in value if math.isfinite(end) and end > 0]
        has_open |= _draw_intervals(axes, np.array(values), offset, styles[name]["color"], labels[name])
    _name_rows(axes, [f"P{metric[6:8]}" for metric in metrics])
    axes.set(title="Time to first token", xlabel="s (log scale); bars: 95 % intervals")
    if drawn:
        second_ticks(axes, min(drawn) / 1.3, max(drawn) * 1.3)
    return has_open


def _draw_differences(axes: Axes, comparison: Comparison, styles: dict[str, Any]) -> bool:
    """Differences in percent of the first fleet's figure; whether one has no interval."""
    metrics = _drawn_metrics(comparison)
    has_open = False
    for name, offset in zip(comparison.differences, _offsets(len(comparison.differences)), strict=True):
        rows = {row.metric: row for row in comparison.differences[name] if row.pool is None}
        drawn = [rows[metric] for metric in metrics]
        values = np.array([(row.difference, row.lower, row.upper) for row in drawn]).reshape(-1, 3)
        percent = 100.0 * values / np.array([row.first for row in drawn])[:, None]
        has_open |= _draw_intervals(axes, percent, offset, styles[name]["color"], None)
    axes.axvline(0.0, color="black", linewidth=1.0)
    _name_rows(axes, [_DIFFERENCES[metric] for metric in metrics])
    axes.set_title(f"Difference to {comparison.baseline}")
    axes.set_xlabel(f"% of {comparison.baseline}'s figure; a bar across 0: not distinguishable from no difference")
    return has_open


def _drawn_metrics(comparison: Comparison) -> list[str]:
    """Metrics of which the first fleet has a figure other than 0, so that a difference can be in percent of it."""
    first = comparison.summaries[comparison.baseline]
    known = {row.metric for row in first.rows if row.pool is None and row.estimate > 0.0}
    return [metric for metric in _DIFFERENCES if metric in known]


def _draw_intervals(axes: Axes, values: np.ndarray, offset: float, colour: str, label: str | None) -> bool:
    """A dot per row of estimate, lower and upper, and a bar where there is an interval; whether one has none.

    A dot without an interval is hollow: a bare one would look like an interval too narrow to be seen.
    """
    places = np.arange(len(values)) + offset
    bounded = np.isfinite(values).all(axis=1)
    axes.hlines(places[bounded], values[bounded, 1], values[bounded, 2], color=colour, linewidth=4, alpha=0.45)
    dots: dict[str, Any] = {"marker": "o", "ms": 5, "color": colour, "linestyle": "none", "zorder": 4}
    axes.plot(np.where(bounded, values[:, 0], np.nan), places, label=label, **dots)
    is_open = ~bounded & np.isfinite(values[:, 0])
    axes.plot(values[is_open, 0], places[is_open], mfc="white", **dots)
    return bool(is_open.any())


def _offsets(n: int) -> np.ndarray:
    """Where n fleets stand within a row, the first on top."""
    return np.linspace(-0.28, 0.28, n) if n > 1 else np.zeros(1)


def _name_rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.hlines(np.arange(1, len(names)) - 0.5, 0.0, 1.0, transform=axes.get_yaxis_transform(), **_RULE)
