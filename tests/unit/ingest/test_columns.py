"""Parquet files of requests: whatever columns hold, it is read again as it was."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetopt.ingest.columns import has_one_value, write_columns
from fleetopt.schemas import RAW_REQUESTS

VALUES = {
    pl.String: st.sampled_from(["a", "b", ""]),
    pl.Int64: st.sampled_from([0, 1, -(2**63), 2**63 - 1]),
    pl.Int32: st.sampled_from([1, 2]),
    pl.Float64: st.sampled_from([0.5, float("inf")]),
    pl.Boolean: st.booleans(),
    pl.Date: st.dates(),
    RAW_REQUESTS.schema["arrival_time"]: st.integers(0, 10**15).map(
        lambda us: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    ),
}


@given(st.data(), st.integers(1, 5))
def test_a_frame_comes_back(tmp_path_factory, data, n):
    columns = {
        name: pl.Series(data.draw(st.lists(st.none() | VALUES[dtype], min_size=n, max_size=n)), dtype=dtype)
        for name, dtype in RAW_REQUESTS.schema.items()
    }
    frame = pl.DataFrame(columns)
    file = tmp_path_factory.mktemp("columns") / "x.parquet"
    write_columns(frame, file, row_group_rows=2)
    held = [name for name in frame.columns if frame[name].null_count() < n]
    read = pl.read_parquet(file)
    assert read.columns == held
    assert read.equals(frame.select(held))
    assert read.schema == frame.select(held).schema


def test_times_have_statistics_by_which_row_groups_are_passed_over(tmp_path):
    times = pl.Series([1, 2, 3, 4], dtype=pl.Int64).cast(RAW_REQUESTS.schema["arrival_time"])
    write_columns(pl.DataFrame({"arrival_time": times}), tmp_path / "x.parquet", row_group_rows=2)
    groups = pq.ParquetFile(tmp_path / "x.parquet").metadata
    second = groups.row_group(1).column(0).statistics
    assert (second.min, second.max) == (times[2], times[3])


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 1], True), ([1, 2, 1], False), ([None, None], True), ([1, None, 1], False), ([0.5], True)],
)
def test_one_value(values, expected):
    assert has_one_value(pl.Series(values)) is expected
