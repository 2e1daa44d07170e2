"""Confidence intervals by resampling blocks of a trace."""

import math

import numpy as np

from fleetopt.simulator.statistics.intervals import (
    Interval,
    PairedDifference,
    require_open_unit,
    variance_reduction,
)


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
    require_open_unit("probability", probability)
    ranked = _Ranked(values)
    if ranked.n == 0:
        _require_blocks(n_blocks, n_resamples, confidence)
        return Interval(math.nan, -math.inf, math.inf)
    resampled = _resampled([ranked], (probability,), n_blocks, n_resamples, rng, confidence)[:, 0, 0]
    estimate, tail = ranked.figure(probability), (1.0 - confidence) / 2.0
    lower, upper = np.quantile(resampled, [tail, 1.0 - tail])
    return Interval(
        estimate=estimate,
        lower=min(float(lower), estimate) if (1.0 - probability) ** ranked.n <= tail else -math.inf,
        upper=max(float(upper), estimate) if probability**ranked.n <= tail else math.inf,
    )


def paired_block_bootstrap(
    first: np.ndarray,
    second: np.ndarray,
    probabilities: tuple[float | None, ...],
    n_blocks: int,
    n_resamples: int,
    rng: np.random.Generator,
    confidence: float = 0.95,
) -> tuple[PairedDifference, ...]:
    """Compare means and quantiles of two fleets that served one trace: both are resampled by the same blocks of it.

    Parameters
    ----------
    first, second : np.ndarray
        float64[n], what each fleet made of every request, in time order; nan where it has no figure (rejected), which
        leaves the request out of that fleet's figures only.
    probabilities : tuple of float or None
        Which quantiles, between 0 and 1; None is the mean.
    n_blocks, n_resamples, rng, confidence
        As in `block_bootstrap_quantile`.

    Returns
    -------
    tuple of PairedDifference
        One per probability. Bounds are infinite where either fleet has too few requests to bound the quantile on both
        sides, see `block_bootstrap_quantile`, or fewer than two for a mean.

    Raises
    ------
    ValueError
        If a number is out of range or the arrays differ in length.

    Notes
    -----
    A request that is hard for one fleet is mostly hard for the other, and both saw the same bursts, so what a
    resample makes worse for one it makes worse for both: the difference varies less than either.

    References
    ----------
    As in `block_bootstrap_quantile`; a pair is resampled as one: Efron and Tibshirani (1993), An Introduction to the
    Bootstrap, 8.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} requests of one fleet and {len(second)} of the other are no pairs")
    for probability in probabilities:
        if probability is not None:
            require_open_unit("probability", probability)
    pair = [_Ranked(first), _Ranked(second)]
    resampled = _resampled(pair, probabilities, n_blocks, n_resamples, rng, confidence)
    return tuple(
        _difference(pair, probability, resampled[:, :, place], (1.0 - confidence) / 2.0)
        for place, probability in enumerate(probabilities)
    )


def _difference(
    pair: "list[_Ranked]", probability: float | None, resampled: np.ndarray, tail: float
) -> PairedDifference:
    first, second = (ranked.figure(probability) for ranked in pair)
    fewest = min(ranked.n for ranked in pair)
    is_enough = fewest > 1 if probability is None else max(probability, 1.0 - probability) ** fewest <= tail
    differences = resampled[:, 1] - resampled[:, 0]
    if not is_enough or np.isnan(differences).any():
        return PairedDifference(first, second, Interval(second - first, -math.inf, math.inf), math.nan)
    lower, upper = np.quantile(differences, [tail, 1.0 - tail])
    bounds = min(float(lower), second - first), max(float(upper), second - first)
    return PairedDifference(
        first, second, Interval(second - first, *bounds), variance_reduction(resampled[:, 0], resampled[:, 1])
    )


class _Ranked:
    """A series with its places in ascending order of value; nan, which has no rank, left out."""

    def __init__(self, values: np.ndarray) -> None:
        self.length = len(values)
        self.n = int(np.count_nonzero(~np.isnan(values)))
        self.order = np.argsort(values, kind="stable")[: self.n]
        self.values = np.asarray(values, dtype=np.float64)[self.order]

    def figure(self, probability: float | None) -> float:
        if self.n == 0:
            return math.nan
        if probability is None:
            return float(self.values.mean())
        return float(np.quantile(self.values, probability, method="inverted_cdf"))

    def weighted_figures(self, copies: np.ndarray, probabilities: tuple[float | None, ...]) -> list[float]:
        """Mean and quantiles of the series with each place repeated ``copies`` times; nan if nothing is left."""
        weights = copies[self.order]
        below = np.cumsum(weights)
        if self.n == 0 or below[-1] == 0:
            return [math.nan] * len(probabilities)
        return [
            (weights * self.values).sum() / below[-1]
            if p is None
            else self.values[np.searchsorted(below, p * below[-1])]
            for p in probabilities
        ]


def _resampled(
    series: list[_Ranked],
    probabilities: tuple[float | None, ...],
    n_blocks: int,
    n_resamples: int,
    rng: np.random.Generator,
    confidence: float,
) -> np.ndarray:
    """float64[n_resamples, series, probabilities], figures of series of equal length resampled by the same blocks."""
    _require_blocks(n_blocks, n_resamples, confidence)
    n = series[0].length
    figures = np.full((n_resamples, len(series), len(probabilities)), math.nan)
    if n == 0:
        return figures
    length = math.ceil(n / n_blocks)
    drawn = math.ceil(n / length)
    for resample in figures:
        starts = rng.integers(0, n, drawn)
        copies = _times_covered(starts, length, n)
        for place, ranked in enumerate(series):
            resample[place] = ranked.weighted_figures(copies, probabilities)
    return figures


def _times_covered(starts: np.ndarray, length: int, n: int) -> np.ndarray:
    """int64[n], how many of the blocks hold each place; a block that runs over the end goes on at the beginning."""
    change = np.bincount(starts, minlength=2 * n) - np.bincount(starts + length, minlength=2 * n)
    covered = np.cumsum(change[: 2 * n])
    return covered[:n] + covered[n:]


def _require_blocks(n_blocks: int, n_resamples: int, confidence: float) -> None:
    require_open_unit("confidence", confidence)
    if n_blocks < 1 or n_resamples < 1:
        raise ValueError(f"n_blocks and n_resamples have to be at least 1, not {n_blocks} and {n_resamples}")
