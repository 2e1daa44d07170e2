"""The recommendation as one document of plain values: everything a buyer needs, the same bytes for the same inputs."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from fleetopt.config import Fleet
from fleetopt.planner.plan import HOURS_PER_YEAR, FleetPlan, PoolPlan
from fleetopt.planner.proof import QUANTILE_GRID, PoolEvidence, Proof
from fleetopt.planner.published import PublishedPrediction
from fleetopt.planner.recommend import Recommendation
from fleetopt.profiles import GpuProfile
from fleetopt.reporting.differences import difference_to_running
from fleetopt.reporting.wording import ROUTED, left_out
from fleetopt.workload.demand import Demand, Window

Document = dict[str, Any]

VERDICT_MEANINGS = {
    "confirmed": "The simulator confirms the plan: in every pool the upper 95 % confidence bound of the P99 time to "
    "first token is within the target, with every spare replica down.",
    "refuted": "Do not buy: the simulator refutes the plan. In at least one pool the lower 95 % confidence bound of "
    "the P99 time to first token is above the target.",
    "undecided": "Do not buy yet: the simulator can neither confirm nor refute the plan. In at least one pool the "
    "target lies inside the 95 % confidence interval of the P99 time to first token.",
    "none": "There is no plan to buy: no fleet of the declared hardware meets the target.",
}

LIMITATIONS = (
    "Prefix-cache hits are left out: every prompt is prefilled whole, so a fleet with a warm prefix cache needs less.",
    "The time that compressing a prompt takes (2-8 ms, arXiv 2603.16514, Table 4) and its effect on answers "
    "are left out.",
    "Network time, tokenisation, model loading and failures beyond the spare replicas are left out.",
    "Demand is what the window held: growth beyond the headroom is not forecast.",
)


def build_document(
    *,
    fleet_name: str,
    fleet: Fleet,
    day: date,
    window: Window,
    demand: Demand,
    band_method: str,
    rejected_fraction: float,
    usd_per_replica_hour: Mapping[str, float],
    recommendation: Recommendation,
    inputs: dict[str, str],
    caveats: list[str],
    seed: int,
    prediction_caveats: Sequence[str] = (),
    published: Mapping[str, PublishedPrediction] | None = None,
) -> Document:
    """Put a recommendation into one document, with its version.

    Parameters
    ----------
    fleet_name : str
    fleet : fleetopt.config.Fleet
    day : datetime.date
    window, demand
        What the plan learned from.
    band_method : str
        How the band of the lengths was made, in words.
    rejected_fraction : float
        Share of the window's requests above the context limit.
    usd_per_replica_hour : mapping
        Price of a replica by name of its profile, of every profile that runs today.
    recommendation : Recommendation
    inputs : dict of str to str
        Content digests of what the plan was computed from.
    caveats : list of str
        What is unusual about the inputs, in sentences.
    seed : int
    prediction_caveats : sequence of str
        Where the model's prediction of the plan has been found wanting, in sentences.
    published : mapping, optional
        What the published model says of the plan's pools, by name; None where it does not cover the fleet.

    Returns
    -------
    dict
        JSON values only. ``version`` is a hash of all the rest: clocks, table versions and commits are not in it.
    """
    proof = recommendation.proof
    verdict = proof.verdict if proof else "none"
    plan = _plan(proof, recommendation.replicas_upper_band, published or {}) if proof else None
    document: Document = {
        "schema_version": 2,
        "fleet": fleet_name,
        "model": fleet.model,
        "day": day.isoformat(),
        "status": "feasible" if proof else "infeasible",
        "reason": recommendation.result.reason,
        "verdict": verdict,
        "verdict_meaning": VERDICT_MEANINGS[verdict],
        "target": _target(fleet),
        "window": _window(window, demand, rejected_fraction, band_method),
        "demand": _demand(demand, fleet),
        "plan": plan,
        "baselines": {
            "homogeneous": _baseline(recommendation.homogeneous),
            "pool_routing": _baseline(recommendation.pool_routing),
        },
        "saving": _saving(proof, recommendation.homogeneous),
        "evidence": [_evidence(item) for item in proof.evidence] if proof else [],
        "repairs": list(proof.repairs) if proof else [],
        "prediction_caveats": list(prediction_caveats),
        "differences": {
            "running": difference_to_running(plan, verdict, fleet, usd_per_replica_hour),
        },
        "limitations": [*caveats, *_left_out(recommendation), *_profile_caveats(proof), *LIMITATIONS],
        "inputs": inputs,
        "seed": seed,
    }
    document = _without_nan(document)
    return {"version": version_of(document), **document}


def plan_from_document(document: Document) -> FleetPlan | None:
    """The plan that a document holds, as an object again; None if it holds none."""
    plan = document["plan"]
    if plan is None:
        return None
    fields = [field.name for field in dataclasses.fields(PoolPlan)]
    pools = tuple(
        PoolPlan(**{key: pool[key] for key in fields if key != "profile"}, profile=GpuProfile(**pool["profile"]))
        for pool in plan["pools"]
    )
    return FleetPlan(
        pools=pools,
        boundaries_tokens=tuple(plan["boundaries_tokens"]),
        gamma=plan["gamma"],
        commitment_saving_usd_per_hour=plan["commitment_saving_usd_per_hour"],
        compression_usd_per_hour=plan["compression_usd_per_hour"],
    )


def canonical_json(document: Document) -> str:
    """The document as JSON that is the same for equal documents: sorted keys, no spaces to vary, no NaN."""
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def version_of(document: Document) -> str:
    """Version of a document: the first 12 hex digits of the SHA-256 of its content, an existing version apart."""
    content = {key: value for key, value in document.items() if key != "version"}
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:12]


def _target(fleet: Fleet) -> Document:
    """What the fleet has to meet, as it was declared."""
    return {
        "ttft_p99_s": fleet.slo_ttft_p99_s,
        "pool_ttft_p99_s": dict(fleet.slo_ttft_p99_s_by_pool),
        "tpot_p99_s": fleet.slo_tpot_p99_s,
        "max_context_tokens": fleet.max_context_tokens,
        "max_utilization": fleet.max_utilization,
        "spare_replicas": fleet.spare_replicas,
        "min_replicas": fleet.min_replicas,
        "max_pools": fleet.max_pools,
        "slots": fleet.slots,
    }


def _window(window: Window, demand: Demand, rejected_fraction: float, band_method: str) -> Document:
    return {
        "first_day": window.first_day.isoformat(),
        "last_day": window.last_day.isoformat(),
        "days_asked": window.days_asked,
        "days_held": len(window.days_held),
        "days_missing": [day.isoformat() for day in window.days_missing],
        "requests": demand.requests,
        "observed_s": demand.observed_s,
        "rejected_fraction": rejected_fraction,
        "band_method": band_method,
    }


def _demand(demand: Demand, fleet: Fleet) -> Document:
    return {
        "mean_rate_rps": demand.mean_rate_rps,
        "peak_rate_rps": demand.peak_rate_rps,
        "peak_time": demand.peak_time.isoformat(),
        "peak_window_s": fleet.peak.window_s,
        "headroom": fleet.peak.headroom,
        "planned_rate_rps": demand.planned_rate_rps,
        "upper_rate_rps": demand.upper_rate_rps,
    }


def _plan(proof: Proof, replicas_upper_band: dict[str, int], published: Mapping[str, PublishedPrediction]) -> Document:
    return {
        "boundaries_tokens": list(proof.plan.boundaries_tokens),
        "gamma": proof.plan.gamma,
        "replicas": proof.plan.replicas,
        "usd_per_hour": proof.plan.usd_per_hour,
        "usd_per_year": proof.plan.usd_per_hour * HOURS_PER_YEAR,
        "commitment_saving_usd_per_hour": proof.plan.commitment_saving_usd_per_hour,
        "compression_usd_per_hour": proof.plan.compression_usd_per_hour,
        "pools": [
            _pool(pool, replicas_upper_band.get(pool.name), published.get(pool.name)) for pool in proof.plan.pools
        ],
    }


def _pool(pool: PoolPlan, replicas_upper_band: int | None, published: PublishedPrediction | None) -> Document:
    return {
        "name": pool.name,
        "profile": pool.profile.model_dump(),
        "replicas": pool.replicas,
        "spare_replicas": pool.spare_replicas,
        "replicas_upper_band": replicas_upper_band,
        "gpus": pool.gpus,
        "max_context_tokens": pool.max_context_tokens,
        "arrival_rate_rps": pool.arrival_rate_rps,
        "slots_per_replica": pool.slots_per_replica,
        "slot_utilization": pool.slot_utilization,
        "kv_utilization": pool.kv_utilization,
        "ttft_p99_s": pool.ttft_p99_s,
        "tpot_p99_s": pool.tpot_p99_s,
        "residence_s": pool.residence_s,
        "binding": pool.binding,
        "usd_per_hour": pool.usd_per_hour,
        "published": published and {"ttft_p99_s": published.ttft_p99_s, "slot_utilization": published.slot_utilization},
    }


def _baseline(proof: Proof | None) -> Document | None:
    if proof is None:
        return None
    plan: FleetPlan = proof.plan
    return {
        "boundaries_tokens": list(plan.boundaries_tokens),
        "replicas": {pool.name: pool.replicas for pool in plan.pools},
        "usd_per_hour": plan.usd_per_hour,
        "verdict": proof.verdict,
        "repairs": list(proof.repairs),
    }


def _saving(proof: Proof | None, homogeneous: Proof | None) -> Document | None:
    """Saving against the homogeneous fleet; only between two confirmed fleets, since anything else proves nothing."""
    if proof is None or homogeneous is None or {proof.verdict, homogeneous.verdict} != {"confirmed"}:
        return None
    if homogeneous.plan.usd_per_hour == 0:
        return None
    saved = homogeneous.plan.usd_per_hour - proof.plan.usd_per_hour
    return {
        "against": "homogeneous",
        "fraction": saved / homogeneous.plan.usd_per_hour,
        "usd_per_hour": saved,
        "usd_per_year": saved * HOURS_PER_YEAR,
    }


def _evidence(item: PoolEvidence) -> Document:
    return {
        "scenario": item.scenario,
        "pool": item.pool,
        "replicas": item.replicas,
        "replications": item.replications,
        "requests": item.requests,
        "rejected": item.rejected,
        "preemptions": item.preemptions,
        "ttft_p99_s": item.ttft_p99_s,
        "ttft_p99_lower_s": item.ttft_p99_lower_s,
        "ttft_p99_upper_s": item.ttft_p99_upper_s,
        "slot_utilization": item.slot_utilization,
        "kv_utilization": item.kv_utilization,
        "busy": item.busy,
        "verdict": item.verdict,
        "note": item.note,
        "ttft_quantiles": [list(pair) for pair in zip(QUANTILE_GRID, item.ttft_quantiles_s, strict=False)],
    }


def _left_out(recommendation: Recommendation) -> list[str]:
    """Which boundaries the searches for the plan and for the routed baseline left out, by the model."""
    notes = {
        "the plan": left_out(recommendation.result.effort),
        "the pool-routing baseline": left_out(recommendation.routed_effort, ROUTED),
    }
    return [f"In the search for {name}, {note}" for name, note in notes.items() if note]


def _profile_caveats(proof: Proof | None) -> list[str]:
    """What the plan's profiles oblige a recommendation to say."""
    profiles = {pool.profile.name: pool.profile for pool in proof.plan.pools} if proof else {}
    return [f"GPU profile {profile.name} is {profile.caveat}." for profile in profiles.values() if profile.caveat]


def _without_nan(value: Any) -> Any:
    """Replace NaN by null, and round floats to 12 digits so that a sum's last bit does not make a version."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.12g}") if math.isfinite(value) else None
    return value
