"""The fluid equilibrium of a replica against the simulator: the other method."""

import numpy as np
import pytest

from fleetopt.planner.sizing import predict_pool
from fleetopt.profiles import load_profile
from fleetopt.queueing.replica import replica_state, request_work
from fleetopt.simulator import Fleet, Pool, simulate
from fleetopt.workload.processes import poisson_arrivals
from fleetopt.workload.trace import make_trace

PROFILE = load_profile("a100-llama2-7b")


def chat_lengths(n, seed):
    rng = np.random.default_rng(seed)
    prompt = np.clip(rng.lognormal(6.8, 0.9, n), 4, 8000).astype(np.int64)
    output = np.clip(rng.lognormal(5.0, 0.7, n), 2, 1000).astype(np.int64)
    return prompt, output


def run(prompt, output, rate, replicas, seed):
    arrival_s = poisson_arrivals(rate, len(prompt), np.random.default_rng(seed))
    fleet = Fleet(pools=(Pool("all", PROFILE, replicas, PROFILE.context_limit_tokens),))
    return simulate(make_trace(arrival_s, prompt, output), fleet)


@pytest.mark.slow
@pytest.mark.parametrize("load", [0.2, 0.5, 0.75])
def test_iteration_time_and_slot_utilization_agree_with_the_simulator(load):
    prompt, output = chat_lengths(40_000, seed=1)
    work = request_work(PROFILE, np.ones(len(prompt)), prompt.astype(float), output.astype(float))
    replicas = 8
    rate = load / (work.prefill_s + work.decode_s + PROFILE.base_s * work.tokens / 512)
    state = replica_state(work, rate)
    used = run(prompt, output, rate * replicas, replicas, seed=2).utilization[0]
    assert state.iteration_s == pytest.approx(used.mean_iteration_s, rel=0.03)
    # The simulator's mean over all time holds the ramps at both ends, which take a little off.
    assert state.running / PROFILE.max_sequences == pytest.approx(used.slot, rel=0.05)


@pytest.mark.slow
def test_p99_ttft_of_a_pool_is_near_the_simulator():
    prompt, output = chat_lengths(40_000, seed=3)
    work = request_work(PROFILE, np.ones(len(prompt)), prompt.astype(float), output.astype(float))
    rate = 8 * 0.6 / (work.prefill_s + work.decode_s + PROFILE.base_s * work.tokens / 512)
    result = run(prompt, output, rate, 8, seed=4)
    assert predict_pool(work, rate, 8).ttft_p99_s == pytest.approx(result.ttft_quantile_s(0.99), rel=0.25)


def test_overload_has_no_equilibrium():
    prompt, output = chat_lengths(1000, seed=5)
    work = request_work(PROFILE, np.ones(1000), prompt.astype(float), output.astype(float))
    assert replica_state(work, 1.001 / (work.prefill_s + work.decode_s)) is None


def test_work_of_a_request_is_the_sum_over_its_iterations():
    prompt, output = 1234, 57
    work = request_work(PROFILE, np.ones(1), np.array([float(prompt)]), np.array([float(output)]))
    chunks = [512, 512, 210]
    prefill_s, seen = 0.0, 0
    for chunk in chunks:
        prefill_s += PROFILE.per_prefill_token_s * chunk
        prefill_s += PROFILE.per_prefill_attention_s * chunk * (seen + chunk / 2)
        seen += chunk
    decode_s = sum(PROFILE.per_sequence_s + PROFILE.per_context_token_s * (prompt + step) for step in range(1, output))
    assert work.prefill_s == pytest.approx(prefill_s, rel=1e-12)
    assert work.decode_s == pytest.approx(decode_s, rel=1e-12)
    assert work.iterations == len(chunks) + output - 1
