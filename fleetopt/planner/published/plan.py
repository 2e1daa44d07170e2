"""The paper's search: two pools at a boundary, requests just above it compressed (arXiv 2603.16514, Algorithm 1)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fleetopt.errors import InputError
from fleetopt.planner.published.calibration import calibrate
from fleetopt.planner.published.gpu import PublishedGpu
from fleetopt.planner.published.pool import PoolDemand, PublishedPool, needed_gpus, published_pool
from fleetopt.workload.lengths import JointLengths, check_cdf

GAMMAS = tuple(round(1 + 0.1 * step, 1) for step in range(11))
"""Compression bands that the paper tries."""
_HOURS_PER_YEAR = 8760
_NO_TRAFFIC_RPS, _NO_SHARE = 0.01, 1e-6
"""Below these the reference code makes no long pool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedProblem:
    """What the paper's planner is asked.

    Attributes
    ----------
    cdf : tuple of (float, float)
        Total tokens, whole and increasing, and share of requests of at most that length; the last share is 1.
    arrival_rate_rps : float
    slo_ttft_p99_s : float
    short_gpu, long_gpu : PublishedGpu
        A homogeneous fleet is of ``short_gpu``, as in the reference code.
    max_context_tokens : int
        Of the long pool and of a homogeneous fleet.
    compressible_fraction : float
        p_c, share of the band's requests that are compressed.
    prompt_fraction : float
        Share of every request that is prompt.
    node_availability : float
        Share of nodes that are up; GPUs are divided by it.

    Raises
    ------
    InputError
        If the CDF is none, or a number is out of range.
    """

    cdf: tuple[tuple[float, float], ...]
    arrival_rate_rps: float
    slo_ttft_p99_s: float
    short_gpu: PublishedGpu
    long_gpu: PublishedGpu
    max_context_tokens: int = 65_536
    compressible_fraction: float = 1.0
    prompt_fraction: float = 0.8
    node_availability: float = 1.0

    def __post_init__(self) -> None:
        check_cdf(self.cdf, "published model")
        for name in ("arrival_rate_rps", "slo_ttft_p99_s", "max_context_tokens"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise InputError(f"published model: {name} is {getattr(self, name):g}; it has to be above 0")
        for name in ("prompt_fraction", "node_availability"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"published model: {name} is {getattr(self, name):g}; it has to be in (0, 1]")
        if not 0 <= self.compressible_fraction <= 1:
            raise InputError(
                f"published model: compressible_fraction is {self.compressible_fraction:g}; it has to be in [0, 1]"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPlan:
    """A fleet by the paper's accounting: what the paper claims, not what holds.

    Attributes
    ----------
    boundary_tokens : int or None
        None where the fleet has one pool.
    gamma : float
        1 compresses nothing.
    short : PublishedPool
        The only pool of a homogeneous fleet.
    long : PublishedPool or None
        None where the paper leaves nothing for it.
    meets_target : bool
        Whether the reported P99 TTFT of every pool is within the target.
    """

    boundary_tokens: int | None
    gamma: float
    short: PublishedPool
    long: PublishedPool | None
    meets_target: bool

    @property
    def pools(self) -> tuple[PublishedPool, ...]:
        """Short first."""
        return (self.short,) if self.long is None else (self.short, self.long)

    @property
    def gpus(self) -> int:
        """GPUs of all pools."""
        return sum(pool.gpus for pool in self.pools)

    @property
    def usd_per_year(self) -> float:
        """GPUs at their hourly price, all year."""
        return sum(pool.gpus * pool.gpu.usd_per_hour for pool in self.pools) * _HOURS_PER_YEAR

    @property
    def ttft_p99_s(self) -> float:
        """The worse of the pools' reported figures, s."""
        return max(pool.ttft_p99_s for pool in self.pools)


def published_plan(
    problem: PublishedProblem, boundaries_tokens: Sequence[int] | None = None, gammas: Sequence[float] = GAMMAS
) -> PublishedPlan | None:
    """Cheapest fleet of two pools, or of one, that meets the target by the paper's accounting; None if none does.

    Parameters
    ----------
    problem : PublishedProblem
    boundaries_tokens : sequence of int, optional
        By default every breakpoint of the CDF below the context, about a millisecond each; one alone gives the paper's
        own tables, which do not search over it.
    gammas : sequence of float
        At least 1 each.

    Returns
    -------
    PublishedPlan or None
        Of fleets of one price the first: two pools before one, low boundary before high, less compression before more.
    """
    cdf = _arrays(problem)
    if boundaries_tokens is None:
        tokens, fractions = cdf
        is_between = (tokens > 1) & (tokens < min(problem.max_context_tokens, tokens[-1])) & (fractions > 0)
        boundaries_tokens = tokens[is_between].tolist()
    plans = [
        _sized(problem, boundary, gamma, demands)
        for boundary in boundaries_tokens
        for gamma, demands in _demands(problem, cdf, boundary, gammas)
    ]
    plans.append(homogeneous_fleet(problem))
    return min((plan for plan in plans if plan.meets_target), key=lambda plan: plan.usd_per_year, default=None)


def homogeneous_fleet(problem: PublishedProblem) -> PublishedPlan:
    """One pool, every slot of which is made for the longest context."""
    return _sized(problem, None, 1.0, _demand_of_one_pool(problem))


def two_pool_fleet(problem: PublishedProblem, boundary_tokens: int, gamma: float = 1.0) -> PublishedPlan:
    """Two pools at a boundary and a compression band.

    Raises
    ------
    InputError
        If the boundary is not below the context, gamma is below 1, or what is left for the long pool is not in the
        paper's model: requests of the band that are not compressed, with none above it.
    """
    return _sized(problem, boundary_tokens, gamma, _demand_of_two_pools(problem, boundary_tokens, gamma))


def published_prediction(
    problem: PublishedProblem, gpus: Sequence[int], boundary_tokens: int | None = None, gamma: float = 1.0
) -> PublishedPlan:
    """What the paper's accounting says of a fleet that somebody else has sized.

    Parameters
    ----------
    problem : PublishedProblem
    gpus : sequence of int
        Of every pool, short first, at least 1 each.
    boundary_tokens : int or None
        None for one pool.
    gamma : float

    Raises
    ------
    InputError
        As `two_pool_fleet`, or if the paper's accounting has another number of pools.
    """
    if boundary_tokens is None:
        demands = _demand_of_one_pool(problem)
    else:
        demands = _demand_of_two_pools(problem, boundary_tokens, gamma)
    if len(gpus) != len(demands) or min(gpus) < 1:
        raise InputError(f"published model: {len(demands)} pools have requests here; name the GPUs of each, at least 1")
    return _plan(problem, boundary_tokens, gamma, [published_pool(*pair) for pair in zip(demands, gpus, strict=True)])


def cdf_of_lengths(lengths: JointLengths) -> tuple[tuple[int, float], ...]:
    """CDF of total tokens on whole tokens, to plan by the paper for a workload of one's own.

    Parameters
    ----------
    lengths : JointLengths
    """
    tokens = np.ceil(lengths.total_tokens).astype(np.int64)
    last = np.flatnonzero(np.append(np.diff(tokens) > 0, True))
    return tuple(zip(tokens[last].tolist(), lengths.cumulative_fraction[last].tolist(), strict=True))


def _demands(
    problem: PublishedProblem, cdf: tuple[np.ndarray, np.ndarray], boundary: int, gammas: Sequence[float]
) -> Iterator[tuple[float, list[PoolDemand]]]:
    """Demands at a boundary, for each gamma but those that the paper's model does not cover.

    The short pool is described by the requests that are short to begin with, whatever gamma is: this is the paper's
    main error, and its fleets are this. The long pool is described by what is above the band.
    """
    _check(problem, boundary, gammas)
    tokens, fractions = cdf
    below, gpu = _fraction_at_most(tokens, fractions, boundary), problem.short_gpu
    inside = tokens <= boundary
    at_most, of_short = tokens[inside], fractions[inside]
    if not inside.any() or of_short[-1] <= 0:
        at_most, of_short = np.array([boundary]), np.ones(1)
    short = calibrate(at_most, of_short / of_short[-1], boundary, gpu, problem.prompt_fraction)
    for gamma in gammas:
        up_to_band = _fraction_at_most(tokens, fractions, int(gamma * boundary))
        share = min(1.0, below + max(0.0, up_to_band - below) * problem.compressible_fraction)
        short_rps, long_rps = share * problem.arrival_rate_rps, (1 - share) * problem.arrival_rate_rps
        demands = [
            PoolDemand(gpu=gpu, calibration=short, arrival_rate_rps=short_rps, context_tokens=boundary),
        ]
        if long_rps > _NO_TRAFFIC_RPS:
            if 1 - up_to_band <= _NO_SHARE:
                continue
            demands.append(_long_demand(problem, cdf, int(gamma * boundary), up_to_band, long_rps))
        yield gamma, demands


def _long_demand(
    problem: PublishedProblem, cdf: tuple[np.ndarray, np.ndarray], band_end: int, up_to_band: float, rate_rps: float
) -> PoolDemand:
    """Requests above the band, drawn from the rest of the CDF."""
    tokens, fractions = cdf
    above, gpu, context = tokens > band_end, problem.long_gpu, problem.max_context_tokens
    rest = np.clip((fractions[above] - up_to_band) / (1 - up_to_band), 0.0, 1.0)
    rest[-1] = 1.0
    long = calibrate(tokens[above], rest, context, gpu, problem.prompt_fraction, least_tokens=max(1, band_end))
    return PoolDemand(gpu=gpu, calibration=long, arrival_rate_rps=rate_rps, context_tokens=context)


def _demand_of_one_pool(problem: PublishedProblem) -> list[PoolDemand]:
    gpu, context = problem.short_gpu, problem.max_context_tokens
    calibration = calibrate(*_arrays(problem), context, gpu, problem.prompt_fraction)
    return [
        PoolDemand(gpu=gpu, calibration=calibration, arrival_rate_rps=problem.arrival_rate_rps, context_tokens=context)
    ]


def _demand_of_two_pools(problem: PublishedProblem, boundary: int, gamma: float) -> list[PoolDemand]:
    for _, demands in _demands(problem, _arrays(problem), boundary, (gamma,)):
        return demands
    raise InputError(
        f"published model: boundary {boundary:,} and gamma {gamma:g} leave the long pool only requests that are in the "
        "band and not compressed; the paper's model has none of those"
    )


def _check(problem: PublishedProblem, boundary: int, gammas: Sequence[float]) -> None:
    if not 1 < boundary < problem.max_context_tokens:
        raise InputError(
            f"published model: boundary {boundary:,}; it has to be between 2 and the context of "
            f"{problem.max_context_tokens:,} tokens"
        )
    for gamma in gammas:
        if not 1 <= gamma < math.inf:
            raise InputError(f"published model: gamma {gamma:g}; it has to be at least 1 and finite")


def _sized(
    problem: PublishedProblem, boundary: int | None, gamma: float, demands: Sequence[PoolDemand]
) -> PublishedPlan:
    pools = [
        published_pool(demand, needed_gpus(demand, problem.slo_ttft_p99_s, problem.node_availability))
        for demand in demands
    ]
    return _plan(problem, boundary, gamma, pools)


def _plan(
    problem: PublishedProblem, boundary: int | None, gamma: float, pools: Sequence[PublishedPool]
) -> PublishedPlan:
    return PublishedPlan(
        boundary_tokens=boundary,
        gamma=gamma,
        short=pools[0],
        long=pools[1] if len(pools) > 1 else None,
        meets_target=max(pool.ttft_p99_s for pool in pools) <= problem.slo_ttft_p99_s,
    )


def _arrays(problem: PublishedProblem) -> tuple[np.ndarray, np.ndarray]:
    """int64[k] tokens and float64[k] fractions, the last exactly 1, so that every draw falls into a bin."""
    tokens = np.array([tokens for tokens, _ in problem.cdf], dtype=np.int64)
    fractions = np.array([fraction for _, fraction in problem.cdf])
    fractions[-1] = 1.0
    return tokens, fractions


def _fraction_at_most(tokens: np.ndarray, fractions: np.ndarray, at_most: int) -> float:
    """The CDF at a length, linear between breakpoints and from 0 tokens."""
    return float(np.interp(at_most, np.append(0, tokens), np.append(0.0, fractions)))
