"""Slow reference of the pool model, last part: what an arrival finds, and when its first token comes."""

from types import SimpleNamespace

import numpy as np
from scipy import linalg

from tests.reference.pool_model_state import pool_state
from tests.reference.pool_model_work import (
    capacity,
    chunk_beside,
    mean_chunks,
    measured,
    prefill_queue,
    queue_distribution,
    replica_speed,
    tokens_beside,
)

__all__ = ["capacity", "measured", "pool_state", "ttft_exceeds"]

POINTS = 512
DAMPING = 1e-5 ** (np.arange(POINTS) / POINTS)


def ttft_exceeds(
    work: SimpleNamespace, state: SimpleNamespace, arrival_rate_rps: float, replicas: int, time_s: float
) -> float:
    """P(time to first token > a time)."""
    grid = SimpleNamespace(step_s=time_s / 0.85 / POINTS)
    rate = arrival_rate_rps / replicas
    idle = state.occupancy.found[0] + state.occupancy.found_after[0]
    total = transform(idle * masses(grid, work.share, work.unloaded_s))
    for found in found_busy(work, state, arrival_rate_rps, replicas):
        total = total + found.weight * (gated if is_gated(work, found) else queued)(grid, work, found, rate)
    cumulative = np.cumsum(np.fft.irfft(total, 2 * POINTS)[:POINTS] / DAMPING)
    edges = (np.arange(POINTS) + 0.5) * grid.step_s
    return min(max(1 - float(np.interp(time_s, edges, cumulative)), 0.0), 1.0)


def gamma_nodes(variation: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    normal, weights = np.polynomial.hermite_e.hermegauss(count)
    weights /= weights.sum()
    variation = min(variation, 40.0)  # or three nodes would all be 0
    values = np.maximum(1 - variation / 9 + normal * np.sqrt(variation) / 3, 0.0) ** 3
    return values / (weights @ values), weights


def found_busy(
    work: SimpleNamespace, state: SimpleNamespace, arrival_rate_rps: float, replicas: int
) -> list[SimpleNamespace]:
    """What arrivals find; fields as in ``kernels.records.FOUND``."""
    variation = state.decode_variance_s2 / state.decode_found_s**2 if state.decode_found_s > 0 else 0.0
    if replicas == 1:
        return found_alone(work, state, arrival_rate_rps, variation)
    both = (state.occupancy.found + state.occupancy.found_after)[1:]
    if both.sum() < 1e-7:
        return []
    support = np.flatnonzero(both > 1e-7 * both.sum())
    low, high = int(support[0]), int(support[-1]) + 1
    group = np.arange(high - low) * min(high - low, 12) // (high - low)
    mass = np.maximum(np.bincount(group, both[low:high]), 1e-300)
    requests = np.bincount(group, both[low:high] * np.arange(low + 1, high + 1)) / mass
    present = SimpleNamespace(
        requests=np.maximum(np.rint(requests), 1).astype(np.int64),
        share=np.bincount(group, state.occupancy.found[1:][low:high]),
        after_share=np.bincount(group, state.occupancy.found_after[1:][low:high]),
    )
    rate = arrival_rate_rps / replicas
    typical = found_in_pool(work, present, rate, replicas, work.step_s)
    mean_s = typical.queue[0] * typical.decode_free_s + (1 - typical.queue[0]) * typical.decode_queued_s
    nodes, weights = gamma_nodes(variation, 3)
    steps_s = nodes * (work.step_s * state.decode_found_s / max(mean_s, 1e-300))
    items = [found_in_pool(work, present, rate, replicas, float(step_s)) for step_s in steps_s]
    for item, weight in zip(items, weights, strict=True):
        item.weight = weight
    return items


def found_alone(work: SimpleNamespace, state: SimpleNamespace, rate: float, variation: float) -> list[SimpleNamespace]:
    probability, decoding = open_prefill_queue(work, rate, 256)
    own_s = work.step_s * (decoding - probability @ decoding)
    explained_s2 = min(float(probability @ own_s**2), state.decode_variance_s2)
    slow = 1 - explained_s2 / max(state.decode_variance_s2, 1e-300)
    tokens = np.maximum(work.profile.max_batched_tokens - decoding, 1.0)
    of_one = mean_chunks(work, chunk_beside(work, decoding[1]))
    chunks = np.maximum(work.prompt_tokens / tokens, of_one / np.maximum(np.arange(257), 1))
    chunks[:2] = of_one
    items = []
    for node, weight in zip(*gamma_nodes(variation * slow, 5), strict=True):
        decode_s = np.maximum(node * state.decode_found_s + own_s, 0.0)
        load = np.minimum(rate * (chunks * (work.base_s + decode_s) + work.prefill_s), (1 + state.budget_load) / 2)
        by_queue = np.exp(np.concatenate([[0.0], np.cumsum(np.log(load[1:]))]))
        by_queue /= by_queue.sum()
        by_queue[0] = max(by_queue[0] - state.occupancy.over_time[0], 1e-12)
        item = condensed(by_queue, decode_s * by_queue, float(by_queue @ decoding))
        item.weight, item.share = weight, 1 - state.occupancy.over_time[0]
        item.after_share, item.open_share, item.patience_s = 0.0, 1.0, np.inf
        items.append(item)
    return items


def open_prefill_queue(work: SimpleNamespace, rate: float, longest: int) -> tuple[np.ndarray, np.ndarray]:
    in_queue, counts = np.arange(longest + 1), np.arange(work.slots + 1)
    speed, last = replica_speed(work, work.step_s), longest
    decoding = np.full(longest + 1, rate * work.steps * speed.free_s[0])
    for _ in range(12):
        now = np.clip(decoding, 0.0, work.slots)
        at = SimpleNamespace(**{name: np.interp(now, counts, values) for name, values in vars(speed).items()})
        completed = np.where(in_queue <= 1, at.alone, np.minimum(in_queue * at.alone, at.at_once))
        prefilling_s = at.base_s + completed * at.prefill_s
        serve_rps = np.where(in_queue == 0, 0.0, completed / prefilling_s)
        log_weight = np.concatenate([[0.0], np.cumsum(np.log(rate / serve_rps[1:]))])
        probability = np.where(in_queue <= last, np.exp(log_weight - log_weight.max()), 0.0)
        probability /= probability.sum()
        finish_rps = 1 / (max(work.steps, 1e-9) * np.where(in_queue == 0, at.free_s, prefilling_s))
        rare = np.flatnonzero((probability < 1e-12 * np.cumsum(probability)) & (serve_rps > rate))
        last = min([last, *rare])  # beyond, what is decoding stays the same
        probability[last + 1 :] = 0.0
        arrive_rps = np.full(last + 1, rate)
        arrive_rps[-1] = 0.0
        bands = np.zeros((3, last + 1))
        bands[0, 1:], bands[2, :-1] = arrive_rps[:-1], serve_rps[1 : last + 1]
        bands[1] = -(arrive_rps + serve_rps[: last + 1] + finish_rps[: last + 1])
        before, decoding = decoding, np.zeros_like(decoding)
        decoding[: last + 1] = linalg.solve_banded((1, 1), bands, -arrive_rps)
        decoding[last + 1 :] = decoding[last]
        if probability @ np.abs(decoding - before) < 1e-3 * (probability @ decoding):
            break
    return probability, decoding


def found_in_pool(
    work: SimpleNamespace, present: SimpleNamespace, rate: float, replicas: int, step_s: float
) -> SimpleNamespace:
    open_share, patience_s = 1 / replicas, 1 / rate
    longest = int(present.requests[-1]) + 256 // replicas
    queue = prefill_queue(work, present.requests, longest, step_s)
    distribution = queue_distribution(queue, open_share, rate)
    both = present.share + present.after_share
    mean = float(present.requests @ both / both.sum())
    service_s = work.prompt / tokens_beside(work, mean) * (work.base_s + step_s * mean) + work.prompt_s
    patient = work.share @ np.minimum(service_s, patience_s) / (work.share @ service_s)
    distribution[:, 1:] *= open_share + (1 - open_share) * patient
    distribution /= distribution.sum(axis=1, keepdims=True)
    before = prefill_queue(work, present.requests + 1, longest, step_s)
    departing = queue_distribution(before, open_share, rate) * before.join_rps
    departing /= np.maximum(departing.sum(axis=1, keepdims=True), 1e-300)
    joint, joint_after = present.share[:, None] * distribution, present.after_share[:, None] * departing
    decoding = joint * queue.decoding + joint_after * np.maximum(before.decoding - 1, 0)
    by_queue = (joint + joint_after).sum(axis=0)
    item = condensed(by_queue, step_s * decoding.sum(axis=0), float(decoding.sum()))
    item.after_share = float(joint_after[:, 1:].sum()) / max(float(by_queue[1:].sum()), 1e-300)
    item.open_share, item.patience_s = open_share, patience_s
    return item


def condensed(by_queue: np.ndarray, decode_s: np.ndarray, decoding: float) -> SimpleNamespace:
    share, ahead = float(by_queue.sum()), np.arange(len(by_queue))
    last = int(np.flatnonzero(by_queue > 1e-7 * share)[-1]) + 1
    return SimpleNamespace(
        share=share,
        queue=by_queue[:last] / share,
        decode_free_s=float(decode_s[0]) / max(float(by_queue[0]), 1e-300),
        decode_queued_s=float(decode_s @ ahead) / max(float(by_queue @ ahead), 1e-300),
        decoding=decoding / share,
    )


def masses(grid: SimpleNamespace, share: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    place = times_s / grid.step_s
    is_inside = place < POINTS - 1
    low = place[is_inside].astype(np.int64)
    upper = share[is_inside] * (place[is_inside] - low)
    return np.bincount(low, share[is_inside] - upper, POINTS) + np.bincount(low + 1, upper, POINTS)


def uniform(grid: SimpleNamespace, width_s: float) -> np.ndarray:
    edges = (np.arange(POINTS + 1) - 0.5) * grid.step_s
    return np.diff(np.clip(edges / width_s, 0.0, 1.0))


def transform(at: np.ndarray) -> np.ndarray:
    return np.fft.rfft(at * DAMPING, 2 * POINTS)


def queued(grid: SimpleNamespace, work: SimpleNamespace, found: SimpleNamespace, rate: float) -> np.ndarray:
    """Transform of the time to first token at a busy replica, times the share of its arrivals."""
    share, prompt = work.share, work.prompt
    chunk = chunk_beside(work, found.decoding)
    free_s, queued_s = work.base_s + found.decode_free_s, work.base_s + found.decode_queued_s
    chunks = np.ceil(prompt / chunk)
    own_s = chunks * free_s + work.prompt_s
    unused_s = np.minimum(chunks * chunk - prompt, work.prompt_tokens) * work.profile.per_prefill_token_s
    own_s = own_s - np.expm1(-rate * own_s) * unused_s
    total = found.queue[0] * transform(masses(grid, share, own_s)) * transform(uniform(grid, free_s))
    if len(found.queue) > 1:
        service_s = prompt / chunk * queued_s + work.prompt_s
        left = transform(what_is_left(grid, work, found, service_s))
        ahead = sum(probability * left**j for j, probability in enumerate(found.queue) if j > 0)
        in_queue = 1 + float(found.queue @ np.arange(len(found.queue))) / (1 - found.queue[0])
        behind = -np.expm1(-rate * in_queue * float(share @ service_s))
        last_s = queued_s + behind * work.profile.per_prefill_token_s * min(chunk, work.prompt_tokens)
        total = total + ahead * transform(masses(grid, share, service_s)) * transform(uniform(grid, last_s))
    return np.asarray(found.share * total)


def what_is_left(
    grid: SimpleNamespace, work: SimpleNamespace, found: SimpleNamespace, service_s: np.ndarray
) -> np.ndarray:
    """Masses of what is left of a prompt ahead, from its density between the points of the grid."""
    share = work.share

    def beyond(times_s: np.ndarray) -> np.ndarray:
        return np.asarray(1 - np.cumsum(masses(grid, share, times_s)))

    density = found.open_share * beyond(service_s) / (share @ service_s)
    if found.open_share < 1:
        unseen = beyond(np.maximum(service_s - found.patience_s, 0.0))
        seen_s = share @ np.minimum(service_s, found.patience_s)
        density = density + (1 - found.open_share) * (beyond(service_s) - unseen) / seen_s
    if found.after_share > 0:
        attention_s = work.profile.per_prefill_attention_s * work.prompt**2 / 2
        middle_s = (service_s - attention_s) / 2 + attention_s * 5 / 6
        left_s = np.array([service_s, middle_s, np.zeros_like(service_s)])
        height = share * work.prompt / work.prompt_tokens / 2 / np.maximum(-np.diff(left_s, axis=0), 1e-12)
        jumps = np.diff(height, axis=0, prepend=0.0)
        falls = sum(masses(grid, jump, at_s) for jump, at_s in zip(-jumps, left_s[:-1], strict=True))
        density = (1 - found.after_share) * density + found.after_share * (height[-1].sum() + np.cumsum(falls))
    return np.asarray(0.5 * grid.step_s * (density + np.concatenate([[0.0], density[:-1]])))


def is_gated(work: SimpleNamespace, found: SimpleNamespace) -> bool:
    whole = work.prompt <= tokens_beside(work, found.decoding)
    return bool(work.share[whole] @ work.prompt[whole] > 0.5 * work.prompt_tokens)


def gated(grid: SimpleNamespace, work: SimpleNamespace, found: SimpleNamespace, rate: float) -> np.ndarray:
    """The same where iterations prefill several prompts."""
    share, prompt_s = work.share, work.prompt_s
    chunk, tokens = chunk_beside(work, found.decoding), tokens_beside(work, found.decoding)
    chunks = np.ceil(work.prompt / chunk)
    beside = min(rate * work.prefill_s, 0.99) * (1 - chunk / tokens)
    longer = 1 + (1 - 1 / chunks) * beside / (1 - beside)
    of_prompt = transform(masses(grid, share, prompt_s))

    def own(base_s: float) -> np.ndarray:
        alone = transform(masses(grid, share, (chunks * base_s + prompt_s) * longer))
        return np.asarray(alone * np.exp(rate * base_s * (of_prompt - 1)))

    free_s, queued_s = work.base_s + found.decode_free_s, work.base_s + found.decode_queued_s
    total = found.queue[0] * own(free_s) * transform(uniform(grid, free_s))
    if len(found.queue) > 1:
        total = total + own(queued_s) * rest(grid, work, found, rate, of_prompt, queued_s)
    return np.asarray(found.share * total)


def rest(
    grid: SimpleNamespace,
    work: SimpleNamespace,
    found: SimpleNamespace,
    rate: float,
    of_prompt: np.ndarray,
    base_s: float,
) -> np.ndarray:
    share, prompt_s = work.share, work.prompt_s
    mean_s = float(share @ prompt_s)
    at_once = max(1.0, tokens_beside(work, found.decoding) / work.prompt_tokens)
    whole = min(int(at_once), len(found.queue) - 1)
    carried = of_prompt * shift(grid, base_s / at_once)
    beyond = sum(p * carried ** (j + 1) for j, p in enumerate(found.queue[whole + 1 :]))
    companions = np.exp(rate * mean_s * (of_prompt - 1))
    total = np.zeros_like(of_prompt)
    for left in (np.arange(4) + 0.5) / 4:
        plain = transform(masses(grid, share, left * prompt_s)) * companions
        longer = transform(masses(grid, share * prompt_s, left * prompt_s)) * companions
        for k in range(1, whole + 1):
            seen = plain ** (k - 1) * (base_s * plain + k * longer) / (base_s + k * mean_s)
            total += (found.queue[k] + (beyond if k == whole else 0.0)) * seen * shift(grid, left * base_s) / 4
    return total


def shift(grid: SimpleNamespace, time_s: float) -> np.ndarray:
    return transform(masses(grid, np.ones(1), np.array([time_s])))
