"""Slow reference of the pool model, second part: how many requests a replica holds, and its equilibrium."""

from types import SimpleNamespace

import numpy as np

from tests.reference.pool_model_work import (
    capacity,
    chunk_beside,
    fluctuation,
    mean_chunks,
    response,
    tokens_beside,
)


def occupancy(throughput_rps: np.ndarray, arrival_rate_rps: float, replicas: int) -> SimpleNamespace:
    """Requests on a replica over time, and found by arrivals at balance and after a departure."""
    low, high = likely_levels(throughput_rps[:-1], arrival_rate_rps / replicas, replicas)
    stride = max(1, -(-replicas * (high - low) // 4096))
    total = np.arange(replicas * low, replicas * high, stride)
    level, above = np.divmod(total, replicas)
    mean_pairs, no_pair = unbalanced(replicas)
    phase = above * len(no_pair) // replicas
    pairs, balanced = mean_pairs[phase] * replicas, no_pair[phase]
    is_low = (total < replicas) & (replicas > 1)
    fade = np.exp(np.minimum(total - replicas, 0) / np.sqrt(replicas))
    left_over = mean_pairs[0] * replicas * (total / replicas) ** 2 * fade
    pairs = np.where(is_low, np.minimum(left_over, total / 2), pairs)
    centre = np.where(is_low, 1, level)
    lower = np.where(is_low, replicas - total + pairs, pairs) / replicas
    upper = np.where(is_low, pairs, above + pairs) / replicas
    middle = 1 - lower - upper
    below = np.maximum(centre - 1, 0)
    served_rps = lower * throughput_rps[below] + middle * throughput_rps[centre] + upper * throughput_rps[centre + 1]
    part = (stride + 1) / (2 * stride)
    deaths_rps = replicas * ((1 - part) * served_rps[:-1] + part * served_rps[1:])
    log_weight = np.concatenate([[0.0], np.cumsum(stride * np.log(arrival_rate_rps / deaths_rps))])
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    found = np.where(is_low, 0.0, balanced)

    def distribution(levels: np.ndarray, share: np.ndarray) -> np.ndarray:
        return np.bincount(levels, weight * share, len(throughput_rps))

    return SimpleNamespace(
        over_time=distribution(below, lower) + distribution(centre, middle) + distribution(centre + 1, upper),
        found=distribution(centre, found) + distribution(below, np.where(is_low, 1.0, 0.0)),
        found_after=distribution(below, np.where(is_low, 0.0, 1 - balanced)),
    )


def likely_levels(throughput_rps: np.ndarray, rate: float, replicas: int) -> tuple[int, int]:
    log_weight = np.r_[0.0, replicas * np.cumsum(np.log(rate / np.maximum(throughput_rps[1:], 1e-300)))]
    likely = np.flatnonzero(log_weight > max(0.0, float(log_weight.max())) - 40)
    return max(0, int(likely[0]) - 2), min(len(throughput_rps) - 1, int(likely[-1]) + 2)


def unbalanced(replicas: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean pairs off balance per replica, and the probability of none, by phase."""
    phases = min(replicas, 64)
    above = np.floor(np.arange(phases) * replicas / phases)
    pairs = np.arange(int(min(replicas // 2, 6 * np.sqrt(replicas) + 16)) + 1)
    births = np.maximum(replicas - above[:, None] - 2 * pairs[:-1] - 1, 0) / replicas
    weight = np.concatenate([np.ones((phases, 1)), np.cumprod(births, axis=1)], axis=1)
    weight /= weight.sum(axis=1, keepdims=True)
    return weight @ pairs / replicas, weight[:, 0]


def pool_state(work: SimpleNamespace, arrival_rate_rps: float, replicas: int) -> SimpleNamespace | None:
    """Equilibrium; names as in ``PoolState``."""
    rate = arrival_rate_rps / replicas
    work_s = work.prefill_s + work.decode_s
    budget_load = rate * (work_s + work.base_s * work.tokens / work.profile.max_batched_tokens)
    throughput_rps, free_share = capacity(work)
    if budget_load >= 1 or rate >= throughput_rps[-1]:
        return None
    levels = occupancy(throughput_rps, arrival_rate_rps, replicas)
    spectra = response(work, *work.joint)
    mean = mean_iteration(work, rate, min(1.0, max(1 - levels.over_time[0], budget_load)))
    if replicas == 1:
        clump(work, spectra, rate, levels, mean)
        mean = mean_iteration(work, rate, min(1.0, max(1 - levels.over_time[0], budget_load)))
        held = held_alone(work, spectra, rate, mean)
    else:
        held = held_in_pool(work, spectra, rate, levels, mean, replicas)
    running, decode_found_s, decode_variance_s2 = held
    if running >= work.slots:
        return None
    steps = levels.over_time * throughput_rps
    return SimpleNamespace(
        occupancy=levels,
        iteration_s=mean.iteration_s,
        busy=mean.busy,
        running=running,
        decode_s=mean.decode_s,
        decode_found_s=decode_found_s,
        decode_variance_s2=decode_variance_s2,
        chunk_share=1 - steps @ free_share / steps.sum(),
        chunk_tokens=tokens_beside(work, mean.decoding),
        prefill_load=mean.prefill_load,
        kv_utilization=kv_tokens(work, running, rate, mean) / work.profile.kv_tokens,
        budget_load=budget_load,
    )


def mean_iteration(work: SimpleNamespace, rate: float, busy: float) -> SimpleNamespace:
    iteration_s = work.base_s / (1 - rate * (work.prefill_s + work.decode_s) / busy)
    joins = rate * iteration_s / busy
    decoding, decode_s = joins * work.steps, joins * work.decode_s
    tokens = tokens_beside(work, decoding)
    service_s = work.prompt / tokens * (work.base_s + decode_s) + work.prompt_s
    mean_s = work.share @ service_s
    return SimpleNamespace(
        busy=busy,
        iteration_s=iteration_s,
        joins=joins,
        decoding=decoding,
        decode_s=decode_s,
        prefill_load=min(1.0, rate * mean_s),
        residual=work.share @ service_s**2 / (2 * mean_s) / iteration_s,
        carried=carried(work, rate, tokens, work.base_s + decode_s),
    )


def carried(work: SimpleNamespace, rate: float, tokens: float, free_s: float) -> float:
    chunks = work.prompt_tokens / tokens
    load = rate * (chunks * free_s + work.prefill_s)
    if load >= 1:
        return 1.0
    at_once = max(1.0, 1 / chunks)
    whole = int(at_once)
    service_s = free_s / np.arange(1, whole + 1) + work.prefill_s
    service_s[-1] += (chunks - 1 / at_once) * free_s
    weight = np.concatenate([[1.0], np.cumprod(rate * service_s)])
    beyond = weight[-1] * load / (1 - load)
    waiting = (1 - (at_once - whole)) * weight[-1] + beyond
    return float(waiting / (weight.sum() + beyond)) * chunks / mean_chunks(work, tokens)


def clump(
    work: SimpleNamespace, spectra: SimpleNamespace, rate: float, levels: SimpleNamespace, mean: SimpleNamespace
) -> None:
    idle, prefill_free = levels.over_time[0], 1 - mean.prefill_load
    if not 0 < idle < prefill_free:
        return
    equal = response(work, np.ones(1), np.array([work.prompt_tokens]), np.array([work.steps + 1]))
    variance, equal_variance = (
        fluctuation(of, rate, mean.joins, mean.carried, mean.residual)[2] for of in (spectra, equal)
    )
    now_idle = prefill_free * (idle / prefill_free) ** ((variance / equal_variance) ** -0.12)
    levels.over_time *= (1 - now_idle) / (1 - idle)
    levels.over_time[0] = now_idle
    levels.found = levels.over_time


def held_alone(
    work: SimpleNamespace, spectra: SimpleNamespace, rate: float, mean: SimpleNamespace
) -> tuple[float, float, float]:
    """Mean running, decode part found, and its variance."""
    fluid = mean_iteration(work, rate, 1.0)
    moved = fluctuation(spectra, rate, fluid.joins, fluid.carried, fluid.residual)
    running_time, decode_time, _, decode_variance = moved
    second_s2 = (decode_variance + fluid.decode_s**2) * mean.iteration_s / (mean.busy * fluid.iteration_s)
    return (
        fluid.joins * work.iterations + running_time / fluid.iteration_s,
        (fluid.decode_s + decode_time / fluid.iteration_s) / mean.busy,
        max(0.0, second_s2 - mean.decode_s**2 - mean.decoding * work.step_s**2),
    )


def held_in_pool(
    work: SimpleNamespace,
    spectra: SimpleNamespace,
    rate: float,
    levels: SimpleNamespace,
    mean: SimpleNamespace,
    replicas: int,
) -> tuple[float, float, float]:
    moved = fluctuation(spectra, rate, mean.joins, mean.carried, mean.residual)
    running_time, decode_time, _, decode_variance = moved
    present = mean.joins * work.iterations
    counts = np.arange(1, len(levels.over_time))
    share = levels.over_time[1:] / levels.over_time[1:].sum()
    spread = share @ (counts - share @ counts) ** 2
    freedom = min(max(0.0, 1 - present * (1 - mean.busy)) / replicas, 0.5 * spread / (share @ counts))
    moved_s2 = freedom * decode_variance - mean.decoding * work.step_s**2 / replicas
    return (
        mean.busy * (present + freedom * running_time / mean.iteration_s),
        mean.decode_s + freedom * decode_time / mean.iteration_s,
        (1 - 1 / replicas) * mean.decoding * work.step_variance_s2 + max(0.0, moved_s2),
    )


def kv_tokens(work: SimpleNamespace, running: float, rate: float, mean: SimpleNamespace) -> float:
    chunk_tokens, iteration_s = chunk_beside(work, mean.decoding), work.base_s + mean.decode_s
    chunks = np.ceil(work.prompt / chunk_tokens)
    prefill_s = (work.iterations - work.steps) * iteration_s + work.prefill_s
    held = work.share @ (chunk_tokens * chunks * (chunks - 1) / 2 + work.prompt) * iteration_s
    held += work.prefill_kv_token_s + work.share @ (work.prompt / chunks * work.prompt_s) / 2
    if work.steps > 0:
        held += work.decode_kv_tokens * max(0.0, running / rate - prefill_s) / work.steps
        if work.profile.per_context_token_s > 0:
            held += work.steps * work.step_variance_s2 / work.profile.per_context_token_s
    return float(rate * held)
