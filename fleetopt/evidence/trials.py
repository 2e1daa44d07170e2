"""Fleets simulated over replications: whether each pool keeps up, its P99 TTFT, the slots it uses."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial

import numpy as np

from fleetopt.simulator import Fleet, Pool, SimulationResult
from fleetopt.simulator.replications import replicate
from fleetopt.simulator.statistics import (
    Interval,
    Stability,
    combined_stability,
    replication_interval,
    stability_verdict,
    steady_part,
)
from fleetopt.workload.lengths import JointLengths
from fleetopt.workload.processes import poisson_arrivals
from fleetopt.workload.synthesis import synthesize
from fleetopt.workload.trace import Trace

_P99 = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedPool:
    """What the simulator says of a pool, over replications.

    Attributes
    ----------
    stability : Stability
    backlog_growth : Interval
        What the requests without a first token grow by, as a share of the arrivals.
    ttft_p99_s : Interval
        Without warm-up, s; grows with the length of the run where the pool is unstable.
    slot_utilization : Interval
        Mean running requests / slots, from a third of the arrivals to the last.
    """

    stability: Stability
    backlog_growth: Interval
    ttft_p99_s: Interval
    slot_utilization: Interval

    @property
    def is_stable(self) -> bool:
        """Whether the verdict is ``stable``."""
        return self.stability.verdict == "stable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A fleet to simulate under Poisson arrivals.

    Attributes
    ----------
    fleet : Fleet
    lengths : JointLengths
    arrival_rate_rps : float
    what : str
        In words; for whoever watches.
    """

    fleet: Fleet
    lengths: JointLengths
    arrival_rate_rps: float
    what: str = field(compare=False)


def run_trials(
    trials: Sequence[Trial],
    seed: int,
    *,
    requests: int,
    span_s: float,
    replications: int,
    workers: int | None = None,
    on_progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> dict[Trial, tuple[SimulatedPool, ...]]:
    """Simulate fleets, equal ones once.

    Parameters
    ----------
    trials : sequence of Trial
    seed : int
        Trials of one workload and rate see the same requests.
    requests : int
        Of a replication, at least.
    span_s : float
        Arrivals last at least so long, s.
    replications : int
    workers : int or None
        Threads; None for as many as there are cores.
    on_progress : callable
        Told the replications done, those in all, and what is being simulated.

    Returns
    -------
    dict
        Pools of each trial's fleet, in their order.
    """
    found: dict[Trial, tuple[SimulatedPool, ...]] = {}
    different = list(dict.fromkeys(trials))
    total = len(different) * replications
    for trial in different:
        done = len(found) * replications
        on_progress(done, total, trial.what)
        runs = replicate(
            partial(_trace, trial, max(requests, int(trial.arrival_rate_rps * span_s)), seed),
            trial.fleet,
            replications,
            seed,
            summarize=partial(_measured, fleet=trial.fleet),
            on_progress=partial(_tell, on_progress, done, total, trial.what),
            max_workers=workers,
        )
        found[trial] = tuple(_over_replications([run[pool] for run in runs]) for pool in range(len(trial.fleet.pools)))
    return found


def _tell(on_progress: Callable[[int, int, str], None], before: int, total: int, what: str, done: int, _: int) -> None:
    on_progress(before + done, total, what)


def _trace(trial: Trial, n_requests: int, seed: int, replication: int) -> Trace:
    process = partial(poisson_arrivals, trial.arrival_rate_rps)
    return synthesize(process, trial.lengths, n_requests, seed, replication)


@dataclass(frozen=True, slots=True, kw_only=True)
class _PoolRun:
    """Figures of a pool in one run, as in `SimulatedPool`."""

    stability: Stability
    backlog_growth: float
    ttft_p99_s: float
    slot_utilization: float


def _measured(result: SimulationResult, fleet: Fleet) -> tuple[_PoolRun, ...]:
    """Figures of every pool of a run."""
    return tuple(_measured_pool(_only(result, index), pool, result.arrival_s) for index, pool in enumerate(fleet.pools))


def _only(result: SimulationResult, pool: int) -> SimulationResult:
    """The requests of one pool."""
    mask = result.pool == pool
    values = ((field.name, getattr(result, field.name)) for field in fields(result))
    return replace(result, **{name: value[mask] for name, value in values if isinstance(value, np.ndarray)})


def _measured_pool(result: SimulationResult, pool: Pool, arrival_s: np.ndarray) -> _PoolRun:
    part = steady_part(result.arrival_s, result.ttft_s, result.e2e_s)
    start_s, end_s = float(arrival_s[len(arrival_s) // 3]), float(arrival_s[-1])
    running_s = np.clip(result.finish_s, start_s, end_s) - np.clip(result.admitted_s, start_s, end_s)
    # Who came by then and has no first token yet, now and at the start: a steady pool has as many.
    backlogs = [
        int((result.arrival_s <= time_s).sum() - (result.first_token_s <= time_s).sum()) for time_s in (start_s, end_s)
    ]
    arrivals = int((result.arrival_s > start_s).sum())
    return _PoolRun(
        stability=stability_verdict(result),
        backlog_growth=(backlogs[1] - backlogs[0]) / max(arrivals, 1),
        ttft_p99_s=float(np.quantile(result.ttft_s[part], _P99, method="inverted_cdf")) if len(result) else math.nan,
        slot_utilization=float(running_s.sum()) / (end_s - start_s) / (pool.replicas * pool.profile.max_sequences),
    )


def _over_replications(runs: list[_PoolRun]) -> SimulatedPool:
    def interval(name: str) -> Interval:
        return replication_interval(np.array([getattr(run, name) for run in runs]))

    return SimulatedPool(
        stability=combined_stability([run.stability for run in runs]),
        backlog_growth=interval("backlog_growth"),
        ttft_p99_s=interval("ttft_p99_s"),
        slot_utilization=interval("slot_utilization"),
    )
