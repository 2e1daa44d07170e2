"""Cells of the evidence of plans made by hand: tight, repaired, too dear, not confirmed, infeasible."""

from fleetopt.evidence.plans import CellKey, PlanCell


def plan_cell(multiple: float = 3.0, **changes) -> PlanCell:
    found = {
        "slo_ttft_p99_s": 1.5,
        "modelled": "9 a100",
        "verified": "10 a100",
        "cheapest": "10 a100",
        "modelled_usd_per_hour": 18.0,
        "verified_usd_per_hour": 20.0,
        "cheapest_usd_per_hour": 20.0,
        "usd_per_replica_hour": 2.0,
        "modelled_verdict": "refuted",
        "verdict": "confirmed",
        "added": 1,
        "fleets": 97,
        "fleets_simulated": 12,
    }
    key = CellKey(workload="azure", hardware="a100", arrival_rate_rps=20.0, multiple=multiple)
    return PlanCell(key=key, **{**found, **changes})


AS_IT_CAME = plan_cell(1.5, modelled="10 a100", modelled_usd_per_hour=20.0, modelled_verdict="confirmed", added=0)
REPAIRED = plan_cell()
TOO_DEAR = plan_cell(6.0, cheapest_usd_per_hour=16.0, cheapest="4 + 4 a100, B 4096, gamma 1.5", is_other=True)
NOT_CONFIRMED = plan_cell(7.0, verdict="undecided", reason="all pool: undecided with 10 replicas", untold=2)
INFEASIBLE = PlanCell(
    key=CellKey(workload="azure", hardware="a100", arrival_rate_rps=20.0, multiple=0.9),
    slo_ttft_p99_s=0.5,
    reason="unloaded P99 TTFT 0.54 s on a100",
    is_infeasible_proved=True,
)
CELLS = [AS_IT_CAME, REPAIRED, TOO_DEAR, NOT_CONFIRMED, INFEASIBLE]
