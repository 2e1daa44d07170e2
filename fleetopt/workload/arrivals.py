"""When requests arrived: observed time, peak rate, burstiness. Arrivals are generated in `processes`."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import stats

from fleetopt.errors import InputError

_DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The busiest stretch of time.

    Attributes
    ----------
    rate_rps : float
        Requests / window_s, 1/s.
    start_second : int
        First second of the stretch, on the clock of the input.
    requests : int
        Arrivals in it.
    window_s : int
        Its length, s; shorter than asked for if less time was observed.
    """

    rate_rps: float
    start_second: int
    requests: int
    window_s: int


def epoch_seconds(arrivals: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Arrivals of all sources together, per second since 1970.

    Parameters
    ----------
    arrivals : pl.DataFrame
        ``schemas.CORE_ARRIVALS``.

    Returns
    -------
    second, requests : np.ndarray
        int64[k], seconds since 1970-01-01 UTC, increasing, and the arrivals in each.
    """
    merged = arrivals.group_by(second=_epoch_second("second")).agg(pl.col("requests").sum()).sort("second")
    return merged["second"].to_numpy(), merged["requests"].to_numpy()


def observed_intervals(arrivals: pl.DataFrame) -> np.ndarray:
    """Time that was observed: from the first to the last arrival of each source and day, all sources together.

    Parameters
    ----------
    arrivals : pl.DataFrame
        ``schemas.CORE_ARRIVALS``.

    Returns
    -------
    np.ndarray
        int64[m, 2], whole seconds since 1970-01-01 UTC, first and one past the last, disjoint and increasing.
        Nothing says whether a source was observed before its first or after its last arrival of a day, so that time
        does not count: one hour of logs is one hour, not a day.
    """
    spans = (
        arrivals.group_by("day", "source")
        .agg(first=_epoch_second("second").min(), last=_epoch_second("second").max())
        .sort("first", "last")
    )
    merged: list[list[int]] = []
    for first, last in spans.select("first", "last").iter_rows():
        if merged and first <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], last + 1)
        else:
            merged.append([first, last + 1])
    return np.array(merged, dtype=np.int64).reshape(-1, 2)


def observed_seconds(arrivals: pl.DataFrame) -> float:
    """Time that was observed, s; see `observed_intervals`."""
    return float(np.diff(observed_intervals(arrivals), axis=1).sum())


def peak_rate(second: np.ndarray, requests: np.ndarray, window_s: int) -> Peak:
    """Highest arrival rate over any stretch of whole seconds, midnight or not.

    Parameters
    ----------
    second : np.ndarray
        int64[k], seconds on any clock, in any order; a second may occur more than once.
    requests : np.ndarray
        int64[k], arrivals in each.
    window_s : int
        Length of the stretch, s. If the arrivals span less, the whole span is taken.

    Returns
    -------
    Peak
        The first of equal stretches; it lies between the first and the last arrival.

    Raises
    ------
    InputError
        If there are no arrivals.
    ValueError
        If ``window_s`` is below 1.
    """
    if window_s < 1:
        raise ValueError(f"window_s: {window_s} is below 1 s")
    if not len(second):
        raise InputError("arrivals: no requests in the window, so no peak rate")
    times, position = np.unique(second, return_inverse=True)
    arrived = np.concatenate(([0], np.cumsum(np.bincount(position, weights=requests).astype(np.int64))))
    end = int(times[-1]) + 1
    width = min(window_s, end - int(times[0]))
    # A best stretch can always be moved to start at an arrival, or to end with the observed time.
    in_window = arrived[np.searchsorted(times, times + width, side="left")] - arrived[:-1]
    best = int(np.argmax(in_window))
    return Peak(
        rate_rps=float(in_window[best] / width),
        start_second=int(min(times[best], end - width)),
        requests=int(in_window[best]),
        window_s=width,
    )


def upper_peak_rate(peak: Peak, confidence: float = 0.95) -> float:
    """Upper confidence bound of the rate in the peak window, 1/s.

    The exact bound of Garwood (1936, Biometrika 28): chi2.ppf(confidence, 2 (count + 1)) / 2 arrivals.

    Parameters
    ----------
    peak : Peak
    confidence : float
        One-sided, above 0 and below 1.

    Notes
    -----
    Assumes that arrivals within the window are Poisson at a constant rate. The window was chosen for its count, which
    makes the bound generous for that window. It says nothing of busier windows yet to come, and burstiness within the
    window is not in it.

    Examples
    --------
    >>> round(upper_peak_rate(Peak(rate_rps=10.0, start_second=0, requests=10, window_s=1)), 3)
    16.962
    """
    return float(stats.chi2.ppf(confidence, 2 * (peak.requests + 1)) / 2 / peak.window_s)


def index_of_dispersion(
    second: np.ndarray, requests: np.ndarray, observed: np.ndarray, window_s: float, overlap: int = 1
) -> float | None:
    """Index of dispersion of counts: variance over mean of the arrivals in windows; 1 for a Poisson stream.

    Parameters
    ----------
    second, requests : np.ndarray
        float64[k] or int64[k] times in order, and int64[k] arrivals at each, or in the second that starts there.
    observed : np.ndarray
        float64[m, 2], observed time on the same clock, as of `observed_intervals`.
    window_s : float
        Width of a window, s; whole if arrivals are known by the second. Windows start with each interval; an
        unfinished last one is left out.
    overlap : int
        A window starts at every such fraction of a window; 1 for consecutive ones. More use the same time better, the
        longer the window the more so.

    Returns
    -------
    float or None
        None if fewer than two consecutive windows were observed or nothing arrived in them.
    """
    arrived = np.concatenate(([0], np.cumsum(requests)))
    counts = []
    for start, end in observed:
        starts = np.arange(start, end - window_s + 1e-9 * window_s, window_s / overlap)
        first, last = (arrived[np.searchsorted(second, edges, side="left")] for edges in (starts, starts + window_s))
        counts.append(last - first)
    windows = np.concatenate(counts) if counts else np.empty(0)
    if len(windows) <= overlap or not windows.any():
        return None
    # Overlapping windows share their deviations, so that the mean takes as many degrees of freedom as overlap.
    return float(windows.var() * len(windows) / (len(windows) - overlap) / windows.mean())


def _epoch_second(column: str) -> pl.Expr:
    return pl.col("day").cast(pl.Int32).cast(pl.Int64) * _DAY_S + pl.col(column)
