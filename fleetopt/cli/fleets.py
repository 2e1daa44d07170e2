"""The fleet that `simulate` runs, from a file or from the short flags."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleetopt.cli.files import load_fleet, load_profile
from fleetopt.cli.options import MOST_REPLICAS, require_range
from fleetopt.errors import InputError

if TYPE_CHECKING:
    from fleetopt.simulator import Fleet
    from fleetopt.simulator.statistics import SloTargets

FleetOption = Annotated[
    Path | None,
    typer.Option(help="Fleet file (TOML): pools, profiles, router, schedulers, failures.", show_default=False),
]
ProfileOption = Annotated[
    str | None, typer.Option(help="Instead of --fleet, one pool: GPU profile, name or TOML file.", show_default=False)
]
ReplicasOption = Annotated[int | None, typer.Option(help="Replicas of that pool.", show_default=False)]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        help="How a replica of that pool fills an iteration: fcfs, sarathi or prefill-first. Default: fcfs.",
        show_default=False,
    ),
]
ROUTERS_HELP = (
    "least-loaded, shortest-queue-tokens, power-of-two, round-robin or random; by pool: length, compress-and-route or "
    "spill-over"
)
"""Spelt out, since the list itself lies behind an import that `--help` should not wait for."""
SloTtftOption = Annotated[
    float | None,
    typer.Option(help="Target of the time to first token, s: which share of requests meets it.", show_default=False),
]
SloTpotOption = Annotated[
    float | None,
    typer.Option(help="Target of the time per output token, s: the same.", show_default=False),
]


def fleet_of_options(
    path: Path | None, profile: str | None, replicas: int | None, scheduler: str | None, router: str | None
) -> "tuple[Fleet, str]":
    """The fleet that options describe, and what to call it.

    Raises
    ------
    InputError
        If they contradict each other, or a file or value is wrong.
    """
    short = {"--profile": profile, "--replicas": replicas, "--scheduler": scheduler, "--router": router}
    given = [option for option, value in short.items() if value is not None]
    if path is not None:
        if given:
            raise InputError(f"--fleet {path}: says all of the fleet; leave out {', '.join(given)}")
        return load_fleet(path), str(path)
    if profile is None and replicas is None:
        raise InputError("--fleet: is missing; name a fleet file, or describe one pool by --profile and --replicas")
    if profile is None or replicas is None:
        missing, given_one = ("--profile", "--replicas") if profile is None else ("--replicas", "--profile")
        raise InputError(f"{missing}: is missing; {given_one} describes a pool only together with it")
    from fleetopt.simulator import Fleet, Pool

    require_range("--replicas", replicas, 1, MOST_REPLICAS)
    gpu = load_profile(profile)
    pool = Pool("all", gpu, replicas, gpu.context_limit_tokens, scheduler or "fcfs")
    return Fleet((pool,), router or "least-loaded"), f"{replicas} x {gpu.name}"


def targets_of_options(ttft_s: float | None, tpot_s: float | None) -> "SloTargets | None":
    """The targets, None if there are none.

    Raises
    ------
    InputError
        If one is not a positive number.
    """
    if ttft_s is None and tpot_s is None:
        return None
    from fleetopt.simulator.statistics import SloTargets

    for option, value in (("--slo-ttft", ttft_s), ("--slo-tpot", tpot_s)):
        if value is not None:
            require_range(option, value, 0, 1e9, open_ends=True)
    return SloTargets(ttft_s=ttft_s, tpot_s=tpot_s)
