"""Fleets that make no sense, routing at its edges, and the records of a simulation."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fleetopt.errors import InputError
from fleetopt.profiles import load_profile
from fleetopt.simulator import Failure, Fleet, Pool, kernels, route, simulate
from fleetopt.workload.trace import Trace, make_trace

PROFILE = load_profile("a100-llama2-7b")
SHORT, LONG = Pool("short", PROFILE, 2, 2048), Pool("long", PROFILE, 1, 16384)
MIDDLE = Pool("middle", PROFILE, 1, 4096)


def banded(boundary: int, gamma: float) -> Fleet:
    return Fleet((SHORT, LONG), "compress-and-route", (boundary,), gamma)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Pool("", PROFILE, 1, 10), "a pool needs a name"),
        (lambda: Pool("x", PROFILE, 0, 10), "pool 'x': replicas is 0"),
        (lambda: Pool("x", PROFILE, 1, 0), "pool 'x': max_context_tokens is 0"),
        (lambda: Pool("x", PROFILE, 1, 10, "wait"), "unknown scheduler 'wait'; known: fcfs"),
        (lambda: Fleet(()), "no pools"),
        (lambda: Fleet((Pool("x", PROFILE, 10**6, 9), SHORT)), "1,000,002 replicas; .* at most 1,000,000"),
        (lambda: Fleet((SHORT, SHORT), "length", (100,)), "two pools are named 'short'"),
        (lambda: Fleet((SHORT, LONG), "length"), "2 pools and 0 boundaries; router 'length' needs .* that is 1"),
        (lambda: Fleet((SHORT, LONG), "length", (0,)), "pool 'short' is 0; it has to be between 1 and 2048"),
        (lambda: Fleet((SHORT, LONG), "length", (2049,)), "pool 'short' is 2049"),
        (lambda: Fleet((LONG,), "length", (2048,)), "1 pools and 1 boundaries"),
        (lambda: Fleet((SHORT, MIDDLE, LONG), "length", (100, 100)), "do not increase"),
        (lambda: banded(2048, 0.9), "gamma is 0.9"),
        (lambda: banded(2048, float("nan")), "gamma is nan"),
        (lambda: Fleet((LONG,), "length", (), 1.5), "router 'length' compresses nothing"),
        (lambda: Fleet((LONG,), "dice"), "unknown router 'dice'; known: least-loaded"),
        (lambda: Fleet((LONG,), balancer="length"), "unknown balancer 'length'"),
        (lambda: Fleet((LONG,), spill_waiting=0), "spill_waiting is 0"),
        (lambda: Failure("long", 0, 5.0, 5.0), "down_s is 5 and up_s 5"),
        (lambda: Failure("long", 0, float("nan")), "down_s is nan"),
        (lambda: Fleet((LONG,), failures=(Failure("short", 0, 1.0),)), "no pool is named 'short'; there is long"),
        (lambda: Fleet((LONG,), failures=(Failure("long", 1, 1.0),)), "has no replica 1; it has 0 to 0"),
        (
            lambda: Fleet((LONG,), failures=(Failure("long", 0, 3.0, 9.0), Failure("long", 0, 1.0, 4.0))),
            "goes down at 3 s while it is down until 4 s",
        ),
    ],
)
def test_nonsense_is_one_clear_error(build, message):
    with pytest.raises(InputError, match=message):
        build()


def empty() -> Trace:
    return make_trace([], [], [])


def test_routing_at_the_edges_of_the_band():
    #        at B  B+1   gamma B  above  no room   not compressible
    prompt = [1948, 1949, 2972, 2973, 500, 1949]
    output = [100, 100, 100, 100, 2048, 100]
    trace = make_trace(np.zeros(6), prompt, output, [True] * 5 + [False])
    routing = route(trace, banded(2048, 1.5))
    assert routing.pool.tolist() == [0, 0, 0, 1, 1, 1]
    assert routing.prompt_tokens.tolist() == [1948, 1948, 1948, 2973, 500, 1949]


def test_gamma_one_compresses_nothing():
    trace = make_trace([0.0, 0.0], [2047, 2048], [1, 1], [True, True])
    routing = route(trace, banded(2048, 1.0))
    assert routing.pool.tolist() == [0, 1]
    assert routing.prompt_tokens.tolist() == [2047, 2048]


def test_the_band_does_not_lose_a_token_to_floating_point():
    assert 1.15 * 100 < 115
    at, above = (make_trace([0.0], [total - 1], [1], [True]) for total in (115, 116))
    assert [route(trace, banded(100, 1.15)).pool[0] for trace in (at, above)] == [0, 1]


def test_of_three_pools_a_request_is_compressed_into_the_lowest_that_it_fits():
    fleet = Fleet((SHORT, MIDDLE, LONG), "compress-and-route", (1000, 1200), 1.5)
    trace = make_trace(np.zeros(5), [1000, 1200, 1499, 1600, 1400], [1, 1, 1, 1, 1100], [True] * 5)
    routing = route(trace, fleet)
    assert routing.pool.tolist() == [0, 0, 0, 1, 2]
    assert routing.prompt_tokens.tolist() == [999, 999, 999, 1199, 1400]


def test_records_of_a_mixed_run():
    trace = make_trace([5.0, 5.0, 5.0, 6.0], [2000, 20_000, 1000, 100], [100, 10, 2000, 1], [True] * 4)
    result = simulate(trace, banded(2048, 1.5))
    assert len(result) == 4
    assert result.pool_names == ("short", "long")
    assert result.pool.tolist() == [0, 1, 0, 0]
    assert result.replica.tolist() == [0, -1, 1, 0]
    assert result.prompt_tokens.tolist() == [1948, 20_000, 48, 100]
    assert result.original_prompt_tokens.tolist() == [2000, 20_000, 1000, 100]
    assert result.is_rejected.tolist() == [False, True, False, False]
    assert result.n_rejected == 1
    assert result.pool_mask(0).tolist() == [True, False, True, True]
    assert not result.pool_mask(1).any()
    np.testing.assert_array_equal(np.isnan(result.ttft_s), [False, True, False, False])
    np.testing.assert_array_equal(np.isnan(result.tpot_s), [False, True, False, True])
    np.testing.assert_allclose(result.tpot_s[0] * 99, result.finish_s[0] - result.first_token_s[0], rtol=1e-12)
    np.testing.assert_array_equal(result.e2e_s, result.finish_s - trace.arrival_s)
    assert result.observed_s == np.nanmax(result.finish_s) - 5.0
    assert result.ttft_quantile_s(1.0) == np.nanmax(result.ttft_s)
    assert np.isnan(result.ttft_quantile_s(0.99, pool=1))
    assert result.tpot_quantile_s(0.0) == np.nanmin(result.tpot_s)
    short, long = result.utilization
    assert 0.0 < short.busy <= 1.0
    assert (long.slot, long.kv, long.busy, long.iterations) == (0.0, 0.0, 0.0, 0)
    assert np.isnan(long.compute)


@pytest.mark.parametrize("trace", [empty(), make_trace([0.0, 1.0], [10**6, 10**9], [1, 1])])
def test_nothing_served_is_nan_not_an_error(trace):
    result = simulate(trace, Fleet((LONG,)))
    assert result.n_rejected == len(trace)
    assert result.observed_s == 0.0
    assert np.isnan(result.ttft_quantile_s(0.99))
    assert np.isnan([result.utilization[0].slot, result.utilization[0].kv, result.utilization[0].busy]).all()


def test_the_inputs_stay_as_they_were_and_a_second_run_is_the_same():
    rng = np.random.default_rng(3)
    trace = make_trace(np.sort(rng.random(500) * 50), rng.integers(1, 3000, 500), rng.integers(1, 300, 500))
    before = [array.copy() for array in (trace.arrival_s, trace.prompt_tokens, trace.output_tokens)]
    first, second = (simulate(trace, banded(2048, 1.0)) for _ in range(2))
    np.testing.assert_array_equal(first.finish_s, second.finish_s)
    for array, copy in zip((trace.arrival_s, trace.prompt_tokens, trace.output_tokens), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_a_sum_of_parts_is_the_same_as_each_alone():
    """Pools do not touch each other: each serves its requests as it would alone."""
    rng = np.random.default_rng(4)
    trace = make_trace(np.sort(rng.random(400) * 40), rng.integers(1, 6000, 400), rng.integers(1, 300, 400))
    both = simulate(trace, banded(2048, 1.0))
    for index, pool in enumerate((SHORT, LONG)):
        mine = both.pool == index
        part = make_trace(trace.arrival_s[mine], trace.prompt_tokens[mine], trace.output_tokens[mine])
        alone = simulate(part, Fleet((pool,)))
        np.testing.assert_array_equal(alone.finish_s, both.finish_s[mine])
        np.testing.assert_array_equal(alone.replica, both.replica[mine])


def test_one_compilation_serves_every_fleet_and_trace():
    if not hasattr(kernels.run_fleet, "signatures"):
        pytest.skip("Numba is switched off")
    simulate(make_trace([0.0], [5], [5]), Fleet((LONG,)))
    writable = Trace(
        arrival_s=np.zeros(2),
        prompt_tokens=np.array([5, 3000]),
        output_tokens=np.array([5, 5]),
        is_compressible=np.ones(2, dtype=bool),
    )
    simulate(writable, banded(2048, 2.0))
    assert len(kernels.run_fleet.signatures) == 1


def test_importing_compiles_nothing_and_a_first_run_leaves_a_cache(tmp_path: Path):
    code = """
import fleetopt.simulator as s, fleetopt.simulator.kernels as k
from fleetopt.profiles import load_profile
from fleetopt.workload.trace import make_trace
import numpy as np
assert not k.run_fleet.signatures
s.simulate(make_trace(np.zeros(1), [5], [5]), s.Fleet((s.Pool("p", load_profile("a100-llama2-7b"), 1, 100),)))
print(sum(k.run_fleet.stats.cache_hits.values()))
"""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    environment.pop("NUMBA_DISABLE_JIT", None)
    hits = [
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True).stdout
        for _ in range(2)
    ]
    assert hits == ["0\n", "1\n"]


def bursty(n: int = 600) -> Trace:
    rng = np.random.default_rng(11)
    return make_trace(np.sort(rng.random(n) * 30), rng.integers(1, 3000, n), rng.integers(1, 300, n))


def test_watching_a_run_does_not_change_it():
    trace, fleet = bursty(), Fleet((SHORT, LONG), "spill-over", (2048,), failures=(Failure("short", 1, 4.0, 9.0),))
    told: list[tuple[int, int]] = []
    alone = simulate(trace, fleet)
    told_of = simulate(trace, fleet, on_progress=lambda done, total: told.append((done, total)))
    watched = simulate(trace, fleet, timeline_interval_s=0.05)
    for other in (told_of, watched):
        for name in ("finish_s", "first_token_s", "admitted_s", "replica", "retries", "preemptions"):
            np.testing.assert_array_equal(getattr(alone, name), getattr(other, name))
        assert other.utilization == alone.utilization
    assert len(told) <= 200
    assert told == sorted(told)
    assert told[-1] == (len(trace), len(trace))
    assert alone.retries.sum() > 0


def test_a_timeline_adds_up_to_the_utilization():
    trace = bursty()
    result = simulate(trace, Fleet((SHORT, LONG), "length", (2048,)), timeline_interval_s=0.005)
    timeline = result.timeline
    assert timeline is not None
    assert timeline.pool.tolist() == [0, 0, 1]
    assert timeline.replica.tolist() == [0, 1, 0]
    assert timeline.time_s[0] == trace.arrival_s[0]
    assert result.finish_s.max() - 0.005 < timeline.time_s[-1] <= result.finish_s.max()
    for index, used in enumerate(result.utilization):
        mine = timeline.pool == index
        assert timeline.running[:, mine].mean() == pytest.approx(used.mean_running, rel=0.01)
        assert timeline.kv_blocks[:, mine].mean() / PROFILE.kv_blocks == pytest.approx(used.kv, rel=0.01)


@pytest.mark.parametrize("interval_s", [0.0, -1.0, float("nan"), float("inf")])
def test_an_interval_that_makes_no_sense(interval_s):
    with pytest.raises(InputError, match="has to be a positive number of seconds"):
        simulate(bursty(), Fleet((LONG,)), timeline_interval_s=interval_s)


def test_a_timeline_that_would_not_fit_into_memory(monkeypatch):
    monkeypatch.setattr("fleetopt.simulator.run._MOST_SAMPLES", 1000)
    with pytest.raises(InputError, match="too short for a run this long"):
        simulate(bursty(), Fleet((LONG,)), timeline_interval_s=0.01)


def test_what_no_replica_can_take_is_unserved_not_lost():
    trace = make_trace([0.0, 1.0, 2.0, 3.0], [10, 10, 99_999, 10], [2000, 5, 5, 5])
    result = simulate(trace, Fleet((LONG,), failures=(Failure("long", 0, 1.5),)))
    assert result.status.tolist() == ["unserved", "finished", "rejected", "unserved"]
    assert result.replica.tolist() == [-1, 0, -1, -1]
    assert result.retries.tolist() == [1, 0, 0, 0]
    assert np.isfinite(result.first_token_s).tolist() == [True, True, False, False]
    assert result.pool_mask(0).tolist() == [False, True, False, False]
    assert result.ttft_quantile_s(1.0) == result.ttft_s[1]


def test_the_seed_moves_only_what_is_drawn():
    trace, pools = bursty(), (Pool("all", PROFILE, 8, 16384),)
    drawn = [simulate(trace, Fleet(pools, "random"), seed=seed).replica for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()
    balanced = [simulate(trace, Fleet(pools), seed=seed).replica for seed in (0, 1)]
    np.testing.assert_array_equal(*balanced)


@pytest.mark.parametrize("offset_s", [1.7e9, -3e7])
def test_where_the_clock_starts_changes_nothing(offset_s):
    """On the clock of Unix a float64 has steps of 2.4e-7 s, which added up to other decisions within a long run."""
    trace = bursty()
    arrival_s = np.round(trace.arrival_s * 1024) / 1024  # so that the offset rounds nothing
    runs = []
    for start_s in (0.0, offset_s):
        fleet = Fleet((Pool("x", PROFILE, 2, 8192),), failures=(Failure("x", 0, start_s + 4.0, start_s + 6.0),))
        moved = make_trace(start_s + arrival_s, trace.prompt_tokens, trace.output_tokens)
        runs.append(simulate(moved, fleet, timeline_interval_s=0.25))
    first, second = runs
    assert first.retries.sum() > 0
    assert first.utilization == second.utilization
    for name in ("admitted_s", "first_token_s", "finish_s"):
        np.testing.assert_array_equal(getattr(first, name) + offset_s, getattr(second, name))
    np.testing.assert_array_equal(first.timeline.time_s + offset_s, second.timeline.time_s)
    np.testing.assert_array_equal(first.timeline.kv_blocks, second.timeline.kv_blocks)
