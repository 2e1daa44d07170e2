"""`fleetopt reproduce`: the paper's tables, and what becomes of its fleets."""

from pathlib import Path
from typing import Annotated

import typer

from fleetopt.cli.files import require_writable, write_file
from fleetopt.cli.options import JsonOption, require_range
from fleetopt.cli.progress import count_progress
from fleetopt.cli.requests import SeedOption
from fleetopt.errors import InputError


def reproduce(
    quick: Annotated[
        bool, typer.Option("--quick", help="Shorter simulations: about a minute, and some verdicts stay undecided.")
    ] = False,
    seed: SeedOption = 0,
    out: Annotated[Path | None, typer.Option(help="File for the page: .md or .json.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """Reproduce the tables of the FleetOpt paper, and hold its fleets against the sound model and the simulator."""
    from fleetopt.evidence import reproduce as evidence

    require_writable(out)
    if out is not None and out.suffix not in {".md", ".json"}:
        raise InputError(f"--out {out}: the name has to end with .md or .json")
    require_range("--seed", seed, 0, 2**63 - 1)
    requests, span_s, replications = evidence.REQUESTS, evidence.SPAN_S, evidence.REPLICATIONS
    if quick:
        requests, span_s = evidence.QUICK_REQUESTS, evidence.QUICK_SPAN_S
        replications = evidence.QUICK_REPLICATIONS
    with count_progress("simulations", enabled=True) as on_progress:
        page = evidence.reproduce(
            seed, requests=requests, span_s=span_s, replications=replications, on_progress=on_progress
        )
    from fleetopt.reporting.reproduce import reproduce_markdown, reproduce_page
    from fleetopt.reporting.reproduce_json import reproduce_json

    if out is not None:
        command = f"fleetopt reproduce{' --quick' if quick else ''}{f' --seed {seed}' if seed else ''} --out {out}"
        content = reproduce_json(page) if out.suffix == ".json" else reproduce_markdown(page, command)
        write_file(out, lambda temporary: temporary.write_bytes(content.encode()))
    if as_json:
        print(reproduce_json(page), end="")
        return
    from rich.console import Console

    Console().print(reproduce_page(page))
    if out is not None:
        print(f"written: {out}")
