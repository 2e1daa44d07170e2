"""The cheapest fleet that the simulator confirms among all boundaries, bands and GPU types, to hold plans against.

Branch and bound. Below, every fleet is bounded by the work of its requests (`fleetopt.planner.work_floor`), which is
physics, and by what the simulator has refuted; the queueing model only says where to look first.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from fleetopt.planner.engine import pool_work
from fleetopt.planner.mixture import PoolMixture, split
from fleetopt.planner.problem import POOL_NAMES, Problem
from fleetopt.planner.undercut import ReplicaBounds, confirmed_price, expected_price, least_price, next_trial
from fleetopt.planner.verification import Verifier, resolution
from fleetopt.planner.work_floor import fewest_replicas
from fleetopt.profiles import GpuProfile
from fleetopt.queueing.pool import predict_pool
from fleetopt.queueing.work import RequestWork
from fleetopt.simulator import Fleet, Pool

_P99 = 0.99
_RESOLUTION = 1 / 400
_SLOW_ITERATIONS = 6
"""Length of an iteration where the model has none, in bases."""
_MOST_TIMES = 64
"""A pool that the model refuses at so many times the work's own number is begun with twice that number."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferencePool:
    """A pool that fleets of the reference share.

    Attributes
    ----------
    routing, index, mixture
        A fleet that it belongs to, its place in it, and its requests.
    work : RequestWork
    arrival_rate_rps : float
    bounds : ReplicaBounds
        What is known of its smallest confirmed number of replicas; the likely one is the model's.
    """

    routing: Fleet
    index: int
    mixture: PoolMixture
    work: RequestWork
    arrival_rate_rps: float
    bounds: ReplicaBounds


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReferenceFleet:
    """Boundaries, a band and a GPU type for each pool."""

    boundaries_tokens: tuple[int, ...]
    gamma: float
    pools: tuple[ReferencePool, ...]

    @property
    def bounds(self) -> tuple[ReplicaBounds, ...]:
        """What is known of its pools."""
        return tuple(pool.bounds for pool in self.pools)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceFound:
    """What the search of the reference came to.

    Attributes
    ----------
    fleet : ReferenceFleet or None
        The cheapest confirmed fleet below the given price; None: there is none.
    usd_per_hour : float
        Its price, or the given one.
    fleets, fleets_simulated : int
        All, and those that their work alone did not exclude.
    untold : int
        Simulations that were too short to confirm anything; the reference may have missed a fleet there.
    """

    fleet: ReferenceFleet | None
    usd_per_hour: float
    fleets: int
    fleets_simulated: int
    untold: int


def cheaper_fleet(verifier: Verifier, below_usd_per_hour: float) -> ReferenceFound:
    """Find the cheapest confirmed fleet below a price, to one part in 400 of it.

    Parameters
    ----------
    verifier : Verifier
        Gives the problem and runs the simulator.
    below_usd_per_hour : float

    Notes
    -----
    Every fleet whose least price is below the best one known is looked at, the one with the lowest likely price first.
    One of its pools is simulated with as many replicas as it could have for the fleet to be cheaper, see
    `fleetopt.planner.undercut`. It is taken for granted that a pool that holds with n replicas holds with more.
    """
    fleets = list(reference_fleets(verifier.problem))
    search = _Search(verifier, below_usd_per_hour)
    open_fleets = fleets
    while open_fleets := [fleet for fleet in open_fleets if search.may_win(fleet)]:
        search.look_at(min(open_fleets, key=lambda fleet: expected_price(fleet.bounds)))
    return ReferenceFound(
        fleet=search.best,
        usd_per_hour=search.usd_per_hour,
        fleets=len(fleets),
        fleets_simulated=len(search.looked_at),
        untold=search.untold,
    )


def reference_fleets(problem: Problem) -> Iterator[ReferenceFleet]:
    """Every fleet of one or two pools whose pools can meet the target at all; pools are shared."""
    pools: dict[tuple[object, ...], ReferencePool | None] = {}
    boundaries = problem.boundaries_tokens or ()
    for bounds in [(), *((boundary,) for boundary in boundaries if boundary < problem.max_context_tokens)]:
        for gamma in problem.gammas if bounds else (1.0,):
            mixtures = split(problem.lengths, bounds, gamma)
            if min(mixture.requests for mixture in mixtures) <= 0:
                continue
            for profiles in product([offer.profile for offer in problem.offers], repeat=len(mixtures)):
                found = [_pool(problem, pools, bounds, gamma, mixtures, profiles, i) for i in range(len(mixtures))]
                usable = tuple(pool for pool in found if pool is not None)
                if len(usable) == len(found):
                    yield ReferenceFleet(boundaries_tokens=bounds, gamma=gamma, pools=usable)


def _pool(
    problem: Problem,
    known: dict[tuple[object, ...], ReferencePool | None],
    boundaries: tuple[int, ...],
    gamma: float,
    mixtures: tuple[PoolMixture, ...],
    profiles: tuple[GpuProfile, ...],
    index: int,
) -> ReferencePool | None:
    """The pool, one for all fleets in which it gets the same requests; None where it cannot meet the target."""
    mixture, profile = mixtures[index], profiles[index]
    limit = (*boundaries, problem.max_context_tokens)[index]
    weight = mixture.weight
    key = (profile.name, limit, len(weight), float(weight.sum()), float(weight @ mixture.prompt_tokens))
    if key not in known:
        known[key] = None
        work = pool_work(problem, profile, mixture)
        name = POOL_NAMES[len(mixtures)][index]
        if limit <= profile.context_limit_tokens and work.unloaded_ttft_quantile_s(_P99) <= problem.slo.ttft_of(name):
            rate = problem.arrival_rate_rps * mixture.requests / sum(part.requests for part in mixtures)
            fewest = fewest_replicas(work, rate)
            known[key] = ReferencePool(
                routing=_routing(problem, boundaries, gamma, profile),
                index=index,
                mixture=mixture,
                work=work,
                arrival_rate_rps=rate,
                bounds=ReplicaBounds(
                    usd_per_hour=profile.usd_per_replica_hour,
                    likely=_modelled(work, rate, problem.slo.ttft_of(name), fewest),
                    low=fewest,
                ),
            )
    return known[key]


def _routing(problem: Problem, boundaries: tuple[int, ...], gamma: float, profile: GpuProfile) -> Fleet:
    limits = (*boundaries, problem.max_context_tokens)
    pools = tuple(Pool(name, profile, 1, limit) for name, limit in zip(POOL_NAMES[len(limits)], limits, strict=True))
    return Fleet(
        pools=pools,
        router="compress-and-route" if gamma > 1 else "length",
        boundaries_tokens=boundaries,
        gamma=gamma,
    )


@dataclass(eq=False)
class _Search:
    """The best fleet known, and one look after the other at those that may be cheaper."""

    verifier: Verifier
    usd_per_hour: float
    best: ReferenceFleet | None = None
    looked_at: set[int] = field(default_factory=set)
    untold: int = 0

    @property
    def goal_usd_per_hour(self) -> float:
        """What a fleet has to cost less than, to be cheaper than the best by more than the resolution."""
        return self.usd_per_hour * (1 - (_RESOLUTION if self.best is not None else 0))

    def may_win(self, fleet: ReferenceFleet) -> bool:
        """Whether a fleet may still be cheaper than the best."""
        return least_price(fleet.bounds) < self.goal_usd_per_hour

    def look_at(self, fleet: ReferenceFleet) -> None:
        """Learn one more thing about a fleet that may win."""
        self.looked_at.add(id(fleet))
        if not confirmed_price(fleet.bounds) < self.goal_usd_per_hour:
            place, replicas = next_trial(fleet.bounds, self.goal_usd_per_hour)
            pool = fleet.pools[place]
            pool.bounds.note(replicas, is_confirmed=self._is_confirmed(pool, replicas))
        if confirmed_price(fleet.bounds) < self.usd_per_hour:
            self.best, self.usd_per_hour = fleet, confirmed_price(fleet.bounds)

    def _is_confirmed(self, pool: ReferencePool, replicas: int) -> bool:
        prediction = predict_pool(pool.work, pool.arrival_rate_rps, pool.bounds.likely)
        iteration_s = prediction.state.iteration_s if prediction else _SLOW_ITERATIONS * pool.work.base_s
        trials = self.verifier.pool_trials(
            pool.routing, pool.index, pool.mixture, pool.arrival_rate_rps, pool.work.iterations * iteration_s
        )
        verdict = trials.verdict(replicas)
        self.untold += verdict == "undecided" and trials.cannot_tell(replicas)
        return verdict == "confirmed"


def _modelled(work: RequestWork, arrival_rate_rps: float, target_s: float, fewest: int) -> int:
    """Smallest number of replicas that meets the target by the model; twice the work's own where it finds none."""

    def holds(replicas: int) -> bool:
        prediction = predict_pool(work, arrival_rate_rps, replicas)
        return prediction is not None and float(prediction.ttft.exceeds(np.array([target_s]))[0]) <= 1 - _P99

    low, high, step = fewest - 1, fewest, max(1, fewest // 20)
    while not holds(high):
        if high > _MOST_TIMES * fewest:
            return 2 * fewest
        low, high, step = high, high + step, 2 * step
    while high - low > resolution(high):
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
