"""Which replica gets a request, slow and obvious."""

import math

import numpy as np

from fleetopt.simulator import POOL_ROUTERS, Fleet
from tests.reference.replica import Replica, Request

WORD = 2**64
WHOLE_FLEET = -1  # the group of a balancer that is the router


def natural_pool(fleet: Fleet, prompt: int, output: int, is_compressible: bool) -> tuple[int, int]:
    """Index of the pool that a request belongs to, and its prompt as served."""
    if fleet.router not in POOL_ROUTERS:
        return 0, prompt
    total = prompt + output
    if fleet.router == "compress-and-route" and is_compressible:
        for pool, boundary in enumerate(fleet.boundaries_tokens):
            if boundary < total <= math.floor(fleet.gamma * boundary + 1e-6) and output < boundary:
                return pool, boundary - output
    for pool, boundary in enumerate(fleet.boundaries_tokens):
        if total <= boundary:
            return pool, prompt
    return len(fleet.pools) - 1, prompt


def mix(z: int) -> int:
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
    return z ^ (z >> 31)


class Router:
    def __init__(self, fleet: Fleet, pools: list[list[Replica]], seed: int) -> None:
        self.fleet = fleet
        self.pools = pools
        self.stream = int(np.random.SeedSequence(seed, spawn_key=(0,)).generate_state(1, np.uint64)[0])
        self.pointers = dict.fromkeys([WHOLE_FLEET, *range(len(pools))], 0)

    def is_too_long(self, request: Request) -> bool:
        """Step 0: no replica where the request belongs accepts it, up or down."""
        return not any(replica.accepts(request.total) for replica in self.members(self.own_group(request)))

    def own_group(self, request: Request) -> int:
        return request.natural_pool if self.fleet.router in POOL_ROUTERS else WHOLE_FLEET

    def members(self, group: int) -> list[Replica]:
        return [replica for pool in self.pools for replica in pool] if group == WHOLE_FLEET else self.pools[group]

    def choose(self, request: Request) -> Replica | None:
        """The replica for a request; None if no eligible one is up."""
        group = self.choose_group(request)
        if group is None:
            return None
        chosen = self.choice_in(group, request)
        if chosen is not None and self.balancer() == "round-robin":
            self.pointers[group] = self.members(group).index(chosen) + 1
        return chosen

    def choose_group(self, request: Request) -> int | None:
        own = self.own_group(request)
        if own == WHOLE_FLEET:
            return own
        candidates = [
            pool for pool in range(own, len(self.pools)) if self.choice_in(pool, request) is not None
        ]  # the own pool and longer ones
        if self.fleet.router == "spill-over":
            for pool in candidates:
                if len(self.choice_in(pool, request).waiting) < self.fleet.spill_waiting:
                    return pool
        return candidates[0] if candidates else None

    def balancer(self) -> str:
        return self.fleet.balancer if self.fleet.router in POOL_ROUTERS else self.fleet.router

    def choice_in(self, group: int, request: Request) -> Replica | None:
        """What the balancer chooses out of a group; no pointer moves."""
        members = self.members(group)
        eligible = [replica for replica in members if replica.is_up and replica.accepts(request.total)]
        if not eligible:
            return None
        match self.balancer():
            case "least-loaded":
                return min(eligible, key=Replica.load)  # the first of equals
            case "shortest-queue-tokens":
                return min(eligible, key=Replica.queued_tokens)
            case "power-of-two":
                return self.power_of_two(eligible, request)
            case "round-robin":
                pointer = self.pointers[group]
                return next(replica for replica in members[pointer:] + members[:pointer] if replica in eligible)
            case "random":
                return eligible[math.floor(self.draw(request, 0) * len(eligible))]
        raise AssertionError(self.balancer())

    def power_of_two(self, eligible: list[Replica], request: Request) -> Replica:
        if len(eligible) == 1:
            return eligible[0]
        first = math.floor(self.draw(request, 0) * len(eligible))
        second = math.floor(self.draw(request, 1) * (len(eligible) - 1))
        if second >= first:
            second += 1
        return min((eligible[i] for i in sorted((first, second))), key=Replica.load)

    def draw(self, request: Request, k: int) -> float:
        """The k-th uniform number of this attempt: SplitMix64 (Steele, Lea and Flood, 2014) at a counter."""
        counter = request.index * 65536 + 2 * request.retries + k + 1
        return (mix((self.stream + counter * 0x9E3779B97F4A7C15) % WORD) >> 11) * 2.0**-53
