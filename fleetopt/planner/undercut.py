"""What to simulate next to learn whether a fleet can cost less than a price."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_SLACK = 1e-9
_MOST_ABOVE = 1.1
"""Where the goal leaves more room than that above what is likely, less is tried first."""


@dataclass(eq=False)
class ReplicaBounds:
    """What is known of a pool's smallest confirmed number of replicas.

    Attributes
    ----------
    usd_per_hour : float
        Of a replica.
    likely : int
        Where it probably is, as the model has it.
    low : int
        Every smaller number is impossible, forbidden or not confirmed.
    high : int or None
        The smallest that is known to be confirmed.
    """

    usd_per_hour: float
    likely: int
    low: int
    high: int | None = None

    @property
    def expected(self) -> int:
        """The likely number, moved to where it is not excluded."""
        return max(self.low, self.likely if self.high is None else min(self.likely, self.high))

    def note(self, replicas: int, *, is_confirmed: bool) -> None:
        """Take in what a simulation said of a number."""
        if is_confirmed:
            self.high = replicas
        else:
            self.low = replicas + 1


def least_price(pools: Sequence[ReplicaBounds]) -> float:
    """Price below which there is no such fleet, USD/h."""
    return sum(pool.low * pool.usd_per_hour for pool in pools)


def confirmed_price(pools: Sequence[ReplicaBounds]) -> float:
    """Price of the cheapest fleet known to be confirmed, USD/h; infinite without one."""
    return sum(math.inf if pool.high is None else pool.high * pool.usd_per_hour for pool in pools)


def expected_price(pools: Sequence[ReplicaBounds]) -> float:
    """Price where the likely numbers are right, USD/h."""
    return sum(pool.expected * pool.usd_per_hour for pool in pools)


def next_trial(pools: Sequence[ReplicaBounds], goal_usd_per_hour: float) -> tuple[int, int]:
    """A pool, by its place, and the most replicas that it may have for the fleet to cost less than the goal.

    The goal is shared out in proportion to the expected numbers until one replica more in each pool would reach it: a
    fleet below the goal has no more than its share in at least one pool. A number that is not confirmed raises the
    least price; if every pool's is confirmed, a fleet below the goal is found.

    Parameters
    ----------
    pools : sequence of ReplicaBounds
        With a least price below the goal, and no confirmed one.
    goal_usd_per_hour : float
    """
    share = min(goal_usd_per_hour / expected_price(pools), _MOST_ABOVE)
    for place in sorted(range(len(pools)), key=lambda place: -pools[place].low * pools[place].usd_per_hour):
        pool = pools[place]
        replicas = math.ceil(pool.expected * share * (1 - _SLACK)) - 1
        if pool.low <= replicas and (pool.high is None or replicas < pool.high):
            return place, replicas
    # In proportion every pool is decided: one is confirmed, and the rest may have what it leaves.
    spare = goal_usd_per_hour - least_price(pools)
    rooms = []
    for place, pool in enumerate(pools):
        most = pool.low + math.ceil(spare / pool.usd_per_hour * (1 - _SLACK)) - 1
        most = most if pool.high is None else min(most, pool.high - 1)
        if most >= pool.low:
            rooms.append(((most - pool.low) * pool.usd_per_hour, place, most))
    _, place, replicas = max(rooms)
    return place, replicas
