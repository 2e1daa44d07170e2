"""The engine in limits where queueing theory has the answer, and conservation laws that hold in every run."""

from typing import Any

import numpy as np
import pytest

from fleetopt.profiles import GpuProfile
from fleetopt.simulator import Fleet, Pool, SimulationResult, simulate
from fleetopt.simulator.statistics import Interval, replication_interval
from fleetopt.workload.trace import Trace, make_trace

REPLICATIONS = 30


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


def mean_wait(rate_rps: float, service_s: np.ndarray, output_tokens: np.ndarray, fleet: Fleet, rng: Any) -> float:
    """Mean wait before service of Poisson arrivals; the first tenth, which found an empty system, is cut."""
    n = len(output_tokens)
    arrival_s = np.cumsum(rng.exponential(1.0 / rate_rps, n))
    result = simulate(make_trace(arrival_s, np.full(n, 100), output_tokens), fleet)
    return float((result.e2e_s - service_s)[n // 10 :].mean())


def replicate(simulated: Any) -> Interval:
    streams = np.random.SeedSequence(20260101).spawn(REPLICATIONS)
    return replication_interval(np.array([simulated(np.random.default_rng(s)) for s in streams]), confidence=0.999)


def assert_theory_within(interval: Interval, theory: float, half_width: float) -> None:
    assert interval.lower <= theory <= interval.upper
    assert (interval.upper - interval.lower) / 2.0 <= half_width * theory


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_one_slot_and_one_output_token_is_m_d_1(load):
    """One sequence at a time, and all of its work in one iteration: a server with constant service D.

    Wait of M/D/1 (Pollaczek-Khinchine): load * D / (2 (1 - load)).
    """
    fleet = one_replica(per_prefill_token_s=0.01, per_prefill_attention_s=0.0002)
    service_s = 1.0 + 0.01 * 100 + 0.0002 * 100**2 / 2
    n = 10_000
    interval = replicate(
        lambda rng: mean_wait(load / service_s, np.full(n, service_s), np.ones(n, dtype=np.int64), fleet, rng)
    )
    assert_theory_within(interval, load * service_s / (2 * (1 - load)), 0.06)


def test_one_slot_and_geometric_outputs_is_m_g_1():
    """One sequence at a time, iterations of 1 s whatever they hold: service is the number of output tokens.

    Geometric outputs of mean m have E[S^2] = 2 m^2 - m; the wait of M/G/1 is rate * E[S^2] / (2 (1 - load)), which for
    iterations that are short against the service, m -> infinity, is that of M/M/1.
    """
    fleet, mean, load, n = one_replica(), 20.0, 0.7, 20_000

    def simulated(rng: np.random.Generator) -> float:
        outputs = rng.geometric(1.0 / mean, n)
        return mean_wait(load / mean, outputs.astype(float), outputs, fleet, rng)

    assert_theory_within(replicate(simulated), load / mean * (2 * mean**2 - mean) / (2 * (1 - load)), 0.08)


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
