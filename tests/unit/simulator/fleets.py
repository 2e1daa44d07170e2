"""Small fleets and traces for the tests of replications and comparisons."""

from functools import partial

from fleetopt.profiles import load_profile
from fleetopt.simulator import Fleet, Pool
from fleetopt.workload.lengths import JointLengths, lengths_from_cdf
from fleetopt.workload.processes import poisson_arrivals
from fleetopt.workload.synthesis import synthesize
from fleetopt.workload.trace import Trace

PROFILE = load_profile("a100-llama2-7b")
LENGTHS: JointLengths = lengths_from_cdf([(500.0, 0.5), (2000.0, 0.9), (6000.0, 1.0)])


def one_pool(replicas: int, limit: int = 8192, **options: object) -> Fleet:
    return Fleet((Pool("all", PROFILE, replicas, limit),), **options)


def make_trace(replication: int, *, n: int = 1500, rate_rps: float = 8.0) -> Trace:
    return synthesize(partial(poisson_arrivals, rate_rps), LENGTHS, n, seed=5, replication=replication)
