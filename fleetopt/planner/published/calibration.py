"""Service times of a pool as the paper's reference code draws them: 3,000 samples of one seed."""

import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fleetopt.compiled import compiled
from fleetopt.planner.published.gpu import REFERENCE_CONTEXT_TOKENS, PublishedGpu

_SAMPLES, _SEED = 3000, 42
_LEAST_VARIATION = 0.01
_WORDS = 1 << 15
"""A draw takes 4 words on average where it takes most; 3,000 of them stay below 32,768 but for one chance in 10^300."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Service of a pool's requests in a full batch.

    Attributes
    ----------
    slots : int
        Of a GPU at the pool's context.
    service_s : float
        Mean, s.
    service_variation : float
        Squared coefficient of variation, at least 0.01.
    unloaded_prefill_s : float
        Mean time of the prompt's chunks on a GPU with nothing else, s.
    """

    slots: int
    service_s: float
    service_variation: float
    unloaded_prefill_s: float

    @property
    def gpu_throughput_rps(self) -> float:
        """Requests per second that a GPU finishes with all slots taken, mu_gpu."""
        return self.slots / self.service_s


def calibrate(
    tokens: np.ndarray,
    fractions: np.ndarray,
    context_tokens: int,
    gpu: PublishedGpu,
    prompt_fraction: float,
    least_tokens: int = 1,
) -> Calibration:
    """Mean and variation of the service time, from the same draws as ``calibrate`` of ``vllm-sr-sim``.

    Parameters
    ----------
    tokens, fractions : np.ndarray
        int64[k] and float64[k], a CDF of total tokens of the pool's requests; the last fraction is 1.
    context_tokens : int
        Of the pool; longer draws are cut to it.
    gpu : PublishedGpu
    prompt_fraction : float
        Share of the total that is prompt, the same for every request.
    least_tokens : int
        Shortest request drawn.

    Notes
    -----
    A draw is a bin of the CDF, then a whole number of tokens in it, by Python's ``random.Random(42)``. The kernel reads
    that generator's 32-bit words and does with them what ``random`` and ``randint`` do.
    """
    slots = gpu.slots(context_tokens)
    total, squares, prefill_chunks = _draw(
        _words(),
        tokens,
        fractions,
        np.array([context_tokens, least_tokens, gpu.chunk_tokens, slots]),
        np.array([prompt_fraction, gpu.base_s, gpu.per_slot_s]),
    )
    mean_s = total / _SAMPLES
    variation = squares / _SAMPLES / (mean_s * mean_s) - 1.0
    return Calibration(
        slots=slots,
        service_s=mean_s,
        service_variation=max(_LEAST_VARIATION, variation),
        unloaded_prefill_s=prefill_chunks / _SAMPLES * gpu.unloaded_chunk_s,
    )


@lru_cache(maxsize=1)
def _words() -> np.ndarray:
    """uint32 as uint64[words], what the generator puts out first."""
    generator = random.Random(_SEED)  # noqa: S311 - the paper's sampler, not a secret
    return np.array([generator.getrandbits(32) for _ in range(_WORDS)], dtype=np.uint64)


@compiled()
def _draw(
    words: np.ndarray, tokens: np.ndarray, fractions: np.ndarray, sizes: np.ndarray, figures: np.ndarray
) -> tuple[float, float, float]:
    """Sums over all draws of the service time, of its square, and of the prompt's chunks."""
    context, least, chunk, slots = sizes
    prompt_fraction, base_s, per_slot_s = figures
    total_s = squares = all_chunks = 0.0
    at = 0
    for _ in range(_SAMPLES):
        # random(): 53 bits from two words.
        uniform = ((words[at] >> 5) * 67108864.0 + (words[at + 1] >> 6)) / 9007199254740992.0
        at += 2
        place = np.searchsorted(fractions, uniform)
        low = max(least, tokens[place - 1] + 1 if place else 1)
        high = min(context, tokens[place])
        length = context
        if low <= high:
            # randint(): as many bits as the width has, again until they are below it.
            width = high - low + 1
            shift = 32
            while shift > 0 and width >= 1 << (32 - shift):
                shift -= 1
            length = width
            while length >= width:
                length = np.int64(words[at] >> shift)
                at += 1
            length += low
        prompt = max(1, int(length * prompt_fraction))
        output = max(1, length - prompt)
        chunks = -(-prompt // chunk)
        iteration_s = base_s + per_slot_s * ((prompt + output) / REFERENCE_CONTEXT_TOKENS) * slots
        service_s = (chunks + output) * iteration_s
        total_s += service_s
        squares += service_s * service_s
        all_chunks += chunks
    return total_s, squares, all_chunks
