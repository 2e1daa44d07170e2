"""Schedulers: what an iteration of a replica holds, who is admitted and who preempted, and how long it takes."""

# mypy: ignore-errors
# Numba infers the types, and NumPy's stubs do not know the fields of a record.

import numpy as np
from numba import njit

from fleetopt.simulator.kernels.queues import blocks_for, give_back_slot, remove_round, unprefilled_tokens
from fleetopt.simulator.kernels.records import CHUNKS, DECODES, IN_ORDER, NOBODY, SLOT_BITS

PREFILL_FIRST_TOKENS = 4096
"""Most prompt tokens in an iteration of `prefill-first`, but for a longer prompt alone."""


@njit(inline="always")
def serve_at_once(n_waiting, pool, replica, slots, finishes, phases, requests):
    """Serve all running sequences without looking at the decoding ones; returns the kind of stretch.

    It is ``IN_ORDER``, with nothing done, if the token budget does not suffice for all, so that it matters who comes
    first: a prefilling sequence may be cut short by the budget only if no decoding one stands behind it. Who lacks
    blocks is preempted from the end until there are enough for all others. That is who would be preempted one after
    the other: each needs at least nothing, so the last one preempted is the first at which the needs of all are met.
    """
    budget = pool.max_batched_tokens - replica.n_decoding
    free_blocks = replica.free_blocks
    if replica.n_decoding > 0:
        free_blocks -= phases[replica.round % pool.block_tokens]
    if budget < 0:
        return IN_ORDER
    place = replica.prefill_head
    while place != NOBODY:
        slot = slots[place]
        wanted = min(slot.target - slot.context, pool.max_chunk_tokens)
        slot.granted = min(wanted, budget)
        if slot.granted < wanted and slot.order < replica.last_decoder:
            return IN_ORDER
        budget -= slot.granted
        free_blocks -= blocks_for(slot.context + slot.granted, pool.block_tokens) - blocks_for(
            slot.context, pool.block_tokens
        )
        place = slot.next_prefill
    if free_blocks < 0:
        while free_blocks < 0:
            free_blocks += _take_back_last(pool, replica, slots, finishes, phases, requests)
    elif n_waiting > 0 and not pool.is_prefill_first:
        free_blocks = _admit_waiting(budget, free_blocks, n_waiting, pool, replica, slots, requests)
    if replica.prefill_head == NOBODY:
        return DECODES
    replica.free_blocks = free_blocks
    return CHUNKS


@njit
def _take_back_last(pool, replica, slots, finishes, phases, requests):
    """Preempt the sequence admitted last; returns the blocks that it held and those that it needed now."""
    block_tokens = pool.block_tokens
    place = replica.running_tail
    slot = slots[place]
    free_before = replica.free_blocks
    if slot.is_decoding:
        phase = -slot.context % block_tokens
        phases[phase] -= 1
        needed = 1 if phase == replica.round % block_tokens else 0
        slot.context += replica.round
        slot.target = slot.context + 1
        replica.decode_context -= slot.target
        replica.n_decoding -= 1
        remove_round(
            (replica.round + slot.last_target - slot.context) << SLOT_BITS | place, finishes, replica.n_decoding
        )
        _preempt_last(block_tokens, replica, slots, requests)
    else:
        needed = blocks_for(slot.context + slot.granted, block_tokens) - blocks_for(slot.context, block_tokens)
        _preempt_listed(block_tokens, replica, slots, requests)
    return replica.free_blocks - free_before + needed


@njit
def _preempt_listed(block_tokens, replica, slots, requests):
    """Preempt the sequence admitted last, and take it off the list of the prefilling ones, whose last it is."""
    before, place = NOBODY, replica.prefill_head
    while place != replica.prefill_tail:
        before, place = place, slots[place].next_prefill
    if before == NOBODY:
        replica.prefill_head = NOBODY
    else:
        slots[before].next_prefill = NOBODY
    replica.prefill_tail = before
    _preempt_last(block_tokens, replica, slots, requests)


@njit(inline="always")
def _admit_waiting(budget, free_blocks, n_waiting, pool, replica, slots, requests):
    """Admit from the head of the queue while slots, budget and the blocks of the first chunk last; returns the blocks
    that are left.
    """  # noqa: D205
    while n_waiting > 0 and replica.n_running < pool.max_sequences and budget > 0:
        request = requests[replica.waiting_head]
        tokens = min(np.int64(request.prompt_tokens) + request.generated, pool.max_chunk_tokens, budget)
        blocks = blocks_for(tokens, pool.block_tokens)
        if blocks > free_blocks:
            break
        _admit_first(tokens, replica, slots, requests)
        free_blocks -= blocks
        budget -= tokens
        n_waiting -= 1
    return free_blocks


@njit(inline="always")
def admit_whole_prompts(n_waiting, pool, replica, slots, requests):
    """Admit whole prompts from the head of the queue; returns whether there were any.

    Blocks have to suffice for all of a prompt with a hundredth of the cache to spare, unless nothing is running: else
    a prompt that needs the reserve would wait for ever.
    """
    tokens_left = PREFILL_FIRST_TOKENS
    n_admitted = 0
    while n_admitted < n_waiting and replica.n_running < pool.max_sequences:
        request = requests[replica.waiting_head]
        tokens = np.int64(request.prompt_tokens) + request.generated
        blocks = blocks_for(tokens, pool.block_tokens)
        reserve = pool.kv_blocks // 100 if replica.n_running > 0 else 0
        if blocks + reserve > replica.free_blocks or (n_admitted > 0 and tokens > tokens_left):
            break
        _admit_first(tokens, replica, slots, requests)
        replica.free_blocks -= blocks
        tokens_left -= tokens
        n_admitted += 1
    return n_admitted > 0


@njit(inline="always")
def _admit_first(tokens, replica, slots, requests):
    """Admit the head of the queue with this many tokens granted."""
    request_index = replica.waiting_head
    request = requests[request_index]
    replica.waiting_head = request.next_waiting
    if np.isnan(request.admitted_s):
        request.admitted_s = replica.start_s
    if replica.free_slot != NOBODY:
        place = replica.free_slot
        replica.free_slot = slots[place].after
    else:
        place = replica.used_slots
        replica.used_slots += 1
    slot = slots[place]
    slot.request = request_index
    slot.prompt = request.prompt_tokens
    slot.last_target = request.prompt_tokens + request.output_tokens - 1
    slot.granted = tokens
    slot.is_decoding = 0
    slot.context = 0
    slot.target = np.int64(request.prompt_tokens) + request.generated
    slot.order = replica.admissions
    replica.admissions += 1
    slot.before = replica.running_tail
    slot.after = NOBODY
    if replica.running_tail == NOBODY:
        replica.running_head = place
    else:
        slots[replica.running_tail].after = place
    replica.running_tail = place
    slot.next_prefill = NOBODY
    if replica.prefill_head == NOBODY:
        replica.prefill_head = place
    else:
        slots[replica.prefill_tail].next_prefill = place
    replica.prefill_tail = place
    replica.n_running += 1


@njit
def serve_in_order(n_waiting, pool, replica, slots, phases, requests):
    """Grant tokens and blocks to the running sequences in the order of admission; then the queue.

    Sequences are served in the order of admission and preempted in the opposite order, so one that has its tokens is
    never preempted. With no budget left a sequence is granted 0 tokens, which need no block. For this iteration nobody
    counts as decoding: all are listed as the prefilling ones are.
    """
    n_before = replica.n_running
    _list_all(replica, slots)
    forget_decoders(pool.block_tokens, replica, phases)
    budget = pool.max_batched_tokens
    place = replica.prefill_head
    while place != NOBODY:
        slot = slots[place]
        tokens = min(slot.target - slot.context, pool.max_chunk_tokens, budget)
        blocks = blocks_for(slot.context + tokens, pool.block_tokens) - blocks_for(slot.context, pool.block_tokens)
        slot.granted = tokens
        while blocks > replica.free_blocks and place != NOBODY:
            if place == replica.prefill_tail:
                place = NOBODY
            _preempt_listed(pool.block_tokens, replica, slots, requests)
        if place != NOBODY:
            replica.free_blocks -= blocks
            budget -= tokens
            place = slot.next_prefill
    if replica.n_running == n_before and n_waiting > 0 and not pool.is_prefill_first:
        replica.free_blocks = _admit_waiting(budget, replica.free_blocks, n_waiting, pool, replica, slots, requests)


@njit
def _list_all(replica, slots):
    """Write out the context of decoding sequences, and list all running ones as prefilling, in order of admission."""
    place = replica.running_head
    while place != NOBODY:
        slot = slots[place]
        if slot.is_decoding:
            slot.context += replica.round
            slot.target = slot.context + 1
            slot.is_decoding = 0
        slot.next_prefill = slot.after
        place = slot.after
    replica.prefill_head, replica.prefill_tail = replica.running_head, replica.running_tail


@njit
def forget_decoders(block_tokens, replica, phases):
    """Forget what is counted of decoding sequences."""
    replica.n_decoding = replica.decode_context = 0
    replica.last_decoder = NOBODY
    for phase in range(block_tokens):
        phases[phase] = 0


@njit(inline="always")
def _preempt_last(block_tokens, replica, slots, requests):
    """Preempt the sequence admitted last: its KV is lost, it waits at the head of the queue."""
    place = replica.running_tail
    slot = slots[place]
    request = requests[slot.request]
    request.generated = slot.target - slot.prompt
    request.preemptions += 1
    request.next_waiting = replica.waiting_head
    if replica.waiting_head == NOBODY:
        replica.waiting_tail = slot.request
    replica.waiting_head = slot.request
    replica.queued_tokens += slot.target - unprefilled_tokens(slot)
    replica.free_blocks += blocks_for(slot.context, block_tokens)
    give_back_slot(place, replica, slots)


@njit(inline="always")
def chunks_time(n_decodes, decode_context, pool, replica, slots):
    """Seconds of an iteration with these decode steps and the granted chunks."""
    prefill_tokens, twice_attention = 0, 0
    place = replica.prefill_head
    while place != NOBODY:
        slot = slots[place]
        if slot.granted == 1 and slot.context >= slot.prompt:
            n_decodes += 1
            decode_context += slot.context + 1
        else:
            prefill_tokens += slot.granted
            twice_attention += slot.granted * (2 * slot.context + slot.granted)
        place = slot.next_prefill
    return _iteration_time(n_decodes, decode_context, prefill_tokens, twice_attention, pool)


@njit(inline="always")
def _iteration_time(n_decodes, decode_context, prefill_tokens, twice_attention, pool):
    """Seconds of an iteration. Tokens are summed as integers, so the result does not depend on their order."""
    if n_decodes == 0 and prefill_tokens > 0:
        return (
            pool.prefill_only_base_s
            + pool.prefill_only_per_token_s * prefill_tokens
            + pool.prefill_only_per_attention_s * (0.5 * twice_attention)
        )
    return (
        pool.base_s
        + pool.per_sequence_s * n_decodes
        + pool.per_context_token_s * decode_context
        + pool.per_prefill_token_s * prefill_tokens
        + pool.per_prefill_attention_s * (0.5 * twice_attention)
    )
