"""Proof and repair: what is confirmed holds in the simulator, what is not is never called so."""

from dataclasses import replace

import numpy as np
import pytest

from fleetopt.planner import proof as proof_module
from fleetopt.planner.plan import FleetPlan
from fleetopt.planner.proof import PEAK, REPLAY, prove
from fleetopt.planner.recommend import recommend
from fleetopt.planner.search import plan_fleet
from fleetopt.simulator import simulate
from fleetopt.workload.lengths import sample
from fleetopt.workload.processes import poisson_arrivals
from fleetopt.workload.trace import make_trace
from tests.unit.planner.samples import problem


@pytest.fixture(autouse=True)
def _small_simulations(monkeypatch):
    monkeypatch.setattr(proof_module, "_REQUESTS", 4000)
    monkeypatch.setattr(proof_module, "_POOL_REQUESTS", 500)


def day_of(asked, *, rate_rps=5.0, n=2000, seed=9):
    rng = np.random.default_rng(seed)
    return make_trace(poisson_arrivals(rate_rps, n, rng), *sample(asked.lengths, n, rng))


def shrunk(plan, loaded_replicas):
    pools = tuple(replace(pool, replicas=loaded_replicas + pool.spare_replicas) for pool in plan.pools)
    return FleetPlan(pools=pools, boundaries_tokens=plan.boundaries_tokens, gamma=plan.gamma)


def test_a_confirmed_plan_meets_the_target_on_requests_it_has_not_seen():
    asked = problem(rate_rps=20.0)
    proved = prove(plan_fleet(asked).plan, asked, day_of(asked), seed=1)
    assert proved.verdict == "confirmed"
    fresh = simulate(day_of(asked, rate_rps=20.0, n=20_000, seed=77), proved.plan.fleet())
    for index in range(len(proved.plan.pools)):
        assert fresh.ttft_quantile_s(0.99, index) <= asked.slo.ttft_p99_s
    assert {(item.scenario, item.verdict) for item in proved.evidence} == {(PEAK, "confirmed"), (REPLAY, "confirmed")}


def test_a_plan_that_is_too_small_is_repaired_and_the_repair_is_told():
    asked = problem(rate_rps=20.0, slo_ttft_p99_s=1.2)
    result = plan_fleet(asked)
    small = shrunk(result.homogeneous, result.homogeneous.pools[0].loaded_replicas - 2)
    proved = prove(small, asked, day_of(asked), seed=1)
    assert proved.verdict == "confirmed"
    assert proved.plan.replicas > small.replicas
    assert proved.repairs
    assert "refuted" in proved.repairs[0]
    assert proved.plan.pools[0].binding == "simulation"


def test_a_plan_that_cannot_be_repaired_in_time_is_refuted_not_confirmed(monkeypatch):
    monkeypatch.setattr(proof_module, "_ROUNDS", 0)
    asked = problem(rate_rps=20.0, slo_ttft_p99_s=1.2)
    proved = prove(shrunk(plan_fleet(asked).homogeneous, 2), asked, day_of(asked), seed=1)
    assert proved.verdict == "refuted"
    assert not proved.repairs


def test_a_day_of_few_requests_cannot_confirm_alone_but_does_not_stand_in_the_way():
    asked = problem(rate_rps=20.0)
    proved = prove(plan_fleet(asked).homogeneous, asked, day_of(asked, n=50), seed=1)
    replay = next(item for item in proved.evidence if item.scenario == REPLAY)
    assert replay.verdict == "undecided"
    assert "50 requests are too few" in replay.note
    assert proved.verdict == "confirmed"


def test_a_proof_is_the_same_for_the_same_seed_and_differs_for_another():
    asked = problem(rate_rps=20.0)
    plan, day = plan_fleet(asked).plan, day_of(asked)
    first, again, other = (prove(plan, asked, day, seed).evidence for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_baselines_are_proved_too_and_the_cheapest_confirmed_fleet_wins():
    asked = problem(rate_rps=30.0)
    found = recommend(asked, asked, day_of(asked), seed=1)
    proofs = [found.homogeneous, found.pool_routing, found.proof]
    confirmed = [item.plan.usd_per_hour for item in proofs if item.verdict == "confirmed"]
    assert found.proof.plan.usd_per_hour == min(confirmed)
    assert set(found.replicas_upper_band) == {pool.name for pool in found.proof.plan.pools}


def test_a_fleet_far_too_small_for_a_high_rate_is_not_confirmed_because_the_run_was_short(monkeypatch):
    monkeypatch.setattr(proof_module, "_ROUNDS", 0)
    asked = problem(rate_rps=300.0, slo_ttft_p99_s=4.0)
    plan = plan_fleet(asked).homogeneous
    assert prove(plan, asked, day_of(asked), seed=1).verdict == "confirmed"
    half = shrunk(plan, plan.pools[0].loaded_replicas // 2)
    assert prove(half, asked, day_of(asked), seed=1).verdict == "refuted"


def test_a_pool_that_gets_a_handful_of_requests_is_undecided(monkeypatch):
    monkeypatch.setattr(proof_module, "_MOST_REQUESTS", 400)
    asked = problem(rate_rps=20.0)
    two_pools = next(
        candidate.plan
        for candidate in plan_fleet(asked).candidates
        if candidate.plan and candidate.boundaries_tokens == (8192,) and candidate.gamma == 1
    )
    proved = prove(two_pools, asked, day_of(asked, n=30), seed=1)
    long_at_peak = next(item for item in proved.evidence if (item.scenario, item.pool) == (PEAK, "long"))
    assert long_at_peak.requests < 368
    assert (long_at_peak.verdict, proved.verdict) == ("undecided", "undecided")
