"""The clock: what happens next, in which order if at the same time, and what can be seen of it."""

# mypy: ignore-errors
# Numba infers the types, and NumPy's stubs do not know the fields of a record.

import numpy as np
from numba import njit

from fleetopt.borrowing import borrowed
from fleetopt.compiled import compiled
from fleetopt.simulator.kernels.outages import take_outages
from fleetopt.simulator.kernels.queues import schedule_end
from fleetopt.simulator.kernels.records import DECODES, DOWN, State
from fleetopt.simulator.kernels.router import deliver, is_accepted
from fleetopt.simulator.kernels.stretches import end_stretch, look_ahead, start_stretch


@compiled()
def run_fleet(owned, until_s):
    """Run until nothing is left to happen up to and at ``until_s``; call it again to go on.

    It ends, even where iterations take no time: the sequence admitted first on a replica is never preempted, because
    alone it fits into the KV cache (longer requests are rejected), and every iteration computes a token of it. For the
    same reason no iteration is ever empty.
    """
    state = State(
        borrowed(owned.fleet),
        borrowed(owned.pools),
        borrowed(owned.requests),
        borrowed(owned.outages),
        borrowed(owned.replicas),
        borrowed(owned.slots),
        borrowed(owned.load),
        borrowed(owned.end_s),
        borrowed(owned.finishes),
        borrowed(owned.phases),
        borrowed(owned.earliest),
        borrowed(owned.ready),
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
        if next_outage_s == now:
            n_ready = take_outages(now, n_ready, state)
        while fleet.arrived < n_requests and state.requests[fleet.arrived].arrival_s == now:
            if is_accepted(state.requests[fleet.arrived], state):
                n_ready = deliver(now, fleet.arrived, n_ready, state)
            fleet.arrived += 1
        for i in range(n_ready):
            index = state.ready[i]
            if state.end_s[index] == np.inf and 0 < state.load[index] < DOWN:
                schedule_end(index, start_stretch(now, index, state), state)


@njit(inline="always")
def _end_due(now, is_alone, state):
    """End the stretches that are due; returns how many replicas go on, whose indices are in ``ready``."""
    n_ready = 0
    while state.end_s[state.earliest[1]] == now:
        index = state.earliest[1]
        end_stretch(now, index, state)
        if state.load[index] > 0:
            state.ready[n_ready] = index
            n_ready += 1
            if is_alone:
                state.end_s[index] = np.inf  # its next stretch starts at once, and replays its matches in the tree
                break
        schedule_end(index, np.inf, state)
    return n_ready


@compiled()
def sample_replicas(now, state, running, waiting, kv_blocks):
    """Write what every replica runs, has waiting and holds at this moment: int64[replicas] each."""
    for index in range(state.replicas.size):
        replica = state.replicas[index]
        pool = state.pools[replica.pool]
        running[index] = replica.n_running
        waiting[index] = 0 if state.load[index] >= DOWN else state.load[index] - replica.n_running
        free_blocks = replica.free_blocks
        if state.end_s[index] < np.inf and replica.stretch == DECODES:
            rounds, ahead_free_blocks = replica.rounds, replica.ahead_free_blocks
            ahead_block_seconds = replica.ahead_block_seconds
            look_ahead(np.nextafter(now, np.inf), pool, replica, state.finishes[index], state.phases[index])
            free_blocks = replica.ahead_free_blocks
            replica.rounds, replica.ahead_free_blocks = rounds, ahead_free_blocks
            replica.ahead_block_seconds = ahead_block_seconds
        kv_blocks[index] = pool.kv_blocks - free_blocks
