"""`fleetopt plan`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleetopt.cli.options import JsonOption, require_range
from fleetopt.cli.outputs import require_apart, require_figure, write_figure
from fleetopt.cli.progress import message_progress
from fleetopt.cli.question import Question, ask_question, takes_question, unplanned_bursts
from fleetopt.cli.requests import SeedOption

if TYPE_CHECKING:
    from fleetopt.planner.answer import Answer
    from fleetopt.planner.ask import Asked


@takes_question()
def plan(
    question: Question,
    figure: Annotated[
        Path | None,
        typer.Option(
            help="Figure of cost by boundary and gamma: .svg, .png or .pdf.",
            show_default=False,
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Simulate the plan and what may beat it; repair what fails, trim what need not be as large.",
        ),
    ] = False,
    frontier: Annotated[
        bool, typer.Option("--frontier", help="Also say what a shorter or longer time to first token costs.")
    ] = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Find the cheapest fleet for lengths, a rate and targets."""
    require_figure(figure)
    require_apart({"--figure": figure}, {"--cdf": question.cdf})
    asked = ask_question(question)
    from fleetopt.planner.answer import answer, cost_cells

    require_range("--seed", seed, 0, 2**63 - 1)
    with message_progress(enabled=not as_json) as on_message:
        on_message("searching (the first run on a machine compiles the model: about a minute)")
        found = answer(asked.problem, asked.cdf, frontier=frontier, verify=verify, seed=seed, on_progress=on_message)
    if figure is not None:
        from fleetopt.reporting.plan_figures import cost_map
        from fleetopt.reporting.plan_tables import problem_heading

        cells = cost_cells(found.problem, found.result.plan)
        write_figure(figure, cost_map(cells, found.plan, found.homogeneous, problem_heading(found.problem)))
    if as_json:
        from fleetopt.reporting.plan_json import answer_json

        print(json.dumps(answer_json(found, asked.rejected_fraction, asked.index_of_dispersion_10s)))
        return
    _print(found, question, asked)
    if figure is not None:
        print(f"written: {figure}")


def _print(found: "Answer", question: Question, asked: "Asked") -> None:
    from rich.console import Console
    from rich.text import Text

    from fleetopt.reporting.plan_tables import answer_tables

    console = Console()
    console.print(answer_tables(found))
    for line in _remarks(found, question, asked):
        console.print(Text(line))


def _remarks(found: "Answer", question: Question, asked: "Asked") -> Iterator[str]:
    """What the tables take for granted."""
    from fleetopt.reporting.formatting import percent

    if found.plan and found.plan.gamma > 1:
        share = percent(question.compressible_fraction)
        yield f"Compressible: {share} of the requests in the band (--compressible-fraction)."
    for caveat in found.caveats if found.proof is None else ():
        yield f"Caution, simulate this plan before you trust it (--verify): {caveat}."
    if note := unplanned_bursts(asked):
        yield note
    if asked.rejected_fraction:
        limit = found.problem.max_context_tokens
        yield f"{percent(asked.rejected_fraction)} of requests are longer than {limit:,} tokens and are refused."
