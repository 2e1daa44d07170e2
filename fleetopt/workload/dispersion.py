"""How much the counts of arrivals vary, window by window: the index of dispersion as a curve."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fleetopt.errors import InputError
from fleetopt.workload.arrivals import index_of_dispersion

_RATIO = 2.0
"""Of neighbouring windows."""
_FEWEST_WINDOWS = 8
_OVERLAP = 4


@dataclass(frozen=True, slots=True)
class IndexOfDispersion:
    """Variance over mean of the arrivals in a window, by the length of the window.

    Interpolated in the logarithm of the window, constant beyond the ends. Where the index rises no faster than the
    window, as it does for any stationary stream whose bursts are positively correlated, both are never too low below
    the shortest window, and constant is too low beyond the longest if the index still rises there.

    Attributes
    ----------
    window_s : tuple of float
        Increasing, above 0, s.
    index : tuple of float
        1 for a Poisson stream, 0 for a clock.

    References
    ----------
    Gusella, R. (1991), Characterizing the variability of arrival processes with indexes of dispersion, IEEE Journal on
    Selected Areas in Communications 9(2).
    """

    window_s: tuple[float, ...]
    index: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check the curve.

        Raises
        ------
        InputError
            If there is no window, they do not increase from above 0, or an index is negative or not finite.
        """
        window_s, index = np.asarray(self.window_s, np.float64), np.asarray(self.index, np.float64)
        if not len(window_s) or window_s.shape != index.shape:
            raise InputError(f"dispersion: {len(window_s)} windows and {len(index)} indexes; give one index a window")
        if not (np.isfinite(window_s).all() and (np.diff(window_s, prepend=0.0) > 0).all()):
            raise InputError("dispersion: windows have to increase from above 0 s")
        if not (np.isfinite(index) & (index >= 0)).all():
            raise InputError("dispersion: an index is negative or not finite")

    def at(self, window_s: ArrayLike) -> np.ndarray:
        """Index in windows of those lengths, s, above 0."""
        return np.asarray(np.interp(np.log(window_s), np.log(self.window_s), self.index))

    def at_rate(self, factor: float) -> "IndexOfDispersion":
        """Index of the same arrivals with every gap divided by a factor, above 0; kept per expected count.

        See `fleetopt.workload.synthesis.scale_rate` for what this keeps of a stream and what it does not.
        """
        return IndexOfDispersion(tuple(window_s / factor for window_s in self.window_s), self.index)

    @property
    def is_bursty(self) -> bool:
        """Whether counts vary more than those of a Poisson stream in windows of some length."""
        return max(self.index) > 1

    def thinned(self, share: float) -> "IndexOfDispersion":
        """Index of a share of the arrivals, 0 to 1, each picked independently: ``1 + share (I - 1)``.

        References
        ----------
        Cox, D. R. and Isham, V. (1980), Point Processes, section 4.3.
        """
        return IndexOfDispersion(self.window_s, tuple(1 + share * (index - 1) for index in self.index))


POISSON = IndexOfDispersion((1.0,), (1.0,))
"""Arrivals that are independent of each other."""


def dispersion_of_times(arrival_s: np.ndarray) -> IndexOfDispersion:
    """Index of dispersion of arrivals whose times are known.

    Parameters
    ----------
    arrival_s : np.ndarray
        float64[n], s, not decreasing.

    Returns
    -------
    IndexOfDispersion
        Windows from a quarter of the mean gap, doubling, to a eighth of the time observed.

    Raises
    ------
    InputError
        If the arrivals are too few to observe eight windows of a quarter of the mean gap, or come all at one time.
    """
    span_s = float(arrival_s[-1] - arrival_s[0]) if len(arrival_s) else 0.0
    if span_s <= 0:
        raise InputError(f"arrivals: {len(arrival_s)} at one time; an index of dispersion needs more")
    observed = np.array([[arrival_s[0], arrival_s[-1]]])
    curve = {}
    window_s = span_s / len(arrival_s) / 4
    while span_s // window_s >= _FEWEST_WINDOWS:
        index = index_of_dispersion(arrival_s, np.ones(len(arrival_s)), observed, window_s, _OVERLAP)
        if index is not None:
            curve[window_s] = index
        window_s *= _RATIO
    if not curve:
        raise InputError(
            f"arrivals: {len(arrival_s)} are too few; an index of dispersion needs {_FEWEST_WINDOWS} windows"
        )
    return IndexOfDispersion(tuple(curve), tuple(curve.values()))
