"""The largest rate that a replica keeps up with."""

from fleetopt.queueing.work import RequestWork


def token_budget_load(work: RequestWork, arrival_rate_rps: float) -> float:
    """Share of a replica's time that full iterations need for the load; 1 is the limit of the token budget.

    ``r (w + W E[tokens] / T)``: every token that passes takes its share of an iteration's base.

    Parameters
    ----------
    work : RequestWork
    arrival_rate_rps : float
        At this replica, 1/s.
    """
    return arrival_rate_rps * (work.work_s + work.base_s * work.tokens / work.profile.max_batched_tokens)


def stability_limit_rps(work: RequestWork) -> float:
    """Largest rate that a replica keeps up with, 1/s: the lower of three limits.

    Full iterations (see :func:`token_budget_load`); slots, filled by the fluid equilibrium of what runs,
    ``r E[iterations] W / (1 - r w)``, where the KV cache's room for fluctuation counts too (`RequestWork.slots`); and
    what the replica finishes while every slot is taken.

    Parameters
    ----------
    work : RequestWork
    """
    by_tokens_rps = 1 / token_budget_load(work, 1.0)
    by_slots_rps = work.slots / (work.iterations * work.base_s + work.slots * work.work_s)
    return float(min(by_tokens_rps, by_slots_rps, work.full_throughput_rps))
