"""The search against exhaustive evaluation, and the properties that a buyer relies on."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetopt.errors import InputError
from fleetopt.planner.mixture import split
from fleetopt.planner.search import candidate_boundaries, plan_fleet, prediction_caveats
from fleetopt.queueing.pool import predict_pool
from fleetopt.queueing.work import request_work
from tests.unit.planner.samples import PROFILE, problem

QUICK = settings(max_examples=6, deadline=None)


def smallest_by_counting(given_problem, mixture, rate):
    """Count replicas up from one until everything holds."""
    work = request_work(PROFILE, mixture.weight, mixture.prompt_tokens, mixture.output_tokens)
    replicas = 1
    while True:
        prediction = predict_pool(work, rate, replicas)
        if (
            prediction is not None
            and prediction.state.budget_load <= given_problem.max_utilization
            and prediction.state.prefill_load <= given_problem.max_utilization
            and prediction.state.running / work.slots <= given_problem.max_utilization
            and prediction.ttft.quantile(0.99) <= given_problem.slo.ttft_p99_s
        ):
            return replicas
        replicas += 1


def test_the_plan_is_the_cheapest_of_all_boundaries_and_bands_sized_by_counting():
    asked = problem(rate_rps=25.0, spare_replicas=1)
    costs = []
    for boundaries in [(), *((boundary,) for boundary in candidate_boundaries(asked))]:
        for gamma in [1.0] if not boundaries else [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]:
            mixtures = split(asked.lengths, boundaries, gamma)
            if min(mixture.requests for mixture in mixtures) <= 0:
                continue
            requests = sum(mixture.requests for mixture in mixtures)
            replicas = sum(
                smallest_by_counting(asked, mixture, asked.arrival_rate_rps * mixture.requests / requests) + 1
                for mixture in mixtures
            )
            costs.append(replicas * PROFILE.usd_per_replica_hour)
    assert plan_fleet(asked).plan.usd_per_hour == pytest.approx(min(costs))


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
    result = plan_fleet(problem(rate_rps=60.0))
    assert result.plan.usd_per_hour <= min(result.homogeneous.usd_per_hour, result.pool_routing.usd_per_hour)
    assert result.pool_routing.gamma == 1.0
    assert len(result.homogeneous.pools) == 1


def test_a_target_below_the_unloaded_p99_is_infeasible_and_says_so():
    result = plan_fleet(problem(slo_ttft_p99_s=0.1))
    assert result.plan is None
    assert "idle a100-llama2-7b replicas" in result.reason
    assert "0.1 s" in result.reason


def test_a_context_limit_beyond_the_hardware_is_infeasible_and_names_both():
    asked = problem()
    too_long = type(asked)(**{name: getattr(asked, name) for name in asked.__slots__} | {"max_context_tokens": 200_000})
    assert "118,784" in plan_fleet(too_long).reason
    assert "200,000" in plan_fleet(too_long).reason


def test_spares_are_added_to_every_pool_and_paid_for():
    none, two = (plan_fleet(problem(spare_replicas=spares)).homogeneous for spares in (0, 2))
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
    for profile, expected in ((PROFILE, ()), (side_by_side, ("all",))):
        asked = problem(profiles=(profile,), max_gamma=1.0)
        plan = plan_fleet(asked).homogeneous
        assert plan is not None
        found = prediction_caveats(plan, asked)
        assert tuple(caveat.split(" pool: ")[0] for caveat in found) == expected
