"""Time of a warm ``fleetopt simulate`` on a small trace, and what a second core does for replications.

``python -m tests.benchmarks.start_and_cores``. The command runs as a process of its own, once to fill the cache of
compiled code, then several times; wall time, median and range; target 1.5 s. Replications run in threads, as
`fleetopt.simulator.replications.replicate` does it, with one worker and with more, in turn. Wall time means something
only on a machine with nothing else to do; processor time is printed beside it, and for the threads what as many
processes get that do nothing but count, which is as much as the machine gives at the time.
"""

import multiprocessing
import os
import resource
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


def children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def count(seconds: float) -> None:
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass


def cores_given(processes: int) -> float:
    """Processor seconds per second that so many busy processes get together."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=count, args=(1.0,)) for _ in range(processes)]
    before_s, start = children_s(), time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return (children_s() - before_s) / (time.perf_counter() - start)


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
        before_s = children_s()
        taken_s = [seconds_of(start) for _ in range(STARTS)]
        processor_s = (children_s() - before_s) / STARTS
    print(f"fleetopt simulate, 1,000 requests: first {first_s:.2f} s, then median {median(taken_s):.2f} s", end=" ")
    print(
        f"({min(taken_s):.2f} to {max(taken_s):.2f}), of the processor {processor_s:.2f}; target {TARGET_S} s", end=" "
    )
    print("met" if median(taken_s) <= TARGET_S else "MISSED")


def scaling() -> None:
    profile = load_profile("a100-llama2-7b")
    fleet = Fleet((Pool("all", profile, REPLICAS, profile.context_limit_tokens),))
    traces = [chat_trace(REQUESTS, RATE_RPS * REPLICAS, seed=seed) for seed in range(REPLICATIONS)]

    def run(workers: int) -> None:
        replicate(lambda r: traces[r], fleet, REPLICATIONS, 0, summarize=len, max_workers=workers)

    counts = sorted({1, 2, os.cpu_count() or 1})
    wall_s: dict[int, list[float]] = {workers: [] for workers in counts}
    processor_s = dict.fromkeys(counts, 0.0)
    for _ in range(ROUNDS):
        for workers in counts:
            before_s = time.process_time()
            wall_s[workers].append(seconds_of(lambda workers=workers: run(workers)))
            processor_s[workers] += time.process_time() - before_s
    for workers in counts:
        seconds, used = median(wall_s[workers]), processor_s[workers] / sum(wall_s[workers])
        print(
            f"{REPLICATIONS} replications of {REQUESTS:,} requests, {workers} workers: {seconds:.2f} s, "
            f"{median(wall_s[1]) / seconds:.2f} times as fast as one; cores used {used:.2f}, "
            f"given to {workers} processes {cores_given(workers):.2f}"
        )


if __name__ == "__main__":
    warm_start()
    scaling()
