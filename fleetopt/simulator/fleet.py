"""A fleet: its pools, how requests are spread over them, and when replicas fail."""

import math
from dataclasses import dataclass
from itertools import pairwise

from fleetopt.errors import InputError
from fleetopt.profiles import GpuProfile

SCHEDULERS = ("fcfs", "sarathi", "prefill-first")
"""How a replica fills an iteration: vLLM V1; the same with a token budget of 512 (Sarathi-Serve); vLLM V0."""

BALANCERS = ("least-loaded", "shortest-queue-tokens", "power-of-two", "round-robin", "random")
"""How a replica is chosen out of a group."""

POOL_ROUTERS = ("length", "compress-and-route", "spill-over")
"""How a pool is chosen by the length of a request; a balancer then chooses the replica in it."""

ROUTERS = BALANCERS + POOL_ROUTERS
"""A balancer as router chooses among the replicas of all pools that accept the length of the request."""

_MOST_REPLICAS = 1_000_000


@dataclass(frozen=True, slots=True)
class Pool:
    """Identical replicas that serve requests of at most a certain length.

    Attributes
    ----------
    name : str
    profile : GpuProfile
        What one replica can do.
    replicas : int
        How many of them, at least 1.
    max_context_tokens : int
        Most tokens, prompt and output together, that the pool is configured to accept, at least 1.
    scheduler : str
        One of ``SCHEDULERS``.

    Raises
    ------
    InputError
        If a number is out of range, the name is empty or the scheduler is unknown.
    """

    name: str
    profile: GpuProfile
    replicas: int
    max_context_tokens: int
    scheduler: str = "fcfs"

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError("a pool needs a name")
        for key, value in (("replicas", self.replicas), ("max_context_tokens", self.max_context_tokens)):
            if value < 1:
                raise InputError(f"pool '{self.name}': {key} is {value}; it has to be at least 1")
        _require_known("scheduler", self.scheduler, SCHEDULERS)

    @property
    def context_limit_tokens(self) -> int:
        """Longest request that a replica of this pool accepts: the pool's limit, or the profile's if lower."""
        return min(self.max_context_tokens, self.profile.context_limit_tokens)


@dataclass(frozen=True, slots=True)
class Failure:
    """A replica that is down for a while; its requests start over on others.

    Attributes
    ----------
    pool : str
        Name of its pool.
    replica : int
        Index within the pool, from 0.
    down_s, up_s : float
        When it goes down and when it comes back, empty; seconds on the clock of the arrivals. Infinite: never.

    Raises
    ------
    InputError
        If a time is not a number, or it comes back before it goes down.
    """

    pool: str
    replica: int
    down_s: float
    up_s: float = math.inf

    def __post_init__(self) -> None:
        if not (math.isfinite(self.down_s) and self.down_s < self.up_s):
            raise InputError(
                f"failure of replica {self.replica} of pool '{self.pool}': down_s is {self.down_s:g} and up_s "
                f"{self.up_s:g}; it has to go down at a finite time, before it comes back"
            )


@dataclass(frozen=True, slots=True)
class Fleet:
    """Pools of replicas behind a router.

    Attributes
    ----------
    pools : tuple of Pool
        From short to long.
    router : str
        One of ``ROUTERS``. ``length``: a request goes to the first pool whose boundary it does not exceed, or to the
        last. ``compress-and-route``: the same, but compressible requests just above a boundary are compressed to fit
        (see :func:`fleetopt.simulator.route`). ``spill-over``: as ``length``, but on to a longer pool while the own one
        has no replica with fewer than ``spill_waiting`` requests waiting.
    boundaries_tokens : tuple of int
        One for each pool but the last: requests of at most this many tokens, prompt and output together, go there.
        Only the routers of ``POOL_ROUTERS`` look at them.
    gamma : float
        Compressible requests up to ``gamma`` times a boundary are compressed to fit; 1 compresses none.
    balancer : str
        One of ``BALANCERS``: how a replica of the pool is chosen where the router chooses the pool. ``least-loaded``:
        fewest waiting and running requests. ``shortest-queue-tokens``: fewest prompt tokens not yet prefilled, plus
        running sequences. ``power-of-two``: the less loaded of two drawn at random. Ties go to the lowest index.
    spill_waiting : int
        At least 1; see ``router``.
    failures : tuple of Failure

    Raises
    ------
    InputError
        If the pools, the boundaries, gamma or the failures make no sense together.

    References
    ----------
    Power of two choices: Mitzenmacher, M. (2001), IEEE Trans. Parallel Distrib. Syst. 12(10). Compress-and-route:
    FleetOpt, arXiv 2603.16514.
    """

    pools: tuple[Pool, ...]
    router: str = "least-loaded"
    boundaries_tokens: tuple[int, ...] = ()
    gamma: float = 1.0
    balancer: str = "least-loaded"
    spill_waiting: int = 1
    failures: tuple[Failure, ...] = ()

    def __post_init__(self) -> None:
        if not self.pools:
            raise InputError("fleet: no pools; it needs at least one")
        names = [pool.name for pool in self.pools]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise InputError(f"fleet: two pools are named '{repeated[0]}'; names have to differ")
        if (replicas := sum(pool.replicas for pool in self.pools)) > _MOST_REPLICAS:
            raise InputError(f"fleet: {replicas:,} replicas; the simulator takes at most {_MOST_REPLICAS:,}")
        _require_known("router", self.router, ROUTERS)
        _require_known("balancer", self.balancer, BALANCERS)
        if self.spill_waiting < 1:
            raise InputError(f"fleet: spill_waiting is {self.spill_waiting}; it has to be at least 1")
        if not 1.0 <= self.gamma < math.inf:
            raise InputError(f"fleet: gamma is {self.gamma}; it has to be at least 1 and finite")
        if self.gamma > 1.0 and self.router != "compress-and-route":
            raise InputError(
                f"fleet: gamma is {self.gamma}, but router '{self.router}' compresses nothing; leave it out"
            )
        if self.boundaries_tokens or self.router in POOL_ROUTERS:
            self._check_boundaries()
        self._check_failures()

    @property
    def usd_per_hour(self) -> float | None:
        """Price of all replicas, USD per hour; None if a profile has none, since nothing costs nothing."""
        if not all(pool.profile.usd_per_replica_hour for pool in self.pools):
            return None
        return sum(pool.replicas * pool.profile.usd_per_replica_hour for pool in self.pools)

    def _check_boundaries(self) -> None:
        needed = len(self.pools) - 1
        if len(self.boundaries_tokens) != needed:
            raise InputError(
                f"fleet: {len(self.pools)} pools and {len(self.boundaries_tokens)} boundaries; router '{self.router}' "
                f"needs one for each pool but the last, that is {needed}"
            )
        for pool, boundary in zip(self.pools, self.boundaries_tokens, strict=False):
            if not 1 <= boundary <= pool.context_limit_tokens:
                raise InputError(
                    f"fleet: the boundary of pool '{pool.name}' is {boundary}; it has to be between 1 and "
                    f"{pool.context_limit_tokens}, its context limit"
                )
        if any(lower >= upper for lower, upper in pairwise(self.boundaries_tokens)):
            raise InputError(f"fleet: boundaries {self.boundaries_tokens} do not increase; order the pools by them")

    def _check_failures(self) -> None:
        replicas = {pool.name: pool.replicas for pool in self.pools}
        for failure in self.failures:
            if failure.pool not in replicas:
                raise InputError(f"failure: no pool is named '{failure.pool}'; there is {', '.join(replicas)}")
            if not 0 <= failure.replica < replicas[failure.pool]:
                raise InputError(
                    f"failure: pool '{failure.pool}' has no replica {failure.replica}; it has 0 to "
                    f"{replicas[failure.pool] - 1}"
                )
        in_order = sorted(self.failures, key=lambda failure: (failure.pool, failure.replica, failure.down_s))
        for first, second in pairwise(in_order):
            if (first.pool, first.replica) == (second.pool, second.replica) and second.down_s < first.up_s:
                raise InputError(
                    f"failure: replica {first.replica} of pool '{first.pool}' goes down at {second.down_s:g} s "
                    f"while it is down until {first.up_s:g} s"
                )


def _require_known(kind: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise InputError(f"unknown {kind} '{name}'; known: {', '.join(known)}")
