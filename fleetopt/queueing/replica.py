"""A replica that holds a given number of requests: some in its prefill queue, the rest decoding."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

if TYPE_CHECKING:
    from fleetopt.queueing.work import RequestWork

_SHORTEST_S = 1e-9
_WAITING_BEYOND_SLOTS = 64
_ROUNDS, _SETTLED = 12, 1e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class ReplicaSpeed:
    """How fast a replica works by the requests that it decodes; arrays over 0 ... d of them.

    An iteration prefills up to ``T - decoding`` tokens and lasts as long as its base, its decode steps and these
    tokens. The last chunk of a prompt leaves tokens of the budget unused if nobody is behind it, else the next prompts
    take them: a prompt alone takes ``ceil(prompt / chunk)`` iterations, so that of j prompts an iteration completes
    ``j / ceil(prompt / chunk)``, but no more than ``tokens / prompt``.

    Attributes
    ----------
    alone, at_once : np.ndarray
        Prompts completed per iteration by one in the prefill queue, and by ever so many.
    base_s, prefill_s : np.ndarray
        Time of an iteration without prefill, while somebody prefills, and of a prompt beyond that, s.
    free_s : np.ndarray
        Time of an iteration while nobody is in the prefill queue, s.
    """

    alone: np.ndarray
    at_once: np.ndarray
    base_s: np.ndarray
    prefill_s: np.ndarray
    free_s: np.ndarray

    def _completed(self, decoding: np.ndarray, in_queue: np.ndarray) -> np.ndarray:
        """Prompts completed per iteration; as by one where the queue is empty."""
        alone = self.alone[decoding]
        return np.where(in_queue <= 1, alone, np.minimum(in_queue * alone, self.at_once[decoding]))

    def service_s(self, decoding: np.ndarray, in_queue: np.ndarray) -> np.ndarray:
        """Mean time between two completions of prompts, s."""
        return np.asarray(self.base_s[decoding] / self._completed(decoding, in_queue) + self.prefill_s[decoding])

    def iteration_s(self, decoding: np.ndarray, in_queue: np.ndarray) -> np.ndarray:
        """Mean time of an iteration, s."""
        prefilling = self.base_s[decoding] + self._completed(decoding, in_queue) * self.prefill_s[decoding]
        return np.where(in_queue == 0, self.free_s[decoding], prefilling)


def replica_speed(work: RequestWork, most_decoding: int, step_s: float) -> ReplicaSpeed:
    """Speed of a replica whose decode steps take ``step_s`` each, s, with 0 ... ``most_decoding`` of them at once."""
    profile = work.profile
    counts = np.arange(most_decoding + 1)
    tokens = np.maximum(profile.max_batched_tokens - counts, 1)
    chunk = np.minimum(tokens, work.chunk_tokens)
    free_s = np.maximum(work.base_s + step_s * counts, _SHORTEST_S)
    # The mean of a rounded quotient is nearly linear over the little that a chunk shrinks.
    alone = np.interp(counts, [0, max(most_decoding, 1)], [work.mean_chunks(chunk[0]), work.mean_chunks(chunk[-1])])
    return ReplicaSpeed(
        alone=1 / alone,
        at_once=np.maximum(tokens / work.prompt_tokens, 1 / alone),
        base_s=np.where(counts == 0, max(profile.prefill_only_base_s, _SHORTEST_S), free_s),
        prefill_s=np.where(counts == 0, work.prefill_only_s, work.prefill_s),
        free_s=free_s,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class PrefillQueue:
    """Rates at which the prefill queue of a replica moves, by requests present (rows) and requests in it (columns).

    Attributes
    ----------
    join_rps : np.ndarray
        float64[n, j], completions of decoding requests, 1/s; where the number present is kept, each lets one join.
    service_s, iteration_s : np.ndarray
        float64[n, j], time to prefill the request at the head, and of an iteration, s.
    decoding : np.ndarray
        float64[n, j], requests decoding.
    """

    join_rps: np.ndarray
    service_s: np.ndarray
    iteration_s: np.ndarray
    decoding: np.ndarray

    def distribution(self, open_share: float = 0.0, open_rate_rps: float = 0.0) -> np.ndarray:
        """float64[n, j], distribution of the requests in the prefill queue given those present; rows sum to 1.

        Birth and death: one joins at ``join_rps``, of which a share is replaced by a rate that does not depend on
        this replica, and one leaves after ``service_s``.
        """
        join_rps = (1 - open_share) * self.join_rps[:, :-1] + open_share * open_rate_rps
        with np.errstate(divide="ignore"):
            steps = np.log(join_rps * self.service_s[:, 1:])
        log_weight = np.concatenate([np.zeros((len(steps), 1)), np.cumsum(steps, axis=1)], axis=1)
        weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
        return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def prefill_queue(work: RequestWork, present: np.ndarray, longest: int, step_s: float) -> PrefillQueue:
    """Rates of the prefill queue of a replica.

    Parameters
    ----------
    work : RequestWork
    present : np.ndarray
        int64[n], requests on the replica.
    longest : int
        Columns run from 0 to this many requests in the prefill queue.
    step_s : float
        GPU time of a decode step, s; the mixture's mean, or more or less of it.
    """
    in_queue = np.arange(longest + 1)
    decoding = np.clip(present[:, None] - in_queue, 0, work.slots)
    speed = replica_speed(work, int(decoding.max()), step_s)
    iteration_s = speed.iteration_s(decoding, in_queue)
    return PrefillQueue(
        join_rps=decoding / (max(work.steps, _SHORTEST_S) * iteration_s),
        service_s=speed.service_s(decoding, in_queue),
        iteration_s=iteration_s,
        decoding=decoding,
    )


def open_prefill_queue(work: RequestWork, arrival_rate_rps: float, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Distribution of the prefill queue of a replica with arrivals of its own, and what it decodes meanwhile.

    Parameters
    ----------
    work : RequestWork
    arrival_rate_rps : float
    longest : int
        Most requests in the queue that are told apart.

    Returns
    -------
    probability, decoding : np.ndarray
        float64[longest + 1]: probability of 0, 1, ... in the queue, and mean requests decoding meanwhile.

    Notes
    -----
    While the queue is long more prompts are completed than arrive, so more are decoding, which slows prefill down. The
    pair (queue, decoding) is a Markov chain; its balance equations for the probability of a queue length and for the
    mean of what is decoding then are closed by taking the speed at that mean, and solved in turn until both settle.
    """
    in_queue = np.arange(longest + 1)
    counts = np.arange(work.slots + 1)
    speed = replica_speed(work, work.slots, work.step_s)
    decoding = np.full(longest + 1, arrival_rate_rps * work.steps * float(speed.free_s[0]))
    probability = np.eye(1, longest + 1)[0]
    for _ in range(_ROUNDS):
        now = np.clip(decoding, 0.0, work.slots)
        at = ReplicaSpeed(**{f.name: np.interp(now, counts, getattr(speed, f.name)) for f in fields(ReplicaSpeed)})
        serve_rps = np.where(in_queue == 0, 0.0, 1 / at.service_s(in_queue, in_queue))
        iteration_s = at.iteration_s(in_queue, in_queue)
        log_weight = np.concatenate([[0.0], np.cumsum(np.log(arrival_rate_rps / serve_rps[1:]))])
        probability = np.exp(log_weight - log_weight.max())
        probability /= probability.sum()
        finish_rps = 1 / (max(work.steps, _SHORTEST_S) * iteration_s)
        before, decoding = decoding, _mean_decoding(probability, serve_rps, finish_rps, arrival_rate_rps)
        if probability @ np.abs(decoding - before) < _SETTLED * (probability @ decoding):
            break
    return probability, decoding


def open_queue_probability(
    work: RequestWork, arrival_rate_rps: float, decoding: np.ndarray, decode_s: np.ndarray, highest_load: float
) -> np.ndarray:
    """float64[j], distribution of a prefill queue with arrivals of its own, given what is decoding at each length.

    Parameters
    ----------
    work : RequestWork
    arrival_rate_rps : float
    decoding, decode_s : np.ndarray
        float64[j], requests decoding and the decode part of an iteration, s, with 0, 1, ... in the queue.
    """
    profile = work.profile
    tokens = np.maximum(profile.max_batched_tokens - decoding, 1.0)
    chunk = np.minimum(tokens, work.chunk_tokens)
    ahead = np.maximum(np.arange(len(decoding)), 1)
    chunks = np.maximum(work.prompt_tokens / tokens, work.mean_chunks(float(chunk[1])) / ahead)
    chunks[:2] = work.mean_chunks(float(chunk[1]))
    load = arrival_rate_rps * (chunks * (work.base_s + decode_s) + work.prefill_s)
    log_step = np.log(np.minimum(load, highest_load))
    log_weight = np.concatenate([[0.0], np.cumsum(log_step[1:])])
    probability = np.exp(log_weight - log_weight.max())
    return np.asarray(probability / probability.sum())


def _mean_decoding(
    probability: np.ndarray, serve_rps: np.ndarray, finish_rps: np.ndarray, arrival_rate_rps: float
) -> np.ndarray:
    """float64[j], mean requests decoding by queue length: balance of their number at each length.

    With x_j the mean times the probability: ``r x_(j-1) - (r + mu_j + nu_j) x_j + mu_(j+1) x_(j+1) + r p_j = 0``; the
    longest queue takes no arrivals.
    """
    arrive_rps = np.full(len(probability), arrival_rate_rps)
    arrive_rps[-1] = 0.0
    bands = np.zeros((3, len(probability)))
    bands[0, 1:] = serve_rps[1:]
    bands[1] = -(arrive_rps + serve_rps + finish_rps)
    bands[2, :-1] = arrive_rps[:-1]
    # Scaled by the probabilities, so that the mean itself is solved for where they are tiny.
    scale = np.maximum(probability, 1e-300)
    bands[0, 1:] *= scale[1:] / scale[:-1]
    bands[2, :-1] *= scale[:-1] / scale[1:]
    return np.asarray(linalg.solve_banded((1, 1), bands, -arrive_rps))


@dataclass(frozen=True, kw_only=True, eq=False)
class ReplicaCapacity:
    """What a replica does while 0 ... n requests are present and each finished one is replaced; float64[n + 1] each.

    Attributes
    ----------
    throughput_rps : np.ndarray
        Requests finished per second.
    free_share : np.ndarray
        Share of the decode steps in iterations without a prefill chunk.
    """

    throughput_rps: np.ndarray
    free_share: np.ndarray


def replica_capacity(work: RequestWork) -> ReplicaCapacity:
    """Capacity of a replica by the requests present, up to some more than its slots.

    Prefill is a queue of one server and decode a delay whose speed depends on both; the number in the queue is then a
    birth-death process, whose solution this is.
    """
    most = work.slots + _WAITING_BEYOND_SLOTS
    queue = prefill_queue(work, np.arange(most + 1), most, work.step_s)
    joins_rps = queue.distribution() * queue.join_rps
    throughput_rps = joins_rps.sum(axis=1)
    return ReplicaCapacity(
        throughput_rps=throughput_rps, free_share=joins_rps[:, 0] / np.maximum(throughput_rps, _SHORTEST_S)
    )
