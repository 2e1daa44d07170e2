"""Confidence intervals of means, shares and quantiles: of independent observations, of replications, of one run."""

import math
from typing import NamedTuple

import numpy as np
from scipy import special  # not scipy.stats, which takes half a second to import

_BATCHES = 20
_LEAST_BATCH = 10
_LEAST_BEYOND = 5
_MOST_CORRELATION = 0.8


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


class PairedDifference(NamedTuple):
    """A figure of two fleets that served the same requests.

    Attributes
    ----------
    first, second : float
        The figure of each, in its unit.
    difference : Interval
        Second minus first.
    variance_reduction : float
        1 - Var(difference) / (Var(first) + Var(second)): what serving the same requests took off the variance that
        independent requests would have given the difference. Below 0 where it did harm, nan where nothing varies or
        nothing is known.
    """

    first: float
    second: float
    difference: Interval
    variance_reduction: float


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
    require_open_unit("confidence", confidence)
    mean = float(np.mean(values)) if len(values) else math.nan
    if len(values) < 2:
        return Interval(mean, -math.inf, math.inf)
    half_width = (
        student_quantile(0.5 + confidence / 2.0, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    )
    return Interval(mean, float(mean - half_width), float(mean + half_width))


def paired_interval(first: np.ndarray, second: np.ndarray, confidence: float = 0.95) -> PairedDifference:
    """Paired-t comparison of two fleets over replications on the same requests (common random numbers).

    Parameters
    ----------
    first, second : np.ndarray
        float64[n], one figure of each fleet per replication; place i of both comes from the same requests.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    PairedDifference
        With infinite bounds for fewer than two replications.

    Raises
    ------
    ValueError
        If the confidence is not between 0 and 1 or the arrays differ in length.

    References
    ----------
    Law, A. M. (2015), Simulation Modeling and Analysis, 5th ed., 10.2.1 (paired t) and 11.2 (common random numbers).
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} replications of one fleet and {len(second)} of the other are no pairs")
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    return PairedDifference(
        first=float(np.mean(first)) if len(first) else math.nan,
        second=float(np.mean(second)) if len(second) else math.nan,
        difference=replication_interval(differences, confidence),
        variance_reduction=variance_reduction(np.asarray(first), np.asarray(second)),
    )


def variance_reduction(first: np.ndarray, second: np.ndarray) -> float:
    """1 - Var(second - first) / (Var(first) + Var(second)); nan for fewer than two pairs or without variance."""
    if len(first) < 2:
        return math.nan
    independent = float(np.var(first, ddof=1) + np.var(second, ddof=1))
    return 1.0 - float(np.var(second - first, ddof=1)) / independent if independent > 0.0 else math.nan


def order_statistic_interval(values: np.ndarray, probability: float, confidence: float = 0.95) -> Interval:
    """Confidence interval of a quantile of independent observations, between two order statistics.

    Parameters
    ----------
    values : np.ndarray
        float64[n], independent, in any order, no nan. The latencies of one run are not independent: for them use
        `batch_quantile_interval`.
    probability : float
        Which quantile, between 0 and 1.
    confidence : float
        At least this, whatever the distribution, half of the rest on either side; between 0 and 1.

    Returns
    -------
    Interval
        Around the order statistic that is the sample quantile. A bound is infinite where n are too few for it: a
        two-sided 95 % interval of a P99 takes 368.

    Raises
    ------
    ValueError
        If a probability is out of range.

    References
    ----------
    David, H. A. and Nagaraja, H. N. (2003), Order Statistics, 3rd ed., 7.1: the number of observations below the
    quantile is binomial.

    Examples
    --------
    >>> import numpy as np
    >>> order_statistic_interval(np.arange(1.0, 101.0), 0.5)
    Interval(estimate=50.0, lower=40.0, upper=61.0)
    """
    require_open_unit("probability", probability)
    require_open_unit("confidence", confidence)
    n = len(values)
    if n == 0:
        return Interval(math.nan, -math.inf, math.inf)
    ranked = np.sort(np.asarray(values, dtype=np.float64))
    tail = (1.0 - confidence) / 2.0
    lower_rank = binomial_quantile(tail, n, probability)
    upper_rank = binomial_quantile(1.0 - tail, n, probability) + 1
    return Interval(
        estimate=_sample_quantile(ranked, probability),
        lower=float(ranked[lower_rank - 1]) if lower_rank >= 1 else -math.inf,
        upper=float(ranked[upper_rank - 1]) if upper_rank <= n else math.inf,
    )


def batch_means_interval(values: np.ndarray, n_batches: int = _BATCHES, confidence: float = 0.95) -> Interval:
    """Confidence interval of the mean of one autocorrelated run, by batch means.

    Parameters
    ----------
    values : np.ndarray
        float64[n], in time order, warm-up cut, no nan.
    n_batches : int
        At least 2; 10 to 30 are advised (Schmeiser 1982). A batch should be longer than what happens at one time
        affects. If it is not, neighbours are alike: the variance is multiplied by (1 + r) / (1 - r), where r is the
        lag-one correlation of the batches, if positive.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    Interval
        With infinite bounds for fewer than 10 observations per batch or a lag-one correlation above 0.8.

    Raises
    ------
    ValueError
        If a number is out of range.

    Notes
    -----
    A run that by chance misses what makes much of the mean cannot know. Where preemption cascades come once in many
    such runs (30,000 requests, Markov-modulated arrivals, a pool near the end of its memory), 17 of 80 intervals called
    95 % held the mean time to first token, and 75 of 80 its P50; without cascades 113 to 116 of 120 held the mean.

    References
    ----------
    Law, A. M. (2015), Simulation Modeling and Analysis, 5th ed., 9.5.3; Schmeiser, B. (1982), Batch size effects in the
    analysis of simulation output, Operations Research 30(3); Lada, E. K. and Wilson, J. R. (2008), SBatch: a spaced
    batch means procedure for steady-state simulation analysis, Journal of Simulation 2(3) (correlated batches).
    """
    batches = _batches(values, n_batches)
    mean = float(np.mean(values)) if len(values) else math.nan
    if len(values) < _LEAST_BATCH * n_batches:
        return Interval(mean, -math.inf, math.inf)
    return _around(mean, np.array([batch.mean() for batch in batches]), confidence)


def batch_quantile_interval(
    values: np.ndarray, probability: float, n_batches: int = _BATCHES, confidence: float = 0.95
) -> Interval:
    """Confidence interval of a quantile of one long autocorrelated run, by sectioning.

    Parameters
    ----------
    values : np.ndarray
        float64[n], in time order, warm-up cut, no nan.
    probability : float
        Which quantile, between 0 and 1.
    n_batches, confidence
        As in `batch_means_interval`.

    Returns
    -------
    Interval
        Around the quantile of all observations; its width is Student-t from how far the quantiles of the batches
        scatter around that. With infinite bounds if a batch has fewer than 5 observations beyond the quantile: 20
        batches for a P99 take 10,000. Shorter runs: `block_bootstrap_quantile`.

    Raises
    ------
    ValueError
        If a number is out of range.

    Notes
    -----
    The quantile of a small batch is biased, that of a P99 mostly downwards. An interval centred on the mean of the
    batch quantiles would be off by that bias; centred on the quantile of all, it is only widened by it.

    Requests beyond a quantile that come in a few crowded periods count as few, however many they are. Measured with
    20,000 requests at 60 % and 78 % of the stability limit of two replicas, 90 % to 98 % of the intervals called 95 %
    held the P50, P90 and P99 of the time to first token and the P99 end to end, but only 86 % and 75 % the P99 of the
    time per token. Only longer runs help.

    References
    ----------
    Asmussen, S. and Glynn, P. W. (2007), Stochastic Simulation, III.5a; Nakayama, M. K. (2014), Confidence intervals
    for quantiles using sectioning when applying variance-reduction techniques, ACM TOMACS 24(4).
    """
    require_open_unit("probability", probability)
    batches = _batches(values, n_batches)
    if not len(values):
        return Interval(math.nan, -math.inf, math.inf)
    estimate = _sample_quantile(values, probability)
    if len(values) // n_batches * min(probability, 1.0 - probability) < _LEAST_BEYOND - 1e-9:
        return Interval(estimate, -math.inf, math.inf)
    return _around(estimate, np.array([_sample_quantile(batch, probability) for batch in batches]), confidence)


def wilson_interval(hits: float, n: float, quantile: float) -> Interval:
    """Score interval of a share of n independent trials.

    Parameters
    ----------
    hits, n : float
        How many of how many; an effective sample size need not be whole.
    quantile : float
        Of the standard normal distribution (1.96 for 95 %), or of Student's where the effective size is estimated.

    Returns
    -------
    Interval
        Within 0 to 1; all of 0 to 1 for n = 0. Its ends differ even if all or none hit.

    References
    ----------
    Wilson, E. B. (1927), Probable inference, the law of succession, and statistical inference, JASA 22(158); Brown, Cai
    and DasGupta (2001), Interval estimation for a binomial proportion, Statistical Science 16(2).
    """
    if n <= 0:
        return Interval(math.nan, 0.0, 1.0)
    share, square = hits / n, quantile**2
    middle = (share + square / (2.0 * n)) / (1.0 + square / n)
    half_width = quantile / (1.0 + square / n) * math.sqrt(share * (1.0 - share) / n + square / (4.0 * n * n))
    return Interval(share, min(share, max(0.0, middle - half_width)), max(share, min(1.0, middle + half_width)))


def grouped_share_interval(hits: np.ndarray, requests: np.ndarray, confidence: float = 0.95) -> Interval:
    """Confidence interval of a share of requests that are correlated within groups: replications, or batches of a run.

    Parameters
    ----------
    hits, requests : np.ndarray
        int64[m], hits and requests in each group; groups are independent.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    Interval
        Wilson's, with the number of requests divided by the design effect: the variance of the share, as the groups
        scatter, over that of as many independent requests, at least 1; and with Student's quantile for m - 1 degrees of
        freedom. All of 0 to 1 for fewer than two groups. If all requests hit or none does, nothing scatters, and the
        interval is that of independent requests: misses that come in clumps would make it wider.

    Raises
    ------
    ValueError
        If the confidence is not between 0 and 1.

    References
    ----------
    Kish, L. (1965), Survey Sampling, 8.2 (design effect); Korn, E. L. and Graubard, B. I. (1998), Confidence intervals
    for proportions with small expected number of positive counts estimated from survey data, Survey Methodology 24(2)
    (effective size with Student's quantile); the variance is that of a ratio of sums over groups.
    """
    return _grouped_share(hits, requests, 1.0, confidence)


def _grouped_share(hits: np.ndarray, requests: np.ndarray, inflation: float, confidence: float) -> Interval:
    """`grouped_share_interval` with the variance of the share times a factor."""
    require_open_unit("confidence", confidence)
    groups, n = len(hits), float(np.sum(requests))
    share = float(np.sum(hits)) / n if n else math.nan
    if groups < 2 or n == 0 or math.isinf(inflation):
        return Interval(share, 0.0, 1.0)
    residuals = np.asarray(hits) - share * np.asarray(requests)
    variance = inflation * groups / (groups - 1) * float((residuals**2).sum()) / n**2
    independent = share * (1.0 - share) / n
    design_effect = max(1.0, variance / independent) if independent > 0.0 else 1.0
    effective = n / design_effect
    return wilson_interval(share * effective, effective, student_quantile(0.5 + confidence / 2.0, groups - 1))


def batch_share_interval(is_hit: np.ndarray, n_batches: int = _BATCHES, confidence: float = 0.95) -> Interval:
    """Confidence interval of a share of the requests of one run: `grouped_share_interval` over its batches.

    Parameters
    ----------
    is_hit : np.ndarray
        bool[n], in time order, warm-up cut.
    n_batches, confidence
        As in `batch_means_interval`; all of 0 to 1 where that has infinite bounds.
    """
    batches = _batches(is_hit, n_batches)
    if len(is_hit) < _LEAST_BATCH * n_batches:
        return Interval(float(np.mean(is_hit)) if len(is_hit) else math.nan, 0.0, 1.0)
    hits, requests = np.array([(batch.sum(), len(batch)) for batch in batches]).T
    return _grouped_share(hits, requests, _correlation_inflation(hits / requests), confidence)


def student_quantile(probability: float, freedom: float) -> float:
    """Quantile of Student's t distribution."""
    return float(special.stdtrit(freedom, probability))


def binomial_quantile(probability: float, n: int, success: float) -> int:
    """Least number k for which at most k of n trials succeed with at least this probability."""
    k = math.ceil(special.bdtrik(probability, n, success))
    return k - 1 if k > 0 and special.bdtr(k - 1, n, success) >= probability else k


def require_open_unit(name: str, value: float) -> None:
    """Raise ValueError unless the value lies between 0 and 1."""
    if not 0.0 < value < 1.0:
        raise ValueError(f"{name} is {value}; it has to be between 0 and 1")


def _batches(values: np.ndarray, n_batches: int) -> list[np.ndarray]:
    if n_batches < 2:
        raise ValueError(f"n_batches is {n_batches}; it has to be at least 2")
    return np.array_split(np.asarray(values), n_batches)


def _around(centre: float, of_batches: np.ndarray, confidence: float) -> Interval:
    """Student-t interval around a figure of all from how the same figure of the batches scatters around it."""
    require_open_unit("confidence", confidence)
    n = len(of_batches)
    inflation = _correlation_inflation(of_batches)
    if math.isinf(inflation):
        return Interval(centre, -math.inf, math.inf)
    error = math.sqrt(inflation * float(((of_batches - centre) ** 2).sum()) / (n - 1) / n)
    half_width = student_quantile(0.5 + confidence / 2.0, n - 1) * error
    return Interval(centre, centre - half_width, centre + half_width)


def _correlation_inflation(of_batches: np.ndarray) -> float:
    """Factor of the variance of the mean for batches that are a first-order autoregressive process."""
    centred = of_batches - of_batches.mean()
    scatter = float((centred**2).sum())
    if scatter == 0.0:
        return 1.0
    correlation = max(0.0, float((centred[1:] * centred[:-1]).sum()) / scatter)
    return (1.0 + correlation) / (1.0 - correlation) if correlation <= _MOST_CORRELATION else math.inf


def _sample_quantile(values: np.ndarray, probability: float) -> float:
    """The order statistic that is the inverse of the empirical CDF."""
    return float(np.quantile(values, probability, method="inverted_cdf"))
