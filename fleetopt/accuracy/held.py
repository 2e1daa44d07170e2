"""Yesterday's recommendation on today's traffic."""

from datetime import date
from typing import Any

import numpy as np
import polars as pl

from fleetopt.planner.proof import replay_evidence
from fleetopt.reporting.document import plan_from_document
from fleetopt.schemas import OUT_ACCURACY_REPORT
from fleetopt.simulator import route
from fleetopt.workload.trace import Trace

_WORDS = {"confirmed": "held", "refuted": "missed", "undecided": "undecided"}


def judge(document: dict[str, Any], day: date, today: Trace, observed_ttft_s: np.ndarray, seed: int) -> pl.DataFrame:
    """Replay a day's requests on an earlier recommendation and put prediction, simulation and observation side by side.

    Parameters
    ----------
    document : dict
        The recommendation, as published.
    day : datetime.date
        The day whose requests are replayed.
    today : Trace
        Its requests.
    observed_ttft_s : np.ndarray
        float64[n], the logs' own times to first token in the order of the trace, s; nan where they hold none.
    seed : int

    Returns
    -------
    pl.DataFrame
        ``schemas.OUT_ACCURACY_REPORT``; no rows if the recommendation holds no plan.

    Notes
    -----
    The predictions, ours and the published model's, are for the planned peak, the replay is a whole day: a simulated
    utilisation below the predicted one is expected. The published model counts other slots than the engine has. The
    observed P99 is of the fleet that ran, not of the plan.
    """
    plan = plan_from_document(document)
    if plan is None:
        return OUT_ACCURACY_REPORT.schema.to_frame()
    slo_ttft_p99_s = document["target"]["ttft_p99_s"]
    pool_of_request = route(today, plan.fleet()).pool
    published = {pool["name"]: pool["published"] or {} for pool in document["plan"]["pools"]}
    rows = []
    for index, (pool, evidence) in enumerate(
        zip(plan.pools, replay_evidence(plan, today, slo_ttft_p99_s, seed), strict=True)
    ):
        observed = observed_ttft_s[(pool_of_request == index) & np.isfinite(observed_ttft_s)]
        common = {
            "day": day,
            "fleet": document["fleet"],
            "version": document["version"],
            "recommended_day": date.fromisoformat(document["day"]),
            "slo_ttft_p99_s": slo_ttft_p99_s,
            "pool": pool.name,
            "verdict": _WORDS[evidence.verdict],
        }
        for measure, predicted, simulated, seen in (
            (
                "ttft_p99_s",
                pool.ttft_p99_s,
                evidence.ttft_p99_s,
                float(np.quantile(observed, 0.99)) if len(observed) else None,
            ),
            ("slot_utilization", pool.slot_utilization, evidence.slot_utilization, None),
        ):
            rows.append(
                common
                | {
                    "measure": measure,
                    "predicted": predicted,
                    "published": published[pool.name].get(measure),
                    "simulated": simulated if np.isfinite(simulated) else None,
                    "observed": seen,
                }
            )
    return pl.DataFrame(rows, schema=OUT_ACCURACY_REPORT.schema)
