"""Which pool a request belongs to by its length, and with how long a prompt."""

import math
from typing import NamedTuple

import numpy as np

from fleetopt.simulator.fleet import POOL_ROUTERS, Fleet
from fleetopt.workload.trace import Trace

ANY_POOL = -1


class Routing(NamedTuple):
    """Where each request belongs, and with how long a prompt.

    Attributes
    ----------
    pool : np.ndarray
        int64[n], index into ``Fleet.pools``; ``ANY_POOL`` where the router looks at all pools.
    prompt_tokens : np.ndarray
        int64[n], the prompt as served: after compression, if there was any.
    """

    pool: np.ndarray
    prompt_tokens: np.ndarray


def route(trace: Trace, fleet: Fleet) -> Routing:
    """Choose the pool of every request by its length, and compress the prompts that the router compresses.

    Parameters
    ----------
    trace : Trace
        n requests.
    fleet : Fleet

    Returns
    -------
    Routing
        A request belongs to the first pool whose boundary B its total tokens do not exceed, else to the last. With
        ``compress-and-route`` a compressible request goes to the lowest pool below with ``B < total <= gamma * B`` and
        ``B - output >= 1``, its prompt compressed to ``B - output`` tokens.

    Notes
    -----
    The output length is taken as known at arrival, as the paper does. ``gamma * B`` is taken in whole tokens, and a
    millionth of a token is forgiven: 1.15 x 100, 114.99... in floating point, is 115.

    References
    ----------
    FleetOpt, arXiv 2603.16514 (2026), section on Compress-and-Route.
    """
    if fleet.router not in POOL_ROUTERS:
        return Routing(np.full(len(trace), ANY_POOL), trace.prompt_tokens)
    total_tokens = trace.total_tokens
    pool = np.searchsorted(np.array(fleet.boundaries_tokens, dtype=np.int64), total_tokens)
    prompt_tokens = trace.prompt_tokens
    if fleet.gamma > 1.0:
        prompt_tokens = prompt_tokens.copy()
        # From long to short, so that the lowest pool has the last word.
        for index in reversed(range(len(fleet.boundaries_tokens))):
            boundary = fleet.boundaries_tokens[index]
            is_compressed = (
                trace.is_compressible
                & (total_tokens > boundary)
                & (total_tokens <= math.floor(fleet.gamma * boundary + 1e-6))
                & (trace.output_tokens < boundary)
            )
            pool[is_compressed] = index
            prompt_tokens[is_compressed] = boundary - trace.output_tokens[is_compressed]
    return Routing(pool, prompt_tokens)
