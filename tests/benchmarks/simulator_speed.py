"""The simulator against a plain compiled loop: ``python -m tests.benchmarks.simulator_speed [n_requests]``.

Both run the same requests in turn, several times, in one process; what counts is the ratio of the median times, which
other work on the machine disturbs least. Seconds are of processor time, both run on one core, compiled code is warm.
Lengths are geometric with the means of a chat workload, arrivals Poisson, the profile is the measured one that ships;
one replica at five loads, and fleets of 24 and 200 replicas. First tokens and finishes are compared as well.
"""

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from fleetopt.profiles import load_profile
from fleetopt.simulator import Fleet, Pool, simulate
from fleetopt.workload.trace import Trace, make_trace
from tests.benchmarks.plain_loop import simulate_plain

MEAN_PROMPT_TOKENS, MEAN_OUTPUT_TOKENS = 512, 200
REPEATS = 5


class Cell(NamedTuple):
    replicas: int
    rate_rps: float  # per replica
    target: float  # least speed as a multiple of the plain loop's; 0 if none is set


CELLS = (
    Cell(1, 2.1, 0.0),
    Cell(1, 5.6, 0.0),
    Cell(1, 8.5, 3.0),
    Cell(1, 8.9, 3.0),
    Cell(1, 10.4, 3.0),
    Cell(24, 5.6, 0.0),
    Cell(24, 9.0, 3.0),
    Cell(200, 5.6, 0.0),
    Cell(200, 9.0, 3.0),
)
"""Mean batches of about 5, 20, 50, 58 and 107 on one replica; less in fleets, whose replicas start and end empty."""


def chat_trace(n_requests: int, rate_rps: float, seed: int) -> Trace:
    rng = np.random.default_rng(seed)
    return make_trace(
        np.cumsum(rng.exponential(1.0 / rate_rps, n_requests)),
        np.minimum(rng.geometric(1.0 / MEAN_PROMPT_TOKENS, n_requests), 8192),
        np.minimum(rng.geometric(1.0 / MEAN_OUTPUT_TOKENS, n_requests), 4096),
    )


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = run()
    return time.process_time() - start, result


def measure(cell: Cell, n_requests: int) -> None:
    profile = load_profile("a100-llama2-7b")
    fleet = Fleet((Pool("all", profile, cell.replicas, profile.context_limit_tokens),))
    trace = chat_trace(n_requests, cell.rate_rps * cell.replicas, seed=1)
    plain_s, ours_s = [], []
    for _ in range(REPEATS):
        seconds, plain = timed(lambda: simulate_plain(trace, fleet))
        plain_s.append(seconds)
        seconds, ours = timed(lambda: simulate(trace, fleet))
        ours_s.append(seconds)
    difference = max(
        float(np.nanmax(np.abs(mine - theirs) / theirs))
        for mine, theirs in ((ours.first_token_s, plain.first_token_s), (ours.finish_s, plain.finish_s))
    )
    ratio = median(plain_s) / median(ours_s)
    verdict = "" if cell.target == 0.0 else f"{cell.target:.0f}x {'met' if ratio >= cell.target else 'MISSED'}"
    print(
        f"{cell.replicas:8d} {plain.mean_batch:10.1f} {plain.iterations / n_requests:14.2f} "
        f"{n_requests / median(plain_s):12,.0f} {n_requests / median(ours_s):12,.0f} {ratio:7.2f} "
        f"{verdict:10} {difference:10.1e}",
        flush=True,
    )


def main(n_requests: int) -> None:
    for run in (simulate_plain, simulate):
        profile = load_profile("a100-llama2-7b")
        run(chat_trace(100, 1.0, seed=0), Fleet((Pool("all", profile, 1, profile.context_limit_tokens),)))
    print(
        f"{'replicas':>8} {'mean batch':>10} {'iterations/req':>14} {'plain req/s':>12} {'ours req/s':>12} "
        f"{'ratio':>7} {'target':10} {'difference':>10}"
    )
    for cell in CELLS:
        measure(cell, n_requests)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
