"""What the planner predicts of a pool against what the simulator finds, over loads and numbers of replicas.

``python -m tests.benchmarks.prediction REQUESTS.parquet``: lengths of that file (``fleetopt ingest`` writes such),
Poisson arrivals, the shipped measured profile, loads as shares of the token budget; requests above the profile's
context limit are left out. Every cell is one simulation of 40,000 requests, the first fifth cut.
"""

import sys

import numpy as np
import polars as pl

from fleetopt.planner.sizing import predict_pool
from fleetopt.profiles import load_profile
from fleetopt.queueing.replica import request_work
from fleetopt.simulator import Fleet, Pool, simulate
from fleetopt.workload.processes import poisson_arrivals
from fleetopt.workload.trace import make_trace

LOADS, REPLICAS = (0.3, 0.6, 0.85), (1, 8, 32)
N_REQUESTS = 40_000


def main(requests_parquet: str) -> None:
    profile = load_profile("a100-llama2-7b")
    frame = pl.read_parquet(requests_parquet)
    frame = frame.filter(pl.col("prompt_tokens") + pl.col("output_tokens") <= profile.context_limit_tokens)
    prompt, output = frame["prompt_tokens"].to_numpy(), frame["output_tokens"].to_numpy()
    work = request_work(profile, np.ones(len(prompt)), prompt.astype(float), output.astype(float))
    limit_rps = 1 / (work.prefill_s + work.decode_s + profile.base_s * work.tokens / profile.max_batched_tokens)
    print(f"{'replicas':>8} {'load':>5} {'iteration':>10} {'slots used':>10} {'P99 TTFT':>9}   predicted / simulated")
    for replicas in REPLICAS:
        for load in LOADS:
            rng = np.random.default_rng(1)
            rate_rps = load * limit_rps * replicas
            drawn = rng.integers(0, len(prompt), N_REQUESTS)
            trace = make_trace(poisson_arrivals(rate_rps, N_REQUESTS, rng), prompt[drawn], output[drawn])
            result = simulate(trace, Fleet((Pool("all", profile, replicas, profile.context_limit_tokens),)))
            p99_s = np.quantile(result.ttft_s[N_REQUESTS // 5 :], 0.99)
            predicted, used = predict_pool(work, rate_rps, replicas), result.utilization[0]
            if predicted is None:
                print(f"{replicas:8} {load:5.2f} {'unstable in the model':>31}   simulated P99 TTFT {p99_s:.3g} s")
                continue
            print(
                f"{replicas:8} {load:5.2f} {predicted.state.iteration_s / used.mean_iteration_s:10.3f} "
                f"{predicted.state.running / profile.max_sequences / used.slot:10.3f} "
                f"{predicted.ttft_p99_s / p99_s:9.3f}   P99 TTFT {predicted.ttft_p99_s:.3g} / {p99_s:.3g} s"
            )


if __name__ == "__main__":
    main(sys.argv[1])
