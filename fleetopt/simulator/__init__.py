"""A fleet simulated iteration by iteration: pools, routing, replicas with continuous batching and paged KV."""

from fleetopt.simulator.fleet import Fleet, Pool, Routing, route
from fleetopt.simulator.result import PoolUtilization, SimulationResult
from fleetopt.simulator.run import ROUTERS, SCHEDULERS, simulate

__all__ = [
    "ROUTERS",
    "SCHEDULERS",
    "Fleet",
    "Pool",
    "PoolUtilization",
    "Routing",
    "SimulationResult",
    "route",
    "simulate",
]
