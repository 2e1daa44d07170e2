"""Limits in which the engine is a queue with servers: M/D/1, M/G/1, M/M/c and M/D/c."""

import math

import numpy as np
import pytest

from tests.theory.queues import (
    assert_theory_within,
    fleet_of,
    mdc_mean_wait,
    mmc_wait,
    poisson,
    replica,
    replicate,
    serve,
    steady,
)


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_one_slot_and_one_output_token_is_m_d_1(load):
    """One sequence at a time, and all of its work in one iteration: a server with constant service D.

    Wait of M/D/1 (Pollaczek-Khinchine): load * D / (2 (1 - load)).
    """
    fleet = fleet_of(replica(max_sequences=1, per_prefill_token_s=0.01, per_prefill_attention_s=0.0002))
    service_s = 1.0 + 0.01 * 100 + 0.0002 * 100**2 / 2
    n = 10_000

    def simulated(rng: np.random.Generator) -> float:
        result = serve(fleet, poisson(load / service_s, n, rng), np.ones(n, dtype=np.int64), 100)
        return float(steady(result.e2e_s - service_s).mean())

    assert_theory_within(replicate(simulated), load * service_s / (2 * (1 - load)), 0.06)


def test_one_slot_and_geometric_outputs_is_m_g_1():
    """One sequence at a time, iterations of 1 s whatever they hold: service is the number of output tokens.

    Geometric outputs of mean m have E[S^2] = 2 m^2 - m; the wait of M/G/1 is rate * E[S^2] / (2 (1 - load)), which for
    iterations that are short against the service, m -> infinity, is that of M/M/1.
    """
    fleet, mean, load, n = fleet_of(replica(max_sequences=1)), 20.0, 0.7, 20_000

    def simulated(rng: np.random.Generator) -> float:
        outputs = rng.geometric(1.0 / mean, n)
        return float(steady(serve(fleet, poisson(load / mean, n, rng), outputs).e2e_s - outputs).mean())

    assert_theory_within(replicate(simulated), load / mean * (2 * mean**2 - mean) / (2 * (1 - load)), 0.08)


@pytest.mark.parametrize(("slots", "load", "n"), [(1, 0.5, 40_000), (4, 0.7, 60_000), (16, 0.8, 120_000)])
def test_slots_with_geometric_outputs_are_m_m_c(slots, load, n):
    """One replica with c slots whose iterations last W whatever they hold, geometric outputs of mean m.

    Every running sequence gets a token each W, whoever else runs: c servers. A geometric number of iterations is
    exponential service for W -> 0 at constant m W. What is left of W: an arrival that finds a free slot on a running
    replica waits for the end of the iteration, W / 2 in the mean. That is taken off; what it does to those behind is
    of the order of W / (m W), here 1 / 400 of a service. The wait is Erlang's: C(c, a) / (c mu - rate).
    """
    fleet, mean = fleet_of(replica(max_sequences=slots)), 400.0
    rate_rps = load * slots / mean

    def simulated(rng: np.random.Generator) -> tuple[float, float]:
        outputs = rng.geometric(1.0 / mean, n)
        wait_s = steady(serve(fleet, poisson(rate_rps, n, rng), outputs).e2e_s - outputs)
        # Who found a free slot has waited for the end of one iteration at most.
        return float(wait_s.mean()), float((wait_s > 1.0).mean())

    mean_wait_s, is_delayed = replicate(simulated).T
    theory, erlangs = mmc_wait(slots, rate_rps, mean), rate_rps * mean
    is_empty = theory.probability * (1 - load) * math.factorial(slots) / erlangs**slots
    boundary_s = 0.5 * (1.0 - theory.probability - is_empty)
    assert_theory_within(mean_wait_s - boundary_s, theory.mean_s, 0.06)
    assert_theory_within(is_delayed, theory.probability, 0.05)


def test_a_token_budget_is_slots_where_every_request_takes_one_token():
    """With one-token prompts, T tokens in an iteration are T sequences in it: the same M/M/c, request by request."""
    rng = np.random.default_rng(3)
    arrival_s, outputs = poisson(0.05, 3_000, rng), rng.geometric(1.0 / 70.0, 3_000)
    by_slots, by_budget = (
        serve(fleet_of(replica(**limit)), arrival_s, outputs)
        for limit in ({"max_sequences": 4}, {"max_batched_tokens": 4})
    )
    assert (by_slots.e2e_s > outputs + 1.0).mean() > 0.5
    np.testing.assert_array_equal(by_budget.first_token_s, by_slots.first_token_s)
    np.testing.assert_array_equal(by_budget.finish_s, by_slots.finish_s)


@pytest.mark.parametrize(("slots", "load"), [(2, 0.8), (8, 0.8)])
def test_slots_with_equal_outputs_are_m_d_c(slots, load):
    """As for M/M/c, but all outputs are of m tokens: constant service m W. Wait after Crommelin (1932)."""
    fleet, tokens, n = fleet_of(replica(max_sequences=slots)), 400, 20_000
    rate_rps = load * slots / tokens
    outputs = np.full(n, tokens)

    def simulated(rng: np.random.Generator) -> float:
        return float(steady(serve(fleet, poisson(rate_rps, n, rng), outputs).e2e_s - outputs).mean())

    theory = mdc_mean_wait(slots, rate_rps, float(tokens))
    # The wait for the end of an iteration, at most half a token's time, is 0.5 % of this wait and less.
    assert_theory_within(replicate(simulated), theory, 0.05)
