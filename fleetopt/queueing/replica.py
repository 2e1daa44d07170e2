"""Equilibrium of one replica at a given load: iteration time, residency, KV, and how fast it prefills."""

from dataclasses import dataclass

import numpy as np

from fleetopt.profiles import GpuProfile

_OVERFLOW_QUANTILE = 2.326
"""Standard normal quantile of 99 %: KV may overflow its share 1 % of the time."""
_SHORTEST_BASE_S = 1e-6
"""A profile without a base time would make iterations of no time and no end; a microsecond keeps them countable."""
_MAX_ITERATIONS = 200
_BODY_POINTS, _POINTS_PER_DECADE = 100, 25


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RequestWork:
    """What requests of a mixture ask of a replica of one profile.

    Attributes
    ----------
    profile : GpuProfile
    chunk_tokens : int
        Most prompt tokens of one request in one iteration.
    prefill_s, decode_s : float
        Mean GPU time of a request's prompt and of its decode steps, beyond the iterations' base, s.
    tokens, steps : float
        Mean tokens that pass through the budget, and mean decode steps.
    iterations, iterations_cv2 : float
        Mean and squared coefficient of variation of the iterations that a request takes part in.
    kv_tokens : float
        Mean KV of a resident request, tokens.
    slots : int
        Requests that fit at once: the engine's limit, or as many as the KV cache holds 99 % of the time.
    prompt_points, output_points : tuple of np.ndarray
        Share and length, float64[k] each: the marginal distributions, condensed.
    """

    profile: GpuProfile
    chunk_tokens: int
    prefill_s: float
    decode_s: float
    tokens: float
    steps: float
    iterations: float
    iterations_cv2: float
    kv_tokens: float
    slots: int
    prompt_points: tuple[np.ndarray, np.ndarray]
    output_points: tuple[np.ndarray, np.ndarray]


def request_work(
    profile: GpuProfile, weight: np.ndarray, prompt_tokens: np.ndarray, output_tokens: np.ndarray
) -> RequestWork:
    """Work that the requests of a length mixture ask of a replica.

    Parameters
    ----------
    profile : GpuProfile
    weight, prompt_tokens, output_tokens : np.ndarray
        float64[k]; weights need not be normalised.

    Notes
    -----
    A request makes ``output - 1`` decode steps at contexts ``prompt + 1 ... prompt + output - 1``; the chunks of its
    prompt attend to ``prompt^2 / 2`` tokens in all, however they are cut.
    """
    share = weight / weight.sum()
    prompt, output, steps = prompt_tokens, output_tokens, output_tokens - 1
    chunk_tokens = min(profile.max_chunk_tokens, profile.max_batched_tokens)
    chunks = np.ceil(prompt / chunk_tokens)
    iterations = chunks + steps
    mean_iterations = float(share @ iterations)
    kv_tokens, slots = _slots(profile, share, prompt, output, chunks)
    context = steps * prompt + output * steps / 2
    return RequestWork(
        profile=profile,
        chunk_tokens=chunk_tokens,
        prefill_s=float(
            share @ (profile.per_prefill_token_s * prompt + profile.per_prefill_attention_s * prompt**2 / 2)
        ),
        decode_s=float(share @ (profile.per_sequence_s * steps + profile.per_context_token_s * context)),
        tokens=float(share @ (prompt + steps)),
        steps=float(share @ steps),
        iterations=mean_iterations,
        iterations_cv2=float(share @ iterations**2) / mean_iterations**2 - 1,
        kv_tokens=kv_tokens,
        slots=slots,
        prompt_points=_condense(share, prompt),
        output_points=_condense(share, output),
    )


def _slots(
    profile: GpuProfile, share: np.ndarray, prompt: np.ndarray, output: np.ndarray, chunks: np.ndarray
) -> tuple[float, int]:
    """Mean KV of a resident request, tokens, and the requests that fit at once.

    A resident request holds a ramp from 0 to its prompt while it prefills and from there to its full length while it
    decodes; ``m`` residents fit if ``m mean + z sqrt(m) deviation`` does.
    """
    steps, half_block = output - 1, profile.block_tokens / 2
    iterations = float(share @ (chunks + steps))
    first = chunks * (prompt / 2 + half_block) + steps * (prompt + output / 2 + half_block)
    second = chunks * prompt**2 / 3 + steps * (prompt**2 + prompt * output + output**2 / 3)
    mean = float(share @ first) / iterations
    spread = _OVERFLOW_QUANTILE * np.sqrt(max(float(share @ second) / iterations - mean**2, 0.0))
    root = (np.sqrt(spread**2 + 4 * mean * profile.kv_tokens) - spread) / (2 * mean)
    return mean, max(1, min(profile.max_sequences, int(root**2)))


def _condense(share: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Condense a distribution to a few hundred points, ever finer towards its largest values; group means are kept."""
    order = np.argsort(values, kind="stable")
    ordered = share[order]
    above = np.maximum(1 - (np.cumsum(ordered) - ordered / 2), 1e-6)
    group = np.floor((1 - above) * _BODY_POINTS) + np.floor(-np.log10(above) * _POINTS_PER_DECADE)
    _, index = np.unique(group, return_inverse=True)
    mass = np.bincount(index, ordered)
    return mass, np.bincount(index, ordered * values[order]) / mass


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaState:
    """A replica in equilibrium.

    Attributes
    ----------
    iteration_s : float
        Mean time of an iteration.
    decode_iteration_s : float
        The same without its prefill chunks.
    busy : float
        Share of time in an iteration.
    running : float
        Mean requests running.
    decoding : float
        Mean requests decoding in an iteration.
    kv_utilization : float
        Mean KV tokens held / KV tokens.
    budget_load : float
        Share of the token budget and of the GPU's time that the load asks for; 1 is the stability limit.
    """

    iteration_s: float
    decode_iteration_s: float
    busy: float
    running: float
    decoding: float
    kv_utilization: float
    budget_load: float


def replica_state(work: RequestWork, arrival_rate_rps: float) -> ReplicaState | None:
    """Fluid equilibrium of a replica that gets Poisson arrivals; None where it has none (overload).

    The mean iteration time is ``t = W / (1 - r w / beta)``, where r is the arrival rate, w the work of a request and
    beta the share of time that the replica is busy; beta is taken as ``1 - exp(-r E[S])``, the probability that an
    infinite-server queue is not empty (the residence S follows from t, hence the fixed point).

    Parameters
    ----------
    work : RequestWork
    arrival_rate_rps : float
        Rate at this replica, 1/s, above 0.

    References
    ----------
    WAIT, arXiv 2504.11320, section 2.2, for beta = 1; the token budget adds ``r (w + W E[tokens] / T) < 1``.
    """
    profile, rate = work.profile, arrival_rate_rps
    work_s = work.prefill_s + work.decode_s
    budget_load = rate * (work_s + profile.base_s * work.tokens / profile.max_batched_tokens)
    solved = _iteration_time(rate, work_s, work.iterations, max(profile.base_s, _SHORTEST_BASE_S))
    if budget_load >= 1 or solved is None:
        return None
    iteration_s, busy = solved
    running = rate * work.iterations * iteration_s
    return ReplicaState(
        iteration_s=iteration_s,
        decode_iteration_s=profile.base_s + rate * work.decode_s / busy * iteration_s,
        busy=busy,
        running=running,
        decoding=rate * work.steps * iteration_s / busy,
        kv_utilization=running * work.kv_tokens / profile.kv_tokens,
        budget_load=budget_load,
    )


def _iteration_time(rate: float, work_s: float, mean_iterations: float, base_s: float) -> tuple[float, float] | None:
    """Fixed point of iteration time and busy share, from below; None if it runs away or does not settle."""
    # An iteration's time cannot fall below that of a request alone on the replica.
    iteration_s = base_s + work_s / mean_iterations
    for _ in range(_MAX_ITERATIONS):
        busy = -np.expm1(-rate * mean_iterations * iteration_s)
        share = rate * work_s / busy
        if share >= 1:
            return None
        updated = base_s / (1 - share)
        if abs(updated - iteration_s) < 1e-10 * updated:
            return float(updated), float(busy)
        iteration_s = 0.5 * (iteration_s + updated)
    return None
