"""The queueing model where theory has the answer: M/G/1, Erlang, the shorter queue; and properties of any load."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fleetopt.profiles import GpuProfile, load_profile
from fleetopt.queueing.distribution import TimeDistribution, gamma_nodes
from fleetopt.queueing.kernels.replica import open_prefill_queue
from fleetopt.queueing.kernels.response import fluctuation, passed
from fleetopt.queueing.kernels.routing import FOUND, FOUND_AFTER, OVER_TIME, least_loaded_occupancy
from fleetopt.queueing.kernels.transforms import HALF, POINTS, add_uniform, invert, put, question, transform_pair
from fleetopt.queueing.pool import predict_pool
from fleetopt.queueing.stability import stability_limit_rps, token_budget_load
from fleetopt.queueing.ttft import pool_loads
from fleetopt.queueing.work import RequestWork, request_work

PROFILE = load_profile("a100-llama2-7b")


def prefill_only(prompt_tokens: np.ndarray) -> RequestWork:
    """One output token, 1 ms a prompt token, no other cost, few tokens an iteration: a server that takes one by one."""
    profile = GpuProfile(
        name="test",
        base_s=0.0,
        per_sequence_s=0.0,
        per_context_token_s=0.0,
        per_prefill_token_s=1e-3,
        per_prefill_attention_s=0.0,
        kv_blocks=100_000,
        block_tokens=16,
        max_sequences=128,
        max_batched_tokens=10,
    )
    return request_work(profile, np.ones(len(prompt_tokens)), prompt_tokens, np.ones(len(prompt_tokens)))


def chat(n: int = 4000, seed: int = 1, budget: int = PROFILE.max_batched_tokens) -> RequestWork:
    profile = PROFILE.model_copy(update={"max_batched_tokens": budget, "max_chunk_tokens": budget})
    rng = np.random.default_rng(seed)
    prompt = np.clip(rng.lognormal(6.8, 0.9, n), 4, 8000).round()
    output = np.clip(rng.lognormal(5.0, 0.7, n), 2, 1000).round()
    return request_work(profile, np.ones(n), prompt, output)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.85])
def test_exponential_prompts_and_no_decode_are_m_m_1(load):
    """Sojourn in M/M/1 is exponential with rate mu - lambda (Kleinrock, Queueing Systems I, 1975, eq. 5.118)."""
    prompt = -1000.0 * np.log1p(-(np.arange(50_000) + 0.5) / 50_000)
    ttft = predict_pool(prefill_only(np.maximum(prompt, 1.0)), load, 1).ttft
    for probability in (0.5, 0.9, 0.99):
        assert ttft.quantile(probability) == pytest.approx(-np.log(1 - probability) / (1 - load), rel=0.012)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.85])
def test_equal_prompts_and_no_decode_are_m_d_1(load):
    """Wait in M/D/1 by Erlang's formula (A. K. Erlang, 1909): a sum over the arrivals that fit before."""

    def wait_at_most(x):
        k = np.arange(int(x) + 1)
        terms = (-load * (x - k)) ** k / np.cumprod(np.maximum(k, 1.0)) * np.exp(load * (x - k))
        return (1 - load) * terms.sum()

    ttft = predict_pool(prefill_only(np.full(10, 1000.0)), load, 1).ttft
    for wait in (0.5, 1.5, 3.0):
        assert float(ttft.exceeds(np.array([1.0 + wait]))[0]) == pytest.approx(1 - wait_at_most(wait), abs=0.006)


def test_one_replica_of_one_server_is_m_m_1_and_of_many_is_m_m_infinity():
    geometric = least_loaded_occupancy(np.r_[0.0, np.ones(300)], 0.7, 1)[OVER_TIME]
    np.testing.assert_allclose(geometric[:50], 0.3 * 0.7 ** np.arange(50), rtol=1e-9)
    poisson = least_loaded_occupancy(np.arange(60.0), 5.0, 1)[OVER_TIME]
    np.testing.assert_allclose(poisson[:20], stats.poisson.pmf(np.arange(20), 5.0), rtol=1e-9)


def shortest_of_two(arrival_rate: float, most: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Join the shorter of two M/M/1 queues, solved exactly: distribution at one of them, and of what arrivals find."""
    states = [(long, short) for long in range(most + 1) for short in range(long + 1)]
    index = {state: i for i, state in enumerate(states)}
    generator = np.zeros((len(states), len(states)))
    for (long, short), row in index.items():
        moves = [((long, short - 1), 1.0), ((max(long - 1, short), min(long - 1, short)), 1.0)]
        moves.append(((max(long, short + 1), min(long, short + 1)), arrival_rate))
        for target, rate in moves:
            if target in index:
                generator[row, index[target]] += rate
                generator[row, row] -= rate
    system = np.vstack([generator.T, np.ones(len(states))])
    solution = np.linalg.lstsq(system, np.r_[np.zeros(len(states)), 1.0], rcond=None)[0]
    over_time, found = np.zeros(most + 1), np.zeros(most + 1)
    for (long, short), i in index.items():
        over_time[long] += solution[i] / 2
        over_time[short] += solution[i] / 2
        found[short] += solution[i]
    return over_time, found


@pytest.mark.parametrize("load", [0.4, 0.7, 0.9])
def test_join_the_shorter_of_two_queues_is_near_the_exact_solution(load):
    over_time, found = shortest_of_two(2 * load)
    occupancy = least_loaded_occupancy(np.r_[0.0, np.ones(300)], 2 * load, 2)
    assert occupancy[OVER_TIME] @ np.arange(301) == pytest.approx(over_time @ np.arange(len(over_time)), rel=0.05)
    modelled = occupancy[FOUND] + occupancy[FOUND_AFTER]
    np.testing.assert_allclose(modelled[:10], found[:10], atol=0.03)
    assert modelled.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("replicas", [2, 8, 64, 1000])
def test_a_pool_of_infinite_servers_holds_what_little_says(replicas):
    occupancy = least_loaded_occupancy(np.arange(200.0), 5.0 * replicas, replicas)
    assert occupancy[OVER_TIME] @ np.arange(200) == pytest.approx(5.0, rel=0.01)
    assert occupancy[OVER_TIME].sum() == pytest.approx(1.0)


@pytest.mark.parametrize("replicas", [100_000, 3_000_000])
@pytest.mark.parametrize("load", [0.6, 2.4])
def test_as_many_replicas_as_one_likes_hold_what_a_few_thousand_do(load, replicas):
    throughput_rps = np.minimum(np.arange(9.0), 4.0)
    few, many = (least_loaded_occupancy(throughput_rps, load * n, n) for n in (3000, replicas))
    assert many[OVER_TIME] @ np.arange(9) == pytest.approx(load, rel=1e-3)
    np.testing.assert_allclose(many[OVER_TIME], few[OVER_TIME], atol=0.03)


def masses(*points: tuple[float, float]) -> np.ndarray:
    """Masses at times, as shares of the grid."""
    at = np.zeros(POINTS)
    for mass, time in points:
        put(at, mass, time * POINTS)
    return at


def test_sums_on_a_grid_are_right_up_to_its_end_though_most_of_the_sum_lies_beyond():
    pair = np.empty((4, HALF))
    transform_pair(masses((1.0, 0.25)), masses((1.0, 0.99 * 0.9)), pair)
    half, far = pair[0] + 1j * pair[1], pair[2] + 1j * pair[3]
    total = 0.3 * half * half + 0.7 * far * far
    summed = invert(total.real, total.imag)
    assert summed.sum() == pytest.approx(0.3, abs=1e-6)
    assert summed @ np.arange(POINTS) / POINTS == pytest.approx(0.3 * 0.5, abs=1e-6)
    assert question(np.zeros(POINTS), total.real, total.imag) == pytest.approx(0.3, abs=1e-6)


@settings(deadline=None)
@given(place=st.floats(0.0, 0.6), width=st.floats(0.0, 0.3))
def test_a_constant_and_a_uniform_time_are_a_uniform_time(place, width):
    out = np.empty(POINTS)
    add_uniform(masses((1.0, place)), width * POINTS, out)
    assert out.min() >= -1e-15
    assert out.sum() == pytest.approx(1.0)
    at = np.arange(POINTS) / POINTS
    assert out @ at == pytest.approx(place + width / 2, abs=0.5 / POINTS)
    assert out[at > place + width + 2 / POINTS].sum() == pytest.approx(0.0, abs=1e-12)


@given(variation=st.floats(0.0, 1.0), count=st.sampled_from([3, 5]))
def test_gamma_nodes_have_mean_and_variance_of_the_distribution(variation, count):
    nodes, weights = gamma_nodes(variation, count)
    assert weights @ nodes == pytest.approx(1.0)
    assert weights @ (nodes - 1) ** 2 == pytest.approx(variation, rel=0.25, abs=1e-9)


def test_a_quantile_and_the_probability_to_exceed_it_agree():
    exponential = TimeDistribution(
        lambda grid: np.diff(-np.exp(-(np.arange(grid.points + 1) - 0.5).clip(0) * grid.step_s / 3.0)), 0.01
    )
    for probability in (0.1, 0.5, 0.99, 0.999):
        quantile_s = exponential.quantile(probability)
        assert quantile_s == pytest.approx(-3.0 * np.log(1 - probability), rel=0.01)
        assert float(exponential.exceeds(np.array([quantile_s]))[0]) == pytest.approx(1 - probability, rel=0.02)
    with pytest.raises(ValueError, match="between 0 and 1"):
        exponential.quantile(1.0)


def test_an_open_prefill_queue_without_decode_is_geometric():
    record, _, speed, *_ = prefill_only(np.full(10, 1000.0)).tables
    probability, decoding = open_prefill_queue(record[0], speed, 0.6, 200, 12, 1e-3)
    np.testing.assert_allclose(probability[:30], 0.4 * 0.6 ** np.arange(30), rtol=0.01)
    assert np.abs(decoding).max() < 1e-6


@pytest.mark.parametrize("load", [0.1, 0.5, 0.9])
def test_what_a_server_passes_leaves_its_busy_time_s_own_variance(load):
    """A server's busy indicator has variance load (1 - load); of as many servers as it takes, load (M/M/infinity)."""
    turns = np.geomspace(1e-6, 1e5, 20_000)
    many = 2 * load / (1 + turns**2)
    share = np.array([passed(turn, load) for turn in turns])
    assert share[0] == pytest.approx(1.0, abs=1e-3)
    assert share[-1] == pytest.approx(1 - load, rel=1e-3)
    assert np.trapezoid(share * many, turns) / np.pi == pytest.approx(load * (1 - load), rel=0.01)


def test_requests_of_one_iteration_are_a_branching_process():
    """N prompts of w seconds lengthen an iteration to W + w N, in which Poisson r (W + w N) arrive for the next one.

    So Var N = r E[t] / (1 - (r w)^2), the stationary variance of this Galton-Watson process with immigration.
    """
    profile = PROFILE.model_copy(update={"max_batched_tokens": 8192, "max_chunk_tokens": 8192})
    work = request_work(profile, np.ones(1), np.array([1000.0]), np.array([1.0]))
    rate = 0.6 / work.prefill_s
    joins = rate * profile.base_s / (1 - 0.6)
    moves = fluctuation(work.tables[4], rate, joins, 0.0, 1.0)
    variance = joins / (1 - 0.6**2)
    assert moves.running_variance == pytest.approx(variance, rel=0.02)
    assert moves.running_time == pytest.approx(work.prefill_s * variance, rel=0.02)


def gated_ttft_s(rate: float, base_s: float, prompt_s: np.ndarray, n: int) -> np.ndarray:
    """TTFT where an iteration prefills all that came during the last one; prompts drawn from the given ones."""
    rng = np.random.default_rng(3)
    arrival_s = np.cumsum(rng.exponential(1 / rate, n))
    work_s = np.cumsum(np.r_[0.0, rng.choice(prompt_s, n)])
    ttft_s, now, done = np.empty(n), 0.0, 0
    while done < n:
        now = max(now, arrival_s[done])
        taken = int(np.searchsorted(arrival_s, now, side="right"))
        now += base_s + work_s[taken] - work_s[done]
        ttft_s[done:taken] = now - arrival_s[done:taken]
        done = taken
    return ttft_s


@pytest.mark.parametrize(
    ("load", "p50", "p90", "p99"), [(0.1, 0.01, 0.01, 0.03), (0.2, 0.02, 0.02, 0.07), (0.5, 0.06, 0.03, 0.18)]
)
def test_a_budget_of_many_prompts_is_near_a_gated_queue(load, p50, p90, p99):
    """Without decode steps to set the pace: the model takes an iteration's prompts and its successor's as independent
    but for their mean, so its tail is too short, by 17 % at load 0.5.
    """
    profile = PROFILE.model_copy(update={"max_batched_tokens": 65536, "max_chunk_tokens": 65536})
    prompt = np.random.default_rng(1).lognormal(6.5, 0.7, 5000).round()
    work = request_work(profile, np.ones(5000), prompt, np.ones(5000))
    rate = load / work.prefill_s
    prompt_s = profile.per_prefill_token_s * prompt + profile.per_prefill_attention_s * prompt**2 / 2
    simulated_s = gated_ttft_s(rate, profile.base_s, prompt_s, 300_000)
    ttft = predict_pool(work, rate, 1).ttft
    for probability, tolerance in ((0.5, p50), (0.9, p90), (0.99, p99)):
        assert ttft.quantile(probability) == pytest.approx(np.quantile(simulated_s, probability), rel=tolerance)


def test_a_prediction_says_where_it_is_not_to_be_trusted():
    assert predict_pool(chat(), 1.0, 1).caveats == ()
    side_by_side = PROFILE.model_copy(update={"max_batched_tokens": 8192, "kv_blocks": 70_000})
    large_chunks = PROFILE.model_copy(update={"max_batched_tokens": 8192, "max_chunk_tokens": 8192, "kv_blocks": 2000})
    for profile, says in ((side_by_side, "side by side"), (large_chunks, "KV cache")):
        work = request_work(profile, np.ones(2), np.array([500.0, 3000.0]), np.array([100.0, 200.0]))
        (caveat,) = predict_pool(work, 0.5, 1).caveats
        assert says in caveat


def test_one_request_on_a_replica_spends_its_time_in_prefill_and_decode():
    work = request_work(PROFILE, np.ones(1), np.array([1234.0]), np.array([57.0]))
    alone_s = float(work.unloaded_ttft_s[0]) + 56 * (PROFILE.base_s + work.step_s)
    assert work.capacity.throughput_rps[0] == 0
    assert work.capacity.throughput_rps[1] == pytest.approx(1 / alone_s, rel=1e-9)
    decoding_s = 56 * (PROFILE.base_s + work.step_s)
    assert work.capacity.free_share[1] == pytest.approx(1.0)
    assert decoding_s * work.capacity.throughput_rps[1] == pytest.approx(
        1 - float(work.unloaded_ttft_s[0]) / alone_s, rel=1e-9
    )


def test_a_replica_finishes_more_the_more_it_holds_up_to_the_token_budget():
    work = chat()
    throughput_rps = work.capacity.throughput_rps
    assert (np.diff(throughput_rps) > -1e-9).all()
    assert throughput_rps[-1] <= 1 / token_budget_load(work, 1.0) * 1.0001


@pytest.mark.parametrize("replicas", [1, 2, 8, 64])
def test_at_a_light_load_the_ttft_is_that_of_idle_replicas(replicas):
    work = chat()
    prediction = predict_pool(work, 1e-4 * replicas, replicas)
    for probability in (0.5, 0.99):
        assert prediction.ttft.quantile(probability) == pytest.approx(
            work.unloaded_ttft_quantile_s(probability), rel=0.02
        )
    assert prediction.state.busy == pytest.approx(prediction.state.running, rel=0.05)


@settings(max_examples=15, deadline=None)
@given(load=st.floats(0.02, 0.9), replicas=st.sampled_from([1, 2, 3, 8, 64, 5000]))
def test_a_prediction_is_consistent_at_any_load(load, replicas):
    work = chat()
    prediction = predict_pool(work, load * stability_limit_rps(work) * replicas, replicas)
    state = prediction.state
    exceeds = prediction.ttft.exceeds(np.linspace(0.0, 2 * prediction.ttft.quantile(0.99), 200))
    assert (np.diff(exceeds) <= 1e-12).all()
    assert 0 <= exceeds[-1] < 0.01 < exceeds[0] <= 1
    assert (np.diff(prediction.tpot.exceeds(np.linspace(0.005, 0.2, 50))) <= 1e-12).all()
    assert 0 < state.busy <= 1
    assert state.iteration_s > PROFILE.base_s
    # Exact: base time of all iterations and the work of all requests fill the busy time.
    assert state.busy == pytest.approx(
        state.busy / state.iteration_s * PROFILE.base_s + load * stability_limit_rps(work) * work.work_s, rel=1e-9
    )
    assert work.unloaded_ttft_quantile_s(0.99) <= prediction.ttft.quantile(0.99) * 1.01


@pytest.mark.parametrize("replicas", [1, 8, 64])
def test_more_load_never_shortens_the_tail(replicas):
    work = chat()
    limit_rps = stability_limit_rps(work) * replicas
    p99_s = [predict_pool(work, load * limit_rps, replicas).ttft.quantile(0.99) for load in np.arange(0.1, 0.95, 0.1)]
    assert (np.diff(p99_s) > -0.01 * np.array(p99_s[1:])).all()


@settings(max_examples=30, deadline=None)
@given(load=st.floats(0.02, 1.2), replicas=st.sampled_from([1, 2, 3, 8, 64, 5000]), time_s=st.floats(1e-3, 100.0))
def test_the_quick_answer_is_that_of_the_prediction(load, replicas, time_s):
    work = chat()
    rate = load * stability_limit_rps(work) * replicas
    loads, prediction = pool_loads(work, rate, replicas, time_s), predict_pool(work, rate, replicas)
    assert loads.budget_load == pytest.approx(token_budget_load(work, rate / replicas))
    if prediction is None:
        assert loads.late == loads.prefill_load == loads.slot_load == 1.0
        return
    assert loads.late == pytest.approx(float(prediction.ttft.exceeds(np.array([time_s]))[0]), abs=1e-8)
    assert loads.prefill_load == prediction.state.prefill_load
    assert loads.slot_load == prediction.state.running / work.slots


@settings(max_examples=40, deadline=None)
@given(load=st.floats(0.02, 0.97), replicas=st.integers(1, 200), budget=st.sampled_from([512, 2048, 8192]))
def test_the_bounds_that_a_search_prunes_by_hold(load, replicas, budget):
    work = chat(budget=budget)
    rate = load * stability_limit_rps(work) * replicas
    time_s = 1.5 * work.unloaded_ttft_quantile_s(0.99)
    loads, of_one = pool_loads(work, rate, replicas, time_s), rate / replicas
    fluid = of_one * work.iterations * work.base_s / (1 - of_one * work.work_s)
    assert loads.slot_load * work.slots >= fluid * (1 - 1e-9)
    each_s = work.prefill_s + work.base_s * work.prompt_tokens / budget
    assert loads.prefill_load >= min(1.0, of_one * each_s) * (1 - 1e-3)
    more = pool_loads(work, rate, replicas + 1, time_s)
    assert more.budget_load < loads.budget_load
    assert more.late <= 1.05 * loads.late + 1e-6  # no theorem


def test_overload_has_no_equilibrium():
    work = chat()
    assert predict_pool(work, 1.001 * stability_limit_rps(work), 1) is None
    assert predict_pool(work, 8.01 * stability_limit_rps(work), 8) is None


def test_requests_of_one_token_have_no_time_per_output_token():
    prediction = predict_pool(prefill_only(np.full(10, 1000.0)), 0.5, 1)
    assert np.isnan(prediction.tpot.quantile(0.99))
    assert np.isnan(prediction.tpot.exceeds(np.array([0.1]))).all()
