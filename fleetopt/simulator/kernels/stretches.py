"""Stretches: an iteration, or a run of them in which nothing changes, from its start to what it leaves."""

# mypy: ignore-errors
# Numba infers the types, and NumPy's stubs do not know the fields of a record.

import numpy as np
from numba import njit

from fleetopt.simulator.kernels.queues import blocks_for, give_back_slot, pop_round, push_round, unprefilled_tokens
from fleetopt.simulator.kernels.records import CHUNKS, DECODES, IN_ORDER, NOBODY, SLOT_BITS, SLOT_MASK
from fleetopt.simulator.kernels.schedulers import (
    admit_whole_prompts,
    chunks_time,
    serve_at_once,
    serve_in_order,
)


@njit(inline="always")
def start_stretch(now, index, state):
    """Let the scheduler fill an iteration, and all that follow in which nothing else changes; returns their end."""
    replica, slots = state.replicas[index], state.slots[index]
    pool = state.pools[replica.pool]
    n_waiting = state.load[index] - replica.n_running
    replica.start_s = now
    replica.rounds = 1
    if pool.is_prefill_first and n_waiting > 0 and admit_whole_prompts(n_waiting, pool, replica, slots, state.requests):
        replica.stretch = CHUNKS
        replica.rounds = 0
        return now + chunks_time(0, 0, pool, replica, slots)
    n_before = replica.n_running
    replica.stretch = serve_at_once(
        n_waiting, pool, replica, slots, state.finishes[index], state.phases[index], state.requests
    )
    if replica.stretch == DECODES:
        # After a preemption the next iteration may admit again.
        until_s = now if replica.n_running < n_before else np.inf
        return look_ahead(until_s, pool, replica, state.finishes[index], state.phases[index])
    if replica.stretch == IN_ORDER:
        serve_in_order(n_waiting, pool, replica, slots, state.phases[index], state.requests)
        replica.stretch = CHUNKS
    return now + chunks_time(replica.n_decoding, replica.decode_context, pool, replica, slots)


@njit(inline="always")
def end_stretch(now, index, state):
    """Add up the stretch; who has computed all of its tokens yields the next one, who has yielded all leaves."""
    replica = state.replicas[index]
    pool = state.pools[replica.pool]
    duration_s = now - replica.start_s
    replica.running_seconds += replica.n_running * duration_s
    replica.busy_s += duration_s
    n_before = replica.n_running
    if replica.stretch == DECODES:
        replica.iterations += replica.rounds
        replica.block_seconds += replica.ahead_block_seconds
        replica.free_blocks = replica.ahead_free_blocks
    else:
        replica.iterations += 1
        replica.block_seconds += (pool.kv_blocks - replica.free_blocks) * duration_s
    replica.round += replica.rounds
    replica.decode_context += replica.n_decoding * replica.rounds
    _finish_decoders(now, index, state)
    if replica.stretch == CHUNKS:
        _end_chunks(now, index, state)
    state.load[index] -= n_before - replica.n_running


@njit
def look_ahead(until_s, pool, replica, finishes, phases):
    """Find the end of a run of decode rounds, and note on the replica what it will be like then.

    It ends with the first round that ends at or after ``until_s``, that finishes a sequence, or after which blocks are
    lacking.
    """
    block_tokens, kv_blocks = pool.block_tokens, pool.kv_blocks
    fixed_s = pool.base_s + pool.per_sequence_s * replica.n_decoding
    most_rounds = (finishes[0] >> SLOT_BITS) - replica.round
    time_s, context, free_blocks, block_seconds = replica.start_s, replica.decode_context, replica.free_blocks, 0.0
    phase = replica.round % block_tokens
    rounds = 0
    while rounds < most_rounds:
        if phases[phase] > free_blocks:
            break
        free_blocks -= phases[phase]
        duration_s = fixed_s + pool.per_context_token_s * context
        block_seconds += (kv_blocks - free_blocks) * duration_s
        time_s += duration_s
        context += replica.n_decoding
        rounds += 1
        if time_s >= until_s:
            break
        phase += 1
        if phase == block_tokens:
            phase = 0
    replica.rounds = rounds
    replica.ahead_free_blocks = free_blocks
    replica.ahead_block_seconds = block_seconds
    return time_s


@njit(inline="always")
def _finish_decoders(now, index, state):
    """Let those leave whose last round this was."""
    replica, slots, finishes = state.replicas[index], state.slots[index], state.finishes[index]
    block_tokens = state.pools[replica.pool].block_tokens
    while replica.n_decoding > 0 and finishes[0] >> SLOT_BITS == replica.round:
        place = finishes[0] & SLOT_MASK
        slot = slots[place]
        context = slot.context + replica.round
        state.phases[index, -slot.context % block_tokens] -= 1
        replica.decode_context -= context + 1
        replica.n_decoding -= 1
        pop_round(finishes, replica.n_decoding)
        replica.free_blocks += blocks_for(context, block_tokens)
        state.requests[slot.request].finish_s = now
        give_back_slot(place, replica, slots)


@njit(inline="always")
def _end_chunks(now, index, state):
    """Add the prefilled chunks."""
    replica, slots = state.replicas[index], state.slots[index]
    block_tokens = state.pools[replica.pool].block_tokens
    place = replica.prefill_head
    replica.prefill_head = replica.prefill_tail = NOBODY
    while place != NOBODY:
        slot = slots[place]
        following = slot.next_prefill
        _add_granted(
            now, place, block_tokens, replica, slots, state.finishes[index], state.phases[index], state.requests
        )
        place = following


@njit(inline="always")
def _add_granted(now, place, block_tokens, replica, slots, finishes, phases, requests):
    """Add the tokens granted to a sequence that is not counted among the decoding ones, and see what it does next."""
    slot = slots[place]
    queued_before = unprefilled_tokens(slot)
    slot.context += slot.granted
    if slot.context == slot.target:
        request = requests[slot.request]
        if np.isnan(request.first_token_s):
            request.first_token_s = now
        if slot.target == slot.last_target:
            request.finish_s = now
            replica.queued_tokens -= queued_before
            replica.free_blocks += blocks_for(slot.context, block_tokens)
            give_back_slot(place, replica, slots)
            return
        slot.target += 1
    replica.queued_tokens += unprefilled_tokens(slot) - queued_before
    if unprefilled_tokens(slot) > 0:
        slot.next_prefill = NOBODY
        if replica.prefill_head == NOBODY:
            replica.prefill_head = place
        else:
            slots[replica.prefill_tail].next_prefill = place
        replica.prefill_tail = place
        return
    replica.decode_context += slot.context + 1
    finish_round = replica.round + slot.last_target - slot.context
    slot.context -= replica.round
    slot.is_decoding = 1
    phases[-slot.context % block_tokens] += 1
    push_round(finish_round << SLOT_BITS | place, finishes, replica.n_decoding)
    replica.n_decoding += 1
    replica.last_decoder = max(replica.last_decoder, slot.order)


@njit
def break_off(now, index, state):
    """Count the stretch under way up to now; the iteration that is broken off counts as one."""
    replica = state.replicas[index]
    pool = state.pools[replica.pool]
    if replica.stretch == DECODES:
        end_s = look_ahead(now, pool, replica, state.finishes[index], state.phases[index])
        held_blocks = pool.kv_blocks - replica.ahead_free_blocks
        replica.iterations += replica.rounds
        replica.block_seconds += replica.ahead_block_seconds - held_blocks * (end_s - now)
    else:
        replica.iterations += 1
        replica.block_seconds += (pool.kv_blocks - replica.free_blocks) * (now - replica.start_s)
    replica.running_seconds += replica.n_running * (now - replica.start_s)
    replica.busy_s += now - replica.start_s
    state.fleet[0].broken_off_s = now
