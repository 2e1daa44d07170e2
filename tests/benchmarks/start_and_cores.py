"""Time of a warm ``fleetopt simulate`` on a small trace, and what a second core does for replications.

``python -m tests.benchmarks.start_and_cores``. The command runs as a process of its own, once to fill the cache of
compiled code, then several times; wall time, median and range; target 1.5 s. Replications run in threads, as
`fleetopt.simulator.replications.replicate` does it, with one worker and with more, in turn; wall time, so this needs a
machine with nothing else to do.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import polars as pl

from fleetopt.profiles import load_profile
from fleetopt.simulator import Fleet, Pool
from fleetopt.simulator.replications import replicate
from tests.benchmarks.simulator_speed import chat_trace

TARGET_S = 1.5
STARTS = 9
REPLICATIONS, REQUESTS, REPLICAS, RATE_RPS = 12, 200_000, 24, 8.5
ROUNDS = 3


def seconds_of(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def warm_start() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.parquet"
        trace = chat_trace(1_000, 5.0, seed=1)
        columns = {name: getattr(trace, name) for name in ("arrival_s", "prompt_tokens", "output_tokens")}
        pl.DataFrame(columns).write_parquet(path)
        code = "from pipelines.cli import main; main()"
        options = ["simulate", "--trace", str(path), "--profile", "a100-llama2-7b", "--replicas", "2"]
        command = [sys.executable, "-c", code, *options]

        def start() -> None:
            subprocess.run(command, check=True, capture_output=True)

        first_s = seconds_of(start)
        taken_s = [seconds_of(start) for _ in range(STARTS)]
    print(f"fleetopt simulate, 1,000 requests: first {first_s:.2f} s, then median {median(taken_s):.2f} s", end=" ")
    print(f"({min(taken_s):.2f} to {max(taken_s):.2f}); target {TARGET_S} s", end=" ")
    print("met" if median(taken_s) <= TARGET_S else "MISSED")


def scaling() -> None:
    profile = load_profile("a100-llama2-7b")
    fleet = Fleet((Pool("all", profile, REPLICAS, profile.context_limit_tokens),))
    traces = [chat_trace(REQUESTS, RATE_RPS * REPLICAS, seed=seed) for seed in range(REPLICATIONS)]

    def run(workers: int) -> None:
        replicate(lambda r: traces[r], fleet, REPLICATIONS, 0, summarize=len, max_workers=workers)

    counts = sorted({1, 2, os.cpu_count() or 1})
    taken_s: dict[int, list[float]] = {workers: [] for workers in counts}
    for _ in range(ROUNDS):
        for workers in counts:
            taken_s[workers].append(seconds_of(lambda workers=workers: run(workers)))
    for workers in counts:
        speed = median(taken_s[1]) / median(taken_s[workers])
        print(f"{REPLICATIONS} replications of {REQUESTS:,} requests, {workers} workers: ", end="")
        print(f"{median(taken_s[workers]):.2f} s, {speed:.2f} times as fast as one")


if __name__ == "__main__":
    warm_start()
    scaling()
