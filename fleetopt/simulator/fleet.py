"""A fleet: its pools, and which pool a request goes to."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fleetopt.errors import InputError
from fleetopt.profiles import GpuProfile
from fleetopt.workload.trace import Trace

_MOST_POOLS = 2


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

    Raises
    ------
    InputError
        If a number is out of range or the name is empty.
    """

    name: str
    profile: GpuProfile
    replicas: int
    max_context_tokens: int

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError("a pool needs a name")
        for key, value in (("replicas", self.replicas), ("max_context_tokens", self.max_context_tokens)):
            if value < 1:
                raise InputError(f"pool '{self.name}': {key} is {value}; it has to be at least 1")

    @property
    def context_limit_tokens(self) -> int:
        """Longest request that a replica of this pool accepts: the pool's limit, or the profile's if lower."""
        return min(self.max_context_tokens, self.profile.context_limit_tokens)


@dataclass(frozen=True, slots=True)
class Fleet:
    """One pool that takes every request, or a short and a long pool with a boundary between them.

    Attributes
    ----------
    pools : tuple of Pool
        From short to long.
    boundary_tokens : int or None
        Requests of at most this many tokens, prompt and output together, go to the short pool. None for one pool.
    gamma : float
        Compressible requests up to ``gamma * boundary_tokens`` are compressed to fit the short pool; 1 compresses none.

    Raises
    ------
    InputError
        If the number of pools, the boundary or gamma make no sense together.
    """

    pools: tuple[Pool, ...]
    boundary_tokens: int | None = None
    gamma: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= len(self.pools) <= _MOST_POOLS:
            raise InputError(f"fleet: {len(self.pools)} pools; it has to be 1 or {_MOST_POOLS}")
        if len({pool.name for pool in self.pools}) < len(self.pools):
            raise InputError(f"fleet: two pools are named '{self.pools[0].name}'; names have to differ")
        if not 1.0 <= self.gamma < math.inf:
            raise InputError(f"fleet: gamma is {self.gamma}; it has to be at least 1 and finite")
        if len(self.pools) == 1:
            if self.boundary_tokens is not None or self.gamma > 1.0:
                raise InputError("fleet: boundary_tokens and gamma need two pools; leave them out for one")
        elif self.boundary_tokens is None:
            raise InputError("fleet: two pools need boundary_tokens")
        elif not 1 <= self.boundary_tokens <= self.pools[0].context_limit_tokens:
            raise InputError(
                f"fleet: boundary_tokens is {self.boundary_tokens}; it has to be between 1 and "
                f"{self.pools[0].context_limit_tokens}, the context limit of pool '{self.pools[0].name}'"
            )

    @property
    def compression_limit_tokens(self) -> int:
        """Longest request that is compressed into the short pool, in whole tokens; 0 for one pool.

        It is ``gamma * boundary_tokens``. A millionth of a token is forgiven, so that 1.15 x 100, which is
        114.99... in floating point, is 115.
        """
        return math.floor(self.gamma * (self.boundary_tokens or 0) + 1e-6)


class Routing(NamedTuple):
    """Where each request goes, and with how long a prompt.

    Attributes
    ----------
    pool : np.ndarray
        int64[n], index into ``Fleet.pools``.
    prompt_tokens : np.ndarray
        int64[n], the prompt as served: after compression, if there was any.
    """

    pool: np.ndarray
    prompt_tokens: np.ndarray


def route(trace: Trace, fleet: Fleet) -> Routing:
    """Choose the pool of every request by its length (length routing, and compress-and-route where ``gamma > 1``).

    Parameters
    ----------
    trace : Trace
        n requests.
    fleet : Fleet

    Returns
    -------
    Routing
        Total tokens of at most the boundary B go to the short pool. A compressible request with
        ``B < total <= gamma * B`` and ``B - output >= 1`` goes there with its prompt compressed to ``B - output``
        tokens. The others go to the long pool. One pool takes all.

    Notes
    -----
    The output length is taken as known at arrival, as the paper does.

    References
    ----------
    FleetOpt, arXiv 2603.16514 (2026), section on Compress-and-Route.
    """
    if fleet.boundary_tokens is None:
        return Routing(np.zeros(len(trace), dtype=np.int64), trace.prompt_tokens)
    boundary = fleet.boundary_tokens
    total_tokens = trace.total_tokens
    is_compressed = (
        trace.is_compressible
        & (total_tokens > boundary)
        & (total_tokens <= fleet.compression_limit_tokens)
        & (trace.output_tokens < boundary)
    )
    is_long = (total_tokens > boundary) & ~is_compressed
    prompt_tokens = np.where(is_compressed, boundary - trace.output_tokens, trace.prompt_tokens)
    return Routing(is_long.astype(np.int64), prompt_tokens)
