"""A plain compiled loop over iterations and sequences: what the speed of the simulator is measured against.

It does for one pool, scheduler `fcfs` and the least-loaded router what the engine does, with nothing jumped over: every
iteration of every replica looks at every running sequence. It is itself as fast as such a loop was made: records in
flat arrays, no memory allocated, no references counted, a tournament tree for the iteration that ends next.
"""

# mypy: ignore-errors
# Numba infers the types, and NumPy's stubs do not know the fields of a record.

from typing import NamedTuple

import numpy as np
from numba import njit

from fleetopt.borrowing import borrowed
from fleetopt.simulator import Fleet
from fleetopt.workload.trace import Trace

NOBODY = -1

POOL = np.dtype(
    [
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
    ]
)
"""What a replica can do; names as in ``GpuProfile``."""

REQUEST = np.dtype(
    [
        ("arrival_s", np.float64),
        ("prompt_tokens", np.int64),
        ("output_tokens", np.int64),
        ("first_token_s", np.float64),
        ("finish_s", np.float64),
        ("generated", np.int64),  # output tokens that a preempted request had, and has to prefill again
        ("replica", np.int32),  # NOBODY if rejected
        ("preemptions", np.int32),
        ("next_waiting", np.int32),  # the request behind this one in the queue of its replica
    ]
)
"""One request: 64 bytes, a cache line."""

REPLICA = np.dtype(
    [
        ("iteration_end_s", np.float64),  # infinity while idle
        ("load", np.int64),  # waiting and running requests; the replica is idle when, and only when, it is 0
        ("n_running", np.int64),
        ("free_blocks", np.int64),
        ("waiting_head", np.int64),
        ("waiting_tail", np.int64),
        ("running_seconds", np.float64),  # integral over time of the running sequences
        ("block_seconds", np.float64),  # integral over time of the KV blocks held
        ("busy_s", np.float64),
        ("iterations", np.int64),
    ]
)
"""State of a replica, and its sums over time."""

SLOT = np.dtype(
    [
        ("request", np.int64),
        ("prompt", np.int64),
        ("context", np.int64),  # tokens whose KV is in the cache
        ("target", np.int64),  # context at which the next output token comes out: prompt and what was generated
        ("last_target", np.int64),  # context at which the last one comes out: its own KV is never computed
        ("allocated", np.int64),  # tokens that fit into the blocks held
        ("granted", np.int64),  # tokens computed in this iteration; 0 if the budget passed the sequence over
    ]
)
"""A running sequence; those of a replica stand in the order of admission."""


@njit(cache=True, nogil=True)
def run_plain(pools, requests, replicas, slots, earliest, ready):
    """Run until every accepted request is finished.

    Parameters: ``POOL[1]``; ``REQUEST[n]``, by arrival; ``REPLICA[replicas + 1]``, the last one idle for ever;
    ``SLOT[replicas, most running at once]``; ``int64[2 * leaves]``, a tournament tree of the replicas, whose root,
    place 1, is the one whose iteration ends first; ``int64[replicas]``, scratch.
    """
    pools, requests, replicas = borrowed(pools), borrowed(requests), borrowed(replicas)
    slots, earliest, ready = borrowed(slots), borrowed(earliest), borrowed(ready)
    pool = pools[0]
    arrived = 0
    while True:
        now = replicas[earliest[1]].iteration_end_s
        if arrived < requests.size and requests[arrived].arrival_s < now:
            now = requests[arrived].arrival_s
        if now == np.inf:
            return
        n_ready = _end_iterations(now, pool, requests, replicas, slots, earliest, ready)
        arrived, n_ready = _take_arrivals(now, arrived, pool, requests, replicas, ready, n_ready)
        for i in range(n_ready):
            replica = replicas[ready[i]]
            duration_s = _start_iteration(pool, replica, slots[ready[i]], requests)
            _schedule_end(ready[i], now + duration_s, replicas, earliest)


@njit(inline="always")
def _schedule_end(index, time_s, replicas, earliest):
    """Set when the iteration of a replica ends, and replay its matches in the tree; ties go to the lower index."""
    replicas[index].iteration_end_s = time_s
    node = ((earliest.size >> 1) + index) >> 1
    while node >= 1:
        left, right = earliest[2 * node], earliest[2 * node + 1]
        is_left_first = replicas[left].iteration_end_s <= replicas[right].iteration_end_s
        earliest[node] = left if is_left_first else right
        node >>= 1


@njit(inline="always")
def _end_iterations(now, pool, requests, replicas, slots, earliest, ready):
    """End every iteration that is due; returns how many of these replicas go on at once."""
    n_ready = 0
    index = earliest[1]
    while replicas[index].iteration_end_s == now:
        replica = replicas[index]
        _end_iteration(now, pool.block_tokens, replica, slots[index], requests)
        _schedule_end(index, np.inf, replicas, earliest)
        if replica.load > 0:
            ready[n_ready] = index
            n_ready += 1
        index = earliest[1]
    return n_ready


@njit(inline="always")
def _take_arrivals(now, arrived, pool, requests, replicas, ready, n_ready):
    """Route, or reject, every request that arrives now; an idle replica that gets one becomes ready."""
    while arrived < requests.size and requests[arrived].arrival_s == now:
        request = requests[arrived]
        if request.prompt_tokens + request.output_tokens <= pool.context_limit_tokens:
            index = _least_loaded(ready.size, replicas)
            request.replica = index
            replica = replicas[index]
            _join_queue(arrived, replica, requests)
            if replica.load == 0:
                ready[n_ready] = index
                n_ready += 1
            replica.load += 1
        arrived += 1
    return arrived, n_ready


@njit(inline="always")
def _least_loaded(n_replicas, replicas):
    """Router: fewest waiting and running requests; ties go to the lowest index."""
    best = 0
    for index in range(1, n_replicas):
        if replicas[index].load < replicas[best].load:
            best = index
    return best


@njit(inline="always")
def _join_queue(index, replica, requests):
    """Put a request at the end of the waiting queue."""
    requests[index].next_waiting = NOBODY
    if replica.waiting_head == NOBODY:
        replica.waiting_head = index
    else:
        requests[replica.waiting_tail].next_waiting = index
    replica.waiting_tail = index


@njit(inline="always")
def _return_to_queue(index, replica, requests):
    """Put a preempted request at the head of the waiting queue."""
    requests[index].next_waiting = replica.waiting_head
    if replica.waiting_head == NOBODY:
        replica.waiting_tail = index
    replica.waiting_head = index


@njit(inline="always")
def _start_iteration(pool, replica, slots, requests):
    """Scheduler `fcfs`: running sequences first, then the queue; returns how long the iteration lasts, seconds."""
    budget, is_preempting = _serve_running(pool, replica, slots, requests)
    if not is_preempting:
        _admit_waiting(pool, replica, slots, requests, budget)
    duration_s = _iteration_time(pool, slots, replica.n_running)
    replica.running_seconds += replica.n_running * duration_s
    replica.block_seconds += (pool.kv_blocks - replica.free_blocks) * duration_s
    replica.busy_s += duration_s
    replica.iterations += 1
    return duration_s


@njit(inline="always")
def _serve_running(pool, replica, slots, requests):
    """Grant tokens and blocks to the running sequences; returns the budget left and whether anybody was preempted.

    Sequences are served in the order of admission and preempted in the opposite order, so one that has its tokens is
    never preempted. With no budget left a sequence is granted 0 tokens, which need no block.
    """
    budget = pool.max_batched_tokens
    n_before = replica.n_running
    i = 0
    while i < replica.n_running:
        slot = slots[i]
        tokens = min(slot.target - slot.context, pool.max_chunk_tokens, budget)
        missing = slot.context + tokens - slot.allocated
        if missing > 0:
            blocks = (missing + pool.block_tokens - 1) // pool.block_tokens
            while blocks > replica.free_blocks and i < replica.n_running:
                _preempt_last(pool.block_tokens, replica, slots, requests)
            if i == replica.n_running:
                break
            replica.free_blocks -= blocks
            slot.allocated += blocks * pool.block_tokens
        slot.granted = tokens
        budget -= tokens
        i += 1
    return budget, replica.n_running < n_before


@njit(inline="always")
def _preempt_last(block_tokens, replica, slots, requests):
    """Preempt the sequence admitted last: its KV is lost, it waits at the head of the queue."""
    replica.n_running -= 1
    slot = slots[replica.n_running]
    replica.free_blocks += slot.allocated // block_tokens
    request = requests[slot.request]
    request.generated = slot.target - slot.prompt
    request.preemptions += 1
    _return_to_queue(slot.request, replica, requests)


@njit(inline="always")
def _admit_waiting(pool, replica, slots, requests, budget):
    """Admit from the head of the queue while slots, budget and the blocks of the first chunk last."""
    while replica.waiting_head != NOBODY and replica.n_running < pool.max_sequences and budget > 0:
        request = requests[replica.waiting_head]
        target = request.prompt_tokens + request.generated
        tokens = min(target, pool.max_chunk_tokens, budget)
        blocks = (tokens + pool.block_tokens - 1) // pool.block_tokens
        if blocks > replica.free_blocks:
            break
        slot = slots[replica.n_running]
        slot.request = replica.waiting_head
        slot.prompt = request.prompt_tokens
        slot.context = 0
        slot.target = target
        slot.last_target = request.prompt_tokens + request.output_tokens - 1
        slot.allocated = blocks * pool.block_tokens
        slot.granted = tokens
        replica.n_running += 1
        replica.free_blocks -= blocks
        replica.waiting_head = request.next_waiting
        budget -= tokens


@njit(inline="always")
def _iteration_time(pool, slots, n_running):
    """Seconds of the iteration. Tokens are summed as integers, so the result does not depend on their order."""
    n_decodes, decode_context, prefill_tokens, twice_attention = 0, 0, 0, 0
    for i in range(n_running):
        slot = slots[i]
        if slot.granted == 1 and slot.context >= slot.prompt:
            n_decodes += 1
            decode_context += slot.context + 1
        else:
            prefill_tokens += slot.granted
            twice_attention += slot.granted * (2 * slot.context + slot.granted)
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


@njit(inline="always")
def _end_iteration(now, block_tokens, replica, slots, requests):
    """Add the granted tokens; who has computed all of its tokens yields the next one, who has yielded all leaves."""
    kept = 0
    for i in range(replica.n_running):
        slot = slots[i]
        slot.context += slot.granted
        if slot.context == slot.target:
            if slot.target == slot.prompt:
                requests[slot.request].first_token_s = now
            if slot.target == slot.last_target:
                requests[slot.request].finish_s = now
                replica.free_blocks += slot.allocated // block_tokens
                replica.load -= 1
                continue
            slot.target += 1
        if kept < i:
            slots[kept] = slot
        kept += 1
    replica.n_running = kept


class PlainResult(NamedTuple):
    """Arrays of n in trace order; times in seconds, nan if rejected."""

    first_token_s: np.ndarray
    finish_s: np.ndarray
    replica: np.ndarray
    preemptions: np.ndarray
    mean_batch: float
    iterations: int


def simulate_plain(trace: Trace, fleet: Fleet) -> PlainResult:
    """Run a trace through a fleet of one pool, scheduler `fcfs`, router `least-loaded`."""
    (shape,) = fleet.pools
    assert (shape.scheduler, fleet.router, fleet.failures) == ("fcfs", "least-loaded", ())
    pools = np.recarray(1, dtype=POOL)
    for name in POOL.names:
        pools[name] = shape.context_limit_tokens if name == "context_limit_tokens" else getattr(shape.profile, name)
    requests = np.recarray(len(trace), dtype=REQUEST)
    requests.arrival_s = trace.arrival_s
    requests.prompt_tokens, requests.output_tokens = trace.prompt_tokens, trace.output_tokens
    requests.first_token_s = requests.finish_s = np.nan
    requests.generated = requests.preemptions = 0
    requests.replica = requests.next_waiting = NOBODY
    replicas = np.zeros(shape.replicas + 1, dtype=REPLICA).view(np.recarray)
    replicas.iteration_end_s = np.inf
    replicas.free_blocks = shape.profile.kv_blocks
    replicas.waiting_head = replicas.waiting_tail = NOBODY
    # Every running sequence holds a block, so there are no more than blocks.
    most_running = min(shape.profile.max_sequences, shape.profile.kv_blocks, len(trace))
    slots = np.recarray((shape.replicas, most_running), dtype=SLOT)
    run_plain(pools, requests, replicas, slots, _idle_tree(shape.replicas), np.empty(shape.replicas, dtype=np.int64))
    return PlainResult(
        requests.first_token_s.copy(),
        requests.finish_s.copy(),
        requests.replica.astype(np.int64),
        requests.preemptions.astype(np.int64),
        float(replicas.running_seconds.sum() / replicas.busy_s.sum()),
        int(replicas.iterations.sum()),
    )


def _idle_tree(n_replicas: int) -> np.ndarray:
    """Tournament tree in which nobody plays yet: its leaves are the replicas, filled up with the one idle for ever."""
    leaves = 1 << (n_replicas - 1).bit_length()
    tree = np.full(2 * leaves, n_replicas)
    tree[leaves : leaves + n_replicas] = np.arange(n_replicas)
    return tree
