import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetopt.errors import InputError
from fleetopt.workload.histogram import length_histogram
from fleetopt.workload.lengths import (
    JointLengths,
    lengths_from_cdf,
    lengths_from_histogram,
    lengths_from_trace,
    make_lengths,
    sample,
)
from fleetopt.workload.trace import make_trace
from tests.unit.workload.frames import EPOCH, Row, requests_frame, rows

token_lists = st.lists(st.floats(1, 1e6), min_size=1, max_size=30)


@st.composite
def joint_lengths(draw: st.DrawFn) -> JointLengths:
    n = draw(st.integers(1, 30))
    column = lambda low, high: draw(st.lists(st.floats(low, high), min_size=n, max_size=n))  # noqa: E731
    return make_lengths(
        np.array(column(1, 1e5)), np.array(column(1, 1e4)), np.array(column(1e-3, 1e3)), np.array(column(0, 1))
    )


@st.composite
def cdf_points(draw: st.DrawFn) -> list[tuple[float, float]]:
    tokens = sorted(draw(st.sets(st.integers(8, 10**6), min_size=1, max_size=12)))
    fractions = sorted(draw(st.lists(st.floats(0, 1), min_size=len(tokens) - 1, max_size=len(tokens) - 1)))
    return list(zip(map(float, tokens), [*fractions, 1.0], strict=True))


@given(joint_lengths())
def test_points_are_sorted_by_total_and_read_only(lengths: JointLengths) -> None:
    assert (np.diff(lengths.total_tokens) >= 0).all()
    for name in ("prompt_tokens", "output_tokens", "weight", "compressible_fraction"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(lengths, name)[0] = 1.0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([], [], [], []), "no requests"),
        (([1.0, 2.0], [1.0], [1.0], [0.0]), "differ in length"),
        (([0.5], [1.0], [1.0], [0.0]), "prompt_tokens"),
        (([1.0], [np.nan], [1.0], [0.0]), "output_tokens"),
        (([1.0], [1.0], [0.0], [0.0]), "weight"),
        (([1.0], [1.0], [1.0], [1.1]), "compressible_fraction"),
        (([1.0], [1.0], [1.0], [np.nan]), "compressible_fraction"),
    ],
)
def test_bad_points_are_refused(columns: tuple[list[float], ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_lengths(*map(np.array, columns))


@settings(max_examples=50)
@given(rows.filter(len))
def test_histogram_keeps_counts_means_and_compressible_share(requests: list[Row]) -> None:
    lengths = lengths_from_histogram(length_histogram(requests_frame(requests)), {"chat": 0.75})
    n = len(requests)
    n_chat = sum(archetype == "chat" for _, _, _, archetype, _ in requests)
    assert lengths.weight.sum() == n
    assert lengths.weight @ lengths.prompt_tokens == pytest.approx(sum(row[1] for row in requests), rel=1e-12)
    assert lengths.weight @ lengths.output_tokens == pytest.approx(sum(row[2] for row in requests), rel=1e-12)
    assert lengths.weight @ lengths.compressible_fraction == pytest.approx(0.75 * n_chat, rel=1e-12)
    exact = np.sort([prompt + output for _, prompt, output, _, _ in requests])
    for total in exact:
        assert lengths.fraction_at_most(total * (1 + 1 / 32)) >= np.mean(exact <= total) - 1e-12
        assert lengths.fraction_at_most(total * (1 - 1 / 32) - 1) <= np.mean(exact <= total) + 1e-12


def test_an_empty_window_is_an_error() -> None:
    with pytest.raises(InputError, match="no requests"):
        lengths_from_histogram(length_histogram(requests_frame([])), {})
    empty = make_trace(np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64))
    with pytest.raises(InputError, match="no requests"):
        lengths_from_trace(empty)


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6), st.booleans()), min_size=1, max_size=40))
def test_trace_pairs_are_counted_exactly(requests: list[tuple[int, int, bool]]) -> None:
    prompt, output, compressible = map(np.array, zip(*requests, strict=True))
    lengths = lengths_from_trace(make_trace(np.arange(len(requests)), prompt, output, compressible))
    pairs = list(zip(lengths.prompt_tokens, lengths.output_tokens, strict=True))
    assert len(set(pairs)) == len(pairs)
    for (p, o), weight, share in zip(pairs, lengths.weight, lengths.compressible_fraction, strict=True):
        flags = [c for q, r, c in requests if (q, r) == (p, o)]
        assert weight == len(flags)
        assert share == pytest.approx(np.mean(flags))


@settings(max_examples=60)
@given(cdf_points(), st.floats(0.05, 0.6))
def test_cdf_is_met_at_its_edges_and_keeps_its_mean(points: list[tuple[float, float]], output_fraction: float) -> None:
    lengths = lengths_from_cdf(points, output_fraction)
    assert lengths.weight.sum() == pytest.approx(1)
    mean, previous_tokens, previous_fraction = 0.0, 1.0, 0.0
    for tokens, fraction in points:
        assert lengths.fraction_at_most(tokens) == pytest.approx(fraction, abs=1e-9)
        mean += (fraction - previous_fraction) * (previous_tokens + tokens) / 2
        previous_tokens, previous_fraction = tokens, fraction
    below_two_tokens = points[0][1] / (points[0][0] - 1) / 2  # totals below 2 count as 2
    assert lengths.weight @ lengths.total_tokens == pytest.approx(mean, rel=1e-9, abs=1.01 * below_two_tokens + 1e-9)
    ends = np.array([points[0][0], points[-1][0]])
    between = np.linspace(*ends, 50)
    expected = np.interp(between, [1, *(t for t, _ in points)], [0, *(f for _, f in points)])
    observed = [lengths.fraction_at_most(t) for t in between]
    assert np.abs(observed - expected).max() <= 1 / 512 + 1e-9


def test_cdf_is_split_by_the_output_fraction() -> None:
    lengths = lengths_from_cdf([(1000, 0.0), (1001, 1.0)], output_fraction=0.25, compressible_fraction=0.5)
    assert lengths.output_tokens == pytest.approx(0.25 * lengths.total_tokens)
    assert lengths.compressible_fraction == pytest.approx(0.5)
    short = lengths_from_cdf([(3, 1.0)])
    assert short.prompt_tokens.min() >= 1
    assert short.output_tokens.min() >= 1


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "no points"),
        ([(64, 0.5)], "cut off"),
        ([(64, 0.5), (64, 1.0)], "point 2: tokens must increase"),
        ([(64, 0.5), (128, 0.4), (256, 1.0)], "point 2: fractions must not decrease"),
        ([(64, -0.1), (128, 1.0)], "point 1: fraction -0.1"),
        ([(64, 0.1), (128, 1.1)], "point 2: fraction 1.1"),
        ([(64, float("nan")), (128, 1.0)], "point 1: fraction nan"),
        ([(0, 0.1), (128, 1.0)], "point 1: 0 tokens"),
        ([(float("inf"), 1.0)], "point 1: inf tokens"),
    ],
)
def test_what_is_not_a_cdf_is_refused(points: list[tuple[float, float]], message: str) -> None:
    with pytest.raises(InputError, match=f"^my.json: .*{message}"):
        lengths_from_cdf(points, where="my.json")


@pytest.mark.parametrize("output_fraction", [0.0, 1.0, -1.0, float("nan")])
def test_output_fraction_has_to_be_a_share(output_fraction: float) -> None:
    with pytest.raises(InputError, match="output fraction"):
        lengths_from_cdf([(64, 1.0)], output_fraction)


def test_a_last_fraction_almost_1_is_taken_as_1() -> None:
    assert lengths_from_cdf([(64, 0.5), (128, 1 - 5e-7)]).weight.sum() == pytest.approx(1, abs=1e-12)


@given(joint_lengths(), st.integers(1, 120_000))
def test_context_limit_splits_the_requests(lengths: JointLengths, limit: int) -> None:
    kept, rejected = lengths.within_context(limit)
    fits = lengths.total_tokens <= limit
    assert kept.weight.sum() == pytest.approx(lengths.weight[fits].sum())
    assert rejected == pytest.approx(lengths.weight[~fits].sum() / lengths.weight.sum())
    assert (kept.total_tokens <= limit).all()


def test_requests_at_the_context_cap_fit_it() -> None:
    """In one cell, all 4096 tokens in total: 3900 and 196 or 3899 and 197, with means that are not whole."""
    requests = [(EPOCH, 3900, 196, "chat", "a"), *[(EPOCH, 3899, 197, "chat", "a")] * 2] * 7
    kept, rejected = lengths_from_histogram(length_histogram(requests_frame(requests)), {}).within_context(4096)
    assert rejected == 0
    assert kept.total_tokens.tolist() == [4096]


def test_absurd_lengths_of_a_trace_are_refused() -> None:
    absurd = np.array([2**40])
    with pytest.raises(InputError, match="longer than any context"):
        lengths_from_trace(make_trace(np.zeros(1), absurd, absurd))


@settings(max_examples=50)
@given(joint_lengths(), st.integers(0, 2**32))
def test_samples_stay_within_the_next_whole_token_of_their_point(lengths: JointLengths, seed: int) -> None:
    prompt, output, _ = sample(lengths, 200, np.random.default_rng(seed))
    assert prompt.min() >= 1
    assert output.min() >= 1
    points = set(np.ceil(lengths.total_tokens)) | set(np.floor(lengths.total_tokens))
    assert set((prompt + output).astype(float)) <= points


def test_samples_never_cross_a_boundary_through_rounding() -> None:
    lengths = make_lengths(np.array([3276.8]), np.array([819.2]), np.ones(1), 0.0)
    prompt, output, _ = sample(lengths, 2000, np.random.default_rng(1))
    assert set((prompt + output).tolist()) == {4096}


def test_sample_follows_the_weights_and_keeps_means() -> None:
    lengths = make_lengths(
        np.array([10.3, 200.0, 3000.5]),
        np.array([5.6, 7.0, 900.25]),
        np.array([5.0, 3.0, 2.0]),
        np.array([0.0, 0.5, 1.0]),
    )
    n = 40_000
    prompt, output, compressible = sample(lengths, n, np.random.default_rng(7))
    share = lengths.weight / lengths.weight.sum()
    for drawn, values in (
        (prompt, lengths.prompt_tokens),
        (output, lengths.output_tokens),
        (compressible, lengths.compressible_fraction),
    ):
        # 4 standard errors; rounding adds at most 1/4 + 1/4 to the variance.
        mean = share @ values
        error = np.sqrt((share @ (values - mean) ** 2 + 0.5) / n)
        assert abs(drawn.mean() - mean) < 4 * error
    is_long = prompt > 1000
    assert compressible[is_long].all()
    assert abs(is_long.mean() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / n)


def test_sample_is_repeatable() -> None:
    lengths = lengths_from_cdf([(64, 0.5), (128, 1.0)])
    first, second = (sample(lengths, 50, np.random.default_rng(3)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert (one == other).all()
    assert first[0].dtype == first[1].dtype == np.int64
    assert first[2].dtype == np.bool_


def test_unknown_archetypes_are_never_compressed() -> None:
    frame = pl.DataFrame(
        {
            "archetype": ["chat"],
            "prompt_tokens_lo": [64],
            "output_tokens_lo": [10],
            "requests": [2],
            "prompt_tokens_sum": [129],
            "output_tokens_sum": [20],
        }
    )
    lengths = lengths_from_histogram(frame, {})
    assert lengths.compressible_fraction.tolist() == [0.0]
    assert lengths.prompt_tokens.tolist() == [64.5]
