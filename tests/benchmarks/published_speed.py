"""Our search with FleetOpt's published model against ``vllm-sr-sim``'s, in one run, on one core.

``python -m tests.benchmarks.published_speed PYTHON``: PYTHON is the interpreter of a virtual environment in which
``vllm-sr-sim`` is installed, which nothing else here needs. Both sweep the 11 gammas at the boundary of the paper's
Table 3, at its rate and at ten times that, on the same CDF, and have to find the same GPUs, but for pools beyond 5,000,
where theirs gives up its search without the cap on utilisation. Medians of processor time,
warm, imports and compilation not counted. Ours at all boundaries of the CDF is timed too: theirs has no such search.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

from fleetopt.evidence.published_figures import AGENT_HEAVY, AZURE, LMSYS, PublishedWorkload
from fleetopt.evidence.reproduce import published_problem
from fleetopt.planner.published import GAMMAS, PublishedPlan, PublishedProblem, published_plan, two_pool_fleet

RATES_RPS = (1000.0, 10_000.0)
THEIR_MOST_GPUS = 5000
OUR_REPEATS, THEIR_REPEATS = 200, 3
THEIRS = """
import json, sys, time
from fleet_sim import A100_80GB, FleetOptimizer
asked = json.load(sys.stdin)
optimizer = FleetOptimizer(
    gpu_short=A100_80GB, gpu_long=A100_80GB, B_short=asked["boundary"], p_c=asked["compressible"], t_slo_ms=500.0
)
seconds = []
for _ in range(asked["repeats"]):
    start = time.process_time()
    found = optimizer.sweep_analytical(asked["cdf"], asked["rate"])
    seconds.append(time.process_time() - start)
gpus = [[result.n_s, result.n_l] for result in sorted(found, key=lambda result: result.gamma)]
print(json.dumps({"seconds": seconds, "gpus": gpus}))
"""


def theirs(python: str, workload: PublishedWorkload, problem: PublishedProblem) -> tuple[float, list[list[int]]]:
    """Median processor seconds of a sweep, and the GPUs of both pools at each gamma."""
    asked = {
        "boundary": workload.boundary_tokens,
        "compressible": workload.compressible_fraction,
        "cdf": [[int(tokens), fraction] for tokens, fraction in problem.cdf],
        "rate": problem.arrival_rate_rps,
        "repeats": THEIR_REPEATS,
    }
    done = subprocess.run([python, "-c", THEIRS], input=json.dumps(asked), check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    return median(found["seconds"]), found["gpus"]


def seconds_of(search: Callable[[], PublishedPlan | None], repeats: int) -> float:
    """Median processor seconds, the first call not counted."""
    search()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        search()
        seconds.append(time.process_time() - start)
    return median(seconds)


def _flat(gpus: list[list[int]]) -> list[int]:
    return [count for pools in gpus for count in pools]


def main(python: str) -> None:
    print(f"{'workload':12} {'req/s':>7} {'theirs ms':>10} {'ours ms':>8} {'ratio':>6} {'all boundaries ms':>18}")
    for workload in (AZURE, LMSYS, AGENT_HEAVY):
        for rate_rps in RATES_RPS:
            problem = published_problem(workload, rate_rps)
            boundary = workload.boundary_tokens
            their_s, their_gpus = theirs(python, workload, problem)
            our_gpus = [[pool.gpus for pool in two_pool_fleet(problem, boundary, gamma).pools] for gamma in GAMMAS]
            is_same = all(
                a == b for a, b in zip(_flat(their_gpus), _flat(our_gpus), strict=True) if a <= THEIR_MOST_GPUS
            )
            same = "" if is_same else f"  DIFFERENT: {their_gpus} and {our_gpus}"
            our_s = seconds_of(lambda asked=problem, at=boundary: published_plan(asked, [at]), OUR_REPEATS)
            all_s = seconds_of(lambda asked=problem: published_plan(asked), OUR_REPEATS // 10)
            print(
                f"{workload.name:12} {rate_rps:7,.0f} {1e3 * their_s:10.1f} {1e3 * our_s:8.2f} "
                f"{their_s / our_s:6,.0f} {1e3 * all_s:18.1f}{same}"
            )


if __name__ == "__main__":
    main(sys.argv[1])
