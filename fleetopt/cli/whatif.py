"""`fleetopt whatif`."""

import json
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from fleetopt.cli.options import JsonOption
from fleetopt.cli.outputs import require_apart, require_figure, write_figure
from fleetopt.cli.progress import count_progress
from fleetopt.cli.question import Question, ask_question, takes_question, unplanned_bursts
from fleetopt.errors import InputError

if TYPE_CHECKING:
    from fleetopt.planner.whatif import Quantity

_HOW = "write rate=20:2000:12, slo-ttft-p99=0.5:5:10, slo-tpot-p99=..., price:PROFILE=1:6:11 or gpu"
_MOST_POINTS = 200


@dataclass(frozen=True, slots=True)
class Sweep:
    """What an option asks to vary, and its values: none for ``gpu``."""

    quantity: "Quantity"
    profile: str
    values: tuple[float, ...]


@takes_question(may_lack=("rate", "slo_ttft_p99"))
def whatif(
    question: Question,
    sweep: Annotated[
        str,
        typer.Option(
            metavar="WHAT=FROM:TO:POINTS",
            help="What to vary: rate, slo-ttft-p99, slo-tpot-p99 (evenly on a log scale), price:PROFILE (evenly), each "
            "as WHAT=FROM:TO:POINTS; or gpu, which plans with each --profile alone.",
            show_default=False,
        ),
    ],
    figure: Annotated[
        Path | None, typer.Option(help="Figure of the curve: .svg, .png or .pdf.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Plan over a range of rates, targets, prices or GPU types."""
    asked_sweep = parse_sweep(sweep)
    require_figure(figure)
    require_apart({"--figure": figure}, {"--cdf": question.cdf})
    asked = ask_question(_complete(question, asked_sweep))
    from fleetopt.planner.whatif import sweep as run_sweep

    served = 1 - asked.rejected_fraction
    values = [value * served if asked_sweep.quantity == "rate" else value for value in asked_sweep.values]
    with count_progress("plans", enabled=not as_json) as on_progress:
        points = run_sweep(asked.problem, asked_sweep.quantity, values, asked_sweep.profile, on_progress)
    if figure is not None:
        from fleetopt.reporting.whatif import whatif_figure

        write_figure(figure, whatif_figure(points, asked.problem, asked_sweep.quantity, asked_sweep.profile))
    if as_json:
        from fleetopt.reporting.whatif import whatif_json

        print(json.dumps(whatif_json(points, asked.problem, asked_sweep.quantity, asked_sweep.profile)))
        return
    from rich.console import Console
    from rich.text import Text

    from fleetopt.reporting.whatif import whatif_table

    console = Console()
    console.print(whatif_table(points, asked.problem, asked_sweep.quantity, asked_sweep.profile))
    if note := unplanned_bursts(asked):
        console.print(Text(note))
    if figure is not None:
        print(f"written: {figure}")


def _complete(question: Question, asked: Sweep) -> Question:
    """The question with what is varied filled in; what is neither given nor varied is missing."""
    given = {"rate": question.rate, "slo-ttft-p99": question.slo_ttft_p99}
    missing = [name for name, value in given.items() if value is None and asked.quantity != name]
    if missing:
        raise InputError(f"--{missing[0]}: is missing, and not what is varied")
    if asked.quantity == "rate" and given["rate"] is not None:
        raise InputError(f"--rate {question.rate:g}: --sweep varies the rate; leave one of the two out")
    if asked.quantity == "rate":
        return replace(question, rate=asked.values[0])
    if asked.quantity == "slo-ttft-p99":
        by_pool = [text for text in question.slo_ttft_p99 or () if "=" in text]
        return replace(question, slo_ttft_p99=[f"{asked.values[0]!r}", *by_pool])
    return question


def parse_sweep(text: str) -> Sweep:
    """What ``--sweep`` asks for.

    Raises
    ------
    InputError
        If it is not written as the help says, or its values are out of range.
    """
    if text == "gpu":
        return Sweep("gpu", "", ())
    what, _, span = text.rpartition("=")
    quantity, _, profile = what.partition(":")
    parts = span.split(":")
    is_known = quantity in {"rate", "slo-ttft-p99", "slo-tpot-p99"} if not profile else quantity == "price"
    if not is_known or len(parts) != 3:
        raise InputError(f"--sweep {text}: {_HOW}")
    try:
        first, last, points = float(parts[0]), float(parts[1]), int(parts[2])
    except ValueError as error:
        raise InputError(f"--sweep {text}: '{span}' is not FROM:TO:POINTS") from error
    if not (0 < first < last and isfinite(last)):
        raise InputError(f"--sweep {text}: has to rise from a number above 0")
    if not 2 <= points <= _MOST_POINTS:
        raise InputError(f"--sweep {text}: has to have 2 to {_MOST_POINTS} points")
    steps = [step / (points - 1) for step in range(points)]
    values = [
        first + step * (last - first) if quantity == "price" else first * (last / first) ** step for step in steps
    ]
    return Sweep(cast("Quantity", quantity), profile, tuple(float(f"{value:.4g}") for value in values))
