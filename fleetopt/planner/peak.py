"""The stream at the planned peak: one endless stream per replication, and the part of it that a pool gets."""

from functools import lru_cache

import numpy as np

from fleetopt.planner.problem import Problem
from fleetopt.simulator import Fleet, route
from fleetopt.workload.lengths import sample
from fleetopt.workload.processes import poisson_arrivals
from fleetopt.workload.trace import Trace, make_trace

_CHUNK = 2**16
_CHUNKS_KEPT, _POOL_TRACES_KEPT = 160, 20
"""About 260 MB of the stream, and one pool's share of it in all replications."""
_STREAMS = {"arrivals": 0, "lengths": 1, "compressible": 2, "replay": 3, "peak": 4}


def stream(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """Independent random stream of one purpose, replication and so on."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAMS[purpose], *index)))


class PeakStream:
    """Arrivals at the planned rate with lengths drawn from the window; the same for every plan and pool.

    Arrivals are Poisson, or those that the problem has replayed, from a place drawn for each replication: then every
    replication has the same bursts, and what an interval over them leaves out is how another trace would differ.

    A shorter trace of a replication is the beginning of a longer one, so pools that need traces of different lengths,
    and the fleet as a whole, still see the same requests.

    Parameters
    ----------
    problem : Problem
        Gives the rate, the arrivals and the lengths.
    seed : int
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        self._problem, self._seed = problem, seed
        self._chunk = lru_cache(maxsize=_CHUNKS_KEPT)(self._draw)
        self._kept = lru_cache(maxsize=_POOL_TRACES_KEPT)(self._select)

    @property
    def is_bursty(self) -> bool:
        """Whether arrivals are replayed, not Poisson."""
        return self._problem.arrivals is not None

    def trace(self, replication: int, n_requests: int) -> Trace:
        """The first ``n_requests`` of a replication's stream."""
        return _joined(self._chunks(replication, n_requests))

    def pool_trace(self, replication: int, n_requests: int, routing: Fleet, pool: int) -> Trace:
        """Those of the first ``n_requests`` that a pool gets, with prompts as served.

        Parameters
        ----------
        replication, n_requests : int
        routing : Fleet
            Says who goes where.
        pool : int
            Index into its pools.
        """
        return self._kept(replication, n_requests, routing, pool)

    def _select(self, replication: int, n_requests: int, routing: Fleet, pool: int) -> Trace:
        if len(routing.pools) == 1:
            return self.trace(replication, n_requests)
        return _joined([pool_part(chunk, routing, pool) for chunk in self._chunks(replication, n_requests)])

    def _chunks(self, replication: int, n_requests: int) -> list[Trace]:
        chunks, start_s = [], 0.0
        for index, first in enumerate(range(0, n_requests, _CHUNK)):
            chunk = self._chunk(replication, index)
            arrival_s = chunk.arrival_s + start_s
            start_s = float(arrival_s[-1])
            wanted = slice(0, n_requests - first)
            chunks.append(
                Trace(
                    arrival_s=arrival_s[wanted],
                    prompt_tokens=chunk.prompt_tokens[wanted],
                    output_tokens=chunk.output_tokens[wanted],
                    is_compressible=chunk.is_compressible[wanted],
                )
            )
        return chunks

    def _draw(self, replication: int, index: int) -> Trace:
        """A stretch of the stream, its clock starting at 0."""
        lengths = sample(self._problem.lengths, _CHUNK, stream(self._seed, "lengths", replication, index))
        return make_trace(self._arrival_s(replication, index), *lengths)

    def _arrival_s(self, replication: int, index: int) -> np.ndarray:
        rate_rps, replayed = self._problem.arrival_rate_rps, self._problem.arrivals
        if replayed is None:
            return poisson_arrivals(rate_rps, _CHUNK, stream(self._seed, "arrivals", replication, index))
        start = int(stream(self._seed, "arrivals", replication).integers(len(replayed.gaps)))
        return replayed.stretch(start + index * _CHUNK, _CHUNK, rate_rps)


def pool_part(trace: Trace, routing: Fleet, pool: int) -> Trace:
    """The requests of a trace that a pool gets, with prompts as served; none of them is compressed again."""
    routed = route(trace, routing)
    is_mine = routed.pool == pool
    return make_trace(trace.arrival_s[is_mine], routed.prompt_tokens[is_mine], trace.output_tokens[is_mine])


def _joined(chunks: list[Trace]) -> Trace:
    if len(chunks) == 1:
        return chunks[0]
    return make_trace(
        np.concatenate([chunk.arrival_s for chunk in chunks]),
        np.concatenate([chunk.prompt_tokens for chunk in chunks]),
        np.concatenate([chunk.output_tokens for chunk in chunks]),
        np.concatenate([chunk.is_compressible for chunk in chunks]),
    )
