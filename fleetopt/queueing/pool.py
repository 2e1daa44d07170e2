"""What a pool of identical replicas does at a given load, without simulation."""

from dataclasses import dataclass

from fleetopt.queueing.distribution import TimeDistribution
from fleetopt.queueing.equilibrium import PoolState, pool_state
from fleetopt.queueing.tpot import TpotDistribution, tpot_distribution
from fleetopt.queueing.ttft import ttft_distribution
from fleetopt.queueing.work import RequestWork


@dataclass(frozen=True, kw_only=True, eq=False)
class PoolPrediction:
    """What the model says of a pool.

    Attributes
    ----------
    state : PoolState
        Means: iteration time, busy share, what runs, memory, loads.
    ttft : TimeDistribution
        Time to first token, s: ``quantile(probability)`` and ``exceeds(times_s)``.
    tpot : TpotDistribution
        Time per output token after the first, s: the same.
    """

    state: PoolState
    ttft: TimeDistribution
    tpot: TpotDistribution


def predict_pool(work: RequestWork, arrival_rate_rps: float, replicas: int) -> PoolPrediction | None:
    """Predict a pool of identical replicas under Poisson arrivals and the least-loaded router; None where unstable.

    Means take about a tenth of a millisecond, given the work of the mixture; distributions are computed when they are
    asked for a quantile.

    Parameters
    ----------
    work : RequestWork
    arrival_rate_rps : float
        Rate of the pool, 1/s, above 0.
    replicas : int
        At least 1.
    """
    state = pool_state(work, arrival_rate_rps, replicas)
    if state is None:
        return None
    return PoolPrediction(
        state=state,
        ttft=ttft_distribution(work, state, arrival_rate_rps, replicas),
        tpot=tpot_distribution(work, state, replicas),
    )
