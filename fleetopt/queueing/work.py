"""What the requests of a length mixture ask of a replica: moments, condensed lengths, and how they spread over time."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fleetopt.profiles import GpuProfile
from fleetopt.queueing.replica import ReplicaCapacity, replica_capacity
from fleetopt.queueing.response import IterationResponse, iteration_response

_SHORTEST_BASE_S = 1e-6
_OVERFLOW_QUANTILE = 2.326
"""Standard normal quantile of 99 %: KV may overflow its share 1 % of the time."""
_BODY_POINTS, _POINTS_PER_DECADE = 100, 50
_JOINT_PROMPT, _JOINT_OUTPUT = (10, 4), (8, 3)


@dataclass(frozen=True, kw_only=True, eq=False)
class RequestWork:
    """What requests of a mixture ask of a replica of one profile.

    Attributes
    ----------
    profile : GpuProfile
    chunk_tokens : int
        Most prompt tokens of one request in one iteration.
    prompt_tokens : float
        Mean prompt, tokens.
    prefill_s, decode_s : float
        Mean GPU time of a request's prompt and of its decode steps, beyond the iterations' base, s.
    prefill_only_s : float
        The same of the prompt in iterations without a decode step, s.
    tokens, steps : float
        Mean tokens that pass through the budget, and mean decode steps.
    iterations : float
        Mean iterations that a request takes part in.
    step_s, step_variance_s2 : float
        Mean and variance of the GPU time of one decode step, over all steps of all requests, s and s^2.
    decode_kv_tokens : float
        KV of a decoding request, tokens, summed over its steps; mean.
    prefill_kv_tokens, prefill_kv_token_s : float
        KV of a prompt summed over its tokens as they come, tokens^2, and over the GPU time of its prefill, tokens x s;
        means.
    slots : int
        Requests that fit at once: the engine's limit, or as many as the KV cache holds 99 % of the time.
    prompt_points, output_points : tuple of np.ndarray
        Share and length, float64[k] each: the marginal distributions, condensed.
    joint_points : tuple of np.ndarray
        Share, prompt and output, float64[k] each: the joint distribution, condensed further.
    """

    profile: GpuProfile
    chunk_tokens: int
    prompt_tokens: float
    prefill_s: float
    decode_s: float
    prefill_only_s: float
    tokens: float
    steps: float
    iterations: float
    step_s: float
    step_variance_s2: float
    decode_kv_tokens: float
    prefill_kv_tokens: float
    prefill_kv_token_s: float
    slots: int
    prompt_points: tuple[np.ndarray, np.ndarray]
    output_points: tuple[np.ndarray, np.ndarray]
    joint_points: tuple[np.ndarray, np.ndarray, np.ndarray]

    @property
    def base_s(self) -> float:
        """Base time of an iteration, s; without one iterations would take no time, so it is at least a microsecond."""
        return max(self.profile.base_s, _SHORTEST_BASE_S)

    @property
    def work_s(self) -> float:
        """Mean GPU time of a request beyond the iterations' base, s."""
        return self.prefill_s + self.decode_s

    @property
    def longest_prompt_tokens(self) -> float:
        """Longest prompt, tokens; the mean of the longest few where there are many."""
        return float(self.prompt_points[1].max())

    @cached_property
    def prompt_work_s(self) -> np.ndarray:
        """float64[k], GPU time of the prompt at each of ``prompt_points`` beyond the iterations' base, s."""
        prompt, profile = self.prompt_points[1], self.profile
        return profile.per_prefill_token_s * prompt + profile.per_prefill_attention_s * prompt**2 / 2

    @cached_property
    def prompt_only_s(self) -> np.ndarray:
        """float64[k], the same in iterations without a decode step, s."""
        prompt, profile = self.prompt_points[1], self.profile
        return profile.prefill_only_per_token_s * prompt + profile.prefill_only_per_attention_s * prompt**2 / 2

    @cached_property
    def response(self) -> IterationResponse:
        """How requests, their GPU time and their presence are spread over the iterations; computed once."""
        return iteration_response(self.profile, self.chunk_tokens, *self.joint_points)

    @cached_property
    def equal_response(self) -> IterationResponse:
        """The same for requests that all have the mean prompt and output."""
        share, prompt, output = self.joint_points
        means = np.array([share @ prompt]), np.array([share @ output])
        return iteration_response(self.profile, self.chunk_tokens, np.ones(1), *means)

    @cached_property
    def capacity(self) -> ReplicaCapacity:
        """What a replica finishes by the requests that it holds; computed once."""
        return replica_capacity(self)

    @cached_property
    def unloaded_ttft_s(self) -> np.ndarray:
        """float64[k], time to first token at each of ``prompt_points`` on an idle replica, s."""
        chunks = np.ceil(self.prompt_points[1] / self.chunk_tokens)
        return np.asarray(chunks * self.profile.prefill_only_base_s + self.prompt_only_s)

    def unloaded_ttft_quantile_s(self, probability: float) -> float:
        """Quantile of the time to first token of requests that are alone on their replica, s."""
        order = np.argsort(self.unloaded_ttft_s)
        share = self.prompt_points[0][order]
        return float(np.interp(probability, np.cumsum(share) - share / 2, self.unloaded_ttft_s[order]))

    def tokens_beside(self, decoding: float) -> float:
        """Most prompt tokens, of all requests, of an iteration in which that many requests decode."""
        return max(1.0, self.profile.max_batched_tokens - decoding)

    def chunk_beside(self, decoding: float) -> float:
        """Most prompt tokens of one request in such an iteration."""
        return min(self.chunk_tokens, self.tokens_beside(decoding))

    def service_s(self, decoding: float, step_s: float) -> np.ndarray:
        """float64[k], time to prefill each of ``prompt_points`` beside decode steps of ``step_s`` each, s."""
        iterations = self.prompt_points[1] / self.tokens_beside(decoding)
        return np.asarray(iterations * (self.base_s + step_s * decoding) + self.prompt_work_s)

    def kv_tokens(self, running: float, arrival_rate_rps: float, decoding: float, decode_s: float) -> float:
        """Mean KV held, tokens, over time.

        Parameters
        ----------
        running : float
            Mean requests running, over time.
        arrival_rate_rps : float
        decoding, decode_s : float
            Requests decoding in a mean iteration, and its decode part, s.
        """
        chunk_tokens, iteration_s = self.chunk_beside(decoding), self.base_s + decode_s
        share, prompt = self.prompt_points
        chunks = np.ceil(prompt / chunk_tokens)
        prefill_s = (self.iterations - self.steps) * iteration_s + self.prefill_s
        # A chunk's blocks are held from the start of its iteration: half a chunk more than has been computed.
        held = float(share @ (chunk_tokens * chunks * (chunks - 1) / 2 + prompt)) * iteration_s
        held += self.prefill_kv_token_s + float(share @ (prompt / chunks * self.prompt_work_s)) / 2
        if self.steps > 0:
            step_s = max(0.0, running / arrival_rate_rps - prefill_s) / self.steps
            held += self.decode_kv_tokens * step_s
            if self.profile.per_context_token_s > 0:  # who holds more decodes more slowly
                held += self.steps * self.step_variance_s2 / self.profile.per_context_token_s
        return arrival_rate_rps * held

    def mean_chunks(self, chunk_tokens: float) -> float:
        """Mean chunks of a prompt, rounded up one by one, if a chunk holds that many tokens."""
        share, prompt = self.prompt_points
        return float(share @ np.ceil(prompt / chunk_tokens))


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
    half_block = profile.block_tokens / 2
    context = steps * prompt + output * steps / 2
    decode_s = float(share @ (profile.per_sequence_s * steps + profile.per_context_token_s * context))
    step_s, step_variance_s2 = _step_moments(profile, share, prompt, output, decode_s)
    return RequestWork(
        profile=profile,
        chunk_tokens=chunk_tokens,
        prompt_tokens=float(share @ prompt),
        prefill_s=float(
            share @ (profile.per_prefill_token_s * prompt + profile.per_prefill_attention_s * prompt**2 / 2)
        ),
        decode_s=decode_s,
        prefill_only_s=float(
            share @ (profile.prefill_only_per_token_s * prompt + profile.prefill_only_per_attention_s * prompt**2 / 2)
        ),
        tokens=float(share @ (prompt + steps)),
        steps=float(share @ steps),
        iterations=float(share @ (chunks + steps)),
        step_s=step_s,
        step_variance_s2=step_variance_s2,
        decode_kv_tokens=float(share @ (steps * (prompt + output / 2 + half_block))),
        prefill_kv_tokens=float(share @ (prompt * (prompt / 2 + half_block))),
        prefill_kv_token_s=float(
            share @ (profile.per_prefill_token_s * prompt**2 / 2 + profile.per_prefill_attention_s * prompt**3 / 3)
        ),
        slots=_slots(profile, share, prompt, output, chunks),
        prompt_points=_condense(share, prompt),
        output_points=_condense(share, output),
        joint_points=_condense_joint(share, prompt, output),
    )


def _step_moments(
    profile: GpuProfile, share: np.ndarray, prompt: np.ndarray, output: np.ndarray, decode_s: float
) -> tuple[float, float]:
    """Mean and variance of the GPU time of a decode step over all steps, s and s^2; 0 where there is none."""
    steps = output - 1
    mean_steps = float(share @ steps)
    if mean_steps <= 0:
        return 0.0, 0.0
    step_s = decode_s / mean_steps
    # The context of a step is uniform between prompt + 1 and prompt + steps.
    middle_s = profile.per_sequence_s + profile.per_context_token_s * (prompt + output / 2)
    spread_s2 = profile.per_context_token_s**2 * (steps**2 - 1) / 12
    variance_s2 = float(share @ (steps * ((middle_s - step_s) ** 2 + spread_s2))) / mean_steps
    return step_s, max(variance_s2, 0.0)


def _slots(profile: GpuProfile, share: np.ndarray, prompt: np.ndarray, output: np.ndarray, chunks: np.ndarray) -> int:
    """Requests that fit at once.

    A running request holds a ramp from 0 to its prompt while it prefills and from there to its full length while it
    decodes; ``m`` requests fit if ``m mean + z sqrt(m) deviation`` does.
    """
    steps, half_block = output - 1, profile.block_tokens / 2
    iterations = float(share @ (chunks + steps))
    first = chunks * (prompt / 2 + half_block) + steps * (prompt + output / 2 + half_block)
    second = chunks * prompt**2 / 3 + steps * (prompt**2 + prompt * output + output**2 / 3)
    mean = float(share @ first) / iterations
    spread = _OVERFLOW_QUANTILE * np.sqrt(max(float(share @ second) / iterations - mean**2, 0.0))
    root = (np.sqrt(spread**2 + 4 * mean * profile.kv_tokens) - spread) / (2 * mean)
    return max(1, min(profile.max_sequences, int(root**2)))


def _groups(share: np.ndarray, values: np.ndarray, body_points: int, points_per_decade: int) -> np.ndarray:
    """int64[n], the group of each value: equal shares in the body, ever finer towards the largest values."""
    order = np.argsort(values, kind="stable")
    ordered = share[order]
    above = np.maximum(1 - (np.cumsum(ordered) - ordered / 2), 1e-6)
    group = np.empty(len(values), dtype=np.int64)
    group[order] = np.floor((1 - above) * body_points) + np.floor(-np.log10(above) * points_per_decade)
    return group


def _condense(share: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Condense a distribution to a few hundred points; group means are kept."""
    _, index = np.unique(_groups(share, values, _BODY_POINTS, _POINTS_PER_DECADE), return_inverse=True)
    mass = np.bincount(index, share)
    return mass, np.bincount(index, share * values) / mass


def _condense_joint(
    share: np.ndarray, prompt: np.ndarray, output: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Condense a joint distribution to a few hundred points."""
    by_output = _groups(share, output, *_JOINT_OUTPUT)
    cell = _groups(share, prompt, *_JOINT_PROMPT) * (by_output.max() + 1) + by_output
    _, index = np.unique(cell, return_inverse=True)
    mass = np.bincount(index, share)
    return mass, np.bincount(index, share * prompt) / mass, np.bincount(index, share * output) / mass
