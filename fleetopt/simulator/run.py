"""Running a trace through a fleet: arrays for the kernel, records out of it."""

import numpy as np

from fleetopt.simulator import _kernels
from fleetopt.simulator.fleet import Fleet, Pool
from fleetopt.simulator.result import PoolUtilization, SimulationResult
from fleetopt.simulator.routing import Routing, route
from fleetopt.workload.trace import Trace


def simulate(trace: Trace, fleet: Fleet) -> SimulationResult:
    """Run every iteration of every replica until the last request of the trace is finished.

    Parameters
    ----------
    trace : Trace
        n requests in arrival order, seconds and tokens.
    fleet : Fleet
        The pool of a request follows from its length, see :func:`fleetopt.simulator.route`.

    Returns
    -------
    SimulationResult
        What became of each request, in trace order, and what each pool did.

    Notes
    -----
    At equal times iterations end first, then requests arrive in trace order, then iterations start. A request longer
    than the context limit of its pool is rejected at arrival. The KV cache is paged; what does not fit is preempted,
    last admitted first, and recomputed. Nothing is random.

    References
    ----------
    Kwon et al., PagedAttention (SOSP 2023); Agrawal et al., Sarathi-Serve (OSDI 2024): chunked prefill.
    """
    pools = _pools(fleet)
    requests = _requests(trace, route(trace, fleet))
    replicas = _replicas(pools)
    slots = _slots(pools, len(trace))
    ready = np.empty(len(replicas) - 1, dtype=np.int64)
    _kernels.run_fleet(pools, requests, replicas, slots, _idle_tree(len(ready)), ready)
    return _result(trace, fleet, pools, requests, replicas)


def _pools(fleet: Fleet) -> np.recarray:
    """POOL[pools]."""
    pools = np.recarray(len(fleet.pools), dtype=_kernels.POOL)
    first_replica = 0
    for record, pool in zip(pools, fleet.pools, strict=True):
        for name in record.dtype.names:
            record[name] = getattr(pool.profile, name, 0)
        record.first_replica = first_replica
        first_replica = record.end_replica = first_replica + pool.replicas
        record.context_limit_tokens = pool.context_limit_tokens
    return pools


def _requests(trace: Trace, routing: Routing) -> np.recarray:
    """REQUEST[n], nothing decided yet."""
    requests = np.recarray(len(trace), dtype=_kernels.REQUEST)
    requests.arrival_s = trace.arrival_s
    requests.prompt_tokens = routing.prompt_tokens
    requests.output_tokens = trace.output_tokens
    requests.first_token_s = requests.finish_s = np.nan
    requests.generated = requests.preemptions = 0
    requests.pool = np.maximum(routing.pool, 0)
    requests.replica = requests.next_waiting = _kernels.NOBODY
    return requests


def _replicas(pools: np.recarray) -> np.recarray:
    """REPLICA[replicas + 1], idle and empty; the last one takes the free places of the tournament tree."""
    pool = np.repeat(np.arange(len(pools)), pools.end_replica - pools.first_replica)
    replicas = np.zeros(len(pool) + 1, dtype=_kernels.REPLICA).view(np.recarray)
    replicas.iteration_end_s = np.inf
    replicas.pool[:-1] = pool
    replicas.free_blocks[:-1] = pools.kv_blocks[pool]
    replicas.waiting_head = replicas.waiting_tail = _kernels.NOBODY
    return replicas


def _idle_tree(n_replicas: int) -> np.ndarray:
    """Tournament tree in which nobody plays yet: its leaves are the replicas, filled up with the one idle for ever."""
    leaves = 1 << (n_replicas - 1).bit_length()
    tree = np.full(2 * leaves, n_replicas)
    tree[leaves : leaves + n_replicas] = np.arange(n_replicas)
    return tree


def _slots(pools: np.recarray, n_requests: int) -> np.recarray:
    """SLOT[replicas, most running at once]: every running sequence holds a block, so there are no more than blocks."""
    most_running = min(int(np.minimum(pools.max_sequences, pools.kv_blocks).max()), n_requests)
    return np.recarray((int(pools.end_replica[-1]), most_running), dtype=_kernels.SLOT)


def _result(
    trace: Trace, fleet: Fleet, pools: np.recarray, requests: np.recarray, replicas: np.recarray
) -> SimulationResult:
    is_rejected = requests.replica == _kernels.NOBODY
    finish_s = requests.finish_s.copy()
    observed_s = 0.0 if is_rejected.all() else float(np.nanmax(finish_s) - trace.arrival_s[0])
    pool = requests.pool.astype(np.int64)
    return SimulationResult(
        pool_names=tuple(pool.name for pool in fleet.pools),
        arrival_s=trace.arrival_s,
        pool=pool,
        replica=np.where(is_rejected, _kernels.NOBODY, requests.replica - pools.first_replica[pool]),
        first_token_s=requests.first_token_s.copy(),
        finish_s=finish_s,
        preemptions=requests.preemptions.astype(np.int64),
        prompt_tokens=requests.prompt_tokens.copy(),
        original_prompt_tokens=trace.prompt_tokens,
        output_tokens=trace.output_tokens,
        is_rejected=is_rejected,
        observed_s=observed_s,
        utilization=tuple(
            _utilization(pool, replicas[record.first_replica : record.end_replica], observed_s)
            for pool, record in zip(fleet.pools, pools, strict=True)
        ),
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
