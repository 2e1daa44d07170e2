"""The figures of a run: latencies, attainment, utilisations and counts, per pool and of the whole fleet."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fleetopt.simulator.fleet import Fleet
from fleetopt.simulator.result import PoolUtilization, SimulationResult
from fleetopt.simulator.statistics import (
    Interval,
    SloTargets,
    Stability,
    batch_means_interval,
    batch_quantile_interval,
    batch_share_interval,
    meets_slo,
    stability_verdict,
    steady_part,
)

LATENCIES = ("ttft", "tpot", "e2e", "queue_wait")
PROBABILITIES: tuple[float | None, ...] = (None, 0.5, 0.9, 0.99)
"""Figures of each latency: None is the mean."""
LATENCY_METRICS = {
    f"{latency}_{'mean' if probability is None else f'p{probability * 100:g}'}_s": (latency, probability)
    for latency in LATENCIES
    for probability in PROBABILITIES
}
"""``ttft_mean_s``, ``ttft_p50_s``, ...: of which latency, and which figure."""
ATTAINMENT = "slo_attainment"
COUNTS = {
    "requests": "requests",
    "rejected": "requests",
    "unserved": "requests",
    "preemptions": "preemptions",
    "retries": "retries",
}
"""Counts and their units."""
_UTILIZATIONS = ("slot", "kv", "busy", "compute")


class Measure(NamedTuple):
    """What a figure is of.

    Attributes
    ----------
    pool : str or None
        None is the whole fleet.
    metric : str
        ``ttft_p99_s``, ``slot_utilization``, ... as in the tables and the JSON of the command line.
    unit : str
        ``s``, ``share`` (0 to 1), or what is counted.
    """

    pool: str | None
    metric: str
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRow:
    """A figure with its confidence interval.

    Attributes
    ----------
    pool : str or None
    metric, unit : str
        As in `Measure`.
    estimate, lower, upper : float
        Bounds that the data cannot give are infinite, or 0 and 1 for attainment; nan where there is nothing to measure.
    method : str
        Where the interval comes from, or why there is none.
    """

    pool: str | None
    metric: str
    unit: str
    estimate: float
    lower: float
    upper: float
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSummary:
    """A fleet in figures.

    Attributes
    ----------
    replications : int
        Independent runs behind the figures.
    rows : tuple of SummaryRow
        The whole fleet first, then each pool. Utilisations count all observed time, idle and warm-up included.
    stability : Stability
    """

    replications: int
    rows: tuple[SummaryRow, ...]
    stability: Stability

    def row(self, metric: str, pool: str | None = None) -> SummaryRow:
        """Return the row of a metric.

        Raises
        ------
        KeyError
            If there is none.
        """
        for row in self.rows:
            if (row.metric, row.pool) == (metric, pool):
                return row
        raise KeyError(f"no figure '{metric}' of {'the fleet' if pool is None else pool}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMeasures:
    """What is kept of one run: small, however many requests it had.

    Attributes
    ----------
    figures : dict of Measure to float
        nan where there is nothing to measure.
    counted : dict of Measure to int
        Requests behind each figure of a latency, warm-up cut.
    attained : dict of (str or None) to (int, int)
        Requests that met the targets, and all that came, warm-up cut; empty without targets.
    stability : Stability
    """

    figures: dict[Measure, float]
    counted: dict[Measure, int]
    attained: dict[str | None, tuple[int, int]]
    stability: Stability


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scope:
    """Requests of a pool or of all pools, in order of arrival.

    Attributes
    ----------
    pool : str or None
    latencies_s : dict of str to np.ndarray
        For each of `LATENCIES` float64[k], s, of the finished requests after the warm-up; ``tpot`` of those with two
        tokens or more.
    meets : np.ndarray
        bool[m], whether each request after the warm-up met the targets, finished or not.
    counts : dict of str to int
        `COUNTS` of all requests, warm-up included.
    utilization : PoolUtilization
    """

    pool: str | None
    latencies_s: dict[str, np.ndarray]
    meets: np.ndarray
    counts: dict[str, int]
    utilization: PoolUtilization


def measure_run(
    result: SimulationResult, fleet: Fleet, targets: SloTargets | None, *, cut_warm_up: bool
) -> RunMeasures:
    """Take the figures of one run.

    Parameters
    ----------
    result : SimulationResult
    fleet : Fleet
        The one that was simulated.
    targets : SloTargets or None
        For the attainment; None leaves it out.
    cut_warm_up : bool
        Take latencies and attainment of a pool, and of the fleet, from their `steady_part` only. For runs that stand
        for a steady state; the replay of a real trace has no warm-up to forget.
    """
    figures: dict[Measure, float] = {}
    counted: dict[Measure, int] = {}
    attained: dict[str | None, tuple[int, int]] = {}
    for scope in scopes(result, fleet, targets, cut_warm_up=cut_warm_up):
        for metric, (latency, probability) in LATENCY_METRICS.items():
            measure = Measure(scope.pool, metric, "s")
            figures[measure] = _latency_figure(scope.latencies_s[latency], probability)
            counted[measure] = len(scope.latencies_s[latency])
        if targets is not None:
            attained[scope.pool] = int(scope.meets.sum()), len(scope.meets)
            figures[Measure(scope.pool, ATTAINMENT, "share")] = _share(*attained[scope.pool])
        figures.update(plain_figures(scope))
    return RunMeasures(figures=figures, counted=counted, attained=attained, stability=stability_verdict(result))


def summarize_run(
    result: SimulationResult, fleet: Fleet, targets: SloTargets | None, *, cut_warm_up: bool
) -> FleetSummary:
    """Summarise one run, with intervals from batches of its requests; parameters as in `measure_run`.

    The intervals say how far the figures of another run as long, of the same traffic, may lie: by batch means for
    means, by sectioning for quantiles, by batches of requests for the attainment. Short runs have none.
    """
    rows = [
        row
        for scope in scopes(result, fleet, targets, cut_warm_up=cut_warm_up)
        for row in _scope_rows(scope, with_attainment=targets is not None)
    ]
    return FleetSummary(replications=1, rows=tuple(rows), stability=stability_verdict(result))


def _scope_rows(scope: Scope, *, with_attainment: bool) -> Iterator[SummaryRow]:
    for metric, (latency, probability) in LATENCY_METRICS.items():
        values = scope.latencies_s[latency]
        interval = batch_means_interval(values) if probability is None else batch_quantile_interval(values, probability)
        method = "batches of one run" if math.isfinite(interval.upper) else "too short a run for batches"
        yield summary_row(Measure(scope.pool, metric, "s"), interval, method)
    if with_attainment:
        share = batch_share_interval(scope.meets)
        yield summary_row(Measure(scope.pool, ATTAINMENT, "share"), share, "Wilson over batches of one run")
    for measure, value in plain_figures(scope).items():
        yield summary_row(measure, Interval(value, -math.inf, math.inf), "one run")


def scopes(result: SimulationResult, fleet: Fleet, targets: SloTargets | None, *, cut_warm_up: bool) -> Iterator[Scope]:
    """The whole fleet, then each pool; parameters as in `measure_run`."""
    meets = meets_slo(result, targets or SloTargets())
    yield _scope(result, None, np.ones(len(result), bool), meets, fleet_utilization(result, fleet), cut_warm_up)
    for index, (name, utilization) in enumerate(zip(result.pool_names, result.utilization, strict=True)):
        yield _scope(result, name, result.pool == index, meets, utilization, cut_warm_up)


def _scope(
    result: SimulationResult,
    pool: str | None,
    is_member: np.ndarray,
    meets: np.ndarray,
    utilization: PoolUtilization,
    cut_warm_up: bool,
) -> Scope:
    finished = np.flatnonzero(is_member & ~np.isnan(result.finish_s))
    is_kept = is_member
    if cut_warm_up and len(finished):
        part = steady_part(result.arrival_s[finished], result.ttft_s[finished], result.e2e_s[finished])
        finished = finished[part]
        place = np.arange(len(result))
        # Who is never served after the last one finished is no end effect, but what a failure does.
        is_kept = is_member & (place >= finished[0]) & ((place <= finished[-1]) | result.is_unserved)
    latencies_s = {name: latency_s(result, name)[finished] for name in LATENCIES}
    latencies_s["tpot"] = latencies_s["tpot"][result.output_tokens[finished] > 1]
    return Scope(
        pool=pool,
        latencies_s=latencies_s,
        meets=meets[is_kept],
        counts={name: int(per_request(result, name)[is_member].sum()) for name in COUNTS},
        utilization=utilization,
    )


def latency_s(result: SimulationResult, latency: str) -> np.ndarray:
    """float64[n], s, one of `LATENCIES` of each request; nan if not finished, and TPOT of requests of one token."""
    values: np.ndarray = getattr(result, f"{latency}_s")
    return np.where(np.isnan(result.finish_s), np.nan, values)


def per_request(result: SimulationResult, count: str) -> np.ndarray:
    """int64[n] or bool[n], what each request adds to one of `COUNTS`."""
    if count == "requests":
        return np.ones(len(result), dtype=np.bool_)
    return {
        "rejected": result.is_rejected,
        "unserved": result.is_unserved,
        "preemptions": result.preemptions,
        "retries": result.retries,
    }[count]


def plain_figures(scope: Scope) -> dict[Measure, float]:
    """Utilisations, mean iteration and counts: figures of a run as a whole, of which one run gives no interval."""
    used = scope.utilization
    figures = {Measure(scope.pool, f"{name}_utilization", "share"): getattr(used, name) for name in _UTILIZATIONS}
    figures[Measure(scope.pool, "iteration_mean_s", "s")] = used.mean_iteration_s
    return figures | {Measure(scope.pool, name, unit): float(scope.counts[name]) for name, unit in COUNTS.items()}


def fleet_utilization(result: SimulationResult, fleet: Fleet) -> PoolUtilization:
    """Utilisation of all pools together.

    Of all slots, of all KV tokens, of all replicas' time (busy), and of all time in iterations (compute).
    """
    used = result.utilization
    replicas = np.array([pool.replicas for pool in fleet.pools])
    slots = replicas * np.array([pool.profile.max_sequences for pool in fleet.pools])
    kv_tokens = replicas * np.array([pool.profile.kv_blocks * pool.profile.block_tokens for pool in fleet.pools])
    iterations = np.array([pool.iterations for pool in used])
    busy = float(replicas @ [pool.busy for pool in used])
    busy_s = busy * result.observed_s
    base_s = float(iterations @ [pool.profile.base_s for pool in fleet.pools])
    return PoolUtilization(
        slot=float(slots @ [pool.slot for pool in used] / slots.sum()),
        kv=float(kv_tokens @ [pool.kv for pool in used] / kv_tokens.sum()),
        busy=busy / int(replicas.sum()),
        compute=1.0 - base_s / busy_s if busy_s > 0.0 else math.nan,
        mean_running=float(replicas @ [pool.mean_running for pool in used] / replicas.sum()),
        mean_iteration_s=busy_s / int(iterations.sum()) if iterations.any() else math.nan,
        iterations=int(iterations.sum()),
    )


def _latency_figure(values: np.ndarray, probability: float | None) -> float:
    """Mean, or the order statistic that is the inverse of the empirical CDF; nan of nothing."""
    if not len(values):
        return math.nan
    return float(values.mean() if probability is None else np.quantile(values, probability, method="inverted_cdf"))


def _share(hits: int, requests: int) -> float:
    return hits / requests if requests else math.nan


def summary_row(measure: Measure, interval: Interval, method: str) -> SummaryRow:
    """Put a measure and its interval into a row; no figure of a run is below 0, so the interval is cut there."""
    lower = max(interval.lower, 0.0) if math.isfinite(interval.lower) and interval.estimate >= 0.0 else interval.lower
    return SummaryRow(**measure._asdict(), **interval._replace(lower=lower)._asdict(), method=method)
