"""A pool under bursty arrivals: its equilibria under Poisson arrivals, mixed over rates, and the queues of bursts.

What arrivals do is known by their index of dispersion I(t), variance over mean of the counts in windows of length t. Of
that, what exceeds a Poisson stream's 1 acts on three scales:

* Over the time that the pool takes to settle, and longer, it is a rate that varies; the pool is in the equilibrium of
  the rate of the moment (`Arrivals.rates`).
* What that leaves, faster, comes as clumps that wait for each other's prefill (`Arrivals.excess`, `_clumps`).
* While the rate is above what the pool can carry a backlog grows, which later arrivals wait for (`Backlog`).
"""

from dataclasses import dataclass, replace

import numpy as np

from fleetopt.queueing.distribution import Grid, TimeDistribution
from fleetopt.queueing.equilibrium import Occupancy, PoolState, pool_state
from fleetopt.queueing.modulation import Arrivals, Backlog
from fleetopt.queueing.stability import stability_limit_rps
from fleetopt.queueing.tpot import TpotDistribution, tpot_distribution
from fleetopt.queueing.ttft import ttft_distribution
from fleetopt.queueing.work import RequestWork
from fleetopt.workload.dispersion import IndexOfDispersion

_EXCEEDED = np.array([0.8, 0.2, 0.04, 0.004])
"""Shares of the arrivals that come at higher rates than those, beside the mean, that equilibria are computed for."""
_HIGHEST_LOAD = 0.97
_MOST_PREFILL_LOAD = 0.98
_LEAST_ROOM = 1e-3
_NEGLIGIBLE = 1e-6
_PLACES, _REFINEMENTS = 17, 4


@dataclass(frozen=True, kw_only=True, eq=False)
class TpotMixture:
    """Time per output token over parts of the requests, with the methods of its parts.

    Attributes
    ----------
    share : tuple of float
        Of the requests, sum 1.
    parts : tuple of TpotDistribution
    """

    share: tuple[float, ...]
    parts: tuple[TpotDistribution, ...]

    def exceeds(self, times_s: np.ndarray) -> np.ndarray:
        """P(time per output token > x) for each x, s; nan where no request has two output tokens."""
        return np.asarray(
            sum(share * part.exceeds(times_s) for share, part in zip(self.share, self.parts, strict=True))
        )

    def quantile(self, probability: float) -> float:
        """Time that a share ``probability`` of requests does not exceed, s; nan where none has two output tokens."""
        quantiles = [part.quantile(probability) for part in self.parts]
        low, high = min(quantiles), max(quantiles)
        if not low < high:
            return high
        for _ in range(_REFINEMENTS):
            times_s = np.linspace(low, high, _PLACES)
            is_late = self.exceeds(times_s[:-1]) > 1 - probability
            first = int(is_late.sum())  # the probability falls, so these come first
            low, high = float(times_s[max(first - 1, 0)]), float(times_s[first])
        return high


@dataclass(frozen=True, kw_only=True, eq=False)
class BurstyLoad:
    """Equilibria of a pool that bursty arrivals take it through.

    Attributes
    ----------
    rate_rps : tuple of float
        Rates of the pool, increasing, 1/s.
    states : tuple of PoolState
        Its equilibrium at each.
    arrival_share, present_share, time_share : np.ndarray
        float64[k], shares of the arrivals that wait as at each rate, of the arrivals that decode as at each, and of the
        time at each; sum 1.
    excess : float
        What the index of dispersion of a replica's arrivals exceeds that under Poisson arrivals by, over the time that
        its prefill queue takes to recover, where the rate's own changes are too slow to tell.
    backlog : Backlog
    """

    rate_rps: tuple[float, ...]
    states: tuple[PoolState, ...]
    arrival_share: np.ndarray
    present_share: np.ndarray
    time_share: np.ndarray
    excess: float
    backlog: Backlog

    @property
    def mean_state(self) -> PoolState:
        """Means over time; of iterations over iterations, of what arrivals find over arrivals."""
        return _mean_state(self.states, self.present_share, self.time_share)

    def ttft(self, work: RequestWork, replicas: int) -> TimeDistribution:
        """Time to first token, s.

        Parameters
        ----------
        work : RequestWork
        replicas : int
        """
        parts = [
            ttft_distribution(work, state, rate, replicas)
            for rate, state in zip(self.rate_rps, self.states, strict=True)
        ]

        def masses(grid: Grid) -> np.ndarray:
            total = np.zeros(grid.points + 1, dtype=np.complex128)
            for share, part, state in zip(self.arrival_share, parts, self.states, strict=True):
                latest = grid.transform(part.masses(grid)) * _clumps(grid, work, state, self.excess)
                total += (1 - self.backlog.share) * share * latest
            if self.backlog.share > _NEGLIGIBLE:
                total += self.backlog.share * latest * self.backlog.wait(grid)
            return grid.invert(total)

        return TimeDistribution(masses, parts[-1].scale_s)

    def tpot(self, work: RequestWork, replicas: int) -> TpotMixture:
        """Time per output token after the first, s; who meets a backlog decodes as at the highest rate.

        Parameters
        ----------
        work : RequestWork
        replicas : int
        """
        share = (1 - self.backlog.share) * self.present_share
        share[-1] += self.backlog.share
        return TpotMixture(
            share=tuple(share.tolist()),
            parts=tuple(_clumped_tpot(work, state, replicas, self.excess) for state in self.states),
        )


def bursty_load(
    work: RequestWork, arrival_rate_rps: float, replicas: int, dispersion: IndexOfDispersion
) -> BurstyLoad | None:
    """Equilibria of a pool under arrivals with a given index of dispersion; None where the mean rate has none.

    Parameters
    ----------
    work : RequestWork
    arrival_rate_rps : float
        Mean rate of the pool, 1/s, above 0.
    replicas : int
    dispersion : IndexOfDispersion
        Of the arrivals at this pool.

    Notes
    -----
    At most five equilibria. A part of the fluctuations is carried by the prefill queues already, so it is left out of
    the rate's and the backlog's: that queue recovers within ``s / (1 - its load)^2`` and the whole pool within that
    of its own load, so the ratio of the two is. All where prefill is what limits the pool, little where decode does.
    What runs, and with it the time per output token, varies with all fluctuations.
    """
    mean = pool_state(work, arrival_rate_rps, replicas)
    if mean is None:
        return None
    arrivals = Arrivals(
        work=work,
        replicas=replicas,
        mean_rps=arrival_rate_rps,
        capacity_rps=max(stability_limit_rps(work) * replicas, arrival_rate_rps * (1 + _LEAST_ROOM)),
        service_s=float(work.prompt_points[0] @ _service_s(work, mean)),
        dispersion=dispersion,
    )
    excess = arrivals.excess(mean.prefill_load)
    room = (1 - arrivals.load) / max(1 - mean.prefill_load, _LEAST_ROOM)
    carried = excess * min(1.0, room) ** 2
    rates, exceeded = arrivals.rates(carried)
    nodes, states = _equilibria(arrivals, mean, np.interp(-_EXCEEDED, -exceeded, rates))
    present_share = _hat_weights(np.array(nodes), *arrivals.rates(0.0))
    time_share = present_share / nodes
    return BurstyLoad(
        rate_rps=nodes,
        states=states,
        arrival_share=_hat_weights(np.array(nodes), rates, exceeded),
        present_share=present_share,
        time_share=time_share / time_share.sum(),
        excess=excess / replicas,
        backlog=arrivals.backlog(carried),
    )


def _service_s(work: RequestWork, state: PoolState) -> np.ndarray:
    """float64[k], time to prefill each of ``prompt_points`` among others, s."""
    iterations = work.prompt_points[1] / state.chunk_tokens
    return np.asarray(iterations * (work.base_s + state.decode_s) + work.prompt_work_s)


def _equilibria(
    arrivals: Arrivals, mean: PoolState, rates_rps: np.ndarray
) -> tuple[tuple[float, ...], tuple[PoolState, ...]]:
    """The mean rate and those given, as far as the pool has an equilibrium, and these equilibria."""
    found = {arrivals.mean_rps: mean}
    highest_rps = max(arrivals.mean_rps, _HIGHEST_LOAD * arrivals.capacity_rps)
    for rate_rps in np.unique(np.minimum(rates_rps, highest_rps)).tolist():
        if abs(rate_rps / arrivals.mean_rps - 1) > _LEAST_ROOM:
            state = pool_state(arrivals.work, rate_rps, arrivals.replicas)
            if state is None:
                break
            found[rate_rps] = state
    nodes = tuple(sorted(found))
    return nodes, tuple(found[rate_rps] for rate_rps in nodes)


def _hat_weights(nodes: np.ndarray, rates: np.ndarray, exceeded: np.ndarray) -> np.ndarray:
    """float64[k], share of arrivals for each node: between two, as near as the rate; above and below them, the last.

    What is convex in the rate, as waits are, comes out no smaller by such interpolation.
    """
    share = -np.diff(exceeded, prepend=1.0, append=0.0)
    middle = np.concatenate([rates[:1], (rates[1:] + rates[:-1]) / 2, rates[-1:]])
    place = np.interp(middle, nodes, np.arange(len(nodes)))
    low = np.floor(place).astype(np.int64)
    upper = share * (place - low)
    return np.bincount(low, share - upper, len(nodes)) + np.bincount(
        np.minimum(low + 1, len(nodes) - 1), upper, len(nodes)
    )


def _clumps(grid: Grid, work: RequestWork, state: PoolState, excess: float) -> np.ndarray:
    """Transform of the wait for the prompts of a clump, over that under Poisson arrivals.

    Batches of a geometric number at Poisson times have ``I - 1 = 2 p / (1 - p)``. In M/M/1 arrivals find a geometric
    number with ratio rho, with such batches one with ``eta = 1 - (1 - p) (1 - rho)``; the quotient of the transforms
    is a mixture of no more wait, with probability ``(1 - p) rho / eta``, and of another geometric number of services
    with ratio eta. The mean is that of batch queues, ``(I - 1) s / 2 / (1 - rho)`` (Gross and Harris, Fundamentals of
    Queueing Theory, section 3.1), and in heavy traffic that of G/G/1 (Whitt 1993, Production and Operations Management
    2(2)). The router spreads the clumps of a pool evenly, so that each replica has its share of the excess.
    """
    more = excess / (2 + excess)
    if more < _NEGLIGIBLE:
        return np.ones(grid.points + 1, dtype=np.complex128)
    load = min(state.prefill_load, _MOST_PREFILL_LOAD)
    ratio = 1 - (1 - more) * (1 - load)
    service = grid.transform(grid.masses(work.prompt_points[0], _service_s(work, state)))
    return np.asarray((1 - more) * load / ratio + more / ratio * (1 - ratio) / (1 - ratio * service))


def _clumped_tpot(work: RequestWork, state: PoolState, replicas: int, excess: float) -> TpotDistribution:
    """Time per output token where prompts come in clumps, as in `_clumps`.

    Busy periods of the prefill queue are longer by ``1 / (1 - p)``, so that fewer of them fall into a request's steps;
    and half of the other prompts of a request's clump, and those that come meanwhile, are prefilled during its steps.
    """
    part = tpot_distribution(work, state, replicas)
    if excess < _NEGLIGIBLE or not len(part.share):
        return part
    share, output = work.output_points
    behind = excess / 2 / max(1 - state.prefill_load, 1 - _MOST_PREFILL_LOAD)
    prompt_share, prompt = work.prompt_points
    chunks = behind * float(prompt_share @ np.ceil(prompt / min(state.chunk_tokens, work.chunk_tokens)))
    has_steps = output > 1
    beside = float(share[has_steps] @ np.minimum(1.0, chunks / (output[has_steps] - 1)) / share[has_steps].sum())
    chunk_share = state.chunk_share + (1 - state.chunk_share) * beside
    return replace(
        part,
        spread=1 + (part.spread - 1) * 2 / (2 + excess),
        chunk_share=min(part.chunk_share * chunk_share / max(state.chunk_share, _NEGLIGIBLE), 1 - _NEGLIGIBLE),
    )


def _mean_occupancy(states: tuple[PoolState, ...], arrivals: np.ndarray, time: np.ndarray) -> Occupancy:
    most = max(len(state.occupancy.over_time) for state in states)  # each goes as far as it has to
    rows = np.zeros((len(states), 3, most))
    for row, state in zip(rows, states, strict=True):
        row[:, : len(state.occupancy.over_time)] = state.occupancy.rows
    return Occupancy(
        over_time=time @ rows[:, 0], found=arrivals @ rows[:, 1], found_after_departure=arrivals @ rows[:, 2]
    )


def _mean_state(states: tuple[PoolState, ...], arrivals: np.ndarray, time: np.ndarray) -> PoolState:
    def mean(name: str, weight: np.ndarray) -> float:
        return float(np.average([getattr(state, name) for state in states], weights=weight))

    busy = time * [state.busy for state in states]
    iterations = busy / [state.iteration_s for state in states]
    decode_s = mean("decode_found_s", busy)
    spread_s2 = np.average([(state.decode_found_s - decode_s) ** 2 for state in states], weights=busy)
    return replace(
        states[0],
        occupancy=_mean_occupancy(states, arrivals, time),
        iteration_s=float(busy.sum() / iterations.sum()),
        busy=float(busy.sum()),
        running=mean("running", time),
        decode_s=mean("decode_s", iterations),
        chunk_share=mean("chunk_share", arrivals),
        chunk_tokens=mean("chunk_tokens", iterations),
        decode_found_s=decode_s,
        decode_variance_s2=mean("decode_variance_s2", busy) + float(spread_s2),
        prefill_load=mean("prefill_load", time),
        kv_utilization=mean("kv_utilization", time),
        budget_load=mean("budget_load", time),
    )
