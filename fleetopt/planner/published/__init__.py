"""FleetOpt's published accounting (arXiv 2603.16514), exactly, to set beside the sound model; no plan is made by it.

In the order of the argument: ``gpu`` says what a GPU holds and how long a request stays on it, ``calibration`` draws
the service times of a pool, ``waiting`` the time until a slot is free, ``pool`` the number of GPUs, and ``plan``
searches over boundary and compression band.
"""

from fleetopt.planner.published.gpu import PublishedGpu, published_gpu
from fleetopt.planner.published.plan import (
    GAMMAS,
    PublishedPlan,
    PublishedProblem,
    cdf_of_lengths,
    homogeneous_fleet,
    published_plan,
    published_prediction,
    two_pool_fleet,
)
from fleetopt.planner.published.pool import PublishedPool, offered_utilization

__all__ = [
    "GAMMAS",
    "PublishedGpu",
    "PublishedPlan",
    "PublishedPool",
    "PublishedProblem",
    "cdf_of_lengths",
    "homogeneous_fleet",
    "offered_utilization",
    "published_gpu",
    "published_plan",
    "published_prediction",
    "two_pool_fleet",
]
