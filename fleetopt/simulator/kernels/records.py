"""The records that the kernel works on: one array of each, which the caller allocates and nothing else owns."""

from typing import NamedTuple

import numpy as np

NOBODY = -1
DOWN = 1 << 40
"""Load of a replica that is down, above that of any other."""
ANY_POOL, BY_LENGTH, SPILL_OVER = 0, 1, 2
LEAST_LOADED, SHORTEST_QUEUE_TOKENS, POWER_OF_TWO, ROUND_ROBIN, RANDOM = 0, 1, 2, 3, 4
DECODES, CHUNKS, IN_ORDER = 0, 1, 2
"""Kinds of a stretch: decode rounds only; one iteration with prompts in it, or one to be served in order."""
SLOT_BITS = 28
SLOT_MASK = (1 << SLOT_BITS) - 1

FLEET = np.dtype(
    [
        ("pool_choice", np.int64),  # ANY_POOL, BY_LENGTH or SPILL_OVER
        ("balancer", np.int64),
        ("spill_waiting", np.int64),
        ("stream", np.uint64),  # of the draws of the routers
        ("next_in_turn", np.int64),  # replica at which a round over the whole fleet goes on
        ("arrived", np.int64),
        ("happened", np.int64),  # outages that have begun or ended
        ("held_head", np.int64),  # requests that no replica can take now, linked as in a waiting queue
        ("held_tail", np.int64),
        ("n_held", np.int64),
        ("broken_off_s", np.float64),  # when an iteration was last broken off
    ]
)
"""The router and what it has seen so far."""

POOL = np.dtype(
    [
        ("first_replica", np.int64),  # the replicas of the pool are first_replica .. end_replica - 1
        ("end_replica", np.int64),
        ("base_s", np.float64),
        ("per_sequence_s", np.float64),
        ("per_context_token_s", np.float64),
        ("per_prefill_token_s", np.float64),
        ("per_prefill_attention_s", np.float64),
        ("prefill_only_base_s", np.float64),
        ("prefill_only_per_token_s", np.float64),
        ("prefill_only_per_attention_s", np.float64),
        ("kv_blocks", np.int64),
        ("block_tokens", np.int64),
        ("max_sequences", np.int64),
        ("max_batched_tokens", np.int64),
        ("max_chunk_tokens", np.int64),
        ("context_limit_tokens", np.int64),
        ("is_prefill_first", np.int64),
        ("next_in_turn", np.int64),  # replica at which a round over the pool goes on
    ]
)
"""What a replica of the pool can do; names as in ``GpuProfile``."""

REQUEST = np.dtype(
    [
        ("arrival_s", np.float64),
        ("admitted_s", np.float64),
        ("first_token_s", np.float64),
        ("finish_s", np.float64),
        ("prompt_tokens", np.int32),
        ("output_tokens", np.int32),
        ("generated", np.int32),  # output tokens that a preempted request had, and has to prefill again
        ("pool", np.int32),  # where it belongs by its length
        ("replica", np.int32),  # over all pools; NOBODY if rejected or held
        ("preemptions", np.int32),
        ("retries", np.int32),
        ("next_waiting", np.int32),  # the request behind this one in a queue
    ]
)
"""One request: 64 bytes, a cache line."""

OUTAGE = np.dtype([("time_s", np.float64), ("replica", np.int64), ("is_up", np.int64)])
"""A replica comes back or goes down."""

REPLICA = np.dtype(
    [
        ("pool", np.int64),
        ("start_s", np.float64),  # of the stretch of iterations that it is in
        ("stretch", np.int64),  # DECODES or CHUNKS
        ("rounds", np.int64),  # decode rounds in the stretch
        ("ahead_free_blocks", np.int64),  # at its end, if it is of decode rounds only
        ("ahead_block_seconds", np.float64),
        ("round", np.int64),  # decode rounds so far: the clock by which decoding sequences grow
        ("n_running", np.int64),
        ("n_decoding", np.int64),
        ("decode_context", np.int64),  # tokens that the next decode round reads
        ("last_decoder", np.int64),  # highest order of admission of a sequence that decodes or has decoded
        ("admissions", np.int64),
        ("free_blocks", np.int64),
        ("queued_tokens", np.int64),  # prompt tokens not yet prefilled, of waiting and running requests
        ("waiting_head", np.int64),
        ("waiting_tail", np.int64),
        ("running_head", np.int64),  # slots in the order of admission
        ("running_tail", np.int64),
        ("prefill_head", np.int64),  # those of them that prefill
        ("prefill_tail", np.int64),
        ("free_slot", np.int64),  # a slot given back; linked by ``after``
        ("used_slots", np.int64),  # slots from here on were never used
        ("running_seconds", np.float64),  # integral over time of the running sequences
        ("block_seconds", np.float64),  # integral over time of the KV blocks held
        ("busy_s", np.float64),
        ("iterations", np.int64),
    ]
)
"""State of a replica, and its sums over time."""

SLOT = np.dtype(
    [
        ("request", np.int32),
        ("before", np.int32),  # neighbours in the order of admission
        ("after", np.int32),
        ("next_prefill", np.int32),
        ("prompt", np.int32),
        ("last_target", np.int32),  # context at which its last token comes out: that token's own KV is never computed
        ("granted", np.int32),  # tokens computed in this iteration; 0 if the budget passed the sequence over
        ("is_decoding", np.int32),
        ("context", np.int64),  # tokens with KV in the cache; while decoding, less ``round``, so that it stands still
        ("target", np.int64),  # while prefilling: context at which the next output token comes out
        ("order", np.int64),  # of admission
    ]
)
"""A running sequence."""


class State(NamedTuple):
    """All there is of a run; see ``_records`` for the records.

    Attributes
    ----------
    fleet : FLEET[1]
    pools : POOL[pools]
    requests : REQUEST[n], by arrival
    outages : OUTAGE[m], by time
    replicas : REPLICA[replicas]
    slots : SLOT[replicas, most running at once]
    load : int64[replicas], waiting and running requests, or ``DOWN``
    end_s : float64[replicas + 1], when the stretch of each ends; infinity while idle, as the last one is for ever
    finishes : int64[replicas, most running at once], heaps of ``round << 28 | slot``: who finishes in which round
    phases : int64[replicas, tokens of a block], how many decoding sequences need a block in a round, by round modulo
        the tokens of a block
    earliest : int64[2 * leaves], a tournament tree of the replicas, whose root, place 1, is the one that ends first
    ready : int64[2 * replicas], scratch: who starts an iteration at this moment
    """

    fleet: np.recarray
    pools: np.recarray
    requests: np.recarray
    outages: np.recarray
    replicas: np.recarray
    slots: np.recarray
    load: np.ndarray
    end_s: np.ndarray
    finishes: np.ndarray
    phases: np.ndarray
    earliest: np.ndarray
    ready: np.ndarray
