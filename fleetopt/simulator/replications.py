"""Independent replications of a simulation on all cores, and a fleet summarised over them."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import partial
from typing import TypeVar

import numba
import numpy as np

from fleetopt.simulator.fleet import Fleet
from fleetopt.simulator.measures import (
    ATTAINMENT,
    LATENCY_METRICS,
    FleetSummary,
    Measure,
    RunMeasures,
    SummaryRow,
    measure_run,
    summary_row,
)
from fleetopt.simulator.result import SimulationResult
from fleetopt.simulator.run import simulate
from fleetopt.simulator.statistics import (
    Interval,
    SloTargets,
    combined_stability,
    grouped_share_interval,
    replication_interval,
)
from fleetopt.workload.trace import Trace

T = TypeVar("T")

_ROUTING = 3
"""Purpose of the stream that routers draw from; 0 to 2 are those of `fleetopt.workload.synthesis`."""
_LEAST_BEYOND = 10
"""Requests beyond a quantile that a replication needs, so that its own quantile is no worse than slightly biased."""
_LEAST_BEYOND_TPOT = 80
"""The same for a time per token: those that run together are alike. A difference of two fleets loses the bias."""


def replicate(
    make_trace: Callable[[int], Trace],
    fleet: Fleet,
    n_replications: int,
    seed: int,
    *,
    summarize: Callable[[SimulationResult], T],
    on_progress: Callable[[int, int], None] | None = None,
    max_workers: int | None = None,
) -> list[T]:
    """Simulate independent traces in threads, and keep a summary of each run.

    Parameters
    ----------
    make_trace : callable
        Makes the trace of a replication from its number, 0 to n_replications - 1; called in threads, so it must not
        change anything shared. For instance ``lambda r: synthesize(process, lengths, n, seed, r)``.
    fleet : Fleet
    n_replications : int
        At least 1.
    seed : int
        Of what routers draw at random: every replication has a stream of its own, the same for every fleet.
    summarize : callable
        Takes what is needed from a result, which is dropped afterwards; called in threads.
    on_progress : callable, optional
        Told, in the calling thread, how many replications are done, and how many there are.
    max_workers : int, optional
        Threads, and so the most results in memory at once; by default as many as Numba may use: the cores that this
        process may run on.

    Returns
    -------
    list
        Summaries in order of the replication's number, whatever the number of threads.

    Raises
    ------
    ValueError
        If there are no replications or no workers.

    Notes
    -----
    The simulator's kernel runs without Python's global lock, so threads do use all cores and share one compiled kernel.
    What fails in a replication is raised here, and no further replication is started.
    """
    if n_replications < 1:
        raise ValueError(f"{n_replications} replications; it has to be at least 1")

    def run(replication: int) -> T:
        return summarize(simulate(make_trace(replication), fleet, seed=routing_seed(seed, replication)))

    return run_in_threads(
        [partial(run, replication) for replication in range(n_replications)], on_progress, max_workers
    )


def run_in_threads(
    jobs: Sequence[Callable[[], T]],
    on_progress: Callable[[int, int], None] | None = None,
    max_workers: int | None = None,
) -> list[T]:
    """Call every job, in threads, and return what they return, in their order; parameters as in `replicate`."""
    workers = numba.config.NUMBA_NUM_THREADS if max_workers is None else max_workers  # type: ignore[attr-defined]
    if workers < 1:
        raise ValueError(f"{workers} workers; it has to be at least 1")
    executor = ThreadPoolExecutor(max_workers=workers)
    try:
        futures = [executor.submit(job) for job in jobs]
        pending = set(futures)
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()  # raises what the job raised
            if on_progress is not None:
                on_progress(len(futures) - len(pending), len(futures))
        return [future.result() for future in futures]
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def routing_seed(seed: int, replication: int) -> int:
    """Seed of the routers in one replication: each has draws of its own, the same for every fleet."""
    return int(np.random.SeedSequence(seed, spawn_key=(_ROUTING, replication)).generate_state(1, np.uint64)[0])


def measure_replications(
    make_trace: Callable[[int], Trace],
    fleet: Fleet,
    n_replications: int,
    seed: int,
    *,
    targets: SloTargets | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    max_workers: int | None = None,
    cut_warm_up: bool = True,
) -> list[RunMeasures]:
    """Take the figures of every replication; parameters as in `replicate` and `measure_run`."""
    return replicate(
        make_trace,
        fleet,
        n_replications,
        seed,
        summarize=partial(measure_run, fleet=fleet, targets=targets, cut_warm_up=cut_warm_up),
        on_progress=on_progress,
        max_workers=max_workers,
    )


def summarize_replications(runs: Sequence[RunMeasures], confidence: float = 0.95) -> FleetSummary:
    """Summarise a fleet over independent replications.

    Parameters
    ----------
    runs : sequence of RunMeasures
        One per replication, as of `measure_replications`; at least one.
    confidence : float
        Of each interval, between 0 and 1.

    Returns
    -------
    FleetSummary
        Student-t intervals over the replications; for the attainment Wilson's with the design effect of the
        replications, since shares near 1 are not normal. The interval of a quantile is left open where a replication
        has fewer than 10 requests beyond it (1,000 for a P99): its own quantiles are biased then, and an interval
        around their mean would be wrong, not wide. The time per token, whose tail a few crowded periods make, takes 80
        (8,000 for a P99), and even then more than that: with ten replications at 78 % of the stability limit intervals
        called 95 % held its P99 in 42 % of cases at 5,000 requests each, 80 % at 20,000; all other figures in 82 % to
        95 %, and 95 % to 100 %.
    """
    rows = [_row(measure, runs, confidence) for measure in runs[0].figures]
    return FleetSummary(
        replications=len(runs), rows=tuple(rows), stability=combined_stability([run.stability for run in runs])
    )


def _row(measure: Measure, runs: Sequence[RunMeasures], confidence: float) -> SummaryRow:
    if measure.metric == ATTAINMENT:
        hits, requests = np.array([run.attained[measure.pool] for run in runs]).T
        interval = grouped_share_interval(hits, requests, confidence)
        return summary_row(measure, interval, f"Wilson over {len(runs)} replications")
    interval = replication_interval(np.array([run.figures[measure] for run in runs]), confidence)
    is_tpot = LATENCY_METRICS.get(measure.metric, ("", None))[0] == "tpot"
    if reason := open_because(measure, runs, _LEAST_BEYOND_TPOT if is_tpot else _LEAST_BEYOND):
        return summary_row(measure, Interval(interval.estimate, -np.inf, np.inf), reason)
    return summary_row(measure, interval, f"t over {len(runs)} replications")


def open_because(measure: Measure, runs: Sequence[RunMeasures], least_beyond: int = _LEAST_BEYOND) -> str:
    """Why the replications give no interval of a figure; empty if they do."""
    if len(runs) < 2:
        return "one replication"
    _, probability = LATENCY_METRICS.get(measure.metric, (None, None))
    if probability is not None:
        beyond = min(probability, 1.0 - probability) * min(run.counted[measure] for run in runs)
        if beyond < least_beyond - 1e-9:
            return "too few requests per replication"
    return "" if all(np.isfinite(run.figures[measure]) for run in runs) else "nothing to measure in a replication"
