"""A replica that holds a given number of requests: some in its prefill queue, the rest decoding."""

# mypy: ignore-errors
# Numba infers the types, and NumPy's stubs do not know the fields of a record.

from typing import NamedTuple

import numpy as np
from numba import njit

from fleetopt.compiled import compiled
from fleetopt.queueing.kernels.records import SHORTEST_S, TINY

WAITING_BEYOND_SLOTS = 64
_NEGLIGIBLE, _NEGLIGIBLE_QUEUE = 1e-18, 1e-12
_HUGE = 1e150


class Speed(NamedTuple):
    """How fast a replica works by the requests that it decodes; float64[d + 1] over 0 ... d of them.

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


@njit(error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def mean_chunks(prompts, chunk_tokens):
    """Mean chunks of a prompt, rounded up one by one, if a chunk holds that many tokens."""
    total = 0.0
    for i in range(prompts.shape[1]):
        total += prompts[0, i] * np.ceil(prompts[1, i] / chunk_tokens)
    return total


@njit(error_model="numpy")
def tokens_beside(work, decoding):
    """Most prompt tokens, of all requests, of an iteration in which that many requests decode."""
    return max(1.0, work.max_batched_tokens - decoding)


@njit(error_model="numpy")
def chunk_beside(work, decoding):
    """Most prompt tokens of one request in such an iteration."""
    return min(float(work.chunk_tokens), tokens_beside(work, decoding))


@compiled(error_model="numpy")
def tabulate_speed(works, prompts):
    """float64[3, slots + 1]: ``alone``, ``at_once`` and ``prefill_s`` of a ``Speed``, which no decode step changes."""
    work = works[0]
    speed = np.empty((3, work.slots + 1))
    # The mean of a rounded quotient is nearly linear over the little that a chunk shrinks.
    first = mean_chunks(prompts, chunk_beside(work, 0.0))
    last = mean_chunks(prompts, chunk_beside(work, float(work.slots)))
    for d in range(work.slots + 1):
        speed[0, d] = 1 / (first + (last - first) * d / work.slots)
        speed[1, d] = max(tokens_beside(work, float(d)) / work.prompt_tokens, speed[0, d])
        speed[2, d] = work.prefill_s if d > 0 else work.prefill_only_s
    return speed


@njit(error_model="numpy")
def replica_speed(work, table, step_s):
    """Speed of a replica whose decode steps take ``step_s`` each, s, with 0 ... slots of them at once."""
    free_s = np.empty(work.slots + 1)
    for d in range(work.slots + 1):
        free_s[d] = max(work.base_s + step_s * d, SHORTEST_S)
    base_s = free_s.copy()
    base_s[0] = max(work.prefill_only_base_s, SHORTEST_S)
    return Speed(table[0], table[1], base_s, table[2], free_s)


@njit(error_model="numpy")
def completed(speed, decoding, in_queue):
    """Prompts completed per iteration; as by one where the queue is empty."""
    alone = speed.alone[decoding]
    return alone if in_queue <= 1 else min(in_queue * alone, speed.at_once[decoding])


@njit(error_model="numpy")
def iteration_s(speed, decoding, in_queue):
    """Mean time of an iteration, s."""
    if in_queue == 0:
        return speed.free_s[decoding]
    return speed.base_s[decoding] + completed(speed, decoding, in_queue) * speed.prefill_s[decoding]


@njit(error_model="numpy")
def steps_of(work):
    """Mean decode steps of a request, above 0."""
    return max(work.steps, SHORTEST_S)


@njit(error_model="numpy")
def weigh_queue(work, speed, present, open_share, open_rate_rps, weight):
    """Distribution, by birth and death, of the requests in the prefill queue of a replica that holds so many.

    One joins for each decoding request that finishes; a share of that is replaced by a rate that does not depend on
    this replica. One leaves after the mean time between two completions of prompts, which is an iteration over the
    prompts completed in it. So the probability of j in the queue is ``weight[j]`` times the time of an iteration then.
    From where both have become negligible, or the queue is longer than those present, weights are left at 0.

    Returns
    -------
    total : float
        Of weights times iterations, s.
    finishing : float
        Of weights times the requests decoding.
    length : int
        Weights from here on are 0.
    """
    per_step = (1 - open_share) / steps_of(work)
    decoding = min(present, work.slots)
    before_s = speed.free_s[decoding]
    now = 1.0
    total, finishing = before_s, 1.0 * decoding
    weight[:] = 0.0
    weight[0] = now
    for j in range(1, weight.size):
        joins = decoding * per_step + open_share * open_rate_rps * before_s
        decoding = max(min(present - j, work.slots), 0)
        done = completed(speed, decoding, j)
        before_s = speed.base_s[decoding] + done * speed.prefill_s[decoding]
        now *= joins / done
        weight[j] = now
        total += now * before_s
        finishing += now * decoding
        if now * before_s < _NEGLIGIBLE * total and joins < done:
            return total, finishing, j
        if now > _HUGE:
            weight[: j + 1] /= _HUGE
            now, total, finishing = now / _HUGE, total / _HUGE, finishing / _HUGE
    return total, finishing, weight.size


@compiled(error_model="numpy")
def fill_capacity(works, speed, capacity, first):
    """Fill in the columns from ``first`` on that are nan: what a replica does while so many requests are present.

    Each finished one is replaced. Prefill is a queue of one server and decode a delay whose speed depends on both.

    Parameters
    ----------
    capacity : float64[2, n + 1], n beyond the slots
        Requests finished per second; share of the decode steps in iterations without a prefill chunk. Who fills in a
        column writes the same as any other, so that threads may share it.
    """
    work = works[0]
    at = replica_speed(work, speed, work.step_s)
    weight = np.empty(capacity.shape[1])
    for present in range(first, capacity.shape[1]):
        if np.isnan(capacity[0, present]) or np.isnan(capacity[1, present]):
            finish_rps(work, at, present, weight[: present + 1], capacity)


@njit(error_model="numpy")
def finish_rps(work, speed, present, weight, capacity):
    """Fill in a column of a capacity; returns the requests finished per second."""
    total, finishing, _ = weigh_queue(work, speed, present, 0.0, 0.0, weight)
    steps = steps_of(work)
    throughput_rps = finishing / (steps * total)
    free = weight[0] * min(present, work.slots) / (steps * total)
    capacity[1, present] = free / max(throughput_rps, SHORTEST_S)
    capacity[0, present] = throughput_rps
    return throughput_rps


@njit(error_model="numpy")
def open_prefill_queue(work, table, arrival_rate_rps, longest, rounds, settled):
    """Distribution of the prefill queue of a replica with arrivals of its own, and what it decodes meanwhile.

    While the queue is long more prompts are completed than arrive, so more are decoding, which slows prefill down. The
    pair (queue, decoding) is a Markov chain; its balance equations for the probability of a queue length and for the
    mean of what is decoding then are closed by taking the speed at that mean, and solved in turn until both settle.
    Lengths that are practically never reached are taken as the last one that is.

    Returns
    -------
    probability, decoding : float64[longest + 1]
        Probability of 0, 1, ... in the queue, and mean requests decoding meanwhile.
    """
    speed = replica_speed(work, table, work.step_s)
    decoding = np.full(longest + 1, arrival_rate_rps * work.steps * speed.free_s[0])
    before = np.empty(longest + 1)
    probability, serve_rps, finish_rps = np.empty(longest + 1), np.zeros(longest + 1), np.empty(longest + 1)
    steps = steps_of(work)
    probability[:] = 0.0
    length = longest + 1
    for _ in range(rounds):
        for j in range(length):
            now = min(max(decoding[j], 0.0), float(work.slots))
            low = min(int(now), work.slots - 1)
            part = now - low
            high = low + 1
            alone = speed.alone[low] + part * (speed.alone[high] - speed.alone[low])
            at_once = speed.at_once[low] + part * (speed.at_once[high] - speed.at_once[low])
            if j == 0:
                finish_rps[0] = 1 / (steps * (speed.free_s[low] + part * (speed.free_s[high] - speed.free_s[low])))
                continue
            done = alone if j <= 1 else min(j * alone, at_once)
            lasts_s = speed.base_s[low] + part * (speed.base_s[high] - speed.base_s[low])
            lasts_s += done * (speed.prefill_s[low] + part * (speed.prefill_s[high] - speed.prefill_s[low]))
            serve_rps[j] = done / lasts_s
            finish_rps[j] = 1 / (steps * lasts_s)
        length = _birth_death(arrival_rate_rps, serve_rps[:length], probability)
        before[:] = decoding
        _mean_decoding(serve_rps[:length], finish_rps, arrival_rate_rps, decoding)
        decoding[length:] = decoding[length - 1]
        moved, mean = 0.0, 0.0
        for j in range(length):
            moved += probability[j] * abs(decoding[j] - before[j])
            mean += probability[j] * decoding[j]
        if moved < settled * mean:
            break
    return probability, decoding


@njit(error_model="numpy")
def _birth_death(birth_rps, death_rps, probability):
    """Fill in the stationary distribution; returns from where on it is negligible, and left at 0."""
    probability[:] = 0.0
    probability[0] = 1.0
    now, total = 1.0, 1.0
    length = death_rps.size
    for j in range(1, death_rps.size):
        now *= birth_rps / death_rps[j]
        probability[j] = now
        total += now
        if now < _NEGLIGIBLE_QUEUE * total and birth_rps < death_rps[j]:
            length = j + 1
            break
        if total > _HUGE:
            probability[: j + 1] /= _HUGE
            now, total = now / _HUGE, total / _HUGE
    probability /= total
    return length


@njit(error_model="numpy")
def _mean_decoding(serve_rps, finish_rps, arrival_rate_rps, decoding):
    """Fill in the mean requests decoding by queue length: balance of their number at each length.

    With x_j the mean times the probability: ``r x_(j-1) - (r + mu_j + nu_j) x_j + mu_(j+1) x_(j+1) + r p_j = 0``; the
    longest queue takes no arrivals. Divided by the probabilities, whose balance is ``r p_(j-1) = mu_j p_j``, the
    equation is ``mu_j m_(j-1) - (r + mu_j + nu_j) m_j + r m_(j+1) + r = 0`` for the means m.
    """
    last = serve_rps.size - 1
    above, known = np.empty(last + 1), np.empty(last + 1)
    for j in range(last + 1):
        arrive_rps = arrival_rate_rps if j < last else 0.0
        below = serve_rps[j] if j > 0 else 0.0
        pivot = arrive_rps + serve_rps[j] + finish_rps[j]
        known[j] = arrive_rps
        if j > 0:
            pivot -= below * above[j - 1]
            known[j] += below * known[j - 1]
        above[j] = arrive_rps / pivot
        known[j] /= pivot
    decoding[last] = known[last]
    for j in range(last - 1, -1, -1):
        decoding[j] = known[j] + above[j] * decoding[j + 1]


@njit(error_model="numpy")
def open_queue_probability(work, prompts, arrival_rate_rps, decoding, decode_s, highest_load, probability):
    """Fill in the distribution of a prefill queue with arrivals of its own, given what is decoding at each length."""
    chunks_of_one = mean_chunks(prompts, chunk_beside(work, decoding[1]))
    probability[:] = 0.0
    probability[0] = 1.0
    now, total = 1.0, 1.0
    for j in range(1, probability.size):
        chunks = chunks_of_one
        if j > 1:
            chunks = max(work.prompt_tokens / tokens_beside(work, decoding[j]), chunks_of_one / j)
        load = arrival_rate_rps * (chunks * (work.base_s + decode_s[j]) + work.prefill_s)
        now *= max(min(load, highest_load), TINY)
        probability[j] = now
        total += now
        if now < _NEGLIGIBLE_QUEUE:
            break
    probability /= total
