"""What a window of days says of a fleet's demand, and the rate to plan for."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

import polars as pl

from fleetopt.config import Peak as PeakRule
from fleetopt.workload.arrivals import epoch_seconds, observed_seconds, peak_rate, upper_peak_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The days that a plan learns from.

    Attributes
    ----------
    first_day, last_day : datetime.date
        UTC, both included; it starts no earlier than the logs.
    days_asked : int
        Days that it should hold, once there are logs of so many.
    days_held : tuple of datetime.date
        Days of it that passed their audit.
    days_missing : tuple of datetime.date
        Days of it that did not, or have no logs.
    """

    first_day: date
    last_day: date
    days_asked: int
    days_held: tuple[date, ...]
    days_missing: tuple[date, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Rates of a fleet's requests.

    Attributes
    ----------
    requests : int
    observed_s : float
        Time observed, s.
    mean_rate_rps, peak_rate_rps : float
        Over the time observed, and over its busiest stretch, 1/s.
    peak_time : datetime.datetime
        Start of that stretch, UTC.
    planned_rate_rps : float
        Peak times ``1 + headroom``, 1/s.
    upper_rate_rps : float
        Upper 95 % bound of the peak times ``1 + headroom``, 1/s.
    """

    requests: int
    observed_s: float
    mean_rate_rps: float
    peak_rate_rps: float
    peak_time: datetime
    planned_rate_rps: float
    upper_rate_rps: float


def measure_demand(arrivals: pl.DataFrame, rule: PeakRule) -> Demand:
    """Rates of the rows of ``core_arrivals`` of one fleet.

    Parameters
    ----------
    arrivals : pl.DataFrame
        ``schemas.CORE_ARRIVALS``, at least one row.
    rule : PeakRule

    Raises
    ------
    InputError
        If there are no arrivals.
    """
    second, requests = epoch_seconds(arrivals)
    peak = peak_rate(second, requests, rule.window_s)
    observed_s = observed_seconds(arrivals)
    total = int(requests.sum())
    return Demand(
        requests=total,
        observed_s=observed_s,
        mean_rate_rps=total / observed_s,
        peak_rate_rps=peak.rate_rps,
        peak_time=datetime.fromtimestamp(peak.start_second, UTC),
        planned_rate_rps=peak.rate_rps * (1 + rule.headroom),
        upper_rate_rps=upper_peak_rate(peak) * (1 + rule.headroom),
    )
