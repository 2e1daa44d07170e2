"""What an arrival finds on the replica that it is sent to: who is in the prefill queue, and who is decoding."""

from dataclasses import dataclass

import numpy as np

from fleetopt.queueing.distribution import gamma_nodes
from fleetopt.queueing.equilibrium import PoolState
from fleetopt.queueing.replica import open_prefill_queue, open_queue_probability, prefill_queue
from fleetopt.queueing.work import RequestWork

_NEGLIGIBLE = 1e-7
_LONGEST_OPEN_QUEUE = 256
_MOST_NUMBERS = 12
_NODES_ALONE, _NODES_IN_POOL = 5, 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What arrivals find on busy replicas where decode steps are of one length.

    Attributes
    ----------
    share : float
        Of all arrivals, 0 to 1.
    queue : np.ndarray
        float64[j], probability that 0, 1, ... requests are in the prefill queue; sums to 1.
    decode_free_s, decode_queued_s : float
        Decode part of an iteration where nobody, and where somebody, is in that queue, s.
    decoding : float
        Mean requests decoding.
    after_share : float
        Share of the arrivals at a queue that take the place of a request that has just finished there.
    open_share : float
        Share of the other arrivals that come whatever this replica does.
    patience_s : float
        A replica that finishes nothing gets arrivals for this long only, but for that share, s.
    """

    share: float
    queue: np.ndarray
    decode_free_s: float
    decode_queued_s: float
    decoding: float
    after_share: float = 0.0
    open_share: float = 1.0
    patience_s: float = np.inf


def found_busy(work: RequestWork, state: PoolState, arrival_rate_rps: float, replicas: int) -> list[Found]:
    """What arrivals at busy replicas find, for decode steps that are short, typical and long.

    Parameters
    ----------
    work : RequestWork
    state : PoolState
    arrival_rate_rps : float
        Rate of the pool, 1/s.
    replicas : int
    """
    if replicas == 1:
        return _found_alone(work, state, arrival_rate_rps)
    present = _present(state)
    if present is None:
        return []
    rate = arrival_rate_rps / replicas
    typical = _found_in_pool(work, present, rate, replicas, work.step_s, 1.0)
    mean_s = typical.queue[0] * typical.decode_free_s + (1 - typical.queue[0]) * typical.decode_queued_s
    nodes, weights = gamma_nodes(state.decode_variation, _NODES_IN_POOL)
    steps_s = nodes * (work.step_s * state.decode_found_s / max(mean_s, 1e-300))
    return [
        _found_in_pool(work, present, rate, replicas, float(step_s), float(weight))
        for step_s, weight in zip(steps_s, weights, strict=True)
    ]


def _found_alone(work: RequestWork, state: PoolState, rate: float) -> list[Found]:
    """What arrivals find on a single replica: its state at any time.

    The decode part of an iteration is that of the queue length's own mean plus a slow fluctuation; the variance is that
    of all less that of those means. While it is slow the queue may be overloaded, but not for ever: the load is taken
    as at most half way from the mean to 1.
    """
    probability, decoding = open_prefill_queue(work, rate, _LONGEST_OPEN_QUEUE)
    idle = float(state.occupancy.over_time[0])
    own_s = work.step_s * (decoding - probability @ decoding)
    explained_s2 = min(float(probability @ own_s**2), state.decode_variance_s2)
    slow = 1 - explained_s2 / max(state.decode_variance_s2, 1e-300)
    nodes, weights = gamma_nodes(state.decode_variation * slow, _NODES_ALONE)
    items = []
    for node, weight in zip(nodes, weights, strict=True):
        decode_s = np.maximum(node * state.decode_found_s + own_s, 0.0)
        by_queue = open_queue_probability(work, rate, decoding, decode_s, (1 + state.budget_load) / 2)
        by_queue[0] = max(by_queue[0] - idle, 1e-12)
        items.append(_condensed(by_queue, decode_s * by_queue, float(by_queue @ decoding), float(weight)))
    return items


@dataclass(frozen=True, kw_only=True, eq=False)
class _Present:
    """Requests on the busy replicas that arrivals are sent to, a dozen numbers at most.

    ``share`` of arrivals find them at balance, ``after_share`` just after a departure; with those that find an idle
    replica they sum to 1.
    """

    requests: np.ndarray
    share: np.ndarray
    after_share: np.ndarray


def _present(state: PoolState) -> _Present | None:
    """None if arrivals practically never find a busy replica."""
    found, after = state.occupancy.found[1:], state.occupancy.found_after_departure[1:]
    both = found + after
    if both.sum() < _NEGLIGIBLE:
        return None
    support = np.flatnonzero(both > _NEGLIGIBLE * both.sum())
    low, high = int(support[0]), int(support[-1]) + 1
    group = np.arange(high - low) * min(high - low, _MOST_NUMBERS) // (high - low)
    mass = np.maximum(np.bincount(group, both[low:high]), 1e-300)
    requests = np.bincount(group, both[low:high] * np.arange(low + 1, high + 1)) / mass
    return _Present(
        requests=np.maximum(np.rint(requests), 1).astype(np.int64),
        share=np.bincount(group, found[low:high]),
        after_share=np.bincount(group, after[low:high]),
    )


def _found_in_pool(
    work: RequestWork, present: _Present, rate: float, replicas: int, step_s: float, weight: float
) -> Found:
    """What arrivals at busy replicas of a pool find where a decode step takes ``step_s``.

    Most arrivals take the place of a request that has just finished, on this replica or another; one share in
    ``replicas`` comes with a change of the pool's total. A replica stuck with a long prompt finishes nothing; it soon
    holds more than the others and gets no arrivals until they hold as many, so it is found for about the time between
    two arrivals, ``1 / rate``, not for as long as it is stuck.
    """
    open_share, patience_s = 1 / replicas, 1 / rate
    longest = int(present.requests[-1]) + _LONGEST_OPEN_QUEUE // replicas
    queue = prefill_queue(work, present.requests, longest, step_s)
    distribution = queue.distribution(open_share, rate)
    both = present.share + present.after_share
    service_s = work.service_s(float(present.requests @ both / both.sum()), step_s)
    share = work.prompt_points[0]
    patient = float(share @ np.minimum(service_s, patience_s)) / float(share @ service_s)
    distribution[:, 1:] *= open_share + (1 - open_share) * patient
    distribution /= distribution.sum(axis=1, keepdims=True)
    # A departure is likelier while the prefill queue is short, and leaves one less.
    before = prefill_queue(work, present.requests + 1, longest, step_s)
    departing = before.distribution(open_share, rate) * before.join_rps
    departing /= np.maximum(departing.sum(axis=1, keepdims=True), 1e-300)
    joint, joint_after = present.share[:, None] * distribution, present.after_share[:, None] * departing
    decoding = joint * queue.decoding + joint_after * np.maximum(before.decoding - 1, 0)
    by_queue = (joint + joint_after).sum(axis=0)
    after_share = float(joint_after[:, 1:].sum()) / max(float(by_queue[1:].sum()), 1e-300)
    return _condensed(
        by_queue,
        step_s * decoding.sum(axis=0),
        float(decoding.sum()),
        weight,
        after_share=after_share,
        open_share=open_share,
        patience_s=patience_s,
    )


def _condensed(by_queue: np.ndarray, decode_s: np.ndarray, decoding: float, weight: float, **arrivals: float) -> Found:
    """From probabilities by queue length, the decode part of an iteration times them, and mean decoding in all."""
    share = float(by_queue.sum())
    last = int(np.flatnonzero(by_queue > _NEGLIGIBLE * share)[-1]) + 1
    ahead = np.arange(len(by_queue))
    return Found(
        share=share * weight,
        queue=by_queue[:last] / share,
        decode_free_s=float(decode_s[0]) / max(float(by_queue[0]), 1e-300),
        decode_queued_s=float(decode_s @ ahead) / max(float(by_queue @ ahead), 1e-300),
        decoding=decoding / share,
        **arrivals,
    )
