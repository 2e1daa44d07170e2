"""Histograms of a day's requests: joint lengths per archetype and hour, and arrivals per second.

Both are sums over requests, so they merge: the histogram of two sets of requests together is the sum of their
histograms. Everything after this step reads them and never the requests, which is what keeps the cost of a plan
independent of the number of requests.
"""

import numpy as np
import polars as pl

from fleetopt import schemas

LEADING_BITS = 6
"""Binary digits that a bin keeps: lengths below ``2**6`` are exact, a bin above is at most 1/32 of its length wide."""

_POWERS_OF_TWO = 2 ** np.arange(63, dtype=np.int64)


def _bin_width(tokens: np.ndarray) -> np.ndarray:
    bit_length = np.searchsorted(_POWERS_OF_TWO, tokens, side="right")
    return _POWERS_OF_TWO[np.maximum(bit_length - LEADING_BITS, 0)]


def bin_lower_edge(tokens: np.ndarray) -> np.ndarray:
    """Lower edge of the bin that holds each length.

    With b the number of binary digits of v and s = max(0, b - 6), the edge is ``(v >> s) << s``.

    Parameters
    ----------
    tokens : np.ndarray
        int64[n], tokens, not negative.

    Returns
    -------
    np.ndarray
        int64[n], tokens.

    Raises
    ------
    ValueError
        If a length is negative.

    Examples
    --------
    >>> bin_lower_edge(np.array([63, 64, 65, 4097]))
    array([  63,   64,   64, 4096])
    """
    lengths = np.asarray(tokens, dtype=np.int64)
    if (lengths < 0).any():
        raise ValueError("tokens: a length is negative")
    return lengths & -_bin_width(lengths)


def bin_upper_edge(lower_edge: np.ndarray) -> np.ndarray:
    """Longest length of each bin, given its lower edge: int64[n], tokens, inclusive.

    Examples
    --------
    >>> bin_upper_edge(np.array([63, 64, 4096]))
    array([  63,   65, 4223])
    """
    lower = np.asarray(lower_edge, dtype=np.int64)
    return lower + _bin_width(lower) - 1


def bin_lower_edge_expr(tokens: pl.Expr) -> pl.Expr:
    """`bin_lower_edge` as a Polars expression: Int64 in, Int64 out; null stays null."""
    bit_length = 64 - tokens.cast(pl.Int64).bitwise_leading_zeros().cast(pl.Int64)
    shift = pl.max_horizontal(bit_length - LEADING_BITS, pl.lit(0, dtype=pl.Int64))
    width = pl.lit(2, dtype=pl.Int64).pow(shift)
    return tokens.cast(pl.Int64) - tokens.cast(pl.Int64) % width


def length_histogram(requests: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """Joint histogram of prompt and output lengths per day, fleet, archetype and hour.

    Parameters
    ----------
    requests : pl.DataFrame or pl.LazyFrame
        Columns of ``schemas.CORE_REQUESTS``; a lazy frame is read as a stream.

    Returns
    -------
    pl.DataFrame
        ``schemas.CORE_LENGTH_HISTOGRAM``, sorted by its key. Counts and sums of tokens are exact.
    """
    table = schemas.CORE_LENGTH_HISTOGRAM
    return _count(
        requests.lazy().with_columns(
            hour=pl.col("arrival_time").dt.hour(),
            prompt_tokens_lo=bin_lower_edge_expr(pl.col("prompt_tokens")),
            output_tokens_lo=bin_lower_edge_expr(pl.col("output_tokens")),
        ),
        table,
        key=table.key,
        prompt_tokens_sum=pl.col("prompt_tokens").sum(),
        output_tokens_sum=pl.col("output_tokens").sum(),
    )


def arrivals_per_second(requests: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """Arrivals in every second that had any, per day, fleet, archetype and source.

    Parameters
    ----------
    requests : pl.DataFrame or pl.LazyFrame
        Columns of ``schemas.CORE_REQUESTS``; a lazy frame is read as a stream.

    Returns
    -------
    pl.DataFrame
        ``schemas.CORE_ARRIVALS``, sorted by day, fleet, archetype, source, second.
    """
    time = pl.col("arrival_time").dt
    second = time.hour().cast(pl.Int32) * 3600 + time.minute().cast(pl.Int32) * 60 + time.second()
    return _count(
        requests.lazy().with_columns(second=second),
        schemas.CORE_ARRIVALS,
        key=("day", "fleet", "archetype", "source", "second"),
    )


def _count(requests: pl.LazyFrame, table: schemas.Table, key: tuple[str, ...], **sums: pl.Expr) -> pl.DataFrame:
    """Count requests by the key, in the table's schema and in one order whatever the engine did."""
    return (
        requests.group_by(key)
        .agg(requests=pl.len(), **sums)
        .select(pl.col(name).cast(dtype) for name, dtype in table.schema.items())
        .sort(key)
        .collect(engine="streaming")
    )
