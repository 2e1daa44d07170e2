"""How sure a simulation is: warm-up, confidence intervals, and verdicts that may be "undecided"."""

import math
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from fleetopt.simulator.result import SimulationResult

_MSER_BATCH = 5

_FEWEST_REQUESTS = 100
_BATCHES_PER_QUARTER = 10
_STEADY_GROWTH = 0.005
_RUNAWAY_GROWTH = 0.10
_LONG_ENOUGH = 10.0


class Interval(NamedTuple):
    """A confidence interval; a bound that the data cannot give is infinite.

    Attributes
    ----------
    estimate, lower, upper : float
        In the unit of the data; ``estimate`` is nan without data.
    """

    estimate: float
    lower: float
    upper: float


def mser5_cutoff(values: np.ndarray) -> int:
    """Find how many observations to cut from the start of a series as warm-up (MSER-5).

    Parameters
    ----------
    values : np.ndarray
        float64[n], in time order, no nan.

    Returns
    -------
    int
        Observations to drop, a multiple of 5 and at most about n/2; 0 if there are fewer than two batches.

    Notes
    -----
    Of the means of batches of 5, drop the first d so that the variance of the rest divided by their number, which is
    the squared width of the confidence interval of their mean, is least. d is at most half of the batches, since a
    minimum found on a few last batches is chance.

    References
    ----------
    White, K. P. (1997), An effective truncation heuristic for bias reduction in simulation output, Simulation 69(6);
    White, Cobb and Spratt (2000), A comparison of five steady-state truncation heuristics for simulation, Winter
    Simulation Conference.

    Examples
    --------
    >>> mser5_cutoff(np.r_[np.linspace(50.0, 0.0, 20), np.tile([1.0, -1.0], 100)])
    20
    """
    batches = len(values) // _MSER_BATCH
    if batches < 2:
        return 0
    means = np.asarray(values, dtype=np.float64)[: batches * _MSER_BATCH].reshape(batches, _MSER_BATCH).mean(axis=1)
    centred = means - means.mean()  # against cancellation in the sums of squares below
    remaining = np.arange(batches, 0, -1)
    sums, squares = np.cumsum(centred[::-1])[::-1], np.cumsum(centred[::-1] ** 2)[::-1]
    squared_width = (squares - sums**2 / remaining) / remaining**2
    return int(np.argmin(squared_width[: batches // 2 + 1])) * _MSER_BATCH


def replication_interval(values: np.ndarray, confidence: float = 0.95) -> Interval:
    """Student-t confidence interval of the mean of independent replications.

    Parameters
    ----------
    values : np.ndarray
        float64[n], one figure per replication; independent, about normal.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    Interval
        With infinite bounds for fewer than two replications.

    Raises
    ------
    ValueError
        If the confidence is not between 0 and 1.
    """
    _require_open_unit("confidence", confidence)
    mean = float(np.mean(values)) if len(values) else math.nan
    if len(values) < 2:
        return Interval(mean, -math.inf, math.inf)
    half_width = stats.t.ppf(0.5 + confidence / 2.0, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return Interval(mean, float(mean - half_width), float(mean + half_width))


def block_bootstrap_quantile(
    values: np.ndarray,
    probability: float,
    n_blocks: int,
    n_resamples: int,
    rng: np.random.Generator,
    confidence: float = 0.95,
) -> Interval:
    """Confidence interval of a quantile of an autocorrelated series, by the circular block bootstrap.

    Parameters
    ----------
    values : np.ndarray
        float64[n], in time order, no nan; for instance the times to first token of one trace, in order of arrival.
    probability : float
        Which quantile, between 0 and 1.
    n_blocks : int
        Blocks in a resample. A block, n / n_blocks long, should be longer than what happens at one time affects; with
        n_blocks = n the observations are taken as independent.
    n_resamples : int
        How many times to resample, at least 1; 1,000 is customary.
    rng : np.random.Generator
    confidence : float
        Of the two-sided interval, between 0 and 1.

    Returns
    -------
    Interval
        Percentile interval around the order statistic. A bound is infinite where n observations cannot give one: the
        largest of n independent ones is below the quantile with probability ``probability ** n``, so that a two-sided
        95 % interval of a P99 needs 368 of them to have an upper end. Autocorrelated ones know less, not more.

    Raises
    ------
    ValueError
        If a number is out of range.

    References
    ----------
    Künsch, H. R. (1989), The jackknife and the bootstrap for general stationary observations, Annals of Statistics
    17(3), section 2.4; blocks run round the ends of the series, so that what happens there is drawn as often as the
    rest: Politis and Romano (1992), in Exploring the Limits of Bootstrap. Bounds of a quantile by order statistics:
    David and Nagaraja (2003), Order Statistics, 7.1.
    """
    _require_open_unit("probability", probability)
    _require_open_unit("confidence", confidence)
    if n_blocks < 1 or n_resamples < 1:
        raise ValueError(f"n_blocks and n_resamples have to be at least 1, not {n_blocks} and {n_resamples}")
    n = len(values)
    if n == 0:
        return Interval(math.nan, -math.inf, math.inf)
    order = np.argsort(values, kind="stable")
    ranked = np.asarray(values, dtype=np.float64)[order]
    length = math.ceil(n / n_blocks)
    drawn = math.ceil(n / length)
    resampled = np.empty(n_resamples)
    for i in range(n_resamples):
        starts = rng.integers(0, n, drawn)
        copies = _times_covered(starts, length, n)
        below = np.cumsum(copies[order])
        resampled[i] = ranked[np.searchsorted(below, probability * below[-1])]
    tail = (1.0 - confidence) / 2.0
    lower, upper = np.quantile(resampled, [tail, 1.0 - tail])
    estimate = float(np.quantile(ranked, probability, method="inverted_cdf"))
    return Interval(
        estimate=estimate,
        lower=min(float(lower), estimate) if (1.0 - probability) ** n <= tail else -math.inf,
        upper=max(float(upper), estimate) if probability**n <= tail else math.inf,
    )


def _times_covered(starts: np.ndarray, length: int, n: int) -> np.ndarray:
    """int64[n], how many of the blocks hold each place; a block that runs over the end goes on at the beginning."""
    change = np.bincount(starts, minlength=2 * n) - np.bincount(starts + length, minlength=2 * n)
    covered = np.cumsum(change[: 2 * n])
    return covered[:n] + covered[n:]


def _require_open_unit(name: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name} is {value}; it has to be between 0 and 1")


def slo_verdict(lower: float, upper: float, target: float) -> Literal["confirmed", "refuted", "undecided"]:
    """Judge a quantity that has to stay within a target by its confidence interval.

    Parameters
    ----------
    lower, upper : float
        Bounds, in the unit of the target; nan bounds decide nothing.
    target : float

    Returns
    -------
    str
        ``confirmed`` if the whole interval is within the target, ``refuted`` if all of it is above, else ``undecided``.
    """
    if upper <= target:
        return "confirmed"
    return "refuted" if lower > target else "undecided"


class Stability(NamedTuple):
    """Whether a queue keeps growing, and why this is said.

    Attributes
    ----------
    verdict : {"stable", "unstable", "undecided"}
    reason : str
        One sentence.
    """

    verdict: Literal["stable", "unstable", "undecided"]
    reason: str


def stability_verdict(result: SimulationResult) -> Stability:
    """Judge from one run whether every pool keeps up with its arrivals.

    Parameters
    ----------
    result : SimulationResult

    Returns
    -------
    Stability
        ``unstable`` if a pool is, ``undecided`` if none is and one cannot be judged, else ``stable``. A pool without
        requests keeps up.

    Notes
    -----
    What grows without bound in an overloaded pool is the number of requests that have no first token yet: those
    that have one are limited by slots and memory, and follow the arrival rate in a pool that keeps up. This backlog,
    as each arriving request finds it, is compared between the second and the last quarter of the arrivals. Its growth
    is expressed per request that arrived between the middles of the two, half of all, and given a 95 % interval by
    Welch's test on 10 batch means per quarter (batches, because neighbours are correlated).

    *Unstable*: the interval is above 0.5 %, that is at least one in 200 arrivals adds to the backlog for good, and
    the third quarter lies between (a burst at the end is no trend). *Stable*: the interval is below 0.5 %. Otherwise
    undecided. Both need arrivals over at least 10 times the mean time that a request spends in service, because a fleet
    that starts empty first fills up; over a shorter span only a growth above 10 % is called unstable, and under one
    time in service, or with fewer than 100 requests, nothing is said. Service is taken as the time from first to last
    token and, for the prompt, the first percentile of the time to first token, as the rest of that may be queueing.

    References
    ----------
    Law, A. M. (2015), Simulation Modeling and Analysis, 5th ed., 9.5.3 (batch means); Welch, B. L. (1947), Biometrika
    34(1-2).
    """
    pools = [i for i in range(len(result.pool_names)) if result.pool_mask(i).any()]
    if not pools:
        return Stability("undecided", "no request was served")
    verdicts = [_pool_stability(result, pool) for pool in pools]
    for kind in ("unstable", "undecided"):
        for pool, (verdict, reason) in zip(pools, verdicts, strict=True):
            if verdict == kind:
                return Stability(verdict, f"pool '{result.pool_names[pool]}': {reason}")
    return Stability(
        "stable", "; ".join(f"pool '{result.pool_names[i]}': {v[1]}" for i, v in zip(pools, verdicts, strict=True))
    )


def _pool_stability(result: SimulationResult, pool: int) -> Stability:
    served = result.pool_mask(pool)
    n = int(served.sum())
    if n < _FEWEST_REQUESTS:
        return Stability("undecided", f"{n} requests are too few to judge; it takes {_FEWEST_REQUESTS}")
    arrival_s, first_token_s = result.arrival_s[served], result.first_token_s[served]
    service_s = float(np.mean(result.finish_s[served] - first_token_s) + np.quantile(first_token_s - arrival_s, 0.01))
    span_s = float(arrival_s[-1] - arrival_s[0])
    if span_s < service_s:
        return Stability("undecided", f"arrivals span {span_s:.3g} s, one request in service {service_s:.3g} s")
    backlog = np.arange(n) - np.searchsorted(np.sort(first_token_s), arrival_s, side="right")
    growth, third = _backlog_growth(backlog)
    is_long_enough = span_s >= _LONG_ENOUGH * service_s
    limit = _STEADY_GROWTH if is_long_enough else _RUNAWAY_GROWTH
    text = f"the backlog changes by {growth.estimate:+.2%} of the arrivals [{growth.lower:+.2%}, {growth.upper:+.2%}]"
    if growth.lower > limit and 0.25 <= third <= 1.0:
        return Stability("unstable", text)
    if not is_long_enough:
        return Stability(
            "undecided",
            f"arrivals span {span_s:.3g} s, less than {_LONG_ENOUGH:g} times a service of {service_s:.3g} s",
        )
    return Stability("stable" if growth.upper < limit else "undecided", text)


def _backlog_growth(backlog: np.ndarray) -> tuple[Interval, float]:
    """Growth from the second to the last quarter per arrival between their middles, and its share at the third."""
    _, second, third, last = np.array_split(backlog.astype(np.float64), 4)
    batches = [
        np.array([batch.mean() for batch in np.array_split(quarter, _BATCHES_PER_QUARTER)])
        for quarter in (second, last)
    ]
    growth = float(batches[1].mean() - batches[0].mean())
    variances = np.array([batch.var(ddof=1) / _BATCHES_PER_QUARTER for batch in batches])
    half_width = 0.0
    if variances.sum() > 0.0:
        freedom = variances.sum() ** 2 / (variances**2 / (_BATCHES_PER_QUARTER - 1)).sum()
        half_width = float(stats.t.ppf(0.975, freedom) * math.sqrt(variances.sum()))
    arrivals_between = len(backlog) / 2.0
    share = (float(third.mean()) - float(batches[0].mean())) / growth if growth > 0.0 else 0.0
    return Interval(*(np.array([growth, growth - half_width, growth + half_width]) / arrivals_between)), share
