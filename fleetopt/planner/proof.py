"""What the simulator says of a plan: evidence per pool, and the day's own requests replayed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fleetopt.planner.peak import stream
from fleetopt.planner.plan import FleetPlan
from fleetopt.simulator import Pool, PoolUtilization, SimulationResult, simulate
from fleetopt.simulator.statistics import Interval, block_bootstrap_quantile, slo_verdict
from fleetopt.workload.trace import Trace, make_trace

Verdict = Literal["confirmed", "refuted", "undecided"]
REPLAY, PEAK = "replay", "poisson_peak"
P99 = 0.99
QUANTILE_GRID = tuple(
    round(float(p), 4)
    for p in np.concatenate([np.arange(0, 0.9, 0.05), np.arange(0.9, 0.985, 0.01), np.linspace(0.99, 1, 11)])
)
"""Probabilities at which the distribution of TTFT is kept for the report."""
_NO_INTERVAL = Interval(np.nan, -np.inf, np.inf)


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
    tpot_p99_s, tpot_p99_upper_s : float
        Estimate and upper end of the 95 % interval, s per token; nan where there is no target for it.
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
    tpot_p99_s: float = np.nan
    tpot_p99_upper_s: float = np.nan
    slot_utilization: float
    kv_utilization: float
    busy: float
    verdict: Verdict
    note: str
    ttft_quantiles_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A plan with as many replicas as the simulator asks for, its evidence and verdict.

    Attributes
    ----------
    plan : FleetPlan
    verdict : {"confirmed", "refuted", "undecided"}
        The worst of its pools; refuted as well where the replicas added take more GPUs than can be had.
    evidence : tuple of PoolEvidence
    repairs : tuple of str
        What was added to the model's numbers or taken off them, and why, a sentence each.
    """

    plan: FleetPlan
    verdict: Verdict
    evidence: tuple[PoolEvidence, ...]
    repairs: tuple[str, ...]


def replay_evidence(plan: FleetPlan, day: Trace, slo_ttft_p99_s: float, seed: int) -> tuple[PoolEvidence, ...]:
    """Replay a day's own requests on a plan, its spares down; the interval is a block bootstrap over the day."""
    fleet = plan.fleet()
    result = simulate(day, fleet)
    return tuple(
        replayed_pool(result, index, pool, slo_ttft_p99_s, seed, index) for index, pool in enumerate(fleet.pools)
    )


def replayed_pool(
    result: SimulationResult, index: int, pool: Pool, slo_ttft_p99_s: float, seed: int, place: int
) -> PoolEvidence:
    """Evidence of one pool of a replay.

    Parameters
    ----------
    result : SimulationResult
        Of the fleet, or of the pool alone.
    index : int
        Of the pool in the result.
    pool : Pool
    slo_ttft_p99_s : float
    seed : int
    place : int
        Of the pool in the fleet; picks the random stream.
    """
    ttft_s = result.ttft_s[result.pool_mask(index)]
    interval, note = _NO_INTERVAL, "no request of the day reaches this pool"
    if len(ttft_s) > 0:
        rng = stream(seed, "replay", place)
        interval = block_bootstrap_quantile(ttft_s, P99, n_blocks=30, n_resamples=1000, rng=rng)
        note = ""
        if np.isinf(interval.upper):
            note = f"{len(ttft_s)} requests are too few to bound a P99; the peak stream decides"
    in_pool = result.pool == index
    utilization: PoolUtilization = result.utilization[index]
    return PoolEvidence(
        scenario=REPLAY,
        pool=pool.name,
        replicas=pool.replicas,
        replications=1,
        requests=int(in_pool.sum()),
        rejected=int((in_pool & result.is_rejected).sum()),
        preemptions=int(result.preemptions[in_pool].sum()),
        ttft_p99_s=interval.estimate,
        ttft_p99_lower_s=interval.lower,
        ttft_p99_upper_s=interval.upper,
        slot_utilization=utilization.slot,
        kv_utilization=utilization.kv,
        busy=utilization.busy,
        verdict=slo_verdict(interval.lower, interval.upper, slo_ttft_p99_s),
        note=note,
        ttft_quantiles_s=tuple(float(q) for q in np.quantile(ttft_s, QUANTILE_GRID)) if len(ttft_s) else (),
    )


def day_trace(
    arrival_s: np.ndarray,
    prompt_tokens: np.ndarray,
    output_tokens: np.ndarray,
    compressible_fraction: np.ndarray,
    seed: int,
) -> Trace:
    """A day's requests as a trace; which of them are compressible is drawn with each one's own probability."""
    drawn = stream(seed, "compressible", 0).random(len(arrival_s)) < compressible_fraction
    return make_trace(arrival_s, prompt_tokens, output_tokens, drawn)


def pool_verdict(evidence: Iterable[PoolEvidence]) -> Verdict:
    """A pool's verdict over the scenarios; a replay that cannot bound the P99 does not count unless it refutes."""
    return worst(
        item.verdict
        for item in evidence
        if item.scenario == PEAK or item.verdict == "refuted" or np.isfinite(item.ttft_p99_upper_s)
    )


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Refuted if any is, else undecided if any is, else confirmed."""
    found = set(verdicts)
    for verdict in ("refuted", "undecided"):
        if verdict in found:
            return verdict
    return "confirmed"
