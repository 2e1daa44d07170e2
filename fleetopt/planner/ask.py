"""From a workload, targets and GPU types, in the forms that people have them in, to a problem and its answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal, TypedDict, Unpack

import numpy as np

from fleetopt.errors import InputError
from fleetopt.planner.answer import Answer, answer
from fleetopt.planner.problem import Offer, Problem, Slo, SlotMode
from fleetopt.profiles import GpuProfile, load_profile
from fleetopt.workload.forms import CdfPoints, Workload, lengths_of
from fleetopt.workload.replay import ReplayedArrivals, index_in_windows, replayed_arrivals
from fleetopt.workload.trace import Trace

Burstiness = Literal["poisson", "trace"]
"""Which arrivals to plan for: independent ones, or a trace's own, replayed at the planned rate."""

_BURSTS_S = 10.0
_BURSTY_BOUNDARIES = 64


class Constraints(TypedDict, total=False):
    """Fields of `Problem` that have a default; see there."""

    boundaries_tokens: tuple[int, ...] | None
    max_utilization: float
    min_replicas: int
    max_pools: int
    max_gamma: float
    gamma_step: float
    usd_per_compressed_request: float
    slot_mode: SlotMode
    kv_overflow_probability: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """A problem, and what its form does not keep of the workload.

    Attributes
    ----------
    problem : Problem
    rejected_fraction : float
        Share of requests that are longer than the context limit and refused.
    cdf : tuple of (float, float) or None
        The points that the lengths were made from, for the published model; None where they were not.
    arrival_s : np.ndarray or None
        float64[n], arrival times of the requests served, s; None where the workload has none.
    """

    problem: Problem
    rejected_fraction: float
    cdf: CdfPoints | None
    arrival_s: np.ndarray | None

    @property
    def index_of_dispersion_10s(self) -> float | None:
        """Index of dispersion of the workload's own arrivals at the planned rate, in windows of 10 s; 1 if Poisson.

        None where they have no times, or too few.
        """
        if self.arrival_s is None:
            return None
        return index_in_windows(self.arrival_s, self.problem.arrival_rate_rps, _BURSTS_S)


def plan(
    workload: Workload,
    slo: Slo | float,
    *,
    rate_rps: float,
    profiles: Sequence[str | GpuProfile | Offer],
    burstiness: Burstiness = "poisson",
    output_fraction: float = 0.2,
    compressible_fraction: float = 1.0,
    max_context_tokens: int | None = None,
    spare_replicas: int = 0,
    frontier: bool = False,
    verify: bool = False,
    seed: int = 0,
    **constraints: Unpack[Constraints],
) -> Answer:
    """Find the cheapest fleet for a workload and a target.

    Parameters
    ----------
    workload : str, sequence of (float, float), JointLengths or Trace
        Name of a published CDF, points (total tokens, share of requests of at most that length) of another, lengths, or
        requests whose lengths are taken.
    slo : Slo or float
        Targets; a number is that of the P99 time to first token in every pool, s.
    rate_rps : float
        Arrival rate to plan for, requests that are refused included, 1/s.
    profiles : sequence of str, GpuProfile or Offer
        GPU types to choose from; a name is one of the catalogue.
    burstiness : {"poisson", "trace"}
        Arrivals to plan for, and to verify with: independent ones, or those of the workload, a `Trace`, at that rate.
    output_fraction : float
        Share of a total length that is output, where only totals are known.
    compressible_fraction : float
        Share of requests that may be compressed, of a CDF or a trace; `JointLengths` have their own.
    max_context_tokens : int, optional
        Longest request served, tokens; longer ones are refused. Default: the longest there is.
    spare_replicas : int
        Replicas per pool that may be down while the targets hold.
    frontier : bool
        Whether to find cost against target as well.
    verify : bool
        Whether to simulate the plan, repair it where it fails and trim it where it need not be as large.
    seed : int
        Of what is simulated.
    **constraints
        Fields of `Problem`: ``max_utilization``, ``min_replicas``, ``max_pools``, ``max_gamma``, ``gamma_step``,
        ``boundaries_tokens``, ``usd_per_compressed_request``, ``slot_mode``, ``kv_overflow_probability``.

    Returns
    -------
    Answer
        The plan, or why there is none, its baselines and its certificate.

    Raises
    ------
    InputError
        If a name is unknown, a number is out of range, or a workload without arrival times is to give the bursts.

    Examples
    --------
    >>> import fleetopt
    >>> found = fleetopt.plan("azure", 1.5, rate_rps=20, profiles=["a100-llama2-7b"], max_pools=1)
    >>> [(pool.name, pool.profile.name) for pool in found.plan.pools]
    [('all', 'a100-llama2-7b')]
    >>> found.plan.pools[0].ttft_p99_s <= 1.5
    True
    """
    asked = ask(
        workload,
        slo if isinstance(slo, Slo) else Slo(ttft_p99_s=slo),
        rate_rps=rate_rps,
        burstiness=burstiness,
        offers=tuple(_offer(each) for each in profiles),
        output_fraction=output_fraction,
        compressible_fraction=compressible_fraction,
        max_context_tokens=max_context_tokens,
        spare_replicas=spare_replicas,
        **constraints,
    )
    return answer(asked.problem, asked.cdf, frontier=frontier, verify=verify, seed=seed)


def ask(
    workload: Workload,
    slo: Slo,
    *,
    rate_rps: float,
    offers: tuple[Offer, ...],
    output_fraction: float,
    compressible_fraction: float,
    max_context_tokens: int | None,
    spare_replicas: int,
    burstiness: Burstiness = "poisson",
    **constraints: Unpack[Constraints],
) -> Asked:
    """The problem that a workload and constraints make; parameters as of `plan`.

    Every breakpoint of a CDF is a candidate for a boundary, and of other workloads every distinct length, unless
    ``boundaries_tokens`` says otherwise. Where bursts are planned for only 64 of these are, evenly many lengths apart:
    bounds lie far below what bursts need, so that nearly every candidate is sized by the full model, some milliseconds
    each.

    Raises
    ------
    InputError
        If a number is out of range, every request is longer than the context limit, or a workload without arrival times
        is to give the bursts.
    """
    lengths, cdf = lengths_of(workload, output_fraction, compressible_fraction)
    longest = ceil(cdf[-1][0] if cdf else lengths.total_tokens[-1])
    limit = max(2, longest) if max_context_tokens is None else max_context_tokens
    served, rejected = lengths.within_context(limit)
    if len(served) == 0:
        raise InputError(f"every request is longer than the context limit of {limit:,} tokens")
    if cdf and constraints.get("boundaries_tokens") is None:
        constraints["boundaries_tokens"] = tuple(int(tokens) for tokens, _ in cdf if tokens < min(limit, longest))
    arrival_s = workload.arrival_s[workload.total_tokens <= limit] if isinstance(workload, Trace) else None
    problem = Problem(
        lengths=served,
        arrival_rate_rps=rate_rps * (1 - rejected),
        slo=slo,
        offers=offers,
        max_context_tokens=limit,
        spare_replicas=spare_replicas,
        arrivals=None if burstiness == "poisson" else _bursts(arrival_s),
        **constraints,
    )
    if problem.arrivals is not None and problem.boundaries_tokens is None:
        problem = replace(problem, boundaries_tokens=_some(problem.boundary_candidates))
    return Asked(problem=problem, rejected_fraction=rejected, cdf=None if rejected else cdf, arrival_s=arrival_s)


def _bursts(arrival_s: np.ndarray | None) -> ReplayedArrivals:
    if arrival_s is None:
        raise InputError("burstiness trace: the workload has no arrival times; give a trace, or plan for poisson")
    try:
        return replayed_arrivals(arrival_s)
    except InputError as error:
        raise InputError(f"burstiness trace: {error}") from error


def _some(candidates: tuple[int, ...]) -> tuple[int, ...]:
    """At most 64 of them, the first and the last among them."""
    if len(candidates) <= _BURSTY_BOUNDARIES:
        return candidates
    places = np.linspace(0, len(candidates) - 1, _BURSTY_BOUNDARIES).round().astype(np.int64)
    return tuple(candidates[place] for place in places)


def _offer(given: str | GpuProfile | Offer) -> Offer:
    if isinstance(given, Offer):
        return given
    return Offer(profile=load_profile(given) if isinstance(given, str) else given)
