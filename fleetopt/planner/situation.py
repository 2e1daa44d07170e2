"""From a window of histograms and arrivals to the problem that the planner solves, and its upper band."""

import math
from dataclasses import dataclass, replace

import polars as pl

from fleetopt.config import Fleet
from fleetopt.planner.problem import Offer, Problem, Slo
from fleetopt.workload.cdf import length_cdf, upper_lengths
from fleetopt.workload.demand import Demand, measure_demand
from fleetopt.workload.lengths import lengths_from_histogram


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Situation:
    """A fleet's problem, the same at the upper band of rate and lengths, and where both come from.

    Attributes
    ----------
    problem, upper : Problem or None
        None where no request of the window is within the context limit.
    demand : Demand
    rejected_fraction : float
        Share of the window's requests above the context limit; the fleet refuses them.
    band_method : str
        What the band of the lengths covers, in words.
    """

    problem: Problem | None
    upper: Problem | None
    demand: Demand
    rejected_fraction: float
    band_method: str


def read_situation(
    histogram: pl.DataFrame, arrivals: pl.DataFrame, fleet: Fleet, offers: tuple[Offer, ...], seed: int
) -> Situation:
    """Build the problem of one fleet from its rows of the window.

    The problem is that of Poisson arrivals at the planned peak; bursts are left to the replay of the day's own
    requests in the simulator. Counts over a day are not stationary: an index of dispersion of them would take the day's
    curve for bursts.

    Parameters
    ----------
    histogram, arrivals : pl.DataFrame
        ``schemas.CORE_LENGTH_HISTOGRAM`` and ``schemas.CORE_ARRIVALS``.
    fleet : fleetopt.config.Fleet
    offers : tuple of Offer
        The fleet's GPU types, priced.
    seed : int
        Of the band's bootstrap.

    """
    demand = measure_demand(arrivals, fleet.peak)
    every_length = lengths_from_histogram(histogram, fleet.compression.compressible_fraction)
    lengths, rejected_fraction = every_length.within_context(fleet.max_context_tokens)
    total_cdf = length_cdf(histogram, "total_tokens", seed=seed)
    if len(lengths) == 0:
        return Situation(
            problem=None,
            upper=None,
            demand=demand,
            rejected_fraction=1.0,
            band_method=total_cdf.band_method,
        )
    problem = Problem(
        lengths=lengths,
        arrival_rate_rps=demand.planned_rate_rps * (1 - rejected_fraction),
        slo=Slo(
            ttft_p99_s=fleet.slo_ttft_p99_s,
            tpot_p99_s=math.inf if fleet.slo_tpot_p99_s is None else fleet.slo_tpot_p99_s,
            pool_ttft_p99_s=fleet.slo_ttft_p99_s_by_pool,
        ),
        offers=offers,
        max_context_tokens=fleet.max_context_tokens,
        max_utilization=fleet.max_utilization,
        spare_replicas=fleet.spare_replicas,
        min_replicas=fleet.min_replicas,
        max_pools=fleet.max_pools,
        max_gamma=fleet.compression.max_gamma,
        gamma_step=fleet.compression.gamma_step,
        usd_per_compressed_request=fleet.compression.usd_per_compressed_request,
        slot_mode=fleet.slots,
        kv_overflow_probability=fleet.kv_overflow_probability,
    )
    upper_within, upper_rejected = upper_lengths(every_length, total_cdf).within_context(fleet.max_context_tokens)
    return Situation(
        problem=problem,
        upper=replace(problem, lengths=upper_within, arrival_rate_rps=demand.upper_rate_rps * (1 - upper_rejected)),
        demand=demand,
        rejected_fraction=rejected_fraction,
        band_method=total_cdf.band_method,
    )
