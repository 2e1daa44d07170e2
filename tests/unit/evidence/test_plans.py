"""Plans against confirmed fleets: small cells in full, and the reference against looking everywhere."""

import math
from dataclasses import replace

import pytest

from fleetopt.evidence import plans as plans_module
from fleetopt.evidence.plans import CellKey, Workload, infeasible_because, measure_plan, plan_cells, plan_grid
from fleetopt.evidence.reference_fleets import cheaper_fleet, reference_fleets
from fleetopt.planner import trials as trials_module
from fleetopt.planner.baselines import homogeneous
from fleetopt.planner.plan import PlanResult
from fleetopt.planner.problem import Slo
from fleetopt.planner.undercut import confirmed_price
from fleetopt.planner.verification import Verifier
from fleetopt.planner.work_floor import fewest_replicas
from tests.unit.planner.samples import PROFILE, problem

KEY = CellKey(workload="chat", hardware="gpu", arrival_rate_rps=15.0, multiple=3.0)
BOUNDARIES = (1024, 4096)


@pytest.fixture(autouse=True)
def _small_simulations(monkeypatch):
    monkeypatch.setattr(trials_module, "_REQUESTS", 4000)
    monkeypatch.setattr(trials_module, "_POOL_REQUESTS", 2500)
    monkeypatch.setattr(trials_module, "_RESIDENCES", 12)


def chat() -> Workload:
    lengths = problem(n=120).lengths
    return Workload(name="chat", lengths=lengths, boundaries_tokens=BOUNDARIES, max_context_tokens=16_384)


def asked(*, rate_rps=15.0, **changes):
    return problem(
        rate_rps=rate_rps,
        n=120,
        boundaries_tokens=BOUNDARIES,
        max_utilization=1.0,
        spare_replicas=0,
        max_gamma=1.2,
        **changes,
    )


def test_the_reference_is_the_cheapest_fleet_that_looking_everywhere_finds():
    wanted = asked(rate_rps=5.0, slo_ttft_p99_s=3.0, gamma_step=0.2)
    verifier = Verifier(wanted, None, 1)
    found = cheaper_fleet(verifier, 1000.0)
    fleets = list(reference_fleets(wanted))
    assert found.fleets == len(fleets) > 3
    prices = []
    for fleet in fleets:
        usd = 0.0
        for pool in fleet.pools:
            trials = verifier.pool_trials(pool.routing, pool.index, pool.mixture, pool.arrival_rate_rps, 10.0)
            fewest = fewest_replicas(pool.work, pool.arrival_rate_rps)
            smallest = next(n for n in range(fewest, 100) if trials.verdict(n) == "confirmed")
            usd += smallest * pool.bounds.usd_per_hour
        prices.append(usd)
    assert found.usd_per_hour == pytest.approx(min(prices))
    assert confirmed_price(found.fleet.bounds) == found.usd_per_hour
    none = cheaper_fleet(Verifier(wanted, None, 1), min(prices))
    assert (none.fleet, none.usd_per_hour) == (None, min(prices))


def test_a_feasible_cell_is_confirmed_and_held_against_the_cheapest_fleet():
    cell = measure_plan(KEY, chat(), [PROFILE], seed=1)
    assert cell.verdict == "confirmed"
    assert cell.is_passed
    assert cell.excess >= 0
    assert cell.cheapest_usd_per_hour <= cell.verified_usd_per_hour
    assert PROFILE.name in cell.verified


def test_a_plan_that_is_too_dear_fails(monkeypatch):
    def twice(wanted):
        plan = homogeneous(wanted)
        pools = tuple(replace(pool, replicas=2 * pool.replicas, gpus=2 * pool.gpus) for pool in plan.pools)
        return PlanResult(plan=replace(plan, pools=pools))

    monkeypatch.setattr(plans_module, "plan_fleet", twice)
    cell = measure_plan(KEY, chat(), [PROFILE], seed=1)
    assert cell.modelled_excess > 0.5
    assert cell.trimmed > 0
    assert cell.is_passed
    assert not replace(cell, verified_usd_per_hour=cell.modelled_usd_per_hour).is_passed
    assert not replace(cell, verdict="undecided").is_passed


def test_a_target_below_the_unloaded_p99_is_proved_infeasible():
    cell = measure_plan(replace(KEY, multiple=0.9), chat(), [PROFILE], seed=1)
    assert not cell.is_feasible
    assert cell.is_infeasible_proved
    assert cell.is_passed
    assert "unloaded P99 TTFT" in cell.reason
    assert math.isnan(cell.excess)


def test_what_a_larger_fleet_meets_is_not_proved_infeasible():
    wanted = asked(slo_ttft_p99_s=6.0)
    assert infeasible_because(wanted, Verifier(wanted, None, 1)) == ""
    unmet = replace(wanted, slo=Slo(ttft_p99_s=6.0, tpot_p99_s=1e-3))
    assert "not confirmed" in infeasible_because(unmet, Verifier(unmet, None, 1))


def test_no_pool_keeps_up_with_fewer_replicas_than_its_work_takes():
    wanted = asked(slo_ttft_p99_s=60.0)
    for fleet in reference_fleets(wanted):
        for pool in fleet.pools:
            if pool.bounds.low > 1:
                trials = Verifier(wanted, None, 1).pool_trials(
                    pool.routing, pool.index, pool.mixture, pool.arrival_rate_rps, 60.0
                )
                assert trials.verdict(pool.bounds.low - 1) != "confirmed"


def test_the_grid_has_all_cells_up_to_a_rate_and_a_share_of_the_rest():
    every = plan_grid(["a", "b"], ["x"], 1)
    assert len(every) == 18
    some = plan_grid(["a", "b"], ["x"], 1, full_rate_rps=20.0, share=0.5)
    assert {key for key in every if key.arrival_rate_rps == 20} < set(some) < set(every)
    assert set(some) < set(plan_grid(["a", "b"], ["x"], 1, full_rate_rps=20.0, share=0.95))
    assert [key for key in some if key.workload == "b"] == plan_grid(["b"], ["x"], 1, full_rate_rps=20.0, share=0.5)
    assert plan_grid(["a"], ["x"], 1, full_rate_rps=20.0, share=0.0) == every[:3]


def test_cells_that_are_done_are_not_run_again():
    told = []
    keys = [KEY, replace(KEY, multiple=0.9)]
    cells = list(
        plan_cells(keys, {"chat": chat()}, {"gpu": [PROFILE]}, 1, done=[KEY], on_progress=lambda *now: told.append(now))
    )
    assert [cell.key for cell in cells] == keys[1:]
    assert told == [(0, 1, "chat, gpu, 15 req/s, 0.9 x"), (1, 1, "done")]
