"""Where the warm-up of a simulation ends."""

import numpy as np

_MSER_BATCH = 5


def mser5_cutoff(values: np.ndarray) -> int:
    """Find how many observations to cut from the start of a series as warm-up (MSER-5).

    Parameters
    ----------
    values : np.ndarray
        float64[n], in time order, no nan.

    Returns
    -------
    int
        Observations to drop, a multiple of 5 and at most about n/2; 0 if there are fewer than two batches.

    Notes
    -----
    Of the means of batches of 5, drop the first d so that the variance of the rest divided by their number, which is
    the squared width of the confidence interval of their mean, is least. d is at most half of the batches, since a
    minimum found on a few last batches is chance.

    References
    ----------
    White, K. P. (1997), An effective truncation heuristic for bias reduction in simulation output, Simulation 69(6);
    White, Cobb and Spratt (2000), A comparison of five steady-state truncation heuristics for simulation, Winter
    Simulation Conference.

    Examples
    --------
    >>> mser5_cutoff(np.r_[np.linspace(50.0, 0.0, 20), np.tile([1.0, -1.0], 100)])
    20
    """
    batches = len(values) // _MSER_BATCH
    if batches < 2:
        return 0
    means = np.asarray(values, dtype=np.float64)[: batches * _MSER_BATCH].reshape(batches, _MSER_BATCH).mean(axis=1)
    centred = means - means.mean()  # against cancellation in the sums of squares below
    remaining = np.arange(batches, 0, -1)
    sums, squares = np.cumsum(centred[::-1])[::-1], np.cumsum(centred[::-1] ** 2)[::-1]
    squared_width = (squares - sums**2 / remaining) / remaining**2
    return int(np.argmin(squared_width[: batches // 2 + 1])) * _MSER_BATCH
