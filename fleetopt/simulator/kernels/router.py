"""The router: which replica takes a request."""

# mypy: ignore-errors
# Numba infers the types, and NumPy's stubs do not know the fields of a record.

import numpy as np
from numba import njit

from fleetopt.simulator.kernels.queues import append_request, schedule_end
from fleetopt.simulator.kernels.records import (
    ANY_POOL,
    BY_LENGTH,
    DECODES,
    DOWN,
    LEAST_LOADED,
    NOBODY,
    RANDOM,
    ROUND_ROBIN,
    SHORTEST_QUEUE_TOKENS,
)
from fleetopt.simulator.kernels.stretches import look_ahead

_DRAWS_PER_REQUEST = 1 << 16
_INDEX_BITS = 20
"""Of the index of a replica; ``DOWN`` has 41, and both together fit into an int64."""


@njit(inline="always")
def is_accepted(request, state):
    """Whether the pool that it belongs to, or any pool, accepts a request of this length."""
    total_tokens = np.int64(request.prompt_tokens) + request.output_tokens
    if state.fleet[0].pool_choice != ANY_POOL:
        return total_tokens <= state.pools[request.pool].context_limit_tokens
    longest = 0
    for pool_index in range(state.pools.size):
        longest = max(longest, state.pools[pool_index].context_limit_tokens)
    return total_tokens <= longest


@njit(inline="always")
def deliver(now, request_index, n_ready, state):
    """Send a request to a replica, or hold it if none can take it; a replica that was idle becomes ready."""
    fleet, request = state.fleet[0], state.requests[request_index]
    index = _route(request_index, state)
    request.replica = index
    if index == NOBODY:
        fleet.held_head, fleet.held_tail = append_request(
            request_index, fleet.held_head, fleet.held_tail, state.requests
        )
        fleet.n_held += 1
        return n_ready
    replica = state.replicas[index]
    pool = state.pools[replica.pool]
    if fleet.pool_choice == ANY_POOL:
        fleet.next_in_turn = index + 1
    else:
        pool.next_in_turn = index + 1
    has_queue = state.load[index] > replica.n_running
    replica.waiting_head, replica.waiting_tail = append_request(
        request_index, replica.waiting_head, replica.waiting_tail, state.requests
    )
    replica.queued_tokens += request.prompt_tokens
    state.load[index] += 1
    if state.load[index] == 1:
        state.ready[n_ready] = index
        return n_ready + 1
    is_decoding = state.end_s[index] < np.inf and replica.stretch == DECODES and replica.rounds > 1
    if is_decoding and not has_queue and replica.n_running < pool.max_sequences:
        # The run of decode rounds ends with the one under way: in the next iteration this request may be admitted.
        # Behind others it may not, because memory only gets scarcer until somebody is finished.
        schedule_end(index, look_ahead(now, pool, replica, state.finishes[index], state.phases[index]), state)
    return n_ready


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


@njit(inline="always")
def _choose(first_pool, end_pool, request_index, state):
    """Choose among the replicas of these pools that are up and accept the request; ties go to the lowest index.

    What is called here and not inlined costs: each of the arrays of the state is counted as referenced twice.
    """
    fleet, request = state.fleet[0], state.requests[request_index]
    total_tokens = np.int64(request.prompt_tokens) + request.output_tokens
    if fleet.balancer == LEAST_LOADED:
        return _least_loaded(first_pool, end_pool, total_tokens, state)
    if fleet.balancer == SHORTEST_QUEUE_TOKENS:
        return _shortest_queue(first_pool, end_pool, total_tokens, state)
    if fleet.balancer == ROUND_ROBIN:
        return _next_in_turn(first_pool, end_pool, total_tokens, state)
    return _drawn(first_pool, end_pool, total_tokens, request_index, state)


@njit(inline="always")
def _least_loaded(first_pool, end_pool, total_tokens, state):
    """The replica with the fewest waiting and running requests; load and index are compared as one number."""
    best = np.int64(DOWN) << _INDEX_BITS
    for pool_index in range(first_pool, end_pool):
        pool = state.pools[pool_index]
        if total_tokens <= pool.context_limit_tokens:
            for index in range(pool.first_replica, pool.end_replica):
                best = min(best, state.load[index] << _INDEX_BITS | index)
    return best & ((1 << _INDEX_BITS) - 1) if best >> _INDEX_BITS < DOWN else NOBODY


@njit
def _shortest_queue(first_pool, end_pool, total_tokens, state):
    """The replica with the fewest prompt tokens not yet prefilled, plus running sequences."""
    best, fewest = NOBODY, DOWN
    for pool_index in range(first_pool, end_pool):
        pool = state.pools[pool_index]
        if total_tokens > pool.context_limit_tokens:
            continue
        for index in range(pool.first_replica, pool.end_replica):
            pressure = state.replicas[index].queued_tokens + state.replicas[index].n_running
            if state.load[index] < DOWN and pressure < fewest:
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
