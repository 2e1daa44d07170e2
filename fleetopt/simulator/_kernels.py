"""The event loop of a fleet, compiled: every iteration of every replica, at a cost that follows what changes.

``run_fleet`` owns the clock and the order of simultaneous events: iterations end, replicas come back, replicas go down,
requests arrive, iterations start. Below it stand the router (who takes a request), the schedulers (what an iteration
holds) and the stretches.

A *stretch* is one iteration in which prompts are prefilled, or a run of iterations in which every running sequence
decodes one token and nothing else happens until the first of them is finished. Within such a run no sequence is
touched: the sum of contexts grows by the number of sequences, and ``phases`` counts how many of them need a new block
in which round. Only times are added up, iteration by iteration in the same order as a plain loop would, so that the
results are the same bits. When finished sequences leave is kept in a heap by round.

What does not fit this, because memory or the token budget runs out, is done in order, sequence by sequence
(``_serve_in_order``). The slow reference in the tests knows nothing of stretches.

All state is in arrays of records that the caller allocates (see ``_records``), so a run can stop at any time and go on.
Helpers get records, which are pointers, and borrowed arrays: counting references to arrays took two thirds of the time.
Events are simultaneous if their float64 times are equal. All compiled code is in this file, because the cache of
compiled code does not see changes in another.
"""

# mypy: ignore-errors
# Numba infers the types, and NumPy's stubs do not know the fields of a record.

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.core import cgutils
from numba.extending import intrinsic, overload

NOBODY = -1
DOWN = 1 << 40
"""Load of a replica that is down, above that of any other."""
ANY_POOL, BY_LENGTH, SPILL_OVER = 0, 1, 2
LEAST_LOADED, SHORTEST_QUEUE_TOKENS, POWER_OF_TWO, ROUND_ROBIN, RANDOM = 0, 1, 2, 3, 4

_DECODES, _CHUNKS, _IN_ORDER = 0, 1, 2
_SLOT_BITS = 28
_SLOT_MASK = (1 << _SLOT_BITS) - 1
_PREFILL_FIRST_TOKENS = 4096
_DRAWS_PER_REQUEST = 1 << 16


def _borrowed(array):
    """Return the array; compiled, the copy of its descriptor owns nothing, so that no references to it are counted."""
    return array


@intrinsic
def _without_owner(typing_context, array):
    """Copy the descriptor of an array and leave out who owns its memory; the caller of the kernel does meanwhile."""

    def generate(context, builder, signature, args):
        view = context.make_array(signature.return_type)(context, builder, args[0])
        view.meminfo = cgutils.get_null_value(view.meminfo.type)
        view.parent = cgutils.get_null_value(view.parent.type)
        return view._getvalue()

    return array(array), generate


@overload(_borrowed)
def _compile_borrowed(array):
    """Tell Numba what the function is when compiled."""

    def compiled(array):
        return _without_owner(array)

    return compiled


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


# ---- the clock ----


@njit(cache=True, nogil=True)
def run_fleet(owned, until_s):
    """Run until nothing is left to happen up to and at ``until_s``; call it again to go on.

    It ends, even where iterations take no time: the sequence admitted first on a replica is never preempted, because
    alone it fits into the KV cache (longer requests are rejected), and every iteration computes a token of it. For the
    same reason no iteration is ever empty.
    """
    state = State(
        _borrowed(owned.fleet),
        _borrowed(owned.pools),
        _borrowed(owned.requests),
        _borrowed(owned.outages),
        _borrowed(owned.replicas),
        _borrowed(owned.slots),
        _borrowed(owned.load),
        _borrowed(owned.end_s),
        _borrowed(owned.finishes),
        _borrowed(owned.phases),
        _borrowed(owned.earliest),
        _borrowed(owned.ready),
    )
    fleet = state.fleet[0]
    n_requests, n_outages = state.requests.size, state.outages.size
    while True:
        next_end_s = state.end_s[state.earliest[1]]
        next_arrival_s = state.requests[fleet.arrived].arrival_s if fleet.arrived < n_requests else np.inf
        next_outage_s = state.outages[fleet.happened].time_s if fleet.happened < n_outages else np.inf
        now = min(next_end_s, next_arrival_s, next_outage_s)
        if now == np.inf or now > until_s:
            return
        # Replicas do not see each other: one that ends alone in time may go on before others end at the same moment.
        is_alone = next_end_s < next_arrival_s and next_end_s < next_outage_s
        n_ready = _end_due(now, is_alone, state)
        while fleet.happened < n_outages and state.outages[fleet.happened].time_s == now:
            n_ready = _take_outage(now, n_ready, state)
        while fleet.arrived < n_requests and state.requests[fleet.arrived].arrival_s == now:
            if _is_accepted(state.requests[fleet.arrived], state):
                n_ready = _deliver(now, fleet.arrived, n_ready, state)
            fleet.arrived += 1
        for i in range(n_ready):
            index = state.ready[i]
            if state.end_s[index] == np.inf and 0 < state.load[index] < DOWN:
                _schedule_end(index, _start_stretch(now, index, state), state)


@njit(inline="always")
def _end_due(now, is_alone, state):
    """End the stretches that are due; returns how many replicas go on, whose indices are in ``ready``."""
    n_ready = 0
    while state.end_s[state.earliest[1]] == now:
        index = state.earliest[1]
        _end_stretch(now, index, state)
        if state.load[index] > 0:
            state.ready[n_ready] = index
            n_ready += 1
            if is_alone:
                state.end_s[index] = np.inf  # its next stretch starts at once, and replays its matches in the tree
                break
        _schedule_end(index, np.inf, state)
    return n_ready


@njit(inline="always")
def _schedule_end(index, time_s, state):
    """Set when the stretch of a replica ends, and replay its matches in the tree; ties go to the lower index."""
    earliest, end_s = state.earliest, state.end_s
    end_s[index] = time_s
    node = ((earliest.size >> 1) + index) >> 1
    while node >= 1:
        left, right = earliest[2 * node], earliest[2 * node + 1]
        winner = left if end_s[left] <= end_s[right] else right
        if earliest[node] == winner and winner != index:
            break  # it was not in this match before, and is not now
        earliest[node] = winner
        node >>= 1


# ---- the router ----


@njit(inline="always")
def _is_accepted(request, state):
    """Whether the pool that it belongs to, or any pool, accepts a request of this length."""
    total_tokens = np.int64(request.prompt_tokens) + request.output_tokens
    if state.fleet[0].pool_choice != ANY_POOL:
        return total_tokens <= state.pools[request.pool].context_limit_tokens
    longest = 0
    for pool_index in range(state.pools.size):
        longest = max(longest, state.pools[pool_index].context_limit_tokens)
    return total_tokens <= longest


@njit(inline="always")
def _deliver(now, request_index, n_ready, state):
    """Send a request to a replica, or hold it if none can take it; a replica that was idle becomes ready."""
    fleet, request = state.fleet[0], state.requests[request_index]
    index = _route(request_index, state)
    request.replica = index
    if index == NOBODY:
        fleet.held_head, fleet.held_tail = _append(request_index, fleet.held_head, fleet.held_tail, state.requests)
        fleet.n_held += 1
        return n_ready
    replica = state.replicas[index]
    pool = state.pools[replica.pool]
    if fleet.pool_choice == ANY_POOL:
        fleet.next_in_turn = index + 1
    else:
        pool.next_in_turn = index + 1
    has_queue = state.load[index] > replica.n_running
    replica.waiting_head, replica.waiting_tail = _append(
        request_index, replica.waiting_head, replica.waiting_tail, state.requests
    )
    replica.queued_tokens += request.prompt_tokens
    state.load[index] += 1
    if state.load[index] == 1:
        state.ready[n_ready] = index
        return n_ready + 1
    is_decoding = state.end_s[index] < np.inf and replica.stretch == _DECODES and replica.rounds > 1
    if is_decoding and not has_queue and replica.n_running < pool.max_sequences:
        # The run of decode rounds ends with the one under way: in the next iteration this request may be admitted.
        # Behind others it may not, because memory only gets scarcer until somebody is finished.
        _schedule_end(index, _look_ahead(now, pool, replica, state.finishes[index], state.phases[index]), state)
    return n_ready


@njit(inline="always")
def _append(request_index, head, tail, requests):
    """Put a request at the end of a queue; returns its head and tail."""
    requests[request_index].next_waiting = NOBODY
    if head == NOBODY:
        return request_index, request_index
    requests[tail].next_waiting = request_index
    return head, request_index


@njit(inline="always")
def _route(request_index, state):
    """Choose a replica for a request; NOBODY if none that is up accepts it."""
    fleet, request = state.fleet[0], state.requests[request_index]
    n_pools = state.pools.size
    if fleet.pool_choice == ANY_POOL:
        return _choose(0, n_pools, request_index, state)
    fallback = NOBODY
    for pool_index in range(request.pool, n_pools):
        index = _choose(pool_index, pool_index + 1, request_index, state)
        if index == NOBODY:
            continue
        if fleet.pool_choice == BY_LENGTH:
            return index
        if state.load[index] - state.replicas[index].n_running < fleet.spill_waiting:
            return index
        if fallback == NOBODY:
            fallback = index
    return fallback


@njit
def _choose(first_pool, end_pool, request_index, state):
    """Choose among the replicas of these pools that are up and accept the request; ties go to the lowest index."""
    fleet, request = state.fleet[0], state.requests[request_index]
    total_tokens = np.int64(request.prompt_tokens) + request.output_tokens
    balancer = fleet.balancer
    if balancer == ROUND_ROBIN:
        return _next_in_turn(first_pool, end_pool, total_tokens, state)
    if balancer in (RANDOM, POWER_OF_TWO):
        return _drawn(first_pool, end_pool, total_tokens, request_index, state)
    best, fewest = NOBODY, DOWN
    for pool_index in range(first_pool, end_pool):
        pool = state.pools[pool_index]
        if total_tokens > pool.context_limit_tokens:
            continue
        for index in range(pool.first_replica, pool.end_replica):
            pressure = state.load[index]
            if balancer == SHORTEST_QUEUE_TOKENS and pressure < DOWN:
                pressure = state.replicas[index].queued_tokens + state.replicas[index].n_running
            if pressure < fewest:
                best, fewest = index, pressure
    return best


@njit
def _next_in_turn(first_pool, end_pool, total_tokens, state):
    """The first replica at or after the one whose turn it is."""
    is_any = state.fleet[0].pool_choice == ANY_POOL
    turn = state.fleet[0].next_in_turn if is_any else state.pools[first_pool].next_in_turn
    earlier = NOBODY
    for pool_index in range(first_pool, end_pool):
        pool = state.pools[pool_index]
        if total_tokens > pool.context_limit_tokens:
            continue
        for index in range(pool.first_replica, pool.end_replica):
            if state.load[index] < DOWN:
                if index >= turn:
                    return index
                if earlier == NOBODY:
                    earlier = index
    return earlier


@njit
def _drawn(first_pool, end_pool, total_tokens, request_index, state):
    """One replica at random, or the less loaded of two."""
    candidates = 0
    for pool_index in range(first_pool, end_pool):
        pool = state.pools[pool_index]
        if total_tokens <= pool.context_limit_tokens:
            for index in range(pool.first_replica, pool.end_replica):
                candidates += state.load[index] < DOWN
    if candidates == 0:
        return NOBODY
    one = np.int64(_draw(request_index, 0, state) * candidates)
    if state.fleet[0].balancer == RANDOM or candidates == 1:
        return _candidate(one, first_pool, end_pool, total_tokens, state)
    other = np.int64(_draw(request_index, 1, state) * (candidates - 1))
    other += other >= one
    lower = _candidate(min(one, other), first_pool, end_pool, total_tokens, state)
    upper = _candidate(max(one, other), first_pool, end_pool, total_tokens, state)
    return lower if state.load[lower] <= state.load[upper] else upper


@njit
def _candidate(place, first_pool, end_pool, total_tokens, state):
    """The replica at this place among those that are up and accept the request."""
    for pool_index in range(first_pool, end_pool):
        pool = state.pools[pool_index]
        if total_tokens <= pool.context_limit_tokens:
            for index in range(pool.first_replica, pool.end_replica):
                if state.load[index] < DOWN:
                    if place == 0:
                        return index
                    place -= 1
    return NOBODY


@njit
def _draw(request_index, k, state):
    """The k-th uniform number of this request and retry: SplitMix64 (Steele, Lea and Flood 2014) of a counter."""
    counter = np.uint64(request_index * _DRAWS_PER_REQUEST + 2 * state.requests[request_index].retries + k + 1)
    z = state.fleet[0].stream + counter * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return np.float64(z >> np.uint64(11)) * 2.0**-53


# ---- outages ----


@njit
def _take_outage(now, n_ready, state):
    """Take a replica down and send its requests elsewhere, or bring it back and send it those that are held."""
    fleet = state.fleet[0]
    outage = state.outages[fleet.happened]
    fleet.happened += 1
    if outage.is_up:
        state.load[outage.replica] = 0
        queue = fleet.held_head
        fleet.held_head = fleet.held_tail = NOBODY
        fleet.n_held = 0
    else:
        queue = _take_down(now, outage.replica, state)
    while queue != NOBODY:
        following = state.requests[queue].next_waiting
        n_ready = _deliver(now, queue, n_ready, state)
        queue = following
    return n_ready


@njit
def _take_down(now, index, state):
    """Break off the iteration under way and empty the replica; returns its requests as a queue, to start over."""
    replica, requests = state.replicas[index], state.requests
    pool = state.pools[replica.pool]
    if state.end_s[index] < np.inf:
        _break_off(now, index, state)
    head, tail = NOBODY, NOBODY
    slots = state.slots[index]
    place = replica.running_head
    while place != NOBODY:
        head, tail = _append(slots[place].request, head, tail, requests)
        place = slots[place].after
    if head == NOBODY:
        head = replica.waiting_head
    else:
        requests[tail].next_waiting = replica.waiting_head
    request_index = head
    while request_index != NOBODY:
        requests[request_index].generated = 0
        requests[request_index].retries += 1
        request_index = requests[request_index].next_waiting
    replica.waiting_head = replica.waiting_tail = NOBODY
    replica.running_head = replica.running_tail = replica.free_slot = NOBODY
    replica.used_slots = replica.n_running = replica.queued_tokens = 0
    replica.free_blocks = pool.kv_blocks
    _forget_decoders(pool.block_tokens, replica, state.phases[index])
    state.load[index] = DOWN
    _schedule_end(index, np.inf, state)
    return head


@njit
def _break_off(now, index, state):
    """Count the stretch under way up to now; the iteration that is broken off counts as one."""
    replica = state.replicas[index]
    pool = state.pools[replica.pool]
    if replica.stretch == _DECODES:
        end_s = _look_ahead(now, pool, replica, state.finishes[index], state.phases[index])
        held_blocks = pool.kv_blocks - replica.ahead_free_blocks
        replica.iterations += replica.rounds
        replica.block_seconds += replica.ahead_block_seconds - held_blocks * (end_s - now)
    else:
        replica.iterations += 1
        replica.block_seconds += (pool.kv_blocks - replica.free_blocks) * (now - replica.start_s)
    replica.running_seconds += replica.n_running * (now - replica.start_s)
    replica.busy_s += now - replica.start_s


# ---- stretches of iterations ----


@njit(inline="always")
def _start_stretch(now, index, state):
    """Let the scheduler fill an iteration, and all that follow in which nothing else changes; returns their end."""
    replica, slots = state.replicas[index], state.slots[index]
    pool = state.pools[replica.pool]
    n_waiting = state.load[index] - replica.n_running
    replica.start_s = now
    replica.rounds = 1
    if (
        pool.is_prefill_first
        and n_waiting > 0
        and _admit_whole_prompts(n_waiting, pool, replica, slots, state.requests)
    ):
        replica.stretch = _CHUNKS
        replica.rounds = 0
        return now + _chunks_time(0, 0, pool, replica, slots)
    replica.stretch = _serve_at_once(n_waiting, pool, replica, slots, state.phases[index], state.requests)
    if replica.stretch == _DECODES:
        return _look_ahead(np.inf, pool, replica, state.finishes[index], state.phases[index])
    if replica.stretch == _CHUNKS:
        return now + _chunks_time(replica.n_decoding, replica.decode_context, pool, replica, slots)
    _serve_in_order(n_waiting, pool, replica, slots, state.requests)
    return now + _in_order_time(pool, replica, slots)


@njit(inline="always")
def _end_stretch(now, index, state):
    """Add up the stretch; who has computed all of its tokens yields the next one, who has yielded all leaves."""
    replica = state.replicas[index]
    pool = state.pools[replica.pool]
    duration_s = now - replica.start_s
    replica.running_seconds += replica.n_running * duration_s
    replica.busy_s += duration_s
    n_before = replica.n_running
    if replica.stretch == _DECODES:
        replica.iterations += replica.rounds
        replica.block_seconds += replica.ahead_block_seconds
        replica.free_blocks = replica.ahead_free_blocks
    else:
        replica.iterations += 1
        replica.block_seconds += (pool.kv_blocks - replica.free_blocks) * duration_s
    if replica.stretch == _IN_ORDER:
        _end_in_order(now, index, state)
    else:
        replica.round += replica.rounds
        replica.decode_context += replica.n_decoding * replica.rounds
        _finish_decoders(now, index, state)
        if replica.stretch == _CHUNKS:
            _end_chunks(now, index, state)
    state.load[index] -= n_before - replica.n_running


@njit
def _look_ahead(until_s, pool, replica, finishes, phases):
    """Find the end of a run of decode rounds, and note on the replica what it will be like then.

    It ends with the first round that ends at or after ``until_s``, that finishes a sequence, or after which blocks are
    lacking.
    """
    block_tokens, kv_blocks = pool.block_tokens, pool.kv_blocks
    fixed_s = pool.base_s + pool.per_sequence_s * replica.n_decoding
    most_rounds = (finishes[0] >> _SLOT_BITS) - replica.round
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
def _blocks(tokens, block_tokens):
    """Blocks that so many tokens fill."""
    return (tokens + block_tokens - 1) // block_tokens


@njit(inline="always")
def _finish_decoders(now, index, state):
    """Let those leave whose last round this was."""
    replica, slots, finishes = state.replicas[index], state.slots[index], state.finishes[index]
    block_tokens = state.pools[replica.pool].block_tokens
    while replica.n_decoding > 0 and finishes[0] >> _SLOT_BITS == replica.round:
        place = finishes[0] & _SLOT_MASK
        slot = slots[place]
        context = slot.context + replica.round
        state.phases[index, -slot.context % block_tokens] -= 1
        replica.decode_context -= context + 1
        replica.n_decoding -= 1
        _pop_first(finishes, replica.n_decoding)
        replica.free_blocks += _blocks(context, block_tokens)
        state.requests[slot.request].finish_s = now
        _give_back_slot(place, replica, slots)


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
    queued_before = _unprefilled(slot)
    slot.context += slot.granted
    if slot.context == slot.target:
        request = requests[slot.request]
        if np.isnan(request.first_token_s):
            request.first_token_s = now
        if slot.target == slot.last_target:
            request.finish_s = now
            replica.queued_tokens -= queued_before
            replica.free_blocks += _blocks(slot.context, block_tokens)
            _give_back_slot(place, replica, slots)
            return
        slot.target += 1
    replica.queued_tokens += _unprefilled(slot) - queued_before
    if _unprefilled(slot) > 0:
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
    _push(finish_round << _SLOT_BITS | place, finishes, replica.n_decoding)
    replica.n_decoding += 1
    replica.last_decoder = max(replica.last_decoder, slot.order)


@njit(inline="always")
def _unprefilled(slot):
    """Tokens that a sequence has to prefill; a last token at or beyond the end of its prompt is a decode step."""
    missing = slot.target - slot.context
    return 0 if missing == 1 and slot.context >= slot.prompt else missing


@njit(inline="always")
def _push(key, heap, size):
    """Add to a heap of this size."""
    place = size
    while place > 0 and heap[(place - 1) >> 1] > key:
        heap[place] = heap[(place - 1) >> 1]
        place = (place - 1) >> 1
    heap[place] = key


@njit(inline="always")
def _pop_first(heap, size):
    """Remove the least of a heap, which then has this size."""
    key = heap[size]
    place, child = 0, 1
    while child < size:
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= key:
            break
        heap[place] = heap[child]
        place, child = child, 2 * child + 1
    heap[place] = key


@njit(inline="always")
def _give_back_slot(place, replica, slots):
    """Take a sequence out of the order of admission."""
    slot = slots[place]
    if slot.before == NOBODY:
        replica.running_head = slot.after
    else:
        slots[slot.before].after = slot.after
    if slot.after == NOBODY:
        replica.running_tail = slot.before
    else:
        slots[slot.after].before = slot.before
    slot.after = replica.free_slot
    replica.free_slot = place
    replica.n_running -= 1


@njit
def _forget_decoders(block_tokens, replica, phases):
    """Forget what is counted of decoding and prefilling sequences."""
    replica.n_decoding = replica.decode_context = 0
    replica.last_decoder = NOBODY
    replica.prefill_head = replica.prefill_tail = NOBODY
    for phase in range(block_tokens):
        phases[phase] = 0


# ---- schedulers ----


@njit(inline="always")
def _serve_at_once(n_waiting, pool, replica, slots, phases, requests):
    """Serve all running sequences without looking at the decoding ones; returns the kind of stretch.

    It is ``_IN_ORDER``, with nothing done, if blocks or the token budget do not suffice for all, so that it matters who
    comes first: a prefilling sequence may be cut short by the budget only if no decoding one stands behind it.
    """
    budget = pool.max_batched_tokens - replica.n_decoding
    free_blocks = replica.free_blocks
    if replica.n_decoding > 0:
        free_blocks -= phases[replica.round % pool.block_tokens]
    if budget < 0 or free_blocks < 0:
        return _IN_ORDER
    place = replica.prefill_head
    while place != NOBODY:
        slot = slots[place]
        wanted = min(slot.target - slot.context, pool.max_chunk_tokens)
        slot.granted = min(wanted, budget)
        if slot.granted < wanted and slot.order < replica.last_decoder:
            return _IN_ORDER
        budget -= slot.granted
        free_blocks -= _blocks(slot.context + slot.granted, pool.block_tokens) - _blocks(
            slot.context, pool.block_tokens
        )
        place = slot.next_prefill
    if free_blocks < 0:
        return _IN_ORDER
    if n_waiting > 0 and not pool.is_prefill_first:
        free_blocks = _admit_waiting(budget, free_blocks, n_waiting, pool, replica, slots, requests)
    if replica.prefill_head == NOBODY:
        return _DECODES
    replica.free_blocks = free_blocks
    return _CHUNKS


@njit(inline="always")
def _admit_waiting(budget, free_blocks, n_waiting, pool, replica, slots, requests):
    """Admit from the head of the queue while slots, budget and the blocks of the first chunk last; returns the blocks
    that are left.
    """  # noqa: D205
    while n_waiting > 0 and replica.n_running < pool.max_sequences and budget > 0:
        request = requests[replica.waiting_head]
        tokens = min(np.int64(request.prompt_tokens) + request.generated, pool.max_chunk_tokens, budget)
        blocks = _blocks(tokens, pool.block_tokens)
        if blocks > free_blocks:
            break
        _admit_first(tokens, replica, slots, requests)
        free_blocks -= blocks
        budget -= tokens
        n_waiting -= 1
    return free_blocks


@njit(inline="always")
def _admit_whole_prompts(n_waiting, pool, replica, slots, requests):
    """Admit whole prompts from the head of the queue; returns whether there were any.

    Blocks have to suffice for all of a prompt with a hundredth of the cache to spare, unless nothing is running: else
    a prompt that needs the reserve would wait for ever.
    """
    tokens_left = _PREFILL_FIRST_TOKENS
    n_admitted = 0
    while n_admitted < n_waiting and replica.n_running < pool.max_sequences:
        request = requests[replica.waiting_head]
        tokens = np.int64(request.prompt_tokens) + request.generated
        blocks = _blocks(tokens, pool.block_tokens)
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


@njit(inline="always")
def _chunks_time(n_decodes, decode_context, pool, replica, slots):
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


# ---- one sequence after the other, where it matters who comes first ----


@njit
def _serve_in_order(n_waiting, pool, replica, slots, requests):
    """Grant tokens and blocks to the running sequences in the order of admission; then the queue.

    Sequences are served in the order of admission and preempted in the opposite order, so one that has its tokens is
    never preempted. With no budget left a sequence is granted 0 tokens, which need no block.
    """
    budget = pool.max_batched_tokens
    n_before = replica.n_running
    place = replica.running_head
    while place != NOBODY:
        slot = slots[place]
        if slot.is_decoding:
            slot.context += replica.round
            slot.target = slot.context + 1
            slot.is_decoding = 0
        place = slot.after
    place = replica.running_head
    while place != NOBODY:
        slot = slots[place]
        tokens = min(slot.target - slot.context, pool.max_chunk_tokens, budget)
        blocks = _blocks(slot.context + tokens, pool.block_tokens) - _blocks(slot.context, pool.block_tokens)
        is_preempted = False
        while blocks > replica.free_blocks and not is_preempted:
            is_preempted = place == replica.running_tail
            _preempt_last(pool.block_tokens, replica, slots, requests)
        if is_preempted:
            break
        slot.granted = tokens
        replica.free_blocks -= blocks
        budget -= tokens
        place = slot.after
    if replica.n_running == n_before and n_waiting > 0 and not pool.is_prefill_first:
        replica.free_blocks = _admit_waiting(budget, replica.free_blocks, n_waiting, pool, replica, slots, requests)


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
    replica.queued_tokens += slot.target - _unprefilled(slot)
    replica.free_blocks += _blocks(slot.context, block_tokens)
    _give_back_slot(place, replica, slots)


@njit
def _in_order_time(pool, replica, slots):
    """Seconds of the iteration, sequence by sequence."""
    n_decodes, decode_context, prefill_tokens, twice_attention = 0, 0, 0, 0
    place = replica.running_head
    while place != NOBODY:
        slot = slots[place]
        if slot.granted == 1 and slot.context >= slot.prompt:
            n_decodes += 1
            decode_context += slot.context + 1
        else:
            prefill_tokens += slot.granted
            twice_attention += slot.granted * (2 * slot.context + slot.granted)
        place = slot.after
    return _iteration_time(n_decodes, decode_context, prefill_tokens, twice_attention, pool)


@njit
def _end_in_order(now, index, state):
    """Add the granted tokens, and count anew who decodes."""
    replica, slots = state.replicas[index], state.slots[index]
    finishes, phases = state.finishes[index], state.phases[index]
    block_tokens = state.pools[replica.pool].block_tokens
    _forget_decoders(block_tokens, replica, phases)
    place = replica.running_head
    while place != NOBODY:
        following = slots[place].after
        _add_granted(now, place, block_tokens, replica, slots, finishes, phases, state.requests)
        place = following


# ---- watching ----


@njit(cache=True, nogil=True)
def sample_replicas(now, state, running, waiting, kv_blocks):
    """Write what every replica runs, has waiting and holds at this moment: int64[replicas] each."""
    for index in range(state.replicas.size):
        replica = state.replicas[index]
        pool = state.pools[replica.pool]
        running[index] = replica.n_running
        waiting[index] = 0 if state.load[index] >= DOWN else state.load[index] - replica.n_running
        free_blocks = replica.free_blocks
        if state.end_s[index] < np.inf and replica.stretch == _DECODES:
            rounds, ahead_free_blocks = replica.rounds, replica.ahead_free_blocks
            ahead_block_seconds = replica.ahead_block_seconds
            _look_ahead(np.nextafter(now, np.inf), pool, replica, state.finishes[index], state.phases[index])
            free_blocks = replica.ahead_free_blocks
            replica.rounds, replica.ahead_free_blocks = rounds, ahead_free_blocks
            replica.ahead_block_seconds = ahead_block_seconds
        kv_blocks[index] = pool.kv_blocks - free_blocks
