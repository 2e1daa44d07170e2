"""Whether the plans of the planner hold in the simulator, and whether a cheaper fleet would have held."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fleetopt.evidence.reference_fleets import ReferenceFleet, cheaper_fleet
from fleetopt.planner.engine import pool_work
from fleetopt.planner.mixture import split
from fleetopt.planner.plan import FleetPlan
from fleetopt.planner.problem import Offer, Problem, Slo
from fleetopt.planner.proof import Proof
from fleetopt.planner.recommend import cheapest_confirmed, sized_plans
from fleetopt.planner.search import plan_fleet
from fleetopt.planner.verification import Verifier
from fleetopt.planner.work_floor import fewest_replicas
from fleetopt.profiles import GpuProfile
from fleetopt.queueing.work import request_work
from fleetopt.simulator import Fleet, Pool
from fleetopt.workload.lengths import JointLengths

RATES_RPS = (20.0, 200.0, 2000.0)
MULTIPLES = (1.5, 3.0, 6.0)
"""Targets as multiples of the workload's own unloaded P99 TTFT."""
MOST_EXCESS = 0.05
_LEAST_EXCESS = 0.02
"""Fleets that are cheaper by less than 2 % are not looked for."""
_P99 = 0.99
_TIMES = 4
"""What is called infeasible has to fail with four times the replicas that its work asks for as well."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Workload:
    """Lengths to plan for, and the boundaries that may be drawn.

    Attributes
    ----------
    name : str
    lengths : JointLengths
    boundaries_tokens : tuple of int
        Breakpoints of its CDF.
    max_context_tokens : int
    """

    name: str
    lengths: JointLengths
    boundaries_tokens: tuple[int, ...]
    max_context_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CellKey:
    """Which cell of the grid: names of the workload and of the GPU types, rate, multiple of the unloaded P99 TTFT."""

    workload: str
    hardware: str
    arrival_rate_rps: float
    multiple: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCell:
    """One cell of the grid: the model's plan, what verification made of it, and the cheapest fleet that holds.

    Attributes
    ----------
    key : CellKey
    slo_ttft_p99_s : float
    reason : str
        Why the model finds no plan, or why a plan is not confirmed.
    modelled, verified, cheapest : str
        Fleets in words: boundaries, band, loaded replicas; empty where there is none.
    modelled_usd_per_hour, verified_usd_per_hour, cheapest_usd_per_hour : float
        The last: of the cheapest fleet known to be confirmed; nan where there is none.
    modelled_verdict, verdict : str
        Of the model's plan as it came, and after verification.
    is_other : bool
        Whether verification preferred other boundaries, another band or other GPU types to those of the model's plan.
    added, trimmed : int
        Replicas that verification added to pools of the model's plan and took off others.
    plans_proved, plans_dismissed : int
        Contenders that were proved, and that a short look dismissed.
    fleets, fleets_simulated, untold : int
        Of the reference, see `ReferenceFound`.
    is_infeasible_proved : bool
        Whether a cell without a plan has none: its unloaded P99 is above the target, or four times the fleet fails too.
    simulated_requests : int
    """

    key: CellKey
    slo_ttft_p99_s: float
    reason: str = ""
    modelled: str = ""
    verified: str = ""
    cheapest: str = ""
    modelled_usd_per_hour: float = math.nan
    verified_usd_per_hour: float = math.nan
    cheapest_usd_per_hour: float = math.nan
    usd_per_replica_hour: float = math.nan
    modelled_verdict: str = ""
    verdict: str = ""
    is_other: bool = False
    added: int = 0
    trimmed: int = 0
    plans_proved: int = 0
    plans_dismissed: int = 0
    fleets: int = 0
    fleets_simulated: int = 0
    untold: int = 0
    is_infeasible_proved: bool = False
    simulated_requests: int = 0

    @property
    def is_feasible(self) -> bool:
        """Whether the model has a plan."""
        return bool(self.modelled)

    @property
    def excess(self) -> float:
        """What the verified plan costs beyond the cheapest fleet known to hold, as a share of it."""
        return self.verified_usd_per_hour / self.cheapest_usd_per_hour - 1

    @property
    def modelled_excess(self) -> float:
        """The same of the model's plan as it came."""
        return self.modelled_usd_per_hour / self.cheapest_usd_per_hour - 1

    @property
    def is_passed(self) -> bool:
        """Whether the cell is as it should be: confirmed and tight, or proved infeasible."""
        if not self.is_feasible:
            return self.is_infeasible_proved
        dearer = self.verified_usd_per_hour - self.cheapest_usd_per_hour
        allowed = max(MOST_EXCESS * self.cheapest_usd_per_hour, self.usd_per_replica_hour)
        return self.verdict == "confirmed" and dearer <= allowed * (1 + 1e-9)


def plan_grid(
    workloads: Sequence[str],
    hardware: Sequence[str],
    seed: int,
    *,
    rates_rps: Sequence[float] = RATES_RPS,
    multiples: Sequence[float] = MULTIPLES,
    full_rate_rps: float = math.inf,
    share: float = 1.0,
) -> list[CellKey]:
    """Cells to run: all up to a rate, and of those beyond it a share drawn at random.

    Parameters
    ----------
    workloads, hardware : sequence of str
        Names.
    seed : int
        Of the draw, of each cell by itself: a larger share or grid only adds cells.
    rates_rps, multiples : sequence of float
    full_rate_rps : float
        Cells up to this rate are all run, 1/s.
    share : float
        Of the cells beyond, 0 to 1.
    """
    keys = [
        CellKey(workload=workload, hardware=gpus, arrival_rate_rps=rate_rps, multiple=multiple)
        for rate_rps in rates_rps
        for workload in workloads
        for gpus in hardware
        for multiple in multiples
    ]
    return [key for key in keys if key.arrival_rate_rps <= full_rate_rps or _draw(key, seed) < share]


def _draw(key: CellKey, seed: int) -> float:
    """A number from 0 to 1 that depends on the cell and the seed alone, not on the rest of the grid."""
    name = f"{key.workload}|{key.hardware}|{key.arrival_rate_rps:g}|{key.multiple:g}"
    return float(np.random.default_rng(np.random.SeedSequence([seed, *name.encode()])).random())


def plan_cells(
    keys: Sequence[CellKey],
    workloads: Mapping[str, Workload],
    hardware: Mapping[str, Sequence[GpuProfile]],
    seed: int,
    *,
    done: Collection[CellKey] = (),
    on_progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Iterator[PlanCell]:
    """Run cells one after the other; replications of a simulation run at the same time.

    Parameters
    ----------
    keys : sequence of CellKey
    workloads, hardware : mapping
        By name; several profiles are offered together, pool by pool.
    seed : int
    done : collection of CellKey
        Left out.
    on_progress : callable
        Told the cells done, those in all, and what is being run.

    Yields
    ------
    PlanCell
    """
    missing = [key for key in keys if key not in done]
    for place, key in enumerate(missing):
        what = f"{key.workload}, {key.hardware}, {key.arrival_rate_rps:g} req/s, {key.multiple:g} x"
        on_progress(place, len(missing), what)
        yield measure_plan(key, workloads[key.workload], hardware[key.hardware], seed)
    on_progress(len(missing), len(missing), "done")


def measure_plan(key: CellKey, workload: Workload, profiles: Sequence[GpuProfile], seed: int) -> PlanCell:
    """Plan, verify the plan, and look for a cheaper fleet that holds.

    Parameters
    ----------
    key : CellKey
    workload : Workload
    profiles : sequence of GpuProfile
    seed : int

    Notes
    -----
    No cap on utilisation, no spares and no cost of compression, so that plan and reference have the same freedom.
    """
    problem = _problem(key, workload, profiles)
    result, verifier = plan_fleet(problem), Verifier(problem, None, seed)
    slo_s = problem.slo.ttft_p99_s
    if result.plan is None:
        proved = infeasible_because(problem, verifier)
        return PlanCell(
            key=key,
            slo_ttft_p99_s=slo_s,
            reason=f"{result.reason}; {proved or 'a larger fleet holds'}",
            is_infeasible_proved=bool(proved),
            simulated_requests=verifier.simulated_requests,
        )
    first = verifier.prove(result.plan)
    contenders = [plan for plan in sized_plans(problem) if plan != result.plan]
    chosen, n_proved, n_dismissed = cheapest_confirmed(verifier, [first], contenders)
    best = chosen or first
    found = cheaper_fleet(verifier, best.plan.usd_per_hour * (1 - _LEAST_EXCESS))
    own_usd = best.plan.usd_per_hour if best.verdict == "confirmed" else math.nan
    changes = _changes(result.plan, first)
    return PlanCell(
        key=key,
        slo_ttft_p99_s=slo_s,
        reason="" if best.verdict == "confirmed" else "; ".join(best.repairs),
        modelled=fleet_in_words(result.plan),
        verified=fleet_in_words(best.plan),
        cheapest=_reference_in_words(found.fleet) if found.fleet else fleet_in_words(best.plan),
        modelled_usd_per_hour=result.plan.usd_per_hour,
        verified_usd_per_hour=best.plan.usd_per_hour,
        cheapest_usd_per_hour=found.usd_per_hour if found.fleet else own_usd,
        usd_per_replica_hour=max(pool.profile.usd_per_replica_hour for pool in best.plan.pools),
        modelled_verdict=_verdict_as_it_came(result.plan, problem, verifier),
        verdict=best.verdict,
        is_other=_layout(best.plan) != _layout(result.plan),
        added=sum(change for change in changes if change > 0),
        trimmed=-sum(change for change in changes if change < 0),
        plans_proved=1 + n_proved,
        plans_dismissed=n_dismissed,
        fleets=found.fleets,
        fleets_simulated=found.fleets_simulated,
        untold=found.untold,
        simulated_requests=verifier.simulated_requests,
    )


def infeasible_because(problem: Problem, verifier: Verifier) -> str:
    """Why no fleet can meet the target, as far as physics or the simulator shows it; empty if they do not.

    The requests of all lengths in one pool are looked at: fleets of more pools have one with the longest of them.
    """
    (mixture,), reasons = split(problem.lengths, (), 1.0), []
    slo_s = problem.slo.ttft_p99_s
    for profile in [offer.profile for offer in problem.offers]:
        work = pool_work(problem, profile, mixture)
        unloaded_s = work.unloaded_ttft_quantile_s(_P99)
        if unloaded_s > slo_s:
            reasons.append(f"unloaded P99 TTFT {unloaded_s:.4g} s on {profile.name}")
            continue
        replicas = _TIMES * fewest_replicas(work, problem.arrival_rate_rps)
        fleet = Fleet(pools=(Pool("all", profile, 1, problem.max_context_tokens),))
        residence_s = work.iterations * work.base_s
        trials = verifier.pool_trials(fleet, 0, mixture, problem.arrival_rate_rps, residence_s)
        if trials.verdict(replicas) == "confirmed":
            return ""
        reasons.append(f"{replicas} {profile.name} replicas, four times what the work takes, are not confirmed")
    return "; ".join(reasons)


def fleet_in_words(plan: FleetPlan) -> str:
    """Boundaries, band and loaded replicas, in short."""
    return _words(
        plan.boundaries_tokens, plan.gamma, [(pool.loaded_replicas, pool.profile.name) for pool in plan.pools]
    )


def _reference_in_words(fleet: ReferenceFleet) -> str:
    return _words(
        fleet.boundaries_tokens,
        fleet.gamma,
        [(pool.bounds.high or 0, pool.routing.pools[pool.index].profile.name) for pool in fleet.pools],
    )


def _words(boundaries: tuple[int, ...], gamma: float, pools: list[tuple[int, str]]) -> str:
    names = {name for _, name in pools}
    counts = " + ".join(f"{count}" if len(names) == 1 else f"{count} {name}" for count, name in pools)
    if len(names) == 1:
        counts = f"{counts} {names.pop()}"
    return f"{counts}, B {', '.join(map(str, boundaries))}, gamma {gamma:g}" if boundaries else counts


def _problem(key: CellKey, workload: Workload, profiles: Sequence[GpuProfile]) -> Problem:
    lengths = workload.lengths
    everything = lengths.weight, lengths.prompt_tokens, lengths.output_tokens
    unloaded_s = min(request_work(profile, *everything).unloaded_ttft_quantile_s(_P99) for profile in profiles)
    return Problem(
        lengths=lengths,
        arrival_rate_rps=key.arrival_rate_rps,
        slo=Slo(ttft_p99_s=key.multiple * unloaded_s),
        offers=tuple(Offer(profile=profile) for profile in profiles),
        max_context_tokens=workload.max_context_tokens,
        boundaries_tokens=workload.boundaries_tokens,
        max_utilization=1.0,
        spare_replicas=0,
        max_gamma=1.5,
    )


def _layout(plan: FleetPlan) -> tuple[object, ...]:
    """All of a plan but its numbers of replicas."""
    return plan.boundaries_tokens, plan.gamma, tuple(pool.profile for pool in plan.pools)


def _changes(plan: FleetPlan, proof: Proof) -> list[int]:
    """Replicas that verification added to each pool; negative: took off."""
    return [
        after.loaded_replicas - before.loaded_replicas
        for before, after in zip(plan.pools, proof.plan.pools, strict=True)
    ]


def _verdict_as_it_came(plan: FleetPlan, problem: Problem, verifier: Verifier) -> str:
    """The worst verdict of the pools of a plan with the model's own numbers."""
    mixtures = split(problem.lengths, plan.boundaries_tokens, plan.gamma)
    verdicts = {
        verifier.trials(plan, index, mixture).verdict(pool.loaded_replicas)
        for index, (pool, mixture) in enumerate(zip(plan.pools, mixtures, strict=True))
    }
    return next(verdict for verdict in ("refuted", "undecided", "confirmed") if verdict in verdicts)
