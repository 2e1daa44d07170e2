"""The two ways to set the slots of a replica, held to the simulator."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetopt.errors import InputError
from fleetopt.profiles import load_profile
from fleetopt.queueing.slots import worst_case_slots
from fleetopt.queueing.work import request_work
from fleetopt.simulator import Fleet, Pool, simulate
from fleetopt.workload.trace import make_trace

PROFILE = load_profile("a100-llama2-7b").model_copy(update={"max_batched_tokens": 2048, "max_chunk_tokens": 2048})


def test_slots_are_whole_blocks_of_the_limit_and_no_more_than_the_engine_takes():
    profile = PROFILE.model_copy(update={"kv_blocks": 100, "block_tokens": 16, "max_sequences": 30})
    assert worst_case_slots(profile, 160) == 10
    assert worst_case_slots(profile, 161) == 9
    assert worst_case_slots(profile, 16) == 30
    assert worst_case_slots(profile, 1600) == 1
    for limit in (0, 1601):
        with pytest.raises(InputError, match="context limit"):
            worst_case_slots(profile, limit)


@settings(max_examples=40, deadline=None)
@given(
    limit=st.integers(20, 2000),
    blocks=st.integers(1, 300),
    block_tokens=st.sampled_from([1, 16, 32]),
    budget=st.integers(1, 3000),
    seed=st.integers(0, 99),
)
def test_nothing_is_preempted_in_worst_case_slots(limit, blocks, block_tokens, budget, seed):
    profile = PROFILE.model_copy(
        update={
            "kv_blocks": blocks + -(-limit // block_tokens),
            "block_tokens": block_tokens,
            "max_batched_tokens": budget,
            "max_chunk_tokens": budget,
            "max_context_tokens": limit,
        }
    )
    slots = worst_case_slots(profile, limit)
    rng = np.random.default_rng(seed)
    total = rng.integers(max(2, limit // 2), limit + 1, 120)
    output = np.minimum(rng.integers(1, limit, 120), total - 1)
    trace = make_trace(np.zeros(120), total - output, output)
    engine = profile.model_copy(update={"max_sequences": slots})
    result = simulate(trace, Fleet((Pool("all", engine, 1, limit),)))
    assert result.n_rejected == 0
    assert result.preemptions.sum() == 0


def lengths(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    prompt = np.clip(rng.lognormal(6.8, 0.9, n), 4, 8000).round()
    return prompt.astype(np.int64), np.clip(rng.lognormal(5.0, 0.7, n), 2, 1000).round().astype(np.int64)


@pytest.mark.parametrize("probability", [0.1, 0.01])
def test_statistical_slots_overflow_as_often_as_stated(probability):
    """All slots taken and KV without end: the share of time in which more than the profile's KV is held."""
    prompt, output = lengths(20_000, 1)
    work = request_work(
        PROFILE, np.ones(len(prompt)), prompt.astype(np.float64), output.astype(np.float64), probability
    )
    assert 1 < work.slots < PROFILE.max_sequences
    endless = PROFILE.model_copy(
        update={"max_sequences": work.slots, "kv_blocks": 10**7, "max_context_tokens": 16 * 10**7}
    )
    trace = make_trace(np.zeros(len(prompt)), prompt, output)
    result = simulate(trace, Fleet((Pool("all", endless, 1, 16 * 10**7),)), timeline_interval_s=1.0)
    held = result.timeline.kv_blocks[:, 0]
    held = held[len(held) // 10 : -len(held) // 4]
    overflow = float((held > PROFILE.kv_blocks).mean())
    assert 0.3 * probability < overflow < 2 * probability


def test_less_overflow_takes_fewer_slots_and_a_share_is_asked_for():
    prompt, output = (values.astype(np.float64) for values in lengths(2000, 2))
    slots = [
        request_work(PROFILE, np.ones(2000), prompt, output, probability).slots for probability in (0.5, 0.1, 0.01)
    ]
    assert slots == sorted(slots, reverse=True)
    assert slots[0] > slots[-1]
    for probability in (0.0, 0.6, float("nan")):
        with pytest.raises(InputError, match="kv_overflow_probability"):
            request_work(PROFILE, np.ones(2000), prompt, output, probability)


def test_with_an_overflow_probability_of_a_half_worst_case_slots_are_all_used():
    """What the planner does in that mode: the engine is limited, and the model uses all that it is limited to."""
    profile = PROFILE.model_copy(update={"kv_blocks": 400, "max_context_tokens": 6400})
    limited = profile.model_copy(update={"max_sequences": worst_case_slots(profile, 1600)})
    work = request_work(limited, np.ones(1), np.array([600.0]), np.array([1000.0]), 0.5)
    assert work.slots == limited.max_sequences == 4
