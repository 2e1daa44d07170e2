"""Confidence intervals by resampling blocks of a trace."""

import math
from functools import cached_property

import numpy as np

from fleetopt.simulator.statistics.intervals import (
    Interval,
    PairedDifference,
    require_open_unit,
    variance_reduction,
)

_WINDOW = 0.02
"""Share of all ranks, on either side of a quantile, among which its resampled value is looked for first."""


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
    series = _Series(values, (probability,))
    if series.n == 0:
        _require_blocks(n_blocks, n_resamples, confidence)
        return Interval(math.nan, -math.inf, math.inf)
    resampled = _resampled([series], (probability,), n_blocks, n_resamples, rng, confidence)[:, 0, 0]
    estimate, tail = series.figure(probability), (1.0 - confidence) / 2.0
    lower, upper = np.quantile(resampled, [tail, 1.0 - tail])
    return Interval(
        estimate=estimate,
        lower=min(float(lower), estimate) if (1.0 - probability) ** series.n <= tail else -math.inf,
        upper=max(float(upper), estimate) if probability**series.n <= tail else math.inf,
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
    pair = [_Series(first, probabilities), _Series(second, probabilities)]
    resampled = _resampled(pair, probabilities, n_blocks, n_resamples, rng, confidence)
    return tuple(
        _difference(pair, probability, resampled[:, :, place], (1.0 - confidence) / 2.0)
        for place, probability in enumerate(probabilities)
    )


def _difference(
    pair: "list[_Series]", probability: float | None, resampled: np.ndarray, tail: float
) -> PairedDifference:
    first, second = (series.figure(probability) for series in pair)
    fewest = min(series.n for series in pair)
    is_enough = fewest > 1 if probability is None else max(probability, 1.0 - probability) ** fewest <= tail
    differences = resampled[:, 1] - resampled[:, 0]
    if not is_enough or np.isnan(differences).any():
        return PairedDifference(first, second, Interval(second - first, -math.inf, math.inf), math.nan)
    lower, upper = np.quantile(differences, [tail, 1.0 - tail])
    bounds = min(float(lower), second - first), max(float(upper), second - first)
    return PairedDifference(
        first, second, Interval(second - first, *bounds), variance_reduction(resampled[:, 0], resampled[:, 1])
    )


class _Series:
    """A series prepared for resampling: what a resample takes most often is summed up beforehand.

    A resample repeats every place by the number of blocks that cover it. Its sum follows from running sums at the ends
    of the blocks. Its quantile is a value whose rank is mostly near that of the quantile of all, so that only a window
    of ranks has to be weighed, and what lies below it is counted by running sums again. Values that are nan have no
    rank and no weight.
    """

    def __init__(self, values: np.ndarray, probabilities: tuple[float | None, ...]) -> None:
        values = np.asarray(values, dtype=np.float64)
        is_known = ~np.isnan(values)
        self.length, self.n = len(values), int(np.count_nonzero(is_known))
        self.mean = float(values[is_known].mean()) if self.n else math.nan
        has_quantiles = any(p is not None for p in probabilities)
        self.order = np.argsort(values, kind="stable")[: self.n] if has_quantiles else np.empty(0, dtype=np.int64)
        self.ranked = values[self.order]
        self.running_count = _running_sum(is_known.astype(np.int64))
        self.running_sum = _running_sum(np.where(is_known, values, 0.0))
        self.windows = {p: self._window(p) for p in probabilities if p is not None}

    def _window(self, probability: float) -> tuple[int, int, np.ndarray]:
        """First rank of a window, the one after its last, and the running count of places ranked below it."""
        middle, reach = probability * self.n, _WINDOW * self.n
        first, last = max(0, math.floor(middle - reach)), min(self.n, math.ceil(middle + reach) + 1)
        is_below = np.zeros(self.length, dtype=np.int64)
        is_below[self.order[:first]] = 1
        return first, last, _running_sum(is_below)

    def figure(self, probability: float | None) -> float:
        """Mean or quantile of the series itself."""
        if self.n == 0 or probability is None:
            return self.mean
        return float(np.quantile(self.ranked, probability, method="inverted_cdf"))

    def resampled_figure(self, blocks: "_Blocks", probability: float | None) -> float:
        """Mean or quantile of a resample; nan if it holds nothing known."""
        n = int(blocks.sum_of(self.running_count))
        if n == 0:
            return math.nan
        if probability is None:
            return float(blocks.sum_of(self.running_sum)) / n
        first, last, running_below = self.windows[probability]
        below = int(blocks.sum_of(running_below)) + np.cumsum(blocks.copies[self.order[first:last]])
        target = probability * n
        place = int(np.searchsorted(below, target))
        if place == len(below) or (place == 0 and first > 0 and below[0] - blocks.copies[self.order[first]] >= target):
            first, below = 0, np.cumsum(blocks.copies[self.order])
            place = int(np.searchsorted(below, target))
        return float(self.ranked[first + place])


class _Blocks:
    """Blocks of a series of n places; one that runs over the end goes on at the beginning."""

    def __init__(self, starts: np.ndarray, length: int, n: int) -> None:
        self.starts, self.n = starts, n
        self.ends = starts + length
        self.is_wrapped = self.ends > n
        self.ends[self.is_wrapped] -= n

    def sum_of(self, running: np.ndarray) -> float:
        """Sum over the places of all blocks, from running sums: float64[n + 1] or int64[n + 1]."""
        return (running[self.ends] - running[self.starts]).sum() + self.is_wrapped.sum() * running[-1]

    @cached_property
    def copies(self) -> np.ndarray:
        """int64[n], how many of the blocks hold each place."""
        change = np.zeros(self.n + 1, dtype=np.int64)
        np.add.at(change, self.starts, 1)
        np.add.at(change, self.ends, -1)
        change[0] += self.is_wrapped.sum()
        return np.cumsum(change[: self.n])


def _running_sum(values: np.ndarray) -> np.ndarray:
    """[n + 1], sum of the values before each place."""
    return np.concatenate((np.zeros(1, dtype=values.dtype), np.cumsum(values)))


def _resampled(
    series: list[_Series],
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
        blocks = _Blocks(rng.integers(0, n, drawn), length, n)
        for place, one in enumerate(series):
            resample[place] = [one.resampled_figure(blocks, probability) for probability in probabilities]
    return figures


def _require_blocks(n_blocks: int, n_resamples: int, confidence: float) -> None:
    require_open_unit("confidence", confidence)
    if n_blocks < 1 or n_resamples < 1:
        raise ValueError(f"n_blocks and n_resamples have to be at least 1, not {n_blocks} and {n_resamples}")
