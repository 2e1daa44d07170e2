"""Distributions of times on grids, and their quantiles."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from fleetopt.queueing.kernels.found import MOST_VARIATION
from fleetopt.queueing.kernels.transforms import POINTS, QUESTION

_WIDEST_SHARE, _NARROWEST_SHARE = QUESTION, 0.15
_MOST_GRIDS = 40
_DAMPING = 1e-5


def gamma_nodes(variation: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """A few values with mean 1 that stand for a Gamma distribution, and their weights.

    Parameters
    ----------
    variation : float
        Its squared coefficient of variation; beyond 40 it is taken as 40, or three nodes would all be 0.
    count : int
        How many values.

    References
    ----------
    Gauss-Hermite quadrature through the cube root transform of E. B. Wilson and M. M. Hilferty (1931), PNAS 17(12).
    """
    normal, weights = _hermite(count)
    variation = min(variation, MOST_VARIATION)
    values = np.maximum(1 - variation / 9 + normal * np.sqrt(variation) / 3, 0.0) ** 3
    return values / (weights @ values), weights


@lru_cache(maxsize=8)
def _hermite(count: int) -> tuple[np.ndarray, np.ndarray]:
    normal, weights = np.polynomial.hermite_e.hermegauss(count)
    return normal, weights / weights.sum()


@lru_cache(maxsize=8)
def _damping(points: int) -> np.ndarray:
    return np.asarray(_DAMPING ** (np.arange(points) / points))


@dataclass(frozen=True)
class Grid:
    """Equidistant times from 0 on which a distribution is computed.

    Masses are transformed after damping by a factor that falls to 1e-5 over the grid, so that what wraps round is
    suppressed by as much (Abate and Whitt, 1992, Queueing Systems 10). Sums of times from 0 upwards are then right up
    to the end of the grid, however far the distribution goes on.

    Attributes
    ----------
    end_s : float
        Where it ends, s.
    points : int
    """

    end_s: float
    points: int = POINTS

    @property
    def step_s(self) -> float:
        """Distance of neighbouring points, s."""
        return self.end_s / self.points

    def masses(self, share: np.ndarray, times_s: np.ndarray) -> np.ndarray:
        """float64[points], masses at given times, each split over its two neighbours so that the mean is kept."""
        place = times_s / self.step_s
        is_inside = place < self.points - 1
        low = place[is_inside].astype(np.int64)
        upper = share[is_inside] * (place[is_inside] - low)
        return np.bincount(low, share[is_inside] - upper, self.points) + np.bincount(low + 1, upper, self.points)

    def transform(self, masses: np.ndarray) -> np.ndarray:
        """complex128[points + 1], transform of damped masses; products belong to sums of independent times."""
        return np.fft.rfft(masses * _damping(self.points), 2 * self.points)

    def invert(self, transform: np.ndarray) -> np.ndarray:
        """float64[points], the masses of a transform."""
        return np.asarray(np.fft.irfft(transform, 2 * self.points)[: self.points] / _damping(self.points))


@dataclass(frozen=True, eq=False)
class TimeDistribution:
    """Distribution of a non-negative time, computed on the grid that a question needs.

    Attributes
    ----------
    masses : callable
        From a :class:`Grid` to float64[points], the masses on it.
    scale_s : float
        A typical time, s, above 0; where the search for a grid starts.
    """

    masses: Callable[[Grid], np.ndarray]
    scale_s: float
    _computed: dict[float, np.ndarray] = field(default_factory=dict, repr=False)

    def quantile(self, probability: float) -> float:
        """Time that a share ``probability`` of requests does not exceed, s; resolved to about half a per cent.

        Raises
        ------
        ValueError
            If the probability is not between 0 and 1.
        """
        if not 0 < probability < 1:
            raise ValueError(f"probability is {probability}; it has to be between 0 and 1")
        end_s = self.scale_s
        for _ in range(_MOST_GRIDS):
            cumulative = self._cumulative(end_s)
            place = int(np.searchsorted(cumulative, probability))
            if place > _WIDEST_SHARE * POINTS:
                end_s *= 3.0
            elif place < _NARROWEST_SHARE * POINTS and cumulative[0] < probability:
                end_s *= 0.3
            else:
                break
        if place == 0:
            return 0.0
        if place == POINTS:
            return float("inf")
        # A mass stands for half a step on either side of its point.
        within = (probability - cumulative[place - 1]) / max(cumulative[place] - cumulative[place - 1], 1e-300)
        return float((place - 0.5 + within) * end_s / POINTS)

    def exceeds(self, times_s: np.ndarray) -> np.ndarray:
        """P(time > x) for each x >= 0, s; never rising."""
        times_s = np.asarray(times_s, dtype=np.float64)
        latest = float(times_s.max(initial=0.0))
        if latest <= 0:
            return np.where(times_s < 0, 1.0, 1.0 - self._cumulative(self.scale_s)[0])
        end_s = latest / _WIDEST_SHARE
        edges = (np.arange(POINTS) + 0.5) * end_s / POINTS
        return np.asarray(1.0 - np.interp(times_s, edges, self._cumulative(end_s)))

    def _cumulative(self, end_s: float) -> np.ndarray:
        if end_s not in self._computed:
            masses = np.maximum(self.masses(Grid(end_s)), 0.0)
            self._computed[end_s] = np.minimum(np.cumsum(masses), 1.0)
        return self._computed[end_s]
