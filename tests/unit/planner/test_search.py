"""The properties of the search that a buyer relies on; its exactness is tested in test_optimum."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetopt.errors import InputError
from fleetopt.planner.baselines import homogeneous, pool_routing, retrofit
from fleetopt.planner.search import plan_fleet, prediction_caveats
from tests.unit.planner.samples import PROFILE, problem

QUICK = settings(max_examples=6, deadline=None)


@QUICK
@given(rate_rps=st.floats(0.5, 200.0), more=st.floats(1.01, 3.0))
def test_more_traffic_never_costs_less(rate_rps, more):
    less, greater = (plan_fleet(problem(rate_rps=rate)).plan for rate in (rate_rps, rate_rps * more))
    assert greater.usd_per_hour >= less.usd_per_hour - 1e-9


@QUICK
@given(slo=st.floats(1.5, 6.0), easier=st.floats(1.0, 3.0))
def test_an_easier_target_never_costs_more(slo, easier):
    tight, loose = (plan_fleet(problem(slo_ttft_p99_s=target)).plan for target in (slo, slo * easier))
    assert tight is None or loose.usd_per_hour <= tight.usd_per_hour + 1e-9


def test_the_plan_is_never_dearer_than_its_baselines():
    asked = problem(rate_rps=60.0)
    plan, one_pool, routed, compressed = (
        plan_fleet(asked).plan,
        homogeneous(asked),
        pool_routing(asked).plan,
        retrofit(asked),
    )
    assert plan.usd_per_hour <= min(one_pool.usd_per_hour, routed.usd_per_hour, compressed.usd_per_hour)
    assert len(one_pool.pools) == 1
    assert (len(routed.pools), routed.gamma) == (2, 1.0)
    assert (compressed.boundaries_tokens, compressed.gamma) == (routed.boundaries_tokens, 1.5)


def test_more_pools_never_cost_more():
    worst_case = problem(rate_rps=200.0, slo_ttft_p99_s=4.0, spare_replicas=0, slot_mode="worst-case")
    asked = replace(worst_case, boundaries_tokens=(512, 1024, 2048, 4096))
    costs = [plan_fleet(replace(asked, max_pools=pools)).plan.usd_per_hour for pools in (1, 2, 3)]
    assert costs[0] > costs[1] > costs[2]


def test_spares_are_added_to_every_pool_and_paid_for():
    none, two = (homogeneous(problem(spare_replicas=spares)) for spares in (0, 2))
    assert two.replicas == none.replicas + 2
    assert two.usd_per_hour == pytest.approx(none.usd_per_hour + 2 * PROFILE.usd_per_replica_hour)
    assert two.fleet().pools[0].replicas == none.replicas
    assert two.fleet(spares_down=False).pools[0].replicas == two.replicas


def test_each_pool_takes_the_profile_that_is_cheapest_for_it():
    dear = PROFILE.model_copy(update={"name": "dear", "usd_per_gpu_hour": 3 * PROFILE.usd_per_gpu_hour})
    result = plan_fleet(problem(profiles=(dear, PROFILE)))
    assert {pool.profile.name for pool in result.plan.pools} == {PROFILE.name}


@pytest.mark.parametrize(("rate", "slo"), [(0.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0), (1.0, 0.0)])
def test_a_rate_or_target_that_is_not_positive_is_bad_input(rate, slo):
    with pytest.raises(InputError, match="above 0"):
        plan_fleet(problem(rate_rps=rate, slo_ttft_p99_s=slo))


def test_a_plan_says_where_its_prediction_is_not_to_be_trusted():
    side_by_side = PROFILE.model_copy(update={"name": "small chunks", "max_batched_tokens": 4096})
    for profile, expected in ((PROFILE, ()), (side_by_side, ("prompts are prefilled side by side",))):
        asked = problem(profiles=(profile,), max_gamma=1.0)
        plan = homogeneous(asked)
        assert plan is not None
        found = prediction_caveats(plan, asked)
        assert tuple(caveat.split(",")[0] for caveat in found) == expected
