"""A GPU as FleetOpt describes it: a base time, a time per slot, and slots by context."""

from dataclasses import dataclass

import numpy as np

from fleetopt.errors import InputError
from fleetopt.profiles import GpuProfile

REFERENCE_CONTEXT_TOKENS = 8192
"""Context at which the paper states the time per slot and the number of slots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedGpu:
    """What the paper knows of a GPU (arXiv 2603.16514, section 3; 2603.16054, table of profiles).

    Attributes
    ----------
    name : str
    base_s : float
        W, s per iteration.
    per_slot_s : float
        H, s per iteration and slot whose request has 8,192 tokens.
    reference_slots : int
        Slots at a context of 8,192 tokens.
    chunk_tokens : int
        C_chunk, prompt tokens of a request in an iteration.
    kv_blocks, block_tokens : int
    usd_per_hour : float
    """

    name: str
    base_s: float
    per_slot_s: float
    reference_slots: int
    chunk_tokens: int
    kv_blocks: int
    block_tokens: int
    usd_per_hour: float

    def slots(self, context_tokens: int) -> int:
        """Requests at once where each may grow to a context: the KV cache's worst case, or the paper's compute cap.

        Raises
        ------
        InputError
            If not one fits.
        """
        blocks = -(-context_tokens // self.block_tokens)
        slots = min(self.kv_blocks // blocks, self.reference_slots * REFERENCE_CONTEXT_TOKENS // context_tokens)
        if slots < 1:
            raise InputError(
                f"published model: {self.name} holds no request of {context_tokens:,} tokens; lower the context"
            )
        return slots

    def service_s(self, prompt_tokens: np.ndarray, output_tokens: np.ndarray, slots: int) -> np.ndarray:
        """float64[k], time of requests in a full batch of requests like themselves, s.

        ``(ceil(L_in / C) + L_out) (W + H_eff n)``. The time per slot is taken in proportion to the request's own
        length, ``H_eff = H (L_in + L_out) / 8192``: not in the paper's text, but in its reference code, and needed for
        its tables.
        """
        iterations = np.ceil(prompt_tokens / self.chunk_tokens) + output_tokens
        per_slot_s = self.per_slot_s * ((prompt_tokens + output_tokens) / REFERENCE_CONTEXT_TOKENS)
        return np.asarray(iterations * (self.base_s + per_slot_s * slots))

    @property
    def unloaded_chunk_s(self) -> float:
        """Time of an iteration with one request, s: what the reported TTFT is charged for a chunk of prompt."""
        return self.base_s + self.per_slot_s


def published_gpu(profile: GpuProfile) -> PublishedGpu:
    """A replica as the paper would describe it.

    The paper's H is the time that one slot of 8,192 tokens adds, so H = a + 8192 b. It charges prefill nothing but its
    iterations, so p and q have no place in it: for a measured profile that is the paper's own error, kept. Its slots at
    8,192 tokens are the engine's limit of running sequences, scaled with the context and capped by the KV cache; its
    GPU is our replica. The profiles ``fleetopt-*`` of the catalogue give back what is published.

    Parameters
    ----------
    profile : GpuProfile
    """
    return PublishedGpu(
        name=profile.name,
        base_s=profile.base_s,
        per_slot_s=profile.per_sequence_s + REFERENCE_CONTEXT_TOKENS * profile.per_context_token_s,
        reference_slots=profile.max_sequences,
        chunk_tokens=profile.max_chunk_tokens,
        kv_blocks=profile.kv_blocks,
        block_tokens=profile.block_tokens,
        usd_per_hour=profile.usd_per_replica_hour,
    )
