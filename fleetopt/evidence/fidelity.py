"""The queueing model against the simulator: every workload, number of replicas and load, with the misses."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from fleetopt.profiles import GpuProfile
from fleetopt.queueing.pool import PoolPrediction, predict_pool
from fleetopt.queueing.stability import stability_limit_rps
from fleetopt.queueing.work import RequestWork, request_work
from fleetopt.simulator import Fleet, Pool, SimulationResult, simulate
from fleetopt.simulator.statistics import Interval, replication_interval
from fleetopt.workload.lengths import JointLengths, sample
from fleetopt.workload.processes import poisson_arrivals
from fleetopt.workload.trace import Trace, make_trace

LOADS = (0.1, 0.3, 0.5, 0.7, 0.85)
REPLICAS = (1, 8, 64)
MEAN_TOLERANCE, P99_TOLERANCE, HALF_WIDTH = 0.03, 0.10, 0.03
"""Targets: means within 3 %, P99 TTFT within 10 % plus the simulator's own half-width, and that within 3 %."""

_LIMIT_REQUESTS, _LIMIT_RUNS = 200_000, 3
_GROWTH = 0.005
"""A queue grows if one in 200 arrivals adds to it for good."""
_FEWEST_REQUESTS, _MOST_REQUESTS = 200_000, 2_000_000
_RESIDENCES = 60
_FEWEST_REPLICATIONS, _MOST_REPLICATIONS = 5, 40
_STREAMS = {"arrivals": 0, "lengths": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of a cell, predicted and simulated.

    Attributes
    ----------
    name : str
    predicted : float
        nan where the model finds no equilibrium.
    simulated, half_width : float
        Mean over replications, and the half-width of its 95 % interval as a share of it.
    tolerance : float or None
        Largest relative difference that meets the target; None where there is no target.
    """

    name: str
    predicted: float
    simulated: float
    half_width: float
    tolerance: float | None = None

    @property
    def ratio(self) -> float:
        """Predicted over simulated."""
        return self.predicted / self.simulated

    @property
    def is_within(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        return None if self.tolerance is None else abs(self.ratio - 1) <= self.tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class FidelityCell:
    """A workload on a number of replicas at a load, least-loaded router, scheduler ``fcfs``, Poisson arrivals.

    Attributes
    ----------
    workload, profile : str
    replicas : int
    load : float
        Share of the simulated stability limit.
    arrival_rate_rps : float
        Rate of the pool, 1/s.
    simulated_limit_rps, model_limit_rps : float
        Stability limit of the pool, 1/s.
    figures : tuple of Figure
        ``iteration_s``, ``slot_utilization``, ``ttft_p99_s`` with targets; ``busy``, ``kv_utilization``,
        ``ttft_p50_s``, ``tpot_p99_s`` without.
    requests, replications : int
        Simulated in all, the warm-up not counted; and independent runs.
    is_settled : bool
        Whether the half-width of the P99 TTFT came down to 3 %.
    prediction_ms : float
        Time of the prediction with its P99s, the mixture's own tables not counted; nan without a clock.
    """

    workload: str
    profile: str
    replicas: int
    load: float
    arrival_rate_rps: float
    simulated_limit_rps: float
    model_limit_rps: float
    figures: tuple[Figure, ...]
    requests: int
    replications: int
    is_settled: bool
    prediction_ms: float

    def figure(self, name: str) -> Figure:
        """Return the figure of that name."""
        return next(figure for figure in self.figures if figure.name == name)


def simulated_limit_rps(
    lengths: JointLengths,
    profile: GpuProfile,
    seed: int,
    *,
    requests: int = _LIMIT_REQUESTS,
    workers: int | None = None,
) -> float:
    """Largest rate at which the queue of one replica does not grow, by simulation, to half a per cent.

    Parameters
    ----------
    lengths : JointLengths
        None longer than the profile's context limit.
    profile : GpuProfile
    seed : int
    requests : int
        Per run; three independent runs decide together.
    workers : int or None
        Threads; None for as many as the machine suggests.

    Notes
    -----
    Bisection on the backlog, the requests that have no first token yet, from the second to the last quarter of the
    arrivals: it grows if that adds more than 0.5 % of the arrivals between. Same random numbers at every rate.
    """
    fluid_rps = stability_limit_rps(request_work(profile, lengths.weight, lengths.prompt_tokens, lengths.output_tokens))
    low, high = 0.5 * fluid_rps, 1.3 * fluid_rps
    with ThreadPoolExecutor(workers) as executor:
        while high - low > 0.005 * fluid_rps:
            middle = 0.5 * (low + high)
            runs = executor.map(
                _backlog_growth,
                (_trace(lengths, middle, requests, seed, run) for run in range(_LIMIT_RUNS)),
                [_fleet(profile, 1)] * _LIMIT_RUNS,
            )
            low, high = (low, middle) if float(np.mean(list(runs))) > _GROWTH else (middle, high)
    return low


def fidelity_cells(
    workloads: Mapping[str, tuple[JointLengths, GpuProfile]],
    seed: int,
    *,
    loads: Sequence[float] = LOADS,
    replicas: Sequence[int] = REPLICAS,
    requests: int | None = None,
    workers: int | None = None,
    clock: Callable[[], float] | None = None,
    on_progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Iterator[FidelityCell]:
    """Measure every cell, one after the other; replications of a cell run at the same time.

    Parameters
    ----------
    workloads : mapping of str to (JointLengths, GpuProfile)
        None of the lengths beyond the profile's context limit.
    seed : int
    loads : sequence of float
        Shares of the simulated stability limit of one replica times the replicas.
    replicas : sequence of int
    requests : int or None
        Per simulation; None for 200,000 to find a limit, and for enough to span 60 long residences in a cell.
    workers : int or None
        Threads; None for as many as the machine suggests. The simulator releases the interpreter's lock.
    clock : callable or None
        Seconds on a clock, to time the predictions with.
    on_progress : callable
        Told the cells done, those in all, and what is being measured.

    Yields
    ------
    FidelityCell
    """
    total = len(workloads) * len(loads) * len(replicas)
    done = 0
    for name, (lengths, profile) in workloads.items():
        on_progress(done, total, f"{name}: stability limit")
        limit_rps = simulated_limit_rps(lengths, profile, seed, requests=requests or _LIMIT_REQUESTS, workers=workers)
        for count in replicas:
            for load in loads:
                on_progress(done, total, f"{name}, {count} replicas, load {load:g}")
                yield measure_cell(
                    name,
                    lengths,
                    profile,
                    count,
                    load,
                    limit_rps,
                    seed,
                    requests=requests,
                    workers=workers,
                    clock=clock,
                )
                done += 1
    on_progress(done, total, "done")


def measure_cell(
    workload: str,
    lengths: JointLengths,
    profile: GpuProfile,
    replicas: int,
    load: float,
    limit_rps: float,
    seed: int,
    *,
    most_replications: int = _MOST_REPLICATIONS,
    requests: int | None = None,
    workers: int | None = None,
    clock: Callable[[], float] | None = None,
) -> FidelityCell:
    """Predict and simulate a cell; replications until the half-width of the P99 TTFT is 3 %, or there are enough.

    Parameters
    ----------
    workload : str
        Name to put into the cell.
    lengths : JointLengths
    profile : GpuProfile
    replicas : int
    load : float
        Share of the limit, 0 to 1.
    limit_rps : float
        Simulated stability limit of one replica, 1/s.
    seed : int
    most_replications : int
    requests : int or None
        Per replication; None for enough to span 60 long residences.
    workers : int or None
    clock : callable or None
        See :func:`fidelity_cells`.
    """
    rate_rps = load * limit_rps * replicas
    work = request_work(profile, lengths.weight, lengths.prompt_tokens, lengths.output_tokens)
    predicted, prediction_ms = _predict(work, rate_rps, replicas, clock)
    n_requests = requests or _requests(work, rate_rps, predicted)
    fleet = _fleet(profile, replicas)
    runs: list[dict[str, float]] = []
    with ThreadPoolExecutor(workers) as executor:
        while not runs or (len(runs) < most_replications and _half_width(runs, "ttft_p99_s") > HALF_WIDTH):
            more = min(_FEWEST_REPLICATIONS, most_replications - len(runs))
            runs += _replications(executor, lengths, fleet, rate_rps, n_requests, seed, len(runs), more)
    return FidelityCell(
        workload=workload,
        profile=profile.name,
        replicas=replicas,
        load=load,
        arrival_rate_rps=rate_rps,
        simulated_limit_rps=limit_rps * replicas,
        model_limit_rps=stability_limit_rps(work) * replicas,
        figures=tuple(_figure(name, value, runs) for name, value in predicted.items()),
        requests=len(runs) * (n_requests - n_requests // 3),
        replications=len(runs),
        is_settled=_half_width(runs, "ttft_p99_s") <= HALF_WIDTH,
        prediction_ms=prediction_ms,
    )


def misses(cells: Sequence[FidelityCell]) -> tuple[str, ...]:
    """Every figure that misses its target, and by how much, a line each."""
    lines = []
    for cell in cells:
        where = f"{cell.workload}, {cell.replicas} replicas, load {cell.load:g}"
        for figure in cell.figures:
            if figure.is_within is False:
                lines.append(
                    f"{where}: {figure.name} is {figure.ratio - 1:+.1%} off, beyond {figure.tolerance:.1%} "
                    f"({figure.predicted:.4g} predicted, {figure.simulated:.4g} simulated)"
                )
        if not cell.is_settled:
            lines.append(
                f"{where}: the simulator's P99 TTFT is known to {cell.figure('ttft_p99_s').half_width:.1%} only, "
                f"after {cell.requests:,} requests"
            )
    return tuple(lines)


def _predict(
    work: RequestWork, rate_rps: float, replicas: int, clock: Callable[[], float] | None
) -> tuple[dict[str, float], float]:
    """Figures of the model by name, and the time that they took, ms."""
    _ = work.capacity  # and with it all tables
    start = clock() if clock else math.nan
    prediction = predict_pool(work, rate_rps, replicas)
    figures = _predicted(work, prediction)
    return figures, 1e3 * ((clock() if clock else math.nan) - start)


def _predicted(work: RequestWork, prediction: PoolPrediction | None) -> dict[str, float]:
    if prediction is None:
        names = ("iteration_s", "slot_utilization", "busy", "kv_utilization", "ttft_p50_s", "ttft_p99_s", "tpot_p99_s")
        return dict.fromkeys(names, math.nan)
    state = prediction.state
    return {
        "iteration_s": state.iteration_s,
        "slot_utilization": state.running / work.profile.max_sequences,
        "busy": state.busy,
        "kv_utilization": state.kv_utilization,
        "ttft_p50_s": prediction.ttft.quantile(0.5),
        "ttft_p99_s": prediction.ttft.quantile(0.99),
        "tpot_p99_s": prediction.tpot.quantile(0.99),
    }


def _requests(work: RequestWork, rate_rps: float, predicted: dict[str, float]) -> int:
    """Requests of a replication: enough for a P99, and to span many of the longest residences but one in a thousand."""
    share, output = work.output_points
    longest = float(output[np.searchsorted(np.cumsum(share), 0.999)])
    iteration_s = predicted["iteration_s"] if predicted["iteration_s"] > 0 else work.profile.base_s
    span = _RESIDENCES * longest * iteration_s * rate_rps
    return int(min(_MOST_REQUESTS, max(_FEWEST_REQUESTS, span)))


def _replications(
    executor: Executor,
    lengths: JointLengths,
    fleet: Fleet,
    rate_rps: float,
    n_requests: int,
    seed: int,
    first: int,
    count: int,
) -> list[dict[str, float]]:
    """Measure ``count`` more replications; their traces are drawn by the threads too."""

    def measured(run: int) -> dict[str, float]:
        return _measured(_trace(lengths, rate_rps, n_requests, seed, run), fleet)

    return list(executor.map(measured, range(first, first + count)))


def _measured(trace: Trace, fleet: Fleet) -> dict[str, float]:
    """Steady-state figures of a run, its first third cut.

    Utilisation comes as integrals over a whole run. Those of the first third alone, taken off those of the whole,
    leave two thirds that neither start nor end empty.
    """
    n_warm_up = len(trace) // 3
    head = make_trace(trace.arrival_s[:n_warm_up], trace.prompt_tokens[:n_warm_up], trace.output_tokens[:n_warm_up])
    whole, warm_up = simulate(trace, fleet), simulate(head, fleet)
    pool = fleet.pools[0]
    span_s = float(trace.arrival_s[-1] - trace.arrival_s[n_warm_up - 1])

    def integral(name: str) -> float:
        return _integral(whole, name) - _integral(warm_up, name)

    busy_s = integral("busy") * pool.replicas
    ttft_s, tpot_s = whole.ttft_s[n_warm_up:], whole.tpot_s[n_warm_up:]
    tpot_s = tpot_s[~np.isnan(tpot_s)]
    return {
        "iteration_s": busy_s / (whole.utilization[0].iterations - warm_up.utilization[0].iterations),
        "slot_utilization": integral("mean_running") / span_s / pool.profile.max_sequences,
        "busy": integral("busy") / span_s,
        "kv_utilization": integral("kv") / span_s,
        "ttft_p50_s": float(np.quantile(ttft_s, 0.5)),
        "ttft_p99_s": float(np.quantile(ttft_s, 0.99)),
        "tpot_p99_s": float(np.quantile(tpot_s, 0.99)) if tpot_s.size else math.nan,
    }


def _integral(result: SimulationResult, name: str) -> float:
    return float(getattr(result.utilization[0], name)) * result.observed_s


def _backlog_growth(trace: Trace, fleet: Fleet) -> float:
    """What the backlog gains from the second to the last quarter, as a share of the arrivals between their middles."""
    result = simulate(trace, fleet)
    n = len(trace)
    backlog = np.arange(n) - np.searchsorted(np.sort(result.first_token_s), result.arrival_s, side="right")
    _, second, _, last = np.array_split(backlog, 4)
    return float(last.mean() - second.mean()) / (n / 2)


def _figure(name: str, predicted: float, runs: list[dict[str, float]]) -> Figure:
    half_width = _half_width(runs, name)
    tolerances = {
        "iteration_s": MEAN_TOLERANCE,
        "slot_utilization": MEAN_TOLERANCE,
        "ttft_p99_s": P99_TOLERANCE + min(half_width, HALF_WIDTH),
    }
    return Figure(
        name=name,
        predicted=predicted,
        simulated=_interval(runs, name).estimate,
        half_width=half_width,
        tolerance=tolerances.get(name),
    )


def _half_width(runs: list[dict[str, float]], name: str) -> float:
    """Half-width of the 95 % interval over replications, as a share of the mean; infinite for one run."""
    interval = _interval(runs, name)
    return (interval.upper - interval.lower) / 2 / interval.estimate


def _interval(runs: list[dict[str, float]], name: str) -> Interval:
    return replication_interval(np.array([run[name] for run in runs]))


def _fleet(profile: GpuProfile, replicas: int) -> Fleet:
    return Fleet((Pool("all", profile, replicas, profile.context_limit_tokens),))


def _trace(lengths: JointLengths, rate_rps: float, n_requests: int, seed: int, run: int) -> Trace:
    """Poisson arrivals with lengths drawn independently; the same draws at every rate."""

    def stream(purpose: str) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAMS[purpose], run)))

    prompt_tokens, output_tokens, _ = sample(lengths, n_requests, stream("lengths"))
    return make_trace(poisson_arrivals(rate_rps, n_requests, stream("arrivals")), prompt_tokens, output_tokens)
