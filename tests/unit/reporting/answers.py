"""Answers made by hand, for tests of what is printed of them."""

import math

from fleetopt.planner.answer import Answer
from fleetopt.planner.certificate import Certificate, CostCliff, Neighbour, PoolMargin, Saving
from fleetopt.planner.frontier import FrontierPoint
from fleetopt.planner.plan import Candidate, FleetPlan, Infeasibility, PlanResult
from fleetopt.planner.problem import Offer, Problem, Slo
from fleetopt.planner.published import (
    PublishedBaseline,
    PublishedPlan,
    PublishedPool,
    PublishedPrediction,
    published_gpu,
)
from fleetopt.planner.recommend import Recommendation
from fleetopt.workload.lengths import lengths_from_cdf
from tests.unit.reporting.samples import ONE_POOL, PROFILE, ROUTED, TARGET_S, TWO_POOLS, proof

NEAREST = "a P99 TTFT of 0.61 s is feasible"
PROBLEM = Problem(
    lengths=lengths_from_cdf([(4096, 0.9), (65536, 1.0)]),
    arrival_rate_rps=48.0,
    slo=Slo(ttft_p99_s=TARGET_S, tpot_p99_s=0.05, pool_ttft_p99_s={"short": 0.4}),
    offers=(Offer(profile=PROFILE, max_gpus=40),),
    max_context_tokens=65536,
)


def published_pool(gpus: int, ttft_p99_s: float) -> PublishedPool:
    return PublishedPool(
        gpu=published_gpu(PROFILE),
        gpus=gpus,
        context_tokens=4096,
        slots_per_gpu=128,
        arrival_rate_rps=41.2,
        service_s=3.0,
        utilization=0.8,
        wait_p99_s=0.0,
        ttft_p99_s=ttft_p99_s,
    )


PUBLISHED = PublishedBaseline(
    plan=PublishedPlan(
        boundary_tokens=4096,
        gamma=1.5,
        short=published_pool(6, 0.02),
        long=published_pool(3, 0.21),
        meets_target=True,
    ),
    profile=PROFILE.name,
    sound_ttft_p99_s=(math.inf, 0.3),
    unserved_fraction=0.0,
)


CERTIFICATE = Certificate(
    margins=(
        PoolMargin(name="short", step_rps=40.0, usd_per_rps_less=0.9, usd_per_rps_more=1.1, binding="P99 TTFT"),
        PoolMargin(name="long", step_rps=5.0, usd_per_rps_less=None, usd_per_rps_more=4.4, binding="load of the slots"),
    ),
    cliffs=(
        CostCliff(
            boundary_tokens=4096,
            below="short",
            above="long",
            usd_per_request_below=0.0004,
            usd_per_request_above=0.0012,
            slots_below=46,
            slots_above=17,
        ),
    ),
    neighbours=(
        Neighbour(boundaries_tokens=(3072,), usd_per_hour=58.0),
        Neighbour(boundaries_tokens=(6144,), usd_per_hour=None),
    ),
    savings=(
        Saving(cause="routing", usd_per_hour=28.14),
        Saving(cause="compression", usd_per_hour=8.04),
        Saving(cause="GPU types", usd_per_hour=0.0),
    ),
    next_best=(ROUTED, ONE_POOL),
)


def answer(plan: FleetPlan | None = TWO_POOLS, *, is_verified: bool = False, reason: str = "too [b]slow") -> Answer:
    """An answer with all baselines; without a plan it is infeasible."""
    result = PlanResult(plan=plan, infeasibility=None if plan else Infeasibility(binding=reason, nearest=NEAREST))
    verification = None
    if plan is not None and is_verified:
        verification = Recommendation(
            result=result, proof=proof(plan), homogeneous=proof(ONE_POOL), pool_routing=None, replicas_upper_band={}
        )
    return Answer(
        problem=PROBLEM,
        result=result,
        homogeneous=ONE_POOL if plan else None,
        pool_routing=ROUTED if plan else None,
        retrofit=TWO_POOLS if plan else None,
        published=PUBLISHED if plan else None,
        published_predictions={
            "short": PublishedPrediction(ttft_p99_s=math.inf, slot_utilization=1.3),
            "long": PublishedPrediction(ttft_p99_s=0.28, slot_utilization=0.8),
        }
        if plan
        else {},
        caveats=("long pool: the KV cache is scarce",) if plan else (),
        certificate=CERTIFICATE if plan else None,
        frontier=(FrontierPoint(ttft_p99_s=0.4, plan=ONE_POOL), FrontierPoint(ttft_p99_s=0.5, plan=TWO_POOLS))
        if plan
        else (),
        verification=verification,
    )


def cells(boundaries: tuple[int, ...] = (1024, 4096, 16384), gammas: tuple[float, ...] = (1.0, 1.5)) -> list[Candidate]:
    """Cells of two pools, that of the plan among them, and one without a fleet."""
    found = []
    for boundary in boundaries:
        for gamma in gammas:
            is_chosen = (boundary, gamma) == (4096, 1.5)
            plan = TWO_POOLS if is_chosen else None if boundary == boundaries[-1] else ROUTED
            found.append(Candidate(boundaries_tokens=(boundary,), gamma=gamma, plan=plan))
    return found
