"""Slow reference of the pool model, first part: what a mixture asks of a replica, in plain NumPy.

Formulas are explained in ``fleetopt.queueing.kernels``; here they are written down directly: full tables, logarithms
and exponentials instead of products, transforms of every frequency, sorting by NumPy.
"""

from types import SimpleNamespace

import numpy as np

from fleetopt.profiles import GpuProfile

OVERFLOW_QUANTILE = 2.3263478740408408


def measured(profile: GpuProfile, weight: np.ndarray, prompt: np.ndarray, output: np.ndarray) -> SimpleNamespace:
    """Moments of a mixture and condensed lengths; names as in ``RequestWork``."""
    share, steps = weight / weight.sum(), output - 1
    chunk_tokens = min(profile.max_chunk_tokens, profile.max_batched_tokens)
    chunks, half_block = np.ceil(prompt / chunk_tokens), profile.block_tokens / 2
    work = SimpleNamespace(profile=profile, chunk_tokens=chunk_tokens, base_s=max(profile.base_s, 1e-6))
    context = steps * prompt + output * steps / 2
    prompt_s = profile.per_prefill_token_s * prompt + profile.per_prefill_attention_s * prompt**2 / 2
    only_s = profile.prefill_only_per_token_s * prompt + profile.prefill_only_per_attention_s * prompt**2 / 2
    work.prompt_tokens, work.steps = share @ prompt, share @ steps
    work.prefill_s, work.prefill_only_s = share @ prompt_s, share @ only_s
    work.decode_s = share @ (profile.per_sequence_s * steps + profile.per_context_token_s * context)
    work.tokens, work.iterations = share @ (prompt + steps), share @ (chunks + steps)
    work.step_s, work.step_variance_s2 = 0.0, 0.0
    if work.steps > 0:
        work.step_s = work.decode_s / work.steps
        middle_s = profile.per_sequence_s + profile.per_context_token_s * (prompt + output / 2)
        spread_s2 = profile.per_context_token_s**2 * (steps**2 - 1) / 12
        work.step_variance_s2 = share @ (steps * ((middle_s - work.step_s) ** 2 + spread_s2)) / work.steps
    work.decode_kv_tokens = share @ (steps * (prompt + output / 2 + half_block))
    work.prefill_kv_tokens = share @ (prompt * (prompt / 2 + half_block))
    work.prefill_kv_token_s = share @ (
        profile.per_prefill_token_s * prompt**2 / 2 + profile.per_prefill_attention_s * prompt**3 / 3
    )
    first = chunks * (prompt / 2 + half_block) + steps * (prompt + output / 2 + half_block)
    second = chunks * prompt**2 / 3 + steps * (prompt**2 + prompt * output + output**2 / 3)
    mean = share @ first / work.iterations
    spread = OVERFLOW_QUANTILE * np.sqrt(max(share @ second / work.iterations - mean**2, 0.0))
    root = (np.sqrt(spread**2 + 4 * mean * profile.kv_tokens) - spread) / (2 * mean)
    work.slots = max(1, min(profile.max_sequences, int(root**2)))
    of_prompt, of_output = groups(share, prompt, 10, 4), groups(share, output, 8, 3)
    work.share, work.prompt = condensed(share, groups(share, prompt, 100, 50), prompt)
    work.outputs = condensed(share, groups(share, output, 100, 50), output)
    work.joint = condensed(share, of_prompt * (of_output.max() + 1) + of_output, prompt, output)
    work.prompt_s = profile.per_prefill_token_s * work.prompt + profile.per_prefill_attention_s * work.prompt**2 / 2
    only_s = (profile.prefill_only_per_token_s + profile.prefill_only_per_attention_s * work.prompt / 2) * work.prompt
    work.unloaded_s = np.ceil(work.prompt / chunk_tokens) * profile.prefill_only_base_s + only_s
    return work


def groups(share: np.ndarray, values: np.ndarray, body_points: int, points_per_decade: int) -> np.ndarray:
    """Group of each value: equal shares in the body, ever finer towards the largest values."""
    order = np.argsort(values, kind="stable")
    ordered = share[order]
    above = np.maximum(1 - (np.cumsum(ordered) - ordered / 2), 1e-6)
    group = np.empty(len(values), dtype=np.int64)
    group[order] = np.floor((1 - above) * body_points) + np.floor(-np.log10(above) * points_per_decade)
    return group


def condensed(share: np.ndarray, group: np.ndarray, *values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Share and means of the groups."""
    _, first, index = np.unique(group, return_index=True, return_inverse=True)
    mass = np.bincount(index, share)
    means = [of[first] + np.bincount(index, share * (of - of[first][index])) / mass for of in values]
    return (mass, *means)


def tokens_beside(work: SimpleNamespace, decoding: float) -> float:
    return max(1.0, work.profile.max_batched_tokens - decoding)


def chunk_beside(work: SimpleNamespace, decoding: float) -> float:
    return min(work.chunk_tokens, tokens_beside(work, decoding))


def mean_chunks(work: SimpleNamespace, chunk_tokens: float) -> float:
    return float(work.share @ np.ceil(work.prompt / chunk_tokens))


def replica_speed(work: SimpleNamespace, step_s: float) -> SimpleNamespace:
    """Arrays over 0 ... slots decoding requests; see ``kernels.replica.Speed``."""
    counts = np.arange(work.slots + 1)
    tokens = np.maximum(work.profile.max_batched_tokens - counts, 1)
    free_s = np.maximum(work.base_s + step_s * counts, 1e-9)
    ends = [mean_chunks(work, chunk_beside(work, count)) for count in (0, work.slots)]
    alone = 1 / np.interp(counts, [0, work.slots], ends)
    return SimpleNamespace(
        alone=alone,
        at_once=np.maximum(tokens / work.prompt_tokens, alone),
        base_s=np.where(counts == 0, max(work.profile.prefill_only_base_s, 1e-9), free_s),
        prefill_s=np.where(counts == 0, work.prefill_only_s, work.prefill_s),
        free_s=free_s,
    )


def prefill_queue(work: SimpleNamespace, present: np.ndarray, longest: int, step_s: float) -> SimpleNamespace:
    """Rates of the prefill queue by requests present (rows) and requests in it (columns)."""
    in_queue = np.arange(longest + 1)
    decoding = np.clip(present[:, None] - in_queue, 0, work.slots)
    speed = replica_speed(work, step_s)
    alone = speed.alone[decoding]
    completed = np.where(in_queue <= 1, alone, np.minimum(in_queue * alone, speed.at_once[decoding]))
    prefilling_s = speed.base_s[decoding] + completed * speed.prefill_s[decoding]
    iteration_s = np.where(in_queue == 0, speed.free_s[decoding], prefilling_s)
    return SimpleNamespace(
        decoding=decoding,
        join_rps=decoding / (max(work.steps, 1e-9) * iteration_s),
        service_s=prefilling_s / completed,
    )


def queue_distribution(queue: SimpleNamespace, open_share: float = 0.0, open_rate_rps: float = 0.0) -> np.ndarray:
    """Birth and death, row by row."""
    join_rps = (1 - open_share) * queue.join_rps[:, :-1] + open_share * open_rate_rps
    with np.errstate(divide="ignore"):
        steps = np.log(join_rps * queue.service_s[:, 1:])
    log_weight = np.concatenate([np.zeros((len(steps), 1)), np.cumsum(steps, axis=1)], axis=1)
    weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def capacity(work: SimpleNamespace) -> tuple[np.ndarray, np.ndarray]:
    """Requests finished per second by those present, and the share of decode steps without a prefill chunk."""
    most = work.slots + 64
    queue = prefill_queue(work, np.arange(most + 1), most, work.step_s)
    joins_rps = queue_distribution(queue) * queue.join_rps
    throughput_rps = joins_rps.sum(axis=1)
    return throughput_rps, joins_rps[:, 0] / np.maximum(throughput_rps, 1e-9)


def response(work: SimpleNamespace, share: np.ndarray, prompt: np.ndarray, output: np.ndarray) -> SimpleNamespace:
    """Spectra of requests over the clock of iterations."""
    profile = work.profile
    chunks, steps = np.ceil(prompt / work.chunk_tokens), output - 1
    octaves = int(np.ceil(np.log2(np.pi * (chunks + steps).max() / 0.003)))
    omega = np.pi * 2.0 ** (np.arange(-3 * octaves, 1) / 3)
    none, one = np.zeros_like(chunks), np.ones_like(chunks)
    slope = profile.per_prefill_attention_s * (prompt / chunks) ** 2
    presence = transform(omega, none, chunks + steps, one, none)
    prefill = transform(omega, none, chunks, profile.per_prefill_token_s * prompt / chunks, slope)
    level = profile.per_sequence_s + profile.per_context_token_s * prompt
    decode = transform(omega, chunks, steps, level, profile.per_context_token_s * one)
    widths = np.diff(omega, prepend=0.0, append=omega[-1])
    weights = (widths[1:] + widths[:-1]) / 2
    weights[0] += omega[0] / 2
    return SimpleNamespace(
        omega=omega,
        weights=weights / np.pi,
        presence=share @ presence,
        decode=share @ decode,
        prefill=share @ prefill,
        presence_decode=share @ (presence * decode.conj()),
        presence_prefill=share @ (presence * prefill.conj()),
        decode_prefill=share @ (decode * prefill.conj()),
        presence_presence=share @ np.abs(presence) ** 2,
        decode_decode=share @ np.abs(decode) ** 2,
        prefill_prefill=share @ np.abs(prefill) ** 2,
    )


def transform(
    omega: np.ndarray, start: np.ndarray, length: np.ndarray, level: np.ndarray, slope: np.ndarray
) -> np.ndarray:
    """complex128[k, f]: sum of ``(level + slope (j + 1/2)) exp(-i omega (start + j))`` over j below the length."""
    at_start = np.exp(-1j * np.outer(start, omega))
    short, over = -np.expm1(-1j * np.outer(length, omega)), np.exp(-1j * np.outer(length, omega))
    turn, step = np.exp(-1j * omega), -np.expm1(-1j * omega)
    flat = short / step
    ramp = (turn * flat - length[:, None] * over) / step + flat / 2
    return np.asarray(at_start * (level[:, None] * flat + slope[:, None] * ramp))


def passed(turns: np.ndarray, load: float) -> np.ndarray:
    """Share of a power spectrum that an M/M/1 server passes, from the transform of its busy period."""
    load = min(max(load, 1e-6), 1 - 1e-6)
    s = 1j * turns
    with np.errstate(divide="ignore", invalid="ignore"):
        busy = 2 / (1 + load + s + np.sqrt((1 + load + s) ** 2 - 4 * load))
        spectrum = np.where(turns > 3e-6, ((1 - busy) / s).real, 1 / (1 - load))
    return np.clip((1 - load) * (1 + turns**2) * spectrum, 0.0, 1.0)


def fluctuation(
    spectra: SimpleNamespace, rate: float, joins: float, carried: float, prefill: float
) -> tuple[float, float, float, float]:
    """Covariances of running and of decode time with the iteration's time, variances of running and of decode time."""
    smoothing = passed(spectra.omega * prefill, carried)
    time = spectra.decode + smoothing * spectra.prefill
    cross = 2 * smoothing * spectra.decode_prefill.real
    time_time = spectra.decode_decode + cross + smoothing * spectra.prefill_prefill
    decode_time = spectra.decode_decode + smoothing * spectra.decode_prefill
    presence_time = spectra.presence_decode + smoothing * spectra.presence_prefill
    lagged = rate * np.exp(-1j * spectra.omega)
    gain = 1 / (1 - lagged * time)
    power = time_time * np.abs(gain) ** 2
    wanted = (
        presence_time * gain.conj() + lagged * power * spectra.presence,
        decode_time * gain.conj() + lagged * power * spectra.decode,
        spectra.presence_presence
        + 2 * lagged * presence_time.conj() * spectra.presence * gain
        + rate**2 * power * np.abs(spectra.presence) ** 2,
        spectra.decode_decode
        + 2 * lagged * decode_time.conj() * spectra.decode * gain
        + rate**2 * power * np.abs(spectra.decode) ** 2,
    )
    first, second, third, fourth = (joins * float(spectrum.real @ spectra.weights) for spectrum in wanted)
    return first, second, third, fourth
