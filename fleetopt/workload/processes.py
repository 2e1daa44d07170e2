"""Arrival processes: times at which requests arrive, drawn from one random stream.

Every generator takes its parameters first and ``n, rng`` last, so that ``functools.partial(gamma_arrivals, 5.0, 2.0)``
is an `ArrivalProcess`. Times are float64[n], seconds, not decreasing, on a clock that starts at 0.
"""

import math
from bisect import bisect_right
from collections.abc import Callable

import numpy as np
from scipy import optimize, sparse, special

from fleetopt.errors import InputError

ArrivalProcess = Callable[[int, np.random.Generator], np.ndarray]
"""Takes the number of requests and a random stream, returns their arrival times."""

_LEAST_CV, _MOST_CV = 1e-3, 1e3
_WEIBULL_SHAPES = (0.05, 5000.0)
"""Shapes that hold every coefficient of variation between the two above."""


def poisson_arrivals(rate_rps: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Arrival times of a Poisson stream: float64[n], s, from an exponential gap after 0.

    Raises
    ------
    InputError
        If the rate is not a positive finite number or n is negative.
    """
    _require_rate_and_count(rate_rps, n)
    return np.cumsum(rng.exponential(1 / rate_rps, n))


def gamma_arrivals(rate_rps: float, cv: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Arrival times with independent Gamma gaps.

    Parameters
    ----------
    rate_rps : float
        Requests per second in the mean, above 0.
    cv : float
        Coefficient of variation of the gaps, standard deviation over mean (not squared), from 0.001 to 1000. Above 1
        is burstier than Poisson, 1 is Poisson, below 1 is smoother. The shape is 1 / cv^2: what load generators call
        "burstiness" or "smoothness" is the shape.
    n : int
        Requests.
    rng : np.random.Generator

    Returns
    -------
    np.ndarray
        float64[n], s; the first gap starts at 0, as if a request had arrived then.

    Raises
    ------
    InputError
        If a parameter is out of range.

    Notes
    -----
    Over windows of many gaps the index of dispersion of counts tends to cv^2 (Cox 1962, Renewal Theory, chapter 4).

    References
    ----------
    Gamma and Weibull gaps fit those of services better than exponential ones, and which of the two depends on the
    service: Xiang et al. (2025), ServeGen, arXiv 2505.09999.
    """
    _require_rate_and_count(rate_rps, n)
    _require_cv(cv)
    return np.cumsum(rng.gamma(cv**-2, cv**2 / rate_rps, n))


def weibull_arrivals(rate_rps: float, cv: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Arrival times with independent Weibull gaps; parameters, start, errors and source as in `gamma_arrivals`.

    The shape k solves cv^2 = Gamma(1 + 2/k) / Gamma(1 + 1/k)^2 - 1. With the same cv > 1 the tail is heavier than that
    of a Gamma distribution: longer silences.
    """
    _require_rate_and_count(rate_rps, n)
    _require_cv(cv)
    shape = _weibull_shape(cv)
    scale_s = 1 / (rate_rps * math.exp(special.gammaln(1 + 1 / shape)))
    return np.cumsum(scale_s * rng.weibull(shape, n))


def markov_modulated_arrivals(
    rates_rps: np.ndarray,
    mean_sojourn_s: np.ndarray,
    n: int,
    rng: np.random.Generator,
    next_state: np.ndarray | None = None,
) -> np.ndarray:
    """Arrival times of a Poisson stream whose rate jumps between the states of a Markov chain (MMPP).

    Parameters
    ----------
    rates_rps : np.ndarray
        float64[m], m >= 2, requests per second in each state; from 0, one at least above 0.
    mean_sojourn_s : np.ndarray
        float64[m], mean of the exponential time that a visit to each state lasts, s.
    n : int
        Requests.
    rng : np.random.Generator
    next_state : np.ndarray, optional
        float64[m, m], probability of the state (column) after a visit to another (row); the diagonal is 0 and every
        state can be reached from every other. By default all others are equally likely. The generator matrix of the
        chain is ``(next_state - identity) / mean_sojourn_s[:, None]``.

    Returns
    -------
    np.ndarray
        float64[n], s. The chain is stationary at time 0, so the stream is as well.

    Raises
    ------
    InputError
        If a parameter is out of range.

    Notes
    -----
    The path of the rate is drawn, and unit-rate Poisson arrivals are put through the inverse of its integral.

    References
    ----------
    Fischer, W. and Meier-Hellstern, K. (1993), The Markov-modulated Poisson process (MMPP) cookbook, Performance
    Evaluation 18(2).
    """
    rates, sojourns = np.atleast_1d(np.asarray(rates_rps, np.float64)), np.asarray(mean_sojourn_s, np.float64)
    _require_count(n)
    _require_curve("mean_sojourn_s", rates, sojourns)
    if len(rates) < 2:
        raise InputError("rates_rps: one state; a Markov-modulated stream needs two or more")
    jumps = _jump_probabilities(next_state, len(rates))
    visits = _stationary_visits(jumps)
    states: list[int] = [int(rng.choice(len(rates), p=visits * sojourns / (visits @ sojourns)))]
    unit_arrivals = np.cumsum(rng.exponential(size=n))
    boundary_s, expected = np.zeros(1), np.zeros(1)
    while n > 0 and expected[-1] < unit_arrivals[-1]:
        missing = (unit_arrivals[-1] - expected[-1]) / (visits @ (rates * sojourns))
        states = _walk(states[-1], jumps, int(missing) + 16, rng)
        stay_s = rng.exponential(sojourns[states[:-1]])
        boundary_s = np.concatenate((boundary_s, boundary_s[-1] + np.cumsum(stay_s)))
        expected = np.concatenate((expected, expected[-1] + np.cumsum(stay_s * rates[states[:-1]])))
    return np.interp(unit_arrivals, expected, boundary_s)


def rate_curve_arrivals(
    rates_rps: np.ndarray, duration_s: np.ndarray | float, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Arrival times of a non-homogeneous Poisson stream whose rate is a step function of time, for instance of a day.

    Parameters
    ----------
    rates_rps : np.ndarray
        float64[m], requests per second in each step; from 0, one at least above 0.
    duration_s : np.ndarray or float
        float64[m], how long each step lasts, s; one number if all last as long.
    n : int
        Requests. If the curve does not bring that many, it starts again from its beginning.
    rng : np.random.Generator

    Returns
    -------
    np.ndarray
        float64[n], s.

    Raises
    ------
    InputError
        If a parameter is out of range.

    References
    ----------
    Inversion of the integrated rate, which is exact: Çinlar, E. (1975), Introduction to Stochastic Processes,
    pp. 94-101.
    """
    rates = np.atleast_1d(np.asarray(rates_rps, np.float64))
    durations = np.asarray(duration_s, np.float64)
    durations = np.full(len(rates), durations) if durations.ndim == 0 else durations
    _require_count(n)
    _require_curve("duration_s", rates, durations)
    boundary_s = np.concatenate(([0.0], np.cumsum(durations)))
    expected = np.concatenate(([0.0], np.cumsum(rates * durations)))
    period, rest = np.divmod(np.cumsum(rng.exponential(size=n)), expected[-1])
    arrival_s = period * boundary_s[-1] + np.interp(rest, expected, boundary_s)
    return np.maximum.accumulate(arrival_s)  # where a period ends, rounding may put a time before the last one


def _weibull_shape(cv: float) -> float:
    def excess(shape: float) -> float:
        return special.gammaln(1 + 2 / shape) - 2 * special.gammaln(1 + 1 / shape) - math.log1p(cv**2)

    return float(optimize.brentq(excess, *_WEIBULL_SHAPES, rtol=1e-12))


def _jump_probabilities(next_state: np.ndarray | None, n_states: int) -> np.ndarray:
    """float64[m, m] of a chain that leaves its state at every jump and can go everywhere."""
    if next_state is None:
        return (1 - np.eye(n_states)) / (n_states - 1)
    jumps = np.asarray(next_state, dtype=np.float64)
    if jumps.shape != (n_states, n_states):
        raise InputError(f"next_state: shape {jumps.shape}; {n_states} states need {(n_states, n_states)}")
    if not ((jumps >= 0).all() and np.allclose(jumps.sum(axis=1), 1, atol=1e-9) and (np.diag(jumps) == 0).all()):
        raise InputError("next_state: rows have to be probabilities that sum to 1, with 0 on the diagonal")
    if sparse.csgraph.connected_components(jumps, connection="strong")[0] > 1:
        raise InputError("next_state: not every state can be reached from every other")
    return jumps


def _stationary_visits(jumps: np.ndarray) -> np.ndarray:
    """float64[m], share of visits that go to each state: the solution of v = v P with sum 1."""
    n_states = len(jumps)
    equations = np.vstack((jumps.T - np.eye(n_states), np.ones(n_states)))
    visits: np.ndarray = np.linalg.lstsq(equations, np.r_[np.zeros(n_states), 1.0], rcond=None)[0]
    return np.maximum(visits, 0.0)  # against rounding


def _walk(state: int, jumps: np.ndarray, n_jumps: int, rng: np.random.Generator) -> list[int]:
    """States of a chain: the first, and the one after each jump."""
    cumulative = [row.tolist() for row in np.cumsum(jumps, axis=1)]
    last = [int(np.flatnonzero(row)[-1]) for row in jumps]  # where rounding leaves a cumulative sum below 1
    states = [state]
    for draw in rng.random(n_jumps).tolist():
        state = min(bisect_right(cumulative[state], draw), last[state])
        states.append(state)
    return states


def _require_rate_and_count(rate_rps: float, n: int) -> None:
    if not (math.isfinite(rate_rps) and rate_rps > 0):
        raise InputError(f"rate_rps: {rate_rps} is not a positive number")
    _require_count(n)


def _require_count(n: int) -> None:
    if n < 0:
        raise InputError(f"n: {n} requests; it has to be at least 0")


def _require_cv(cv: float) -> None:
    if not _LEAST_CV <= cv <= _MOST_CV:
        raise InputError(f"cv: {cv} is not between {_LEAST_CV:g} and {_MOST_CV:g}")


def _require_curve(name: str, rates: np.ndarray, seconds: np.ndarray) -> None:
    if rates.ndim != 1 or not len(rates):
        raise InputError("rates_rps: there are no rates, or they are not one row of numbers")
    if not (np.isfinite(rates) & (rates >= 0)).all() or not rates.any():
        raise InputError("rates_rps: a rate is negative or not finite, or all are 0")
    if seconds.shape != rates.shape:
        raise InputError(f"{name}: {seconds.size} times for {len(rates)} rates")
    if not (np.isfinite(seconds) & (seconds > 0)).all():
        raise InputError(f"{name}: a time is not a positive number of seconds")
