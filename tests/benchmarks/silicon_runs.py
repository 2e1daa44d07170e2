"""Imported profiles against whole engines: benchmark runs that aiconfigurator-core carries beside its kernel times.

    python -m tests.benchmarks.silicon_runs

Needs the extra: pip install '.[profiles]'. A run keeps a fixed number of requests in the engine, each followed by
another at once. The simulator does the same where all requests wait from the beginning and a replica runs that many
sequences. The kernel times were no part of the runs, nor the runs of the profiles, so what differs is what a sum of
kernels leaves out (scheduling, sampling, detokenising), and the linear model.
"""

from collections import defaultdict
from importlib import resources

import numpy as np
import polars as pl

from fleetopt.errors import InputError
from fleetopt.profiles import GpuProfile
from fleetopt.profiles.imported import import_profile
from fleetopt.profiles.silicon import Target, read_silicon
from fleetopt.simulator import Fleet, Pool, simulate
from fleetopt.workload.trace import make_trace

MODEL, CHECKPOINT = "meta-llama/Llama-3.1-70B", "nvidia/Llama-3.1-70B-Instruct-FP8"
SYSTEMS = ("h100_sxm", "h200_sxm", "b200_sxm")
BACKENDS = ("vllm", "trtllm")
MAX_BATCHED_TOKENS = 8192
ROUNDS = 6
SHORTEST = 0.8
"""Lengths of the runs are uniform from this share of the nominal one on."""


def main() -> None:
    runs = benchmark_runs()
    profiles: dict[tuple[str, str, int], GpuProfile | None] = {}
    errors = defaultdict(list)
    for run in runs.iter_rows(named=True):
        key = run["system"], run["backend"], int(run["tp_size"])
        if key not in profiles:
            profiles[key] = profile_of(*key)
        profile = profiles[key]
        if profile is None or run["batch_size"] * (run["isl"] + run["osl"]) > profile.kv_tokens:
            continue  # what does not fit into the cache is a benchmark of its preemptions
        ttft_s, tpot_s = simulated(profile, int(run["batch_size"]), int(run["isl"]), int(run["osl"]))
        errors[key[:2]].append((1e3 * ttft_s / run["silicon_ttft_ms"] - 1, 1e3 * tpot_s / run["silicon_tpot_ms"] - 1))
    print("predicted / measured - 1: median, median of the absolute, range of the middle 80 %")
    for (system, backend), pairs in sorted(errors.items()):
        print(f"{system} {backend}: {len(pairs)} runs")
        for name, values in zip(("TPOT", "TTFT"), (np.array(pairs)[:, 1], np.array(pairs)[:, 0]), strict=True):
            low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
            print(f"  {name} {middle:+.1%}, {np.median(np.abs(values)):.1%}, {low:+.1%} to {high:+.1%}")


def benchmark_runs() -> pl.DataFrame:
    """Runs of the model in fp8 with prefill and decode on the same GPUs."""
    path = resources.files("aiconfigurator_core") / "systems" / "silicon_sample.csv"
    return pl.read_csv(path.read_bytes(), infer_schema_length=None).filter(
        pl.col("model_path") == MODEL,
        pl.col("mode") == "agg",
        pl.col("precision") == "fp8",
        pl.col("system").is_in(SYSTEMS),
        pl.col("backend").is_in(BACKENDS),
    )


def profile_of(system: str, backend: str, tensor_parallel: int) -> GpuProfile | None:
    """The profile of the checkpoint there, None where the database has none."""
    target = Target(
        model=CHECKPOINT,
        gpu=system,
        tensor_parallel=tensor_parallel,
        backend=backend,
        max_batched_tokens=MAX_BATCHED_TOKENS,
        max_sequences=512,
    )
    try:
        silicon = read_silicon(target)
    except InputError as error:
        print(error)
        return None
    return import_profile(target, silicon, name=system, usd_per_gpu_hour=0.0, from_tokens=None).profile


def simulated(profile: GpuProfile, concurrency: int, prompt_tokens: int, output_tokens: int) -> tuple[float, float]:
    """Medians of the time from admission to first token, and of TPOT, s, of all but the first and the last round."""
    rng = np.random.default_rng(0)
    n = ROUNDS * concurrency
    lengths = [
        np.maximum((nominal * rng.uniform(SHORTEST, 1, n)).astype(np.int64), 2)
        for nominal in (prompt_tokens, output_tokens)
    ]
    trace = make_trace(np.zeros(n), *lengths)
    replica = profile.model_copy(update={"max_sequences": concurrency})
    result = simulate(trace, Fleet(pools=(Pool("all", replica, 1, replica.context_limit_tokens),), router="length"))
    steady = slice(concurrency, n - concurrency)
    ttft_s = result.first_token_s - result.admitted_s
    tpot_s = (result.finish_s - result.first_token_s) / (trace.output_tokens - 1)
    return float(np.median(ttft_s[steady])), float(np.median(tpot_s[steady]))


if __name__ == "__main__":
    main()
