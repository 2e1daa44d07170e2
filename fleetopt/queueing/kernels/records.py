"""The records that the kernels work on, which the caller allocates."""

from typing import NamedTuple

import numpy as np

SHORTEST_S = 1e-9
TINY = 1e-300

PROFILE_FIELDS = (
    "base_s",
    "per_sequence_s",
    "per_context_token_s",
    "per_prefill_token_s",
    "per_prefill_attention_s",
    "prefill_only_base_s",
    "prefill_only_per_token_s",
    "prefill_only_per_attention_s",
    "max_batched_tokens",
    "max_sequences",
    "kv_tokens",
    "block_tokens",
)
"""Of a ``GpuProfile``; the base is at least a microsecond."""
WORK_FIELDS = (
    "prompt_tokens",
    "prefill_s",
    "decode_s",
    "prefill_only_s",
    "tokens",
    "steps",
    "iterations",
    "step_s",
    "step_variance_s2",
    "decode_kv_tokens",
    "prefill_kv_tokens",
    "prefill_kv_token_s",
)
"""Of a ``RequestWork``, which says what they are."""

WORK = np.dtype(
    [
        ("chunk_tokens", np.int64),
        ("slots", np.int64),
        *((name, np.float64) for name in (*PROFILE_FIELDS, *WORK_FIELDS)),
    ]
)
"""A replica's profile, and what requests of a mixture ask of it."""

STATE = np.dtype(
    [
        ("is_stable", np.int64),
        *(
            (name, np.float64)
            for name in (
                "iteration_s",
                "busy",
                "running",
                "decode_s",
                "chunk_share",
                "chunk_tokens",
                "decode_found_s",
                "decode_variance_s2",
                "prefill_load",
                "kv_utilization",
                "budget_load",
            )
        ),
    ]
)
"""Equilibrium of a replica; names as in ``PoolState``."""

FOUND = np.dtype(
    [
        ("length", np.int64),  # of its row of the queue's probabilities
        ("share", np.float64),
        ("decode_free_s", np.float64),
        ("decode_queued_s", np.float64),
        ("decoding", np.float64),
        ("after_share", np.float64),
        ("open_share", np.float64),
        ("patience_s", np.float64),
    ]
)
"""What arrivals find on busy replicas where decode steps are of one length.

``share``: of all arrivals. The row of probabilities that 0, 1, ... requests are in the prefill queue is apart.
``decode_free_s``, ``decode_queued_s``: decode part of an iteration where nobody, and where somebody, is in that queue,
s. ``decoding``: mean requests decoding. ``after_share``: of the arrivals at a queue, those that take the place of a
request that has just finished there. ``open_share``: of the others, those that come whatever this replica does.
``patience_s``: a replica that finishes nothing gets arrivals for this long only, but for that share, s.
"""


class Mixture(NamedTuple):
    """What the kernels know of a mixture on a profile.

    Attributes
    ----------
    work : WORK[1]
    prompts : float64[3, k], share, tokens and GPU time (beyond the iterations' base, s) of prompts, condensed, rising
    speed : float64[3, slots + 1], see ``replica.tabulate_speed``
    capacity : float64[2, n + 1], see ``replica.new_capacity``
    response : float64[rows, f], see ``response.tabulate_response``
    """

    work: np.ndarray
    prompts: np.ndarray
    speed: np.ndarray
    capacity: np.ndarray
    response: np.ndarray
