"""How many requests a replica runs at once if each may be as long as its pool accepts."""

from fleetopt.errors import InputError
from fleetopt.profiles import GpuProfile


def worst_case_slots(profile: GpuProfile, context_limit_tokens: int) -> int:
    """Requests that fit at once even if each is as long as the context limit.

    An engine whose ``max_sequences`` is reduced to it (``profile.model_copy(update={"max_sequences": ...})``) never
    preempts. The other way to set the slots, by the lengths that come and a stated probability that the cache
    overflows, is ``kv_overflow_probability`` of `fleetopt.queueing.work.request_work`.

    Parameters
    ----------
    profile : GpuProfile
    context_limit_tokens : int
        Longest request, prompt and output together, tokens.

    Returns
    -------
    int
        At least 1, at most ``profile.max_sequences``.

    Raises
    ------
    InputError
        If the limit is below 1 or beyond the KV cache.

    References
    ----------
    FleetOpt, arXiv 2603.16514, sets the slots of a pool by its context limit in this way.
    """
    if not 1 <= context_limit_tokens <= profile.kv_tokens:
        raise InputError(
            f"context limit {context_limit_tokens} tokens: it has to be between 1 and the {profile.kv_tokens} tokens "
            f"of the KV cache of profile {profile.name}"
        )
    blocks = -(-context_limit_tokens // profile.block_tokens)
    return min(profile.max_sequences, profile.kv_blocks // blocks)
