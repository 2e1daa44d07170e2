"""Which requests each pool really gets: routing by length, and compression of those just above the boundary."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fleetopt.compiled import compiled
from fleetopt.workload.lengths import JointLengths

_FORGIVEN_TOKENS = 1e-6


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


def split(lengths: JointLengths, boundaries_tokens: Sequence[int], gamma: float) -> tuple[PoolMixture, ...]:
    """Mixture of each pool, short first; one more than there are boundaries.

    A request goes to the first pool whose boundary it does not exceed. The compressible share of the requests above a
    boundary B and up to gamma B is shortened to B tokens in all, the output kept whole, and goes to that pool, the
    lowest there is; what would have no prompt left stays where it is. Every pool is described by what it gets after
    that, which the published algorithm leaves out for the short pool (arXiv 2603.16514, Algorithm 1).

    Parameters
    ----------
    lengths : JointLengths
    boundaries_tokens : sequence of int
        Increasing.
    gamma : float
        At least 1; 1 compresses nothing.
    """
    return tuple(pool_mixture(lengths, boundaries_tokens, gamma, pool) for pool in range(len(boundaries_tokens) + 1))


def pool_mixture(lengths: JointLengths, boundaries_tokens: Sequence[int], gamma: float, pool: int) -> PoolMixture:
    """Mixture of one pool of :func:`split`, by its index from the shortest up."""
    weight, prompt, output, _ = _select(
        lengths.weight,
        lengths.prompt_tokens,
        lengths.output_tokens,
        lengths.compressible_fraction,
        np.array(boundaries_tokens, dtype=np.float64),
        gamma,
        pool,
    )
    return PoolMixture(weight=weight, prompt_tokens=prompt, output_tokens=output)


def compressed_requests(lengths: JointLengths, boundaries_tokens: Sequence[int], gamma: float) -> float:
    """Weight of the requests that :func:`split` compresses."""
    boundaries = np.array(boundaries_tokens, dtype=np.float64)
    columns = (lengths.weight, lengths.prompt_tokens, lengths.output_tokens, lengths.compressible_fraction)
    return sum(float(_select(*columns, boundaries, gamma, pool)[3]) for pool in range(len(boundaries)))


@compiled()
def band_end(boundary: float, gamma: float) -> float:
    """Longest total, tokens, that is compressed to a boundary: ``gamma B``, and a millionth of a token is forgiven.

    As in the simulator's `route`, for 1.4 x 45 is 62.99... in floating point. A gamma of 1 has no band at all.
    """
    return gamma * boundary + _FORGIVEN_TOKENS if gamma > 1 else boundary


@compiled()
def _select(
    weight: np.ndarray,
    prompt: np.ndarray,
    output: np.ndarray,
    compressible: np.ndarray,
    boundaries: np.ndarray,
    gamma: float,
    pool: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Weight, prompt and output of what a pool gets, the compressed last, and the weight of these."""
    n_points, n_boundaries = len(weight), len(boundaries)
    taken = np.empty((3, 2 * n_points))
    n_taken = 0
    compressed_for = np.full(n_points, -1)
    for point in range(n_points):
        total = prompt[point] + output[point]
        natural = n_boundaries
        for below in range(n_boundaries - 1, -1, -1):
            boundary = boundaries[below]
            if total <= boundary:
                natural = below
            elif total <= band_end(boundary, gamma) and boundary - output[point] >= 1 and compressible[point] > 0:
                compressed_for[point] = below
        stays = weight[point]
        if compressed_for[point] >= 0:
            stays -= weight[point] * compressible[point]
        if natural == pool and stays > 0:
            taken[0, n_taken], taken[1, n_taken], taken[2, n_taken] = stays, prompt[point], output[point]
            n_taken += 1
    squeezed = 0.0
    for point in range(n_points):
        if compressed_for[point] == pool:
            squeezed += weight[point] * compressible[point]
            taken[0, n_taken] = weight[point] * compressible[point]
            taken[1, n_taken] = boundaries[pool] - output[point]
            taken[2, n_taken] = output[point]
            n_taken += 1
    columns = taken[:, :n_taken].copy()
    return columns[0], columns[1], columns[2], squeezed
