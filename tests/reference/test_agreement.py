"""The compiled engine against the slow reference on random traces, profiles, capacities, routers and failures."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetopt.profiles import load_profile
from fleetopt.simulator import BALANCERS, POOL_ROUTERS, ROUTERS, SCHEDULERS, Failure, Fleet, Pool
from fleetopt.workload.trace import Trace, make_trace
from tests.reference.agreement import assert_same, one_pool, profile, run_kernel

# Coefficients and times that are small multiples of a power of two make every time exact in floating point, so that
# events which coincide on paper coincide in both implementations. Any other coefficients are tried with arrivals and
# failures at random times, drawn in full precision, which coincide with nothing.


class Exact:
    coefficient = st.integers(0, 8).map(lambda k: k / 64)
    gap_s = st.integers(0, 6).map(lambda k: k / 8)
    interval_s = st.sampled_from([None, 0.5, 2.0])


class Anyhow:
    coefficient = st.just(0.0) | st.floats(1e-6, 1e-1)
    gap_s = st.integers(0, 2**32 - 1).map(lambda seed: float(np.random.default_rng(seed).exponential(0.2)))
    interval_s = st.sampled_from([None, math.sqrt(0.5), math.pi])


def times(kind):
    """Strictly positive lengths of time."""
    return st.tuples(kind.gap_s, kind.coefficient).map(lambda pair: pair[0] + pair[1]).filter(lambda s: s > 0)


UP_TO_24 = st.integers(0, 24)
BLOCK_TOKENS = st.sampled_from([1, 2, 3, 16])


@st.composite
def profiles(draw, kind, kv_tokens, spare=UP_TO_24, blocks=BLOCK_TOKENS, scale=1):
    """A profile whose KV cache holds at least so many tokens, and not much more."""
    block_tokens = draw(blocks)
    values = {
        "base_s": draw(kind.coefficient),
        "per_sequence_s": draw(kind.coefficient),
        "per_context_token_s": draw(kind.coefficient) / scale,
        "per_prefill_token_s": draw(kind.coefficient) / scale,
        "per_prefill_attention_s": draw(kind.coefficient) / scale**2,
        "kv_blocks": math.ceil(kv_tokens / block_tokens) + draw(spare),
        "block_tokens": block_tokens,
        "max_sequences": draw(st.integers(1, 12)),
        "max_batched_tokens": draw(st.integers(1, 24)) * scale,
    }
    if draw(st.booleans()):
        values["max_chunk_tokens"] = draw(st.integers(1, 12)) * scale
    if draw(st.booleans()):
        values |= {
            "prefill_only_base_s": draw(kind.coefficient),
            "prefill_only_per_token_s": draw(kind.coefficient) / scale,
            "prefill_only_per_attention_s": draw(kind.coefficient) / scale**2,
        }
    if not any(values[key] for key in ("base_s", "per_sequence_s", "per_context_token_s", "per_prefill_token_s")):
        values["per_prefill_token_s"] = 0.5
    return profile(**values)


@st.composite
def failures(draw, kind, pools):
    """Some replicas, each down once or twice or for ever, in any order."""
    found = []
    replicas = [(pool.name, index) for pool in pools for index in range(pool.replicas)]
    n_failing = draw(st.integers(0, min(3, len(replicas))))
    for name, index in draw(st.lists(st.sampled_from(replicas), min_size=n_failing, max_size=n_failing, unique=True)):
        up_s = 0.0
        for _ in range(draw(st.integers(1, 2))):
            down_s = up_s + draw(kind.gap_s)
            up_s = math.inf if draw(st.booleans()) and draw(st.booleans()) else down_s + draw(times(kind))
            found.append(Failure(name, index, down_s, up_s))
            if up_s == math.inf:
                break
    return tuple(draw(st.permutations(found)))


@st.composite
def fleets(draw, kind):
    boundaries = sorted(draw(st.lists(st.integers(1, 50), max_size=3, unique=True)))
    longest = draw(st.integers(20, 60))  # what the last pool accepts for certain
    pools = []
    for index, boundary in enumerate([*boundaries, longest]):
        shape = draw(profiles(kind, boundary))
        limit = draw(st.just(boundary) | st.integers(boundary, boundary + 40))
        pools.append(
            Pool(f"pool {index}", shape, draw(st.integers(1, 3)), limit, scheduler=draw(st.sampled_from(SCHEDULERS)))
        )
    router = draw(st.sampled_from(ROUTERS))
    return Fleet(
        tuple(pools),
        router,
        tuple(boundaries) if router in POOL_ROUTERS else (),
        draw(st.sampled_from([1.0, 1.25, 1.5, 2.0])) if router == "compress-and-route" else 1.0,
        balancer=draw(st.sampled_from(BALANCERS)),
        spill_waiting=draw(st.integers(1, 3)),
        failures=draw(failures(kind, pools)),
    )


UP_TO_20, UP_TO_40 = st.integers(1, 20), st.integers(1, 40)


@st.composite
def traces(draw, kind, prompt=UP_TO_40, output=UP_TO_20):
    n = draw(st.integers(1, 40))
    gaps = draw(st.lists(kind.gap_s, min_size=n, max_size=n))
    prompts = draw(st.lists(st.just(1) | prompt, min_size=n, max_size=n))
    outputs = draw(st.lists(st.just(1) | output, min_size=n, max_size=n))
    compressible = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return make_trace(np.cumsum(gaps), prompts, outputs, compressible)


def tried(max_examples: int) -> settings:
    return settings(
        max_examples=max_examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


SEEDS = st.integers(0, 9)


@tried(250)
@given(traces(Exact), fleets(Exact), SEEDS, Exact.interval_s)
def test_agrees_where_many_events_coincide(trace, fleet, seed, interval_s):
    assert_same(trace, fleet, seed, interval_s)


@tried(250)
@given(traces(Anyhow), fleets(Anyhow), SEEDS, Anyhow.interval_s)
def test_agrees_on_any_coefficients(trace, fleet, seed, interval_s):
    assert_same(trace, fleet, seed, interval_s)


@tried(150)
@given(traces(Exact), profiles(Exact, 1), st.integers(1, 3), st.sampled_from(SCHEDULERS))
def test_agrees_on_one_pool_that_overflows(trace, shape, replicas, scheduler):
    assert_same(trace, Fleet((Pool("all", shape, replicas, 1000, scheduler),)))


@tried(100)
@given(
    st.sampled_from([Exact, Anyhow]).flatmap(
        lambda kind: st.tuples(traces(kind, output=st.integers(1, 400)), profiles(kind, 440, spare=st.integers(0, 200)))
    ),
    st.integers(1, 3),
    st.sampled_from(SCHEDULERS),
)
def test_agrees_on_outputs_of_hundreds_of_tokens(case, replicas, scheduler):
    trace, shape = case
    assert_same(trace, Fleet((Pool("all", shape, replicas, 1000, scheduler),)))


@tried(150)
@given(
    st.sampled_from([Exact, Anyhow]).flatmap(
        lambda kind: st.tuples(
            traces(kind, prompt=st.integers(1, 80), output=st.integers(1, 60)),
            profiles(kind, 200, spare=st.integers(0, 130), blocks=st.just(1)),
        )
    ),
    st.integers(1, 2),
)
def test_agrees_on_prefill_first_with_a_watermark(case, replicas):
    trace, shape = case
    assert_same(trace, Fleet((Pool("all", shape, replicas, 1000, "prefill-first"),)))


@tried(100)
@given(
    st.sampled_from([Exact, Anyhow]).flatmap(
        lambda kind: st.tuples(
            traces(kind, prompt=st.integers(1, 6000)),
            profiles(kind, 6100, spare=st.integers(0, 300), blocks=st.sampled_from([16, 64]), scale=64),
        )
    ),
    st.integers(1, 2),
    st.sampled_from(SCHEDULERS),
)
def test_agrees_on_prompts_of_thousands_of_tokens(case, replicas, scheduler):
    trace, shape = case
    assert_same(trace, Fleet((Pool("all", shape, replicas, 10_000, scheduler),)))


# ---- larger runs ----


def random_trace(seed: int, n: int, rate_rps: float, prompt: int, output: int) -> Trace:
    rng = np.random.default_rng(seed)
    return make_trace(
        np.cumsum(rng.exponential(1 / rate_rps, n)),
        rng.integers(1, prompt, n, endpoint=True),
        rng.integers(1, output, n, endpoint=True),
        rng.random(n) < 0.5,
    )


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("seed", range(2))
def test_agrees_when_preemption_cascades(seed, scheduler):
    # 30 blocks of 4 tokens for up to 16 sequences of up to 60 tokens, always overloaded.
    fleet = one_pool(
        replicas=2,
        scheduler=scheduler,
        base_s=0.01,
        per_context_token_s=1e-4,
        kv_blocks=30,
        max_sequences=16,
        max_batched_tokens=32,
    )
    reference = assert_same(random_trace(seed, 300, 50.0, 20, 40), fleet, 0, math.pi / 3)
    assert max(reference["preemptions"]) > 3
    assert sum(reference["preemptions"]) > 300


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_agrees_on_thousands_of_equal_timestamps(scheduler):
    rng = np.random.default_rng(5)
    n = 3000
    trace = make_trace(np.repeat([0.0, 1.0, 1.5], n // 3), rng.integers(1, 30, n), rng.integers(1, 6, n))
    fleet = one_pool(replicas=7, scheduler=scheduler, base_s=0.125, per_sequence_s=1 / 64, max_sequences=32)
    failures = tuple(Failure("all", replica, 1.0, 1.5) for replica in range(3))
    assert_same(trace, Fleet(fleet.pools, "power-of-two", failures=failures), 1, 0.5)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize(("rate_rps", "kv_blocks"), [(6.0, 7424), (30.0, 7424), (30.0, 900)])
def test_agrees_on_the_measured_profile(scheduler, rate_rps, kv_blocks):
    limits = {"kv_blocks": kv_blocks, "max_batched_tokens": 2048, "max_chunk_tokens": 1024}
    shape = load_profile("a100-llama2-7b").model_copy(update=limits)
    fleet = Fleet((Pool("all", shape, 1, 4096, scheduler),))
    reference = assert_same(random_trace(3, 300, rate_rps, 1024, 300), fleet, 0, 1.23456789)
    assert reference["status"] == ["finished"] * 300


@pytest.mark.parametrize("router", ROUTERS)
def test_agrees_on_the_measured_profile_with_three_pools_and_failures(router):
    shape = load_profile("a100-llama2-7b")
    pools = (
        Pool("short", shape.model_copy(update={"kv_blocks": 300}), 3, 1024),
        Pool("middle", shape.model_copy(update={"kv_blocks": 500}), 2, 2048, "sarathi"),
        Pool("long", shape.model_copy(update={"kv_blocks": 900}), 2, 8192, "prefill-first"),
    )
    failures = (
        Failure("long", 0, 7.1, 31.7),
        Failure("short", 1, 3.3, 15.2),
        Failure("middle", 0, 9.9),
        Failure("middle", 1, 12.3, 19.1),
        Failure("long", 1, 25.1, 40.7),
    )
    fleet = Fleet(
        pools,
        router,
        (1024, 2048) if router in POOL_ROUTERS else (),
        1.5 if router == "compress-and-route" else 1.0,
        balancer="shortest-queue-tokens",
        failures=failures,
    )
    reference = assert_same(random_trace(9, 400, 10.0, 3000, 200), fleet, 4, 0.987654321)
    assert set(reference["pool"]) == {0, 1, 2}
    assert sum(reference["preemptions"]) > 0
    assert sum(reference["retries"]) > 5


# ---- what holds whatever happens ----


@tried(100)
@given(traces(Exact), fleets(Exact), SEEDS)
def test_nobody_is_lost_and_nothing_overflows(trace, fleet, seed):
    outcome = run_kernel(trace, fleet, seed, 1 / 8)
    status = np.array(outcome["status"])
    assert len(status) == len(trace)
    np.testing.assert_array_equal(outcome["is_rejected"], status == "rejected")
    np.testing.assert_array_equal(outcome["is_unserved"], status == "unserved")
    np.testing.assert_array_equal(np.isfinite(outcome["finish_s"]), status == "finished")
    np.testing.assert_array_equal(np.array(outcome["replica"]) >= 0, status == "finished")
    if not (status == "finished").any():
        return
    finished = status == "finished"
    in_order = [
        trace.arrival_s[finished],
        *(np.array(outcome[name])[finished] for name in ("admitted_s", "first_token_s", "finish_s")),
    ]
    assert all((before <= after).all() for before, after in pairwise(in_order))
    shapes = [pool.profile for pool in fleet.pools for _ in range(pool.replicas)]
    running, kv_blocks = np.array(outcome["running"]), np.array(outcome["kv_blocks"])
    assert (running <= [shape.max_sequences for shape in shapes]).all()
    assert (kv_blocks <= [shape.kv_blocks for shape in shapes]).all()
    assert (running <= kv_blocks).all()  # every sequence holds a block
    assert min(running.min(), np.min(outcome["waiting"]), *outcome["held"]) >= 0
