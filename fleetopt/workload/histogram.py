"""Histograms of a day's requests: joint lengths per archetype and hour, and arrivals per second.

Both are sums over requests, so they merge: the histogram of two sets of requests together is the sum of their
histograms. Everything after this step reads them and never the requests, which is what keeps the cost of a plan
independent of the number of requests.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from fleetopt import schemas
from fleetopt.compiled import compiled

LEADING_BITS = 6
"""Binary digits that a bin keeps: lengths below ``2**6`` are exact, a bin above is at most 1/32 of its length wide."""

_LABELS = ("day", "fleet", "archetype")
_BATCH_ROWS = 1 << 20
_MERGE_CELLS = 1 << 17
"""So many cells of an hour, 32 bytes each, may wait to be merged."""
_BIN_BITS = 11
"""Any length up to 2**63 - 1 has a bin below 2**11; see `_bin`."""
_HOUR_US = 3_600_000_000
_SECONDS_PER_DAY = 86_400

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

    Raises
    ------
    ValueError
        If a time or length is missing, or a length is negative.
    """
    held: dict[tuple[Any, ...], _Cells] = {}
    for label, rows in _by_label(requests, _LABELS, ("arrival_time", "prompt_tokens", "output_tokens")):
        held.setdefault(label, _Cells()).add(*(_numbers(rows, name) for name in rows.columns[-3:]))
    frames = [_labelled(label, _LABELS, held[label].frame()) for label in sorted(held)]
    return _in_schema(frames, schemas.CORE_LENGTH_HISTOGRAM)


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

    Raises
    ------
    ValueError
        If a time is missing.
    """
    held: dict[tuple[Any, ...], np.ndarray] = {}
    names = (*_LABELS, "source")
    for label, rows in _by_label(requests, names, ("arrival_time",)):
        second = _numbers(rows, "arrival_time") // 1_000_000 % _SECONDS_PER_DAY
        counts = np.bincount(second, minlength=_SECONDS_PER_DAY)
        held[label] = held.get(label, 0) + counts
    frames = [
        _labelled(label, names, pl.DataFrame({"second": np.flatnonzero(counts), "requests": counts[counts > 0]}))
        for label, counts in sorted(held.items(), key=lambda item: item[0])
    ]
    return _in_schema(frames, schemas.CORE_ARRIVALS)


class _Cells:
    """The cells of one day, fleet and archetype while rows come in: a number each for its place, and its three sums."""

    def __init__(self) -> None:
        self._hours: dict[int, list[np.ndarray]] = {}

    def add(self, time_us: np.ndarray, prompt: np.ndarray, output: np.ndarray) -> None:
        """Count requests: int64[n] each; hour by hour, since the cells of one hour fit into a processor's cache."""
        hour = time_us // _HOUR_US % 24
        if (hour[1:] < hour[:-1]).any():
            order = np.argsort(hour, kind="stable")
            hour, prompt, output = hour[order], prompt[order], output[order]
        starts = np.flatnonzero(np.concatenate([[True], hour[1:] != hour[:-1]]))
        for start, end in zip(starts, [*starts[1:], len(hour)], strict=True):
            held = self._hours.setdefault(int(hour[start]), [])
            held.append(_cells_of(int(hour[start]), prompt[start:end], output[start:end]))
            if sum(cells.shape[1] for cells in held) > _MERGE_CELLS:
                held[:] = [_merged(held)]

    def frame(self) -> pl.DataFrame:
        """Cells in order of hour, prompt and output bin."""
        merged = [_merged(self._hours.pop(hour)) for hour in sorted(self._hours)]
        code, requests, prompt_sum, output_sum = np.concatenate(merged, axis=1)
        mask = (1 << _BIN_BITS) - 1
        return pl.DataFrame(
            {
                "hour": code >> 2 * _BIN_BITS,
                "prompt_tokens_lo": _bin_edge(code >> _BIN_BITS & mask),
                "output_tokens_lo": _bin_edge(code & mask),
                "requests": requests,
                "prompt_tokens_sum": prompt_sum,
                "output_tokens_sum": output_sum,
            }
        )


def _merged(held: Sequence[np.ndarray]) -> np.ndarray:
    """Add up cells of the same place; in order of place."""
    if len(held) == 1:
        return held[0]
    cells = np.concatenate(held, axis=1)
    cells = cells[:, np.argsort(cells[0], kind="stable")]
    starts = np.flatnonzero(np.diff(cells[0], prepend=-1))
    return np.vstack([cells[0, starts], np.add.reduceat(cells[1:], starts, axis=1)])


def _cells_of(hour: int, prompt: np.ndarray, output: np.ndarray) -> np.ndarray:
    """Cells of requests of one hour: int64[4, k], a number that orders as hour, prompt and output bin, and the sums."""
    sums = np.zeros((_bin(prompt.max()) + 1, _bin(output.max()) + 1, 3), dtype=np.int64)
    _sum_lengths(prompt, output, sums)
    by_cell = sums.reshape(-1, 3)
    filled = np.flatnonzero(by_cell[:, 0] > 0)
    prompt_bin, output_bin = np.divmod(filled, sums.shape[1])
    code = (hour << _BIN_BITS | prompt_bin) << _BIN_BITS | output_bin
    return np.vstack([code, by_cell[filled].T])


@compiled()
def _sum_lengths(prompt: np.ndarray, output: np.ndarray, sums: np.ndarray) -> None:
    for i in range(len(prompt)):
        cell = sums[_bin(prompt[i]), _bin(output[i])]
        cell[0] += 1
        cell[1] += prompt[i]
        cell[2] += output[i]


@compiled()
def _bin(tokens: int) -> int:
    """Number of the bin that holds a length: bins are numbered from 0 without gaps, 32 for each power of two from 64.

    With the shift s of `bin_lower_edge` it is ``32 s + (v >> s)``. The shift is read off the exponent of the length as
    a floating-point number. One that is rounded up to a power of two has 63 as its leading digits: with a shift that
    is one too large, 31 is left of them, and the number is the same.
    """
    exponent = (int(np.float64(tokens).view(np.int64)) >> 52) - 1023
    shift = max(exponent + 1 - LEADING_BITS, 0)
    return (shift << LEADING_BITS - 1) + (tokens >> shift)


def _bin_edge(number: np.ndarray) -> np.ndarray:
    """Lower edges of bins, given their numbers."""
    shift = np.maximum((number >> LEADING_BITS - 1) - 1, 0)
    return (number - (shift << LEADING_BITS - 1)) << shift


def _by_label(
    requests: pl.DataFrame | pl.LazyFrame, labels: Sequence[str], columns: Sequence[str]
) -> Iterator[tuple[tuple[Any, ...], pl.DataFrame]]:
    """Read requests batch by batch, parted by what their labels are."""
    batches = requests.lazy().select(*labels, *columns).collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True)
    for batch in batches:
        if not batch.height:
            continue
        # Mostly a batch is of one source and day, which is quicker to see than to part it.
        if all((batch[label] == batch[label][0]).all() for label in labels):
            yield batch.row(0)[: len(labels)], batch
        else:
            yield from batch.group_by(labels)


def _numbers(rows: pl.DataFrame, name: str) -> np.ndarray:
    """Return a column's values as int64[n]; times in microseconds since 1970.

    Raises
    ------
    ValueError
        If one is missing or negative.
    """
    values = rows[name].to_physical()
    if values.null_count():
        raise ValueError(f"{name}: a value is missing")
    if name != "arrival_time" and (values < 0).any():
        raise ValueError(f"{name}: a length is negative")
    return values.to_numpy()


def _labelled(label: Sequence[Any], names: Sequence[str], rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.lit(value).alias(name) for name, value in zip(names, label, strict=True))


def _in_schema(frames: Sequence[pl.DataFrame], table: schemas.Table) -> pl.DataFrame:
    rows = (frame.select(pl.col(name).cast(dtype) for name, dtype in table.schema.items()) for frame in frames)
    return pl.concat([table.schema.to_frame(), *rows])
