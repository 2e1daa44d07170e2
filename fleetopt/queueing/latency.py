"""Time to first token and time per output token of a pool in equilibrium, as distributions."""

from dataclasses import dataclass

import numpy as np

from fleetopt.queueing.distribution import Grid, TimeDistribution
from fleetopt.queueing.equilibrium import PoolState
from fleetopt.queueing.replica import open_prefill_queue, open_queue_probability, prefill_queue
from fleetopt.queueing.work import RequestWork

_NODES = np.array([-np.sqrt(3.0), 0.0, np.sqrt(3.0)])
_NODE_WEIGHTS = np.array([1.0, 4.0, 1.0]) / 6
"""Gauss-Hermite rule of three points."""
_NEGLIGIBLE = 1e-7
_LONGEST_OPEN_QUEUE = 256
_MOST_NUMBERS = 12
_PLACES = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What an arrival finds on a busy replica whose decode steps are of one length.

    Attributes
    ----------
    share : float
        Of arrivals, 0 to 1.
    queue : np.ndarray
        float64[j], probability that 0, 1, ... requests are in the prefill queue; sums to 1.
    decode_free_s, decode_queued_s : float
        Decode part of an iteration where nobody, and where somebody, is in that queue, s.
    decoding : float
        Mean requests decoding.
    after : float
        Share of those that queue who take the place of a request that has just finished.
    open_share : float
        Share of the others who come whatever this replica does.
    longest_s : float
        Time after which a replica that finishes nothing gets no more arrivals but those, s.
    """

    share: float
    queue: np.ndarray
    decode_free_s: float
    decode_queued_s: float
    decoding: float
    after: float
    open_share: float
    longest_s: float


def ttft_distribution(
    work: RequestWork, state: PoolState, arrival_rate_rps: float, replicas: int
) -> TimeDistribution:
    """Distribution of the time to first token of a pool in equilibrium.

    On an idle replica a request starts at once and takes its own iterations. On a busy one it waits for the running
    iteration to end, and then for the prompts ahead of it: each takes ``prompt / tokens per iteration`` iterations, and
    what is left of them together is a sum of as many residual service times as there are prompts ahead, which for one
    replica is Pollaczek and Khinchine's formula. Its own last iteration is shared with who is behind it.

    Parameters
    ----------
    work : RequestWork
    state : PoolState
    arrival_rate_rps : float
        Rate of the pool, 1/s.
    replicas : int
    """
    idle = float(state.occupancy.found[0] + state.occupancy.found_after_departure[0])
    found = _found_busy(work, state, arrival_rate_rps, replicas)
    rate = arrival_rate_rps / replicas
    chunks = np.ceil(work.prompt_points[1] / work.chunk_tokens)
    alone_s = chunks * work.profile.prefill_only_base_s + work.prompt_only_s

    def masses(grid: Grid) -> np.ndarray:
        total = idle * grid.masses(work.prompt_points[0], alone_s)
        transform = sum((_busy_transform(grid, work, item, state, rate) for item in found), np.zeros(grid.points + 1))
        return np.asarray(total + grid.invert(transform))

    return TimeDistribution(masses, max(4 * float(alone_s.max()) ** 0.5 * state.iteration_s**0.5, 1e-6))


def _busy_transform(grid: Grid, work: RequestWork, found: Found, state: PoolState, rate: float) -> np.ndarray:
    """Transform of the time to first token of arrivals that find a busy replica, times their share."""
    profile = work.profile
    share, prompt = work.prompt_points
    chunk = max(1.0, min(work.chunk_tokens, profile.max_batched_tokens - found.decoding))
    free_s, queued_s = profile.base_s + found.decode_free_s, profile.base_s + found.decode_queued_s
    chunks = np.ceil(prompt / chunk)
    unused_s = (chunks * chunk - prompt) * profile.per_prefill_token_s
    own_s = chunks * free_s + work.prompt_work_s
    own_s = own_s - np.expm1(-rate * own_s) * unused_s
    transform = found.queue[0] * grid.transform(grid.masses(share, own_s)) * grid.transform(grid.uniform(free_s))
    if len(found.queue) > 1:
        service_s = prompt / chunk * queued_s + work.prompt_work_s
        service = grid.masses(share, service_s)
        left = _left(grid, work, found, service, service_s, prompt / chunk * queued_s)
        residual = grid.transform(left)
        ahead = np.zeros_like(residual)
        for probability in found.queue[:0:-1]:
            ahead = (ahead + probability) * residual
        last_s = queued_s + state.prefill_load * profile.per_prefill_token_s * chunk
        transform = transform + ahead * grid.transform(service) * grid.transform(grid.uniform(last_s))
    return found.share * transform


def _left(grid, work, found, service, service_s, base_s):
    share = work.prompt_points[0]
    left = grid.residual(service, float(share @ service_s))
    if found.open_share == 1:
        return left
    capped_s = np.minimum(service_s, found.longest_s)
    done = (np.arange(_PLACES) + 0.5) / _PLACES
    regulated = grid.masses(np.tile(share * capped_s / float(share @ capped_s) / _PLACES, _PLACES), (service_s - np.outer(done, capped_s)).ravel())
    regulated = found.open_share * left + (1 - found.open_share) * regulated
    return found.after * _left_by_iteration(grid, work, base_s) + (1 - found.after) * regulated


def _left_by_iteration(grid: Grid, work: RequestWork, base_s: np.ndarray) -> np.ndarray:
    """float64[points], what is left of a prompt's prefill in a mean iteration of it: any of its tokens is next."""
    share, prompt = work.prompt_points
    weight = share * prompt / float(share @ prompt)
    done = (np.arange(_PLACES) + 0.5) / _PLACES
    attention_s = work.profile.per_prefill_attention_s * prompt**2 / 2
    linear_s = base_s + work.prompt_work_s - attention_s
    left_s = np.outer(1 - done, linear_s) + np.outer(1 - done**2, attention_s)
    return grid.masses(np.tile(weight / _PLACES, _PLACES), left_s.ravel())


@dataclass(frozen=True, kw_only=True, eq=False)
class _Present:
    """Numbers of requests on the busy replicas that arrivals are sent to, condensed.

    ``share`` are those found at balance, ``after_share`` those found just after a departure; with the idle ones they
    sum to 1.
    """

    requests: np.ndarray
    share: np.ndarray
    after_share: np.ndarray


def _found_busy(work: RequestWork, state: PoolState, arrival_rate_rps: float, replicas: int) -> list[Found]:
    """What arrivals at busy replicas find, by the length of the decode steps there."""
    variation = state.decode_variance_s2 / max(state.decode_found_s, 1e-300) ** 2
    # Gamma quantiles by the cube root transform (Wilson and Hilferty, 1931).
    nodes = np.maximum(1 - variation / 9 + _NODES * np.sqrt(variation) / 3, 0.0) ** 3
    nodes /= _NODE_WEIGHTS @ nodes
    if replicas == 1:
        probability, decoding = open_prefill_queue(work, arrival_rate_rps, _LONGEST_OPEN_QUEUE)
        idle = float(state.occupancy.over_time[0])
        extra_s = work.step_s * (decoding - probability @ decoding)
        return [
            _found_alone(work, arrival_rate_rps, idle, node * state.decode_found_s, extra_s, decoding, weight)
            for node, weight in zip(nodes, _NODE_WEIGHTS, strict=True)
        ]
    present = _condensed(state)
    if present is None:
        return []
    longest = int(present.requests[-1]) + _LONGEST_OPEN_QUEUE // replicas

    def at(step_s: float, weight: float) -> Found:
        return _found_at(work, present, longest, step_s, weight, arrival_rate_rps / replicas, replicas)

    typical = at(work.step_s, 1.0)
    mean_s = typical.queue[0] * typical.decode_free_s + (1 - typical.queue[0]) * typical.decode_queued_s
    nodes *= work.step_s * state.decode_found_s / max(mean_s, 1e-300)
    return [at(float(step_s), float(weight)) for step_s, weight in zip(nodes, _NODE_WEIGHTS, strict=True)]


def _condensed(state: PoolState) -> _Present | None:
    """Requests found on busy replicas, a dozen numbers at most; None if arrivals practically never find one."""
    found, after = state.occupancy.found[1:], state.occupancy.found_after_departure[1:]
    both = found + after
    if both.sum() < _NEGLIGIBLE:
        return None
    support = np.flatnonzero(both > _NEGLIGIBLE * both.sum())
    low, high = int(support[0]), int(support[-1]) + 1
    group = np.arange(high - low) * min(high - low, _MOST_NUMBERS) // (high - low)
    mass = np.bincount(group, both[low:high])
    requests = np.bincount(group, both[low:high] * np.arange(low + 1, high + 1)) / np.maximum(mass, 1e-300)
    return _Present(
        requests=np.maximum(np.rint(requests), 1).astype(np.int64),
        share=np.bincount(group, found[low:high]),
        after_share=np.bincount(group, after[low:high]),
    )


def _found_at(
    work: RequestWork, present: _Present, longest: int, step_s: float, weight: float, rate: float, replicas: int
) -> Found:
    """What arrivals at busy replicas of a pool find where a decode step takes ``step_s``."""
    open_share = 1 / replicas
    queue = prefill_queue(work, present.requests, longest, step_s)
    distribution = queue.distribution(open_share, rate)
    typical = int(present.requests @ (present.share + present.after_share) / (present.share + present.after_share).sum())
    service_s = _service_s(work, typical, step_s)
    share = work.prompt_points[0]
    regulated = float(share @ np.minimum(service_s, 1 / rate)) / float(share @ service_s)
    distribution[:, 1:] *= open_share + (1 - open_share) * regulated
    distribution /= distribution.sum(axis=1, keepdims=True)
    # A departure is likelier while the prefill queue is short, and leaves one less.
    before = prefill_queue(work, present.requests + 1, longest, step_s)
    departing = before.distribution(open_share, rate) * before.join_rps
    departing /= np.maximum(departing.sum(axis=1, keepdims=True), 1e-300)
    joint = present.share[:, None] * distribution
    joint_after = present.after_share[:, None] * departing
    decoding = joint * queue.decoding + joint_after * np.maximum(before.decoding - 1, 0)
    after = float(joint_after[:, 1:].sum()) / max(float((joint + joint_after)[:, 1:].sum()), 1e-300)
    return _found(
        (joint + joint_after).sum(axis=0),
        step_s * decoding.sum(axis=0),
        decoding.sum(),
        weight,
        after,
        open_share,
        1 / rate,
    )


def _service_s(work, decoding, step_s):
    prompt = work.prompt_points[1]
    chunk = max(1.0, min(work.chunk_tokens, work.profile.max_batched_tokens - decoding))
    return prompt / chunk * (work.profile.base_s + step_s * decoding) + work.prompt_work_s


def _found_alone(
    work: RequestWork, rate: float, idle: float, decode_s: float, extra_s: np.ndarray, decoding: np.ndarray, weight: float
) -> Found:
    """What arrivals find on a single replica, as it is at any time, where decode steps take ``decode_s`` on average."""
    now_s = np.maximum(decode_s + extra_s, 0.0)
    probability = open_queue_probability(work, rate, decoding, now_s)
    probability[0] = max(probability[0] - idle, 1e-12)
    return _found(probability, now_s * probability, float(probability @ decoding), weight, 0.0, 1.0, np.inf)


def _found(
    by_queue: np.ndarray, decode_s: np.ndarray, decoding: float, weight: float, after: float, open_share: float, longest_s: float
) -> Found:
    """From probabilities by queue length, and the decode part of an iteration times them."""
    share = float(by_queue.sum())
    last = int(np.flatnonzero(by_queue > _NEGLIGIBLE * share)[-1]) + 1
    ahead = np.arange(len(by_queue))
    return Found(
        share=share * weight,
        queue=by_queue[:last] / share,
        decode_free_s=float(decode_s[0]) / max(float(by_queue[0]), 1e-300),
        decode_queued_s=float(decode_s @ ahead) / max(float(by_queue @ ahead), 1e-300),
        decoding=decoding / share,
        after=after,
        open_share=open_share,
        longest_s=longest_s,
    )
