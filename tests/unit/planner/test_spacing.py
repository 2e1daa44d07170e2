"""Very many boundaries: few are searched in full, what is kept and opened is bounded, and what is left out is told.

Nothing is called infeasible for what was left out.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetopt.planner import best_first, spacing
from fleetopt.planner.answer import answer
from fleetopt.planner.baselines import pool_routing
from fleetopt.planner.best_first import cheapest, describe
from fleetopt.planner.cells import ask, cells_of_two
from fleetopt.planner.fleet import rank
from fleetopt.planner.problem import Offer, Problem, Slo
from fleetopt.planner.search import plan_fleet
from fleetopt.planner.spacing import is_spaced, spaced
from fleetopt.planner.surface import cost_surface
from fleetopt.profiles import load_profile
from fleetopt.workload.lengths import make_lengths
from tests.unit.planner.random_problems import problems


@pytest.fixture(scope="module")
def histogram():
    """More than six thousand distinct lengths, and a target so near what idle replicas need that no bound helps."""
    rng = np.random.default_rng(0)
    prompt = np.clip(rng.lognormal(7.8, 1.0, 12_000), 2, 30_000).round()
    output = np.clip(rng.lognormal(5.0, 0.8, 12_000), 1, 2_000).round()
    return Problem(
        lengths=make_lengths(prompt, output, rng.integers(1, 9, 12_000), 0.5),
        arrival_rate_rps=20.0,
        slo=Slo(ttft_p99_s=float(np.quantile(prompt, 0.99)) / 5_000),
        offers=(Offer(profile=load_profile("a100-llama2-7b")),),
        max_context_tokens=65_536,
        max_gamma=1.0,
    )


def test_every_boundary_is_at_most_a_64th_shorter_than_one_that_stands_for_it():
    boundaries = tuple(range(5, 9_000)) + tuple(range(9_000, 60_000, 37))
    chosen = np.array(spaced(boundaries))
    stands_for = chosen[np.searchsorted(chosen, boundaries)]
    assert (stands_for <= np.array(boundaries) * (1 + 1 / 64)).all()
    assert set(range(5, 64)) <= set(chosen.tolist())
    assert len(chosen) < 500


def test_up_to_4096_boundaries_stand_for_themselves():
    assert is_spaced(tuple(range(1, 4097))).all()
    assert not is_spaced(tuple(range(1, 4098))).all()
    assert spaced(()) == ()


def test_what_is_opened_and_kept_of_a_large_histogram_is_bounded(histogram):
    boundaries = histogram.boundary_candidates
    assert len(boundaries) >= 5_000
    n_spaced = len(spaced(boundaries))
    choice, effort = cheapest(histogram)
    assert choice is not None
    assert effort.cells > 5_000  # nearly all of which would be opened
    assert 500 < effort.opened <= 1 + n_spaced * len(histogram.gammas) + 512
    assert effort.boundaries_left_out == len(boundaries) - n_spaced
    assert 0 < effort.least_usd_left_out <= describe(histogram, choice).usd_per_hour

    few = spaced(boundaries)
    asked = ask(histogram, few, histogram.gammas)
    table, cells, _ = cells_of_two(asked, 1, 2)
    search = best_first._Search(histogram, few, histogram.gammas, asked.terms, table, cells)
    found = search.run()
    assert found is not None
    assert len(search.fitted) > 256 >= len(search.works)
    assert [case.name for case, _, _ in search.choice(found).pools]  # also of pools whose work was dropped


@settings(max_examples=30, deadline=None)
@given(asked=problems(), most_opened=st.sampled_from([0, 2, np.inf]))
def test_the_optimum_is_found_or_it_is_told_how_much_cheaper_it_may_be(asked, most_opened):
    plans = [candidate.plan for candidate in cost_surface(asked) if candidate.plan is not None]
    optimum = min(plans, key=lambda plan: rank(asked, plan), default=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spacing, "_MOST_IN_FULL", 3)
        patch.setattr(spacing, "_NEAR", 2)
        patch.setattr(best_first, "_MOST_OPENED_BETWEEN", most_opened)
        patch.setattr(best_first, "_MOST_PAIRS", 8)
        choice, effort = cheapest(asked)
    found = choice and describe(asked, choice)
    if not effort.boundaries_left_out:
        assert found == optimum
        return
    assert most_opened < np.inf or asked.max_pools == 3
    assert found is not None  # what is infeasible is proved to be, with nothing left out
    assert min(found.usd_per_hour, effort.least_usd_left_out) <= optimum.usd_per_hour + 1e-9
    assert found.usd_per_hour >= optimum.usd_per_hour - 1e-9


def narrow(**changes):
    """On six GPUs feasible only with a boundary of 30,000 to 30,110 tokens, and none of these stands for others.

    Requests of 30,000 tokens decode beside long prompts in a long pool, which takes six replicas, and in a short one
    do not. Those of 30,111 and more take too long to their first token there. The sums that bound the search tell none
    of the lower boundaries from these, and the lower ones come first.
    """
    rare = np.linspace(200, 29_900, 1_500).round()
    ones = np.ones(len(rare))
    asked = {
        "lengths": make_lengths(
            np.array([90, *rare, 29_990, 30_110, 60_000]),
            np.array([10, *ones, 10, 1, 1]),
            np.array([1_000, *ones / len(rare), 1, 45, 5]),
            1.0,
        ),
        "boundaries_tokens": tuple(range(100, 60_000, 10)),
        "arrival_rate_rps": 0.5,
        "slo": Slo(ttft_p99_s=0.1, tpot_p99_s=0.0125, pool_ttft_p99_s={"long": 100.0}),
        "offers": (Offer(profile=load_profile("a100-llama2-7b"), max_gpus=6),),
        "max_context_tokens": 60_001,
        "max_gamma": 1.0,
    }
    return Problem(**{**asked, **changes})


def three_kinds(boundaries):
    """On four GPUs feasible only with three pools and a boundary of 3,000 to 5,200 tokens between the upper two.

    Requests of 3,000 tokens are too slow for the short pool, and decode beside prompts of 60,000 tokens in the long
    pool of two, which takes six replicas.
    """
    return narrow(
        lengths=make_lengths(
            np.array([90, 2_990, 5_200, 60_000]), np.array([10, 10, 1, 1]), np.array([1_000, 20, 2, 60]), 1.0
        ),
        boundaries_tokens=boundaries,
        slo=Slo(ttft_p99_s=0.1, tpot_p99_s=0.0125, pool_ttft_p99_s={"middle": 0.3, "long": 100.0}),
        offers=(Offer(profile=load_profile("a100-llama2-7b"), max_gpus=4),),
        max_pools=3,
        spare_replicas=0,
    )


def test_nothing_is_called_infeasible_for_a_boundary_that_was_left_out():
    asked = narrow()
    few = spaced(asked.boundary_candidates)
    assert len(asked.boundary_candidates) > 4_096
    assert len(few) < 500
    assert not set(few) & set(range(30_000, 30_111))
    assert cheapest(asked, is_proved=False)[0] is None
    result = plan_fleet(asked)
    assert result.plan is not None
    assert 30_000 <= result.plan.boundaries_tokens[0] <= 30_110
    assert result.effort.opened > 512
    assert pool_routing(asked).plan == result.plan


def test_infeasible_is_said_of_all_boundaries():
    others = (*range(100, 30_000, 7), *range(30_120, 60_000, 60))
    choice, effort = cheapest(narrow(boundaries_tokens=others))
    assert choice is None
    assert effort.boundaries_left_out == 0
    assert effort.opened > 1_024


@pytest.fixture(params=[1, 1 << 18])
def coarse(request, monkeypatch):
    """Spacing that leaves out all boundaries but few, and pairs of boundaries gone through a few or many at a time."""
    monkeypatch.setattr(spacing, "_MOST_IN_FULL", 3)
    monkeypatch.setattr(spacing, "_NEAR", 1)
    monkeypatch.setattr(best_first, "_MOST_OPENED_BETWEEN", 0)
    monkeypatch.setattr(best_first, "_MOST_PAIRS", request.param)


@pytest.mark.usefixtures("coarse")
def test_nor_for_a_pair_of_boundaries_of_three_pools():
    boundaries = (150, 250, 1_000, 1_500, 3_005, 5_500)
    assert spaced(boundaries) == (250, 1_500, 5_500)
    asked = three_kinds(boundaries)
    assert cheapest(asked, most_pools=2)[0] is None
    assert cheapest(asked, is_proved=False)[0] is None
    choice, effort = cheapest(asked)
    assert choice is not None
    assert choice.boundaries_tokens[1] == 3_005
    assert (effort.boundaries_left_out, effort.least_usd_left_out) == (3, 0)
    assert effort.opened <= effort.cells
    choice, effort = cheapest(three_kinds((150, 250, 1_000, 1_500, 5_500)))
    assert choice is None
    assert effort.boundaries_left_out == 0


@pytest.mark.usefixtures("coarse")
def test_an_answer_tells_what_the_searches_for_the_plan_and_its_baseline_left_out():
    limited = three_kinds((150, 250, 1_000, 1_500, 3_005, 5_500))
    found = answer(replace(limited, offers=(replace(limited.offers[0], max_gpus=None),)))
    assert found.result.effort.boundaries_left_out == found.routed_effort.boundaries_left_out == 3
    assert found.result.effort.least_usd_left_out == 0
    assert 0 < found.routed_effort.least_usd_left_out <= found.pool_routing.usd_per_hour
