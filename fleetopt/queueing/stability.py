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
    profile = work.profile
    return arrival_rate_rps * (work.work_s + profile.base_s * work.tokens / profile.max_batched_tokens)
