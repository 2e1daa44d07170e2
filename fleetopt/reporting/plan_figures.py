"""Figures of a plan: what every boundary and compression band costs."""

import math
import textwrap
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from fleetopt.planner.plan import Candidate, FleetPlan
from fleetopt.reporting.drawing import ALARM, GREY, STYLE, WIDTH_IN
from fleetopt.reporting.formatting import count, three_digits, usd

_MOST_LABELS, _MOST_PRICES, _TITLE_WIDTH = 20, 110, 84
_DEAREST = 2.0
"""Colours end at so many times the cheapest cell: one very dear cell must not make all others look alike."""


def cost_map(cells: tuple[Candidate, ...], plan: FleetPlan | None, homogeneous: FleetPlan | None, asked: str) -> Figure:
    """Cost of the cheapest fleet of two pools by boundary and gamma, the optimum marked, infeasible cells hatched.

    Parameters
    ----------
    cells : tuple of Candidate
        Those of other than two pools are left out.
    plan : FleetPlan or None
        The optimum; a star where it has two pools, else its price in the title.
    homogeneous : FleetPlan or None
        The cheapest fleet of one pool, for comparison.
    asked : str
        Rate and targets in words: `fleetopt.reporting.plan_tables.problem_heading`.
    """
    of_two = [cell for cell in cells if len(cell.boundaries_tokens) == 1]
    boundaries = sorted({cell.boundaries_tokens[0] for cell in of_two})
    gammas = sorted({cell.gamma for cell in of_two})
    costs = np.full((len(gammas), len(boundaries)), np.nan)
    for cell in of_two:
        if cell.plan is not None:
            at = gammas.index(cell.gamma), boundaries.index(cell.boundaries_tokens[0])
            costs[at] = cell.plan.usd_per_hour or cell.plan.replicas
    is_priced = any(cell.plan and cell.plan.usd_per_hour for cell in of_two)
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(WIDTH_IN, max(3.2, 1.9 + 0.3 * len(gammas))))
        axes = figure.subplots()
        axes.set_title(_title(plan, homogeneous, asked, is_priced=is_priced), fontsize=10.5)
        if not of_two:
            axes.set_axis_off()
            axes.text(0.5, 0.5, "no boundary was tried", ha="center", color=GREY, transform=axes.transAxes)
            return figure
        mesh = _draw_cells(axes, costs)
        if mesh is not None:
            bar = figure.colorbar(
                mesh, ax=axes, pad=0.02, extend="max" if np.nanmax(costs) > mesh.norm.vmax else "neither"
            )
            bar.set_label("USD per hour" if is_priced else "replicas")
            bar.outline.set_visible(False)
        _axes(axes, boundaries, gammas)
        _mark(axes, plan, boundaries, gammas)
        _legend(figure, axes, has_infeasible=bool(np.isnan(costs).any()))
    return figure


def _title(plan: FleetPlan | None, homogeneous: FleetPlan | None, asked: str, *, is_priced: bool) -> str:
    """What the map shows, and what it does not: a fleet of one or three pools has no cell in it."""
    lines = ["Cost of two pools by boundary and compression band", *textwrap.wrap(asked, _TITLE_WIDTH)]
    unit = "per hour" if is_priced else "replicas"

    def price(fleet: FleetPlan) -> str:
        return f"{usd(fleet.usd_per_hour) if is_priced else count(fleet.replicas)} {unit}"

    if plan is None:
        lines.append("no fleet meets the targets")
    else:
        pools = {1: "one pool", 2: "two pools", 3: "three pools"}[len(plan.pools)]
        lines.append(f"optimum: {pools}, {price(plan)}")
        if homogeneous is not None and len(plan.pools) > 1:
            lines[-1] += f"; one pool: {price(homogeneous)}"
    return "\n".join(lines)


def _draw_cells(axes: Axes, costs: np.ndarray) -> QuadMesh | None:
    """Colours of the costs with their figures where there is room; hatches where no fleet works."""
    for row, column in np.argwhere(np.isnan(costs)):
        style: dict[str, Any] = {"facecolor": "white", "edgecolor": "#9CA3AF", "hatch": "////", "linewidth": 0}
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, **style))
    if np.isnan(costs).all():
        return None
    cheapest = float(np.nanmin(costs))
    norm = mpl.colors.Normalize(cheapest, max(min(float(np.nanmax(costs)), _DEAREST * cheapest), cheapest * 1.001))
    mesh = axes.pcolormesh(
        np.arange(costs.shape[1]), np.arange(costs.shape[0]), costs, cmap="viridis_r", norm=norm, shading="nearest"
    )
    if costs.size <= _MOST_PRICES:
        for (row, column), cost in np.ndenumerate(costs):
            if math.isfinite(cost):
                colour = "white" if norm(cost) > 0.5 else "black"
                axes.text(column, row, three_digits(cost), ha="center", va="center", fontsize=6.5, color=colour)
    return mesh


def _axes(axes: Axes, boundaries: list[int], gammas: list[float]) -> None:
    """Each boundary and gamma a cell of the same size; so many are labelled as can be read."""
    every = math.ceil(len(boundaries) / _MOST_LABELS)
    labelled = range(0, len(boundaries), every)
    axes.set_xticks(list(labelled), [count(boundaries[at]) for at in labelled], rotation=40, ha="right", fontsize=8)
    every = math.ceil(len(gammas) / _MOST_LABELS)
    axes.set_yticks(range(0, len(gammas), every), [f"{gamma:g}" for gamma in gammas[::every]], fontsize=8.5)
    axes.set(xlim=(-0.5, len(boundaries) - 0.5), ylim=(-0.5, len(gammas) - 0.5))
    axes.set_xlabel("boundary between the pools, tokens")
    axes.set_ylabel("compression band, gamma")
    axes.tick_params(length=0)


def _mark(axes: Axes, plan: FleetPlan | None, boundaries: list[int], gammas: list[float]) -> None:
    """A frame around the optimum, so that its figure stays readable."""
    if plan is None or len(plan.boundaries_tokens) != 1 or plan.boundaries_tokens[0] not in boundaries:
        return
    column, row = boundaries.index(plan.boundaries_tokens[0]), gammas.index(plan.gamma)
    frame = Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=ALARM, linewidth=2.4, zorder=5)
    frame.set_clip_on(False)
    frame.set_label("optimum")
    axes.add_patch(frame)


def _legend(figure: Figure, axes: Axes, *, has_infeasible: bool) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if has_infeasible:
        handles.append(Patch(facecolor="white", edgecolor="#9CA3AF", hatch="////", linewidth=0))
        labels.append("none: a target is missed, or a pool left empty")
    if handles:
        figure.legend(handles, labels, loc="outside lower left", ncols=2, fontsize=8.8, handlelength=1.8)
