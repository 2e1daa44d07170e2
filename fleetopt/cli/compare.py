"""`fleetopt compare`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleetopt.cli.files import load_fleet
from fleetopt.cli.fleets import (
    ROUTERS_HELP,
    ProfileOption,
    ReplicasOption,
    SchedulerOption,
    SloTpotOption,
    SloTtftOption,
    fleet_of_options,
    targets_of_options,
)
from fleetopt.cli.options import JsonOption
from fleetopt.cli.outputs import finite, json_name, require_apart, require_figure, summary_json, write_figure
from fleetopt.cli.progress import count_progress
from fleetopt.cli.requests import (
    ArrivalsOption,
    CdfOption,
    CompressibleOption,
    CountOption,
    OutputFractionOption,
    RateOption,
    RequestOptions,
    RequestSource,
    SeedOption,
    TraceOption,
    request_source,
)
from fleetopt.errors import InputError

if TYPE_CHECKING:
    from fleetopt.simulator import Fleet
    from fleetopt.simulator.comparison import Comparison, ComparisonRow
    from fleetopt.simulator.statistics import SloTargets


_REPLICATIONS = 10
"""Of drawn requests: one draw would not say what is chance."""


def compare(
    fleet: Annotated[
        list[Path] | None,
        typer.Option(help="Fleet file (TOML); may be given more than once.", show_default=False),
    ] = None,
    router: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Router to put in place of the fleet's own: {ROUTERS_HELP}. May be given more than once; given once, "
            "it is compared with the fleet's own.",
            show_default=False,
        ),
    ] = None,
    profile: ProfileOption = None,
    replicas: ReplicasOption = None,
    scheduler: SchedulerOption = None,
    trace: TraceOption = None,
    cdf: CdfOption = None,
    rate: RateOption = None,
    requests: CountOption = None,
    arrivals: ArrivalsOption = None,
    output_fraction: OutputFractionOption = 0.2,
    compressible_fraction: CompressibleOption = None,
    seed: SeedOption = 0,
    replications: Annotated[
        int | None,
        typer.Option(
            help="Independent draws of the requests, the same for all fleets. Default: 10.", show_default=False
        ),
    ] = None,
    slo_ttft: SloTtftOption = None,
    slo_tpot: SloTpotOption = None,
    figure: Annotated[
        Path | None, typer.Option(help="Figure of the differences: .svg, .png or .pdf.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run several fleets, or routers, on the same requests: differences with 95 % intervals."""
    require_figure(figure)
    inputs = {f"--fleet {path}": path for path in fleet or []}
    require_apart({"--figure": figure}, {**inputs, "--trace": trace, "--cdf": cdf, "--profile": profile})
    targets = targets_of_options(slo_ttft, slo_tpot)
    fleets = _fleets(fleet or [], router or [], profile, replicas, scheduler)
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
            replications=_REPLICATIONS if replications is None and trace is None else replications,
        )
    )
    with count_progress("runs", enabled=not as_json) as on_progress:
        comparison = _compare(source, fleets, seed, targets, on_progress)
    if figure is not None:
        from fleetopt.reporting.simulation_figures import comparison_figure

        write_figure(figure, comparison_figure(comparison, title=source.title))
    if as_json:
        print(json.dumps(_comparison_json(comparison, fleets)))
        return
    from rich.console import Console

    from fleetopt.reporting.simulation_tables import comparison_table

    notes = source.notes if source.replications > 1 or not source.is_steady else ()
    Console().print(comparison_table(comparison, fleets, title=source.title, notes=notes))
    if figure is not None:
        print(f"written: {figure}")


def _fleets(
    paths: list[Path], routers: list[str], profile: str | None, replicas: int | None, scheduler: str | None
) -> "dict[str, Fleet]":
    """Fleets by the name that tables give them: that of their file, or of the router."""
    if len(set(paths)) < len(paths) or len(set(routers)) < len(routers):
        raise InputError("--fleet, --router: one is given twice; a fleet does not differ from itself")
    if len(paths) > 1:
        if routers:
            raise InputError(f"--router {routers[0]}: goes with one fleet; write it into the fleet files")
        if profile is not None or replicas is not None or scheduler is not None:
            raise InputError("--fleet: says all of a fleet; leave out --profile, --replicas and --scheduler")
        return {name: load_fleet(path) for name, path in zip(_short_names(paths), paths, strict=True)}
    if not routers:
        raise InputError("--fleet, --router: name two or more fleets, or one fleet and routers to try on it")
    one, _ = fleet_of_options(paths[0] if paths else None, profile, replicas, scheduler, None)
    if "compress-and-route" in routers and one.gamma == 1.0:
        raise InputError("--router compress-and-route: compresses nothing at gamma 1; set gamma in the fleet file")
    names = dict.fromkeys([one.router, *routers]) if len(routers) == 1 else routers
    return {name: replace(one, router=name, gamma=one.gamma if name == "compress-and-route" else 1.0) for name in names}


def _short_names(paths: list[Path]) -> list[str]:
    """File names without their ending where that tells them apart, else whole paths."""
    stems = [path.stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in paths]


def _compare(
    source: RequestSource, fleets: "dict[str, Fleet]", seed: int, targets: "SloTargets | None", on_progress: Any
) -> "Comparison":
    from fleetopt.simulator.comparison import compare_fleets, compare_on_trace

    if source.replications > 1:
        return compare_fleets(
            source.make_trace,
            fleets,
            source.replications,
            seed,
            targets=targets,
            on_progress=on_progress,
            cut_warm_up=source.is_steady,
        )
    return compare_on_trace(source.make_trace(0), fleets, source.routing_seed, targets=targets, on_progress=on_progress)


def _comparison_json(comparison: "Comparison", fleets: "dict[str, Fleet]") -> dict[str, Any]:
    return {
        "baseline": comparison.baseline,
        "fleets": {name: summary_json(summary, fleets[name]) for name, summary in comparison.summaries.items()},
        "differences": {name: [_difference_json(row) for row in rows] for name, rows in comparison.differences.items()},
    }


def _difference_json(row: "ComparisonRow") -> dict[str, Any]:
    """A figure of the baseline (first) and of a fleet (second), and how they differ."""
    return {
        "pool": row.pool,
        "metric": json_name(row.metric),
        "unit": row.unit,
        "first": finite(row.first),
        "second": finite(row.second),
        "difference": finite(row.difference),
        "lower": finite(row.lower),
        "upper": finite(row.upper),
        "is_distinguishable": row.is_distinguishable,
        "variance_reduction": finite(row.variance_reduction),
        "method": row.method,
    }
