"""The published model beside the sound one: what it says of our fleets, and what ours says of its own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleetopt.errors import InputError
from fleetopt.planner.mixture import split
from fleetopt.planner.plan import FleetPlan
from fleetopt.planner.problem import Offer, Problem
from fleetopt.planner.published.gpu import published_gpu
from fleetopt.planner.published.plan import (
    PublishedPlan,
    PublishedProblem,
    cdf_of_lengths,
    published_plan,
    published_prediction,
)
from fleetopt.queueing.pool import predict_pool
from fleetopt.queueing.work import request_work

Cdf = Sequence[tuple[float, float]]

_MOST_BOUNDARIES = 32
"""The paper has 5 to 15 candidates per workload; each length of a trace as one would take minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPrediction:
    """What the published model says of one pool.

    Attributes
    ----------
    ttft_p99_s : float
        As the paper reports it: the P99 wait and the mean prefill on an idle GPU, s; infinite where unstable.
    slot_utilization : float
        Mean of the paper's slots that are taken; 1 or more where unstable.
    """

    ttft_p99_s: float
    slot_utilization: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedBaseline:
    """The fleet that the published planner buys for a problem of ours, and what the sound model says of it.

    Attributes
    ----------
    plan : PublishedPlan
        Its pools' ``gpus`` are replicas here.
    profile : str
        GPU type of its pools.
    sound_ttft_p99_s : tuple of float
        P99 time to first token of each pool by the sound model, s; infinite where it finds the pool unstable.
    unserved_fraction : float
        Share of the requests that it has no pool for: its model takes a long pool of few requests for none.
    """

    plan: PublishedPlan
    profile: str
    sound_ttft_p99_s: tuple[float, ...]
    unserved_fraction: float

    @property
    def usd_per_hour(self) -> float:
        """Price on demand, USD per hour."""
        return sum(pool.gpus * pool.gpu.usd_per_hour for pool in self.plan.pools)


def published_baseline(problem: Problem, cdf: Cdf | None = None) -> PublishedBaseline | None:
    """Plan as published, with the cheapest such fleet of one GPU type; None where its accounting finds no fleet.

    Parameters
    ----------
    problem : Problem
    cdf : sequence of (float, float), optional
        The CDF that the lengths were made from, tokens and shares; by default that of the lengths.
    """
    found = []
    for offer in problem.offers:
        try:
            plan = published_plan(_question(problem, offer, offer, cdf), _boundaries(problem, cdf), problem.gammas)
        except InputError:  # no request of the longest context fits its slots
            continue
        if plan is not None:
            found.append(_in_our_model(problem, plan, offer))
    return min(found, key=lambda baseline: baseline.usd_per_hour, default=None)


def published_predictions(plan: FleetPlan, problem: Problem, cdf: Cdf | None = None) -> dict[str, PublishedPrediction]:
    """What the published model says of a fleet's pools with their spares down, by name.

    Parameters
    ----------
    plan : FleetPlan
    problem : Problem
    cdf : sequence of (float, float), optional
        As in `published_baseline`.

    Returns
    -------
    dict of str to PublishedPrediction
        Empty where it does not cover the fleet: three pools, a context that its slots do not hold, a long pool of
        requests of the band alone.
    """
    if len(plan.pools) > 2:
        return {}
    first, last = (next(o for o in problem.offers if o.profile.name == plan.pools[at].profile.name) for at in (0, -1))
    boundary = plan.boundaries_tokens[0] if plan.boundaries_tokens else None
    replicas = [pool.loaded_replicas for pool in plan.pools]
    try:
        same = published_prediction(_question(problem, first, last, cdf), replicas, boundary, plan.gamma)
    except InputError:
        return {}
    return {
        pool.name: PublishedPrediction(ttft_p99_s=published.ttft_p99_s, slot_utilization=published.utilization)
        for pool, published in zip(plan.pools, same.pools, strict=True)
    }


def _question(problem: Problem, short: Offer, long: Offer, cdf: Cdf | None) -> PublishedProblem:
    """Our problem in the paper's terms: lengths by their CDF, and one share of prompt and of compressible for all."""
    lengths = problem.lengths
    share = lengths.weight / lengths.weight.sum()
    return PublishedProblem(
        cdf=tuple(cdf or cdf_of_lengths(lengths)),
        arrival_rate_rps=problem.arrival_rate_rps,
        slo_ttft_p99_s=problem.slo.ttft_p99_s,
        short_gpu=published_gpu(short.profile),
        long_gpu=published_gpu(long.profile),
        max_context_tokens=problem.max_context_tokens,
        compressible_fraction=min(1.0, float(share @ lengths.compressible_fraction)),
        prompt_fraction=float(share @ lengths.prompt_tokens) / float(share @ lengths.total_tokens),
        node_availability=min(short.availability, long.availability),
    )


def _boundaries(problem: Problem, cdf: Cdf | None) -> list[int] | None:
    """The breakpoints of a CDF, or evenly many requests between boundaries where the lengths are a trace's."""
    if cdf is not None and len(cdf) <= _MOST_BOUNDARIES:
        return None
    lengths = problem.lengths
    shares = np.arange(1, _MOST_BOUNDARIES) / _MOST_BOUNDARIES
    tokens = np.ceil(lengths.total_tokens[np.searchsorted(lengths.cumulative_fraction, shares)])
    return [int(size) for size in np.unique(tokens) if 1 < size < min(problem.max_context_tokens, tokens[-1] + 1)]


def _in_our_model(problem: Problem, plan: PublishedPlan, offer: Offer) -> PublishedBaseline:
    """The published plan's pools in the sound model, with the requests that they really get."""
    boundaries = () if plan.boundary_tokens is None else (plan.boundary_tokens,)
    mixtures = split(problem.lengths, boundaries, plan.gamma)
    shares = [mixture.requests / problem.lengths.weight.sum() for mixture in mixtures]
    found = []
    for pool, mixture, share in zip(plan.pools, mixtures, shares, strict=False):
        work = request_work(offer.profile, mixture.weight, mixture.prompt_tokens, mixture.output_tokens)
        rate = problem.arrival_rate_rps * share
        predicted = predict_pool(work, rate, pool.gpus, problem.dispersion_of(rate)) if share > 0 else None
        found.append(math.inf if predicted is None else predicted.ttft.quantile(0.99))
    return PublishedBaseline(
        plan=plan,
        profile=offer.profile.name,
        sound_ttft_p99_s=tuple(found),
        unserved_fraction=float(sum(shares[len(plan.pools) :])),
    )
