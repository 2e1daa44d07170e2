"""Fleets compared on the same requests: differences with confidence intervals."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from fleetopt.errors import InputError
from fleetopt.simulator.fleet import Fleet
from fleetopt.simulator.measures import (
    ATTAINMENT,
    COUNTS,
    LATENCIES,
    LATENCY_METRICS,
    FleetSummary,
    Measure,
    RunMeasures,
    latency_s,
    per_request,
    summarize_run,
)
from fleetopt.simulator.replications import measure_replications, open_because, run_in_threads, summarize_replications
from fleetopt.simulator.result import SimulationResult
from fleetopt.simulator.run import simulate
from fleetopt.simulator.statistics import (
    Interval,
    PairedDifference,
    SloTargets,
    meets_slo,
    paired_block_bootstrap,
    paired_interval,
)
from fleetopt.workload.trace import Trace

_BOOTSTRAP = 4
"""Purpose of the stream that blocks are drawn from; see `replications`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """A figure of two fleets.

    Attributes
    ----------
    pool : str or None
        None is the whole fleet; pools are compared where both fleets have one of that name.
    metric, unit : str
        As in `Measure`.
    first, second : float
        The figure of each fleet; nan where there is nothing to measure.
    difference, lower, upper : float
        Second minus first, and its confidence interval, infinite where there is none.
    variance_reduction : float
        See `PairedDifference`.
    method : str
        Where the interval comes from, or why there is none.
    """

    pool: str | None
    metric: str
    unit: str
    first: float
    second: float
    difference: float
    lower: float
    upper: float
    variance_reduction: float
    method: str

    @property
    def is_bounded(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.lower) and math.isfinite(self.upper)

    @property
    def is_distinguishable(self) -> bool:
        """Whether the interval of the difference leaves zero out."""
        return self.lower > 0.0 or self.upper < 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Several fleets and what sets each apart from the first.

    Attributes
    ----------
    baseline : str
        Name of the first fleet.
    summaries : dict of str to FleetSummary
        By name, in the order given.
    differences : dict of str to tuple of ComparisonRow
        By name of every other fleet: ``first`` is the baseline, ``second`` that fleet.
    """

    baseline: str
    summaries: dict[str, FleetSummary]
    differences: dict[str, tuple[ComparisonRow, ...]]


def compare_fleets(
    make_trace: Callable[[int], Trace],
    fleets: Mapping[str, Fleet],
    n_replications: int,
    seed: int,
    *,
    targets: SloTargets | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    max_workers: int | None = None,
    cut_warm_up: bool = True,
) -> Comparison:
    """Compare fleets over replications, each on the same requests for all fleets (common random numbers).

    Parameters
    ----------
    make_trace, n_replications, seed, max_workers
        As in `replicate`.
    fleets : mapping of str to Fleet
        Two or more, by name; the first is the baseline.
    targets : SloTargets, optional
        For the attainment.
    on_progress : callable, optional
        Told how many runs are done, and how many there are over all fleets.
    cut_warm_up : bool
        As in `measure_run`; leave it out for traffic whose rate follows a curve.

    Raises
    ------
    InputError
        If there are fewer than two fleets.
    ValueError
        If there are no replications.
    """
    _require_two(fleets)
    runs: dict[str, list[RunMeasures]] = {}
    for name, fleet in fleets.items():
        done_before = len(runs) * n_replications

        def on_run(done: int, _total: int, done_before: int = done_before) -> None:
            if on_progress is not None:
                on_progress(done_before + done, len(fleets) * n_replications)

        runs[name] = measure_replications(
            make_trace,
            fleet,
            n_replications,
            seed,
            targets=targets,
            on_progress=on_run,
            max_workers=max_workers,
            cut_warm_up=cut_warm_up,
        )
    baseline = next(iter(fleets))
    return Comparison(
        baseline=baseline,
        summaries={name: summarize_replications(measured) for name, measured in runs.items()},
        differences={
            name: compare_replications(runs[baseline], measured) for name, measured in runs.items() if name != baseline
        },
    )


def compare_replications(
    first: Sequence[RunMeasures], second: Sequence[RunMeasures], confidence: float = 0.95
) -> tuple[ComparisonRow, ...]:
    """Compare two fleets by their figures in replications on the same requests, with `paired_interval`.

    Parameters
    ----------
    first, second : sequence of RunMeasures
        Replications of each fleet; place i of both comes from the same trace.
    confidence : float
        Of each interval, between 0 and 1.
    """
    rows = []
    for measure in (measure for measure in first[0].figures if measure in second[0].figures):
        before, after = (np.array([run.figures[measure] for run in runs]) for runs in (first, second))
        paired = paired_interval(before, after, confidence)
        method = open_because(measure, first) or open_because(measure, second)
        if method:
            paired = _without_interval(paired.first, paired.second)
        elif paired.difference == (0.0, 0.0, 0.0):
            method = "equal in every replication"
        rows.append(_row(measure, paired, method or f"paired t over {len(first)} replications"))
    return tuple(rows)


def compare_on_trace(
    trace: Trace,
    fleets: Mapping[str, Fleet],
    seed: int,
    *,
    targets: SloTargets | None = None,
    n_blocks: int = 30,
    n_resamples: int = 1000,
    on_progress: Callable[[int, int], None] | None = None,
    max_workers: int | None = None,
) -> Comparison:
    """Compare fleets on one trace, with intervals from resampling blocks of its requests, the same for all fleets.

    Parameters
    ----------
    trace : Trace
        For instance a day's own requests. Nothing is cut as warm-up.
    fleets : mapping of str to Fleet
        Two or more, by name; the first is the baseline. The results of all are in memory at once.
    seed : int
        Of what routers draw at random, the same for all fleets, and of the blocks.
    targets : SloTargets, optional
        For the attainment.
    n_blocks, n_resamples : int
        See `block_bootstrap_quantile`.
    on_progress : callable, optional
        Told how many fleets have been simulated, and how many there are.
    max_workers : int, optional
        As in `replicate`.

    Returns
    -------
    Comparison
        Differences of the whole fleets. The intervals say how the difference may come out on other requests like
        these. Utilisations are of the run as a whole and have none.

    Raises
    ------
    InputError
        If there are fewer than two fleets.
    """
    _require_two(fleets)
    results = run_in_threads(
        [partial(simulate, trace, fleet, seed=seed) for fleet in fleets.values()], on_progress, max_workers
    )
    names = list(fleets)
    summaries = {
        name: summarize_run(result, fleets[name], targets, cut_warm_up=False)
        for name, result in zip(names, results, strict=True)
    }
    blocks = partial(_bootstrap, seed=seed, n_blocks=n_blocks, n_resamples=n_resamples)
    jobs = [partial(_rows_on_trace, results[0], result, targets, blocks) for result in results[1:]]
    return Comparison(
        baseline=names[0],
        summaries=summaries,
        differences={
            name: (*rows, *_utilization_rows(summaries[names[0]], summaries[name]))
            for name, rows in zip(names[1:], run_in_threads(jobs, None, max_workers), strict=True)
        },
    )


def _bootstrap(
    first: np.ndarray,
    second: np.ndarray,
    probabilities: tuple[float | None, ...],
    seed: int,
    n_blocks: int,
    n_resamples: int,
) -> tuple[PairedDifference, ...]:
    """Paired block bootstrap from a stream of its own, so that every figure is resampled by the same blocks."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_BOOTSTRAP, 0)))
    return paired_block_bootstrap(first, second, probabilities, n_blocks, n_resamples, rng)


def _rows_on_trace(
    first: SimulationResult,
    second: SimulationResult,
    targets: SloTargets | None,
    bootstrap: Callable[[np.ndarray, np.ndarray, tuple[float | None, ...]], tuple[PairedDifference, ...]],
) -> list[ComparisonRow]:
    rows = []
    for latency in LATENCIES:
        metrics = {metric: probability for metric, (of, probability) in LATENCY_METRICS.items() if of == latency}
        before, after = (latency_s(result, latency) for result in (first, second))
        for metric, paired in zip(metrics, bootstrap(before, after, tuple(metrics.values())), strict=True):
            rows.append(_bootstrap_row(Measure(None, metric, "s"), paired))
    if targets is not None:
        before, after = (meets_slo(result, targets).astype(np.float64) for result in (first, second))
        rows.append(_bootstrap_row(Measure(None, ATTAINMENT, "share"), *bootstrap(before, after, (None,))))
    for name, unit in COUNTS.items():
        # The mean of n requests' counts times n, so that a trace as long is what the interval speaks of.
        before, after = (per_request(result, name).astype(np.float64) * len(result) for result in (first, second))
        rows.append(_bootstrap_row(Measure(None, name, unit), *bootstrap(before, after, (None,))))
    return rows


def _bootstrap_row(measure: Measure, paired: PairedDifference) -> ComparisonRow:
    if paired.difference == (0.0, 0.0, 0.0):
        return _row(measure, paired, "equal in every resample")
    has_bounds = math.isfinite(paired.difference.upper)
    return _row(measure, paired, "paired bootstrap over blocks of the trace" if has_bounds else "too few requests")


def _utilization_rows(first: FleetSummary, second: FleetSummary) -> list[ComparisonRow]:
    """Figures of the run as a whole, which one trace gives no interval of."""
    return [
        _row(
            Measure(None, row.metric, row.unit),
            _without_interval(row.estimate, second.row(row.metric).estimate),
            row.method,
        )
        for row in first.rows
        if row.pool is None and row.metric not in {*LATENCY_METRICS, *COUNTS, ATTAINMENT}
    ]


def _without_interval(first: float, second: float) -> PairedDifference:
    return PairedDifference(first, second, Interval(second - first, -math.inf, math.inf), math.nan)


def _row(measure: Measure, paired: PairedDifference, method: str) -> ComparisonRow:
    return ComparisonRow(
        **measure._asdict(),
        first=paired.first,
        second=paired.second,
        difference=paired.difference.estimate,
        lower=paired.difference.lower,
        upper=paired.difference.upper,
        variance_reduction=paired.variance_reduction,
        method=method,
    )


def _require_two(fleets: Mapping[str, Fleet]) -> None:
    if len(fleets) < 2:
        raise InputError(f"{len(fleets)} fleets to compare; it takes two or more")
