"""Which requests each pool really gets: routing by length, and compression of those just above the boundary."""

from dataclasses import dataclass

import numpy as np

from fleetopt.workload.lengths import JointLengths


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PoolMixture:
    """Lengths of the requests that a pool serves.

    Attributes
    ----------
    weight, prompt_tokens, output_tokens : np.ndarray
        float64[k]; weights are requests, lengths are what the pool is given, after compression.
    """

    weight: np.ndarray
    prompt_tokens: np.ndarray
    output_tokens: np.ndarray

    @property
    def requests(self) -> float:
        """Weight of the mixture."""
        return float(self.weight.sum())


def split(lengths: JointLengths, boundary_tokens: int | None, gamma: float) -> tuple[PoolMixture, ...]:
    """Mixture of each pool, short first; one pool if there is no boundary.

    Requests up to the boundary B go to the short pool. Of those above it and up to gamma B the compressible share is
    shortened to B tokens in all, the output kept whole, and goes there too; the rest stays long. Both pools are
    described by what they get after that, which the published algorithm leaves out for the short pool
    (arXiv 2603.16514, Algorithm 1).

    Parameters
    ----------
    lengths : JointLengths
    boundary_tokens : int or None
    gamma : float
        At least 1; 1 compresses nothing.
    """
    prompt, output, weight = lengths.prompt_tokens, lengths.output_tokens, lengths.weight
    if boundary_tokens is None:
        return (PoolMixture(weight=weight, prompt_tokens=prompt, output_tokens=output),)
    total = lengths.total_tokens
    is_short = total <= boundary_tokens
    compressed_prompt = boundary_tokens - output
    in_band = ~is_short & (total <= gamma * boundary_tokens) & (compressed_prompt >= 1)
    compressed = np.where(in_band, weight * lengths.compressible_fraction, 0.0)
    left = np.where(is_short, 0.0, weight - compressed)
    is_compressed, is_left = compressed > 0, left > 0
    short = PoolMixture(
        weight=np.concatenate([weight[is_short], compressed[is_compressed]]),
        prompt_tokens=np.concatenate([prompt[is_short], compressed_prompt[is_compressed]]),
        output_tokens=np.concatenate([output[is_short], output[is_compressed]]),
    )
    long = PoolMixture(weight=left[is_left], prompt_tokens=prompt[is_left], output_tokens=output[is_left])
    return short, long
