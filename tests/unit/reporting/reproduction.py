"""A page of `fleetopt reproduce`: Azure and one row of Table 6, with simulations made up to agree with the model."""

from dataclasses import replace
from functools import lru_cache

from fleetopt.evidence.published_figures import TABLE_3, TABLE_6
from fleetopt.evidence.reproduce import JudgedFleet, JudgedPool, Reproduction, reproduce
from fleetopt.evidence.trials import SimulatedPool
from fleetopt.simulator.statistics import Interval, Stability


@lru_cache
def page() -> Reproduction:
    fleets = [fleet for fleet in TABLE_3 if fleet.workload.name == "azure"]
    fleets += [fleet for fleet in TABLE_6 if fleet.arrival_rate_rps == 100]
    found = reproduce(1, fleets=fleets, requests=2_000, span_s=0.0, replications=2)
    needed = (replace(fleet, simulated=tuple(simulated(0.9) for _ in fleet.simulated)) for fleet in found.needed)
    return replace(found, fleets=tuple(_fleet(fleet) for fleet in found.fleets), needed=tuple(needed))


def simulated(load: float) -> SimulatedPool:
    """Unstable above a load of 1, else a P99 TTFT of 150 ms."""
    growth = max(0.0, 1 - 1 / load)
    ttft_s = 60.0 if load > 1 else 0.15
    return SimulatedPool(
        stability=Stability("unstable" if load > 1 else "stable", "made up"),
        backlog_growth=Interval(growth, growth - 0.01, growth + 0.01),
        ttft_p99_s=Interval(ttft_s, 0.9 * ttft_s, 1.1 * ttft_s),
        slot_utilization=Interval(0.4, 0.39, 0.41),
    )


def _fleet(fleet: JudgedFleet) -> JudgedFleet:
    return replace(fleet, pools=tuple(_pool(pool) for pool in fleet.pools))


def _pool(pool: JudgedPool) -> JudgedPool:
    return replace(pool, simulated=simulated(pool.model_load))
