"""`fleetopt simulate`."""

import json
from math import isnan
from pathlib import Path
from typing import Annotated, Any

import typer

from fleetopt.cli.files import load_profile, read_parquet, write_file
from fleetopt.cli.options import MOST_REPLICAS, JsonOption, require_range


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

    require_range("--replicas", replicas, 1, MOST_REPLICAS)
    gpu = load_profile(profile)
    requests = trace_from_frame(read_parquet(trace), str(trace))
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
        write_file(requests_out, _request_records(result).write_parquet)
    if as_json:
        print(json.dumps({name: value for name, value, _ in figures}))
        return
    from rich.console import Console

    from fleetopt.reporting.terminal import simulation_table

    Console().print(simulation_table(figures, title=f"{trace} on {replicas} x {gpu.name}"))
    if requests_out is not None:
        print(f"written: {requests_out}")


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
