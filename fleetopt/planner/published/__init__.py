"""FleetOpt's published accounting (arXiv 2603.16514), exactly, to set beside the sound model; no plan is made by it.

In the order of the argument: ``gpu`` says what a GPU holds and how long a request stays on it, ``calibration`` draws
the service times of a pool, ``waiting`` the time until a slot is free, ``pool`` the number of GPUs, and ``plan``
searches over boundary and compression band. ``beside`` puts it beside the sound model.
"""

from fleetopt.planner.published.beside import (
    PublishedBaseline,
    PublishedPrediction,
    published_baseline,
    published_predictions,
)
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
    "PublishedBaseline",
    "PublishedGpu",
    "PublishedPlan",
    "PublishedPool",
    "PublishedPrediction",
    "PublishedProblem",
    "cdf_of_lengths",
    "homogeneous_fleet",
    "offered_utilization",
    "published_baseline",
    "published_gpu",
    "published_plan",
    "published_prediction",
    "published_predictions",
    "two_pool_fleet",
]
