"""CDF of lengths over a window of hours, with a band that covers sampling error and drift between hours."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from fleetopt.errors import InputError
from fleetopt.workload.histogram import bin_lower_edge, bin_upper_edge
from fleetopt.workload.lengths import JointLengths, with_cumulative

Quantity = Literal["prompt_tokens", "output_tokens", "total_tokens"]

MIN_BLOCKS = 12
"""Hour blocks below which drift cannot be told from chance and the band holds sampling error alone."""

_N_BOOTSTRAP = 1999


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantileBand:
    """A quantile of a length, tokens, with its band; ``upper`` is None where the band never reaches the quantile."""

    tokens: int
    lower: int
    upper: int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LengthCdf:
    """CDF of one length at the inclusive upper edges of the occupied bins, with a simultaneous band; read-only.

    Attributes
    ----------
    quantity : str
        ``prompt_tokens``, ``output_tokens`` or ``total_tokens``.
    tokens : np.ndarray
        int64[k], strictly increasing, tokens.
    fraction : np.ndarray
        float64[k], share of requests of at most that length; the last is 1.
    fraction_lower, fraction_upper : np.ndarray
        float64[k], edges of the band, 0 to 1, not decreasing.
    n_requests, n_blocks : int
        Requests, and hours that held any.
    confidence : float
        Chance that the band holds the whole CDF, under its assumptions.
    band_method : str
        What the band covers, in words for a report.
    """

    quantity: Quantity
    tokens: np.ndarray
    fraction: np.ndarray
    fraction_lower: np.ndarray
    fraction_upper: np.ndarray
    n_requests: int
    n_blocks: int
    confidence: float
    band_method: str

    def quantile(self, fraction: float) -> QuantileBand:
        """Shortest length that at least that share of requests does not exceed, with the band's own quantiles.

        A length is given as the upper edge of its bin: exact below 64 tokens, at most 1/32 too long above.

        Raises
        ------
        ValueError
            If the fraction is not above 0 and at most 1.
        """
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction: {fraction} is not above 0 and at most 1")
        middle, lower, upper = (
            int(np.searchsorted(edge, fraction, side="left"))
            for edge in (self.fraction, self.fraction_upper, self.fraction_lower)
        )
        return QuantileBand(
            tokens=int(self.tokens[middle]),
            lower=int(self.tokens[lower]),
            upper=int(self.tokens[upper]) if upper < len(self.tokens) else None,
        )


def dkw_half_width(n_requests: int, confidence: float = 0.95) -> float:
    """Half-width of a simultaneous band for a CDF of independent, equally distributed requests.

    sqrt(ln(2 / alpha) / (2 n)): the inequality of Dvoretzky, Kiefer and Wolfowitz (1956) with the constant of
    Massart (1990, Annals of Probability 18, corollary 1).

    Examples
    --------
    >>> round(dkw_half_width(10_000), 5)
    0.01358
    """
    return float(np.sqrt(np.log(2 / (1 - confidence)) / (2 * n_requests)))


def length_cdf(histogram: pl.DataFrame, quantity: Quantity, *, confidence: float = 0.95, seed: int = 0) -> LengthCdf:
    """CDF of a length over the rows of a length histogram, with a simultaneous band.

    Parameters
    ----------
    histogram : pl.DataFrame
        ``schemas.CORE_LENGTH_HISTOGRAM``: the rows of the window, of one archetype or of a whole fleet.
    quantity : {"prompt_tokens", "output_tokens", "total_tokens"}
    confidence : float
        Coverage of the whole band, above 0 and below 1.
    seed : int
        Of the bootstrap's signs.

    Returns
    -------
    LengthCdf
        Exact at the bins' upper edges for prompt and output. For the total every cell stands at its mean total, so a
        request may be counted up to 1/32 of its length away from its own.

    Raises
    ------
    InputError
        If there are no rows.

    Notes
    -----
    The band is at every length the wider of two. The first (`dkw_half_width`) covers sampling error and assumes
    independent requests. Lengths also drift from hour to hour, which no number of requests in one hour averages out.
    With at least `MIN_BLOCKS` hours (a day's hour is a block) the second is a sup-t band: the ratio of request counts
    is linearised per block, blocks get random signs (wild cluster bootstrap with Rademacher weights, Cameron, Gelbach
    and Miller 2008), every draw is studentised by its own standard error, and the largest ratio over all lengths gives
    the critical value (Montiel Olea and Plagborg-Moller 2019). It assumes that blocks are independent of
    each other: drift that lasts for days is covered only in so far as it shows between hours.
    """
    if histogram.is_empty():
        raise InputError("length histogram: no requests in the window, so no CDF")
    counts, lower_edge = _block_counts(histogram, quantity)
    n_blocks, n_requests = len(counts), int(counts.sum())
    cumulative = np.cumsum(counts, axis=1)
    fraction = cumulative.sum(axis=0) / n_requests
    half_width = np.full(len(fraction), dkw_half_width(n_requests, confidence))
    if n_blocks >= MIN_BLOCKS:
        half_width = np.maximum(half_width, _drift_half_width(cumulative, confidence, seed))
        method = f"wider of sampling error (DKW) and drift between {n_blocks} hour blocks (sup-t, wild bootstrap)"
    else:
        method = f"sampling error only: {n_blocks} hour blocks are too few to see drift"
    # A CDF rises, so a bound at one length holds for the lengths on its other side as well.
    lower = np.maximum.accumulate(np.clip(fraction - half_width, 0.0, 1.0))
    upper = np.minimum.accumulate(np.clip(fraction + half_width, 0.0, 1.0)[::-1])[::-1]
    tokens = bin_upper_edge(lower_edge)
    for array in (tokens, fraction, lower, upper):
        array.setflags(write=False)
    return LengthCdf(
        quantity=quantity,
        tokens=tokens,
        fraction=fraction,
        fraction_lower=lower,
        fraction_upper=upper,
        n_requests=n_requests,
        n_blocks=n_blocks,
        confidence=confidence,
        band_method=method,
    )


def upper_lengths(lengths: JointLengths, total_cdf: LengthCdf) -> JointLengths:
    """Lengths at the lower edge of the band of their own total-token CDF: the longest that the data allow.

    Each point's share below is replaced by the band's lower edge at that share; what is left over goes to the
    longest point.

    Parameters
    ----------
    lengths : JointLengths
    total_cdf : LengthCdf
        Of ``total_tokens``, over the same rows as the lengths.

    Returns
    -------
    JointLengths
        Stochastically larger in total tokens; the same sum of weights.
    """
    shares = np.concatenate(([0.0], total_cdf.fraction))
    lowered = np.concatenate(([0.0], total_cdf.fraction_lower))
    return with_cumulative(lengths, np.interp(lengths.cumulative_fraction, shares, lowered))


def _block_counts(histogram: pl.DataFrame, quantity: Quantity) -> tuple[np.ndarray, np.ndarray]:
    """Requests per hour block and bin, float64[blocks, bins], and the bins' lower edges, int64[bins]."""
    if quantity == "total_tokens":
        mean_total = (pl.col("prompt_tokens_sum") + pl.col("output_tokens_sum")) // pl.col("requests")
        edge = bin_lower_edge(histogram.select(mean_total).to_series().to_numpy())
    else:
        edge = histogram[f"{quantity}_lo"].to_numpy()
    hour = histogram.select(pl.col("day").cast(pl.Int32).cast(pl.Int64) * 24 + pl.col("hour"))
    blocks, block = np.unique(hour.to_series().to_numpy(), return_inverse=True)
    edges, column = np.unique(edge, return_inverse=True)
    counts = np.bincount(
        block * len(edges) + column,
        weights=histogram["requests"].to_numpy(),
        minlength=len(blocks) * len(edges),
    )
    return counts.reshape(len(blocks), len(edges)), edges


def _drift_half_width(cumulative: np.ndarray, confidence: float, seed: int) -> np.ndarray:
    """Half-width of the sup-t band, float64[bins], from cumulative counts, float64[blocks, bins].

    With influences u_g of the blocks and signs w_g, a draw's deviation over its own standard error is
    t = z / sqrt((1 - z^2 / G) G / (G - 1)) with z = sum(w_g u_g) / sqrt(sum(u_g^2)), because signs leave the sum of
    squares as it is. That rises with |z|, so the largest t over the bins comes from the largest |z|.
    """
    n_blocks = len(cumulative)
    block_size = cumulative[:, -1]
    fraction = cumulative.sum(axis=0) / block_size.sum()
    influence = (cumulative - block_size[:, None] * fraction) / block_size.sum()
    scale = np.sqrt(np.square(influence).sum(axis=0))
    varies = scale > 0
    if not varies.any():
        return np.zeros(len(fraction))
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(_N_BOOTSTRAP, n_blocks))
    largest = np.abs(signs @ (influence[:, varies] / scale[varies])).max(axis=1)
    # Sorting keeps ties of the finite sign set on the safe side; rounding hides the order of the matrix product's sums.
    z = np.quantile(largest, confidence, method="higher").round(6)
    z_squared = min(z * z, n_blocks * (1 - 1e-9))
    critical = z / np.sqrt((1 - z_squared / n_blocks) * n_blocks / (n_blocks - 1))
    return np.asarray(critical * scale * np.sqrt(n_blocks / (n_blocks - 1)))
