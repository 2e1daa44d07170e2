"""Sweeps: what is varied and what is not, and which differences count as structure."""

from dataclasses import replace

import pytest

from fleetopt.errors import InputError
from fleetopt.planner.problem import Offer, Problem, Slo
from fleetopt.planner.whatif import structural_change, sweep
from fleetopt.profiles import load_profile
from fleetopt.workload.lengths import lengths_from_cdf
from tests.unit.reporting.samples import ONE_POOL, ROUTED, THREE_POOLS, TWO_POOLS

A100 = load_profile("a100-llama2-7b")


@pytest.fixture
def problem() -> Problem:
    return Problem(
        lengths=lengths_from_cdf([(200, 0.5), (2000, 1.0)]),
        arrival_rate_rps=10.0,
        slo=Slo(ttft_p99_s=1.0),
        offers=(Offer(profile=A100), Offer(profile=A100.model_copy(update={"name": "other", "usd_per_gpu_hour": 9.0}))),
        max_context_tokens=2000,
        boundaries_tokens=(200,),
        max_gamma=1.0,
    )


def test_a_higher_rate_never_costs_less(problem):
    points = sweep(problem, "rate", [5.0, 20.0, 80.0])
    costs = [point.plan.usd_per_hour for point in points if point.plan]
    assert len(costs) == 3
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]
    assert all(point.homogeneous.usd_per_hour >= cost for point, cost in zip(points, costs, strict=True))


def test_an_impossible_target_has_a_reason_and_the_step_to_a_possible_one_is_a_change(problem):
    impossible, possible = sweep(problem, "slo-ttft-p99", [0.001, 1.0])
    assert impossible.plan is None
    assert impossible.reason
    assert (possible.reason, possible.change) == ("", "feasible")


def test_a_dear_type_is_left_when_the_other_is_cheaper(problem):
    points = sweep(problem, "price", [1.0, 99.0], "a100-llama2-7b")
    assert [{pool.profile.name for pool in point.plan.pools} for point in points] == [{"a100-llama2-7b"}, {"other"}]
    assert "other" in points[1].change
    with pytest.raises(InputError, match="price of 'h100'"):
        sweep(problem, "price", [1.0], "h100")


def test_each_gpu_type_alone(problem):
    points = sweep(problem, "gpu", [])
    assert [point.value for point in points] == ["a100-llama2-7b", "other"]
    assert [point.change for point in points] == ["", ""]
    told = []
    sweep(problem, "gpu", [], on_progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_structure_is_pools_types_and_compression():
    assert structural_change(TWO_POOLS, TWO_POOLS) == ""
    assert structural_change(TWO_POOLS, ROUTED) == "no compression"
    assert structural_change(ROUTED, TWO_POOLS) == "compression"
    assert structural_change(TWO_POOLS, ONE_POOL) == "one pool"
    assert structural_change(TWO_POOLS, THREE_POOLS) == "three pools"
    assert structural_change(None, TWO_POOLS) == "feasible"
    assert structural_change(TWO_POOLS, None) == "infeasible"
    moved = replace(TWO_POOLS, boundaries_tokens=(2048,))
    assert structural_change(TWO_POOLS, moved) == ""
    short, long = TWO_POOLS.pools
    other = replace(long, profile=long.profile.model_copy(update={"name": "b200"}))
    assert structural_change(TWO_POOLS, replace(TWO_POOLS, pools=(short, other))) == "long: b200"
