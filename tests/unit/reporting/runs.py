"""Small simulations for tests of what is shown of them."""

import numpy as np

from fleetopt.profiles import load_profile
from fleetopt.simulator import Failure, Fleet, Pool, SimulationResult, simulate
from fleetopt.workload.trace import Trace, make_trace

PROFILE = load_profile("a100-llama2-7b")
TWO_POOLS = Fleet(
    pools=(Pool("short", PROFILE, 2, 2048), Pool("long", PROFILE, 1, 8192)),
    router="length",
    boundaries_tokens=(2048,),
    failures=(Failure("short", 0, 30.0, 60.0), Failure("long", 0, 40.0, 70.0)),
)
ONE_POOL = Fleet((Pool("all", PROFILE, 3, 8192),))


def requests(replication: int = 0, n: int = 400) -> Trace:
    rng = np.random.default_rng(replication)
    return make_trace(np.cumsum(rng.exponential(0.25, n)), rng.integers(50, 4000, n), rng.integers(1, 150, n))


def watched(fleet: Fleet = TWO_POOLS) -> SimulationResult:
    return simulate(requests(), fleet, timeline_interval_s=0.5)
