"""Sizing of one pool: the smallest number of replicas that holds, by the queueing model."""

import math
from dataclasses import dataclass

import numpy as np

from fleetopt.planner.engine import pool_profile, pool_work
from fleetopt.planner.mixture import PoolMixture
from fleetopt.planner.moments import late_share, request_coefficients
from fleetopt.planner.plan import PoolPlan
from fleetopt.planner.problem import LATE_SHARE, Offer, Problem
from fleetopt.planner.provision import Provision
from fleetopt.queueing.pool import PoolPrediction, predict_pool
from fleetopt.queueing.stability import token_budget_load
from fleetopt.queueing.ttft import pool_loads
from fleetopt.queueing.work import RequestWork
from fleetopt.workload.dispersion import IndexOfDispersion

_REPLICAS_PER_REQUEST, _LEAST_TRIED = 10, 16
"""With ten replicas for each request that would run if all ran alone, and sixteen more, nobody waits for anybody.

Of bursty arrivals, sixteen times their index of dispersion more: five standard deviations of what would run are no more
than twice the mean and six times the index."""
_SLACK = 1e-9
_FIRST_STEP, _STEP_GROWTH = 32, 3
"""The first step up from the lower bound is one part in so many of it; each next one is so many times as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRequirements:
    """What the replicas of a pool that carry its load have to meet.

    Attributes
    ----------
    ttft_p99_s, tpot_p99_s : float
        Targets, s; the latter may be infinite.
    max_utilization : float
    dispersion : IndexOfDispersion
        Of the arrivals at the pool, that all this has to be met under.
    """

    ttft_p99_s: float
    tpot_p99_s: float
    max_utilization: float
    dispersion: IndexOfDispersion

    @classmethod
    def of(cls, problem: Problem, name: str, arrival_rate_rps: float) -> "PoolRequirements":
        """What a problem asks of the pool of that name, with that share of the arrivals."""
        return cls(
            ttft_p99_s=problem.slo.ttft_of(name),
            tpot_p99_s=problem.slo.tpot_p99_s,
            max_utilization=problem.max_utilization,
            dispersion=problem.dispersion_of(arrival_rate_rps),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """Why no number of replicas will do.

    Attributes
    ----------
    binding : str
        The constraint, in a few words.
    reason : str
        The same with names and numbers.
    """

    binding: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PoolCase:
    """A pool to size, but for its requests, which are too many to be kept for every pool.

    Attributes
    ----------
    name : str
    offer : Offer
    arrival_rate_rps : float
        Rate of the pool, 1/s.
    max_context_tokens : int
    """

    name: str
    offer: Offer
    arrival_rate_rps: float
    max_context_tokens: int


def size_pool(problem: Problem, case: PoolCase, mixture: PoolMixture) -> PoolPlan | Unfit:
    """Smallest pool that meets what the problem asks, with what it has beyond its load; or why there is none.

    Parameters
    ----------
    problem : Problem
        Gives targets, cap, spares and the rest; its own lengths and rate do not matter here.
    case : PoolCase
    mixture : PoolMixture
        The pool's requests.
    """
    work = fit_work(problem, case, mixture)
    if isinstance(work, Unfit):
        return work
    required = PoolRequirements.of(problem, case.name, case.arrival_rate_rps)
    loaded = smallest(work, case.arrival_rate_rps, required)
    if loaded is None:
        return _never_enough(case, work, required)
    return describe_pool(problem, case, work, loaded)


def fit_work(problem: Problem, case: PoolCase, mixture: PoolMixture) -> RequestWork | Unfit:
    """What a pool's requests ask of a replica; or why no number of replicas can be enough, found without the model."""
    profile, limit, name = case.offer.profile, case.max_context_tokens, case.name
    if profile.context_limit_tokens < limit:
        reason = f"{profile.name} holds {profile.context_limit_tokens:,} tokens, the {name} pool needs {limit:,}"
        return Unfit(binding="context limit", reason=reason)
    required = PoolRequirements.of(problem, name, case.arrival_rate_rps)
    coefficients = np.array(request_coefficients(profile))
    late = late_share(mixture.weight, mixture.prompt_tokens, coefficients, required.ttft_p99_s)
    if late > LATE_SHARE:
        return Unfit(
            binding="P99 TTFT",
            reason=f"{late:.2%} of the {name} pool's requests miss the TTFT target of {required.ttft_p99_s:g} s "
            f"on idle {profile.name} replicas; 1% may",
        )
    work = pool_work(problem, pool_profile(problem, profile, limit), mixture)
    if work.base_s > required.tpot_p99_s and work.steps > 0:
        return Unfit(
            binding="P99 TPOT",
            reason=f"an iteration of {profile.name} takes at least {work.base_s:.3g} s, "
            f"more than the {name} pool's P99 TPOT target of {required.tpot_p99_s:g} s",
        )
    return work


def _never_enough(case: PoolCase, work: RequestWork, required: PoolRequirements) -> Unfit:
    """Why even the most replicas that are tried are not enough."""
    most = most_replicas(work, case.arrival_rate_rps, required)
    missed = str(shortfall(work, case.arrival_rate_rps, most, required))
    replicas = f"{most:,} {work.profile.name} replicas"
    return Unfit(binding=missed, reason=f"the {case.name} pool misses the {missed} target even with {replicas}")


def smallest(
    work: RequestWork, arrival_rate_rps: float, required: PoolRequirements, at_most: int | None = None
) -> int | None:
    """Smallest number of replicas that meets everything; None where it is above ``at_most``, or there is none.

    Starts at what work alone asks for (see :mod:`fleetopt.planner.bounds`), where most searches end, steps up until a
    number holds and bisects back. That takes it that with one more replica what held still holds. At the edge of a
    target the model is not that smooth: a number may hold and the next one not (seen of the TPOT, within three
    replicas). The number found always holds, the one below it does not, and which one is found does not depend on
    ``at_most``, since the steps are the same.
    """
    limit = most_replicas(work, arrival_rate_rps, required)
    at_most = limit if at_most is None else at_most
    low = fewest_by_work(work, arrival_rate_rps, required) - 1
    high, step = low + 1, max(1, low // _FIRST_STEP)
    while low < at_most and shortfall(work, arrival_rate_rps, high, required) is not None:
        if high >= limit:
            return None
        low, high = high, min(high + step, limit)
        step *= _STEP_GROWTH
    while low < at_most and high - low > 1:
        middle = (low + high) // 2
        if shortfall(work, arrival_rate_rps, middle, required) is None:
            high = middle
        else:
            low = middle
    return high if low < at_most else None


def most_replicas(work: RequestWork, arrival_rate_rps: float, required: PoolRequirements) -> int:
    """Replicas beyond which more of them change nothing: each request is practically alone on its own."""
    alone_s = work.iterations * work.base_s + work.work_s
    most = max(math.ceil(arrival_rate_rps * alone_s), fewest_by_work(work, arrival_rate_rps, required))
    dispersion = required.dispersion
    index = max(1.0, float(dispersion.at(alone_s))) if dispersion.is_bursty else 1.0
    return math.ceil(_LEAST_TRIED * index) + _REPLICAS_PER_REQUEST * most


def fewest_by_work(work: RequestWork, arrival_rate_rps: float, required: PoolRequirements) -> int:
    """Fewest replicas that the token budget and the slots allow: points 1 and 2 of `fleetopt.planner.bounds`."""
    cap = required.max_utilization
    by_budget = token_budget_load(work, arrival_rate_rps) / cap
    by_slots = arrival_rate_rps * (work.iterations * work.base_s / (cap * work.slots) + work.work_s)
    return max(1, math.ceil(max(by_budget, by_slots) * (1 - _SLACK)))


def shortfall(work: RequestWork, arrival_rate_rps: float, replicas: int, required: PoolRequirements) -> str | None:
    """What a number of replicas fails on; None if it meets everything. The cheapest checks come first.

    Bursts never help: where arrivals are bursty everything has to be met under Poisson arrivals of the same rate first,
    which takes a small part of the time and leaves what is proved of these (`fleetopt.planner.bounds`) true.
    """
    if replicas < 1:
        return "one replica is the least"
    budget_load = token_budget_load(work, arrival_rate_rps / replicas)
    if budget_load >= 1:
        return "stability"
    if budget_load > required.max_utilization:
        return "load of the token budget"
    loads = pool_loads(work, arrival_rate_rps, replicas, required.ttft_p99_s)
    if loads.slot_load >= 1:
        return "stability"
    missed = _overload(loads.prefill_load, loads.slot_load, required)
    if missed is None and not loads.late <= LATE_SHARE:  # nor if it is nan
        missed = "P99 TTFT"
    if missed is None and not math.isinf(required.tpot_p99_s):
        missed = _late_tokens(predict_pool(work, arrival_rate_rps, replicas), required)
    if missed is None and required.dispersion.is_bursty:
        missed = _shortfall_in_bursts(predict_pool(work, arrival_rate_rps, replicas, required.dispersion), required)
    return missed


def _shortfall_in_bursts(prediction: PoolPrediction | None, required: PoolRequirements) -> str | None:
    """What a pool fails on in bursts; its token budget depends on the mean rate alone."""
    if prediction is None:
        return "stability"
    state = prediction.state
    missed = _overload(state.prefill_load, state.running / prediction.work.slots, required)
    if missed is None and not float(prediction.ttft.exceeds(np.array([required.ttft_p99_s]))[0]) <= LATE_SHARE:
        missed = "P99 TTFT"
    if missed is None and not math.isinf(required.tpot_p99_s):
        missed = _late_tokens(prediction, required)
    return missed


def _overload(prefill_load: float, slot_load: float, required: PoolRequirements) -> str | None:
    """Which resource is loaded above the cap."""
    for resource, load in (("prefill", prefill_load), ("slots", slot_load)):
        if load > required.max_utilization:
            return f"load of the {resource}"
    return None


def _late_tokens(prediction: PoolPrediction | None, required: PoolRequirements) -> str | None:
    """Whether the time per output token misses its target."""
    # Where no request has two tokens the share is nan: there is no time per output token to be late.
    is_late = prediction is None or float(prediction.tpot.exceeds(np.array([required.tpot_p99_s]))[0]) > LATE_SHARE
    return "P99 TPOT" if is_late else None


def describe_pool(
    problem: Problem, case: PoolCase, work: RequestWork, loaded: int, binding: str | None = None
) -> PoolPlan:
    """A pool of so many loaded replicas, with what the model predicts of it.

    Parameters
    ----------
    problem : Problem
    case : PoolCase
    work : RequestWork
    loaded : int
    binding : str, optional
        What sets their number; by default what one less fails on.

    Raises
    ------
    ValueError
        If the model finds that number unstable.
    """
    rate = case.arrival_rate_rps
    required = PoolRequirements.of(problem, case.name, rate)
    prediction = predict_pool(work, rate, loaded, required.dispersion)
    if prediction is None:
        raise ValueError(f"{loaded} replicas of {work.profile.name} are unstable at {rate:g} requests/s")
    provision = Provision.of(problem, case.offer)
    replicas = provision.replicas(loaded)
    return PoolPlan(
        name=case.name,
        profile=work.profile,
        replicas=replicas,
        spare_replicas=replicas - loaded,
        gpus=provision.gpus(replicas, work.profile.gpus_per_replica),
        max_context_tokens=case.max_context_tokens,
        arrival_rate_rps=rate,
        slots_per_replica=work.slots,
        slot_utilization=prediction.state.running / work.profile.max_sequences,
        kv_utilization=prediction.state.kv_utilization,
        ttft_p99_s=prediction.ttft.quantile(1 - LATE_SHARE),
        tpot_p99_s=_tpot_p99_s(prediction),
        residence_s=work.iterations * prediction.state.iteration_s,
        binding=binding or _binding(work, rate, loaded, required),
    )


def _binding(work: RequestWork, arrival_rate_rps: float, loaded: int, required: PoolRequirements) -> str:
    """What one replica less fails on; where work alone forbids it the model is not asked."""
    if 1 < loaded == fewest_by_work(work, arrival_rate_rps, required):
        by_budget = token_budget_load(work, arrival_rate_rps / (loaded - 1)) > required.max_utilization
        return "load of the token budget" if by_budget else "load of the slots"
    return str(shortfall(work, arrival_rate_rps, loaded - 1, required))


def resize_pool(problem: Problem, pool: PoolPlan, mixture: PoolMixture, loaded_replicas: int, binding: str) -> PoolPlan:
    """The same pool with another number of loaded replicas, and what the model predicts of it.

    Raises
    ------
    ValueError
        If the model finds that number unstable.
    """
    (offer,) = (offer for offer in problem.offers if offer.profile.name == pool.profile.name)
    case = PoolCase(
        name=pool.name,
        offer=offer,
        arrival_rate_rps=pool.arrival_rate_rps,
        max_context_tokens=pool.max_context_tokens,
    )
    return describe_pool(problem, case, pool_work(problem, pool.profile, mixture), loaded_replicas, binding)


def _tpot_p99_s(prediction: PoolPrediction) -> float:
    """P99 time per output token, s; where no request has two tokens, the time of an iteration."""
    quantile_s = prediction.tpot.quantile(1 - LATE_SHARE)
    return prediction.state.iteration_s if np.isnan(quantile_s) else quantile_s
