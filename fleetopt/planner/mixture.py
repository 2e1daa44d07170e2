"""Which requests each pool really gets: routing by length, and compression of those just above the boundary."""

from collections.abc import Sequence
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
    prompt, output = lengths.prompt_tokens, lengths.output_tokens
    total, left = lengths.total_tokens, lengths.weight
    natural = np.searchsorted(np.asarray(boundaries_tokens, dtype=np.float64), total, side="left")
    parts: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = [[] for _ in range(len(boundaries_tokens) + 1)]
    for pool, boundary in enumerate(boundaries_tokens):
        in_band = (total > boundary) & (total <= gamma * boundary) & (boundary - output >= 1) & (left > 0)
        compressed = np.where(in_band & (left == lengths.weight), left * lengths.compressible_fraction, 0.0)
        left = left - compressed
        is_compressed = compressed > 0
        parts[pool].append((compressed[is_compressed], boundary - output[is_compressed], output[is_compressed]))
    for pool, compressed_parts in enumerate(parts):
        stays = (natural == pool) & (left > 0)
        compressed_parts.insert(0, (left[stays], prompt[stays], output[stays]))
    return tuple(
        PoolMixture(weight=weight, prompt_tokens=prompts, output_tokens=outputs)
        for weight, prompts, outputs in (
            [np.concatenate(column) for column in zip(*part, strict=True)] for part in parts
        )
    )
