"""Proof of a plan in the simulator: on the day's own requests and on a Poisson stream at the planned peak; repair."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from fleetopt.planner.mixture import split
from fleetopt.planner.plan import FleetPlan, PoolPlan
from fleetopt.planner.problem import Problem
from fleetopt.planner.sizing import resize_pool
from fleetopt.simulator import PoolUtilization, SimulationResult, simulate
from fleetopt.simulator.replications import replicate
from fleetopt.simulator.statistics import (
    Interval,
    block_bootstrap_quantile,
    mser5_cutoff,
    replication_interval,
    slo_verdict,
    stability_verdict,
)
from fleetopt.workload.lengths import sample
from fleetopt.workload.processes import poisson_arrivals
from fleetopt.workload.trace import Trace, make_trace

Verdict = Literal["confirmed", "refuted", "undecided"]
REPLAY, PEAK = "replay", "poisson_peak"
QUANTILE_GRID = tuple(
    round(float(p), 4)
    for p in np.concatenate([np.arange(0, 0.9, 0.05), np.arange(0.9, 0.985, 0.01), np.linspace(0.99, 1, 11)])
)
"""Probabilities at which the distribution of TTFT is kept for the report."""

_TARGET_PROBABILITY = 0.99
_REPLICATIONS, _MOST_REPLICATIONS = 10, 20
_LOOK_CONFIDENCE = 1 - 0.05 / (_MOST_REPLICATIONS // _REPLICATIONS)
"""The peak stream is looked at after 10 and after 20 replications; Bonferroni keeps 95 % over all looks."""
_REQUESTS, _POOL_REQUESTS = 20_000, 2_000
_MOST_FOR_A_POOL, _MOST_REQUESTS = 60_000, 1_000_000
"""Caps on the requests of a replication: to fill a small pool, and to span a steady state."""
_RESIDENCES, _FEWEST_RESIDENCES = 20, 10
"""Mean times in service that a replication spans, and the fewest that say anything of a steady state."""
_ENOUGH_PER_REPLICATION = 1_000
"""With fewer requests in a replication its own P99 is biased low; then all replications are taken together."""
_ROUNDS = 12
_LEAST_GAIN = 0.005
"""Share of the target that a failing P99 has to fall by in a repair, or more replicas will not mend it."""
_STREAMS = {"arrivals": 0, "lengths": 1, "compressible": 2, "replay": 3, "peak": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolEvidence:
    """What a scenario says of one pool, its spares down.

    Attributes
    ----------
    scenario : {"replay", "poisson_peak"}
    pool : str
    replicas, replications, requests, rejected, preemptions : int
    ttft_p99_s, ttft_p99_lower_s, ttft_p99_upper_s : float
        Estimate and 95 % interval, s; nan where there are no requests.
    slot_utilization, kv_utilization, busy : float
        Over all time, idle included.
    verdict : {"confirmed", "refuted", "undecided"}
    note : str
        What a reader has to know of the verdict.
    ttft_quantiles_s : tuple of float
        TTFT at ``QUANTILE_GRID``, s.
    """

    scenario: str
    pool: str
    replicas: int
    replications: int
    requests: int
    rejected: int
    preemptions: int
    ttft_p99_s: float
    ttft_p99_lower_s: float
    ttft_p99_upper_s: float
    slot_utilization: float
    kv_utilization: float
    busy: float
    verdict: Verdict
    note: str
    ttft_quantiles_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A plan, repaired where needed, with its evidence and verdict."""

    plan: FleetPlan
    verdict: Verdict
    evidence: tuple[PoolEvidence, ...]
    repairs: tuple[str, ...]


def prove(
    plan: FleetPlan,
    problem: Problem,
    day: Trace,
    seed: int,
    on_progress: Callable[[str], None] = lambda message: None,
) -> Proof:
    """Simulate a plan; add replicas to the pools that fail and simulate again, until it is confirmed or rounds run out.

    Every spare replica is down in every simulation. A plan is confirmed if each pool is confirmed on the Poisson stream
    at the planned peak and on the day's own requests; a pool with too few requests that day to bound a P99 (368 are
    needed, see `block_bootstrap_quantile`) needs only not to be refuted there.

    Parameters
    ----------
    plan : FleetPlan
    problem : Problem
        Gives the target, the lengths and the planned rate.
    day : Trace
        The day's own requests within the context limit.
    seed : int
    on_progress : callable
        Told, in words, what is being simulated.
    """
    repairs: list[str] = []
    before: tuple[PoolEvidence, ...] = ()
    mixtures = split(problem.lengths, plan.boundaries_tokens, plan.gamma)
    for attempt in range(_ROUNDS + 1):
        on_progress(f"simulating {plan.replicas} replicas" + (f", repair {attempt}" if attempt else ""))
        evidence = (*_peak_evidence(plan, problem, seed), *replay_evidence(plan, day, problem.slo.ttft_p99_s, seed))
        verdicts = {pool.name: _pool_verdict(pool.name, evidence) for pool in plan.pools}
        overall = _worst(verdicts.values())
        if overall == "confirmed" or attempt == _ROUNDS or not _still_falling(evidence, before, problem.slo.ttft_p99_s):
            break
        before = evidence
        pools: list[PoolPlan] = []
        for pool, mixture in zip(plan.pools, mixtures, strict=True):
            if verdicts[pool.name] == "confirmed":
                pools.append(pool)
                continue
            added = _replicas_to_add(pool, verdicts[pool.name], evidence, problem.slo.ttft_p99_s)
            repairs.append(
                f"{pool.name} pool {verdicts[pool.name]} with {pool.loaded_replicas} replicas: {added} added"
            )
            pools.append(resize_pool(pool, mixture, pool.loaded_replicas + added, "simulation"))
        plan = replace(plan, pools=tuple(pools))
    return Proof(plan=plan, verdict=overall, evidence=evidence, repairs=tuple(repairs))


def replay_evidence(plan: FleetPlan, day: Trace, slo_ttft_p99_s: float, seed: int) -> tuple[PoolEvidence, ...]:
    """Replay a day's own requests on a plan, its spares down; the interval is a block bootstrap over the day."""
    evidence = []
    for index, (pool, run) in enumerate(
        zip(plan.pools, _pool_runs(simulate(day, plan.fleet()), cut_warm_up=False), strict=True)
    ):
        interval, note = Interval(np.nan, -np.inf, np.inf), "no request of the day reaches this pool"
        if len(run.ttft_s) > 0:
            rng = _stream(seed, "replay", index)
            interval = block_bootstrap_quantile(run.ttft_s, _TARGET_PROBABILITY, n_blocks=30, n_resamples=1000, rng=rng)
            note = ""
            if np.isinf(interval.upper):
                note = f"{len(run.ttft_s)} requests are too few to bound a P99; the peak stream decides"
        verdict = slo_verdict(interval.lower, interval.upper, slo_ttft_p99_s)
        evidence.append(_pool_evidence(REPLAY, pool, [run], interval, verdict, note))
    return tuple(evidence)


def day_trace(
    arrival_s: np.ndarray,
    prompt_tokens: np.ndarray,
    output_tokens: np.ndarray,
    compressible_fraction: np.ndarray,
    seed: int,
) -> Trace:
    """A day's requests as a trace; which of them are compressible is drawn with each one's own probability."""
    drawn = _stream(seed, "compressible", 0).random(len(arrival_s)) < compressible_fraction
    return make_trace(arrival_s, prompt_tokens, output_tokens, drawn)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _PoolRun:
    """What is kept of one pool in one simulation."""

    ttft_s: np.ndarray
    requests: int
    rejected: int
    preemptions: int
    utilization: PoolUtilization
    is_unstable: bool


def _pool_runs(result: SimulationResult, *, cut_warm_up: bool) -> list[_PoolRun]:
    """Take what evidence needs from a simulation, whose own arrays are large."""
    is_unstable = cut_warm_up and stability_verdict(result).verdict == "unstable"
    runs = []
    for index, utilization in enumerate(result.utilization):
        in_pool = result.pool == index
        ttft_s = result.ttft_s[result.pool_mask(index)]
        runs.append(
            _PoolRun(
                ttft_s=ttft_s[mser5_cutoff(ttft_s) :].copy() if cut_warm_up else ttft_s,
                requests=int(in_pool.sum()),
                rejected=int((in_pool & result.is_rejected).sum()),
                preemptions=int(result.preemptions[in_pool].sum()),
                utilization=utilization,
                is_unstable=is_unstable,
            )
        )
    return runs


def _peak_evidence(plan: FleetPlan, problem: Problem, seed: int) -> tuple[PoolEvidence, ...]:
    """Poisson replications at the planned peak; more of them while a pool is undecided."""
    n_requests = _requests_per_replication(plan, problem)
    runs: list[list[_PoolRun]] = []
    evidence: tuple[PoolEvidence, ...] = ()
    while len(runs) < _MOST_REPLICATIONS:

        def make_trace(replication: int, done: int = len(runs)) -> Trace:
            return _peak_trace(problem, n_requests, seed, done + replication)

        runs += replicate(
            make_trace, plan.fleet(), _REPLICATIONS, seed, summarize=partial(_pool_runs, cut_warm_up=True)
        )
        evidence = tuple(
            _peak_pool_evidence(pool, [run[index] for run in runs], problem, n_requests, _stream(seed, "peak", index))
            for index, pool in enumerate(plan.pools)
        )
        if all(pool.verdict != "undecided" for pool in evidence):
            break
    return evidence


def _peak_trace(problem: Problem, n_requests: int, seed: int, replication: int) -> Trace:
    """Poisson arrivals at the planned rate with lengths drawn from the window; the same for every plan."""
    arrival_s = poisson_arrivals(problem.arrival_rate_rps, n_requests, _stream(seed, "arrivals", replication))
    lengths = sample(problem.lengths, n_requests, _stream(seed, "lengths", replication))
    return make_trace(arrival_s, *lengths)


def _requests_per_replication(plan: FleetPlan, problem: Problem) -> int:
    """Enough requests for the smallest pool's P99, and enough time for the slowest pool's requests to come and go."""
    smallest_share = min(pool.arrival_rate_rps for pool in plan.pools) / problem.arrival_rate_rps
    span_s = _RESIDENCES * max(pool.residence_s for pool in plan.pools)
    for_pools = min(_MOST_FOR_A_POOL, max(_REQUESTS, _POOL_REQUESTS / smallest_share))
    return int(min(_MOST_REQUESTS, max(for_pools, problem.arrival_rate_rps * span_s)))


def _peak_pool_evidence(
    pool: PoolPlan, runs: list[_PoolRun], problem: Problem, n_requests: int, rng: np.random.Generator
) -> PoolEvidence:
    """Interval of the P99 over replications, each cut at the end of its warm-up, and what keeps it from counting."""
    if min(len(run.ttft_s) for run in runs) >= _ENOUGH_PER_REPLICATION:
        p99_s = np.array([np.quantile(run.ttft_s, _TARGET_PROBABILITY, method="inverted_cdf") for run in runs])
        interval = replication_interval(p99_s, _LOOK_CONFIDENCE)
    else:
        together = np.concatenate([run.ttft_s for run in runs])
        interval = block_bootstrap_quantile(together, _TARGET_PROBABILITY, 10 * len(runs), 1000, rng, _LOOK_CONFIDENCE)
    verdict, note = slo_verdict(interval.lower, interval.upper, problem.slo.ttft_p99_s), ""
    span_s = n_requests / problem.arrival_rate_rps
    unstable = sum(run.is_unstable for run in runs)
    if verdict == "confirmed" and span_s < _FEWEST_RESIDENCES * pool.residence_s:
        verdict, note = "undecided", f"{span_s:.3g} s of simulated time are too few to see a steady state"
    elif verdict == "confirmed" and unstable:
        verdict, note = "undecided", f"the queue kept growing in {unstable} of {len(runs)} replications"
    elif np.isinf(interval.upper):
        note = "too few requests reach this pool to bound a P99"
    return _pool_evidence(PEAK, pool, runs, interval, verdict, note)


def _pool_evidence(
    scenario: str, pool: PoolPlan, runs: list[_PoolRun], interval: Interval, verdict: Verdict, note: str
) -> PoolEvidence:
    """Gather the figures of one pool over its replications."""
    ttft_s = np.concatenate([run.ttft_s for run in runs])
    return PoolEvidence(
        scenario=scenario,
        pool=pool.name,
        replicas=pool.loaded_replicas,
        replications=len(runs),
        requests=sum(run.requests for run in runs),
        rejected=sum(run.rejected for run in runs),
        preemptions=sum(run.preemptions for run in runs),
        ttft_p99_s=interval.estimate,
        ttft_p99_lower_s=interval.lower,
        ttft_p99_upper_s=interval.upper,
        slot_utilization=float(np.mean([run.utilization.slot for run in runs])),
        kv_utilization=float(np.mean([run.utilization.kv for run in runs])),
        busy=float(np.mean([run.utilization.busy for run in runs])),
        verdict=verdict,
        note=note,
        ttft_quantiles_s=tuple(float(q) for q in np.quantile(ttft_s, QUANTILE_GRID)) if len(ttft_s) else (),
    )


def _pool_verdict(pool: str, evidence: tuple[PoolEvidence, ...]) -> Verdict:
    """A pool's verdict over the scenarios; a replay that cannot bound the P99 does not count unless it refutes."""
    counted = [
        item.verdict
        for item in evidence
        if item.pool == pool
        and (item.scenario == PEAK or item.verdict == "refuted" or np.isfinite(item.ttft_p99_upper_s))
    ]
    return _worst(counted)


def _still_falling(evidence: tuple[PoolEvidence, ...], before: tuple[PoolEvidence, ...], slo_ttft_p99_s: float) -> bool:
    """Whether the last repair lowered the P99 wherever one was not confirmed before it; at first, hope."""
    now = {(item.scenario, item.pool): item.ttft_p99_s for item in evidence}
    falls = [
        item.ttft_p99_s - now[item.scenario, item.pool]
        for item in before
        if item.verdict != "confirmed" and np.isfinite(item.ttft_p99_s)
    ]
    return not falls or max(falls) > _LEAST_GAIN * slo_ttft_p99_s


def _replicas_to_add(
    pool: PoolPlan, verdict: Verdict, evidence: tuple[PoolEvidence, ...], slo_ttft_p99_s: float
) -> int:
    """One where the verdict is open; else 5 % of the pool per multiple of the target missed, at most a quarter."""
    if verdict == "undecided":
        return 1
    miss = max(item.ttft_p99_lower_s for item in evidence if item.pool == pool.name and item.verdict == "refuted")
    return max(1, round(pool.loaded_replicas * min(0.25, 0.05 * miss / slo_ttft_p99_s)))


def _worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Refuted if any is, else undecided if any is, else confirmed."""
    found = set(verdicts)
    for verdict in ("refuted", "undecided"):
        if verdict in found:
            return verdict
    return "confirmed"


def _stream(seed: int, purpose: str, index: int) -> np.random.Generator:
    """Independent random stream of one purpose and replication."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAMS[purpose], index)))
