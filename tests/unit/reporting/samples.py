"""Recommendation documents and frames made by hand, for tests of what is published from them."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from fleetopt.config import Fleet, RunningPool
from fleetopt.planner.plan import FleetPlan, Infeasibility, PlanResult, PoolPlan, SearchEffort
from fleetopt.planner.proof import PEAK, QUANTILE_GRID, REPLAY, PoolEvidence, Proof, Verdict
from fleetopt.planner.published import PublishedPrediction
from fleetopt.planner.recommend import Recommendation
from fleetopt.profiles import GpuProfile
from fleetopt.reporting.document import build_document
from fleetopt.schemas import OUT_FLEET_CANDIDATES, OUT_LENGTH_CDF
from fleetopt.workload.demand import Demand, Window

DAY = date(2023, 11, 16)
TARGET_S = 0.5
PROFILE = GpuProfile(
    name="fleetopt-h100",
    base_s=4e-3,
    per_sequence_s=0.0,
    per_context_token_s=3.9e-8,
    per_prefill_token_s=0.0,
    per_prefill_attention_s=0.0,
    kv_blocks=65536,
    block_tokens=16,
    max_sequences=256,
    max_batched_tokens=1_048_576,
    max_chunk_tokens=1024,
    usd_per_gpu_hour=4.02,
    source="published",
    caveat="a published profile, not a measured one",
)
INFEASIBLE_REASON = "the all pool's P99 TTFT is 1.2 s on idle fleetopt-h100 replicas, above the target of 0.5 s"


def pool(
    name: str, replicas: int = 9, context: int = 4096, rate_rps: float = 41.2, ttft_p99_s: float = 0.31
) -> PoolPlan:
    return PoolPlan(
        name=name,
        profile=PROFILE,
        replicas=replicas,
        spare_replicas=1,
        gpus=replicas,
        max_context_tokens=context,
        arrival_rate_rps=rate_rps,
        slots_per_replica=256,
        slot_utilization=0.412,
        kv_utilization=0.287,
        ttft_p99_s=ttft_p99_s,
        tpot_p99_s=0.0117,
        residence_s=6.5,
        binding="P99 TTFT",
    )


TWO_POOLS = FleetPlan(pools=(pool("short"), pool("long", 5, 65536, 6.73, 0.442)), boundaries_tokens=(4096,), gamma=1.5)
ROUTED = FleetPlan(pools=(pool("short", 10), pool("long", 6, 65536, 8.9, 0.442)), boundaries_tokens=(4096,), gamma=1.0)
THREE_POOLS = FleetPlan(
    pools=(pool("short"), pool("middle", 4, 16384, 5.1, 0.36), pool("long", 3, 65536, 1.63, 0.442)),
    boundaries_tokens=(4096, 16384),
    gamma=1.5,
    commitment_saving_usd_per_hour=8.04,
    compression_usd_per_hour=0.37,
)
ONE_POOL = FleetPlan(pools=(pool("all", 23, 65536, 48.0, 0.388),), boundaries_tokens=(), gamma=1.0)


def evidence(pool: PoolPlan, scenario: str, verdict: Verdict = "confirmed", requests: int = 200_000) -> PoolEvidence:
    """Evidence whose P99 lies where the verdict says; TTFT is lognormal around it."""
    p99_s = {"confirmed": 0.92 * pool.ttft_p99_s, "undecided": TARGET_S, "refuted": 1.6 * TARGET_S}[verdict]
    if scenario == REPLAY:
        p99_s, requests = 0.7 * p99_s, min(requests, 7_412)
    quantiles = tuple(
        float(p99_s * np.exp(0.4 * (_normal_quantile(p) - _normal_quantile(0.99)))) for p in QUANTILE_GRID
    )
    if requests == 0:
        p99_s, quantiles, verdict = np.nan, (), "undecided"
    return PoolEvidence(
        scenario=scenario,
        pool=pool.name,
        replicas=pool.loaded_replicas,
        replications=1 if scenario == REPLAY else 10,
        requests=requests,
        rejected=0,
        preemptions=0,
        ttft_p99_s=p99_s,
        ttft_p99_lower_s=0.97 * p99_s,
        ttft_p99_upper_s=1.04 * p99_s,
        slot_utilization=0.12 if scenario == REPLAY else 0.405,
        kv_utilization=0.28,
        busy=0.93,
        verdict=verdict,
        note="" if requests else "no request of the day reaches this pool",
        ttft_quantiles_s=quantiles,
    )


def _normal_quantile(p: float) -> float:
    """Logistic stand-in for the normal quantile, cut at the ends."""
    p = min(max(p, 1e-3), 1 - 1e-5)
    return float(np.log(p / (1 - p)) / 1.7)


def proof(plan: FleetPlan, verdict: Verdict = "confirmed", *, empty_replay: bool = False) -> Proof:
    last = plan.pools[-1]
    items = []
    for item in plan.pools:
        of_pool: Verdict = verdict if item is last else "confirmed"
        items.append(evidence(item, PEAK, of_pool))
        items.append(evidence(item, REPLAY, requests=0 if empty_replay and item is last else 7_412))
    repairs = (
        () if verdict == "confirmed" else (f"{last.name} pool {verdict} with {last.loaded_replicas} replicas: 1 added",)
    )
    return Proof(plan=plan, verdict=verdict, evidence=tuple(items), repairs=repairs)


def document(
    plan: FleetPlan | None = TWO_POOLS,
    verdict: Verdict = "confirmed",
    *,
    homogeneous: FleetPlan | None = ONE_POOL,
    running: bool = True,
    days_missing: int = 1,
    days_asked: int = 28,
    model: str = "llama-2-70b",
    caveats: tuple[str, ...] = (),
    prediction_caveats: tuple[str, ...] = (),
    empty_replay: bool = False,
    upper_band: bool = True,
    effort: SearchEffort | None = None,
    routed_effort: SearchEffort | None = None,
) -> dict[str, Any]:
    """A document of a fleet; without a plan it is infeasible."""
    days = [DAY - timedelta(days=back) for back in range(27, -1, -1)]
    proved = proof(plan, verdict, empty_replay=empty_replay) if plan else None
    other = proof(homogeneous) if homogeneous and plan else None
    if plan is homogeneous:
        other = proved
    routed = proof(ROUTED) if plan else None
    result = PlanResult(
        plan=plan, infeasibility=None if plan else Infeasibility(binding=INFEASIBLE_REASON), effort=effort
    )
    return build_document(
        fleet_name="demo",
        fleet=Fleet(
            model=model,
            slo_ttft_p99_s=TARGET_S,
            profiles=[PROFILE.name],
            max_context_tokens=65536,
            running=[RunningPool(name="all", profile=PROFILE.name, replicas=26, max_context_tokens=65536)]
            if running
            else [],
        ),
        day=DAY,
        window=Window(
            first_day=days[0],
            last_day=days[-1],
            days_asked=days_asked,
            days_held=tuple(days[days_missing:]),
            days_missing=tuple(days[:days_missing]),
        ),
        demand=Demand(
            requests=214_338,
            observed_s=2_331_412.0,
            mean_rate_rps=0.09193,
            peak_rate_rps=39.95,
            peak_time=datetime(2023, 11, 14, 14, 2, tzinfo=UTC),
            planned_rate_rps=47.94,
            upper_rate_rps=52.3,
        ),
        band_method="wider of sampling error (DKW) and drift between 612 hour blocks (sup-t, wild bootstrap)",
        rejected_fraction=0.00042,
        usd_per_replica_hour={PROFILE.name: PROFILE.usd_per_replica_hour},
        recommendation=Recommendation(
            result=result,
            proof=proved,
            homogeneous=other,
            pool_routing=routed,
            routed_effort=routed_effort,
            replicas_upper_band={item.name: item.replicas + 2 for item in plan.pools} if plan and upper_band else {},
        ),
        inputs={"core_length_histogram": "9f" * 32, "core_arrivals": "0b" * 32, "config": "77" * 32},
        caveats=list(caveats),
        seed=20260316,
        prediction_caveats=prediction_caveats,
        published={
            "short": PublishedPrediction(ttft_p99_s=np.inf, slot_utilization=1.31),
            "long": PublishedPrediction(ttft_p99_s=0.2817, slot_utilization=0.84),
        },
    )


LEFT_OUT = SearchEffort(cells=9000, opened=700, pools_sized=800, boundaries_left_out=5670, least_usd_left_out=51.25)
"""Of a search among very many boundaries."""

ALL_DOCUMENTS: dict[str, dict[str, Any]] = {
    "confirmed": document(),
    "one-pool": document(ONE_POOL),
    "three-pools": document(THREE_POOLS, prediction_caveats=("short pool: KV is scarce [1]",)),
    "refuted": document(verdict="refuted"),
    "undecided": document(verdict="undecided", empty_replay=True),
    "infeasible": document(None),
    "left-out": document(effort=LEFT_OUT, routed_effort=LEFT_OUT),
    "bare": document(homogeneous=None, running=False, days_missing=0, days_asked=35, upper_band=False),
}


def length_cdf(archetypes: dict[str, float], points: int = 60, half_width: float = 0.03) -> pl.DataFrame:
    """``out_length_cdf`` of archetypes with the given median lengths, tokens."""
    rows = []
    for name, median in archetypes.items():
        fraction = np.linspace(0, 1, points + 1)[1:]
        spread = np.array([_normal_quantile(p) for p in fraction])
        tokens = np.unique(np.maximum(1, median * np.exp(0.7 * spread)).astype(int))
        fraction = np.linspace(0, 1, len(tokens) + 1)[1:]
        rows += [
            (DAY, "demo", name, "total_tokens", int(t), f, max(0.0, f - half_width), min(1.0, f + half_width))
            for t, f in zip(tokens, fraction.tolist(), strict=True)
        ]
    return pl.DataFrame(rows, schema=OUT_LENGTH_CDF.schema, orient="row")


def candidates(plan: FleetPlan | None = TWO_POOLS, *, gammas: int = 6, is_feasible: bool = True) -> pl.DataFrame:
    """``out_fleet_candidates``: a cost bowl over the boundary; the lowest boundaries are infeasible."""
    rows = [
        (DAY, "demo", None, None, 1.0, is_feasible, None if is_feasible else "too slow", 23, 92.46, plan is ONE_POOL)
    ]
    for boundary in (64, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768):
        for step in range(gammas):
            gamma = round(1 + 0.1 * step, 10)
            works = is_feasible and boundary >= 256 + 50 * step
            replicas = round(14 + 2.2 * abs(np.log2(boundary / 4096)) ** 1.3 + 0.7 * (gammas - 1 - step))
            is_chosen = plan is not None and (plan.boundaries_tokens, plan.gamma) == ((boundary,), gamma)
            figures = (None, replicas, 4.02 * replicas) if works else ("a pool gets no request", None, None)
            rows.append((DAY, "demo", boundary, None, gamma, works, *figures, is_chosen))
    return pl.DataFrame(rows, schema=OUT_FLEET_CANDIDATES.schema, orient="row")


ACCURACY: list[dict[str, Any]] = [
    {
        "day": DAY,
        "fleet": "demo",
        "version": "0123456789ab",
        "recommended_day": DAY - timedelta(days=1),
        "pool": name,
        "measure": measure,
        "predicted": predicted,
        "published": 0.8 * predicted,
        "simulated": simulated,
        "observed": None,
        "verdict": "held",
    }
    for name, measure, predicted, simulated in (
        ("short", "ttft_p99_s", 0.305, 0.214),
        ("short", "slot_utilization", 0.41, 0.13),
        ("long", "ttft_p99_s", 0.44, 0.3007),
        ("long", "slot_utilization", 0.39, 0.08),
    )
]

QUALITY: list[dict[str, Any]] = [
    {
        "day": DAY,
        "source": source,
        "format": log_format,
        "files": 1,
        "lines": lines,
        "requests": lines - duplicates - quarantined,
        "duplicates": duplicates,
        "quarantined": quarantined,
        "unusable_lines": quarantined,
        "failed": failed,
        "aborted": 0,
        "cache_hits": 0,
        "other_models": 0,
        "models": 0,
        "duplicates_expected": 0.0,
        "finish_times": 0,
        "clock_restarts": 0,
        "distinct_arrival_times": distinct,
        "time_step_s": step_s,
        "prompt_cap_tokens": 7437 if source == "azure-code" else None,
        "prompt_capped_fraction": 0.04 if source == "azure-code" else None,
        "output_cap_tokens": None,
        "output_capped_fraction": None,
        "fields_absent": None,
        "landing_digest": "ab" * 32,
    }
    for source, log_format, lines, duplicates, quarantined, failed, distinct, step_s in (
        ("azure-chat", "azure", 19_366, 3, 0, 0, 19_363, None),
        ("azure-code", "azure", 8_819, 0, 2, 0, 8_817, None),
        ("mooncake-agent", "mooncake", 23_608, 3, 2, 12, 1_181, 3.0),
    )
]

PROVENANCE: dict[str, object] = {
    "commit": "fddc60d",
    "run_id": "b3f0",
    "written_at": "2023-11-17T03:04:05+00:00",
    "delta_versions": {"core_length_histogram": 12, "core_arrivals": 12},
    "packages": {"polars": "2.1.0", "numpy": "2.4.6"},
}
