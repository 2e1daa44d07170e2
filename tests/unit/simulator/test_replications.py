"""Replications in threads, and the figures of a fleet over them."""

import math
import threading
from dataclasses import replace

import numpy as np
import pytest

from fleetopt.simulator import Failure, Fleet, Pool, simulate
from fleetopt.simulator.measures import (
    ATTAINMENT,
    COUNTS,
    LATENCY_METRICS,
    Measure,
    measure_run,
    summarize_run,
    summary_row,
)
from fleetopt.simulator.replications import measure_replications, replicate, summarize_replications
from fleetopt.simulator.statistics import Interval, SloTargets, replication_interval, steady_part
from fleetopt.workload import trace as traces
from tests.unit.simulator.fleets import PROFILE, make_trace, one_pool

TARGETS = SloTargets(ttft_s=0.5, tpot_s=0.05)


@pytest.mark.parametrize("router", ["least-loaded", "random"])
def test_threads_change_nothing(router):
    fleet = one_pool(3, router=router)
    runs = [
        replicate(make_trace, fleet, 5, seed=7, summarize=lambda r: r.finish_s.tolist(), max_workers=workers)
        for workers in (1, 2, 5)
    ]
    assert runs[0] == runs[1] == runs[2]
    assert len({tuple(run) for run in runs[0]}) == 5


def test_a_replication_is_the_simulation_of_its_own_trace():
    fleet = one_pool(2)
    (_, second) = replicate(make_trace, fleet, 2, seed=7, summarize=lambda result: result)
    assert (second.finish_s == simulate(make_trace(1), fleet).finish_s).all()


def test_routers_draw_anew_in_every_replication_and_the_same_for_the_same_seed():
    fleet = one_pool(3, router="random")
    trace = make_trace(0)

    def replicas(seed):
        return replicate(lambda _: trace, fleet, 2, seed, summarize=lambda r: tuple(r.replica.tolist()))

    assert len(set(replicas(7) + replicas(8))) == 4
    assert replicas(7) == replicas(7)


def test_no_more_results_are_alive_than_workers():
    alive, most, lock = [0], [0], threading.Lock()

    def traced(replication):
        with lock:
            alive[0] += 1
            most[0] = max(most[0], alive[0])
        return make_trace(replication, n=200)

    def summarized(result):
        with lock:
            alive[0] -= 1
        return len(result)

    assert replicate(traced, one_pool(1), 8, 1, summarize=summarized, max_workers=2) == [200] * 8
    assert most[0] <= 2


def test_progress_is_told_in_the_calling_thread():
    told = []
    replicate(
        lambda r: make_trace(r, n=50),
        one_pool(1),
        4,
        1,
        summarize=len,
        on_progress=lambda done, total: told.append((done, total, threading.current_thread())),
    )
    assert told[-1][:2] == (4, 4)
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert {thread for _, _, thread in told} == {threading.current_thread()}


def test_a_failure_stops_the_rest_and_is_raised():
    started = []

    def failing(replication):
        started.append(replication)
        if replication == 1:
            raise ArithmeticError("no trace")
        return make_trace(replication, n=2000)

    with pytest.raises(ArithmeticError, match="no trace"):
        replicate(failing, one_pool(1), 500, 1, summarize=len, max_workers=1)
    assert len(started) < 500


def test_nothing_to_do_is_an_error():
    for n_replications, max_workers in ((0, None), (1, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            replicate(make_trace, one_pool(1), n_replications, 1, summarize=len, max_workers=max_workers)


def test_figures_of_a_run_are_those_of_its_records():
    fleet = Fleet(
        (Pool("short", PROFILE, 1, 2000), Pool("long", PROFILE, 2, 5000)),
        router="length",
        boundaries_tokens=(2000,),
        failures=(Failure("short", 0, 20.0, 30.0),),
    )
    result = simulate(make_trace(0), fleet)
    assert 0 < result.is_rejected.sum() < result.preemptions.sum() + result.is_rejected.sum() + result.retries.sum()
    run = measure_run(result, fleet, TARGETS, cut_warm_up=False)
    named = {(key.pool, key.metric): value for key, value in run.figures.items()}
    for pool, members in ((None, result.pool >= 0), ("short", result.pool == 0), ("long", result.pool == 1)):
        finished = members & (result.status == "finished")
        ttft_s = result.ttft_s[finished]
        assert named[pool, "ttft_mean_s"] == pytest.approx(ttft_s.mean())
        assert named[pool, "ttft_p99_s"] == np.sort(ttft_s)[math.ceil(0.99 * len(ttft_s)) - 1]
        assert named[pool, "e2e_p50_s"] == np.sort(result.e2e_s[finished])[math.ceil(0.5 * len(ttft_s)) - 1]
        assert named[pool, "queue_wait_mean_s"] == pytest.approx(result.queue_wait_s[finished].mean())
        assert named[pool, "tpot_mean_s"] == pytest.approx(np.nanmean(result.tpot_s[finished]))
        assert named[pool, "requests"] == members.sum()
        assert named[pool, "rejected"] == (members & result.is_rejected).sum()
        assert named[pool, "retries"] == result.retries[members].sum()
        assert named[pool, "preemptions"] == result.preemptions[members].sum()
        good = (result.ttft_s <= 0.5) & ((result.tpot_s <= 0.05) | (result.output_tokens == 1))
        assert named[pool, ATTAINMENT] == (good & finished).sum() / members.sum()
    assert named["long", "slot_utilization"] == result.utilization[1].slot
    assert named["short", "compute_utilization"] == result.utilization[0].compute


def test_utilisation_of_the_fleet_is_of_all_its_slots_tokens_and_time():
    pools = tuple(Pool(name, PROFILE, replicas, 8192) for name, replicas in (("a", 1), ("b", 3)))
    fleet = Fleet(pools, router="length", boundaries_tokens=(700,))
    result = simulate(make_trace(1), fleet)
    named = {
        key.metric: value
        for key, value in measure_run(result, fleet, None, cut_warm_up=False).figures.items()
        if key.pool is None
    }
    one, three = result.utilization
    for name in ("slot", "kv", "busy"):
        assert named[f"{name}_utilization"] == pytest.approx((getattr(one, name) + 3 * getattr(three, name)) / 4)
    busy_s = (one.busy + 3 * three.busy) * result.observed_s
    assert named["iteration_mean_s"] == pytest.approx(busy_s / (one.iterations + three.iterations))
    assert named["compute_utilization"] == pytest.approx(1 - PROFILE.base_s / named["iteration_mean_s"])
    # in a fleet of one pool they are the pool's own
    single = one_pool(2)
    own = measure_run(simulate(make_trace(1), single), single, None, cut_warm_up=False).figures
    by_pool = {pool: {k.metric: v for k, v in own.items() if k.pool == pool} for pool in (None, "all")}
    assert by_pool[None] == pytest.approx(by_pool["all"])


def test_the_ends_are_cut_from_latencies_and_attainment_but_not_from_counts():
    fleet = one_pool(1)
    result = simulate(make_trace(2, rate_rps=2.0), fleet)
    kept = steady_part(result.arrival_s, result.ttft_s, result.e2e_s)
    assert 0 < kept.start < kept.stop < len(result)
    run = measure_run(result, fleet, TARGETS, cut_warm_up=True)
    assert run.attained[None][1] == kept.stop - kept.start
    named = {key.metric: value for key, value in run.figures.items() if key.pool is None}
    assert named["ttft_mean_s"] == pytest.approx(result.ttft_s[kept].mean())
    assert named["requests"] == len(result)


def test_requests_that_are_never_served_after_the_last_finish_are_missed_targets():
    fleet = one_pool(1)
    trace = make_trace(2, rate_rps=2.0)
    half_s = float(trace.arrival_s[len(trace) // 2])
    result = simulate(trace, replace(fleet, failures=(Failure("all", 0, half_s),)))
    hits, counted = measure_run(result, fleet, SloTargets(ttft_s=100.0), cut_warm_up=True).attained[None]
    assert result.is_unserved.sum() >= len(trace) // 2
    assert counted - hits == result.is_unserved.sum()


def test_a_figure_below_zero_lies_within_its_interval():
    """The compute utilisation is below zero where iterations that only prefill are shorter than ``base_s``."""
    row = summary_row(Measure(None, "compute_utilization", "share"), Interval(-2.0, -2.5, -1.5), "")
    assert row.lower <= row.estimate <= row.upper
    assert summary_row(Measure(None, "ttft_p99_s", "s"), Interval(2.0, -0.5, 4.5), "").lower == 0.0


def test_a_summary_of_replications_is_t_over_their_figures():
    runs = measure_replications(make_trace, one_pool(2), 4, 7, targets=TARGETS)
    summary = summarize_replications(runs)
    assert summary.replications == 4
    assert summary.stability.verdict == "stable"
    row = summary.row("ttft_p90_s")
    figures = np.array([next(v for k, v in run.figures.items() if k[:2] == (None, "ttft_p90_s")) for run in runs])
    assert (row.estimate, row.lower, row.upper) == replication_interval(figures)
    assert (row.unit, row.method) == ("s", "t over 4 replications")
    attainment = summary.row(ATTAINMENT, "all")
    assert 0 < attainment.lower < attainment.estimate < attainment.upper <= 1
    metrics = {row.metric for row in summary.rows if row.pool is None}
    assert metrics == {*LATENCY_METRICS, *COUNTS, ATTAINMENT, "iteration_mean_s"} | {
        f"{name}_utilization" for name in ("slot", "kv", "busy", "compute")
    }
    with pytest.raises(KeyError, match="no figure 'gpu_utilization'"):
        summary.row("gpu_utilization")


def test_intervals_are_left_open_where_replications_cannot_give_them():
    few = summarize_replications(measure_replications(lambda r: make_trace(r, n=900), one_pool(2), 3, 7))
    row = few.row("ttft_p99_s")
    assert (row.lower, row.upper, row.method) == (-math.inf, math.inf, "too few requests per replication")
    assert math.isfinite(few.row("ttft_p90_s").upper)
    # the tail of the time per token takes more requests: 80 beyond a quantile, and 800 are not enough for a P90
    assert few.row("tpot_p90_s").method == "too few requests per replication"
    assert math.isfinite(few.row("tpot_p50_s").upper)
    assert math.isfinite(few.row("slot_utilization").upper)
    single = summarize_replications(measure_replications(make_trace, one_pool(2), 1, 7))
    assert (single.row("ttft_mean_s").upper, single.row("ttft_mean_s").method) == (math.inf, "one replication")


def test_a_pool_that_nobody_reaches_has_no_latency_and_breaks_nothing():
    fleet = Fleet(
        (Pool("all", PROFILE, 2, 8192), Pool("idle", PROFILE, 1, 9000)), router="length", boundaries_tokens=(8192,)
    )
    summary = summarize_replications(measure_replications(make_trace, fleet, 3, 7, targets=TARGETS))
    idle = summary.row("ttft_mean_s", "idle")
    assert math.isnan(idle.estimate)
    assert idle.method == "nothing to measure in a replication"
    assert summary.row("ttft_p90_s", "idle").method == "too few requests per replication"
    assert summary.row("requests", "idle").estimate == 0
    assert math.isfinite(summary.row("ttft_mean_s").upper)


def test_a_run_is_summarised_by_batches():
    fleet = one_pool(2)
    result = simulate(make_trace(0, n=12_000), fleet)
    summary = summarize_run(result, fleet, TARGETS, cut_warm_up=False)
    row = summary.row("ttft_p99_s")
    assert row.lower < row.estimate == result.ttft_quantile_s(0.99) < row.upper
    assert row.method == "batches of one run"
    assert summary.row("slot_utilization").method == "one run"
    assert 0 < summary.row(ATTAINMENT).lower < 1
    assert summary.stability.verdict == "stable"
    short = summarize_run(simulate(make_trace(0, n=900), fleet), fleet, None, cut_warm_up=False)
    assert short.row("ttft_p99_s").method == "too short a run for batches"
    assert ATTAINMENT not in {row.metric for row in short.rows}


def test_nobody_served():
    trace = traces.make_trace([0.0, 1.0], [9000, 9000], [1, 1])
    summary = summarize_run(simulate(trace, one_pool(1)), one_pool(1), TARGETS, cut_warm_up=True)
    assert math.isnan(summary.row("e2e_mean_s").estimate)
    assert summary.row(ATTAINMENT).estimate == 0
    assert summary.row("rejected").estimate == 2
    assert summary.stability.verdict == "undecided"
