"""FleetOpt's published fleets, reproduced and judged, as JSON."""

import json
import math
from typing import Any

from fleetopt.evidence.reproduce import JudgedFleet, NeededFleet, Reproduction
from fleetopt.evidence.trials import SimulatedPool
from fleetopt.reporting.reproduce import fleet_stability, fleet_target
from fleetopt.simulator.statistics import Interval


def reproduce_json(page: Reproduction) -> str:
    """Everything on the page as JSON; null where there is no figure."""
    return (
        json.dumps(
            {
                "figures": [
                    {
                        "table": figure.table,
                        "what": figure.what,
                        "published": figure.published,
                        "ours": figure.ours,
                        "is_reproduced": figure.is_reproduced,
                    }
                    for figure in page.figures
                ],
                "fleets": [_fleet_json(fleet) for fleet in page.fleets],
                "needed": [_needed_json(fleet) for fleet in page.needed],
                "searched": [
                    {
                        "workload": found.workload.name,
                        "boundary_tokens": found.plan.boundary_tokens,
                        "gamma": found.plan.gamma,
                        "gpus": [pool.gpus for pool in found.plan.pools],
                        "saving_pct": found.saving_pct,
                        "short_offered_utilization": found.offered_utilization,
                        "short_model_load": found.model_load,
                    }
                    for found in page.searched
                ],
                "requests": page.requests,
                "span_s": page.span_s,
                "replications": page.replications,
            },
            indent=1,
        )
        + "\n"
    )


def _fleet_json(fleet: JudgedFleet) -> dict[str, Any]:
    printed = fleet.published
    return {
        "table": printed.table,
        "workload": printed.workload.name,
        "fleet": printed.kind,
        "arrival_rate_rps": printed.arrival_rate_rps,
        "boundary_tokens": fleet.plan.boundary_tokens,
        "gamma": fleet.plan.gamma,
        "published_gpus": list(printed.gpus),
        "usd_per_year": fleet.plan.usd_per_year,
        "verdict": fleet_stability(fleet),
        "target": fleet_target(fleet),
        "pools": [
            {
                "name": pool.name,
                "gpus": pool.paper.gpus,
                "slots_per_gpu": pool.paper.slots_per_gpu,
                "claimed_utilization": pool.paper.utilization,
                "offered_utilization": pool.offered_utilization,
                "model_load": pool.model_load,
                "model_slot_utilization": _finite(pool.model_slot_utilization),
                "claimed_ttft_p99_s": pool.paper.ttft_p99_s,
                "model_ttft_p99_s": _finite(pool.model_ttft_p99_s),
                "simulated": _simulated_json(pool.simulated),
            }
            for pool in fleet.pools
        ],
    }


def _needed_json(fleet: NeededFleet) -> dict[str, Any]:
    printed = fleet.published
    return {
        "workload": printed.workload.name,
        "fleet": printed.kind,
        "gamma": printed.gamma,
        "slots": fleet.slots,
        "published_gpus": list(printed.gpus),
        "gpus": fleet.gpus,
        "pools": [
            {
                "name": pool.name,
                "gpus": pool.gpus,
                "slots_per_gpu": pool.slots_per_gpu,
                "unloaded_ttft_p99_s": pool.unloaded_ttft_p99_s,
                "model_ttft_p99_s": _finite(pool.model_ttft_p99_s),
            }
            for pool in fleet.pools
        ],
        "simulated": [_simulated_json(seen) for seen in fleet.simulated],
    }


def _simulated_json(seen: SimulatedPool) -> dict[str, Any]:
    return {
        "verdict": seen.stability.verdict,
        "verdict_reason": seen.stability.reason,
        "backlog_growth": _interval_json(seen.backlog_growth),
        "ttft_p99_s": _interval_json(seen.ttft_p99_s),
        "slot_utilization": _interval_json(seen.slot_utilization),
    }


def _interval_json(interval: Interval) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in interval._asdict().items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
