"""The answer as plain values for other programs; its keys are a contract."""

import dataclasses
import math
from typing import Any

from fleetopt.planner.answer import Answer
from fleetopt.planner.certificate import Certificate
from fleetopt.planner.plan import HOURS_PER_YEAR, FleetPlan, Infeasibility, PoolPlan, SearchEffort
from fleetopt.planner.problem import Problem
from fleetopt.planner.published import PublishedBaseline
from fleetopt.planner.recommend import Recommendation
from fleetopt.reporting.wording import ROUTED, left_out

Json = dict[str, Any]


def answer_json(answer: Answer, rejected_fraction: float = 0.0, index_of_dispersion_10s: float | None = None) -> Json:
    """What ``fleetopt plan --json`` prints.

    Parameters
    ----------
    answer : Answer
    rejected_fraction : float
        Share of requests above the context limit.
    index_of_dispersion_10s : float or None
        Of the workload's own arrivals at the planned rate, in windows of 10 s; None where they are not known.

    Returns
    -------
    dict
        JSON values only. ``status`` is ``feasible`` or ``infeasible``; the keys of the plan are null or empty where
        there is none. What is infinite or has no price is null.
    """
    plan = answer.plan
    return {
        "status": "feasible" if plan else "infeasible",
        "reason": answer.result.reason,
        "infeasibility": answer.result.infeasibility and _infeasibility_json(answer.result.infeasibility),
        **(fleet_json(plan) if plan else NO_FLEET),
        "published_predictions": {
            name: {"ttft_p99_s": finite(found.ttft_p99_s), "slot_utilization": found.slot_utilization}
            for name, found in answer.published_predictions.items()
        },
        "baselines": {
            "homogeneous": answer.homogeneous and fleet_json(answer.homogeneous),
            "pool_routing": answer.pool_routing and fleet_json(answer.pool_routing),
            "retrofit": answer.retrofit and fleet_json(answer.retrofit),
            "published": answer.published and published_json(answer.published),
        },
        "search": {
            "plan": _left_out_json(answer.result.effort, "plan"),
            "pool_routing": _left_out_json(answer.routed_effort, ROUTED),
        },
        "certificate": answer.certificate and _certificate_json(answer.certificate),
        "frontier": [{"ttft_p99_s": point.ttft_p99_s, **fleet_json(point.plan)} for point in answer.frontier],
        "caveats": list(answer.caveats),
        "verification": answer.verification and _verification_json(answer.verification),
        "problem": problem_json(answer.problem, rejected_fraction, index_of_dispersion_10s),
    }


NO_FLEET: Json = {
    "boundaries_tokens": None,
    "gamma": None,
    "replicas": None,
    "gpus": None,
    "usd_per_hour": None,
    "usd_per_year": None,
    "commitment_saving_usd_per_hour": None,
    "compression_usd_per_hour": None,
    "pools": [],
}
"""The keys of a fleet where there is none."""


def fleet_json(plan: FleetPlan) -> Json:
    """A fleet; its prices are null where its profile has none, since nothing costs nothing."""
    usd_per_hour = plan.usd_per_hour or None
    return {
        "boundaries_tokens": list(plan.boundaries_tokens),
        "gamma": plan.gamma,
        "replicas": plan.replicas,
        "gpus": sum(pool.gpus for pool in plan.pools),
        "usd_per_hour": usd_per_hour,
        "usd_per_year": usd_per_hour and usd_per_hour * HOURS_PER_YEAR,
        "commitment_saving_usd_per_hour": plan.commitment_saving_usd_per_hour,
        "compression_usd_per_hour": plan.compression_usd_per_hour,
        "pools": [_pool_json(pool) for pool in plan.pools],
    }


def _pool_json(pool: PoolPlan) -> Json:
    return {
        "name": pool.name,
        "profile": pool.profile.name,
        "replicas": pool.replicas,
        "spare_replicas": pool.spare_replicas,
        "gpus": pool.gpus,
        "max_context_tokens": pool.max_context_tokens,
        "arrival_rate_rps": pool.arrival_rate_rps,
        "slots_per_replica": pool.slots_per_replica,
        "slot_utilization": pool.slot_utilization,
        "kv_utilization": pool.kv_utilization,
        "ttft_p99_s": pool.ttft_p99_s,
        "tpot_p99_s": pool.tpot_p99_s,
        "binding": pool.binding,
        "usd_per_hour": pool.usd_per_hour or None,
    }


def _certificate_json(found: Certificate) -> Json:
    """What more traffic costs by pool, what a boundary is worth, what savings are due to, the plans that come next."""
    return {
        "margins": [dataclasses.asdict(margin) for margin in found.margins],
        "cliffs": [{**dataclasses.asdict(cliff), "ratio": cliff.ratio} for cliff in found.cliffs],
        "neighbours": [dataclasses.asdict(neighbour) for neighbour in found.neighbours],
        "savings": [dataclasses.asdict(saving) for saving in found.savings],
        "next_best": [fleet_json(plan) for plan in found.next_best],
    }


def _left_out_json(effort: SearchEffort | None, fleets: str) -> Json | None:
    """Boundaries that were not searched in full, and what fleets there cost at least; null where there are none."""
    if effort is None or not effort.boundaries_left_out:
        return None
    return {
        "boundaries_left_out": effort.boundaries_left_out,
        "least_usd_per_hour_left_out": effort.least_usd_left_out or None,
        "note": left_out(effort, fleets),
    }


def _infeasibility_json(found: Infeasibility) -> Json:
    """What rules every plan out, and the nearest target, rate or limit that does not."""
    return {
        "binding": found.binding,
        "nearest": found.nearest,
        "ttft_factor": found.ttft_factor,
        "tpot_p99_s": found.tpot_p99_s,
        "arrival_rate_rps": found.arrival_rate_rps,
        "plan": found.plan and fleet_json(found.plan),
    }


def _verification_json(verification: Recommendation) -> Json | None:
    """The simulator's verdict and evidence, and the plan as the model had it before repair and trimming."""
    proof, modelled = verification.proof, verification.result.plan
    if proof is None:
        return None
    baselines = {"homogeneous": verification.homogeneous, "pool_routing": verification.pool_routing}
    return {
        "verdict": proof.verdict,
        "repairs": list(proof.repairs),
        "evidence": [
            {
                "pool": item.pool,
                "replicas": item.replicas,
                "replications": item.replications,
                "requests": item.requests,
                "preemptions": item.preemptions,
                "ttft_p99_s": finite(item.ttft_p99_s),
                "ttft_p99_lower_s": finite(item.ttft_p99_lower_s),
                "ttft_p99_upper_s": finite(item.ttft_p99_upper_s),
                "tpot_p99_s": finite(item.tpot_p99_s),
                "tpot_p99_upper_s": finite(item.tpot_p99_upper_s),
                "slot_utilization": finite(item.slot_utilization),
                "kv_utilization": finite(item.kv_utilization),
                "verdict": item.verdict,
                "note": item.note,
            }
            for item in proof.evidence
        ],
        "modelled_plan": modelled and fleet_json(modelled),
        "baseline_verdicts": {name: found and found.verdict for name, found in baselines.items()},
        "plans_proved": verification.plans_proved,
        "plans_dismissed": verification.plans_dismissed,
    }


def published_json(baseline: PublishedBaseline) -> Json:
    """The published planner's fleet: what it claims, and what the sound model says of it (null: unstable)."""
    plan = baseline.plan
    sound = [*baseline.sound_ttft_p99_s, *(math.inf for _ in plan.pools)]
    return {
        "boundaries_tokens": [] if plan.boundary_tokens is None else [plan.boundary_tokens],
        "gamma": plan.gamma,
        "replicas": plan.gpus,
        "profile": baseline.profile,
        "usd_per_hour": baseline.usd_per_hour or None,
        "unserved_fraction": baseline.unserved_fraction,
        "pools": [
            {
                "replicas": pool.gpus,
                "slot_utilization": pool.utilization,
                "ttft_p99_s": finite(pool.ttft_p99_s),
                "sound_ttft_p99_s": finite(sound_s),
            }
            for pool, sound_s in zip(plan.pools, sound, strict=False)
        ],
    }


def problem_json(problem: Problem, rejected_fraction: float, index_of_dispersion_10s: float | None) -> Json:
    """What was asked."""
    return {
        "arrival_rate_rps": problem.arrival_rate_rps,
        "arrivals": "poisson" if problem.arrivals is None else "trace",
        "index_of_dispersion_10s": index_of_dispersion_10s,
        "rejected_fraction": rejected_fraction,
        "slo_ttft_p99_s": problem.slo.ttft_p99_s,
        "slo_ttft_p99_s_by_pool": dict(problem.slo.pool_ttft_p99_s),
        "slo_tpot_p99_s": finite(problem.slo.tpot_p99_s),
        "max_context_tokens": problem.max_context_tokens,
        "max_utilization": problem.max_utilization,
        "spare_replicas": problem.spare_replicas,
        "min_replicas": problem.min_replicas,
        "max_pools": problem.max_pools,
        "max_gamma": problem.max_gamma,
        "gamma_step": problem.gamma_step,
        "usd_per_compressed_request": problem.usd_per_compressed_request,
        "slots": problem.slot_mode,
        "kv_overflow_probability": problem.kv_overflow_probability,
        "offers": [
            {
                "profile": offer.profile.name,
                "usd_per_gpu_hour": offer.profile.usd_per_gpu_hour or None,
                "max_gpus": offer.max_gpus,
                "committed_gpus": offer.committed_gpus,
                "committed_usd_per_gpu_hour": offer.committed_usd_per_gpu_hour,
                "gpus_per_node": offer.gpus_per_node,
                "availability": offer.availability,
            }
            for offer in problem.offers
        ],
    }


def finite(value: float) -> float | None:
    """A number as JSON has it, which knows no infinity."""
    return value if math.isfinite(value) else None
