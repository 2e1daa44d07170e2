"""Replicas that go down and come back."""

# mypy: ignore-errors
# Numba infers the types, and NumPy's stubs do not know the fields of a record.

import numpy as np
from numba import njit

from fleetopt.simulator.kernels.queues import append_request, schedule_end
from fleetopt.simulator.kernels.records import DOWN, NOBODY
from fleetopt.simulator.kernels.router import deliver
from fleetopt.simulator.kernels.schedulers import forget_decoders
from fleetopt.simulator.kernels.stretches import break_off


@njit
def take_outages(now, n_ready, state):
    """Bring back and take down the replicas that are due; then send on the requests that are held or were lost.

    Requests move when all replicas of this moment have changed, so that none goes to one that goes down at once, and
    what is held is spread over all that came back.
    """
    fleet = state.fleet[0]
    is_any_back = False
    head, tail = NOBODY, NOBODY
    while fleet.happened < state.outages.size and state.outages[fleet.happened].time_s == now:
        outage = state.outages[fleet.happened]
        fleet.happened += 1
        if outage.is_up:
            state.load[outage.replica] = 0
            is_any_back = True
        else:
            head, tail = _take_down(now, outage.replica, head, tail, state)
    if is_any_back:
        held = fleet.held_head
        fleet.held_head = fleet.held_tail = NOBODY
        fleet.n_held = 0
        n_ready = _deliver_all(now, held, n_ready, state)
    return _deliver_all(now, head, n_ready, state)


@njit
def _deliver_all(now, request_index, n_ready, state):
    """Send on the requests of a queue, in order."""
    while request_index != NOBODY:
        following = state.requests[request_index].next_waiting
        n_ready = deliver(now, request_index, n_ready, state)
        request_index = following
    return n_ready


@njit
def _take_down(now, index, head, tail, state):
    """Break off the iteration under way and empty the replica; its requests join a queue, to start over."""
    replica, slots = state.replicas[index], state.slots[index]
    pool = state.pools[replica.pool]
    if state.end_s[index] < np.inf:
        break_off(now, index, state)
    place = replica.running_head
    while place != NOBODY:
        head, tail = _lose(slots[place].request, head, tail, state)
        place = slots[place].after
    request_index = replica.waiting_head
    while request_index != NOBODY:
        following = state.requests[request_index].next_waiting
        head, tail = _lose(request_index, head, tail, state)
        request_index = following
    replica.waiting_head = replica.waiting_tail = NOBODY
    replica.running_head = replica.running_tail = replica.free_slot = NOBODY
    replica.prefill_head = replica.prefill_tail = NOBODY
    replica.used_slots = replica.n_running = replica.queued_tokens = 0
    replica.free_blocks = pool.kv_blocks
    forget_decoders(pool.block_tokens, replica, state.phases[index])
    state.load[index] = DOWN
    schedule_end(index, np.inf, state)
    return head, tail


@njit
def _lose(request_index, head, tail, state):
    """Put a request that has lost its replica into a queue, to start over."""
    state.requests[request_index].generated = 0
    state.requests[request_index].retries += 1
    return append_request(request_index, head, tail, state.requests)
