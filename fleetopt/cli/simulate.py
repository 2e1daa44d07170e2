"""`fleetopt simulate`."""

import json
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleetopt.cli.files import write_file
from fleetopt.cli.fleets import (
    ROUTERS_HELP,
    FleetOption,
    ProfileOption,
    ReplicasOption,
    SchedulerOption,
    SloTpotOption,
    SloTtftOption,
    fleet_of_options,
    targets_of_options,
)
from fleetopt.cli.options import JsonOption
from fleetopt.cli.outputs import (
    request_records,
    require_apart,
    require_figure,
    require_records,
    summary_json,
    timeline_records,
    write_figure,
)
from fleetopt.cli.progress import count_progress
from fleetopt.cli.requests import (
    ArrivalsOption,
    CdfOption,
    CompressibleOption,
    CountOption,
    OutputFractionOption,
    RateOption,
    ReplicationsOption,
    RequestOptions,
    RequestSource,
    SeedOption,
    TraceOption,
    request_source,
)
from fleetopt.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetopt.simulator import Fleet, SimulationResult
    from fleetopt.simulator.measures import FleetSummary
    from fleetopt.simulator.statistics import SloTargets
    from fleetopt.workload.trace import Trace

_SAMPLES = 600
"""Samples of a timeline that is not told how often to look."""


def simulate(
    trace: TraceOption = None,
    cdf: CdfOption = None,
    rate: RateOption = None,
    requests: CountOption = None,
    arrivals: ArrivalsOption = None,
    output_fraction: OutputFractionOption = 0.2,
    compressible_fraction: CompressibleOption = None,
    seed: SeedOption = 0,
    replications: ReplicationsOption = None,
    fleet: FleetOption = None,
    profile: ProfileOption = None,
    replicas: ReplicasOption = None,
    scheduler: SchedulerOption = None,
    router: Annotated[
        str | None,
        typer.Option(help=f"How a replica is chosen: {ROUTERS_HELP}. Default: least-loaded.", show_default=False),
    ] = None,
    slo_ttft: SloTtftOption = None,
    slo_tpot: SloTpotOption = None,
    requests_out: Annotated[
        Path | None, typer.Option(help="Parquet file for one record per request.", show_default=False)
    ] = None,
    timeline_out: Annotated[
        Path | None,
        typer.Option(help="Parquet file for what each replica did over time.", show_default=False),
    ] = None,
    timeline_interval: Annotated[
        float | None,
        typer.Option(help="Seconds between samples of the timeline. Default: about 600 samples.", show_default=False),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Figure of the run: .svg, .png or .pdf.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run requests through a fleet, every iteration of every replica."""
    require_records("--requests-out", requests_out)
    require_records("--timeline-out", timeline_out)
    require_figure(figure)
    require_apart(
        {"--requests-out": requests_out, "--timeline-out": timeline_out, "--figure": figure},
        {"--trace": trace, "--cdf": cdf, "--fleet": fleet, "--profile": profile},
    )
    _check_interval(timeline_interval, has_timeline=timeline_out is not None or figure is not None)
    targets = targets_of_options(slo_ttft, slo_tpot)
    chosen, fleet_title = fleet_of_options(fleet, profile, replicas, scheduler, router)
    source = request_source(
        RequestOptions(
            trace=trace,
            cdf=cdf,
            rate=rate,
            requests=requests,
            arrivals=arrivals,
            output_fraction=output_fraction,
            compressible_fraction=compressible_fraction,
            seed=seed,
            replications=replications,
        )
    )
    wants_timeline = timeline_out is not None or figure is not None
    first = None
    if source.replications == 1 or wants_timeline or requests_out is not None:
        run = partial(_run, source.make_trace(0), chosen, source.routing_seed, show_progress=not as_json)
        first = _with_timeline(run, timeline_interval) if wants_timeline else run()
    summary = _summary(source, chosen, targets, first, seed, show_progress=not as_json)
    title = f"{source.title} on {fleet_title}"
    written = _write(first, chosen, requests_out, timeline_out)
    if figure is not None and first is not None:
        from fleetopt.reporting.simulation_figures import simulation_figure

        drawn_title = f"{title}, first replication" if source.replications > 1 else title
        drawing = simulation_figure(first, chosen, title=drawn_title, slo_ttft_s=slo_ttft, cut_warm_up=source.is_steady)
        write_figure(figure, drawing)
        written.append(figure)
    if as_json:
        print(json.dumps(summary_json(summary, chosen)))
        return
    from rich.console import Console

    from fleetopt.reporting.simulation_tables import simulation_table

    Console().print(simulation_table(summary, chosen, title=title, notes=source.notes))
    for path in written:
        print(f"written: {path}{', of the first replication' if source.replications > 1 else ''}")


def _check_interval(interval_s: float | None, *, has_timeline: bool) -> None:
    if interval_s is None:
        return
    if not has_timeline:
        raise InputError(f"--timeline-interval {interval_s:g}: goes with --timeline-out or --figure")
    if not (isfinite(interval_s) and interval_s > 0.0):
        raise InputError(f"--timeline-interval {interval_s:g}: has to be a number of seconds above 0")


def _run(
    trace: "Trace",
    fleet: "Fleet",
    seed: int,
    timeline_interval_s: float | None = None,
    *,
    show_progress: bool,
    what: str = "requests",
) -> "SimulationResult":
    from fleetopt.simulator import simulate as run_simulation

    with count_progress(what, enabled=show_progress) as on_progress:
        return run_simulation(trace, fleet, seed=seed, on_progress=on_progress, timeline_interval_s=timeline_interval_s)


def _with_timeline(run: "Callable[..., SimulationResult]", interval_s: float | None) -> "SimulationResult":
    """Run with a timeline, by default of about 600 samples.

    How long a run lasts is known at its end only, so without an interval it is run twice: once to see.
    """
    if interval_s is not None:
        return run(interval_s)
    observed_s = run(what="requests, run 1 of 2").observed_s
    return run(observed_s / _SAMPLES if observed_s > 0.0 else 1.0, what="requests, run 2 of 2")


def _summary(
    source: RequestSource,
    fleet: "Fleet",
    targets: "SloTargets | None",
    first: "SimulationResult | None",
    seed: int,
    *,
    show_progress: bool,
) -> "FleetSummary":
    """The figures of the one run, or of all replications."""
    from fleetopt.simulator.measures import summarize_run
    from fleetopt.simulator.replications import measure_replications, summarize_replications

    if source.replications == 1 and first is not None:
        return summarize_run(first, fleet, targets, cut_warm_up=source.is_steady)
    with count_progress("replications", enabled=show_progress) as on_progress:
        runs = measure_replications(
            source.make_trace,
            fleet,
            source.replications,
            seed,
            targets=targets,
            on_progress=on_progress,
            cut_warm_up=source.is_steady,
        )
    return summarize_replications(runs)


def _write(
    result: "SimulationResult | None", fleet: "Fleet", requests_out: Path | None, timeline_out: Path | None
) -> list[Path]:
    """Write the Parquet files that were asked for."""
    written = []
    if result is not None and requests_out is not None:
        write_file(requests_out, request_records(result).write_parquet)
        written.append(requests_out)
    if result is not None and result.timeline is not None and timeline_out is not None:
        write_file(timeline_out, timeline_records(result.timeline, fleet).write_parquet)
        written.append(timeline_out)
    return written
