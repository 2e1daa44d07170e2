"""What the requests of a length mixture ask of a replica: moments, condensed lengths, and tables made once of them."""

from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter

import numpy as np
from scipy import special

from fleetopt.errors import InputError
from fleetopt.profiles import GpuProfile
from fleetopt.queueing.kernels.lengths import measure, unloaded_ttft_quantile_s
from fleetopt.queueing.kernels.records import PROFILE_FIELDS, WORK, WORK_FIELDS
from fleetopt.queueing.kernels.replica import WAITING_BEYOND_SLOTS, fill_capacity, tabulate_speed
from fleetopt.queueing.kernels.response import tabulate_response

_SHORTEST_BASE_S = 1e-6
_OF_PROFILE = attrgetter(*PROFILE_FIELDS[1:])
_NOT_MEASURED = (0.0,) * len(WORK_FIELDS)


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
        Requests that fit at once: the engine's limit, or as many as the KV cache holds but for a stated share of the
        time.
    prompt_points, output_points : tuple of np.ndarray
        Share and length, float64[k] each: the marginal distributions, condensed; lengths rise.
    prompt_work_s : np.ndarray
        float64[k], GPU time of the prompt at each of ``prompt_points`` beyond the iterations' base, s.
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
    _record: np.ndarray = field(repr=False)
    _prompts: np.ndarray = field(repr=False)
    _outputs: np.ndarray = field(repr=False)
    _joint: np.ndarray = field(repr=False)

    @property
    def prompt_points(self) -> tuple[np.ndarray, np.ndarray]:
        """Share and length of the condensed prompts, float64[k] each."""
        return self._prompts[0], self._prompts[1]

    @property
    def prompt_work_s(self) -> np.ndarray:
        """float64[k], GPU time of each of ``prompt_points`` beyond the iterations' base, s."""
        return np.asarray(self._prompts[2])

    @property
    def output_points(self) -> tuple[np.ndarray, np.ndarray]:
        """Share and length of the condensed outputs, float64[k] each."""
        return self._outputs[0], self._outputs[1]

    @property
    def joint_points(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Share, prompt and output, float64[k] each."""
        return self._joint[0], self._joint[1], self._joint[2]

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
        return float(self._prompts[1, -1])

    @cached_property
    def unloaded_ttft_s(self) -> np.ndarray:
        """float64[k], time to first token at each of ``prompt_points`` on an idle replica, s."""
        profile, prompt = self.profile, self._prompts[1]
        chunks = np.ceil(prompt / self.chunk_tokens)
        only_s = profile.prefill_only_per_token_s * prompt + profile.prefill_only_per_attention_s * prompt**2 / 2
        return np.asarray(chunks * profile.prefill_only_base_s + only_s)

    def unloaded_ttft_quantile_s(self, probability: float) -> float:
        """Quantile of the time to first token of requests that are alone on their replica, s."""
        return float(unloaded_ttft_quantile_s(self._record, self._prompts, probability))

    @cached_property
    def tables(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """What the kernels take of a mixture: the fields of ``kernels.records.Mixture``; computed once."""
        speed = tabulate_speed(self._record, self._prompts)
        capacity = np.full((2, self.slots + WAITING_BEYOND_SLOTS + 1), np.nan)
        return self._record, self._prompts, speed, capacity, tabulate_response(self._record, self._joint)

    @cached_property
    def capacity(self) -> ReplicaCapacity:
        """What a replica finishes by the requests that it holds, up to some more than its slots; computed once."""
        record, _, speed, capacity, _ = self.tables
        fill_capacity(record, speed, capacity, 0)
        return ReplicaCapacity(throughput_rps=capacity[0], free_share=capacity[1])

    @cached_property
    def full_throughput_rps(self) -> float:
        """Requests that a replica finishes per second while it holds more than its slots."""
        record, _, speed, capacity, _ = self.tables
        fill_capacity(record, speed, capacity, capacity.shape[1] - 1)
        return float(capacity[0, -1])


def request_work(
    profile: GpuProfile,
    weight: np.ndarray,
    prompt_tokens: np.ndarray,
    output_tokens: np.ndarray,
    kv_overflow_probability: float = 0.01,
) -> RequestWork:
    """Work that the requests of a length mixture ask of a replica.

    Parameters
    ----------
    profile : GpuProfile
    weight, prompt_tokens, output_tokens : np.ndarray
        float64[k]; weights need not be normalised. Fastest where lengths come sorted.
    kv_overflow_probability : float
        Share of the time, above 0 and at most a half, that the requests in all slots may need more KV than there is; an
        engine then preempts. See also `fleetopt.queueing.slots.worst_case_slots`.

    Raises
    ------
    InputError
        If that share is out of range.

    Notes
    -----
    A request makes ``output - 1`` decode steps at contexts ``prompt + 1 ... prompt + output - 1``; the chunks of its
    prompt attend to ``prompt^2 / 2`` tokens in all, however they are cut.
    """
    if not 0 < kv_overflow_probability <= 0.5:
        raise InputError(f"kv_overflow_probability: {kv_overflow_probability} is not above 0 and at most 0.5")
    lengths = np.empty((3, len(weight)))
    lengths[0], lengths[1], lengths[2] = weight, prompt_tokens, output_tokens
    chunk_tokens = min(profile.max_chunk_tokens, profile.max_batched_tokens)
    base_s = max(profile.base_s, _SHORTEST_BASE_S)
    record = np.array([(chunk_tokens, 0, base_s, *_OF_PROFILE(profile), *_NOT_MEASURED)], WORK)
    prompts, outputs, joint = measure(record, lengths, -special.ndtri(kv_overflow_probability))
    _, slots, *values = record[0].item()
    return RequestWork(
        profile=profile,
        chunk_tokens=chunk_tokens,
        slots=slots,
        _record=record,
        _prompts=prompts,
        _outputs=outputs,
        _joint=joint,
        **dict(zip(WORK_FIELDS, values[len(PROFILE_FIELDS) :], strict=True)),
    )
