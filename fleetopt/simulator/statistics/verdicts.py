"""Verdicts that may be "undecided": whether a target is met, whether a queue keeps growing."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from fleetopt.simulator.result import SimulationResult
from fleetopt.simulator.statistics.intervals import Interval, binomial_quantile, student_quantile

_FEWEST_REQUESTS = 100
_BATCHES_PER_QUARTER = 10
_STEADY_GROWTH = 0.005
_RUNAWAY_GROWTH = 0.10
_LONG_ENOUGH = 10.0
_FALSE_ALARM = 0.025
_NOTABLE_PREEMPTIONS = 0.001
_KINDS: tuple[Literal["stable", "unstable", "undecided"], ...] = ("stable", "unstable", "undecided")


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
        ``unstable`` if a pool is, ``undecided`` if none is and one cannot be judged or a request was never served, else
        ``stable``. A pool without requests keeps up.

    Notes
    -----
    What grows without bound in an overloaded pool is the number of requests that have no first token yet: those
    that have one are limited by slots and memory, and follow the arrival rate in a pool that keeps up. A request that
    is never served stays in it for ever, in the pool where it belongs. This backlog, as each arriving request finds it,
    is compared between the second and the last quarter of the arrivals. Its growth is expressed per request that
    arrived between the middles of the two, half of all, and given a 95 % interval by Welch's test on 10 batch means per
    quarter (batches, because neighbours are correlated).

    *Unstable*: the interval is above 0.5 %, that is at least one in 200 arrivals adds to the backlog for good, and
    the third quarter lies between (a burst at the end is no trend). *Stable*: the interval is below 0.5 %. Otherwise
    undecided. Both need arrivals over at least 10 times the mean time that a request spends in service, because a fleet
    that starts empty first fills up; over a shorter span only a growth above 10 % is called unstable, and under one
    time in service, or with fewer than 100 requests, nothing is said. Service is taken as the time from first to last
    token and, for the prompt, the first percentile of the time to first token, as the rest of that may be queueing.

    A pool short of memory collapses by chance: preempted requests are computed again, which preempts others. Until then
    it is stable, and a run may end before. At 1.05 times the rate at which 200,000 requests collapse, 26 of 40 runs of
    10,000 were called stable (6 unstable); 3 in 4 of those had a preemption in 200 requests or more, at 0.9 times the
    rate and below next to none had one. So the reason names preemptions of more than one in 1,000 requests.

    References
    ----------
    Law, A. M. (2015), Simulation Modeling and Analysis, 5th ed., 9.5.3 (batch means); Welch, B. L. (1947), Biometrika
    34(1-2).
    """
    pools = [i for i in range(len(result.pool_names)) if result.pool_mask(i).any()]
    if not pools:
        return Stability("undecided", "no request was served")
    verdicts = {f"pool '{result.pool_names[pool]}'": _pool_stability(result, pool) for pool in pools}
    reasons = {kind: [f"{pool}: {v.reason}" for pool, v in verdicts.items() if v.verdict == kind] for kind in _KINDS}
    if reasons["unstable"]:
        return Stability("unstable", reasons["unstable"][0])
    if result.is_unserved.any():
        n_unserved = f"{result.is_unserved.sum():,} of {len(result):,} requests"
        return Stability("undecided", f"{n_unserved} were never served, as no replica was up that takes them")
    if reasons["undecided"]:
        return Stability("undecided", reasons["undecided"][0])
    return Stability("stable", "; ".join(reasons["stable"]))


def combined_stability(verdicts: Sequence[Stability]) -> Stability:
    """Judge a fleet by the verdicts of independent replications.

    Parameters
    ----------
    verdicts : sequence of Stability
        One per replication.

    Returns
    -------
    Stability
        ``unstable`` if more than half of the replications are; ``stable`` if more than half are, and no more are
        unstable than a stable fleet has by chance in 95 % of cases; else ``undecided``.

    Notes
    -----
    A queue that drifts upwards does so in every replication once the drift outgrows the noise, so half of them is what
    a fleet at its very limit shows. A stable fleet is called unstable in at most 2.5 % of replications (the verdict
    takes a two-sided 95 % interval above its limit), so that the number of those is at most binomial. More false
    alarms than that, but no majority, is a fleet near its limit or too short a run: undecided.
    """
    if not verdicts:
        return Stability("undecided", "there are no replications")
    n = len(verdicts)
    count = Counter(item.verdict for item in verdicts)
    verdict: Literal["stable", "unstable", "undecided"] = "undecided"
    if 2 * count["unstable"] > n:
        verdict = "unstable"
    elif 2 * count["stable"] > n and count["unstable"] <= binomial_quantile(0.95, n, _FALSE_ALARM):
        verdict = "stable"
    telling = verdict if verdict != "undecided" or count["undecided"] else "unstable"
    example = next(item.reason for item in verdicts if item.verdict == telling)
    if n == 1:
        return Stability(verdict, example)
    counts = ", ".join(f"{count[kind]} {kind}" for kind in _KINDS if count[kind])
    return Stability(verdict, f"of {n} replications {counts}; the first {telling} one: {example}")


def _pool_stability(result: SimulationResult, pool: int) -> Stability:
    belongs = (result.pool == pool) & ~result.is_rejected
    n = int(belongs.sum())
    if n < _FEWEST_REQUESTS:
        return Stability("undecided", f"{n} requests are too few to judge; it takes {_FEWEST_REQUESTS}")
    arrival_s = result.arrival_s[belongs]
    first_token_s = np.where(result.is_unserved[belongs], np.inf, result.first_token_s[belongs])
    service_s = _service_s(result, result.pool_mask(pool))
    span_s = float(arrival_s[-1] - arrival_s[0])
    if span_s < service_s:
        return Stability("undecided", f"arrivals span {span_s:.3g} s, one request in service {service_s:.3g} s")
    backlog = np.arange(n) - np.searchsorted(np.sort(first_token_s), arrival_s, side="right")
    growth, third = _backlog_growth(backlog)
    is_long_enough = span_s >= _LONG_ENOUGH * service_s
    limit = _STEADY_GROWTH if is_long_enough else _RUNAWAY_GROWTH
    text = (
        f"the backlog changes by {growth.estimate:+.2%} of the arrivals [95 %: {growth.lower:+.2%} to "
        f"{growth.upper:+.2%}; steady is below {limit:.1%}]"
    )
    if growth.lower > limit:
        if 0.25 <= third <= 1.0:
            return Stability("unstable", text)
        text += f", but not steadily: {third:.0%} of it by the third quarter"
    if not is_long_enough:
        return Stability(
            "undecided",
            f"arrivals span {span_s:.3g} s, less than {_LONG_ENOUGH:g} times a service of {service_s:.3g} s",
        )
    if growth.upper >= limit:
        return Stability("undecided", text)
    preemptions = int(result.preemptions[belongs].sum())
    if preemptions > _NOTABLE_PREEMPTIONS * n:
        text += f"; with {preemptions:,} preemptions its KV cache is full at times, and a longer run may be unstable"
    return Stability("stable", text)


def _service_s(result: SimulationResult, served: np.ndarray) -> float:
    """Mean time in service: from first to last token, and for the prompt the shortest times to first token, s."""
    decode_s = float(np.mean(result.finish_s[served] - result.first_token_s[served]))
    return decode_s + float(np.quantile(result.ttft_s[served], 0.01))


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
        half_width = student_quantile(0.975, freedom) * math.sqrt(variances.sum())
    arrivals_between = len(backlog) / 2.0
    share = (float(third.mean()) - float(batches[0].mean())) / growth if growth > 0.0 else 0.0
    return Interval(*(np.array([growth, growth - half_width, growth + half_width]) / arrivals_between)), share
