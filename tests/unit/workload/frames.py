"""Frames of requests for the tests of this folder, and strategies that make them."""

from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import strategies as st

EPOCH = datetime(2026, 3, 1, tzinfo=UTC)

Row = tuple[datetime, int, int, str, str]

lengths = st.one_of(st.integers(1, 200), st.integers(1, 2**20), st.integers(1, 2**45))

rows = st.lists(
    st.tuples(
        st.integers(0, 3 * 86_400 * 10**6 - 1).map(lambda us: EPOCH + timedelta(microseconds=us)),
        lengths,
        lengths,
        st.sampled_from(["chat", "code"]),
        st.sampled_from(["gateway-a", "gateway-b"]),
    ),
    max_size=40,
)


def requests_frame(requests: list[Row]) -> pl.DataFrame:
    """Columns of core_requests that the workload reads, from (arrival, prompt, output, archetype, source)."""
    schema = {
        "arrival_time": pl.Datetime("us", "UTC"),
        "prompt_tokens": pl.Int64,
        "output_tokens": pl.Int64,
        "archetype": pl.String,
        "source": pl.String,
    }
    return pl.DataFrame(requests, schema=schema, orient="row").with_columns(
        day=pl.col("arrival_time").dt.date(), fleet=pl.lit("seven-b")
    )


def at_seconds(seconds: list[float], source: str = "gateway-a") -> pl.DataFrame:
    """Requests of one source at seconds from `EPOCH`."""
    return requests_frame([(EPOCH + timedelta(seconds=s), 10, 5, "chat", source) for s in seconds])
