import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from fleetopt.errors import InputError
from fleetopt.workload.arrivals import (
    Peak,
    epoch_seconds,
    index_of_dispersion,
    observed_intervals,
    observed_seconds,
    peak_rate,
    upper_peak_rate,
)
from fleetopt.workload.histogram import arrivals_per_second
from tests.unit.workload.frames import EPOCH, at_seconds, requests_frame

START = int(EPOCH.timestamp())

counts = st.dictionaries(st.integers(-50, 150), st.integers(1, 9), min_size=1, max_size=40)


@given(counts, st.integers(1, 90))
def test_peak_is_the_best_of_all_stretches(arrived: dict[int, int], window_s: int) -> None:
    seconds, requests = np.array(list(arrived)), np.array(list(arrived.values()))
    peak = peak_rate(seconds, requests, window_s)
    first, last = min(arrived), max(arrived)
    width = min(window_s, last - first + 1)
    totals = {
        start: sum(arrived.get(second, 0) for second in range(start, start + width))
        for start in range(first, last - width + 2)
    }
    assert peak.window_s == width
    assert peak.requests == max(totals.values())
    assert totals[peak.start_second] == peak.requests
    assert peak.rate_rps == pytest.approx(peak.requests / width)


def test_peak_crosses_midnight_and_adds_sources() -> None:
    frame = at_seconds([0, 86_390, 86_395, 86_399.5, 86_400, 86_405, 100_000])
    other = at_seconds([86_399.9], source="gateway-b")
    second, requests = epoch_seconds(arrivals_per_second(frame.vstack(other)))
    peak = peak_rate(second, requests, 20)
    assert (peak.requests, peak.start_second) == (6, START + 86_390)
    assert peak.rate_rps == pytest.approx(0.3)


def test_peak_of_a_short_log_is_over_the_time_it_has() -> None:
    peak = peak_rate(np.array([10, 14]), np.array([3, 2]), 60)
    assert peak == Peak(rate_rps=1.0, start_second=10, requests=5, window_s=5)


def test_a_second_may_come_twice() -> None:
    assert peak_rate(np.array([7, 3, 7]), np.array([1, 1, 5]), 1).requests == 6


def test_peak_needs_arrivals_and_a_window() -> None:
    with pytest.raises(InputError, match="no requests"):
        peak_rate(np.array([], np.int64), np.array([], np.int64), 60)
    with pytest.raises(ValueError, match="window_s"):
        peak_rate(np.array([1]), np.array([1]), 0)


@pytest.mark.parametrize("count", [0, 1, 17, 630])
def test_upper_rate_is_where_the_poisson_tail_is_5_percent(count: int) -> None:
    peak = Peak(rate_rps=count / 60, start_second=0, requests=count, window_s=60)
    mean = optimize.brentq(lambda mu: stats.poisson.cdf(count, mu) - 0.05, count, 3 * count + 10, xtol=1e-12)
    assert upper_peak_rate(peak) == pytest.approx(mean / 60, rel=1e-9)


def test_observed_time_is_per_source_and_day_and_counts_once() -> None:
    arrivals = arrivals_per_second(
        at_seconds([100, 200, 86_400 + 50, 86_400 + 60]).vstack(at_seconds([150, 300, 1000], source="gateway-b"))
    )
    assert observed_intervals(arrivals).tolist() == [
        [START + 100, START + 1001],
        [START + 86_450, START + 86_461],
    ]
    assert observed_seconds(arrivals) == 901 + 11


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 200), st.sampled_from("ab"), st.integers(0, 1)), max_size=12))
def test_observed_time_is_the_union_of_spans(arrived: list[tuple[int, str, int]]) -> None:
    frames = [at_seconds([day * 86_400 + s], source) for s, source, day in arrived]
    arrivals = arrivals_per_second(pl.concat([requests_frame([]), *frames]))
    covered = set()
    for source in "ab":
        for day in (0, 1):
            of_day = [s for s, name, d in arrived if (name, d) == (source, day)]
            if of_day:
                covered |= {day * 86_400 + s for s in range(min(of_day), max(of_day) + 1)}
    assert observed_seconds(arrivals) == len(covered)


@given(counts, st.integers(1, 30))
def test_dispersion_is_variance_over_mean_of_whole_bins(arrived: dict[int, int], window_s: int) -> None:
    observed = [(-50, 20), (30, 151)]
    bins = [
        sum(arrived.get(second, 0) for second in range(start, start + window_s))
        for first, end in observed
        for start in range(first, end - window_s + 1, window_s)
    ]
    ordered = sorted(arrived)
    result = index_of_dispersion(
        np.array(ordered), np.array([arrived[s] for s in ordered]), np.array(observed), window_s
    )
    if len(bins) < 2 or not any(bins):
        assert result is None
    else:
        assert result == pytest.approx(np.var(bins, ddof=1) / np.mean(bins))


def test_dispersion_of_nothing_observed_is_none() -> None:
    nothing = np.array([], np.int64)
    assert index_of_dispersion(nothing, nothing, np.empty((0, 2), np.int64), 10) is None
