"""Figures of a recommendation: lengths and boundary, cost by boundary, time to first token against its target."""

import math
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from fleetopt.reporting.drawing import (
    ALARM,
    COLOURS,
    DASHES,
    GREY,
    STYLE,
    WIDTH_IN,
    legend_below,
    legend_beside,
    line_styles,
    second_ticks,
)
from fleetopt.reporting.formatting import count, usd
from fleetopt.reporting.wording import SCENARIOS

_MOST_GAMMA_LABELS = 7


def report_figures(
    document: Mapping[str, Any], length_cdf: pl.DataFrame, candidates: pl.DataFrame
) -> dict[str, Figure]:
    """The figures of a recommendation that there is something to draw for, by name, in reading order.

    Parameters
    ----------
    document : mapping
        From :func:`fleetopt.reporting.document.build_document`.
    length_cdf : pl.DataFrame
        ``schemas.OUT_LENGTH_CDF``: rows of the document's fleet and day.
    candidates : pl.DataFrame
        ``schemas.OUT_FLEET_CANDIDATES``: the same.

    Returns
    -------
    dict of str to Figure
        ``length_cdf``, ``cost_by_boundary``, ``ttft``.
    """
    figures = {}
    if not length_cdf.filter(pl.col("quantity") == "total_tokens").is_empty():
        figures["length_cdf"] = length_cdf_figure(document, length_cdf)
    if not candidates.is_empty():
        figures["cost_by_boundary"] = cost_figure(document, candidates)
    if document["evidence"]:
        figures["ttft"] = ttft_figure(document)
    return figures


def length_cdf_figure(document: Mapping[str, Any], length_cdf: pl.DataFrame) -> Figure:
    """CDF of total tokens per archetype with its band; the boundary and the compression band behind it."""
    rows = length_cdf.filter(pl.col("quantity") == "total_tokens").sort("archetype", "tokens")
    groups = {str(name): group for (name,), group in rows.group_by("archetype", maintain_order=True)}
    if len(groups) == 2 and "all" in groups:
        del groups["all"]
    plan = document["plan"]
    with mpl.rc_context(STYLE):
        figure, axes = _figure(3.7)
        _length_axis(axes, rows["tokens"], plan)
        for (name, group), style in zip(groups.items(), line_styles(groups), strict=True):
            _draw_cdf(axes, name, group, style)
        _mark_boundary(axes, plan)
        axes.set(title="How long requests are", xlabel="prompt and output together, tokens (log scale)")
        axes.set(ylabel="requests of at most that length", ylim=(0, 1.02))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f} %"))
        band = Patch(color=GREY, alpha=0.25, linewidth=0, label="95 % confidence\nband of a line")
        legend_beside(figure, axes, band)
    return figure


def cost_figure(document: Mapping[str, Any], candidates: pl.DataFrame) -> Figure:
    """Cost of every candidate by boundary, a line per gamma; the plan and one pool for comparison."""
    split = candidates.filter(pl.col("boundary_tokens").is_not_null()).sort("gamma", "boundary_tokens")
    works = split.filter("is_feasible")
    with mpl.rc_context(STYLE):
        figure, axes = _figure(3.9)
        _draw_costs(axes, works)
        _draw_homogeneous(axes, candidates)
        _draw_plan(axes, document)
        _draw_infeasible(axes, split)
        _cost_axes(axes, split, _highest_usd(document, candidates), is_empty=not candidates["is_feasible"].any())
        legend_beside(figure, axes)
    return figure


def ttft_figure(document: Mapping[str, Any]) -> Figure:
    """Share of requests that wait longer than a time, per pool and scenario, against the target.

    Raises
    ------
    ValueError
        If the document holds no evidence.
    """
    pools = list(dict.fromkeys(item["pool"] for item in document["evidence"]))
    if not pools:
        raise ValueError("no evidence to draw")
    predicted = {pool["name"]: pool["ttft_p99_s"] for pool in document["plan"]["pools"]} if document["plan"] else {}
    with mpl.rc_context(STYLE):
        columns = min(2, len(pools))
        figure = Figure(figsize=(WIDTH_IN, 0.9 + 3.0 * math.ceil(len(pools) / columns)))
        grid = figure.subplots(math.ceil(len(pools) / columns), columns, sharex=True, sharey=True, squeeze=False)
        for axes, pool in zip(grid.flat, pools, strict=False):
            items = [item for item in document["evidence"] if item["pool"] == pool]
            _draw_ttft(axes, items, predicted.get(pool), document["target"]["ttft_p99_s"])
            axes.set_title(f"Time to first token, {pool} pool" if len(pools) > 1 else "Time to first token")
        for axes in list(grid.flat)[len(pools) :]:
            axes.set_axis_off()
        _ttft_axes(grid, document)
        legend_below(figure, grid, Patch(color=GREY, alpha=0.4, linewidth=0, label="95 % interval of the P99"))
    return figure


def _figure(height_in: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_IN, height_in))
    return figure, figure.subplots()


def _draw_cdf(axes: Axes, name: str, group: pl.DataFrame, style: Mapping[str, Any]) -> None:
    """A CDF as the step function that it is, from nothing at its left to all at the axis' right end."""
    right = axes.get_xlim()[1]
    tokens = np.concatenate([group["tokens"].to_numpy()[:1], group["tokens"].to_numpy(), [right]])
    edges = [
        np.concatenate([[0.0], group[column].to_numpy(), group[column].to_numpy()[-1:]])
        for column in ("fraction", "fraction_lower", "fraction_upper")
    ]
    axes.fill_between(tokens, edges[1], edges[2], step="post", color=style["color"], alpha=0.18, linewidth=0)
    axes.step(tokens, edges[0], where="post", label=name, **style)


def _length_axis(axes: Axes, tokens: pl.Series, plan: Mapping[str, Any] | None) -> None:
    """A log axis that holds all lengths and the compression band, at least a factor of four wide."""
    values = tokens.to_numpy().astype(float)
    if plan:
        bands = [tokens * factor for tokens in plan["boundaries_tokens"] for factor in (1.0, plan["gamma"])]
        values = np.concatenate([values, bands])
    low, high = max(1.0, values.min()) / 1.25, values.max() * 1.25
    _token_ticks(axes, min(low, high / 4), max(high, low * 4))


def _token_ticks(axes: Axes, low: float, high: float) -> None:
    """Powers of two on a log axis, as boundaries are, few enough not to touch."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(low, high)
    exponents = range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)
    axes.xaxis.set_major_locator(FixedLocator([2.0**k for k in exponents if k % math.ceil(len(exponents) / 6) == 0]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _mark_boundary(axes: Axes, plan: Mapping[str, Any] | None) -> None:
    for boundary in plan["boundaries_tokens"] if plan else ():
        upper = plan["gamma"] * boundary if plan else boundary
        axes.axvline(boundary, color=ALARM, linewidth=1.4, label=f"boundary:\n{count(boundary)} tokens")
        if upper > boundary:
            label = f"compression band:\nto {count(math.floor(upper))} tokens"
            axes.axvspan(boundary, upper, color=ALARM, alpha=0.12, linewidth=0, label=label)


def _draw_costs(axes: Axes, works: pl.DataFrame) -> None:
    """A line per gamma; so many are labelled as can be read."""
    gammas = works["gamma"].unique().sort().to_list()
    every = max(1, math.ceil(len(gammas) / _MOST_GAMMA_LABELS))
    shades = mpl.colormaps["viridis"](np.linspace(0.0, 0.88, max(2, len(gammas))))
    for index, (gamma, colour) in enumerate(zip(gammas, shades, strict=False)):
        line = works.filter(pl.col("gamma") == gamma)
        label = f"gamma {gamma:g}" if index % every == 0 or index == len(gammas) - 1 else None
        axes.plot(line["boundary_tokens"], line["usd_per_hour"], marker="o", ms=3, lw=1.4, color=colour, label=label)


def _draw_homogeneous(axes: Axes, candidates: pl.DataFrame) -> None:
    one_pool = candidates.filter(pl.col("boundary_tokens").is_null() & pl.col("is_feasible"))
    if not one_pool.is_empty():
        price = one_pool["usd_per_hour"][0]
        label = f"one pool:\n{usd(price)} per hour"
        axes.axhline(price, color="black", linewidth=1.4, linestyle=(0, (5, 2)), label=label)


def _draw_plan(axes: Axes, document: Mapping[str, Any]) -> None:
    """The plan at the price that it has after simulation, which may be above its line."""
    plan = document["plan"]
    if plan is None:
        return
    label = f"plan after simulation:\n{usd(plan['usd_per_hour'])} per hour"
    if len(plan["boundaries_tokens"]) != 1:
        axes.axhline(plan["usd_per_hour"], color=ALARM, linewidth=2.2, label=label, zorder=3)
        return
    style: dict[str, Any] = {
        "marker": "*",
        "ms": 15,
        "color": ALARM,
        "markeredgecolor": "white",
        "linestyle": "none",
        "zorder": 5,
    }
    axes.plot(plan["boundaries_tokens"], [plan["usd_per_hour"]], label=label, **style)


def _draw_infeasible(axes: Axes, split: pl.DataFrame) -> None:
    """Marks at the bottom: boundaries that no gamma makes feasible, and those that some do not."""
    shares = split.group_by("boundary_tokens").agg(pl.col("is_feasible").mean()).sort("boundary_tokens")
    for label, marker, found in (
        ("infeasible", "x", shares.filter(pl.col("is_feasible") == 0)),
        ("infeasible for\nsome gamma", "|", shares.filter(pl.col("is_feasible").is_between(0, 1, closed="none"))),
    ):
        if not found.is_empty():
            where: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False, "zorder": 4}
            style: dict[str, Any] = {
                "marker": marker,
                "ms": 6,
                "mew": 1.6,
                "color": GREY,
                "linestyle": "none",
                "label": label,
            }
            axes.plot(found["boundary_tokens"], [0.03] * len(found), **style, **where)


def _highest_usd(document: Mapping[str, Any], candidates: pl.DataFrame) -> float:
    """Where to cut the cost axis: a very dear candidate must not flatten what the choice was between."""
    one_pool = candidates.filter(pl.col("boundary_tokens").is_null())["usd_per_hour"].max()
    prices = [one_pool, candidates["usd_per_hour"].min(), document["plan"] and document["plan"]["usd_per_hour"]]
    return 2.5 * max((float(price) for price in prices if price), default=math.inf)


def _cost_axes(axes: Axes, split: pl.DataFrame, highest_usd: float, *, is_empty: bool) -> None:
    axes.set(title="What a boundary costs", xlabel="boundary, tokens (log scale)")
    boundaries = split["boundary_tokens"]
    if len(boundaries):
        values = boundaries.to_numpy()
        _token_ticks(axes, values.min() / 1.4, values.max() * 1.4)
    else:
        axes.xaxis.set_major_locator(NullLocator())
        axes.set_xlabel("no boundary was tried: all requests are of one length")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda price, _: f"{price:,.10g}"))
    if is_empty:
        axes.yaxis.set_major_locator(NullLocator())
        text = "No candidate meets the target"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", fontsize=13, color=GREY)
    else:
        low, high = axes.get_ylim()[0], min(axes.get_ylim()[1], highest_usd)
        # Fleets that all cost about the same need an axis that does not start at 0; the marks below need room.
        low = 0.0 if low < 0.5 * high else low - 0.12 * (high - low)
        axes.set_ylim(low, high + 0.05 * (high - low))
        axes.set_ylabel("USD per hour" if low == 0 else "USD per hour (axis does not start at 0)")


def _draw_ttft(axes: Axes, items: list[Mapping[str, Any]], predicted_s: float | None, target_s: float) -> None:
    """Curves of both scenarios, the interval of each P99, and what was predicted."""
    for item in items:
        index = list(SCENARIOS).index(item["scenario"])
        colour = COLOURS[index]
        exceeded = [(time_s, 1 - p) for p, time_s in item["ttft_quantiles"] if time_s > 0 and p < 1]
        if not exceeded:
            continue
        time_s, share = np.array(exceeded).T
        style: dict[str, Any] = {"color": colour, "linewidth": 1.9, "linestyle": DASHES[index]}
        axes.plot(time_s, share, label=f"simulated, {SCENARIOS[item['scenario']]}", **style)
        if item["ttft_p99_lower_s"] is not None:
            ends = [item["ttft_p99_lower_s"], item["ttft_p99_upper_s"]]
            axes.plot(ends, [0.01, 0.01], color=colour, linewidth=9, alpha=0.5, solid_capstyle="butt")
    if predicted_s is not None:
        marked: dict[str, Any] = {
            "marker": "D",
            "ms": 6,
            "color": "black",
            "markerfacecolor": "white",
            "linestyle": "none",
        }
        axes.plot([predicted_s], [0.01], label="predicted P99, planned peak", zorder=5, **marked)
    axes.axvline(target_s, color=ALARM, linewidth=1.5, label=f"target: P99 of at most {target_s:g} s")
    axes.axhline(0.01, color=GREY, linewidth=1.0, linestyle=(0, (5, 2)))
    empty = [SCENARIOS[item["scenario"]] for item in items if not item["ttft_quantiles"]]
    if empty:
        text = f"{' and '.join(empty)}: no request\nreaches this pool"
        axes.text(0.03, 0.05, text, transform=axes.transAxes, fontsize=8.5, color=GREY)


def _ttft_axes(grid: np.ndarray, document: Mapping[str, Any]) -> None:
    """Log axes that all panels share, from the fastest tenth of the requests to the slowest."""
    target_s = document["target"]["ttft_p99_s"]
    times_s = [time_s for e in document["evidence"] for p, time_s in e["ttft_quantiles"] if time_s > 0 and p < 1]
    predicted_s = [pool["ttft_p99_s"] or target_s for pool in document["plan"]["pools"]] if document["plan"] else []
    low, high = min([target_s, *times_s, *predicted_s]), max([target_s, *times_s, *predicted_s])
    for axes in grid.flat:
        axes.set_yscale("log")
        axes.set_ylim(7e-4, 1.3)
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.6g} %"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        second_ticks(axes, low / 1.3, high * 1.3)
    for axes in grid[-1]:
        axes.set_xlabel("time to first token, s (log scale)")
    for axes in grid[:, 0]:
        axes.set_ylabel("requests that wait longer")
    grid[0, 0].annotate("P99", (0.02, 0.0104), xycoords=("axes fraction", "data"), color=GREY, va="bottom")
