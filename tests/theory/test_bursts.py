"""The pool model under bursty arrivals: where theory has the answer, where it must not change, and the simulator."""

from functools import partial

import numpy as np
import pytest

from fleetopt.profiles import load_profile
from fleetopt.queueing.bursts import _clumps, bursty_load
from fleetopt.queueing.distribution import Grid, TimeDistribution
from fleetopt.queueing.modulation import Arrivals
from fleetopt.queueing.pool import predict_pool
from fleetopt.queueing.stability import stability_limit_rps
from fleetopt.queueing.ttft import ttft_distribution
from fleetopt.queueing.work import request_work
from fleetopt.simulator import Fleet, Pool, simulate
from fleetopt.workload.dispersion import POISSON, IndexOfDispersion, dispersion_of_times
from fleetopt.workload.processes import gamma_arrivals, markov_modulated_arrivals
from fleetopt.workload.trace import make_trace
from tests.theory.test_queueing import prefill_only

PROFILE = load_profile("a100-llama2-7b")
WINDOWS_S = tuple(np.geomspace(1e-3, 1e5, 200).tolist())


def lengths(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    prompt = np.clip(rng.lognormal(6.8, 0.9, n), 4, 8000).round()
    return prompt.astype(np.int64), np.clip(rng.lognormal(5.0, 0.7, n), 2, 1000).round().astype(np.int64)


WORK = request_work(PROFILE, np.ones(4000), *(values.astype(np.float64) for values in lengths(4000, 1)))
LIMIT_RPS = stability_limit_rps(WORK)


def constant(index: float) -> IndexOfDispersion:
    return IndexOfDispersion((1.0,), (index,))


@pytest.mark.parametrize("replicas", [1, 8])
@pytest.mark.parametrize("dispersion", [POISSON, constant(0.3)])
def test_arrivals_no_burstier_than_poisson_are_taken_as_poisson(replicas, dispersion):
    rate = 0.7 * LIMIT_RPS * replicas
    plain, given = predict_pool(WORK, rate, replicas), predict_pool(WORK, rate, replicas, dispersion)
    assert given.bursts is None
    assert given.ttft.quantile(0.99) == plain.ttft.quantile(0.99)
    assert given.tpot.quantile(0.99) == plain.tpot.quantile(0.99)
    assert given.state.running == plain.state.running


@pytest.mark.parametrize("replicas", [1, 8])
def test_hardly_bursty_is_hardly_different(replicas):
    rate = 0.7 * LIMIT_RPS * replicas
    plain, given = predict_pool(WORK, rate, replicas), predict_pool(WORK, rate, replicas, constant(1.0001))
    assert given.ttft.quantile(0.99) == pytest.approx(plain.ttft.quantile(0.99), rel=0.01)
    assert given.tpot.quantile(0.99) == pytest.approx(plain.tpot.quantile(0.99), rel=0.02)
    assert given.state.running == pytest.approx(plain.state.running, rel=0.01)


@pytest.mark.parametrize("replicas", [1, 8, 64])
@pytest.mark.parametrize("load", [0.4, 0.8])
def test_burstier_arrivals_wait_longer_and_take_at_most_five_equilibria(replicas, load):
    rate = load * LIMIT_RPS * replicas
    late = []
    for index in (1.0, 2.0, 6.0, 20.0, 80.0):
        prediction = predict_pool(WORK, rate, replicas, constant(index))
        late.append(prediction.ttft.quantile(0.99))
        if prediction.bursts is not None:
            assert len(prediction.bursts.states) <= 5
            shares = prediction.bursts.arrival_share
            assert shares.min() >= 0
            assert shares.sum() == pytest.approx(1.0)
    assert (np.diff(late) > 0).all()


def test_a_pool_that_is_overloaded_for_a_while_is_not_called_unstable():
    """An hour at 1.6 times the limit in two hours: the backlog is in the answer, far beyond any equilibrium's wait."""
    rate = 0.8 * LIMIT_RPS * 8
    slow = IndexOfDispersion(WINDOWS_S, tuple(1 + rate * np.minimum(np.array(WINDOWS_S), 3600.0)))
    prediction = predict_pool(WORK, rate, 8, slow)
    assert prediction.ttft.quantile(0.99) > 600
    assert predict_pool(WORK, 1.01 * LIMIT_RPS * 8, 8, slow) is None


@pytest.mark.parametrize(("load", "index"), [(0.3, 3.0), (0.6, 3.0), (0.6, 9.0), (0.8, 5.0)])
def test_clumps_make_a_queue_of_batches_of_a_queue_of_single_arrivals(load, index):
    """M^X/M/1, geometric batches: the time in the system is exponential with rate ``(1 - p) (1 - rho) mu``.

    Gross and Harris, Fundamentals of Queueing Theory, section 3.1: the number present is geometric.
    """
    prompt = -1000.0 * np.log1p(-(np.arange(50_000) + 0.5) / 50_000)
    work = prefill_only(np.maximum(prompt, 1.0))
    single = predict_pool(work, load, 1)
    plain = ttft_distribution(work, single.state, load, 1)

    def masses(grid: Grid) -> np.ndarray:
        return grid.invert(grid.transform(plain.masses(grid)) * _clumps(grid, work, single.state, index - 1))

    more = (index - 1) / (index + 1)
    for probability in (0.5, 0.9, 0.99):
        exact_s = -np.log(1 - probability) / ((1 - more) * (1 - load))
        assert TimeDistribution(masses, 5.0).quantile(probability) == pytest.approx(exact_s, rel=0.015)


def arrivals_at(load: float, replicas: int, dispersion: IndexOfDispersion) -> Arrivals:
    capacity_rps = LIMIT_RPS * replicas
    return Arrivals(
        work=WORK,
        replicas=replicas,
        mean_rps=load * capacity_rps,
        capacity_rps=capacity_rps,
        service_s=0.1,
        dispersion=dispersion,
    )


def test_a_backlog_falls_as_in_heavy_traffic():
    """exp(-2 (C - rate) b / (I rate)) for b requests: Kingman (1962) with a constant server and a constant index."""
    arrivals = arrivals_at(0.98, 8, constant(9.0))
    grid = Grid(300.0)
    waiting = grid.invert(arrivals.backlog(0.0).wait(grid))
    above = 1 - np.cumsum(waiting)
    first, last = 60, 240
    measured = np.log(above[first] / above[last]) / ((last - first) * grid.step_s)
    exact = 2 * (1 - 0.98) * arrivals.capacity_rps / (9.0 * 0.98)
    assert measured == pytest.approx(exact, rel=0.06)


def test_a_rate_that_changes_slowly_is_itself_the_mixture():
    """Index 1 + rate t / 9: a Gamma rate with a variation of 1/9 that stays for good."""
    arrivals = arrivals_at(0.5, 8, POISSON)
    index = tuple(1 + arrivals.mean_rps * np.array(WINDOWS_S) / 9)
    arrivals = arrivals_at(0.5, 8, IndexOfDispersion(WINDOWS_S, index))
    rates, exceeded = arrivals.rates(0.0)
    draws = np.random.default_rng(7).gamma(9.0, 1 / 9, 200_000) * arrivals.mean_rps
    by_arrivals = [draws[draws > rate].sum() / draws.sum() for rate in rates]
    np.testing.assert_allclose(exceeded, by_arrivals, atol=0.01)


def test_the_mean_over_time_is_of_no_lower_rate():
    load = bursty_load(WORK, 0.5 * LIMIT_RPS * 8, 8, constant(8.0))
    mean_rps = float(np.array(load.rate_rps) @ load.time_share)
    assert 1 <= mean_rps / (0.5 * LIMIT_RPS * 8) < 1.08


def slow_and_fast(rate: float, n: int, rng: np.random.Generator) -> np.ndarray:
    return markov_modulated_arrivals(rate * np.array([0.4, 2.2]), np.array([4.0, 2.0]), n, rng)


PROCESSES = {
    "gamma 2": lambda rate: partial(gamma_arrivals, rate, 2.0),
    "gamma 4": lambda rate: partial(gamma_arrivals, rate, 4.0),
    "MMPP": lambda rate: partial(slow_and_fast, rate),
}


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize(("replicas", "load"), [(1, 0.5), (8, 0.7)])
def test_the_p99_is_not_below_the_simulated_one_where_the_poisson_one_is(process, replicas, load):
    rate = load * LIMIT_RPS * replicas
    draw = PROCESSES[process](rate)
    n = 60_000
    late = []
    for run in range(2):
        arrival_s = draw(n, np.random.default_rng([8, run]))
        trace = make_trace(arrival_s, *lengths(n, 100 + run))
        result = simulate(trace, Fleet((Pool("all", PROFILE, replicas, PROFILE.context_limit_tokens),)))
        late.append(np.quantile(result.ttft_s[n // 5 :], 0.99))
    simulated_s = float(np.mean(late))
    dispersion = dispersion_of_times(draw(100_000, np.random.default_rng(9)))
    predicted_s = predict_pool(WORK, rate, replicas, dispersion).ttft.quantile(0.99)
    assert 0.9 * simulated_s < predicted_s < 6 * simulated_s
    assert predict_pool(WORK, rate, replicas).ttft.quantile(0.99) < predicted_s
