"""Which of very many boundaries are searched first, and in full."""

import numpy as np

_MOST_IN_FULL, _NEAR = 4096, 64


def is_spaced(boundaries_tokens: tuple[int, ...]) -> np.ndarray:
    """bool[b], which boundaries stand for all; all of them where there are no more than 4,096.

    Of those within 1/64 of each other the longest, which takes what the others take. That is half the width of a bin of
    the length histograms (`fleetopt.workload.histogram`), finer than they know their lengths, and leaves a few hundred.

    Parameters
    ----------
    boundaries_tokens : tuple of int
        Increasing.
    """
    if len(boundaries_tokens) <= _MOST_IN_FULL:
        return np.ones(len(boundaries_tokens), dtype=np.bool_)
    boundaries = np.array(boundaries_tokens)
    spaced = np.zeros(len(boundaries), dtype=np.bool_)
    last = -1
    while last < len(boundaries) - 1:
        shortest = boundaries[last + 1]
        last = int(np.searchsorted(boundaries, shortest + shortest // _NEAR, side="right")) - 1
        spaced[last] = True
    return spaced


def spaced(boundaries_tokens: tuple[int, ...]) -> tuple[int, ...]:
    """Those of the boundaries that stand for all: see :func:`is_spaced`."""
    return tuple(np.array(boundaries_tokens, dtype=np.int64)[is_spaced(boundaries_tokens)].tolist())
