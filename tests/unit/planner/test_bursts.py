"""Bursty arrivals from the question to the verified plan."""

from dataclasses import replace

import numpy as np
import pytest

import fleetopt
from fleetopt.errors import InputError
from fleetopt.planner import trials as trials_module
from fleetopt.planner.baselines import homogeneous
from fleetopt.planner.certificate import certify
from fleetopt.planner.mixture import split
from fleetopt.planner.peak import PeakStream
from fleetopt.planner.problem import Slo
from fleetopt.planner.search import plan_fleet
from fleetopt.planner.surface import size_cell
from fleetopt.planner.trials import requests_to_simulate
from fleetopt.planner.verification import Verifier
from fleetopt.planner.whatif import sweep
from fleetopt.simulator import simulate
from fleetopt.workload.dispersion import POISSON
from fleetopt.workload.processes import markov_modulated_arrivals, poisson_arrivals
from fleetopt.workload.replay import replayed_arrivals
from fleetopt.workload.trace import make_trace
from tests.unit.planner.random_problems import CLUMPS, SPELLS
from tests.unit.planner.samples import problem

A100 = "a100-llama2-7b"


@pytest.fixture(autouse=True)
def _small_simulations(monkeypatch):
    monkeypatch.setattr(trials_module, "_REQUESTS", 8000)
    monkeypatch.setattr(trials_module, "_POOL_REQUESTS", 1000)


def late_share(plan, asked, seed=5, n=20_000):
    """Share of all requests later than the target when the problem's own arrivals are simulated."""
    result = simulate(PeakStream(asked, seed).trace(0, n), plan.fleet())
    return float(np.mean(result.ttft_s > asked.slo.ttft_p99_s))


@pytest.mark.parametrize("arrivals", [SPELLS, CLUMPS])
def test_bursts_take_more_replicas_and_what_they_take_holds_where_the_poisson_plan_fails(arrivals):
    plain = problem(rate_rps=60.0, slo_ttft_p99_s=1.2, max_utilization=1.0, max_pools=1)
    bursty = replace(plain, arrivals=arrivals)
    for_poisson, for_bursts = plan_fleet(plain).plan, plan_fleet(bursty).plan
    assert for_poisson.replicas < for_bursts.replicas < 3 * for_poisson.replicas
    assert late_share(for_poisson, plain) < 0.01
    assert late_share(for_poisson, bursty) > 0.01 > late_share(for_bursts, bursty)
    assert for_bursts.pools[0].binding in {"P99 TTFT", "load of the prefill"}


def test_a_pool_sees_the_bursts_of_its_share():
    asked = replace(problem(rate_rps=60.0), arrivals=SPELLS)
    whole, half = asked.dispersion_of(60.0), asked.dispersion_of(30.0)
    assert whole.at(10.0) - 1 == pytest.approx(2 * (half.at(10.0) - 1))
    assert whole.at(10.0) == pytest.approx(SPELLS.dispersion.at(600.0))  # windows hold as many requests
    assert problem().dispersion_of(3.0) is POISSON
    plain, bursty = (size_cell(each, (1024,), 1.0).plan for each in (problem(rate_rps=60.0), asked))
    assert all(ours.replicas >= theirs.replicas for ours, theirs in zip(bursty.pools, plain.pools, strict=True))


def test_no_target_is_hopeless_that_enough_replicas_meet_for_a_burst():
    """Thirty requests at once, every ten seconds: with one replica for each nobody waits."""
    times_s = np.repeat(10.0 * np.arange(400), 30) + np.tile(1e-4 * np.arange(30), 400)
    asked = replace(problem(rate_rps=3.0, slo_ttft_p99_s=1.2, max_pools=1), arrivals=replayed_arrivals(times_s))
    plan = plan_fleet(asked).plan
    assert plan is not None
    assert plan.replicas > 3 * plan_fleet(replace(asked, arrivals=None)).plan.replicas


def test_the_peak_replays_the_trace_at_the_planned_rate_from_another_place_each_time():
    asked = replace(problem(rate_rps=30.0), arrivals=SPELLS)
    first, second = (PeakStream(asked, 3).trace(replication, 70_000) for replication in (0, 1))  # more than one chunk
    gaps = [np.diff(trace.arrival_s) * 30.0 for trace in (first, second)]
    start = int(np.argmax(np.isclose(SPELLS.gaps, gaps[0][0]) & np.isclose(np.roll(SPELLS.gaps, -1), gaps[0][1])))
    expected = np.roll(SPELLS.gaps, -start)
    np.testing.assert_allclose(gaps[0], np.resize(expected, len(gaps[0])), rtol=1e-4, atol=1e-8)
    assert not np.allclose(gaps[0][:100], gaps[1][:100])
    assert PeakStream(asked, 3).trace(0, 500).arrival_s.tolist() == first.arrival_s[:500].tolist()
    lengths_as_before = PeakStream(replace(asked, arrivals=None), 3).trace(0, 500)
    assert lengths_as_before.prompt_tokens.tolist() == first.prompt_tokens[:500].tolist()
    assert requests_to_simulate(5.0, 5.0, 1.0, len(SPELLS.gaps)) == len(SPELLS.gaps)


def test_verification_does_not_trim_a_plan_to_what_poisson_arrivals_need():
    plain = problem(rate_rps=60.0, slo_ttft_p99_s=1.2, max_utilization=1.0, max_pools=1)
    bursty = replace(plain, arrivals=CLUMPS)
    proofs = [Verifier(each, None, 1).prove(homogeneous(each)) for each in (plain, bursty)]
    assert [proof.verdict for proof in proofs] == ["confirmed", "confirmed"]
    assert proofs[0].plan.replicas < proofs[1].plan.replicas
    trials = Verifier(bursty, None, 1).trials(proofs[0].plan, 0, split(plain.lengths, (), 1.0)[0])
    assert trials.verdict(proofs[0].plan.pools[0].loaded_replicas) == "refuted"


def test_margins_and_sweeps_are_of_bursty_arrivals():
    asked = replace(problem(rate_rps=60.0, slo_ttft_p99_s=1.2, max_pools=1), arrivals=CLUMPS)
    (margin,) = certify(asked, plan_fleet(asked).plan).margins
    (of_poisson,) = certify(replace(asked, arrivals=None), plan_fleet(replace(asked, arrivals=None)).plan).margins
    assert margin.usd_per_rps_more > 0
    assert margin.step_rps < of_poisson.step_rps  # ten replicas carry less
    low, high = sweep(asked, "rate", [60.0, 120.0])
    assert low.plan == plan_fleet(asked).plan
    assert low.plan.replicas < high.plan.replicas < 2 * low.plan.replicas  # kept per count, bursts get shorter


def trace(n=12_000):
    rng = np.random.default_rng(4)
    arrival_s = markov_modulated_arrivals(np.array([1.0, 20.0]), np.array([5.0, 1.0]), n, rng)
    return make_trace(arrival_s, rng.integers(100, 4000, n), rng.integers(1, 200, n))


def test_a_trace_gives_the_bursts_where_they_are_asked_for():
    plain, bursty = (
        fleetopt.plan(trace(), 1.5, rate_rps=20.0, profiles=[A100], max_pools=1, burstiness=each)
        for each in ("poisson", "trace")
    )
    assert (plain.problem.arrivals, len(bursty.problem.arrivals.gaps)) == (None, 11_999)
    assert plain.plan.replicas < bursty.plan.replicas
    assert len(bursty.problem.boundary_candidates) == 64 < len(plain.problem.boundary_candidates)
    assert {plain.problem.boundary_candidates[place] for place in (0, -1)} < set(bursty.problem.boundary_candidates)


def test_bursts_are_those_of_the_requests_that_are_served():
    asked = {"rate_rps": 20.0, "profiles": [A100], "max_pools": 1, "burstiness": "trace", "boundaries_tokens": (500,)}
    cut = fleetopt.plan(trace(), Slo(ttft_p99_s=1.5), max_context_tokens=2000, **asked).problem
    assert len(cut.arrivals.gaps) == (trace().total_tokens <= 2000).sum() - 1
    assert cut.boundary_candidates == (500,)


def test_bursts_are_asked_of_a_trace_alone():
    with pytest.raises(InputError, match="burstiness trace: the workload has no arrival times"):
        fleetopt.plan("azure", 1.5, rate_rps=20.0, profiles=[A100], burstiness="trace")
    at_once = make_trace(np.zeros(9), np.full(9, 100), np.full(9, 5))
    with pytest.raises(InputError, match="burstiness trace: arrivals: 9 at one time"):
        fleetopt.plan(at_once, 1.5, rate_rps=20.0, profiles=[A100], burstiness="trace")


def test_arrivals_of_a_poisson_trace_are_sized_about_as_poisson_ones():
    plain = problem(rate_rps=60.0, slo_ttft_p99_s=1.2, max_utilization=1.0, max_pools=1)
    times_s = poisson_arrivals(1.0, 50_000, np.random.default_rng(6))
    found = plan_fleet(replace(plain, arrivals=replayed_arrivals(times_s))).plan
    assert 0 <= found.replicas - plan_fleet(plain).plan.replicas <= 1
