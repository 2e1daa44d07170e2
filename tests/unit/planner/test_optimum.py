"""The search against exhaustive evaluation by the full model, and its bounds against the model's own numbers."""

import numpy as np
from hypothesis import given, settings

from fleetopt.planner.best_first import cheapest, describe
from fleetopt.planner.cells import ask, cells_of_two
from fleetopt.planner.fleet import pool_case, rank
from fleetopt.planner.mixture import pool_mixture
from fleetopt.planner.sizing import PoolRequirements, Unfit, fit_work, shortfall
from fleetopt.planner.surface import cost_surface
from fleetopt.planner.three_pools import cells_of_three
from tests.unit.planner.random_problems import CLUMPS, SPELLS, problems


def assert_found(problem):
    """The search finds what exhaustive evaluation finds."""
    plans = [candidate.plan for candidate in cost_surface(problem) if candidate.plan is not None]
    expected = min(plans, key=lambda plan: rank(problem, plan), default=None)
    choice, effort = cheapest(problem)
    assert (choice and describe(problem, choice)) == expected
    assert effort.opened <= effort.cells


@settings(max_examples=60, deadline=None)
@given(problems())
def test_the_search_finds_what_exhaustive_evaluation_finds(problem):
    assert_found(problem)


@settings(max_examples=25, deadline=None)
@given(problems(arrivals=(SPELLS, CLUMPS)))
def test_the_same_where_arrivals_are_bursty(problem):
    assert_found(problem)


def smallest_by_counting(problem, case, mixture, most):
    """Fewest loaded replicas that the full model accepts, counted up from one; None up to ``most``."""
    work = fit_work(problem, case, mixture)
    if isinstance(work, Unfit):
        return None
    required = PoolRequirements.of(problem, case.name, case.arrival_rate_rps)
    for replicas in range(1, most + 1):
        if shortfall(work, case.arrival_rate_rps, replicas, required) is None:
            return replicas
    return None


@settings(max_examples=25, deadline=None)
@given(problems(arrivals=(None, None, None, SPELLS, CLUMPS)))
def test_no_bound_is_above_what_the_full_model_accepts(problem):
    boundaries, gammas = problem.boundary_candidates, problem.gammas[:2]
    asked = ask(problem, boundaries, gammas)
    table, _, shares = cells_of_two(asked, 1, 2)
    table, _, _ = cells_of_three(asked, table, shares, np.inf)
    rng = np.random.default_rng(0)
    for pool in rng.permutation(len(table.loaded))[:8]:
        index, lower, upper, gamma, offer = table.place[pool]
        ends = [boundaries[end] for end in (lower, upper) if end >= 0]
        name = {(False, False): "all", (False, True): "short", (True, True): "middle", (True, False): "long"}[
            bool(lower >= 0), bool(upper >= 0)
        ]
        mixture = pool_mixture(problem.lengths, ends, gammas[gamma], index)
        if mixture.requests <= 0:
            assert table.loaded[pool] == 0
            continue
        limit = problem.max_context_tokens if upper < 0 else boundaries[upper]
        case = pool_case(problem, name, problem.offers[offer], mixture, limit)
        bound = table.loaded[pool]
        # Fewer than the bound have to fail, all of them; where it says that none will do, as many as one cares to try.
        assert smallest_by_counting(problem, case, mixture, 20 if np.isinf(bound) else min(int(bound) - 1, 60)) is None
