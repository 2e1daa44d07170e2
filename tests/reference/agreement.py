"""One outcome from the compiled engine and from the slow reference, and what it means that they agree."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fleetopt.profiles import GpuProfile
from fleetopt.simulator import Fleet, Pool, simulate
from fleetopt.workload.trace import Trace
from tests.reference.replica import Replica
from tests.reference.simulator import Moment, simulate_reference

Outcome = dict[str, Any]

DECISIONS = (
    "pool",
    "replica",
    "preemptions",
    "retries",
    "is_rejected",
    "is_unserved",
    "status",
    "prompt",
    "iterations",
    "running",
    "waiting",
    "kv_blocks",
    "held",
)
TIMES = ("admitted_s", "queue_wait_s", "first_token_s", "finish_s", "observed_s", "sample_s")
INTEGRALS = ("slot", "kv", "busy", "mean_running", "mean_iteration_s")


def run_kernel(trace: Trace, fleet: Fleet, seed: int = 0, timeline_interval_s: float | None = None) -> Outcome:
    result = simulate(trace, fleet, seed=seed, timeline_interval_s=timeline_interval_s)
    outcome = {
        "pool": result.pool.tolist(),
        "replica": result.replica.tolist(),
        "preemptions": result.preemptions.tolist(),
        "retries": result.retries.tolist(),
        "is_rejected": result.is_rejected.tolist(),
        "is_unserved": result.is_unserved.tolist(),
        "status": result.status.tolist(),
        "prompt": result.prompt_tokens.tolist(),
        "iterations": [used.iterations for used in result.utilization],
        "admitted_s": result.admitted_s.tolist(),
        "queue_wait_s": result.queue_wait_s.tolist(),
        "first_token_s": result.first_token_s.tolist(),
        "finish_s": result.finish_s.tolist(),
        "observed_s": result.observed_s,
    }
    for name in (*INTEGRALS, "compute"):
        outcome[name] = [getattr(used, name) for used in result.utilization]
    if timeline_interval_s is None:
        assert result.timeline is None
        return outcome
    timeline = result.timeline
    assert timeline is not None
    assert tuple(timeline.pool_names) == tuple(pool.name for pool in fleet.pools)
    assert timeline.pool.tolist() == [index for index, pool in enumerate(fleet.pools) for _ in range(pool.replicas)]
    assert timeline.replica.tolist() == [index for pool in fleet.pools for index in range(pool.replicas)]
    return outcome | {
        "sample_s": timeline.time_s.tolist(),
        "running": timeline.running.tolist(),
        "waiting": timeline.waiting.tolist(),
        "kv_blocks": timeline.kv_blocks.tolist(),
        "held": timeline.held.tolist(),
    }


def run_reference(trace: Trace, fleet: Fleet, seed: int = 0, timeline_interval_s: float | None = None) -> Outcome:
    simulator = simulate_reference(trace, fleet, seed)
    requests = simulator.requests
    outcome = {
        "pool": [request.pool for request in requests],
        "replica": [request.replica for request in requests],
        "preemptions": [request.preemptions for request in requests],
        "retries": [request.retries for request in requests],
        "is_rejected": [request.status == "rejected" for request in requests],
        "is_unserved": [request.status == "unserved" for request in requests],
        "status": [request.status for request in requests],
        "prompt": [request.prompt for request in requests],
        "iterations": [sum(replica.iterations for replica in pool) for pool in simulator.pools],
        "admitted_s": [request.admitted_s for request in requests],
        "queue_wait_s": [request.admitted_s - request.arrival_s for request in requests],
        "first_token_s": [request.first_token_s for request in requests],
        "finish_s": [request.finish_s for request in requests],
        "observed_s": simulator.observed_s(),
    }
    used = [pool_utilization(pool, simulator.observed_s()) for pool in simulator.pools]
    outcome |= {name: [each[name] for each in used] for name in used[0]}
    if timeline_interval_s is None:
        return outcome
    return outcome | samples(simulator.timeline(timeline_interval_s))


def pool_utilization(pool: list[Replica], observed_s: float) -> dict[str, float]:
    profile, replica_seconds = pool[0].pool.profile, observed_s * len(pool)
    busy_s = sum(replica.busy_s for replica in pool)
    iterations = sum(replica.iterations for replica in pool)
    mean_running = quotient(sum(replica.running_seconds for replica in pool), replica_seconds)
    return {
        "slot": mean_running / profile.max_sequences,
        "kv": quotient(sum(replica.block_seconds for replica in pool), replica_seconds) / profile.kv_blocks,
        "busy": quotient(busy_s, replica_seconds),
        "mean_running": mean_running,
        "mean_iteration_s": quotient(busy_s, iterations),
        "compute": 1.0 - quotient(profile.base_s * iterations, busy_s),
    }


def quotient(value: float, of: float) -> float:
    return value / of if of > 0 else math.nan


def samples(moments: list[Moment]) -> Outcome:
    return {
        "sample_s": [moment.time_s for moment in moments],
        "running": [moment.running for moment in moments],
        "waiting": [moment.waiting for moment in moments],
        "kv_blocks": [moment.kv_blocks for moment in moments],
        "held": [moment.held for moment in moments],
    }


def assert_same(trace: Trace, fleet: Fleet, seed: int = 0, timeline_interval_s: float | None = None) -> Outcome:
    """Decisions are equal; times, and integrals over time, are within 1e-9 relative. Returns the reference's."""
    kernel = run_kernel(trace, fleet, seed, timeline_interval_s)
    reference = run_reference(trace, fleet, seed, timeline_interval_s)
    assert kernel.keys() == reference.keys()
    for name in DECISIONS:
        assert kernel.get(name) == reference.get(name), name
    for name in (*TIMES, *INTEGRALS):
        if name == "queue_wait_s":  # a difference of two times: as exact as they are
            scale_s = float(np.nanmax(np.abs(reference["finish_s"]), initial=0.0))
            np.testing.assert_allclose(kernel[name], reference[name], rtol=1e-9, atol=1e-9 * scale_s, err_msg=name)
        elif name in reference:
            np.testing.assert_allclose(kernel[name], reference[name], rtol=1e-9, atol=0, err_msg=name)
    # compute is 1 - a ratio, which may be far above 1: the ratio is what is within 1e-9
    np.testing.assert_allclose(kernel["compute"], reference["compute"], rtol=1e-9, atol=1e-9, err_msg="compute")
    return reference


def profile(**changes: Any) -> GpuProfile:
    """One second per iteration and nothing else, unless changed; 100 blocks of 4 tokens."""
    values: dict[str, Any] = {
        "name": "test",
        "base_s": 1.0,
        "per_sequence_s": 0.0,
        "per_context_token_s": 0.0,
        "per_prefill_token_s": 0.0,
        "per_prefill_attention_s": 0.0,
        "kv_blocks": 100,
        "block_tokens": 4,
        "max_sequences": 8,
        "max_batched_tokens": 64,
    }
    return GpuProfile(**(values | changes))


def one_pool(replicas: int = 1, scheduler: str = "fcfs", **changes: Any) -> Fleet:
    shape = profile(**changes)
    return Fleet((Pool("all", shape, replicas, shape.context_limit_tokens, scheduler),))


Run = Callable[..., Outcome]
