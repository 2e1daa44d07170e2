"""Replicas that go down and come back."""

# mypy: ignore-errors
# Numba infers the types, and NumPy's stubs do not know the fields of a record.

import numpy as np
from numba import njit

from fleetopt.simulator.kernels.queues import append_request, schedule_end
from fleetopt.simulator.kernels.records import DOWN, NOBODY
from fleetopt.simulator.kernels.router import deliver
from fleetopt.simulator.kernels.stretches import break_off, forget_decoders


@njit
def take_outage(now, n_ready, state):
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
        n_ready = deliver(now, queue, n_ready, state)
        queue = following
    return n_ready


@njit
def _take_down(now, index, state):
    """Break off the iteration under way and empty the replica; returns its requests as a queue, to start over."""
    replica, requests = state.replicas[index], state.requests
    pool = state.pools[replica.pool]
    if state.end_s[index] < np.inf:
        break_off(now, index, state)
    head, tail = NOBODY, NOBODY
    slots = state.slots[index]
    place = replica.running_head
    while place != NOBODY:
        head, tail = append_request(slots[place].request, head, tail, requests)
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
    forget_decoders(pool.block_tokens, replica, state.phases[index])
    state.load[index] = DOWN
    schedule_end(index, np.inf, state)
    return head
