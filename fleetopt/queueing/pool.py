"""What a pool of identical replicas does at a given load, without simulation."""

from dataclasses import dataclass
from functools import cached_property

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
    work : RequestWork
    arrival_rate_rps : float
        Rate of the pool, 1/s.
    replicas : int
    state : PoolState
        Means: iteration time, busy share, what runs, memory, loads.
    """

    work: RequestWork
    arrival_rate_rps: float
    replicas: int
    state: PoolState

    @cached_property
    def ttft(self) -> TimeDistribution:
        """Time to first token, s: ``quantile(probability)`` and ``exceeds(times_s)``."""
        return ttft_distribution(self.work, self.state, self.arrival_rate_rps, self.replicas)

    @cached_property
    def tpot(self) -> TpotDistribution:
        """Time per output token after the first, s: the same."""
        return tpot_distribution(self.work, self.state, self.replicas)


def predict_pool(work: RequestWork, arrival_rate_rps: float, replicas: int) -> PoolPrediction | None:
    """Predict a pool of identical replicas under Poisson arrivals and the least-loaded router; None where unstable.

    Parameters
    ----------
    work : RequestWork
    arrival_rate_rps : float
        Rate of the pool, 1/s, above 0.
    replicas : int
        At least 1.

    Notes
    -----
    Scheduler ``fcfs``. Means take a few tenths of a millisecond given the tables of the mixture, which `work` computes
    once; a distribution is computed when it is asked for, a P99 in about two milliseconds. How near it comes to the
    simulator, and where it does not, is what `fleetopt.evidence.fidelity` measures. It is made for token budgets of
    about a prompt or less: with a budget of many prompts whole batches of them are prefilled at once, which it takes
    for one after the other, and an iteration without a decode step is taken to cost the base of one with.
    """
    state = pool_state(work, arrival_rate_rps, replicas)
    if state is None:
        return None
    return PoolPrediction(work=work, arrival_rate_rps=arrival_rate_rps, replicas=replicas, state=state)
