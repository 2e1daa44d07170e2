"""The `fleetopt` command: ingest, plan, simulate, formats. The pipeline adds the commands that need Dagster."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from math import ceil, isnan
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer
from typer.exceptions import TyperException

from fleetopt.errors import InputError

app = typer.Typer(
    name="fleetopt",
    help="Plans the cheapest GPU fleet that keeps the P99 time to first token of an LLM service, and proves it.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_MOST_REPLICAS = 100_000

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output and nothing else there.")]


def run(command: typer.Typer) -> None:
    """Run a command line; bad input is one line on standard error and exit status 2."""
    try:
        status = command(sys.argv[1:] or ["--help"], standalone_mode=False)
    except (InputError, TyperException) as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        print(f"fleetopt: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        print("fleetopt: interrupted; the next run takes up what is missing", file=sys.stderr)
        sys.exit(130)
    sys.exit(status or 0)


@app.command()
def formats() -> None:
    """List the log formats that can be read."""
    from rich.console import Console
    from rich.table import Table

    from fleetopt.ingest.formats import FORMATS

    table = Table("format", "what it is", "clock", "example", title="Log formats")
    for log_format in FORMATS.values():
        clock = "relative: declare its start" if log_format.has_relative_clock else "absolute"
        table.add_row(log_format.name, log_format.description, clock, log_format.example)
    Console().print(table)


@app.command()
def ingest(
    files: Annotated[list[Path], typer.Argument(help="Log files of one format.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Directory for requests.parquet and quarantine.parquet.")],
    log_format: Annotated[
        str, typer.Option("--format", help="Format, or 'auto' to tell it from the content.")
    ] = "auto",
    start: Annotated[
        str | None, typer.Option(help="ISO time with zone that a relative clock starts at.", show_default=False)
    ] = None,
    timezone: Annotated[str, typer.Option(help="IANA zone of times that carry none.")] = "UTC",
    archetype: Annotated[str, typer.Option(help="Traffic class of the requests.")] = "all",
    hash_key: Annotated[
        str, typer.Option(envvar="FLEETOPT_HASH_KEY", help="Key of the line hashes.", show_default=False)
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Read log files into requests.parquet."""
    from fleetopt.ingest.files import ingest_files
    from fleetopt.ingest.lines import PUBLIC_HASH_KEY

    if not archetype:
        raise InputError("--archetype: is empty; name a traffic class such as chat")
    with _progress("reading", enabled=not as_json) as on_progress:
        balance = ingest_files(
            files,
            log_format,
            _parse_start(start),
            out,
            hash_key.encode() or PUBLIC_HASH_KEY,
            archetype=archetype,
            timezone=timezone,
            on_progress=on_progress,
        )
    if as_json:
        print(json.dumps(asdict(balance)))
    else:
        print(
            f"{balance.lines:,} lines = {balance.requests:,} requests + {balance.duplicates:,} duplicates"
            f" + {balance.quarantined:,} quarantined"
        )
        print(f"written: {out / 'requests.parquet'}, {out / 'quarantine.parquet'}")


@app.command()
def plan(
    cdf: Annotated[
        str,
        typer.Option(help="CDF file (JSON), name of a published workload, or requests.parquet.", show_default=False),
    ],
    rate: Annotated[float, typer.Option(help="Arrival rate to plan for, requests/s.", show_default=False)],
    slo_ttft_p99: Annotated[float, typer.Option(help="Target of the P99 time to first token, s.", show_default=False)],
    profile: Annotated[
        list[str], typer.Option(help="GPU profile, name or TOML file; may be given more than once.", show_default=False)
    ],
    output_fraction: Annotated[
        float, typer.Option(help="Share of a total length that is output, where only totals are known.")
    ] = 0.2,
    compressible_fraction: Annotated[
        float, typer.Option(help="Share of requests that may be compressed into the short pool.")
    ] = 1.0,
    max_gamma: Annotated[float, typer.Option(help="Widest compression band; 1 compresses nothing.")] = 1.5,
    max_context: Annotated[
        int | None,
        typer.Option(
            help="Longest request served, tokens; longer ones are refused. Default: the longest there is.",
            show_default=False,
        ),
    ] = None,
    max_utilization: Annotated[float, typer.Option(help="Cap on the load of any resource.")] = 0.85,
    spare_replicas: Annotated[
        int, typer.Option(help="Replicas per pool that may be down; the nightly run plans 1.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Find the cheapest fleet for lengths, a rate and a target."""
    from fleetopt.planner.plan import Problem
    from fleetopt.planner.search import plan_fleet

    _in_range("--output-fraction", output_fraction, 0, 1, open_ends=True)
    _in_range("--compressible-fraction", compressible_fraction, 0, 1)
    _in_range("--max-utilization", max_utilization, 0, 1, open_ends=True)
    _in_range("--max-gamma", max_gamma, 1, 4)
    _in_range("--spare-replicas", spare_replicas, 0, 1000)
    if max_context is not None:
        _in_range("--max-context", max_context, 2, 1_000_000_000)
    profiles = tuple(_load_profile(name) for name in dict.fromkeys(profile))
    unpriced = [gpu.name for gpu in profiles if gpu.usd_per_gpu_hour == 0]
    if unpriced and len(profiles) > 1:
        raise InputError(f"--profile {unpriced[0]}: has no usd_per_gpu_hour; without prices there is no cheapest")
    lengths, longest = _load_lengths(cdf, output_fraction, compressible_fraction)
    limit = longest if max_context is None else max_context
    served, rejected = lengths.within_context(limit)
    if len(served) == 0:
        raise InputError(f"--max-context {limit}: every request is longer")
    problem = Problem(
        lengths=served,
        arrival_rate_rps=rate * (1 - rejected),
        slo_ttft_p99_s=slo_ttft_p99,
        profiles=profiles,
        max_context_tokens=limit,
        max_utilization=max_utilization,
        spare_replicas=spare_replicas,
        max_gamma=max_gamma,
    )
    result = plan_fleet(problem)
    if as_json:
        print(json.dumps(_plan_json(result)))
        return
    from rich.console import Console

    from fleetopt.reporting.terminal import plan_table

    Console().print(plan_table(result, arrival_rate_rps=problem.arrival_rate_rps, slo_ttft_p99_s=slo_ttft_p99))
    print(f"Compressible: {compressible_fraction:.0%} of the requests in the band (--compressible-fraction).")
    if rejected:
        print(f"{rejected:.3%} of requests are longer than {limit:,} tokens and are refused.")


@app.command()
def simulate(
    trace: Annotated[Path, typer.Option(help="requests.parquet, as `fleetopt ingest` writes it.", show_default=False)],
    profile: Annotated[str, typer.Option(help="GPU profile, name or TOML file.", show_default=False)],
    replicas: Annotated[int, typer.Option(help="Replicas in the pool.", show_default=False)],
    scheduler: Annotated[str, typer.Option(help="How a replica fills an iteration.")] = "fcfs",
    router: Annotated[str, typer.Option(help="How a replica is chosen.")] = "least-loaded",
    requests_out: Annotated[
        Path | None, typer.Option(help="Parquet file for one record per request.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a trace through a pool of replicas."""
    from fleetopt.simulator import Fleet, Pool
    from fleetopt.simulator import simulate as run_simulation
    from fleetopt.simulator.statistics import stability_verdict
    from fleetopt.workload.trace import trace_from_frame

    _in_range("--replicas", replicas, 1, _MOST_REPLICAS)
    gpu = _load_profile(profile)
    requests = trace_from_frame(_read_parquet(trace), str(trace))
    pool = Pool("all", gpu, replicas, gpu.context_limit_tokens, scheduler)
    result = run_simulation(requests, Fleet((pool,), router))
    stability = stability_verdict(result)
    used = result.utilization[0]
    rows: list[tuple[str, str | float, str]] = [
        ("requests", len(result), "requests"),
        ("rejected", result.n_rejected, "requests longer than the context limit"),
        ("verdict", stability.verdict, stability.reason),
        ("ttft_p50_s", result.ttft_quantile_s(0.5), "s"),
        ("ttft_p99_s", result.ttft_quantile_s(0.99), "s"),
        ("tpot_p50_s", result.tpot_quantile_s(0.5), "s"),
        ("tpot_p99_s", result.tpot_quantile_s(0.99), "s"),
        ("slot_utilization", used.slot, "mean running / max_sequences, idle time included"),
        ("kv_utilization", used.kv, "mean KV blocks held / KV blocks, idle time included"),
        ("busy", used.busy, "share of time in an iteration"),
        ("preemptions", int(result.preemptions.sum()), "preemptions"),
    ]
    # Where nothing was served there is no latency and no time, and JSON has no nan.
    figures = [(name, None if isinstance(value, float) and isnan(value) else value, unit) for name, value, unit in rows]
    if requests_out is not None:
        _write_parquet(_request_records(result), requests_out)
    if as_json:
        print(json.dumps({name: value for name, value, _ in figures}))
        return
    from rich.console import Console

    from fleetopt.reporting.terminal import simulation_table

    Console().print(simulation_table(figures, title=f"{trace} on {replicas} x {gpu.name}"))
    if requests_out is not None:
        print(f"written: {requests_out}")


def _plan_json(result: Any) -> dict[str, Any]:
    """The plan as the command's JSON contract has it."""
    chosen = result.plan
    return {
        "status": "feasible" if chosen else "infeasible",
        "reason": result.reason,
        "boundary_tokens": chosen.boundary_tokens if chosen else None,
        "gamma": chosen.gamma if chosen else None,
        "pools": _pools_json(chosen) if chosen else [],
        "usd_per_hour": _price(chosen) if chosen else None,
        "baselines": {
            name: baseline
            and {
                "boundary_tokens": baseline.boundary_tokens,
                "usd_per_hour": _price(baseline),
                "pools": _pools_json(baseline),
            }
            for name, baseline in (("homogeneous", result.homogeneous), ("pool_routing", result.pool_routing))
        },
    }


def _price(fleet_plan: Any) -> float | None:
    """Cost of a plan; None where its profile has no price, since nothing costs nothing."""
    return fleet_plan.usd_per_hour or None


def _pools_json(fleet_plan: Any) -> list[dict[str, Any]]:
    return [
        {
            "name": pool.name,
            "profile": pool.profile.name,
            "replicas": pool.replicas,
            "spare_replicas": pool.spare_replicas,
            "max_context_tokens": pool.max_context_tokens,
            "arrival_rate_rps": pool.arrival_rate_rps,
            "slot_utilization": pool.slot_utilization,
            "ttft_p99_s": pool.ttft_p99_s,
            "tpot_p99_s": pool.tpot_p99_s,
        }
        for pool in fleet_plan.pools
    ]


def _load_lengths(cdf: str, output_fraction: float, compressible_fraction: float) -> tuple[Any, int]:
    """Lengths from a CDF file, a published workload or a trace, told apart by name; and the longest there can be."""
    from fleetopt.workload.lengths import lengths_from_cdf, lengths_from_trace
    from fleetopt.workload.reference import load_reference, parse_cdf, reference_names
    from fleetopt.workload.trace import make_trace, trace_from_frame

    if cdf in reference_names():
        points = load_reference(cdf).points
        return lengths_from_cdf(points, output_fraction, compressible_fraction, cdf), ceil(points[-1][0])
    path = Path(cdf)
    if not cdf or not path.exists():
        raise InputError(f"--cdf {cdf}: no such file, nor a published workload ({', '.join(reference_names())})")
    if path.suffix == ".parquet":
        trace = trace_from_frame(_read_parquet(path), cdf)
        lengths = lengths_from_trace(make_trace(trace.arrival_s, trace.prompt_tokens, trace.output_tokens, where=cdf))
        return _with_compressible(lengths, compressible_fraction), ceil(lengths.total_tokens[-1])
    points = parse_cdf(_read_text(path), cdf)
    return lengths_from_cdf(points, output_fraction, compressible_fraction, cdf), max(2, ceil(points[-1][0]))


def _with_compressible(lengths: Any, fraction: float) -> Any:
    from fleetopt.workload.lengths import make_lengths

    return make_lengths(lengths.prompt_tokens, lengths.output_tokens, lengths.weight, fraction)


def _load_profile(name: str) -> Any:
    """A profile of the catalogue, or one from a TOML file."""
    from fleetopt.profiles import load_profile, parse_profile

    if name.endswith(".toml") or "/" in name:
        return parse_profile(_read_text(Path(name)), name)
    return load_profile(name)


def _request_records(result: Any) -> Any:
    """One row per request in the trace's order, times absolute on the trace's clock."""
    import numpy as np
    import polars as pl

    return pl.DataFrame(
        {
            "arrival_s": result.arrival_s,
            "prompt_tokens": result.original_prompt_tokens,
            "served_prompt_tokens": result.prompt_tokens,
            "output_tokens": result.output_tokens,
            "pool": np.array(result.pool_names)[result.pool],
            "replica": result.replica,
            "first_token_s": result.first_token_s,
            "finish_s": result.finish_s,
            "preemptions": result.preemptions,
            "status": np.where(result.is_rejected, "rejected", "finished"),
        }
    ).with_columns(pl.col("first_token_s", "finish_s").fill_nan(None), pl.col("replica").replace(-1, None))


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _read_parquet(path: Path) -> Any:
    import polars as pl

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path}: not a readable Parquet file: {error}") from error


def _write_parquet(frame: Any, path: Path) -> None:
    """Write a file at once or not at all."""
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no directory {path.parent}")
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        frame.write_parquet(temporary)
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _progress(what: str, *, enabled: bool) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error: the caller is given a function of (bytes done, bytes in all)."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not (enabled and console.is_terminal)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _parse_start(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        start = datetime.fromisoformat(text)
        if start.tzinfo is None:
            raise InputError(f"--start {text}: needs a zone; write for example 2023-11-16T18:15:00Z")
        return start.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InputError(f"--start {text}: not an ISO time; write for example 2023-11-16T18:15:00Z") from error


def _in_range(option: str, value: float, low: float, high: float, *, open_ends: bool = False) -> None:
    inside = low < value < high if open_ends else low <= value <= high
    if not inside:
        raise InputError(
            f"{option} {value:g}: has to be between {low:g} and {high:g}{', both excluded' if open_ends else ''}"
        )
