"""The simulator against ``vllm-sr-sim simulate`` on the Azure CDF at 200 requests/s, in simulated requests per second.

``python -m tests.benchmarks.fleet_sim_speed PYTHON [n_requests]``: PYTHON is the interpreter of a virtual environment
in which ``vllm-sr-sim`` is installed, which nothing else here needs. Its fleet is 50 + 10 A100 behind a length router,
its CDF the one it ships. It is timed as a whole command, and from inside around the event loop alone (arrivals drawn,
modules imported). It draws one service time for each request when that starts and moves every GPU at every event; it
has no iterations.

Ours is a fleet of 24 replicas at the same load and lengths, every iteration of it, on one core: of the profile that
both have (as published by FleetOpt), and of the measured one. The latter cannot carry 200 requests/s on 24 replicas,
whose queues then grow all along; on 100 it can. Timed in turn with the other, medians of processor time, on one core
both; the target is 100 times its event loop.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

from fleetopt.profiles import load_profile
from fleetopt.simulator import Fleet, Pool, simulate
from fleetopt.workload.lengths import lengths_from_cdf, sample
from fleetopt.workload.processes import poisson_arrivals
from fleetopt.workload.reference import load_reference
from fleetopt.workload.trace import Trace, make_trace

RATE_RPS = 200.0
THEIR_REQUESTS = 20_000
REPEATS = 5
TARGET = 100.0
FLEETS = (("fleetopt-a100", 24), ("a100-llama2-7b", 24), ("a100-llama2-7b", 100))
EVENT_LOOP = """
import sys, time
import run_sim
from fleet_sim.core.fleet import Fleet
plain = Fleet.run
def timed(self, arrivals, verbose=False):
    start = time.process_time()
    result = plain(self, arrivals, verbose)
    print("event loop", time.process_time() - start)
    return result
Fleet.run = timed
run_sim.main()
"""


def children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def their_seconds(python: str) -> tuple[float, float]:
    """Processor seconds of the whole command, and of its event loop."""
    found = subprocess.run(
        [python, "-c", "import fleet_sim, pathlib; print(pathlib.Path(fleet_sim.__file__).parent)"],
        check=True,
        capture_output=True,
        text=True,
    )
    cdf = Path(found.stdout.strip()) / "data" / "azure_cdf.json"
    options = [
        "--cdf",
        str(cdf),
        "--lam",
        f"{RATE_RPS:g}",
        "--n-s",
        "50",
        "--n-l",
        "10",
        "--n-req",
        str(THEIR_REQUESTS),
    ]
    command = str(Path(python).parent / "vllm-sr-sim")
    start = children_s()
    subprocess.run([command, "simulate", *options], check=True, capture_output=True)
    whole_s = children_s() - start
    inside = subprocess.run(
        [python, "-c", EVENT_LOOP, "simulate", *options], check=True, capture_output=True, text=True
    ).stdout
    (line,) = (line for line in inside.splitlines() if line.startswith("event loop"))
    return whole_s, float(line.split()[-1])


def azure_trace(n_requests: int) -> Trace:
    rng = np.random.default_rng(1)
    prompt, output, _ = sample(lengths_from_cdf(load_reference("azure").points), n_requests, rng)
    return make_trace(poisson_arrivals(RATE_RPS, n_requests, rng), prompt, output)


def main(python: str, n_requests: int) -> None:
    trace, warm = azure_trace(n_requests), azure_trace(100)
    fleets = []
    for name, replicas in FLEETS:
        profile = load_profile(name)
        fleets.append(Fleet((Pool("all", profile, replicas, profile.context_limit_tokens),)))
    simulate(warm, fleets[0])
    whole_s, loop_s = [], []
    ours_s: list[list[float]] = [[] for _ in fleets]
    results = [simulate(warm, fleet) for fleet in fleets]
    for _ in range(REPEATS):
        for samples, seconds in zip((whole_s, loop_s), their_seconds(python), strict=True):
            samples.append(seconds)
        for i, fleet in enumerate(fleets):
            start = time.process_time()
            results[i] = simulate(trace, fleet)
            ours_s[i].append(time.process_time() - start)
    command_rps, loop_rps = (THEIR_REQUESTS / median(samples) for samples in (whole_s, loop_s))
    print(f"vllm-sr-sim simulate, 50 + 10 A100: {command_rps:,.0f} requests/s, its event loop {loop_rps:,.0f}")
    print(f"{'profile':16} {'replicas':>8} {'mean batch':>10} {'requests/s':>12} {'x command':>10} {'x loop':>8}")
    for (name, replicas), seconds, result in zip(FLEETS, ours_s, results, strict=True):
        used, rps = result.utilization[0], n_requests / median(seconds)
        verdict = "met" if rps >= TARGET * loop_rps else "MISSED"
        print(
            f"{name:16} {replicas:8d} {used.mean_running / used.busy:10.1f} {rps:12,.0f} {rps / command_rps:10.0f} "
            f"{rps / loop_rps:8.0f} {verdict}"
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 200_000)
