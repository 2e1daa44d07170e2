"""The published model beside its obvious form: Python's own generator, a recursion over slots, a loop over plans."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetopt.errors import InputError
from fleetopt.planner.published import (
    GAMMAS,
    PublishedGpu,
    PublishedProblem,
    cdf_of_lengths,
    homogeneous_fleet,
    published_gpu,
    published_plan,
    published_prediction,
    two_pool_fleet,
)
from fleetopt.planner.published.calibration import calibrate
from fleetopt.planner.published.waiting import erlang_c, wait_p99_s
from fleetopt.profiles import load_profile
from fleetopt.workload.lengths import lengths_from_cdf, make_lengths
from fleetopt.workload.reference import load_reference
from tests.theory.queues import mmc_wait

A100 = published_gpu(load_profile("fleetopt-a100"))
AGENTS = PublishedProblem(
    cdf=load_reference("agent-heavy").points,
    arrival_rate_rps=50.0,
    slo_ttft_p99_s=0.5,
    short_gpu=A100,
    long_gpu=A100,
    compressible_fraction=0.75,
)


def drawn(cdf, context: int, gpu: PublishedGpu, prompt_fraction: float, least: int) -> tuple[float, float, float]:
    """Mean, squared variation and mean prefill, draw by draw (arXiv 2603.16514; papers.md calls it ``calibrate``)."""
    generator = random.Random(42)
    slots, service_s, prefill_s = gpu.slots(context), [], []
    for _ in range(3000):
        uniform, previous = generator.random(), 0
        for tokens, fraction in cdf:
            if uniform <= fraction:
                break
            previous = tokens
        low, high = max(least, previous + 1), min(context, tokens)
        length = generator.randint(low, high) if low <= high else context
        prompt = max(1, int(length * prompt_fraction))
        output = max(1, length - prompt)
        chunks = math.ceil(prompt / gpu.chunk_tokens)
        iteration_s = gpu.base_s + gpu.per_slot_s * (prompt + output) / 8192 * slots
        service_s.append((chunks + output) * iteration_s)
        prefill_s.append(chunks * (gpu.base_s + gpu.per_slot_s))
    mean = np.mean(service_s)
    return float(mean), max(0.01, float(np.mean(np.square(service_s)) / mean**2 - 1)), float(np.mean(prefill_s))


@given(
    steps=st.lists(st.tuples(st.integers(1, 3000), st.floats(0.0, 1.0)), min_size=1, max_size=12),
    context=st.integers(20, 40_000),
    prompt_fraction=st.floats(0.05, 1.0),
    least=st.integers(1, 5000),
)
def test_draws_are_those_of_pythons_generator(steps, context: int, prompt_fraction: float, least: int) -> None:
    tokens = np.cumsum([step for step, _ in steps])
    weights = np.array([weight + 1e-3 for _, weight in steps])
    fractions = np.cumsum(weights) / weights.sum()
    fractions[-1] = 1.0
    found = calibrate(tokens, fractions, context, A100, prompt_fraction, least)
    mean, variation, prefill = drawn(
        list(zip(tokens.tolist(), fractions.tolist(), strict=True)), context, A100, prompt_fraction, least
    )
    assert found.service_s == pytest.approx(mean, rel=1e-12)
    assert found.service_variation == pytest.approx(variation, rel=1e-9, abs=1e-12)
    assert found.unloaded_prefill_s == pytest.approx(prefill, rel=1e-12)
    assert found.gpu_throughput_rps == pytest.approx(A100.slots(context) / mean, rel=1e-12)


@given(servers=st.integers(1, 5000), utilization=st.floats(0.01, 0.9999))
def test_erlang_c_is_the_recursion_over_servers(servers: int, utilization: float) -> None:
    recursion = mmc_wait(servers, utilization * servers, 1.0).probability
    assert erlang_c(servers, utilization * servers) == pytest.approx(recursion, rel=1e-8, abs=1e-300)


def test_erlang_c_at_hundreds_of_thousands_of_servers() -> None:
    """Near full load the limit of Halfin and Whitt (1981), Operations Research 29(3), eq. 1.1."""
    servers, beta = 400_000, 0.5
    density, distribution = math.exp(-(beta**2) / 2) / math.sqrt(2 * math.pi), 0.5 * math.erfc(-beta / math.sqrt(2))
    limit = 1 / (1 + beta * distribution / density)
    assert erlang_c(servers, servers - beta * math.sqrt(servers)) == pytest.approx(limit, rel=2e-3)
    assert erlang_c(servers, 0.8 * servers) < 1e-300


def test_the_wait_is_that_of_one_exponential_server() -> None:
    """M/M/1: P(W > t) = rho exp(-(mu - lambda) t), so eq. 6 is exact at C_s^2 = 1; constant service halves it."""
    p99 = math.log(0.8 / 0.01) / (1 - 0.8)
    assert wait_p99_s(1, 0.8, 1.0, 1.0) == pytest.approx(p99)
    assert wait_p99_s(1, 0.8, 1.0, 0.0) == pytest.approx(p99 / 2)
    assert wait_p99_s(1, 1.0, 1.0, 1.0) == math.inf
    assert wait_p99_s(100, 10.0, 1.0, 1.0) == 0.0


def test_a_pool_has_at_least_two_gpus_and_waits_within_the_target() -> None:
    """A small pool of few slots is sized by its wait, a large one by 0.85 of what its GPUs finish."""
    tiny = replace(AGENTS, arrival_rate_rps=0.1)
    assert [pool.gpus for pool in two_pool_fleet(tiny, 8192).pools] == [2, 2]
    single_slot = replace(A100, kv_blocks=4096)
    by_wait = homogeneous_fleet(replace(AGENTS, short_gpu=single_slot, arrival_rate_rps=2.0)).short
    assert by_wait.slots_per_gpu == 1
    assert by_wait.utilization < 0.8
    tokens, fractions = (np.array(column) for column in zip(*AGENTS.cdf, strict=True))
    variation = calibrate(tokens.astype(np.int64), fractions, 65_536, single_slot, 0.8).service_variation
    waits = [wait_p99_s(by_wait.gpus - less, 2.0, by_wait.service_s, variation) for less in (0, 1)]
    assert waits[0] == by_wait.wait_p99_s <= 0.5 < waits[1]


def test_nodes_that_are_down_are_bought_on_top() -> None:
    all_up = homogeneous_fleet(AGENTS)
    some_down = homogeneous_fleet(replace(AGENTS, node_availability=0.95))
    assert some_down.gpus == math.ceil(all_up.gpus / 0.95)
    assert some_down.usd_per_year == pytest.approx(some_down.gpus * 2.21 * 8760)


def test_the_search_is_the_cheapest_of_all_that_meet_the_target() -> None:
    boundaries = [int(tokens) for tokens, fraction in AGENTS.cdf if fraction > 0 and tokens < 65_536]
    plans = [homogeneous_fleet(AGENTS)]
    for boundary in boundaries:
        for gamma in GAMMAS:
            try:
                plans.append(two_pool_fleet(AGENTS, boundary, gamma))
            except InputError:  # nothing above the band, and some of it not compressed
                assert gamma * boundary >= 65_536
    found = published_plan(AGENTS)
    assert found is not None
    assert found.usd_per_year == min(plan.usd_per_year for plan in plans if plan.meets_target)
    assert found.ttft_p99_s <= AGENTS.slo_ttft_p99_s


def test_no_plan_where_the_unloaded_prefill_alone_misses_the_target() -> None:
    assert published_plan(replace(AGENTS, slo_ttft_p99_s=0.005)) is None


def test_a_fleet_that_somebody_else_sized() -> None:
    """The same accounting with other numbers: unstable by it where the load is above 1."""
    plan = two_pool_fleet(AGENTS, 8192, 1.5)
    assert published_prediction(AGENTS, [pool.gpus for pool in plan.pools], 8192, 1.5) == plan
    half = published_prediction(AGENTS, [plan.short.gpus, plan.pools[1].gpus // 2], 8192, 1.5)
    assert half.short == plan.short
    assert half.pools[1].utilization > 1
    assert half.ttft_p99_s == math.inf
    assert not half.meets_target
    one_pool = homogeneous_fleet(AGENTS)
    assert published_prediction(AGENTS, [2 * one_pool.gpus]).short.utilization == one_pool.short.utilization / 2
    for gpus in ([3], [3, 0]):
        with pytest.raises(InputError, match="2 pools have requests here"):
            published_prediction(AGENTS, gpus, 8192, 1.5)


def test_a_band_that_takes_everything_leaves_one_pool() -> None:
    plan = two_pool_fleet(replace(AGENTS, compressible_fraction=1.0), 32_768, 2.0)
    assert plan.long is None
    assert plan.pools == (plan.short,)


def test_a_measured_profile_as_the_paper_would_describe_it() -> None:
    """H is the time of a slot of 8,192 tokens; the cost of prefill has no place; the KV cache limits the slots."""
    profile = load_profile("a100-llama2-7b")
    gpu = published_gpu(profile)
    assert gpu.per_slot_s == pytest.approx(47.3e-6 + 8192 * 266e-9)
    assert (gpu.base_s, gpu.chunk_tokens, gpu.usd_per_hour) == (profile.base_s, 512, 2.21)
    assert gpu.slots(4096) == profile.kv_tokens // 4096
    with pytest.raises(InputError, match="holds no request of 200,000 tokens"):
        gpu.slots(200_000)


def test_lengths_of_a_trace_as_a_cdf() -> None:
    lengths = make_lengths(
        np.array([10.0, 10.5, 40.0]), np.array([1.0, 0.5 + 0.5, 2.0]), np.array([1.0, 2.0, 1.0]), 1.0
    )
    assert cdf_of_lengths(lengths) == ((11, 0.25), (12, 0.75), (42, 1.0))


def test_a_plan_for_lengths_is_near_that_for_their_cdf() -> None:
    """256 points a bin instead of a uniform bin."""
    fine = cdf_of_lengths(lengths_from_cdf(AGENTS.cdf))
    gpus = [homogeneous_fleet(replace(AGENTS, arrival_rate_rps=1000.0, cdf=cdf)).gpus for cdf in (AGENTS.cdf, fine)]
    assert gpus[1] == pytest.approx(gpus[0], rel=0.03)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arrival_rate_rps": 0.0}, "arrival_rate_rps is 0"),
        ({"slo_ttft_p99_s": math.nan}, "slo_ttft_p99_s is nan"),
        ({"compressible_fraction": 1.5}, "compressible_fraction is 1.5"),
        ({"node_availability": 0.0}, "node_availability is 0"),
        ({"prompt_fraction": 2.0}, "prompt_fraction is 2"),
        ({"cdf": ((10, 0.5),)}, "the CDF is cut off"),
    ],
)
def test_a_wrong_problem_is_one_line(changes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(AGENTS, **changes)


@pytest.mark.parametrize(
    ("boundary", "gamma", "message"),
    [
        (65_536, 1.0, "boundary 65,536"),
        (1, 1.0, "boundary 1"),
        (4096, 0.5, "gamma 0.5"),
        (32_768, 2.0, "leave the long pool only requests"),
    ],
)
def test_a_wrong_fleet_is_one_line(boundary: int, gamma: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        two_pool_fleet(AGENTS, boundary, gamma)
