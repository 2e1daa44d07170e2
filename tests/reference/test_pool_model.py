"""The compiled model of a pool against the slow one: the same numbers, whatever the lengths, profile and load."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetopt.profiles import GpuProfile, load_profile
from fleetopt.queueing.kernels.lengths import ascending
from fleetopt.queueing.kernels.records import STATE
from fleetopt.queueing.pool import predict_pool
from fleetopt.queueing.stability import stability_limit_rps
from fleetopt.queueing.ttft import pool_loads
from fleetopt.queueing.work import request_work
from tests.reference import pool_model

MEASURED = load_profile("a100-llama2-7b").model_copy(update={"kv_blocks": 71_936, "max_context_tokens": 1_000_000})
PROFILES = {
    "small budget": MEASURED,
    "side by side": MEASURED.model_copy(update={"max_batched_tokens": 2048}),
    "large budget": MEASURED.model_copy(update={"max_batched_tokens": 8192, "max_chunk_tokens": 8192}),
    "prefill alone is faster": MEASURED.model_copy(
        update={
            "prefill_only_base_s": 0.6 * MEASURED.base_s,
            "prefill_only_per_token_s": 0.8 * MEASURED.per_prefill_token_s,
            "prefill_only_per_attention_s": 0.5 * MEASURED.per_prefill_attention_s,
        }
    ),
    "little memory": MEASURED.model_copy(update={"kv_blocks": 2000, "max_context_tokens": 32_000}),
    "no base": MEASURED.model_copy(update={"base_s": 0.0, "prefill_only_base_s": 0.0}),
    "as published": load_profile("fleetopt-a100"),
}
Lengths = tuple[np.ndarray, np.ndarray, np.ndarray]


def mixture(seed: int, points: int, prompt: float, output: float, spread: float) -> Lengths:
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.2, 3.0, points)
    prompts = np.clip(rng.lognormal(np.log(prompt), spread, points), 1, 25_000).round()
    return weight, prompts, np.clip(rng.lognormal(np.log(output), spread, points), 1, 4000).round()


MIXTURES: dict[str, Lengths] = {
    "chat": mixture(1, 2000, 900, 150, 0.9),
    "code": mixture(2, 700, 1500, 12, 1.0),
    "long": mixture(3, 300, 9000, 300, 0.5),
    "one token": (*mixture(4, 50, 500, 1, 0.3)[:2], np.ones(50)),
    "alike": (np.ones(3), np.full(3, 512.0), np.full(3, 64.0)),
    "single": (np.array([2.0]), np.array([700.0]), np.array([2.0])),
}


def disagreements(profile: GpuProfile, lengths: Lengths, load: float, replicas: int) -> dict[str, float]:
    """Relative differences of the state beyond 1e-9, and absolute ones of the share of late first tokens beyond 1e-7.

    Of the time to first token what wraps round the grid is suppressed by 1e-7 in the kernel, 1e-10 in the slow model.
    """
    work, slow = request_work(profile, *lengths), pool_model.measured(profile, *lengths)
    rate = load * replicas * stability_limit_rps(work)
    prediction, state = predict_pool(work, rate, replicas), pool_model.pool_state(slow, rate, replicas)
    assert (prediction is None) == (state is None)
    if prediction is None or state is None:
        return {}
    names = [name for name in (STATE.names or ())[1:] if name != "decode_variance_s2"]
    found = {name: relative(getattr(prediction.state, name), getattr(state, name)) for name in names}
    # A variance is what is left of the difference of two second moments.
    second_s2 = state.decode_variance_s2 + state.decode_found_s**2
    found["decode_variance_s2"] = relative(prediction.state.decode_variance_s2 + state.decode_found_s**2, second_s2)
    for times in (0.5, 1.01, 1.7, 6.0):
        time_s = times * work.unloaded_ttft_quantile_s(0.99)
        late = pool_model.ttft_exceeds(slow, state, rate, replicas, time_s)
        found[f"late after {times} idle P99"] = abs(pool_loads(work, rate, replicas, time_s).late - late) / 100
    return {name: value for name, value in found.items() if value > 1e-9}


def relative(value: float, expected: float) -> float:
    return abs(value - expected) / max(abs(expected), 1e-12)


@pytest.mark.parametrize("lengths", MIXTURES)
@pytest.mark.parametrize("profile", PROFILES)
def test_the_compiled_model_is_the_slow_one(profile, lengths):
    for load, replicas in ((0.1, 1), (0.85, 1), (0.5, 2), (0.7, 8), (0.85, 64), (0.6, 3000)):
        assert disagreements(PROFILES[profile], MIXTURES[lengths], load, replicas) == {}, (load, replicas)


@settings(max_examples=25, deadline=None)
@given(
    profile=st.sampled_from(list(PROFILES.values())),
    lengths=st.builds(
        mixture,
        seed=st.integers(0, 1000),
        points=st.integers(1, 400),
        prompt=st.floats(20, 8000),
        output=st.floats(1, 600),
        spread=st.floats(0.0, 1.5),
    ),
    load=st.floats(0.01, 0.98) | st.just(1.02),
    replicas=st.integers(1, 200),
)
def test_whatever_the_lengths_and_the_load(profile, lengths, load, replicas):
    assert disagreements(profile, lengths, load, replicas) == {}


@pytest.mark.parametrize("lengths", MIXTURES.values(), ids=list(MIXTURES))
def test_moments_and_condensed_lengths_are_those_of_the_slow_model(lengths):
    for profile in PROFILES.values():
        work, slow = request_work(profile, *lengths), pool_model.measured(profile, *lengths)
        for name, expected in vars(slow).items():
            if isinstance(expected, float | int) and not isinstance(expected, np.ndarray):
                assert getattr(work, name) == pytest.approx(float(expected), rel=1e-11, abs=1e-300), name
        np.testing.assert_allclose(work.prompt_points, (slow.share, slow.prompt), rtol=1e-11)
        np.testing.assert_allclose(work.output_points, slow.outputs, rtol=1e-11)
        np.testing.assert_allclose(work.joint_points, slow.joint, rtol=1e-11)
        np.testing.assert_allclose(work.unloaded_ttft_s, slow.unloaded_s, rtol=1e-11)
        throughput_rps, free_share = pool_model.capacity(slow)
        np.testing.assert_allclose(work.capacity.throughput_rps, throughput_rps, rtol=1e-11)
        np.testing.assert_allclose(work.capacity.free_share, free_share, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("probability", [0.001, 0.3, 0.99, 0.9999])
def test_the_quantile_of_idle_replicas_is_read_off_the_condensed_prompts(probability):
    work = request_work(MEASURED, *MIXTURES["chat"])
    share = work.prompt_points[0]
    expected = np.interp(probability, np.cumsum(share) - share / 2, work.unloaded_ttft_s)
    assert work.unloaded_ttft_quantile_s(probability) == pytest.approx(expected, rel=1e-12)


@settings(deadline=None)
@given(st.lists(st.floats(1.0, 1e6) | st.sampled_from([7.0, 7.5, 900.0]), min_size=1, max_size=200))
def test_values_are_put_in_order_and_ties_stay_as_they_come(values):
    array = np.array(values)
    np.testing.assert_array_equal(ascending(array), np.argsort(array, kind="stable"))


def test_threads_may_share_the_tables_of_a_mixture():
    work = request_work(MEASURED, *MIXTURES["chat"])
    _ = work.tables  # of which the capacity is filled in as it is needed
    with ThreadPoolExecutor(8) as executor:
        answers = set(executor.map(lambda _: pool_loads(work, 8.0, 4, 0.5).late, range(64)))
    assert answers == {pool_loads(request_work(MEASURED, *MIXTURES["chat"]), 8.0, 4, 0.5).late}
