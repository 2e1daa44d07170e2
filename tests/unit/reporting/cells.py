"""Fidelity cells made by hand: one within all targets, one that misses one and is not settled."""

from fleetopt.evidence.fidelity import FidelityCell, Figure

NAMES = ("iteration_s", "slot_utilization", "busy", "kv_utilization", "ttft_p50_s", "ttft_p99_s", "tpot_p99_s")
TOLERANCES = {"iteration_s": 0.03, "slot_utilization": 0.03, "ttft_p99_s": 0.12}


def cell(p99_ratio: float, load: float, *, is_settled: bool = True) -> FidelityCell:
    return FidelityCell(
        workload="azure",
        profile="a100-llama2-7b",
        replicas=8,
        load=load,
        arrival_rate_rps=12.5,
        simulated_limit_rps=40.0,
        model_limit_rps=41.0,
        figures=tuple(
            Figure(
                name=name,
                predicted=(p99_ratio if name == "ttft_p99_s" else 1.01) * 0.5,
                simulated=0.5,
                half_width=0.02 if is_settled else 0.08,
                tolerance=TOLERANCES.get(name),
            )
            for name in NAMES
        ),
        requests=1_000_000,
        replications=5,
        is_settled=is_settled,
        prediction_ms=1.5,
    )


CELLS = [cell(1.05, 0.3), cell(1.5, 0.7, is_settled=False)]
