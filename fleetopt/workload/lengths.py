"""Joint distribution of prompt and output lengths, as weighted points, and where it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from fleetopt.errors import InputError
from fleetopt.workload.trace import Trace

POINTS_PER_CDF_BIN = 256
"""Points that stand for one bin of a published CDF.

A share of requests read off the points differs from the piecewise uniform CDF by at most 1/512 of one bin's mass
(below 0.0005 for the shipped references), nothing at the bin's edges, and the mean not at all.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointLengths:
    """Weighted points of a joint length distribution, sorted by total tokens; the arrays are read-only.

    Attributes
    ----------
    prompt_tokens, output_tokens : np.ndarray
        float64[k], tokens, at least 1. A point may be the mean of a histogram cell and so need not be whole.
    weight : np.ndarray
        float64[k], requests, above 0; the sum need not be 1.
    compressible_fraction : np.ndarray
        float64[k], share of the point's requests that may be compressed.
    """

    prompt_tokens: np.ndarray
    output_tokens: np.ndarray
    weight: np.ndarray
    compressible_fraction: np.ndarray

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def total_tokens(self) -> np.ndarray:
        """float64[k], prompt and output together, tokens, not decreasing."""
        return self.prompt_tokens + self.output_tokens

    @property
    def cumulative_fraction(self) -> np.ndarray:
        """float64[k], share of requests up to and including each point; the last is exactly 1."""
        cumulative = np.cumsum(self.weight)
        return np.asarray(cumulative / cumulative[-1])

    def fraction_at_most(self, tokens: float) -> float:
        """Share of requests with at most that many total tokens: F of arXiv 2603.16514."""
        n_points = int(np.searchsorted(self.total_tokens, tokens, side="right"))
        return float(self.weight[:n_points].sum() / self.weight.sum())

    def within_context(self, limit: int) -> tuple["JointLengths", float]:
        """Drop the requests that a context limit rejects.

        Parameters
        ----------
        limit : int
            Longest request that is served, prompt and output together, tokens.

        Returns
        -------
        lengths : JointLengths
            The rest; no points if nothing fits.
        rejected_share : float
            Share of requests that were dropped, 0 to 1.
        """
        n_points = int(np.searchsorted(self.total_tokens, limit, side="right"))
        if n_points == len(self):
            return self, 0.0
        kept = JointLengths(
            prompt_tokens=self.prompt_tokens[:n_points],
            output_tokens=self.output_tokens[:n_points],
            weight=self.weight[:n_points],
            compressible_fraction=self.compressible_fraction[:n_points],
        )
        return kept, float(self.weight[n_points:].sum() / self.weight.sum())


def make_lengths(
    prompt_tokens: np.ndarray,
    output_tokens: np.ndarray,
    weight: np.ndarray,
    compressible_fraction: np.ndarray | float,
    where: str = "lengths",
) -> JointLengths:
    """Check the points of a length distribution, sort them by total tokens and freeze them.

    Raises
    ------
    InputError
        If there are no points, arrays differ in length, a length is below 1 or not finite, a weight is not positive
        and finite, or a compressible fraction is outside 0 to 1.
    """
    columns = [np.asarray(array, dtype=np.float64) for array in (prompt_tokens, output_tokens, weight)]
    columns.append(np.broadcast_to(np.asarray(compressible_fraction, dtype=np.float64), columns[2].shape))
    prompt, output, requests, compressible = columns
    if len({len(column) for column in columns}) != 1:
        raise InputError(f"{where}: columns differ in length")
    if not len(requests):
        raise InputError(f"{where}: no requests, so no lengths to plan for")
    for name, values in (("prompt_tokens", prompt), ("output_tokens", output)):
        if not (np.isfinite(values) & (values >= 1)).all():
            raise InputError(f"{where}: {name} holds a length that is below 1 or not finite")
    if not (np.isfinite(requests) & (requests > 0)).all():
        raise InputError(f"{where}: a weight is not a positive number")
    if not ((compressible >= 0) & (compressible <= 1)).all():
        raise InputError(f"{where}: compressible_fraction has to lie between 0 and 1")
    order = np.lexsort((output, prompt, prompt + output))
    prompt, output, requests, compressible = (column[order] for column in columns)
    for array in (prompt, output, requests, compressible):
        array.setflags(write=False)
    return JointLengths(prompt_tokens=prompt, output_tokens=output, weight=requests, compressible_fraction=compressible)


def lengths_from_histogram(frame: pl.DataFrame, compressible_fraction: Mapping[str, float]) -> JointLengths:
    """Lengths of the requests in rows of ``core_length_histogram``, all archetypes and hours together.

    Parameters
    ----------
    frame : pl.DataFrame
        ``schemas.CORE_LENGTH_HISTOGRAM``, the rows of one fleet.
    compressible_fraction : mapping of str to float
        Share of each archetype's requests that may be compressed; one that is not named is never compressed.

    Returns
    -------
    JointLengths
        A point per cell, at the mean of its requests, so that mean lengths are exact. A threshold inside a cell puts
        the whole cell on one side; a cell is at most 1/32 of its length wide.

    Raises
    ------
    InputError
        If there are no rows or a fraction is outside 0 to 1.
    """
    cells = (
        frame.with_columns(
            compressible=pl.col("requests")
            * pl.col("archetype").replace_strict(
                list(compressible_fraction),
                list(compressible_fraction.values()),
                default=0.0,
                return_dtype=pl.Float64,
            )
        )
        .group_by("prompt_tokens_lo", "output_tokens_lo")
        .agg(pl.col("requests", "prompt_tokens_sum", "output_tokens_sum", "compressible").sum())
    )
    requests = cells["requests"].to_numpy()
    return make_lengths(
        cells["prompt_tokens_sum"].to_numpy() / requests,
        cells["output_tokens_sum"].to_numpy() / requests,
        requests,
        cells["compressible"].to_numpy() / requests,
        where="length histogram",
    )


def lengths_from_trace(trace: Trace) -> JointLengths:
    """Lengths of a trace's requests; equal pairs are one point, nothing is binned.

    Raises
    ------
    InputError
        If the trace is empty, or its lengths are absurd.
    """
    stride = int(trace.output_tokens.max(initial=0)) + 1
    if int(trace.prompt_tokens.max(initial=0)) * stride > np.iinfo(np.int64).max // 2:
        raise InputError("trace: prompt_tokens and output_tokens are longer than any context")
    pair, inverse, requests = np.unique(
        trace.prompt_tokens * stride + trace.output_tokens, return_inverse=True, return_counts=True
    )
    compressible = np.bincount(inverse, weights=trace.is_compressible, minlength=len(pair))
    return make_lengths(pair // stride, pair % stride, requests, compressible / requests, where="trace")


def check_cdf(points: Sequence[tuple[float, float]], where: str) -> None:
    """Check that points are a CDF of total tokens.

    Parameters
    ----------
    points : sequence of (float, float)
        Tokens and the share of requests of at most that length.
    where : str
        File or name, for messages.

    Raises
    ------
    InputError
        If there are no points, tokens are below 1 or do not increase, fractions decrease or lie outside 0 to 1, or
        the last is not 1 within 1e-6.
    """
    if not points:
        raise InputError(f"{where}: the CDF has no points")
    for row, (tokens, fraction) in enumerate(points, start=1):
        if not (np.isfinite(tokens) and tokens >= 1):
            raise InputError(f"{where}: point {row}: {tokens} tokens; a length is a finite number from 1")
        if not 0 <= fraction <= 1:
            raise InputError(f"{where}: point {row}: fraction {fraction} is not between 0 and 1")
    for row, ((tokens, fraction), (next_tokens, next_fraction)) in enumerate(pairwise(points), start=2):
        if next_tokens <= tokens:
            raise InputError(f"{where}: point {row}: tokens must increase, {next_tokens} follows {tokens}")
        if next_fraction < fraction:
            raise InputError(f"{where}: point {row}: fractions must not decrease, {next_fraction} follows {fraction}")
    if abs(points[-1][1] - 1) > 1e-6:
        raise InputError(f"{where}: the last fraction is {points[-1][1]}, not 1; the CDF is cut off")


def lengths_from_cdf(
    points: Sequence[tuple[float, float]],
    output_fraction: float = 0.2,
    compressible_fraction: float = 1.0,
    where: str = "CDF",
) -> JointLengths:
    """Lengths that follow a CDF of total tokens, uniform inside each of its bins; the first bin starts at 1 token.

    Parameters
    ----------
    points : sequence of (float, float)
        Tokens (increasing) and the share of requests of at most that length.
    output_fraction : float
        Share of the total that is output, between 0 and 1, the same for every request. The default is that of
        arXiv 2603.16514 (its reference code splits 80/20).
    compressible_fraction : float
        Share of requests that may be compressed.
    where : str
        File or name, for messages.

    Returns
    -------
    JointLengths
        `POINTS_PER_CDF_BIN` points a bin, at the middle of equal parts of it; weights sum to 1. Prompt and output are
        at least 1 token each, so a total below 2 tokens counts as 2.

    Raises
    ------
    InputError
        If the points are not a CDF or a fraction is out of range.
    """
    check_cdf(points, where)
    if not 0 < output_fraction < 1:
        raise InputError(f"{where}: output fraction {output_fraction} is not between 0 and 1")
    table = np.asarray(points, dtype=np.float64)
    edges = np.concatenate(([1.0], table[:, 0]))
    mass = np.diff(table[:, 1], prepend=0.0)
    is_used = mass > 1e-15  # smaller steps are rounding errors of the fractions
    part = (np.arange(POINTS_PER_CDF_BIN) + 0.5) / POINTS_PER_CDF_BIN
    total = (edges[:-1, None] + np.diff(edges)[:, None] * part)[is_used].ravel()
    total = np.maximum(total, 2.0)
    output = np.clip(total * output_fraction, 1.0, total - 1.0)
    weight = np.repeat(mass[is_used] / mass.sum() / POINTS_PER_CDF_BIN, POINTS_PER_CDF_BIN)
    return make_lengths(total - output, output, weight, compressible_fraction, where)


def with_cumulative(lengths: JointLengths, cumulative_fraction: np.ndarray) -> JointLengths:
    """Lengths on the same points with another CDF of total tokens.

    Parameters
    ----------
    lengths : JointLengths
    cumulative_fraction : np.ndarray
        float64[k], not decreasing; clipped to 0 to 1, and the last is taken as 1.

    Returns
    -------
    JointLengths
        The same sum of weights; points left without weight are dropped.
    """
    cumulative = np.clip(cumulative_fraction, 0.0, 1.0)
    cumulative[-1] = 1.0
    fraction = np.diff(cumulative, prepend=0.0)
    has_weight = fraction > 0
    return make_lengths(
        lengths.prompt_tokens[has_weight],
        lengths.output_tokens[has_weight],
        (fraction * lengths.weight.sum())[has_weight],
        lengths.compressible_fraction[has_weight],
    )


def sample(
    lengths: JointLengths,
    n: int,
    rng: np.random.Generator,
    compressible_rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw requests independently, prompt and output together.

    Parameters
    ----------
    lengths : JointLengths
    n : int
        Requests to draw.
    rng : np.random.Generator
    compressible_rng : np.random.Generator, optional
        Stream that decides which requests may be compressed; by default what follows in ``rng``.

    Returns
    -------
    prompt_tokens, output_tokens : np.ndarray
        int64[n], tokens, at least 1. Lengths that are not whole are rounded up or down at random such that the means
        of output and total are kept, and the total is never rounded past the next whole token: a point within a
        boundary stays within it.
    is_compressible : np.ndarray
        bool[n].
    """
    point = np.searchsorted(lengths.cumulative_fraction, rng.random(n), side="right")
    total = _round_at_random(lengths.total_tokens[point], rng)
    output = _round_at_random(lengths.output_tokens[point], rng)
    prompt = np.maximum(total - output, 1.0)
    is_compressible = (compressible_rng or rng).random(n) < lengths.compressible_fraction[point]
    return prompt.astype(np.int64), output.astype(np.int64), is_compressible


def _round_at_random(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    whole = np.floor(values)
    return np.asarray(whole + (rng.random(len(values)) < values - whole))
