"""Very many boundaries: few are searched in full, what is kept and opened is bounded, and what is left out is told."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetopt.planner import best_first, spacing
from fleetopt.planner.best_first import cheapest, describe
from fleetopt.planner.cells import ask, cells_of_two
from fleetopt.planner.fleet import rank
from fleetopt.planner.problem import Offer, Problem, Slo
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
        choice, effort = cheapest(asked)
    found = choice and describe(asked, choice)
    if not effort.boundaries_left_out:
        assert found == optimum
        return
    assert most_opened < np.inf or asked.max_pools == 3
    if optimum is not None:
        least_usd = optimum.usd_per_hour if found is None else min(found.usd_per_hour, effort.least_usd_left_out)
        assert least_usd <= optimum.usd_per_hour + 1e-9
        assert found is None or found.usd_per_hour >= optimum.usd_per_hour - 1e-9
