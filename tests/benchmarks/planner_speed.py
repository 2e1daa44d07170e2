"""Time of the planner: ``python -m tests.benchmarks.planner_speed [PYTHON]``.

The problem of arXiv 2603.16514: a published CDF of 18 points, all its boundaries, gamma 1.0 to 2.0 in steps of 0.1, two
pools, FleetOpt's A100, 1000 requests/s, a P99 TTFT of 0.5 s, at most 85 % load. Then 500 boundaries and 41 gammas, at
rates from 20 to 200,000 requests/s. Processor time of ``plan_fleet`` as a whole, its answer described, and of the
search alone; compiled and warm. Every call asks for another rate and target, so nothing comes from a cache.

Targets of the issue that asked for it: medians of 1 ms and 20 ms, no growth with the rate, and at least 100 times as
fast as ``vllm-sr-sim`` sweeping gamma at one boundary. PYTHON is the interpreter of a virtual environment in which
that is installed, which nothing else here needs; its sweep is timed from inside, modules imported, at the default
settings of its command ``optimize`` and the same rate, target and gammas, in the same run.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from fleetopt.planner.best_first import cheapest
from fleetopt.planner.problem import Offer, Problem, Slo
from fleetopt.planner.search import plan_fleet
from fleetopt.profiles import load_profile
from fleetopt.workload.lengths import lengths_from_cdf
from fleetopt.workload.reference import load_reference, reference_names

REPEATS, PAPERS_RATE_RPS, PAPERS_TARGET_S, PAPERS_BOUNDARY = 51, 1000.0, 0.5, 4096
RATES_RPS = (20.0, 200.0, 2_000.0, 20_000.0, 200_000.0)
MANY_BOUNDARIES, MANY_GAMMAS = 500, 41
PAPER_TARGET_MS, MANY_TARGET_MS, TARGET_RATIO = 1.0, 20.0, 100.0
THEIR_SWEEP = """
import json, sys, time
from pathlib import Path
import fleet_sim
from fleet_sim.gpu_profiles import A100_80GB
from fleet_sim.optimizer import FleetOptimizer
cdf = json.loads((Path(fleet_sim.__file__).parent / "data" / "azure_cdf.json").read_text())
cdf = cdf["cdf"] if isinstance(cdf, dict) else cdf
optimizer = FleetOptimizer(A100_80GB, A100_80GB, int(sys.argv[1]), t_slo_ms=1e3 * float(sys.argv[3]))
gammas = [1 + step / 10 for step in range(11)]
times = []
for _ in range(5):
    start = time.process_time()
    optimizer.sweep_analytical(cdf, float(sys.argv[2]), gammas)
    times.append(time.process_time() - start)
print(sorted(times)[2])
"""


def papers_problem(name: str, call: int) -> Problem:
    """The problem of the paper for one of its workloads; a little different for every call."""
    points = load_reference(name).points
    return Problem(
        lengths=lengths_from_cdf(points, 0.2, 1.0, name),
        arrival_rate_rps=PAPERS_RATE_RPS * (1 + call / 997),
        slo=Slo(ttft_p99_s=PAPERS_TARGET_S * (1 + call / 1999)),
        offers=(Offer(profile=load_profile("fleetopt-a100")),),
        max_context_tokens=int(points[-1][0]),
        boundaries_tokens=tuple(int(tokens) for tokens, _ in points),
        spare_replicas=0,
        max_gamma=2.0,
    )


def many_cells(rate_rps: float, call: int) -> Problem:
    """Five hundred boundaries and 41 gammas on the lengths of Azure."""
    points = load_reference("azure").points
    boundaries = np.geomspace(64, points[-1][0] - 1, MANY_BOUNDARIES + 60).astype(int)
    return Problem(
        lengths=lengths_from_cdf(points, 0.2, 1.0, "azure"),
        arrival_rate_rps=rate_rps * (1 + call / 997),
        slo=Slo(ttft_p99_s=PAPERS_TARGET_S * (1 + call / 1999)),
        offers=(Offer(profile=load_profile("fleetopt-a100")),),
        max_context_tokens=int(points[-1][0]),
        boundaries_tokens=tuple(np.unique(boundaries)[-MANY_BOUNDARIES:].tolist()),
        spare_replicas=0,
        max_gamma=2.0,
        gamma_step=1 / (MANY_GAMMAS - 1),
    )


def milliseconds(solve: Callable[[Problem], object], problems: list[Problem]) -> list[float]:
    times = []
    for problem in problems:
        start = time.process_time()
        solve(problem)
        times.append(1e3 * (time.process_time() - start))
    return times


def report(label: str, problems: list[Problem], target_ms: float) -> float:
    """Print one line; return the median of the whole, ms."""
    milliseconds(plan_fleet, problems[:2])
    whole, alone = milliseconds(plan_fleet, problems), milliseconds(cheapest, problems)
    result = plan_fleet(problems[0])
    assert result.effort is not None
    verdict = "met" if median(whole) < target_ms else "MISSED"
    effort = result.effort
    replicas = "+".join(str(pool.replicas) for pool in result.plan.pools) if result.plan else "infeasible"
    print(
        f"{label:24} {replicas:>12} {effort.cells:7,d} {effort.opened:6,d} {effort.pools_sized:5d} "
        f"{median(alone):9.2f} {median(whole):9.2f} {max(whole):9.2f} {verdict}"
    )
    return median(whole)


def main(python: str | None) -> None:
    head = f"{'problem':24} {'replicas':>12} {'cells':>7} {'opened':>6} {'sized':>5}"
    print(f"{head} {'search ms':>9} {'plan ms':>9} {'worst ms':>9}")
    papers_ms = {
        name: report(name, [papers_problem(name, call) for call in range(REPEATS)], PAPER_TARGET_MS)
        for name in reference_names()
    }
    for rate_rps in RATES_RPS:
        problems = [many_cells(rate_rps, call) for call in range(REPEATS // 5)]
        report(f"500 x 41, {rate_rps:,.0f}/s", problems, MANY_TARGET_MS)
    if python is None:
        return
    arguments = (str(PAPERS_BOUNDARY), str(PAPERS_RATE_RPS), str(PAPERS_TARGET_S))
    found = subprocess.run([python, "-c", THEIR_SWEEP, *arguments], check=True, capture_output=True, text=True)
    their_ms = 1e3 * float(found.stdout)
    ratio = their_ms / papers_ms["azure"]
    verdict = "met" if ratio >= TARGET_RATIO else "MISSED"
    print(f"vllm-sr-sim, azure, one boundary, 11 gammas: {their_ms:,.0f} ms, {ratio:,.0f} times ours for all {verdict}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
