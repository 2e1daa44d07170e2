"""How every figure looks: colours, line styles, axes, legends beside or below the data, and files of it."""

import io
import math
import re
import textwrap
from collections.abc import Iterable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito (2008), told apart with every common colour vision deficiency; yellow left out on white."""

DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)))
GREY, ALARM = "#6B7280", "#B00020"
WIDTH_IN = 7.3
FILE_KINDS = ("svg", "png", "pdf")
"""What a figure can be written as."""

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#9CA3AF",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "grid.color": "#E5E7EB",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "text.parse_math": False,
}


def svg_text(figure: Figure, name: str) -> str:
    """A figure as one ``<svg>`` element for a page; the same text for the same figure.

    Parameters
    ----------
    figure : Figure
    name : str
        Keeps the ids of several figures on one page apart.
    """
    buffer = io.StringIO()
    undated = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({**STYLE, "svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata=undated)
    text = buffer.getvalue()
    text = re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg") :])
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    return text.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif").strip()


def png_bytes(figure: Figure, dpi: int = 110) -> bytes:
    """A figure as PNG, for previews where SVG is not shown."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def line_styles(names: Iterable[str]) -> list[dict[str, Any]]:
    """Colours first, then the same with dashes; the whole fleet in black and wide."""
    styles: list[dict[str, Any]] = []
    for name in names:
        if name == "all":
            styles.append({"color": "black", "linewidth": 2.6, "linestyle": "-"})
            continue
        index = sum(style["color"] != "black" for style in styles)
        colour, dash = COLOURS[index % (len(COLOURS) - 1)], DASHES[index // (len(COLOURS) - 1) % len(DASHES)]
        styles.append({"color": colour, "linewidth": 1.8, "linestyle": dash})
    return styles


def second_ticks(axes: Axes, low: float, high: float) -> None:
    """Plain seconds on a log axis, few enough not to touch."""
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    decades = math.log10(high / low)
    subs = (1.0,) if decades > 3.5 else (1.0, 3.0) if decades > 1.2 else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=30))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def legend_beside(figure: Figure, axes: Axes, *more: Patch) -> None:
    """A legend to the right of the axes, where it covers nothing."""
    handles = [*axes.get_legend_handles_labels()[0], *more]
    lines = [[part for line in str(h.get_label()).split("\n") for part in textwrap.wrap(line, 24)] for h in handles]
    labels = ["\n".join(parts) for parts in lines]
    figure.legend(handles, labels, loc="outside right upper", fontsize=8.8, handlelength=2.2, labelspacing=0.6)


def legend_below(figure: Figure, grid: np.ndarray, *more: Artist) -> None:
    """A legend of two columns under all axes, where it covers nothing; what several axes show stands once."""
    handles = [handle for axes in grid.flat for handle in axes.get_legend_handles_labels()[0]]
    named = {str(handle.get_label()): handle for handle in [*handles, *more]}
    figure.legend(named.values(), named, loc="outside lower center", ncols=2, fontsize=8.8, handlelength=2.4)


def figure_bytes(figure: Figure, kind: str, name: str) -> bytes:
    """The content of a file of a figure; the same for the same figure.

    Parameters
    ----------
    figure : Figure
    kind : str
        One of ``FILE_KINDS``.
    name : str
        As in `svg_text`.

    Raises
    ------
    ValueError
        If the kind is unknown.
    """
    if kind == "svg":
        return svg_text(figure, name).encode()
    if kind == "png":
        return png_bytes(figure, dpi=150)
    if kind != "pdf":
        raise ValueError(f"unknown kind of figure '{kind}'; known: {', '.join(FILE_KINDS)}")
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="pdf", metadata={"Creator": None, "Producer": None, "CreationDate": None})
    return buffer.getvalue()


def exceedance(values: np.ndarray, points: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Share of values above a value, at so many points that a log-log line looks smooth.

    Parameters
    ----------
    values : np.ndarray
        float64[n], no nan.
    points : int
        Most points to return.

    Returns
    -------
    value, share : np.ndarray
        float64[k], increasing values and the share of all that is greater; nothing for no values.
    """
    if not len(values):
        return np.empty(0), np.empty(0)
    ranked = np.sort(values)
    n = len(ranked)
    # Ranks from the top, close together where the share is small: that is where a log axis shows them apart.
    from_top = np.unique(np.round(np.geomspace(1, n, min(points, n))).astype(np.int64))[::-1]
    return ranked[n - from_top], (from_top - 1) / n
