"""Verification by simulation: every pool gets the smallest number of replicas that the simulator confirms."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from fleetopt.planner.engine import pool_work
from fleetopt.planner.fleet import fleet_plan, limits_exceeded, pool_case
from fleetopt.planner.mixture import PoolMixture, split
from fleetopt.planner.peak import PeakStream, stream
from fleetopt.planner.plan import FleetPlan, PoolPlan
from fleetopt.planner.problem import Offer, Problem, Slo
from fleetopt.planner.proof import PEAK, PoolEvidence, Proof, Verdict, pool_verdict, worst
from fleetopt.planner.provision import Provision
from fleetopt.planner.sizing import Unfit, resize_pool, size_pool
from fleetopt.planner.trials import (
    REPLICATIONS,
    PoolRun,
    PoolTrials,
    Targets,
    peak_evidence,
    pool_run,
    requests_to_simulate,
)
from fleetopt.planner.undercut import ReplicaBounds, confirmed_price, least_price, next_trial
from fleetopt.planner.work_floor import fewest_replicas
from fleetopt.queueing.pool import predict_pool
from fleetopt.simulator import Fleet, simulate
from fleetopt.simulator.replications import run_in_threads
from fleetopt.workload.trace import Trace

_MOST_TIMES = 4
"""A pool that fails with so many times the model's replicas is called infeasible."""
_LEAST_GROWTH, _LEAST_GAIN = 0.05, 0.005
"""Where 5 % more replicas take less than 0.5 % of the target off the P99, more replicas will not mend it."""
_RESOLUTION = 400
"""A pool's smallest confirmed number is found to one replica in so many; exactly, up to that size."""
_MOST_TOGETHER = 1_000_000
"""Requests of a replication of the whole fleet."""
_TOGETHER_ROUNDS = 3
_SLACK = 1e-9
_LAX = 1000.0
"""A target so many times the real one asks for nothing but loads within the cap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Where the search for a pool's smallest confirmed number ended.

    Attributes
    ----------
    replicas : int
        That carry load: the smallest confirmed; where none is, the number that the search began with.
    verdict : {"confirmed", "refuted", "undecided"}
        Of that number.
    refuted : int
        Largest number below that was tried and not confirmed, or that the requirements forbid; 0: none.
    note : str
        Why none is confirmed.
    """

    replicas: int
    verdict: Verdict
    refuted: int
    note: str = ""


class Verifier:
    """Simulations of one problem, shared by all plans for it: same requests, and no pool is simulated twice.

    Parameters
    ----------
    problem : Problem
        Gives the targets, the lengths and the planned rate.
    day : Trace or None
        The day's own requests within the context limit; None where there are none to replay.
    seed : int
    """

    def __init__(self, problem: Problem, day: Trace | None, seed: int) -> None:
        self.problem, self.day, self.seed = problem, day, seed
        self._peak = PeakStream(problem, seed)
        self._trials: dict[tuple[object, ...], PoolTrials] = {}

    def trials(self, plan: FleetPlan, index: int, mixture: PoolMixture) -> PoolTrials:
        """Trials of one of a plan's pools; pools of other plans that get the same requests share them."""
        pool = plan.pools[index]
        return self.pool_trials(_routing(plan), index, mixture, pool.arrival_rate_rps, pool.residence_s)

    def pool_trials(
        self, routing: Fleet, index: int, mixture: PoolMixture, arrival_rate_rps: float, residence_s: float
    ) -> PoolTrials:
        """Trials of one pool of any fleet.

        Parameters
        ----------
        routing : Fleet
            One replica per pool will do.
        index : int
            Of the pool.
        mixture : PoolMixture
            Requests that the pool gets.
        arrival_rate_rps : float
            Of the pool, 1/s.
        residence_s : float
            Mean time in service, about, s.
        """
        pool, problem = routing.pools[index], self.problem
        round_of_bursts = 0 if problem.arrivals is None else len(problem.arrivals.gaps)
        targets = Targets(ttft_p99_s=problem.slo.ttft_of(pool.name), tpot_p99_s=problem.slo.tpot_p99_s)
        key = (pool.profile, pool.max_context_tokens, targets, *_content(mixture))
        if key not in self._trials:
            self._trials[key] = PoolTrials(
                self._peak,
                routing,
                index,
                targets=targets,
                n_requests=requests_to_simulate(
                    arrival_rate_rps, problem.arrival_rate_rps, residence_s, round_of_bursts
                ),
                day=self.day,
                seed=self.seed,
            )
        return self._trials[key]

    @property
    def simulated_requests(self) -> int:
        """Requests simulated so far in pools alone."""
        return sum(trials.simulated_requests for trials in self._trials.values())

    def cannot_undercut(self, plan: FleetPlan, usd_per_hour: float) -> bool:
        """Whether a plan's pools hold for no price below one.

        Numbers that would have to hold for it are simulated, see `fleetopt.planner.undercut`, until there is none left
        or a cheaper fleet seems to hold. Where commitments or whole nodes make prices jump, this is a rule of thumb.
        """
        usd_of_load = sum(pool.loaded_replicas * replica_price(pool) for pool in plan.pools)
        goal = usd_per_hour - (price(plan) - usd_of_load)
        mixtures = split(self.problem.lengths, plan.boundaries_tokens, plan.gamma)
        bounds = [
            ReplicaBounds(replica_price(pool), pool.loaded_replicas, _floor(pool, mixture, self.problem))
            for pool, mixture in zip(plan.pools, mixtures, strict=True)
        ]
        while least_price(bounds) < goal * (1 - _SLACK):
            if confirmed_price(bounds) < goal * (1 - _SLACK):
                return False
            place, replicas = next_trial(bounds, goal)
            verdict = self.trials(plan, place, mixtures[place]).verdict(replicas)
            bounds[place].note(replicas, is_confirmed=verdict == "confirmed")
        return True

    def prove(self, plan: FleetPlan, on_progress: Callable[[str], None] = lambda message: None) -> Proof:
        """Give every pool the smallest number of replicas that the simulator confirms, and confirm the fleet together.

        Parameters
        ----------
        plan : FleetPlan
        on_progress : callable
            Told, in words, what is being simulated.

        Notes
        -----
        Every spare replica is down. The requests that a pool gets depend on their length alone, so each pool is
        simulated on its own; in the end all are simulated together, and a pool that is not confirmed there gets one
        more. A pool is confirmed on the stream at the planned peak (`PeakStream`) and on the day's own requests; one
        with too few of those to bound a P99 (368 are needed, see `block_bootstrap_quantile`) needs only not to be
        refuted there. A fleet that in the end takes more GPUs than can be had is refuted. No pool is trimmed below what
        the utilisation cap, with the model's loads, asks for. A cap of 1 asks for nothing; the model may then find a
        confirmed number unstable, and its prediction is nan.
        """
        mixtures = split(self.problem.lengths, plan.boundaries_tokens, plan.gamma)
        settled, repairs = [], []
        for index, (pool, mixture) in enumerate(zip(plan.pools, mixtures, strict=True)):
            on_progress(f"simulating the {pool.name} pool, {pool.loaded_replicas} replicas by the model")
            trials, floor = self.trials(plan, index, mixture), _floor(pool, mixture, self.problem)
            found = smallest_confirmed(trials, pool.loaded_replicas, floor)
            settled.append(found)
            repairs += _sentences(pool, found, floor)
        pools = tuple(
            _resized(self.problem, pool, mixture, found.replicas)
            for pool, mixture, found in zip(plan.pools, mixtures, settled, strict=True)
        )
        sized = fleet_plan(self.problem, plan.boundaries_tokens, plan.gamma, pools)
        if (verdict := worst(found.verdict for found in settled)) != "confirmed":
            return Proof(plan=sized, verdict=verdict, evidence=self._evidence(sized, mixtures), repairs=tuple(repairs))
        return _within_limits(self.problem, self._together(sized, mixtures, repairs, on_progress))

    def _together(
        self,
        plan: FleetPlan,
        mixtures: tuple[PoolMixture, ...],
        repairs: list[str],
        on_progress: Callable[[str], None],
    ) -> Proof:
        """Run the whole fleet at once; a pool that is refuted there gets more replicas, a few times."""
        for attempt in range(_TOGETHER_ROUNDS + 1):
            on_progress(f"simulating {plan.replicas} replicas together")
            verdicts = self._verdicts_together(plan, mixtures)
            if "refuted" not in verdicts or attempt == _TOGETHER_ROUNDS:
                break
            pools = []
            for pool, mixture, verdict in zip(plan.pools, mixtures, verdicts, strict=True):
                more = pool.loaded_replicas + (resolution(pool.loaded_replicas) if verdict == "refuted" else 0)
                if verdict == "refuted":
                    repairs.append(f"{pool.name} pool: refuted when all pools ran together, {more} replicas now")
                pools.append(_resized(self.problem, pool, mixture, more))
            plan = fleet_plan(self.problem, plan.boundaries_tokens, plan.gamma, tuple(pools))
        evidence = self._evidence(plan, mixtures)
        overall = worst([pool_verdict(item for item in evidence if item.pool == pool.name) for pool in plan.pools])
        return Proof(
            plan=plan,
            verdict="refuted" if "refuted" in verdicts else overall,
            evidence=evidence,
            repairs=tuple(repairs),
        )

    def _evidence(self, plan: FleetPlan, mixtures: tuple[PoolMixture, ...]) -> tuple[PoolEvidence, ...]:
        """Evidence of every pool, those of the peak first."""
        found = [
            replace(item, pool=pool.name)
            for index, (pool, mixture) in enumerate(zip(plan.pools, mixtures, strict=True))
            for item in self.trials(plan, index, mixture).evidence(pool.loaded_replicas)
        ]
        return tuple(sorted(found, key=lambda item: item.scenario != PEAK))

    def _verdicts_together(self, plan: FleetPlan, mixtures: tuple[PoolMixture, ...]) -> list[Verdict]:
        """Verdict of every pool when the fleet runs as a whole; confirmed where a pool is the whole fleet."""
        if len(plan.pools) == 1:
            return ["confirmed"]
        trials = [self.trials(plan, index, mixture) for index, mixture in enumerate(mixtures)]
        n_requests = min(max(item.n_requests for item in trials), _MOST_TOGETHER)
        fleet = plan.fleet()

        def run(replication: int) -> list[PoolRun]:
            result = simulate(self._peak.trace(replication, n_requests), fleet)
            indices = range(len(fleet.pools))
            return [pool_run(result, index, is_bursty=self._peak.is_bursty) for index in indices]

        runs = run_in_threads([partial(run, replication) for replication in range(REPLICATIONS)])
        return [
            peak_evidence(pool, [run[index] for run in runs], item.targets, stream(self.seed, "peak", index)).verdict
            for index, (pool, item) in enumerate(zip(fleet.pools, trials, strict=True))
        ]


def smallest_confirmed(trials: PoolTrials, start: int, floor: int) -> Settled:
    """Find the smallest number of replicas that a pool's trials confirm, to within :func:`resolution`.

    Parameters
    ----------
    trials : PoolTrials
    start : int
        Number to begin with, best near the answer.
    floor : int
        Fewest that the requirements allow.

    Notes
    -----
    It takes for granted that a pool that holds with n replicas holds with more. Undecided counts as not confirmed.
    """
    start = max(start, floor)
    high, low, note = _first_confirmed(trials, start, floor - 1)
    if high is None:
        return Settled(replicas=start, verdict=trials.verdict(start), refuted=floor - 1, note=note)
    step, halve = resolution(high), False
    while high - low > resolution(high):
        if low < floor:  # nothing refuted yet: feel the way down
            middle, step = max(high - step, floor), 2 * step
        else:
            middle = (low + high) // 2 if halve else _secant(trials, low, high)
            halve = not halve
        if trials.verdict(middle) == "confirmed":
            high = middle
        else:
            low = middle
    return Settled(replicas=high, verdict="confirmed", refuted=low)


def price(plan: FleetPlan) -> float:
    """Cost of a plan, USD/h; its GPUs where its profiles have no price."""
    return plan.usd_per_hour or float(sum(pool.gpus for pool in plan.pools))


def replica_price(pool: PoolPlan) -> float:
    """Price of one replica on demand, USD/h; its GPUs where it has none."""
    return pool.profile.usd_per_replica_hour or float(pool.profile.gpus_per_replica)


def resolution(replicas: int) -> int:
    """Step in which numbers of replicas are told apart: one, and one in 400 of a large pool."""
    return max(1, replicas // _RESOLUTION)


def _first_confirmed(trials: PoolTrials, start: int, forbidden: int) -> tuple[int | None, int, str]:
    """A confirmed number from ``start`` up, and the largest below that is not; or None, and why there is none."""
    low, tried, step = forbidden, start, max(1, start // 50)
    before: tuple[int, float] | None = None
    while trials.verdict(tried) != "confirmed":
        p99_s, verdict = trials.first_p99_s(tried), trials.verdict(tried)
        if verdict == "undecided" and trials.cannot_tell(tried):
            return None, low, trials.evidence(tried)[0].note
        if before is not None and not _still_falls(*before, tried, p99_s, trials.targets):
            return None, low, f"P99 TTFT {before[1]:.4g} s with {before[0]} replicas, {p99_s:.4g} s with {tried}"
        if before is None or tried >= (1 + _LEAST_GROWTH) * before[0]:
            before = tried, p99_s
        if tried >= _MOST_TIMES * start:
            return None, low, f"not even {tried} replicas are confirmed"
        low, tried, step = tried, min(tried + step, _MOST_TIMES * start), 2 * step
    return tried, low, ""


def _still_falls(fewer: int, before_s: float, more: int, now_s: float, targets: Targets) -> bool:
    """Whether more replicas took something off the P99 TTFT, so that even more may help; or it is not what fails."""
    if more < (1 + _LEAST_GROWTH) * fewer or now_s <= targets.ttft_p99_s:
        return True
    return before_s - now_s > _LEAST_GAIN * targets.ttft_p99_s


def _secant(trials: PoolTrials, low: int, high: int) -> int:
    """Number between a refuted and a confirmed one at which the logarithm of the P99, taken as linear, is at target."""
    target_s = math.log(trials.targets.ttft_p99_s)
    at_low, at_high = (math.log(trials.first_p99_s(replicas)) - target_s for replicas in (low, high))
    share = at_low / (at_low - at_high) if at_low > 0 > at_high else 0.5
    return min(max(low + math.ceil(share * (high - low)), low + 1), high - 1)


def _floor(pool: PoolPlan, mixture: PoolMixture, problem: Problem) -> int:
    """Fewest loaded replicas whose loads, by the model, stay within the cap; without a cap, by work alone."""
    if problem.max_utilization >= 1:
        return fewest_replicas(pool_work(problem, pool.profile, mixture), pool.arrival_rate_rps)
    lax = Slo(ttft_p99_s=_LAX * problem.slo.ttft_of(pool.name))
    case = pool_case(problem, pool.name, offer_of(problem, pool), mixture, pool.max_context_tokens)
    sized = size_pool(replace(problem, slo=lax), case, mixture)
    return pool.loaded_replicas if isinstance(sized, Unfit) else sized.loaded_replicas


def _sentences(pool: PoolPlan, found: Settled, floor: int) -> list[str]:
    """What the simulator changed about a pool, in words."""
    modelled = pool.loaded_replicas
    if found.verdict != "confirmed":
        return [
            f"{pool.name} pool: {found.verdict} with {found.replicas} replicas, and more do not mend it: {found.note}"
        ]
    if found.replicas == modelled:
        return []
    change = (
        f"{found.replicas - modelled} added to"
        if found.replicas > modelled
        else f"{modelled - found.replicas} fewer than"
    )
    below = f"{found.refuted} are not enough" if found.refuted >= floor else "the utilisation cap allows no fewer"
    return [f"{pool.name} pool: {change} the model's {modelled} replicas; {found.replicas} are confirmed, {below}"]


def _within_limits(problem: Problem, proof: Proof) -> Proof:
    """The same proof, refuted where what was added to the fleet takes more GPUs than can be had."""
    exceeded = limits_exceeded(problem, proof.plan)
    if not exceeded:
        return proof
    return replace(proof, verdict="refuted", repairs=(*proof.repairs, f"not to be had: {exceeded}"))


def _resized(problem: Problem, pool: PoolPlan, mixture: PoolMixture, loaded_replicas: int) -> PoolPlan:
    """The pool with so many loaded replicas; without a prediction where the model finds them unstable."""
    if loaded_replicas == pool.loaded_replicas:
        return pool
    work = pool_work(problem, pool.profile, mixture)
    if predict_pool(work, pool.arrival_rate_rps, loaded_replicas) is not None:
        return resize_pool(problem, pool, mixture, loaded_replicas, "simulation")
    provision = Provision.of(problem, offer_of(problem, pool))
    replicas = provision.replicas(loaded_replicas)
    return replace(
        pool,
        replicas=replicas,
        spare_replicas=replicas - loaded_replicas,
        gpus=provision.gpus(replicas, pool.profile.gpus_per_replica),
        slot_utilization=math.nan,
        kv_utilization=math.nan,
        ttft_p99_s=math.nan,
        tpot_p99_s=math.nan,
        binding="simulation",
    )


def _routing(plan: FleetPlan) -> Fleet:
    """The plan's fleet with one replica per pool: who goes where does not depend on their number."""
    fleet = plan.fleet()
    return replace(fleet, pools=tuple(replace(pool, replicas=1) for pool in fleet.pools))


def _content(mixture: PoolMixture) -> tuple[float, ...]:
    """Figures that tell the requests of different pools apart."""
    weight = mixture.weight
    return (
        len(weight),
        float(weight.sum()),
        float(weight @ mixture.prompt_tokens),
        float(weight @ mixture.output_tokens),
        float(weight @ mixture.prompt_tokens**2),
    )


def offer_of(problem: Problem, pool: PoolPlan) -> Offer:
    """The offer that a pool's replicas are of."""
    return next(offer for offer in problem.offers if offer.profile.name == pool.profile.name)
