"""A fleet simulated iteration by iteration: pools, routing, replicas with continuous batching and paged KV."""

from fleetopt.simulator.fleet import BALANCERS, POOL_ROUTERS, ROUTERS, SCHEDULERS, Failure, Fleet, Pool
from fleetopt.simulator.result import PoolUtilization, SimulationResult, Timeline
from fleetopt.simulator.routing import Routing, route
from fleetopt.simulator.run import simulate

__all__ = [
    "BALANCERS",
    "POOL_ROUTERS",
    "ROUTERS",
    "SCHEDULERS",
    "Failure",
    "Fleet",
    "Pool",
    "PoolUtilization",
    "Routing",
    "SimulationResult",
    "Timeline",
    "route",
    "simulate",
]
