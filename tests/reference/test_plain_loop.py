"""The engine against the plain loop that its speed is measured against: long runs at the load of the benchmark."""

import numpy as np
import pytest

from fleetopt.profiles import load_profile
from fleetopt.simulator import Fleet, Pool, simulate
from tests.benchmarks.plain_loop import simulate_plain
from tests.benchmarks.simulator_speed import chat_trace


@pytest.mark.parametrize(
    ("replicas", "rate_rps", "kv_blocks", "is_preempting"),
    [
        (1, 8.6, 7424, False),  # the measured KV cache
        (1, 8.6, 2500, True),  # a third of it: every second request is preempted
        (3, 27.0, 7424, False),
    ],
)
def test_decisions_are_those_of_the_plain_loop(replicas, rate_rps, kv_blocks, is_preempting):
    shape = load_profile("a100-llama2-7b").model_copy(update={"kv_blocks": kv_blocks})
    fleet = Fleet((Pool("all", shape, replicas, shape.context_limit_tokens),))
    trace = chat_trace(20_000, rate_rps, seed=1)
    plain, result = simulate_plain(trace, fleet), simulate(trace, fleet)
    assert plain.mean_batch > 50
    assert (plain.preemptions.sum() > 1000) == is_preempting
    np.testing.assert_array_equal(result.replica, plain.replica)
    np.testing.assert_array_equal(result.preemptions, plain.preemptions)
    (used,) = result.utilization
    assert used.iterations == plain.iterations
    np.testing.assert_allclose(result.first_token_s, plain.first_token_s, rtol=1e-9, atol=0)
    np.testing.assert_allclose(result.finish_s, plain.finish_s, rtol=1e-9, atol=0)
    assert used.mean_running / used.busy == pytest.approx(plain.mean_batch, rel=1e-9)
