"""What a window of days holds, as rows: length CDFs with their bands, rates, burstiness."""

from typing import get_args

import polars as pl

from fleetopt.config import Peak as PeakRule
from fleetopt.schemas import OUT_LENGTH_CDF, OUT_WORKLOAD_PROFILE
from fleetopt.workload.arrivals import epoch_seconds, index_of_dispersion, observed_intervals
from fleetopt.workload.cdf import Quantity, length_cdf
from fleetopt.workload.demand import Window, measure_demand

ALL = "all"
"""Archetype of the row that stands for a whole fleet."""


def length_cdf_rows(histogram: pl.DataFrame, window: Window, fleet: str, seed: int) -> pl.DataFrame:
    """CDFs of prompt, output and total length per archetype of one fleet and for all of it.

    Parameters
    ----------
    histogram : pl.DataFrame
        ``schemas.CORE_LENGTH_HISTOGRAM``: the fleet's rows of the window.
    window : Window
    fleet : str
    seed : int

    Returns
    -------
    pl.DataFrame
        ``schemas.OUT_LENGTH_CDF``.
    """
    frames = []
    for archetype, rows in _by_archetype(histogram):
        for quantity in get_args(Quantity):
            cdf = length_cdf(rows, quantity, seed=seed)
            frames.append(
                pl.DataFrame(
                    {
                        "tokens": cdf.tokens,
                        "fraction": cdf.fraction,
                        "fraction_lower": cdf.fraction_lower,
                        "fraction_upper": cdf.fraction_upper,
                    }
                ).with_columns(
                    day=pl.lit(window.last_day),
                    fleet=pl.lit(fleet),
                    archetype=pl.lit(archetype),
                    quantity=pl.lit(quantity),
                )
            )
    return pl.concat(frames).select(OUT_LENGTH_CDF.schema.names()).cast(OUT_LENGTH_CDF.schema)


def workload_profile_rows(
    histogram: pl.DataFrame, arrivals: pl.DataFrame, window: Window, fleet: str, rule: PeakRule
) -> pl.DataFrame:
    """Rates, lengths and burstiness per archetype of one fleet and for all of it.

    Parameters
    ----------
    histogram, arrivals : pl.DataFrame
        ``schemas.CORE_LENGTH_HISTOGRAM`` and ``schemas.CORE_ARRIVALS``: the fleet's rows of the window.
    window : Window
    fleet : str
    rule : fleetopt.config.Peak

    Returns
    -------
    pl.DataFrame
        ``schemas.OUT_WORKLOAD_PROFILE``; the peak is measured, without headroom.
    """
    measured_rule = rule.model_copy(update={"headroom": 0.0})
    rows = []
    for archetype, cells in _by_archetype(histogram):
        counts = arrivals if archetype == ALL else arrivals.filter(pl.col("archetype") == archetype)
        demand = measure_demand(counts, measured_rule)
        total = length_cdf(cells, "total_tokens")
        second, requests = epoch_seconds(counts)
        observed = observed_intervals(counts)
        rows.append(
            {
                "day": window.last_day,
                "fleet": fleet,
                "archetype": archetype,
                "window_start": window.first_day,
                "window_days": window.days_asked,
                "days_held": len(window.days_held),
                "requests": demand.requests,
                "observed_s": demand.observed_s,
                "mean_rate_rps": demand.mean_rate_rps,
                "peak_rate_rps": demand.peak_rate_rps,
                "peak_time": demand.peak_time,
                "peak_rate_upper_rps": demand.upper_rate_rps,
                "prompt_tokens_mean": cells["prompt_tokens_sum"].sum() / demand.requests,
                "output_tokens_mean": cells["output_tokens_sum"].sum() / demand.requests,
                "total_tokens_p50": float(total.quantile(0.5).tokens),
                "total_tokens_p99": float(total.quantile(0.99).tokens),
            }
            | {f"idc_{width_s}s": index_of_dispersion(second, requests, observed, width_s) for width_s in (1, 10, 60)}
        )
    return pl.DataFrame(rows, schema=OUT_WORKLOAD_PROFILE.schema)


def _by_archetype(histogram: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    """The rows of each archetype, in order of name, and all of them together."""
    names = sorted(histogram["archetype"].unique())
    return [(name, histogram.filter(pl.col("archetype") == name)) for name in names] + [(ALL, histogram)]
