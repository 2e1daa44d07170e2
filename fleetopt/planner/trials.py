"""One pool alone in the simulator, with any number of replicas, at the planned peak and on the day's requests."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from fleetopt.planner.peak import PeakStream, pool_part, stream
from fleetopt.planner.proof import P99, PEAK, QUANTILE_GRID, PoolEvidence, Verdict, pool_verdict, replayed_pool, worst
from fleetopt.simulator import Fleet, Pool, PoolUtilization, SimulationResult, simulate
from fleetopt.simulator.replications import run_in_threads
from fleetopt.simulator.statistics import (
    Interval,
    Stability,
    block_bootstrap_quantile,
    combined_stability,
    replication_interval,
    slo_verdict,
    stability_verdict,
    steady_part,
)
from fleetopt.workload.trace import Trace

REPLICATIONS, MOST_REPLICATIONS = 10, 20
"""The peak stream is looked at after 10 replications and, if those are undecided, after 20."""
_LOOK_CONFIDENCE = 1 - 0.05 / (MOST_REPLICATIONS // REPLICATIONS)
"""Bonferroni: 95 % over both looks."""
_EARLY_LOOKS = (1, 4)
"""After so many replications a number of replicas is only given up, never confirmed."""
_PLAIN_MISS = 1.1
"""Multiple of the target beyond which one replication is enough to give up."""
_REQUESTS, _POOL_REQUESTS = 20_000, 10_000
_MOST_FOR_A_POOL, _MOST_REQUESTS = 400_000, 4_000_000
"""Caps on the requests of the fleet in a replication: to fill a small pool, and to span a steady state."""
_RESIDENCES, _FEWEST_RESIDENCES = 25, 10
"""Mean times in service that a replication should span, and the fewest that say anything of a steady state."""
_LONG_REQUESTS, _LONG_RESIDENCES, _MOST_LONG_REQUESTS = 200_000, 200, 1_000_000
"""Requests to the pool and mean times in service of a long run, and the most requests of the fleet in it."""
_LONG_LOOKS = (4, 10)
"""Long runs; the second number for pools that ever preempt, which may collapse in one run of several."""
_COLLAPSED = 10.0
"""Multiple of the target beyond which the P99 of a long run is that of a pool that did not keep up."""
_ENOUGH_PER_REPLICATION = 1_000
"""With fewer requests in a replication its own P99 is biased low; then all replications are taken together."""
_MOST_TAKEN_TOGETHER = 10 * _ENOUGH_PER_REPLICATION
"""Times of longer replications are not kept; none of the same pool and rate is so much shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What a pool has to meet, s; an infinite P99 TPOT: no target."""

    ttft_p99_s: float
    tpot_p99_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PoolRun:
    """What is kept of one replication; in ``few_`` its times, to be taken with those of others if there are few."""

    requests: int
    rejected: int
    preemptions: int
    steady: int
    ttft_p99_s: float
    tpot_p99_s: float
    ttft_quantiles_s: np.ndarray
    few_ttft_s: np.ndarray
    few_tpot_s: np.ndarray
    utilization: PoolUtilization
    stability: Stability
    residences: float


class PoolTrials:
    """Verdicts on one pool by its number of replicas; each is simulated once.

    A pool behind a router that goes by length alone serves its requests as if it were alone, so nothing else has to be
    simulated. A number that plainly fails is given up after one replication or four; a number is confirmed by the full
    rule only: the upper end of a 95 % interval over at least 10 replications is within the target, and in long runs the
    pool keeps up. A queue that grows slowly is within the target for a while, and what is preempted comes back as work,
    so that a pool short of KV may do well for an hour and then not recover from a burst.

    Parameters
    ----------
    peak : PeakStream
    routing : Fleet
        Pools as the plan has them, whatever their replicas.
    index : int
        Of the pool.
    targets : Targets
    n_requests : int
        Requests of the fleet in a replication, see :func:`requests_to_simulate`.
    day : Trace or None
        The day's own requests to the fleet.
    seed : int
    """

    def __init__(
        self,
        peak: PeakStream,
        routing: Fleet,
        index: int,
        *,
        targets: Targets,
        n_requests: int,
        day: Trace | None,
        seed: int,
    ) -> None:
        self.n_requests = n_requests
        self.targets = targets
        self._peak, self._routing, self._index, self._seed = peak, routing, index, seed
        self._day = None if day is None else pool_part(day, routing, index)
        self._found: dict[int, tuple[PoolEvidence, ...]] = {}
        self._first_p99_s: dict[int, float] = {}
        self._too_short: set[int] = set()
        self.simulated_requests = 0

    def verdict(self, replicas: int) -> Verdict:
        """Whether the pool holds with that many replicas that carry load."""
        return pool_verdict(self.evidence(replicas))

    def first_p99_s(self, replicas: int) -> float:
        """P99 TTFT of the first replication, s: the same requests for every number of replicas."""
        self.evidence(replicas)
        return self._first_p99_s[replicas]

    def cannot_tell(self, replicas: int) -> bool:
        """Whether the runs are too short, or have too few requests, to confirm this number, however low its P99."""
        self.evidence(replicas)
        return replicas in self._too_short

    def evidence(self, replicas: int) -> tuple[PoolEvidence, ...]:
        """Evidence of the peak stream, and of the day where there is one; what has failed is not looked at further."""
        if replicas not in self._found:
            fleet = self._fleet(replicas)
            peak = self._at_peak(fleet)
            found: tuple[PoolEvidence, ...] = (peak,)
            if self._day is not None and peak.verdict != "refuted":
                result = simulate(self._day, fleet)
                target_s = self.targets.ttft_p99_s
                found += (replayed_pool(result, 0, fleet.pools[0], target_s, self._seed, self._index),)
            self._found[replicas] = found
        return self._found[replicas]

    def _fleet(self, replicas: int) -> Fleet:
        return Fleet(pools=(replace(self._routing.pools[self._index], replicas=replicas),))

    def _at_peak(self, fleet: Fleet) -> PoolEvidence:
        """Replications, in looks, until they decide or there are enough."""
        runs: list[PoolRun] = []
        pool = fleet.pools[0]
        for look in (*_EARLY_LOOKS, REPLICATIONS, MOST_REPLICATIONS):
            first, missing = len(runs), look - len(runs)
            runs += run_in_threads([partial(self._run, fleet, first + more) for more in range(missing)])
            if look == 1:
                self._first_p99_s[pool.replicas] = runs[0].ttft_p99_s
            if look < REPLICATIONS and not self._is_plain_miss(runs):
                continue
            rng = stream(self._seed, "peak", self._index)
            found = peak_evidence(pool, runs, self.targets, rng)
            if look < REPLICATIONS or found.verdict != "undecided":
                break
        residences = min(run.residences for run in runs)
        if found.verdict == "confirmed" and (note := self._collapse(fleet, found, residences)):
            found = replace(found, verdict="refuted", note=note)
        is_unbounded = np.isinf([found.ttft_p99_upper_s, found.tpot_p99_upper_s]).any()
        if is_unbounded or residences < _FEWEST_RESIDENCES:
            self._too_short.add(pool.replicas)
        return found

    def _collapse(self, fleet: Fleet, found: PoolEvidence, residences: float) -> str:
        """What long runs say of a pool that seems to hold; empty where it keeps up in all of them."""
        in_pool = found.requests / found.replications
        longer = max(_LONG_REQUESTS / in_pool, _LONG_RESIDENCES / residences)
        n_requests = max(self.n_requests, int(min(self.n_requests * longer, _MOST_LONG_REQUESTS)))
        runs: list[PoolRun] = []
        for look in _LONG_LOOKS:
            numbers = range(MOST_REPLICATIONS + len(runs), MOST_REPLICATIONS + look)
            runs += run_in_threads([partial(self._run, fleet, number, n_requests) for number in numbers])
            each = f"of {sum(run.requests for run in runs) / len(runs):,.0f} requests each"
            if collapsed := sum(self._has_collapsed(run) for run in runs):
                return f"in {collapsed} of {len(runs)} long runs, {each}, the pool did not keep up"
            p99_s = float(np.median([run.ttft_p99_s for run in runs]))
            if p99_s > self.targets.ttft_p99_s:
                return f"in long runs, {each}, the median of the P99 TTFT is {p99_s:.4g} s"
            if not any(run.preemptions for run in runs):
                break
        return ""

    def _has_collapsed(self, run: PoolRun) -> bool:
        target_s = self.targets.ttft_p99_s
        is_growing = run.stability.verdict == "unstable" and run.ttft_p99_s > target_s
        return is_growing or run.ttft_p99_s > _COLLAPSED * target_s

    def _run(self, fleet: Fleet, replication: int, n_requests: int | None = None) -> PoolRun:
        trace = self._peak.pool_trace(replication, n_requests or self.n_requests, self._routing, self._index)
        self.simulated_requests += len(trace)
        return pool_run(simulate(trace, fleet), 0, is_bursty=self._peak.is_bursty)

    def _is_plain_miss(self, runs: Sequence[PoolRun]) -> bool:
        if min(run.steady for run in runs) < _ENOUGH_PER_REPLICATION:
            return False
        targets = {"ttft_p99_s": self.targets.ttft_p99_s, "tpot_p99_s": self.targets.tpot_p99_s}
        for name, target_s in targets.items():
            p99_s = np.array([getattr(run, name) for run in runs])
            if p99_s.mean() > _PLAIN_MISS * target_s or replication_interval(p99_s).lower > target_s:
                return True
        return False


def requests_to_simulate(
    pool_rate_rps: float, fleet_rate_rps: float, residence_s: float, round_of_bursts: int = 0
) -> int:
    """Requests of the fleet in a replication: enough for the pool's P99, and time for its requests to come and go.

    Parameters
    ----------
    pool_rate_rps, fleet_rate_rps : float
        Arrival rates, 1/s.
    residence_s : float
        Mean time in service, s.
    round_of_bursts : int
        Requests of a trace whose arrivals are replayed, so that a replication has all of its bursts.
    """
    for_pool = min(_MOST_FOR_A_POOL, max(_REQUESTS, round_of_bursts, _POOL_REQUESTS * fleet_rate_rps / pool_rate_rps))
    return int(min(_MOST_REQUESTS, max(for_pool, fleet_rate_rps * _RESIDENCES * residence_s)))


def pool_run(result: SimulationResult, index: int, *, is_bursty: bool) -> PoolRun:
    """Take what evidence needs of a pool from a simulation, whose own arrays are large; bursts are no warm-up."""
    in_pool, is_served = result.pool == index, result.pool_mask(index)
    arrival_s, ttft_s = result.arrival_s[is_served], result.ttft_s[is_served]
    steady = steady_part(arrival_s, ttft_s, result.e2e_s[is_served], is_bursty=is_bursty)
    tpot_s = result.tpot_s[is_served][steady]
    tpot_s, ttft_s = tpot_s[~np.isnan(tpot_s)], ttft_s[steady]
    residence_s = float(np.mean(result.finish_s[is_served] - result.admitted_s[is_served])) if len(arrival_s) else 0.0
    span_s = float(arrival_s[-1] - arrival_s[0]) if len(arrival_s) else 0.0
    return PoolRun(
        requests=int(in_pool.sum()),
        rejected=int((in_pool & result.is_rejected).sum()),
        preemptions=int(result.preemptions[in_pool].sum()),
        steady=len(ttft_s),
        ttft_p99_s=_p99(ttft_s),
        tpot_p99_s=_p99(tpot_s),
        ttft_quantiles_s=np.quantile(ttft_s, QUANTILE_GRID) if len(ttft_s) else np.empty(0),
        few_ttft_s=_kept(ttft_s),
        few_tpot_s=_kept(tpot_s),
        utilization=result.utilization[index],
        stability=stability_verdict(result),
        residences=span_s / residence_s if residence_s > 0 else np.inf,
    )


def peak_evidence(pool: Pool, runs: Sequence[PoolRun], targets: Targets, rng: np.random.Generator) -> PoolEvidence:
    """Interval of the P99 over replications, each without its warm-up, and what keeps it from counting."""
    ttft, quantiles_s = _ttft(runs, rng)
    verdict, note = slo_verdict(ttft.lower, ttft.upper, targets.ttft_p99_s), ""
    tpot = Interval(np.nan, -np.inf, np.inf)
    has_tpot = np.isfinite(targets.tpot_p99_s) and not all(np.isnan(run.tpot_p99_s) for run in runs)
    if has_tpot:
        tpot = _interval([run.tpot_p99_s for run in runs], [run.few_tpot_s for run in runs], rng)
        verdict = worst([verdict, slo_verdict(tpot.lower, tpot.upper, targets.tpot_p99_s)])
    if len(runs) < REPLICATIONS:
        verdict, note = "refuted", f"{len(runs)} of {REPLICATIONS} replications were enough to see it fail"
    elif verdict == "confirmed":
        note = _why_not_steady(runs)
        verdict = "undecided" if note else "confirmed"
    elif np.isinf(max(ttft.upper, tpot.upper if has_tpot else 0.0)):
        note = "too few requests reach this pool to bound a P99"
    return PoolEvidence(
        scenario=PEAK,
        pool=pool.name,
        replicas=pool.replicas,
        replications=len(runs),
        requests=sum(run.requests for run in runs),
        rejected=sum(run.rejected for run in runs),
        preemptions=sum(run.preemptions for run in runs),
        ttft_p99_s=ttft.estimate,
        ttft_p99_lower_s=ttft.lower,
        ttft_p99_upper_s=ttft.upper,
        tpot_p99_s=tpot.estimate if has_tpot else np.nan,
        tpot_p99_upper_s=tpot.upper if has_tpot else np.nan,
        slot_utilization=float(np.mean([run.utilization.slot for run in runs])),
        kv_utilization=float(np.mean([run.utilization.kv for run in runs])),
        busy=float(np.mean([run.utilization.busy for run in runs])),
        verdict=verdict,
        note=note,
        ttft_quantiles_s=tuple(float(q) for q in quantiles_s),
    )


def _ttft(runs: Sequence[PoolRun], rng: np.random.Generator) -> tuple[Interval, np.ndarray]:
    """Interval of the P99 TTFT, and quantiles of the whole distribution; of all runs together where they are short."""
    few_s = [run.few_ttft_s for run in runs]
    interval = _interval([run.ttft_p99_s for run in runs], few_s, rng)
    if _are_long(few_s):
        quantiles_s: np.ndarray = np.mean([run.ttft_quantiles_s for run in runs], axis=0)
        return interval, quantiles_s
    together = np.concatenate(few_s)
    return interval, np.quantile(together, QUANTILE_GRID) if len(together) else np.empty(0)


def _interval(p99_s: Sequence[float], few_s: Sequence[np.ndarray], rng: np.random.Generator) -> Interval:
    """Interval of a P99 over replications, or of all their times together where one is short."""
    if _are_long(few_s):
        return replication_interval(np.array(p99_s), _LOOK_CONFIDENCE)
    return block_bootstrap_quantile(np.concatenate(few_s), P99, 10 * len(few_s), 1000, rng, _LOOK_CONFIDENCE)


def _are_long(few_s: Sequence[np.ndarray]) -> bool:
    return min(len(times_s) for times_s in few_s) >= _ENOUGH_PER_REPLICATION


def _kept(times_s: np.ndarray) -> np.ndarray:
    return times_s.copy() if len(times_s) < _MOST_TAKEN_TOGETHER else times_s[:_ENOUGH_PER_REPLICATION].copy()


def _why_not_steady(runs: Sequence[PoolRun]) -> str:
    """Why runs that meet the target say nothing of a steady state; empty if they do."""
    residences = min(run.residences for run in runs)
    if residences < _FEWEST_RESIDENCES:
        return f"the runs span {residences:.2g} mean times in service, too few to see a steady state"
    unstable = sum(run.stability.verdict == "unstable" for run in runs)
    if unstable and combined_stability([run.stability for run in runs]).verdict != "stable":
        return f"the queue kept growing in {unstable} of {len(runs)} replications"
    return ""


def _p99(values: np.ndarray) -> float:
    return float(np.quantile(values, P99, method="inverted_cdf")) if len(values) else np.nan
