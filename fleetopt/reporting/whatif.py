"""How the plan changes with a quantity: as a table, as a figure, as plain values."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from fleetopt.planner.plan import FleetPlan
from fleetopt.planner.problem import Problem
from fleetopt.planner.whatif import Quantity, SweepPoint
from fleetopt.reporting import formatting
from fleetopt.reporting.drawing import ALARM, COLOURS, GREY, STYLE, WIDTH_IN
from fleetopt.reporting.layout import fleet_cells, short_names, table
from fleetopt.reporting.plan_json import NO_FLEET, Json, fleet_json
from fleetopt.reporting.plan_tables import problem_heading

_TITLE_WIDTH = 76
_POOLS = ("all", "short", "middle", "long")
_MARKS = dict(zip(_POOLS, "osDv", strict=True))
_COLUMNS = {"rate": "Rate", "slo-ttft-p99": "Target", "slo-tpot-p99": "Target", "price": "Price", "gpu": "GPU type"}


def whatif_table(points: Sequence[SweepPoint], problem: Problem, quantity: Quantity, profile: str) -> RenderableType:
    """A row per value; where the plan's structure changes, the row says how.

    Parameters
    ----------
    points : sequence of SweepPoint
    problem : Problem
        What is not varied.
    quantity : {"rate", "slo-ttft-p99", "slo-tpot-p99", "price", "gpu"}
    profile : str
        GPU type whose price is varied.
    """
    made = table(
        _COLUMNS[quantity], "Per hour", "One pool", "Replicas", "Boundary", "Gamma", "Change",
        right=(_COLUMNS[quantity] if quantity != "gpu" else "", "Per hour", "One pool"),
    )  # fmt: skip
    types = short_names([offer.profile.name for offer in problem.offers]) if quantity != "gpu" else {}
    for point in points:
        boundary, gamma, replicas, usd = fleet_cells(point.plan, types)
        if point.plan is None:
            boundary, replicas = formatting.MISSING, "no plan"
        one_pool, change = _price(point.homogeneous), Text(point.change, style="bold")
        made.add_row(_value(point.value, quantity), usd, one_pool, Text(replicas), boundary, gamma, change)
    parts: list[RenderableType] = [
        Text(f"{_subject(quantity, profile)}. {problem_heading(problem, quantity)}", style="bold"),
        Text(),
        made,
    ]
    notes = [f"No plan at {_value(point.value, quantity)}. {point.reason}." for point in points if point.plan is None]
    notes.append("Predicted by the model with every spare replica down; not simulated (fleetopt plan --verify does).")
    return Padding(Group(*parts, Text(), *(Text(note, style="dim") for note in notes)), (1, 0))


def _subject(quantity: Quantity, profile: str) -> str:
    return {
        "rate": "What the arrival rate costs",
        "slo-ttft-p99": "What the target of the P99 time to first token costs",
        "slo-tpot-p99": "What the target of the P99 time per output token costs",
        "price": f"What the price of {profile} changes",
        "gpu": "What each GPU type costs alone",
    }[quantity]


def _value(value: float | str, quantity: Quantity) -> str:
    if isinstance(value, str):
        return value
    if quantity == "rate":
        return formatting.rate(value)
    return formatting.usd(value) if quantity == "price" else formatting.seconds(value)


def _price(plan: FleetPlan | None) -> str:
    return formatting.usd((plan.usd_per_hour or None) if plan else None)


def whatif_json(points: Sequence[SweepPoint], problem: Problem, quantity: Quantity, profile: str) -> Json:
    """The same as plain values: ``{"sweep", "profile", "arrivals", "points": [{"value", "status", ...}]}``.

    A point holds the keys of a fleet as ``fleetopt plan --json`` prints them, ``homogeneous_usd_per_hour`` and
    ``change``.
    """
    return {
        "sweep": quantity,
        "profile": profile or None,
        "arrivals": "poisson" if problem.arrivals is None else "trace",
        "points": [
            {
                "value": point.value,
                "status": "feasible" if point.plan else "infeasible",
                "reason": point.reason,
                **(fleet_json(point.plan) if point.plan else NO_FLEET),
                "homogeneous_usd_per_hour": (point.homogeneous.usd_per_hour or None) if point.homogeneous else None,
                "change": point.change,
            }
            for point in points
        ],
    }


def whatif_figure(points: Sequence[SweepPoint], problem: Problem, quantity: Quantity, profile: str) -> Figure:
    """Cost, replicas per pool, boundary and gamma over the quantity; a line where the plan's structure changes."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, 7.6))
        panels = figure.subplots(4, 1, sharex=True, gridspec_kw={"height_ratios": (2.6, 2.2, 1.6, 1.1)})
        places = _places(points)
        _draw_cost(panels[0], points, places)
        _draw_replicas(panels[1], points, places)
        _draw_boundaries(panels[2], points, places)
        _draw(panels[3], places, [_gamma(point) for point in points], "gamma", COLOURS[0], "o")
        asked = textwrap.wrap(problem_heading(problem, quantity), _TITLE_WIDTH)
        panels[0].set_title("\n".join([_subject(quantity, profile), *asked]))
        highest = max((point.plan.gamma for point in points if point.plan), default=1.0)
        panels[3].set(ylabel="gamma", xlabel=_axis_label(quantity, profile), ylim=(0.95, max(1.5, highest) + 0.05))
        _value_axis(panels, points, quantity)
        _count_axes(panels, is_log=quantity == "rate")
        _mark_changes(panels, points, places)
        for axes in panels[:3]:
            if axes.get_legend_handles_labels()[0]:
                axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8.8)
        figure.align_ylabels()
    return figure


def _places(points: Sequence[SweepPoint]) -> list[float]:
    """Where each point stands on the axis: at its value, names side by side."""
    return [index if isinstance(point.value, str) else point.value for index, point in enumerate(points)]


def _draw(axes: Axes, places: list[float], values: list[float], label: str, colour: str, mark: str) -> None:
    """A line with a mark at each value, none where there is no value; names are not joined."""
    style: dict[str, Any] = {"color": colour, "marker": mark, "ms": 4.5, "linewidth": 1.7}
    axes.plot(places, values, label=label, **style)


def _draw_cost(axes: Axes, points: Sequence[SweepPoint], places: list[float]) -> None:
    _draw(axes, places, [_usd(point.plan) for point in points], "plan", ALARM, "o")
    _draw(axes, places, [_usd(point.homogeneous) for point in points], "one pool", GREY, "_")
    axes.get_lines()[-1].set(linestyle=(0, (4, 2)), markersize=9)
    infeasible = [place for place, point in zip(places, points, strict=True) if point.plan is None]
    if infeasible:
        style: dict[str, Any] = {"marker": "x", "ms": 7, "mew": 2, "color": "black", "linestyle": "none"}
        axes.plot(infeasible, [0.04] * len(infeasible), label="no plan", transform=axes.get_xaxis_transform(), **style)
    axes.set_ylabel("USD per hour")


def _usd(plan: FleetPlan | None) -> float:
    return plan.usd_per_hour if plan else math.nan


def _gamma(point: SweepPoint) -> float:
    return point.plan.gamma if point.plan and point.plan.boundaries_tokens else math.nan


def _draw_replicas(axes: Axes, points: Sequence[SweepPoint], places: list[float]) -> None:
    for name, colour in zip(_POOLS, (GREY, *COLOURS), strict=False):
        values = [
            next((float(pool.replicas) for pool in point.plan.pools if pool.name == name), math.nan)
            if point.plan
            else math.nan
            for point in points
        ]
        if any(math.isfinite(value) for value in values):
            label = "one pool" if name == "all" else f"{name} pool"
            _draw(axes, places, values, label, colour, _MARKS[name])
    axes.set_ylabel("replicas")


def _draw_boundaries(axes: Axes, points: Sequence[SweepPoint], places: list[float]) -> None:
    names = ("boundary", "second boundary")
    drawn: list[float] = []
    for index, (name, colour) in enumerate(zip(names, COLOURS, strict=False)):
        values = [
            float(point.plan.boundaries_tokens[index])
            if point.plan and len(point.plan.boundaries_tokens) > index
            else math.nan
            for point in points
        ]
        if any(math.isfinite(value) for value in values):
            drawn += [value for value in values if math.isfinite(value)]
            _draw(axes, places, values, name, colour, "o")
    axes.set_ylabel("boundary,\ntokens")
    if not drawn:
        axes.yaxis.set_major_locator(NullLocator())
        style: dict[str, Any] = {"ha": "center", "va": "center", "color": GREY, "backgroundcolor": "white"}
        axes.text(0.5, 0.5, "one pool throughout", transform=axes.transAxes, **style)
        return
    axes.set_yscale("log", base=2)
    low, high = min(drawn) / 1.5, max(drawn) * 1.5
    axes.set_ylim(low, high)
    exponents = range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)
    axes.yaxis.set_major_locator(FixedLocator([2.0**k for k in exponents if k % math.ceil(len(exponents) / 4) == 0]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _axis_label(quantity: Quantity, profile: str) -> str:
    return {
        "rate": "arrival rate, requests/s (log scale)",
        "slo-ttft-p99": "target of the P99 time to first token, s (log scale)",
        "slo-tpot-p99": "target of the P99 time per output token, s (log scale)",
        "price": f"price of {profile}, USD per GPU-hour",
        "gpu": "",
    }[quantity]


def _value_axis(panels: Sequence[Axes], points: Sequence[SweepPoint], quantity: Quantity) -> None:
    axes = panels[-1]
    if quantity == "gpu":
        axes.set_xticks(range(len(points)), [str(point.value) for point in points], rotation=20, ha="right", fontsize=8)
        axes.set_xlim(-0.5, len(points) - 0.5)
        for panel in panels:
            for line in panel.get_lines():
                line.set_linestyle("none")
    elif quantity != "price":
        low, high = float(points[0].value), float(points[-1].value)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 3000 else (1.0,), numticks=30))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())


def _count_axes(panels: Sequence[Axes], *, is_log: bool) -> None:
    """Cost and replicas: on log axes over a rate, which they rise with; else from 0."""
    for axes in panels[:2]:
        if is_log:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=30))
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.yaxis.set_major_locator(MaxNLocator(integer=axes is panels[1], nbins=6))
            axes.set_ylim(bottom=0, top=1.1 * axes.get_ylim()[1])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    if is_log:
        panels[0].set_ylabel("USD per hour\n(log scale)")
        panels[1].set_ylabel("replicas\n(log scale)")


def _mark_changes(panels: Sequence[Axes], points: Sequence[SweepPoint], places: list[float]) -> None:
    """A line between two points whose plans differ in structure, with what changes."""
    is_log = panels[-1].get_xscale() == "log"
    for index, point in enumerate(points):
        if not point.change:
            continue
        before, at = places[index - 1], places[index]
        place = math.sqrt(before * at) if is_log else (before + at) / 2
        for panel in panels:
            panel.axvline(place, color=GREY, linewidth=1.0, linestyle=(0, (4, 3)), zorder=0)
        style: dict[str, Any] = {"rotation": 90, "fontsize": 7.5, "color": GREY, "ha": "right", "va": "top"}
        style["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
        panels[0].annotate(point.change, (place, 0.98), xycoords=("data", "axes fraction"), **style)
