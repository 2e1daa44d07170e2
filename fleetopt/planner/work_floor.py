"""The fewest replicas that any fleet needs for its requests: conservation of work, not the queueing model."""

import math

from fleetopt.queueing.work import RequestWork

_SLACK = 1e-9


def fewest_replicas(work: RequestWork, arrival_rate_rps: float) -> int:
    """Fewest replicas that can keep up with requests, whatever the scheduler does in what order.

    Over a long time replicas that keep up make each request's GPU time w, and as many iterations, each of at least the
    base W, as its limits ask for: no iteration passes more tokens than the budget T, holds more requests than N, or
    more KV than the cache K. So a replica keeps up with at most the rate r at which ``r (w + W x) = 1`` for each of
    ``x = E[tokens] / T``, ``E[iterations] / N`` and ``E[KV summed over iterations] / K``.

    Parameters
    ----------
    work : RequestWork
    arrival_rate_rps : float
        Of the pool, 1/s.

    Notes
    -----
    Preempted requests, waiting and idle time only add to it. Where an iteration without a decode step is cheaper, the
    prompt's work and the base are taken at the lower price. The KV of a request is taken without the last, partly empty
    block, and none for its prefill.
    """
    profile = work.profile
    base_s = min(profile.base_s, profile.prefill_only_base_s)
    request_s = min(work.prefill_s, work.prefill_only_s) + work.decode_s
    half_block = profile.block_tokens / 2
    iterations = max(
        work.tokens / profile.max_batched_tokens,
        work.iterations / profile.max_sequences,
        (work.decode_kv_tokens - half_block * work.steps) / profile.kv_tokens,
    )
    return max(1, math.ceil(arrival_rate_rps * (request_s + base_s * iterations) * (1 - _SLACK)))
