"""What stands beside a plan: why there is none, its certificate, its frontier."""

from dataclasses import replace

import numpy as np
import pytest

from fleetopt.planner.baselines import homogeneous
from fleetopt.planner.best_first import best_plans
from fleetopt.planner.certificate import certify
from fleetopt.planner.fleet import rank
from fleetopt.planner.frontier import frontier
from fleetopt.planner.problem import Offer, Slo
from fleetopt.planner.search import plan_fleet
from fleetopt.planner.surface import cost_surface
from tests.unit.planner.samples import PROFILE, problem

BOUNDARIES = (512, 1024, 2048, 4096, 8192)
ASKED = problem(rate_rps=60.0, spare_replicas=0, slot_mode="worst-case", boundaries_tokens=BOUNDARIES, gamma_step=0.25)
PLAN = plan_fleet(ASKED).plan
CHEAP = PROFILE.model_copy(update={"name": "cheap", "kv_blocks": 1100, "max_context_tokens": 17_600}).model_copy(
    update={"usd_per_gpu_hour": PROFILE.usd_per_gpu_hour / 3}
)


def test_a_target_below_the_unloaded_p99_names_pool_gpu_and_the_nearest_target():
    why = plan_fleet(replace(ASKED, slo=Slo(ttft_p99_s=0.05))).infeasibility
    assert why.binding.startswith("P99 TTFT")
    assert "on idle a100-llama2-7b replicas" in why.binding
    assert "0.05 s" in why.binding
    nearest_s = 0.05 * why.ttft_factor
    assert f"{nearest_s:.4g} s" in why.nearest
    assert plan_fleet(replace(ASKED, slo=Slo(ttft_p99_s=nearest_s))).plan == why.plan
    assert plan_fleet(replace(ASKED, slo=Slo(ttft_p99_s=nearest_s / 1.02))).plan is None


def test_too_few_gpus_are_named_with_the_rate_that_they_carry():
    limited = replace(ASKED, offers=(Offer(profile=PROFILE, max_gpus=3),))
    why = plan_fleet(limited).infeasibility
    needed = sum(PLAN.gpus_by_profile.values())
    assert f"{needed} a100-llama2-7b GPUs are needed, 3 can be had" in why.binding
    assert plan_fleet(replace(limited, arrival_rate_rps=why.arrival_rate_rps)).plan == why.plan
    assert plan_fleet(replace(limited, arrival_rate_rps=why.arrival_rate_rps * 1.02)).plan is None


def test_a_time_per_output_token_that_no_fleet_keeps_names_the_nearest():
    asked = replace(ASKED, slo=Slo(ttft_p99_s=2.0, tpot_p99_s=0.001))
    why = plan_fleet(asked).infeasibility
    assert why.binding.startswith("P99 TPOT")
    assert why.tpot_p99_s > PROFILE.base_s
    assert plan_fleet(replace(asked, slo=Slo(ttft_p99_s=2.0, tpot_p99_s=why.tpot_p99_s))).plan is not None


def test_a_context_limit_beyond_the_hardware_names_both():
    result = plan_fleet(replace(ASKED, max_context_tokens=200_000))
    assert result.plan is None
    assert "118,784" in result.reason
    assert "200,000" in result.reason
    assert "118,784" in result.infeasibility.nearest


def test_savings_sum_to_the_whole_and_none_is_negative():
    two_types = replace(ASKED, offers=(*ASKED.offers, Offer(profile=CHEAP)))
    plan = plan_fleet(two_types).plan
    savings = certify(two_types, plan).savings
    assert [saving.cause for saving in savings] == ["routing", "compression", "GPU types"]
    whole = homogeneous(two_types).usd_per_hour - plan.usd_per_hour
    assert sum(saving.usd_per_hour for saving in savings) == pytest.approx(whole)
    assert whole > 0
    assert min(saving.usd_per_hour for saving in savings) >= 0
    assert savings[0].usd_per_hour > 0


def test_requests_above_a_boundary_cost_more_than_those_below_it():
    certificate = certify(ASKED, PLAN)
    assert len(certificate.cliffs) == len(PLAN.boundaries_tokens) > 0
    for cliff in certificate.cliffs:
        assert cliff.ratio > 1
        assert cliff.slots_below > cliff.slots_above


def test_margins_are_near_the_mean_price_of_traffic_where_pools_are_large():
    asked = replace(ASKED, arrival_rate_rps=3000.0)
    plan = plan_fleet(asked).plan
    for pool, margin in zip(plan.pools, certify(asked, plan).margins, strict=True):
        mean = pool.usd_per_hour / pool.arrival_rate_rps
        assert margin.usd_per_rps_more == pytest.approx(mean, rel=0.2)
        assert margin.usd_per_rps_less == pytest.approx(mean, rel=0.2)
        assert margin.binding == pool.binding


def test_without_a_price_nothing_is_said_to_cost_nothing():
    free = PROFILE.model_copy(update={"usd_per_gpu_hour": 0.0})
    asked = replace(ASKED, offers=(Offer(profile=free),))
    certificate = certify(asked, plan_fleet(asked).plan)
    assert certificate.savings == ()
    assert {margin.usd_per_rps_more for margin in certificate.margins} == {None}
    assert {margin.usd_per_rps_less for margin in certificate.margins} == {None}


def test_the_neighbours_of_the_optimum_are_no_cheaper():
    neighbours = certify(ASKED, PLAN).neighbours
    assert neighbours
    assert all(other.usd_per_hour is None or other.usd_per_hour >= PLAN.usd_per_hour for other in neighbours)


@pytest.mark.parametrize("max_pools", [1, 2, 3])
def test_the_next_best_plans_are_those_of_exhaustive_evaluation(max_pools):
    asked = replace(ASKED, max_pools=max_pools, boundaries_tokens=BOUNDARIES[1:4], gamma_step=0.5)
    seen, expected = set(), []
    plans = [cell.plan for cell in cost_surface(asked) if cell.plan is not None]
    for plan in sorted(plans, key=lambda plan: rank(asked, plan)):
        kind = plan.boundaries_tokens, tuple(pool.loaded_replicas for pool in plan.pools)
        if kind not in seen:
            seen.add(kind)
            expected.append(plan)
    assert best_plans(asked, 6) == tuple(expected[:6])


def test_the_frontier_rises_in_target_and_falls_in_price_and_holds_the_plan_of_each_target():
    points = frontier(ASKED, targets=8)
    targets = [point.ttft_p99_s for point in points]
    prices = [point.plan.usd_per_hour for point in points]
    assert len(points) > 1
    assert targets == sorted(targets)
    assert (np.diff(prices) < 0).all()
    for point in points:
        assert plan_fleet(replace(ASKED, slo=Slo(ttft_p99_s=point.ttft_p99_s))).plan == point.plan
