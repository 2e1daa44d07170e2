"""Requests per second of the warm simulator: ``python -m tests.benchmarks.simulator_speed [n_requests]``.

One replica at two loads, and fleets of 24 and 200 replicas at the load per replica of the first line. Lengths are
geometric with the means of a chat workload, arrivals Poisson, the profile is the measured one that ships. Seconds are
of processor time, so that other work on the machine disturbs less; the simulator runs on one core.
"""

import sys
import time

import numpy as np

from fleetopt.profiles import load_profile
from fleetopt.simulator import Fleet, Pool, simulate
from fleetopt.workload.trace import Trace, make_trace

MEAN_PROMPT_TOKENS, MEAN_OUTPUT_TOKENS = 512, 200
CELLS = ((1, 5.75), (1, 8.6), (24, 5.75), (200, 5.75))  # replicas, requests per second and replica
REPEATS = 3


def chat_trace(n_requests: int, rate_rps: float, seed: int) -> Trace:
    rng = np.random.default_rng(seed)
    return make_trace(
        np.cumsum(rng.exponential(1.0 / rate_rps, n_requests)),
        np.minimum(rng.geometric(1.0 / MEAN_PROMPT_TOKENS, n_requests), 8192),
        np.minimum(rng.geometric(1.0 / MEAN_OUTPUT_TOKENS, n_requests), 4096),
    )


def main(n_requests: int) -> None:
    profile = load_profile("a100-llama2-7b")
    print(f"{'replicas':>8} {'mean batch':>10} {'requests/s':>12} {'iterations/s':>13} {'ns/sequence step':>16}")
    for n_replicas, rate_rps in CELLS:
        fleet = Fleet((Pool("all", profile, n_replicas, profile.context_limit_tokens),))
        trace = chat_trace(n_requests, rate_rps * n_replicas, seed=1)
        simulate(chat_trace(100, rate_rps, seed=0), fleet)
        best_s = np.inf
        for _ in range(REPEATS):
            start = time.process_time()
            used = simulate(trace, fleet).utilization[0]
            best_s = min(best_s, time.process_time() - start)
        batch = used.mean_running / used.busy
        print(
            f"{n_replicas:8d} {batch:10.1f} {n_requests / best_s:12,.0f} {used.iterations / best_s:13,.0f} "
            f"{1e9 * best_s / (used.iterations * batch):16.2f}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
