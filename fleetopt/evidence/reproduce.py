"""FleetOpt's published fleets: reproduced, then judged by the sound model and by the simulator."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from fleetopt.evidence.needed import NeededPool, needed_pool
from fleetopt.evidence.published_figures import (
    GPU,
    MAX_CONTEXT_TOKENS,
    SLO_TTFT_P99_S,
    TABLE_3,
    TABLE_5,
    TABLE_6,
    PublishedFleet,
    PublishedWorkload,
)
from fleetopt.evidence.trials import SimulatedPool, Trial, run_trials
from fleetopt.planner.mixture import PoolMixture, split
from fleetopt.planner.published import (
    PublishedPlan,
    PublishedPool,
    PublishedProblem,
    homogeneous_fleet,
    offered_utilization,
    published_gpu,
    published_plan,
    two_pool_fleet,
)
from fleetopt.profiles import GpuProfile, load_profile
from fleetopt.queueing.pool import predict_pool
from fleetopt.queueing.stability import stability_limit_rps
from fleetopt.queueing.work import RequestWork, request_work
from fleetopt.simulator import Fleet, Pool
from fleetopt.workload.lengths import JointLengths, lengths_from_cdf
from fleetopt.workload.reference import load_reference

REQUESTS, SPAN_S, REPLICATIONS = 1_000_000, 1000.0, 10
"""Of a simulation: requests and duration of the arrivals, at least; and replications.

The longest mean residence of these fleets is about a minute.
"""
QUICK_REQUESTS, QUICK_SPAN_S, QUICK_REPLICATIONS = 100_000, 300.0, 3
_P99 = 0.99
_RATE_RPS = 1000.0
"""Of Table 3."""
_POOL_NAMES = {1: ("all",), 2: ("short", "long")}


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedFigure:
    """A figure that the paper prints, beside ours.

    Attributes
    ----------
    table : int
    what : str
    published, ours : float
        Ours with as many digits as the other.
    """

    table: int
    what: str
    published: float
    ours: float

    @property
    def is_reproduced(self) -> bool:
        """Whether they are equal to the last digit."""
        return abs(self.published - self.ours) < 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPool:
    """A pool of a published fleet: what the paper says of it, the sound model, the simulator.

    Attributes
    ----------
    name : str
    paper : PublishedPool
    offered_utilization : float
        By the paper's service time, with the requests that the pool really gets.
    model_load : float
        Arrival rate / stability limit of the sound model.
    model_slot_utilization, model_ttft_p99_s : float
        Infinite where the pool is unstable.
    simulated : SimulatedPool
    """

    name: str
    paper: PublishedPool
    offered_utilization: float
    model_load: float
    model_slot_utilization: float
    model_ttft_p99_s: float
    simulated: SimulatedPool


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedFleet:
    """A fleet that the paper prints, as our reproduction of its accounting has it, and what becomes of it."""

    published: PublishedFleet
    plan: PublishedPlan
    pools: tuple[JudgedPool, ...]

    @property
    def is_stable(self) -> bool:
        """Whether the simulator finds every pool stable."""
        return all(pool.simulated.is_stable for pool in self.pools)


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededFleet:
    """GPUs that the sound model asks for at the paper's target, boundary and gamma.

    Attributes
    ----------
    published : PublishedFleet
    slots : str
        ``reserved``: the paper's, each made for the longest context; ``paged``: in every pool as many as in the paper's
        short pool, of which the KV cache holds what it can.
    pools : tuple of NeededPool
    simulated : tuple of SimulatedPool
        Empty where no number of GPUs is enough.
    """

    published: PublishedFleet
    slots: str
    pools: tuple[NeededPool, ...]
    simulated: tuple[SimulatedPool, ...] = ()

    @property
    def gpus(self) -> int | None:
        """GPUs of all pools; None where no number is enough."""
        each = [pool.gpus for pool in self.pools]
        return None if None in each else sum(gpus for gpus in each if gpus is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchedBoundary:
    """What the paper's accounting finds when every breakpoint of the CDF may be the boundary; the paper keeps one.

    Attributes
    ----------
    workload : PublishedWorkload
    plan : PublishedPlan
    saving_pct : float
        Against one pool, %.
    offered_utilization, model_load : float
        Of the short pool, as in `JudgedPool`.
    """

    workload: PublishedWorkload
    plan: PublishedPlan
    saving_pct: float
    offered_utilization: float
    model_load: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """The page's content.

    Attributes
    ----------
    figures : tuple of PrintedFigure
        Every figure of Tables 3, 5 and 6 that the paper's model gives.
    fleets : tuple of JudgedFleet
        Of Table 3, then of Table 6.
    needed : tuple of NeededFleet
    searched : tuple of SearchedBoundary
        A workload each.
    requests : int
    span_s : float
    replications : int
        As given to :func:`reproduce`.
    """

    figures: tuple[PrintedFigure, ...]
    fleets: tuple[JudgedFleet, ...]
    needed: tuple[NeededFleet, ...]
    searched: tuple[SearchedBoundary, ...]
    requests: int
    span_s: float
    replications: int


def published_problem(workload: PublishedWorkload, arrival_rate_rps: float) -> PublishedProblem:
    """The problem behind the paper's tables, for a workload and a rate."""
    gpu = published_gpu(load_profile(GPU))
    return PublishedProblem(
        cdf=load_reference(workload.name).points,
        arrival_rate_rps=arrival_rate_rps,
        slo_ttft_p99_s=SLO_TTFT_P99_S,
        short_gpu=gpu,
        long_gpu=gpu,
        max_context_tokens=MAX_CONTEXT_TOKENS,
        compressible_fraction=workload.compressible_fraction,
    )


def reproduced_plan(fleet: PublishedFleet) -> PublishedPlan:
    """The fleet that the paper's accounting gives where the paper prints this one."""
    problem, boundary = published_problem(fleet.workload, fleet.arrival_rate_rps), fleet.workload.boundary_tokens
    if fleet.kind == "one pool":
        return homogeneous_fleet(problem)
    if fleet.kind != "FleetOpt":
        return two_pool_fleet(problem, boundary, fleet.gamma)
    plan = published_plan(problem, [boundary])
    return homogeneous_fleet(problem) if plan is None else plan


def printed_figures() -> tuple[PrintedFigure, ...]:
    """Every figure of Tables 3, 5 and 6 that comes from the paper's model, beside ours; no simulation."""
    found: list[PrintedFigure] = []
    for fleet in (*TABLE_3, *TABLE_6):
        found += _figures_of(fleet)
        if fleet.table == 3 and fleet.kind == "routing":
            found += [
                PrintedFigure(
                    table=5,
                    what=f"{fleet.workload.name}, utilisation of the {name} pool",
                    published=printed,
                    ours=round(pool.utilization, 3),
                )
                for name, printed, pool in zip(
                    _POOL_NAMES[2], TABLE_5[fleet.workload.name], reproduced_plan(fleet).pools, strict=True
                )
            ]
    return tuple(sorted(found, key=lambda figure: figure.table))


def reproduce(
    seed: int,
    *,
    fleets: Sequence[PublishedFleet] = (*TABLE_3, *TABLE_6),
    requests: int = REQUESTS,
    span_s: float = SPAN_S,
    replications: int = REPLICATIONS,
    workers: int | None = None,
    on_progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Reproduction:
    """Reproduce the paper's tables and judge their fleets.

    Parameters
    ----------
    seed : int
    fleets : sequence of PublishedFleet
        Those to judge.
    requests : int
        Of a replication, at least.
    span_s : float
        Of the arrivals of a replication, at least, s.
    replications : int
        Of each fleet.
    workers : int or None
        Threads; None for as many as there are cores.
    on_progress : callable
        Told the replications done, those in all, and what is being simulated.
    """
    plans = {fleet: reproduced_plan(fleet) for fleet in fleets}
    needed = tuple(_needed_fleets(fleets))
    trials = [_trial_of_published(fleet, plan) for fleet, plan in plans.items()]
    trials_needed = [_trial_of_needed(fleet) for fleet in needed]
    simulated = run_trials(
        [trial for trial in (*trials, *trials_needed) if trial is not None],
        seed,
        requests=requests,
        span_s=span_s,
        replications=replications,
        workers=workers,
        on_progress=on_progress,
    )
    return Reproduction(
        figures=printed_figures(),
        fleets=tuple(
            _judged(fleet, plan, simulated[trial]) for (fleet, plan), trial in zip(plans.items(), trials, strict=True)
        ),
        needed=tuple(
            replace(fleet, simulated=() if trial is None else simulated[trial])
            for fleet, trial in zip(needed, trials_needed, strict=True)
        ),
        searched=tuple(_searched(workload) for workload in dict.fromkeys(fleet.workload for fleet in fleets)),
        requests=requests,
        span_s=span_s,
        replications=replications,
    )


def _figures_of(fleet: PublishedFleet) -> Iterator[PrintedFigure]:
    """GPUs, dollars, saving and gamma of a fleet."""
    plan = reproduced_plan(fleet)
    where = f"{fleet.workload.name} at {fleet.arrival_rate_rps:g} req/s, {fleet.kind}"
    gpus = tuple(pool.gpus for pool in plan.pools) if fleet.table == 3 else (plan.gpus,)
    for printed, ours in zip(fleet.gpus, gpus, strict=True):
        yield PrintedFigure(table=fleet.table, what=f"{where}, GPUs", published=printed, ours=ours)
    if fleet.thousand_usd_per_year is not None:
        usd = round(plan.usd_per_year / 1000)
        yield PrintedFigure(table=fleet.table, what=f"{where}, K$/yr", published=fleet.thousand_usd_per_year, ours=usd)
    if fleet.saving_pct is not None:
        yield PrintedFigure(
            table=fleet.table,
            what=f"{where}, saving %",
            published=fleet.saving_pct,
            ours=round(saving_pct(fleet.workload, plan, fleet.arrival_rate_rps), 1),
        )
    if fleet.kind == "FleetOpt":
        yield PrintedFigure(table=fleet.table, what=f"{where}, gamma", published=fleet.gamma, ours=plan.gamma)


def saving_pct(workload: PublishedWorkload, plan: PublishedPlan, arrival_rate_rps: float) -> float:
    """What a plan costs less than one pool, by the paper's accounting, %."""
    one_pool = homogeneous_fleet(published_problem(workload, arrival_rate_rps))
    return 100 * (1 - plan.usd_per_year / one_pool.usd_per_year)


@lru_cache
def workload_lengths(workload: PublishedWorkload) -> JointLengths:
    """Lengths of a published workload, with the share that may be compressed."""
    return lengths_from_cdf(load_reference(workload.name).points, compressible_fraction=workload.compressible_fraction)


def _mixtures(workload: PublishedWorkload, boundary_tokens: int | None, gamma: float) -> tuple[PoolMixture, ...]:
    """What each pool really gets."""
    return split(workload_lengths(workload), () if boundary_tokens is None else (boundary_tokens,), gamma)


def _with_slots(slots: int) -> GpuProfile:
    """The paper's GPU with an engine that runs at most so many requests at once."""
    return load_profile(GPU).model_copy(update={"max_sequences": slots})


def _trial_of_published(fleet: PublishedFleet, plan: PublishedPlan) -> Trial:
    return Trial(
        fleet=_fleet([(pool.gpus, pool.slots_per_gpu) for pool in plan.pools], fleet.workload, plan.gamma),
        lengths=workload_lengths(fleet.workload),
        arrival_rate_rps=fleet.arrival_rate_rps,
        what=f"{fleet.workload.name} at {fleet.arrival_rate_rps:g} req/s, {fleet.kind}",
    )


def _trial_of_needed(needed: NeededFleet) -> Trial | None:
    """None where no number of GPUs is enough."""
    fleet, pools = needed.published, [(pool.gpus, pool.slots_per_gpu) for pool in needed.pools if pool.gpus]
    if needed.gpus is None:
        return None
    return Trial(
        fleet=_fleet(pools, fleet.workload, fleet.gamma),
        lengths=workload_lengths(fleet.workload),
        arrival_rate_rps=fleet.arrival_rate_rps,
        what=f"{fleet.workload.name}, {fleet.kind} as the sound model sizes it, {needed.slots} slots",
    )


def _fleet(pools: list[tuple[int, int]], workload: PublishedWorkload, gamma: float) -> Fleet:
    """A fleet for the simulator from GPUs and slots per GPU of each pool."""
    boundaries = (workload.boundary_tokens,) if len(pools) == 2 else ()
    return Fleet(
        pools=tuple(
            Pool(name, _with_slots(slots), gpus, context)
            for name, (gpus, slots), context in zip(
                _POOL_NAMES[len(pools)], pools, (*boundaries, MAX_CONTEXT_TOKENS), strict=True
            )
        ),
        router="compress-and-route" if gamma > 1 else "length",
        boundaries_tokens=boundaries,
        gamma=gamma,
    )


def _judged(fleet: PublishedFleet, plan: PublishedPlan, simulated: tuple[SimulatedPool, ...]) -> JudgedFleet:
    mixtures = _mixtures(fleet.workload, plan.boundary_tokens, plan.gamma)
    pools = zip(_POOL_NAMES[len(plan.pools)], plan.pools, mixtures, simulated, strict=True)
    return JudgedFleet(published=fleet, plan=plan, pools=tuple(_judged_pool(*pool) for pool in pools))


def _judged_pool(name: str, paper: PublishedPool, mixture: PoolMixture, simulated: SimulatedPool) -> JudgedPool:
    work = _work(paper, mixture)
    prediction = predict_pool(work, paper.arrival_rate_rps, paper.gpus)
    return JudgedPool(
        name=name,
        paper=paper,
        offered_utilization=_offered(paper, mixture),
        model_load=_model_load(paper, work),
        model_slot_utilization=prediction.state.running / paper.slots_per_gpu if prediction else math.inf,
        model_ttft_p99_s=prediction.ttft.quantile(_P99) if prediction else math.inf,
        simulated=simulated,
    )


def _work(paper: PublishedPool, mixture: PoolMixture) -> RequestWork:
    return request_work(_with_slots(paper.slots_per_gpu), mixture.weight, mixture.prompt_tokens, mixture.output_tokens)


def _offered(paper: PublishedPool, mixture: PoolMixture) -> float:
    return offered_utilization(paper, mixture.weight, mixture.prompt_tokens, mixture.output_tokens)


def _model_load(paper: PublishedPool, work: RequestWork) -> float:
    return paper.arrival_rate_rps / (paper.gpus * stability_limit_rps(work))


def _searched(workload: PublishedWorkload) -> SearchedBoundary:
    problem = published_problem(workload, _RATE_RPS)
    plan = published_plan(problem) or homogeneous_fleet(problem)
    mixture = _mixtures(workload, plan.boundary_tokens, plan.gamma)[0]
    return SearchedBoundary(
        workload=workload,
        plan=plan,
        saving_pct=saving_pct(workload, plan, _RATE_RPS),
        offered_utilization=_offered(plan.short, mixture),
        model_load=_model_load(plan.short, _work(plan.short, mixture)),
    )


def _needed_fleets(fleets: Sequence[PublishedFleet]) -> Iterator[NeededFleet]:
    """Fleets of Table 3 as the sound model would size them, in both slot modes; not simulated yet."""
    for fleet in fleets:
        if fleet.table != 3 or fleet.kind == "retrofit":
            continue
        plan = reproduced_plan(fleet)
        mixtures = _mixtures(fleet.workload, plan.boundary_tokens, plan.gamma)
        requests = sum(mixture.requests for mixture in mixtures)
        most_slots = published_gpu(load_profile(GPU)).slots(fleet.workload.boundary_tokens)
        for slots in ("reserved", "paged"):
            yield NeededFleet(
                published=fleet,
                slots=slots,
                pools=tuple(
                    needed_pool(
                        name,
                        mixture,
                        fleet.arrival_rate_rps * mixture.requests / requests,
                        _with_slots(paper.slots_per_gpu if slots == "reserved" else most_slots),
                        SLO_TTFT_P99_S,
                    )
                    for name, paper, mixture in zip(_POOL_NAMES[len(plan.pools)], plan.pools, mixtures, strict=True)
                ),
            )
