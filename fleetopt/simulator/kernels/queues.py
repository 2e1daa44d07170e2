"""Queues of requests, heaps of rounds, the slots of running sequences, and the calendar of the replicas."""

# mypy: ignore-errors
# Numba infers the types, and NumPy's stubs do not know the fields of a record.

from numba import njit

from fleetopt.simulator.kernels.records import NOBODY


@njit(inline="always")
def append_request(request_index, head, tail, requests):
    """Put a request at the end of a queue; returns its head and tail."""
    requests[request_index].next_waiting = NOBODY
    if head == NOBODY:
        return request_index, request_index
    requests[tail].next_waiting = request_index
    return head, request_index


@njit(inline="always")
def push_round(key, heap, size):
    """Add to a heap of this size."""
    place = size
    while place > 0 and heap[(place - 1) >> 1] > key:
        heap[place] = heap[(place - 1) >> 1]
        place = (place - 1) >> 1
    heap[place] = key


@njit(inline="always")
def pop_round(heap, size):
    """Remove the least of a heap, which then has this size.

    The gap goes down to a leaf along the lesser children, and the last key comes up from there: most often it stays at
    the bottom, so that the way has no branch that a processor guesses wrong (Wegener, 1993, bottom-up heapsort).
    """
    key = heap[size]
    place, child = 0, 1
    while child + 1 < size:
        child += heap[child + 1] < heap[child]
        heap[place] = heap[child]
        place, child = child, 2 * child + 1
    if child < size:
        heap[place] = heap[child]
        place = child
    while place > 0 and heap[(place - 1) >> 1] > key:
        heap[place] = heap[(place - 1) >> 1]
        place = (place - 1) >> 1
    heap[place] = key


@njit
def remove_round(key, heap, size):
    """Remove a key from anywhere in a heap, which then has this size."""
    place = 0
    while heap[place] != key:
        place += 1
    last = heap[size]
    while place > 0 and heap[(place - 1) >> 1] > last:
        heap[place] = heap[(place - 1) >> 1]
        place = (place - 1) >> 1
    child = 2 * place + 1
    while child < size:
        child += child + 1 < size and heap[child + 1] < heap[child]
        if heap[child] >= last:
            break
        heap[place] = heap[child]
        place, child = child, 2 * child + 1
    heap[place] = last


@njit(inline="always")
def blocks_for(tokens, block_tokens):
    """Blocks that so many tokens fill."""
    return (tokens + block_tokens - 1) // block_tokens


@njit(inline="always")
def schedule_end(index, time_s, state):
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


@njit(inline="always")
def unprefilled_tokens(slot):
    """Tokens that a sequence has to prefill; a last token at or beyond the end of its prompt is a decode step."""
    missing = slot.target - slot.context
    return 0 if missing == 1 and slot.context >= slot.prompt else missing


@njit(inline="always")
def give_back_slot(place, replica, slots):
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
