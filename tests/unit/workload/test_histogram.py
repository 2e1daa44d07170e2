from collections import Counter
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetopt import schemas
from fleetopt.workload import histogram as histogram_module
from fleetopt.workload.histogram import (
    arrivals_per_second,
    bin_lower_edge,
    bin_upper_edge,
    length_histogram,
)
from tests.unit.workload.frames import EPOCH, Row, lengths, requests_frame, rows


def reference_edge(v: int) -> int:
    shift = max(0, v.bit_length() - 6)
    return (v >> shift) << shift


@given(st.lists(st.one_of(st.just(0), lengths, st.integers(0, 2**62)), min_size=1))
def test_lower_edge_is_the_shift_of_python_integers(values: list[int]) -> None:
    assert bin_lower_edge(np.array(values)).tolist() == [reference_edge(v) for v in values]


@pytest.mark.parametrize("exponent", range(6, 62))
def test_bins_meet_at_powers_of_two(exponent: int) -> None:
    edges = np.array([2**exponent - 1, 2**exponent])
    lower = bin_lower_edge(edges)
    assert lower[1] == 2**exponent
    assert bin_upper_edge(lower[:1])[0] == 2**exponent - 1


@given(lengths)
def test_a_length_lies_in_its_bin_and_the_bin_is_narrow(v: int) -> None:
    lower = bin_lower_edge(np.array([v]))
    upper = bin_upper_edge(lower)
    assert lower[0] <= v <= upper[0]
    width = int(upper[0] - lower[0] + 1)
    assert width == 1 if v < 64 else width * 32 <= lower[0]
    assert bin_lower_edge(upper)[0] == lower[0]
    assert bin_lower_edge(upper + 1)[0] == upper[0] + 1


def test_negative_and_missing_values_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        bin_lower_edge(np.array([-1]))
    good = requests_frame([(EPOCH, 1, 1, "chat", "gateway-a")] * 2)
    for change, named in [
        (pl.lit(-1, dtype=pl.Int64).alias("prompt_tokens"), "prompt_tokens: a length is negative"),
        (pl.lit(None, dtype=pl.Int64).alias("output_tokens"), "output_tokens: a value is missing"),
        (pl.lit(None, dtype=good.schema["arrival_time"]).alias("arrival_time"), "arrival_time: a value is missing"),
    ]:
        with pytest.raises(ValueError, match=named):
            length_histogram(good.with_columns(change))


@pytest.mark.parametrize("tokens", [0, 63, 64, 65, 2**40 + 12345, 2**62, 2**63 - 1])
def test_every_length_has_a_bin(tokens: int) -> None:
    histogram = length_histogram(requests_frame([(EPOCH, tokens, 5, "chat", "gateway-a")]))
    assert histogram["prompt_tokens_lo"].to_list() == [reference_edge(tokens)]
    assert histogram["prompt_tokens_sum"].to_list() == [tokens]


@settings(max_examples=20, deadline=None)
@given(rows, st.integers(1, 5))
def test_batches_and_merges_change_nothing(requests: list[Row], batch_rows: int) -> None:
    whole = length_histogram(requests_frame(requests)), arrivals_per_second(requests_frame(requests))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histogram_module, "_BATCH_ROWS", batch_rows)
        patch.setattr(histogram_module, "_MERGE_CELLS", 3)
        assert length_histogram(requests_frame(requests)).equals(whole[0])
        assert arrivals_per_second(requests_frame(requests)).equals(whole[1])


def cells_in_python(requests: list[Row]) -> dict[tuple, list[int]]:
    cells: dict[tuple, list[int]] = {}
    for arrival, prompt, output, archetype, _ in requests:
        key = (arrival.date(), "seven-b", archetype, arrival.hour, reference_edge(prompt), reference_edge(output))
        cell = cells.setdefault(key, [0, 0, 0])
        for position, amount in enumerate((1, prompt, output)):
            cell[position] += amount
    return cells


@settings(max_examples=60)
@given(rows)
def test_histogram_is_a_loop_over_requests(requests: list[Row]) -> None:
    histogram = length_histogram(requests_frame(requests))
    assert histogram.schema == schemas.CORE_LENGTH_HISTOGRAM.schema
    expected = [(*key, *cell) for key, cell in sorted(cells_in_python(requests).items())]
    assert histogram.rows() == expected


@settings(max_examples=60)
@given(rows, rows)
def test_histogram_of_both_is_the_sum_of_histograms(first: list[Row], second: list[Row]) -> None:
    key = list(schemas.CORE_LENGTH_HISTOGRAM.key)
    parts = pl.concat([length_histogram(requests_frame(part)) for part in (first, second)])
    summed = parts.group_by(key).agg(pl.exclude(key).sum()).sort(key)
    assert length_histogram(requests_frame(first + second)).rows() == summed.rows()


@settings(max_examples=60)
@given(rows)
def test_arrivals_are_a_loop_over_requests(requests: list[Row]) -> None:
    arrivals = arrivals_per_second(requests_frame(requests))
    assert arrivals.schema == schemas.CORE_ARRIVALS.schema
    counted = Counter(
        (
            arrival.date(),
            "seven-b",
            archetype,
            source,
            (arrival - arrival.replace(hour=0, minute=0, second=0, microsecond=0)) // timedelta(seconds=1),
        )
        for arrival, _, _, archetype, source in requests
    )
    assert arrivals.rows() == [(*key, count) for key, count in sorted(counted.items())]


@settings(max_examples=20)
@given(rows)
def test_order_of_requests_and_laziness_change_nothing(requests: list[Row]) -> None:
    frame, backwards = requests_frame(requests), requests_frame(requests[::-1])
    assert length_histogram(frame).equals(length_histogram(backwards.lazy()))
    assert arrivals_per_second(frame).equals(arrivals_per_second(backwards.lazy()))


def test_last_microsecond_of_a_day_stays_in_it() -> None:
    last = EPOCH + timedelta(days=1) - timedelta(microseconds=1)
    frame = requests_frame([(last, 1, 1, "chat", "gateway-a")])
    assert arrivals_per_second(frame)["second"].to_list() == [86_399]
    assert length_histogram(frame)["hour"].to_list() == [23]
