"""Running a trace through a fleet: arrays for the kernel, records out of it."""

import math
from collections.abc import Callable

import numpy as np

from fleetopt.errors import InputError
from fleetopt.simulator.fleet import POOL_ROUTERS, Fleet, Pool
from fleetopt.simulator.kernels import State, records, run_fleet, sample_replicas
from fleetopt.simulator.result import PoolUtilization, SimulationResult, Timeline
from fleetopt.simulator.routing import Routing, route
from fleetopt.workload.trace import Trace

_SARATHI_TOKENS = 512
_LONGEST_TOKENS = 2**31 - 1
_BALANCERS = {
    "least-loaded": records.LEAST_LOADED,
    "shortest-queue-tokens": records.SHORTEST_QUEUE_TOKENS,
    "power-of-two": records.POWER_OF_TWO,
    "round-robin": records.ROUND_ROBIN,
    "random": records.RANDOM,
}
_ROUTING_STREAM = 0
_PROGRESS_STEPS = 200
_LATE_S = 1e6
"""Clocks that start later, such as that of Unix, leave too few digits for iterations: the kernel's own starts at 0."""
_MOST_SAMPLES = 50_000_000


def simulate(
    trace: Trace,
    fleet: Fleet,
    *,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
    timeline_interval_s: float | None = None,
) -> SimulationResult:
    """Run every iteration of every replica until the last request of the trace is finished.

    Parameters
    ----------
    trace : Trace
        n requests in arrival order, seconds and tokens.
    fleet : Fleet
        Pools, their schedulers, the router and the failures.
    seed : int
        Of what the routers draw at random. Every router sees the same draws for a request.
    on_progress : callable, optional
        Told from time to time how many requests have arrived, and how many there are.
    timeline_interval_s : float, optional
        Sample the state of every replica in steps of this many seconds from the first arrival on.

    Returns
    -------
    SimulationResult
        What became of each request, in trace order, and what each pool did.

    Raises
    ------
    InputError
        If the interval is not positive or so short that the samples would not fit into memory.

    Notes
    -----
    At equal times iterations end first, then replicas come back, then replicas go down, then requests arrive in trace
    order, then iterations start. A request longer than the context limit of its pool is rejected at arrival. The KV
    cache is paged; what does not fit is preempted, last admitted first, and recomputed. Requests of a replica that goes
    down start over on another one, when all replicas that change at that moment have changed; the first token keeps its
    time if it was out already. While none can take them they wait at the router; those that still do at the end are
    unserved. A request that fails over keeps its prompt as served, compressed if it was.

    References
    ----------
    Kwon et al., PagedAttention (SOSP 2023); Agrawal et al., Sarathi-Serve (OSDI 2024): chunked prefill.
    """
    if timeline_interval_s is not None and not 0.0 < timeline_interval_s < np.inf:
        raise InputError(f"timeline interval {timeline_interval_s}: has to be a positive number of seconds")
    routing = route(trace, fleet)
    zero_s = _zero_s(trace)
    state = _state(trace, fleet, routing, seed, zero_s)
    timeline = None
    if timeline_interval_s is None:
        _run_in_steps(state, on_progress)
    else:
        timeline = _watch(state, fleet, timeline_interval_s, zero_s, on_progress)
    return _result(trace, fleet, routing, state, timeline, zero_s)


def _zero_s(trace: Trace) -> float:
    """Zero of the kernel's clock on that of the trace, in whole seconds: taking them off an arrival rounds nothing."""
    first_s = float(trace.arrival_s[0]) if len(trace) else 0.0
    return float(math.floor(first_s)) if abs(first_s) > _LATE_S else 0.0


def _run_in_steps(state: State, on_progress: Callable[[int, int], None] | None) -> None:
    """Run to the end, and stop on the way only to tell how far it is."""
    n = len(state.requests)
    if on_progress is not None:
        for arrived in np.unique(np.linspace(1, n, _PROGRESS_STEPS, dtype=np.int64)) if n else []:
            run_fleet(state, state.requests.arrival_s[arrived - 1])
            on_progress(int(state.fleet.arrived[0]), n)
    run_fleet(state, np.inf)


def _watch(
    state: State,
    fleet: Fleet,
    interval_s: float,
    zero_s: float,
    on_progress: Callable[[int, int], None] | None,
) -> Timeline:
    """Run to the end in steps, and sample the replicas after each."""
    n, n_replicas = len(state.requests), len(state.replicas)
    samples: list[np.ndarray] = []
    time_s: list[float] = []
    held: list[int] = []
    reported = 0
    while n and not _is_over(state):
        time_s.append(float(state.requests.arrival_s[0]) + len(time_s) * interval_s)
        run_fleet(state, time_s[-1])
        sample = np.empty((3, n_replicas), dtype=np.int64)
        sample_replicas(time_s[-1], state, *sample)
        samples.append(sample)
        held.append(int(state.fleet.n_held[0]))
        if len(samples) * n_replicas > _MOST_SAMPLES:
            raise InputError(f"timeline interval {interval_s:g} s: too short for a run this long; take a longer one")
        arrived = int(state.fleet.arrived[0])
        if on_progress is not None and (arrived - reported) * _PROGRESS_STEPS >= n:
            reported = arrived
            on_progress(arrived, n)
    run_fleet(state, np.inf)
    finish_s = state.requests.finish_s
    n_samples = int(np.searchsorted(time_s, np.nanmax(finish_s), side="right")) if (finish_s > -np.inf).any() else 0
    together = np.stack(samples[:n_samples]) if n_samples else np.empty((0, 3, n_replicas), dtype=np.int64)
    return Timeline(
        time_s=np.array(time_s[:n_samples]) + zero_s,
        pool_names=tuple(pool.name for pool in fleet.pools),
        pool=state.replicas.pool.copy(),
        replica=np.concatenate([np.arange(pool.replicas) for pool in fleet.pools]),
        running=together[:, 0].astype(np.int32),
        waiting=together[:, 1].astype(np.int32),
        kv_blocks=together[:, 2].copy(),
        held=np.array(held[:n_samples], dtype=np.int64),
    )


def _is_over(state: State) -> bool:
    """Whether every request has arrived and none can still be finished."""
    front = state.fleet[0]
    is_waiting = front.n_held > 0 and front.happened < len(state.outages)
    return bool(front.arrived == len(state.requests) and not np.isfinite(state.end_s).any() and not is_waiting)


def _state(trace: Trace, fleet: Fleet, routing: Routing, seed: int, zero_s: float) -> State:
    """All arrays of a run, at its beginning."""
    pools = _pools(fleet)
    replicas = _replicas(pools)
    n_replicas = len(replicas)
    most_running = _most_running(pools, len(trace))
    return State(
        fleet=_fleet(fleet, seed),
        pools=pools,
        requests=_requests(trace, routing, zero_s),
        outages=_outages(fleet, pools, zero_s),
        replicas=replicas,
        slots=np.recarray((n_replicas, most_running), dtype=records.SLOT),
        load=np.zeros(n_replicas, dtype=np.int64),
        end_s=np.full(n_replicas + 1, np.inf),
        finishes=np.empty((n_replicas, most_running), dtype=np.int64),
        phases=np.zeros((n_replicas, int(pools.block_tokens.max())), dtype=np.int64),
        earliest=_idle_tree(n_replicas),
        ready=np.empty(2 * n_replicas, dtype=np.int64),
    )


def _fleet(fleet: Fleet, seed: int) -> np.recarray:
    """FLEET[1]."""
    record = np.zeros(1, dtype=records.FLEET).view(np.recarray)
    record.pool_choice = records.ANY_POOL
    if fleet.router in POOL_ROUTERS:
        record.pool_choice = records.SPILL_OVER if fleet.router == "spill-over" else records.BY_LENGTH
    record.balancer = _BALANCERS[fleet.balancer if fleet.router in POOL_ROUTERS else fleet.router]
    record.spill_waiting = fleet.spill_waiting
    record.stream = np.random.SeedSequence(seed, spawn_key=(_ROUTING_STREAM,)).generate_state(1, np.uint64)
    record.held_head = record.held_tail = records.NOBODY
    record.broken_off_s = -np.inf
    return record


def _pools(fleet: Fleet) -> np.recarray:
    """POOL[pools]."""
    pools = np.zeros(len(fleet.pools), dtype=records.POOL).view(np.recarray)
    first_replica = 0
    for record, pool in zip(pools, fleet.pools, strict=True):
        for name in pools.dtype.names or ():
            record[name] = getattr(pool.profile, name, 0)
        record.first_replica = record.next_in_turn = first_replica
        first_replica = record.end_replica = first_replica + pool.replicas
        record.context_limit_tokens = min(pool.context_limit_tokens, _LONGEST_TOKENS)
        if pool.scheduler == "sarathi":
            record.max_batched_tokens = _SARATHI_TOKENS
        elif pool.scheduler == "prefill-first":
            record.is_prefill_first = 1
            record.max_batched_tokens = record.max_chunk_tokens = _LONGEST_TOKENS
    return pools


def _requests(trace: Trace, routing: Routing, zero_s: float) -> np.recarray:
    """REQUEST[n], nothing decided yet."""
    requests = np.recarray(len(trace), dtype=records.REQUEST)
    np.subtract(trace.arrival_s, zero_s, out=requests.arrival_s)
    # A longer one is rejected whatever its length is: no pool accepts more than _LONGEST_TOKENS in all.
    requests.prompt_tokens = np.minimum(routing.prompt_tokens, _LONGEST_TOKENS)
    requests.output_tokens = np.minimum(trace.output_tokens, _LONGEST_TOKENS)
    requests.admitted_s = requests.first_token_s = requests.finish_s = np.nan
    requests.generated = requests.preemptions = requests.retries = 0
    requests.pool = routing.pool
    requests.replica = requests.next_waiting = records.NOBODY
    return requests


def _outages(fleet: Fleet, pools: np.recarray, zero_s: float) -> np.recarray:
    """OUTAGE[m], by time; at equal times replicas come back before others go down."""
    first = {pool.name: int(record.first_replica) for pool, record in zip(fleet.pools, pools, strict=True)}
    changes = [
        (time_s - zero_s, first[failure.pool] + failure.replica, is_up)
        for failure in fleet.failures
        for time_s, is_up in ((failure.down_s, 0), (failure.up_s, 1))
        if time_s < np.inf
    ]
    changes.sort(key=lambda change: (change[0], -change[2]))
    return np.array(changes, dtype=records.OUTAGE).view(np.recarray)


def _replicas(pools: np.recarray) -> np.recarray:
    """REPLICA[replicas], idle and empty."""
    pool = np.repeat(np.arange(len(pools)), pools.end_replica - pools.first_replica)
    replicas = np.zeros(len(pool), dtype=records.REPLICA).view(np.recarray)
    replicas.pool = pool
    replicas.free_blocks = pools.kv_blocks[pool]
    for name in ("last_decoder", "waiting_head", "waiting_tail", "running_head", "running_tail"):
        replicas[name] = records.NOBODY
    replicas.prefill_head = replicas.prefill_tail = replicas.free_slot = records.NOBODY
    return replicas


def _idle_tree(n_replicas: int) -> np.ndarray:
    """Tournament tree in which nobody plays yet: its leaves are the replicas, filled up with the one idle for ever."""
    leaves = 1 << (n_replicas - 1).bit_length()
    tree = np.full(2 * leaves, n_replicas)
    tree[leaves : leaves + n_replicas] = np.arange(n_replicas)
    return tree


def _most_running(pools: np.recarray, n_requests: int) -> int:
    """Most sequences running at once on a replica: each holds a block, so there are no more than blocks."""
    return max(1, min(int(np.minimum(pools.max_sequences, pools.kv_blocks).max()), n_requests))


def _result(
    trace: Trace, fleet: Fleet, routing: Routing, state: State, timeline: Timeline | None, zero_s: float
) -> SimulationResult:
    requests, pools = state.requests, state.pools
    is_without = requests.replica == records.NOBODY
    limits = pools.context_limit_tokens
    limit = np.where(requests.pool < 0, limits.max(), limits[requests.pool])
    is_rejected = requests.prompt_tokens.astype(np.int64) + requests.output_tokens > limit
    pool = np.where(is_without, np.maximum(requests.pool, 0), state.replicas.pool[requests.replica]).astype(np.int32)
    replica = np.where(is_without, records.NOBODY, requests.replica - pools.first_replica[pool]).astype(np.int32)
    last_s = max(np.max(requests.finish_s, initial=-np.inf, where=~is_without), state.fleet.broken_off_s[0])
    observed_s = float(last_s - requests.arrival_s[0]) if last_s > -np.inf else 0.0
    for name in ("admitted_s", "first_token_s", "finish_s"):
        np.add(requests[name], zero_s, out=requests[name])
    return SimulationResult(
        pool_names=tuple(pool.name for pool in fleet.pools),
        arrival_s=trace.arrival_s,
        pool=pool,
        replica=replica,
        admitted_s=requests.admitted_s,
        first_token_s=requests.first_token_s,
        finish_s=requests.finish_s,
        preemptions=requests.preemptions,
        retries=requests.retries,
        prompt_tokens=routing.prompt_tokens,
        original_prompt_tokens=trace.prompt_tokens,
        output_tokens=trace.output_tokens,
        is_rejected=is_rejected,
        is_unserved=is_without & ~is_rejected,
        observed_s=observed_s,
        utilization=tuple(
            _utilization(pool, state.replicas[record.first_replica : record.end_replica], observed_s)
            for pool, record in zip(fleet.pools, pools, strict=True)
        ),
        timeline=timeline,
    )


def _utilization(pool: Pool, replicas: np.ndarray, observed_s: float) -> PoolUtilization:
    replica_seconds = pool.replicas * observed_s if observed_s > 0.0 else np.nan
    busy_s, iterations = float(replicas["busy_s"].sum()), int(replicas["iterations"].sum())
    mean_running = float(replicas["running_seconds"].sum()) / replica_seconds
    mean_blocks = float(replicas["block_seconds"].sum()) / replica_seconds
    return PoolUtilization(
        slot=mean_running / pool.profile.max_sequences,
        kv=mean_blocks / pool.profile.kv_blocks,
        busy=busy_s / replica_seconds,
        compute=1.0 - pool.profile.base_s * iterations / busy_s if busy_s > 0.0 else np.nan,
        mean_running=mean_running,
        mean_iteration_s=busy_s / iterations if iterations else np.nan,
        iterations=iterations,
    )
