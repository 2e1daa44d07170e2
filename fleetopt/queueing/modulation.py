"""How much arrivals vary over the times in which a pool fills and settles: rates, clumps, backlog."""

from dataclasses import dataclass

import numpy as np
from scipy import special

from fleetopt.queueing.distribution import Grid
from fleetopt.queueing.work import RequestWork
from fleetopt.workload.dispersion import IndexOfDispersion

_RATE_POINTS = 48
_MOST_PREFILL_LOAD = 0.98
_LEAST_ROOM = 1e-3
_ROUNDS = 8
_SLOW_RESPONSES = 8.0
_WINDOWS = 1.6 ** np.arange(-15.0, 25.0)
"""Over the time to settle; 1 is among them."""
_LEAST_VARIATION = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Backlog:
    """Requests that wait because for a while more came than the pool can carry.

    P(more than b) falls with b as for the likeliest stretch of time: as the largest over t of Chernoff's bound of
    P(A(t) > K(t) + b), with A(t) the arrivals, Gamma with the index's variance, and K(t) what the pool takes without.

    Attributes
    ----------
    share : float
        Of the arrivals that find one.
    load : float
        Mean rate over the capacity, below 1.
    window_s, shape, filling : np.ndarray
        float64[t]: stretches of time, s; 1 over the squared coefficient of variation of A(t); K(t) over the mean of
        A(t), above 1.

    References
    ----------
    The likeliest time scale of an overflow: Norros (1994), Queueing Systems 16; Botvich and Duffield (1995), Queueing
    Systems 20.
    """

    share: float
    load: float
    window_s: np.ndarray
    shape: np.ndarray
    filling: np.ndarray

    def wait(self, grid: Grid) -> np.ndarray:
        """Transform of the wait of those that find one."""
        edges_s = (np.arange(grid.points) - 0.5) * grid.step_s
        edges_s[0] = 0.0
        ratio = self.filling[:, None] + edges_s / self.window_s[:, None] / self.load
        exponent = _exponent(self.shape[:, None], ratio).min(axis=0)
        return grid.transform(-np.diff(np.exp(exponent[0] - exponent), append=0.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Arrivals:
    """Arrivals at a pool, and the time scales on which it meets them.

    ``carried`` is always the part of the index of dispersion that prefill queues carry.

    Attributes
    ----------
    work : RequestWork
    replicas : int
    mean_rps, capacity_rps : float
        Mean rate, and the stability limit of the pool, 1/s.
    service_s : float
        Mean time to prefill a prompt among others, s.
    dispersion : IndexOfDispersion
    """

    work: RequestWork
    replicas: int
    mean_rps: float
    capacity_rps: float
    service_s: float
    dispersion: IndexOfDispersion

    @property
    def load(self) -> float:
        """Mean rate over capacity, below 1."""
        return self.mean_rps / self.capacity_rps

    def settle_s(self, rate_rps: np.ndarray, queue_rps: np.ndarray) -> np.ndarray:
        """float64[k], how many more requests the pool holds at a rate than at the mean one, over what the rates differ.

        What runs on a replica is the fluid equilibrium's ``r E[iterations] W / (1 - r w)``, up to its slots. Prefill
        queues, as one that is ``replicas`` times as fast, take a service time over the square of the room left, as
        M/M/1 does (Newell 1982, Applications of Queueing Theory).

        Parameters
        ----------
        rate_rps : np.ndarray
            float64[k], above 0, 1/s.
        queue_rps : np.ndarray
            float64[k], the rate that the prefill queues work at, 1/s.
        """
        rate, mean = rate_rps / self.replicas, np.array(self.mean_rps / self.replicas)
        differ = np.where(np.abs(rate - mean) < _LEAST_ROOM * mean, _LEAST_ROOM * mean, rate - mean)
        more = self._running(mean + differ) - self._running(mean)
        queue_room = np.maximum(1 - queue_rps / self.capacity_rps, _LEAST_ROOM)
        return np.asarray(more / differ + self.service_s / self.replicas / queue_room**2)

    def _running(self, rate: np.ndarray) -> np.ndarray:
        room = np.maximum(1 - rate * self.work.work_s, _LEAST_ROOM)
        return np.asarray(np.minimum(rate * self.work.iterations * self.work.base_s / room, self.work.slots))

    def variation(self, window_s: np.ndarray, carried: float) -> np.ndarray:
        """float64[k], squared coefficient of variation of the rate over windows, beyond that of a Poisson stream."""
        index = np.maximum(self.dispersion.at(window_s) - 1 - carried, 0.0)
        return np.maximum(index / (self.mean_rps * window_s), _LEAST_VARIATION)

    def excess(self, prefill_load: float) -> float:
        """What the index exceeds 1 by while a prefill queue recovers, but for slow changes of rate.

        A clump of I requests takes I service times, and with those that come meanwhile ``I s / (1 - rho)^2``, over
        which I itself is taken. Slow changes, those over several responses of the pool, show up there in proportion to
        the time.
        """
        mean_rps = np.array([self.mean_rps])
        settle_s = float(self.settle_s(mean_rps, mean_rps)[0])
        slow_s, slowest_s = 2 * settle_s, _SLOW_RESPONSES * settle_s
        window_s, room = min(self.service_s, slow_s), max(1 - prefill_load, 1 - _MOST_PREFILL_LOAD) ** 2
        for _ in range(_ROUNDS):
            window_s = min(self.service_s * max(1.0, float(self.dispersion.at(window_s))) / room, slow_s)
        slow = max(0.0, float(self.dispersion.at(slowest_s)) - 1) * window_s / slowest_s
        return max(0.0, float(self.dispersion.at(window_s)) - 1 - slow)

    def rates(self, carried: float) -> tuple[np.ndarray, np.ndarray]:
        """Rates up to the capacity, and the share of arrivals that meet the pool as at a higher one, float64[k] each.

        To be as at a rate x the pool has to have got the requests that it holds at x beyond those at the mean rate
        (`settle_s`), and to get x: of all stretches of time the likeliest counts in which ``A(t) - mean t >= (x - mean)
        max(t, T)``. Counts are Gamma with the variance that the index has beyond a Poisson stream's, whose own
        fluctuations are in each equilibrium; arrivals see them in proportion to their number. So with a rate that
        changes slowly these are the equilibria of the rates (Green and Kolesar 1991), and with I constant what runs
        fluctuates at least as the peakedness says, ``1 + (I - 1) / 2`` for exponential service (Eckberg 1983).

        References
        ----------
        Green, L. and Kolesar, P. (1991), The pointwise stationary approximation for queues with nonstationary arrivals,
        Management Science 37(1). Eckberg, A. E. (1983), Generalized peakedness of teletraffic processes, ITC 10.
        """
        places = np.arange(1, _RATE_POINTS + 1) / _RATE_POINTS
        above_rps = self.mean_rps + places * (self.capacity_rps - self.mean_rps)
        rates = np.concatenate([places * self.mean_rps, above_rps])
        settle_s = self.settle_s(rates, rates)[:, None]
        shape = 1 / self.variation(settle_s * _WINDOWS, carried)
        ratio = 1 + (rates / self.mean_rps - 1)[:, None] * np.maximum(1.0, 1 / _WINDOWS)
        # Below the mean nothing has to be filled: over the time to settle.
        exponent = np.where(ratio > 1, _exponent(shape, np.maximum(ratio, 1.0)), np.abs(np.log(_WINDOWS)))
        likeliest = exponent.argmin(axis=1)[:, None]
        shape, ratio = (np.take_along_axis(values, likeliest, axis=1).ravel() for values in (shape, ratio))
        return rates, np.minimum.accumulate(special.gammaincc(shape + 1, np.maximum(ratio, 0.0) * shape))

    def backlog(self, carried: float) -> Backlog:
        """Requests that wait while more come than the pool can carry.

        The same at the capacity, with all of the variance; the share that a Poisson stream would bring is taken off,
        since the equilibria hold it.
        """
        mean_rps, capacity_rps = np.array([self.mean_rps]), np.array([self.capacity_rps])
        window_s = float(self.settle_s(capacity_rps, mean_rps)[0]) * _WINDOWS
        filling = 1 + (1 / self.load - 1) * np.maximum(1.0, 1 / _WINDOWS)
        poisson = 1 / (self.mean_rps * window_s)
        shape = 1 / (self.variation(window_s, carried) + poisson)

        def exceeds(shape: np.ndarray) -> float:
            best = int(_exponent(shape, filling).argmin())
            return float(special.gammaincc(shape[best] + 1, shape[best] * filling[best]))

        return Backlog(
            share=max(0.0, exceeds(shape) - exceeds(1 / poisson)),
            load=self.load,
            window_s=window_s,
            shape=shape,
            filling=filling,
        )


def _exponent(shape: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Minus the logarithm of Chernoff's bound of P(X > ratio) for a Gamma X with mean 1."""
    return np.asarray(shape * (ratio - 1 - np.log(ratio)))
