"""Conservation laws that hold in every run of the engine; limits that are queues are in test_queue_limits.py."""

from typing import Any

import numpy as np
import pytest

from fleetopt.profiles import GpuProfile
from fleetopt.simulator import Fleet, Pool, SimulationResult, simulate
from fleetopt.workload.trace import Trace, make_trace


def one_replica(**changes: Any) -> Fleet:
    values: dict[str, Any] = {
        "name": "test",
        "base_s": 1.0,
        "per_sequence_s": 0.0,
        "per_context_token_s": 0.0,
        "per_prefill_token_s": 0.0,
        "per_prefill_attention_s": 0.0,
        "kv_blocks": 10_000,
        "block_tokens": 16,
        "max_sequences": 1,
        "max_batched_tokens": 512,
    }
    profile = GpuProfile(**(values | changes))
    return Fleet((Pool("all", profile, 1, profile.context_limit_tokens),))


def busy_run() -> tuple[Trace, Fleet, SimulationResult]:
    rng = np.random.default_rng(7)
    n = 2000
    trace = make_trace(
        np.cumsum(rng.exponential(0.25, n)), rng.integers(2, 1500, n), rng.geometric(1 / 150, n).clip(max=1000)
    )
    fleet = one_replica(
        base_s=9.58e-3,
        per_sequence_s=47.3e-6,
        per_context_token_s=266e-9,
        per_prefill_token_s=56.6e-6,
        per_prefill_attention_s=5.37e-9,
        max_sequences=128,
    )
    return trace, fleet, simulate(trace, fleet)


def test_busy_time_is_iterations_and_work():
    """Without preemption, busy time = W * iterations + work, whatever the schedule.

    A prompt of P tokens costs p P + q P^2 / 2 however it is chunked, and an output of O tokens O - 1 decode steps that
    read P + 1, ..., P + O - 1 tokens. This is the exact fluid relation t = W / (1 - r w / beta), summed.
    """
    trace, fleet, result = busy_run()
    profile, used = fleet.pools[0].profile, result.utilization[0]
    assert result.preemptions.sum() == 0
    prompt, steps = trace.prompt_tokens.astype(float), trace.output_tokens - 1.0
    work_s = (
        profile.per_prefill_token_s * prompt
        + profile.per_prefill_attention_s * prompt**2 / 2
        + profile.per_sequence_s * steps
        + profile.per_context_token_s * (steps * prompt + steps * (steps + 1) / 2)
    ).sum()
    assert used.busy * result.observed_s == pytest.approx(profile.base_s * used.iterations + work_s, rel=1e-9)
    assert used.compute == pytest.approx(work_s / (used.busy * result.observed_s), rel=1e-9)


def test_little_holds_for_one_sequence_at_a_time():
    """Mean running = rate of completions * mean time in service; with one slot that is the busy share too."""
    trace = make_trace(np.arange(50) * 3.0, np.full(50, 10), np.tile([1, 2, 5, 1, 1], 10))
    result = simulate(trace, one_replica())
    used = result.utilization[0]
    assert used.mean_running == pytest.approx(trace.output_tokens.sum() / result.observed_s, rel=1e-12)
    assert used.busy == pytest.approx(used.slot, rel=1e-12)


def test_results_do_not_depend_on_the_clock_and_scale_with_its_unit():
    """Powers of two are exact: all times are twice as long if everything is, and shift with the arrivals."""
    trace, fleet, result = busy_run()
    profile = fleet.pools[0].profile
    slower = profile.model_copy(update={k: 2 * v for k, v in profile.model_dump().items() if k.endswith("_s")})
    twice = simulate(
        make_trace(2 * trace.arrival_s, trace.prompt_tokens, trace.output_tokens),
        Fleet((Pool("all", slower, 1, slower.context_limit_tokens),)),
    )
    np.testing.assert_array_equal(twice.finish_s, 2 * result.finish_s)
    np.testing.assert_array_equal(twice.first_token_s, 2 * result.first_token_s)
