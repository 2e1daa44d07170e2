"""Time to first token of a pool in equilibrium, as a distribution."""

import numpy as np

from fleetopt.queueing.distribution import Grid, TimeDistribution
from fleetopt.queueing.equilibrium import PoolState
from fleetopt.queueing.kernels.found import find_found
from fleetopt.queueing.kernels.records import STATE
from fleetopt.queueing.kernels.ttft import Loads, assess, ttft_masses
from fleetopt.queueing.work import RequestWork

_FIRST_GUESS = 0.99


def ttft_distribution(work: RequestWork, state: PoolState, arrival_rate_rps: float, replicas: int) -> TimeDistribution:
    """Distribution of the time to first token of a pool in equilibrium.

    On an idle replica a request starts at once and takes its own iterations. On a busy one it waits for the running
    iteration to end, and then for the prompts ahead of it: each takes ``prompt / tokens per iteration`` iterations, and
    what is left of them together is a sum of as many residual service times as there are prompts ahead, which for one
    replica is Pollaczek and Khinchine's formula. Its own last iteration is shared with who is behind it. Where most
    prompts take one iteration, see :mod:`fleetopt.queueing.kernels.gate`.

    Parameters
    ----------
    work : RequestWork
    state : PoolState
    arrival_rate_rps : float
        Rate of the pool, 1/s.
    replicas : int
    """
    occupancy = state.occupancy.rows
    found, queue = find_found(*work.tables, state.record, occupancy, arrival_rate_rps, replicas)
    idle = float(occupancy[1, 0] + occupancy[2, 0])
    record, prompts, *_ = work.tables
    rate = arrival_rate_rps / replicas

    def masses(grid: Grid) -> np.ndarray:
        return np.asarray(ttft_masses(record, prompts, found, queue, idle, rate, grid.end_s))

    return TimeDistribution(masses, 2 * work.unloaded_ttft_quantile_s(_FIRST_GUESS))


def pool_loads(work: RequestWork, arrival_rate_rps: float, replicas: int, time_s: float) -> Loads:
    """What sizing asks of a pool, in one call: first tokens later than a time, and the loads of its resources.

    Parameters
    ----------
    work : RequestWork
    arrival_rate_rps : float
        Rate of the pool, 1/s, above 0.
    replicas : int
        At least 1.
    time_s : float
        Above 0.

    Notes
    -----
    The same numbers as ``predict_pool(...)``: ``ttft.exceeds``, ``state.budget_load``, ``state.prefill_load`` and
    ``state.running / work.slots``.

    Bounds that need no evaluation, with r the rate per replica, w the work of a request, W the base of an iteration
    and T the token budget:

    - ``budget_load`` is ``r (w + W E[tokens] / T)``, exactly.
    - What runs is at least ``r E[iterations] W / (1 - r w)``. In the mean iteration it is ``r E[iterations] W /
      (1 - r w / busy)``, and busy is at most 1; over time the covariance of what runs and of the iteration's length is
      added, which is not negative, as requests only ever lengthen iterations and what runs only ever brings more.
    - ``prefill_load`` is at least ``r (E[prefill] + W E[prompt] / T)`` or 1, but for how lengths are condensed: every
      prompt takes its work and, of each iteration's base, its share of the budget.
    - More replicas at the same rate of the pool mean fewer late first tokens, but that is no theorem: numbers present
      are rounded, and the phases of more than 64 replicas told apart in 64 steps. From one number of replicas to the
      next the share of late ones was seen to rise by up to 3.5 % of itself where it is below 0.002, 1 % at 0.005.
    """
    return assess(*work.tables, np.zeros(1, STATE), arrival_rate_rps, replicas, time_s)
