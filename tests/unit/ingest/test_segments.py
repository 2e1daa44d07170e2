"""Clocks that start again within a file."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetopt.ingest.parsed import PARSED_SCHEMA
from fleetopt.ingest.segments import ClockSegments

START = datetime(2025, 5, 1, tzinfo=UTC)
SECOND = datetime(2025, 6, 1, tzinfo=UTC)
RESTART_S = 300


def parsed(offsets_s):
    """Rows with these times on a clock that never starts again; None: a row without one."""
    times = [None if each is None else START + timedelta(seconds=each) for each in offsets_s]
    columns = {"arrival_time": times, "logged_time": times, "prompt_tokens": [5] * len(times)}
    frame = pl.DataFrame(columns, schema_overrides={name: PARSED_SCHEMA[name] for name in columns})
    missing = (pl.lit(None, dtype=dtype).alias(name) for name, dtype in PARSED_SCHEMA.items() if name not in columns)
    return frame.with_columns(missing).select(PARSED_SCHEMA.names())


def shifted(offsets_s, starts=(START,), restart_s=RESTART_S):
    segments = ClockSegments(restart_s, starts)
    frame = segments.shift(parsed(offsets_s))
    assert frame.schema == PARSED_SCHEMA
    return [each and (each - START).total_seconds() for each in frame["arrival_time"]], segments.restarts


def test_a_clock_that_goes_on_is_left_alone():
    assert shifted([10, 5, None, 400, 150, 101, 1000]) == ([10, 5, None, 400, 150, 101, 1000], 0)


def test_a_second_segment_follows_on_the_first():
    assert shifted([0, 500, 1000, 0, 10, 5]) == ([0, 500, 1000, 1000, 1010, 1005], 1)


def test_exactly_the_threshold_is_out_of_order_and_more_is_a_restart():
    assert shifted([1000, 700, 1001]) == ([1000, 700, 1001], 0)
    assert shifted([1000, 699.999999, 700])[1] == 1


def test_a_clock_that_starts_late_keeps_room_for_lines_out_of_order():
    # Its first line is 5,000 s after the clock's start; the line after that is 100 s earlier and in no other segment.
    assert shifted([9000, 5000, 4900, 5100]) == ([9000, 9300, 9200, 9400], 1)
    assert shifted([9000, 20, 10]) == ([9000, 9020, 9010], 1)


def test_declared_starts_come_first():
    day_s = (SECOND - START).total_seconds()
    times, restarts = shifted([0, 1000, 10, 1000, 5], (START, SECOND))
    assert times == [0, 1000, day_s + 10, day_s + 1000, day_s + 1005]
    assert restarts == 2


def test_lines_without_a_time_are_of_the_segment_above_them():
    frame = ClockSegments(RESTART_S, (START,)).shift(parsed([1000, None, 0, None]))
    assert frame["arrival_time"].is_null().to_list() == [False, True, False, True]


def test_a_line_that_cannot_be_used_starts_no_segment():
    frame = parsed([1000, 2, 1001]).with_columns(reason=pl.Series([None, "missing_field", None], dtype=pl.String))
    segments = ClockSegments(RESTART_S, (START,))
    assert segments.shift(frame).equals(frame)
    assert segments.restarts == 0


def test_arrivals_before_their_finish_move_with_it():
    frame = parsed([1000, 0]).with_columns(arrival_time=pl.col("logged_time") - pl.duration(seconds=2))
    frame = ClockSegments(RESTART_S, (START,)).shift(frame)
    assert ((frame["logged_time"] - frame["arrival_time"]).dt.total_seconds() == 2).all()


def test_what_comes_to_lie_after_2199_cannot_be_used():
    offset_s = (datetime(2199, 12, 31, 23, 59, tzinfo=UTC) - START).total_seconds()
    segments = ClockSegments(RESTART_S, (START,))
    frame = segments.shift(parsed([offset_s, 0, 30, 60, 90]))
    assert frame["reason"].to_list() == [None, None, None, "time_out_of_range", "time_out_of_range"]
    assert frame["prompt_tokens"].to_list() == [5, 5, 5, None, None]
    # Nor does any number of such restarts run out of numbers.
    for _ in range(100):
        frame = segments.shift(parsed([offset_s, 0]))
    assert frame["reason"].to_list() == ["time_out_of_range"] * 2


def test_a_segment_needs_a_start():
    with pytest.raises(ValueError, match="starts"):
        ClockSegments(RESTART_S, ())


def slowly(offsets_s, starts_s, restart_s):
    """The rule once more, a line at a time."""
    times, segment, highest, move = [], 0, None, 0
    for offset in offsets_s:
        if offset is None:
            times.append(None)
            continue
        if highest is not None and offset < highest - restart_s:
            segment += 1
            end, highest = highest + move, None
            move = starts_s[segment] if segment < len(starts_s) else end + min(offset, restart_s) - offset
        highest = offset if highest is None else max(highest, offset)
        times.append(offset + move)
    return times, segment


OFFSETS = st.lists(st.one_of(st.none(), st.integers(0, 30), st.integers(0, 3000)), max_size=30)


@settings(deadline=None)
@given(OFFSETS, st.integers(0, 4), st.lists(st.integers(0, 30), max_size=4))
def test_the_rule_and_that_it_does_not_matter_how_a_file_is_cut(offsets_s, n_declared, cuts):
    starts = tuple(START + timedelta(days=k) for k in range(n_declared + 1))
    expected, restarts = slowly(offsets_s, [86_400 * k for k in range(n_declared + 1)], RESTART_S)
    segments = ClockSegments(RESTART_S, starts)
    edges = sorted({0, len(offsets_s), *(cut for cut in cuts if cut < len(offsets_s))})
    parts = [segments.shift(parsed(offsets_s[a:b])) for a, b in pairwise(edges)]
    found = [each and (each - START).total_seconds() for part in parts for each in part["arrival_time"]]
    assert (found, segments.restarts) == (expected, restarts)


@settings(deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=30))
def test_no_line_is_sorted_into_the_segment_before(offsets_s):
    segments = ClockSegments(RESTART_S, (START,))
    latest, before = START, 0
    for offset in offsets_s:
        time = segments.shift(parsed([offset]))["arrival_time"][0]
        if segments.restarts > before:
            before, earliest = segments.restarts, latest
        assert before == 0 or time >= earliest
        latest = max(latest, time)
