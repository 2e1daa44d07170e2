"""Warm-up, intervals and verdicts on series whose answer is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from fleetopt.errors import InputError
from fleetopt.profiles import load_profile
from fleetopt.simulator import Failure, Fleet, Pool, simulate
from fleetopt.simulator.statistics import (
    SloTargets,
    Stability,
    block_bootstrap_quantile,
    combined_stability,
    meets_slo,
    mser5_cutoff,
    replication_interval,
    slo_verdict,
    stability_verdict,
    steady_part,
)
from fleetopt.workload.trace import make_trace


def mser5_by_definition(values: np.ndarray) -> int:
    means = [values[5 * i : 5 * i + 5].mean() for i in range(len(values) // 5)]
    scores = []
    for d in range(len(means) // 2 + 1):
        kept = np.array(means[d:])
        scores.append(((kept - kept.mean()) ** 2).sum() / len(kept) ** 2)
    return 5 * int(np.argmin(scores)) if len(means) >= 2 else 0


@pytest.mark.parametrize("seed", range(5))
def test_mser5_is_the_definition(seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=203) + 10 * np.exp(-np.arange(203) / 20) + 1000.0
    assert mser5_cutoff(values) == mser5_by_definition(values)


def test_mser5_finds_the_end_of_a_transient():
    rng = np.random.default_rng(1)
    values = np.r_[np.linspace(20.0, 0.0, 300), np.zeros(2000)] + rng.normal(size=2300)
    assert 200 <= mser5_cutoff(values) <= 320
    assert mser5_cutoff(rng.normal(size=2000)) <= 100


@pytest.mark.parametrize("n", [0, 1, 4, 9])
def test_mser5_cuts_nothing_from_next_to_nothing(n):
    assert mser5_cutoff(np.arange(n, dtype=float)) == 0


def test_the_steady_part_leaves_out_ten_times_in_the_system_at_the_start_and_three_at_the_end():
    arrival_s, two = np.arange(1000.0), np.full(1000, 2.0)
    assert steady_part(arrival_s, two, two) == slice(20, 993)
    # a transient that MSER sees is longer; times in the system that fill the run leave a part to look at
    surge = np.r_[np.linspace(50.0, 0.0, 300), np.tile([1.0, -1.0], 350)]
    assert steady_part(arrival_s, surge, two) == slice(mser5_cutoff(surge), 993)
    assert steady_part(arrival_s, surge, two, is_bursty=True) == slice(20, 993)
    assert steady_part(arrival_s, two, np.full(1000, 1e6)) == slice(500, 750)
    assert steady_part(np.zeros(0), np.zeros(0), np.zeros(0)) == slice(0, 0)
    for n in (1, 2, 3, 7):
        kept = steady_part(np.arange(float(n)), np.ones(n), np.full(n, 1e6))
        assert 0 <= kept.start < kept.stop <= n


def test_replication_interval_of_a_textbook_sample():
    # t(0.975, 4) = 2.776, the tables' value; mean 3, standard deviation sqrt(2.5), n = 5
    interval = replication_interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert interval.estimate == 3.0
    assert interval.upper - 3.0 == pytest.approx(2.776 * math.sqrt(2.5 / 5), rel=2e-4)
    assert 3.0 - interval.lower == pytest.approx(interval.upper - 3.0)
    assert replication_interval(np.array([4.0])) == (4.0, -math.inf, math.inf)
    assert math.isnan(replication_interval(np.array([])).estimate)
    with pytest.raises(ValueError, match="confidence is 95"):
        replication_interval(np.array([1.0, 2.0]), 95)


def autoregressive(rng: np.random.Generator, n: int, coefficient: float) -> np.ndarray:
    """Stationary, standard normal at each time."""
    noise = rng.normal(size=n) * math.sqrt(1 - coefficient**2)
    values = np.empty(n)
    values[0] = rng.normal()
    for i in range(1, n):
        values[i] = coefficient * values[i - 1] + noise[i]
    return values


def test_block_bootstrap_covers_the_quantile_of_an_autocorrelated_series():
    """80 series with correlation over some 40 places: intervals by blocks of 200 hold the P90, by single values not.

    Of 80 intervals that hold with probability 0.9 (the bootstrap's coverage is a little below the nominal 0.95) fewer
    than 64 do with probability 0.002.
    """
    target = stats.norm.ppf(0.9)
    covered = {20: 0, 4000: 0}
    for stream in np.random.SeedSequence(11).spawn(80):
        values = autoregressive(np.random.default_rng(stream), 4000, 0.95)
        for n_blocks in covered:
            interval = block_bootstrap_quantile(values, 0.9, n_blocks, 200, np.random.default_rng(stream))
            covered[n_blocks] += interval.lower <= target <= interval.upper
    assert covered[20] >= 64
    assert covered[4000] < 48


def test_block_bootstrap_of_independent_values_is_the_binomial_interval():
    # order statistics of ranks n p -+ 1.96 sqrt(n p (1-p)) of 1..n: 900 -+ 18.6
    rng = np.random.default_rng(2)
    interval = block_bootstrap_quantile(rng.permutation(np.arange(1.0, 1001.0)), 0.9, 1000, 4000, rng)
    assert interval.estimate == 900.0
    assert interval.lower == pytest.approx(900 - 18.6, abs=2.5)
    assert interval.upper == pytest.approx(900 + 18.6, abs=2.5)


def test_block_bootstrap_says_when_there_are_too_few_for_a_bound():
    rng = np.random.default_rng(3)
    assert block_bootstrap_quantile(rng.normal(size=367), 0.99, 10, 50, rng).upper == math.inf
    assert block_bootstrap_quantile(rng.normal(size=368), 0.99, 10, 50, rng).upper < math.inf
    assert block_bootstrap_quantile(np.array([7.0]), 0.5, 10, 50, rng) == (7.0, -math.inf, math.inf)
    nothing = block_bootstrap_quantile(np.array([]), 0.99, 10, 50, rng)
    assert (nothing.lower, nothing.upper) == (-math.inf, math.inf)
    with pytest.raises(ValueError, match="probability is 99"):
        block_bootstrap_quantile(np.array([7.0]), 99, 10, 50, rng)
    with pytest.raises(ValueError, match="n_blocks"):
        block_bootstrap_quantile(np.array([7.0]), 0.99, 0, 50, rng)


def test_block_bootstrap_of_a_constant_has_no_width():
    rng = np.random.default_rng(4)
    assert block_bootstrap_quantile(np.full(500, 2.5), 0.99, 20, 50, rng) == (2.5, 2.5, 2.5)


@pytest.mark.parametrize(
    ("lower", "upper", "verdict"),
    [
        (0.1, 0.5, "confirmed"),
        (0.1, 0.51, "undecided"),
        (0.5, 0.6, "undecided"),
        (0.51, 0.6, "refuted"),
        (-math.inf, math.inf, "undecided"),
        (math.nan, math.nan, "undecided"),
    ],
)
def test_slo_verdict(lower, upper, verdict):
    assert slo_verdict(lower, upper, 0.5) == verdict


PROFILE = load_profile("a100-llama2-7b")
ONE = Fleet((Pool("all", PROFILE, 1, 8192),))


def chat(n: int, rate_rps: float, seed: int, compress_time_after: float = math.inf):
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1.0 / rate_rps, n)
    arrival_s = np.cumsum(np.where(np.arange(n) < compress_time_after * n, gaps, gaps / 4))
    return make_trace(arrival_s, rng.geometric(1 / 1000, n).clip(max=4000), rng.geometric(1 / 200, n).clip(max=2000))


# One replica takes some 6.4 of these requests per second: see test_the_capacity_is_where_these_tests_say.
@pytest.mark.parametrize(
    ("rate_rps", "verdict"), [(1.0, "stable"), (4.0, "stable"), (8.0, "unstable"), (30.0, "unstable")]
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_stability_of_poisson_arrivals(rate_rps, verdict, seed):
    assert stability_verdict(simulate(chat(4000, rate_rps, seed), ONE)).verdict == verdict


def test_the_capacity_is_where_these_tests_say():
    """All at once: the rate of completions with the queue never empty."""
    trace = chat(4000, 1e6, 1)
    result = simulate(trace, ONE)
    assert 6.0 < len(trace) / result.observed_s < 6.8


def test_a_rising_load_that_is_served_is_not_instability():
    """Four times the arrivals in the last quarter: more run at once, nobody waits for long."""
    assert stability_verdict(simulate(chat(4000, 1.0, 5, compress_time_after=0.75), ONE)).verdict == "stable"


def test_a_burst_at_the_end_is_undecided():
    verdict = stability_verdict(simulate(chat(4000, 3.0, 5, compress_time_after=0.8), ONE))
    assert verdict.verdict == "undecided"
    assert "but not steadily" in verdict.reason


def test_too_short_to_judge():
    assert "too few" in stability_verdict(simulate(chat(99, 1.0, 1), ONE)).reason
    assert "one request in service" in stability_verdict(simulate(chat(2000, 1e6, 1), ONE)).reason
    short = stability_verdict(simulate(chat(100, 4.0, 1), ONE))
    assert short.verdict == "undecided"
    assert "less than 10 times" in short.reason


@pytest.mark.parametrize("n", [0, 1, 2])
def test_next_to_no_requests_are_undecided(n):
    assert stability_verdict(simulate(chat(n, 1.0, 1), ONE)).verdict == "undecided"


def test_all_rejected_is_undecided():
    verdict = stability_verdict(simulate(make_trace([0.0, 1.0], [9000, 9000], [1, 1]), ONE))
    assert verdict == ("undecided", "no request was served")


def test_a_fleet_that_goes_down_for_good_does_not_keep_up():
    """Those that came before are served well; the rest never are, whether they had a first token or not."""
    trace = chat(4000, 1.0, 1)
    for before, verdict in ((1600, "unstable"), (3980, "undecided")):
        fleet = replace(ONE, failures=(Failure("all", 0, float(trace.arrival_s[before])),))
        result = simulate(trace, fleet)
        assert 0 <= result.is_unserved.sum() - (4000 - before) < 100
        stability = stability_verdict(result)
        assert stability.verdict == verdict
    assert stability.reason.startswith(f"{result.is_unserved.sum()} of 4,000 requests were never served")


def test_a_stable_pool_short_of_memory_says_so():
    trace = chat(4000, 3.0, 1)
    reasons = []
    for kv_blocks in (1800, PROFILE.kv_blocks):
        profile = PROFILE.model_copy(update={"kv_blocks": kv_blocks})
        result = simulate(trace, Fleet((Pool("all", profile, 1, 8192),)))
        stability = stability_verdict(result)
        assert stability.verdict == "stable"
        assert (f"{result.preemptions.sum():,} preemptions" in stability.reason) == (result.preemptions.sum() > 4)
        reasons.append(stability.reason)
    assert ["preemptions" in reason for reason in reasons] == [True, False]


def test_one_unstable_pool_makes_the_fleet_unstable():
    fleet = Fleet(
        (Pool("short", PROFILE, 6, 1500), Pool("long", PROFILE, 1, 8192)), router="length", boundaries_tokens=(1500,)
    )
    verdict = stability_verdict(simulate(chat(12_000, 20.0, 1), fleet))
    assert verdict.verdict == "unstable"
    assert verdict.reason.startswith("pool 'long': ")


@pytest.mark.parametrize(
    ("stable", "unstable", "undecided", "verdict"),
    [
        (0, 0, 0, "undecided"),
        (1, 0, 0, "stable"),
        (0, 1, 0, "unstable"),
        (10, 0, 0, "stable"),
        (9, 1, 0, "stable"),
        (8, 2, 0, "undecided"),
        (5, 5, 0, "undecided"),
        (4, 6, 0, "unstable"),
        (0, 5, 5, "undecided"),
        (6, 0, 4, "stable"),
        (5, 0, 5, "undecided"),
        (98, 2, 0, "stable"),
    ],
)
def test_stability_over_replications(stable, unstable, undecided, verdict):
    """One false alarm in ten has probability 0.22 at 2.5 % each, two have 0.02."""
    each = [("stable", stable), ("unstable", unstable), ("undecided", undecided)]
    combined = combined_stability([Stability(kind, f"why {kind}") for kind, n in each for _ in range(n)])
    assert combined.verdict == verdict
    assert "why" in combined.reason or stable + unstable + undecided == 0


def test_replications_of_a_stable_and_of_an_overloaded_replica():
    for rate_rps, verdict in ((4.0, "stable"), (8.0, "unstable")):
        runs = [stability_verdict(simulate(chat(3000, rate_rps, seed), ONE)) for seed in range(6)]
        assert combined_stability(runs).verdict == verdict


def test_attainment_counts_who_was_not_served_as_missed():
    # one request of one token (no time per output token), one of 500, one that is rejected
    result = simulate(make_trace([0.0, 100.0, 200.0], [100, 100, 9000], [1, 500, 1]), ONE)
    ttft_s, tpot_s = result.ttft_s[1], result.tpot_s[1]
    assert meets_slo(result, SloTargets()).tolist() == [True, True, False]
    assert meets_slo(result, SloTargets(ttft_s=ttft_s)).tolist() == [True, True, False]
    assert meets_slo(result, SloTargets(ttft_s=ttft_s * 0.99)).tolist() == [False, False, False]
    assert meets_slo(result, SloTargets(tpot_s=tpot_s)).tolist() == [True, True, False]
    assert meets_slo(result, SloTargets(ttft_s=ttft_s, tpot_s=tpot_s * 0.99)).tolist() == [True, False, False]
    with pytest.raises(InputError, match="target tpot_s"):
        SloTargets(tpot_s=0.0)
