"""Traces drawn from a process and lengths, and traces at another rate."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetopt.errors import InputError
from fleetopt.workload.histogram import length_histogram
from fleetopt.workload.lengths import lengths_from_cdf, lengths_from_histogram, lengths_from_trace
from fleetopt.workload.processes import gamma_arrivals, poisson_arrivals
from fleetopt.workload.synthesis import scale_rate, synthesize
from fleetopt.workload.trace import Trace, make_trace
from tests.unit.workload.frames import EPOCH, requests_frame

POISSON = partial(poisson_arrivals, 5.0)
CDF = [(64.0, 0.5), (4096.0, 1.0)]


def same(first: np.ndarray, second: np.ndarray) -> bool:
    return len(first) == len(second) and bool((first == second).all())


def test_each_purpose_has_a_stream_of_its_own() -> None:
    lengths = lengths_from_cdf(CDF, compressible_fraction=0.5)
    base = synthesize(POISSON, lengths, 500, seed=3)
    burstier = synthesize(partial(gamma_arrivals, 5.0, 3.0), lengths, 500, seed=3)
    assert not same(base.arrival_s, burstier.arrival_s)
    assert same(base.prompt_tokens, burstier.prompt_tokens)
    assert same(base.output_tokens, burstier.output_tokens)
    assert same(base.is_compressible, burstier.is_compressible)
    more = synthesize(POISSON, lengths_from_cdf(CDF, compressible_fraction=0.9), 500, seed=3)
    assert same(base.prompt_tokens, more.prompt_tokens)
    assert (more.is_compressible >= base.is_compressible).all()
    other = synthesize(POISSON, lengths_from_cdf([(900.0, 1.0)]), 500, seed=3)
    assert same(base.arrival_s, other.arrival_s)


def test_seeds_and_replications_are_different_traces_that_repeat() -> None:
    lengths = lengths_from_cdf(CDF)
    traces = {key: synthesize(POISSON, lengths, 50, *key) for key in [(1, 0), (1, 1), (2, 0), (2, 1)]}
    assert len({trace.arrival_s[0] for trace in traces.values()}) == 4
    assert len({tuple(trace.prompt_tokens.tolist()) for trace in traces.values()}) == 4
    again = synthesize(POISSON, lengths, 50, 2, 1)
    assert same(again.arrival_s, traces[2, 1].arrival_s)
    assert same(again.output_tokens, traces[2, 1].output_tokens)


def test_lengths_of_a_trace_are_drawn_together() -> None:
    pairs = {(100, 7), (100, 900), (3000, 7)}
    prompt, output = np.array(sorted(pairs)).T
    drawn = synthesize(POISSON, lengths_from_trace(make_trace(np.zeros(3), prompt, output)), 300, seed=1)
    assert set(zip(drawn.prompt_tokens.tolist(), drawn.output_tokens.tolist(), strict=True)) == pairs


def test_lengths_of_a_histogram_and_of_a_cdf() -> None:
    frame = requests_frame([(EPOCH, *pair, "chat", "gateway-a") for pair in ((100, 20), (100, 20), (5000, 300))])
    histogram = lengths_from_histogram(length_histogram(frame), {"chat": 1.0})
    drawn = synthesize(POISSON, histogram, 300, seed=1)
    assert set(drawn.total_tokens.tolist()) == {120, 5300}
    assert drawn.is_compressible.all()
    drawn = synthesize(POISSON, lengths_from_cdf(CDF), 4000, seed=1)
    assert drawn.total_tokens.max() <= 4096
    assert (drawn.total_tokens <= 64).mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(4000))


def test_a_process_that_refuses_is_heard() -> None:
    with pytest.raises(InputError, match="rate_rps"):
        synthesize(partial(poisson_arrivals, 0.0), lengths_from_cdf(CDF), 5, seed=1)


def trace_of(gaps: list[float]) -> Trace:
    numbers = np.arange(1, len(gaps) + 1)
    return make_trace(100.0 + np.cumsum(gaps), numbers, 2 * numbers, numbers % 2 == 0)


@settings(max_examples=60)
@given(st.lists(st.floats(0, 1e4), min_size=0, max_size=40), st.floats(1e-3, 1e3))
def test_scaling_divides_every_gap_and_keeps_every_request(gaps: list[float], factor: float) -> None:
    trace = trace_of(gaps)
    scaled = scale_rate(trace, factor)
    assert same(scaled.prompt_tokens, trace.prompt_tokens)
    assert same(scaled.output_tokens, trace.output_tokens)
    assert same(scaled.is_compressible, trace.is_compressible)
    assert same(scaled.arrival_s[:1], trace.arrival_s[:1])
    spread = 1e-12 * max(1.0, float(np.max(scaled.arrival_s, initial=0.0)))
    assert np.allclose(np.diff(scaled.arrival_s), np.diff(trace.arrival_s) / factor, rtol=1e-9, atol=spread)


def test_scaling_keeps_cv_and_dispersion_per_expected_count() -> None:
    bursty = synthesize(partial(gamma_arrivals, 5.0, 3.0), lengths_from_cdf(CDF), 4000, seed=5)
    faster = scale_rate(bursty, 3.0)
    before, after = np.diff(bursty.arrival_s), np.diff(faster.arrival_s)
    assert after.mean() == pytest.approx(before.mean() / 3, rel=1e-9)
    assert after.std() / after.mean() == pytest.approx(before.std() / before.mean(), rel=1e-9)
    counts = [
        np.bincount(((trace.arrival_s - trace.arrival_s[0]) / window_s).astype(np.int64))
        for trace, window_s in ((bursty, 6.0), (faster, 2.0))
    ]
    assert np.abs(counts[0] - counts[1]).sum() <= 2  # one request may fall on the other side of an edge by rounding


def test_as_it_is() -> None:
    trace = trace_of([1.0, 2.0])
    assert scale_rate(trace, 1.0) is trace


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_a_factor_is_a_positive_number(factor: float) -> None:
    with pytest.raises(InputError, match="factor"):
        scale_rate(trace_of([1.0]), factor)
