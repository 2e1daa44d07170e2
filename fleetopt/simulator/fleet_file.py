"""A fleet file: pools, routing and failures as TOML."""

import math
import tomllib
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleetopt.errors import InputError, one_line
from fleetopt.profiles import GpuProfile
from fleetopt.simulator.fleet import BALANCERS, POOL_ROUTERS, ROUTERS, SCHEDULERS, Failure, Fleet, Pool

Tokens = Annotated[int, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, str_strip_whitespace=True)


class PoolSection(_Section):
    """One ``[[pool]]``; the pools stand from short to long.

    Attributes
    ----------
    name, profile : str
        ``profile`` is the name of a shipped GPU profile or the path of a TOML file.
    replicas : int
    max_context_tokens : int, optional
        Longest request served, prompt and output together; default: what the profile holds.
    boundary_tokens : int, optional
        Longest request that a router by length sends here; every pool but the last needs it with such a router.
    scheduler : str, optional
        Default: the fleet's.
    """

    name: str = Field(min_length=1)
    profile: str = Field(min_length=1)
    replicas: int = Field(gt=0, le=100_000)
    max_context_tokens: Tokens | None = None
    boundary_tokens: Tokens | None = None
    scheduler: Literal[SCHEDULERS] | None = None  # type: ignore[valid-type]


class FailureSection(_Section):
    """One ``[[failure]]``: a replica (index within its pool, from 0) that goes down, and when it is back if ever."""

    pool: str = Field(min_length=1)
    replica: int = Field(ge=0)
    down_s: float = Field(allow_inf_nan=False)
    up_s: float = math.inf


class FleetSection(_Section):
    """The whole file; see :class:`fleetopt.simulator.Fleet` for what the keys mean."""

    router: Literal[ROUTERS] = "least-loaded"  # type: ignore[valid-type]
    balancer: Literal[BALANCERS] = "least-loaded"  # type: ignore[valid-type]
    gamma: float = Field(default=1.0, ge=1, allow_inf_nan=False)
    spill_waiting: int = Field(default=1, gt=0)
    scheduler: Literal[SCHEDULERS] = "fcfs"  # type: ignore[valid-type]
    pool: list[PoolSection] = Field(min_length=1)
    failure: list[FailureSection] = Field(default_factory=list)


def parse_fleet(text: str, where: str, load_profile: Callable[[str], GpuProfile]) -> Fleet:
    """Read a fleet from TOML text.

    Parameters
    ----------
    text : str
        TOML with the keys of :class:`FleetSection`.
    where : str
        File name, for messages.
    load_profile : callable
        Takes what ``profile`` says, returns the profile; may raise InputError.

    Returns
    -------
    Fleet

    Raises
    ------
    InputError
        One line that names the file, the key and what to do.

    Examples
    --------
    >>> from fleetopt.profiles import load_profile
    >>> text = '''
    ... [[pool]]
    ... name = "all"
    ... profile = "a100-llama2-7b"
    ... replicas = 8
    ... '''
    >>> fleet = parse_fleet(text, "fleet.toml", load_profile)
    >>> fleet.router, fleet.pools[0].replicas, fleet.pools[0].context_limit_tokens
    ('least-loaded', 8, 118784)
    """
    try:
        section = FleetSection.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: not valid TOML: {error}") from error
    except ValidationError as error:
        raise InputError(one_line(error, where)) from error
    boundaries = _boundaries(section, where)
    pools = tuple(_pool(section, index, where, load_profile) for index in range(len(section.pool)))
    try:
        return Fleet(
            pools=pools,
            router=section.router,
            boundaries_tokens=boundaries,
            gamma=section.gamma,
            balancer=section.balancer,
            spill_waiting=section.spill_waiting,
            failures=tuple(Failure(f.pool, f.replica, f.down_s, f.up_s) for f in section.failure),
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _boundaries(section: FleetSection, where: str) -> tuple[int, ...]:
    """The boundaries of all pools but the last; none if the router looks at none and none is given."""
    *shorter, last = [pool.boundary_tokens for pool in section.pool]
    if last is not None:
        key = f"pool.{len(shorter)}.boundary_tokens"
        raise InputError(f"{where}: key '{key}': the last pool takes what is longer than the others; leave it out")
    given = [boundary for boundary in shorter if boundary is not None]
    if len(given) < len(shorter) and (given or section.router in POOL_ROUTERS):
        raise InputError(
            f"{where}: key 'pool.{shorter.index(None)}.boundary_tokens': required key is missing; every pool but the "
            f"last needs it with router '{section.router}'"
        )
    return tuple(given)


def _pool(section: FleetSection, index: int, where: str, load_profile: Callable[[str], GpuProfile]) -> Pool:
    pool = section.pool[index]
    try:
        profile = load_profile(pool.profile)
    except InputError as error:
        raise InputError(f"{where}: key 'pool.{index}.profile': {error}") from error
    if pool.max_context_tokens is not None and pool.max_context_tokens > profile.context_limit_tokens:
        raise InputError(
            f"{where}: key 'pool.{index}.max_context_tokens': {pool.max_context_tokens:,} is more than "
            f"{profile.name} holds, {profile.context_limit_tokens:,}; lower it or leave it out"
        )
    return Pool(
        name=pool.name,
        profile=profile,
        replicas=pool.replicas,
        max_context_tokens=pool.max_context_tokens or profile.context_limit_tokens,
        scheduler=pool.scheduler or section.scheduler,
    )
