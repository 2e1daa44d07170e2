"""The wait for a slot: M/G/c by Kimura's scaling of Erlang C, at a cost that does not grow with the slots."""

import math

from scipy import special

_LATE = 0.01
"""Share of requests that may wait longer than a P99."""


def erlang_c(servers: int, erlangs: float) -> float:
    """Probability that a request waits in M/M/c.

    Parameters
    ----------
    servers : int
    erlangs : float
        Arrival rate times mean service, above 0.

    Notes
    -----
    Erlang's loss formula is ``B = P(X = c) / P(X <= c)`` of a Poisson number X of mean a, whose distribution function
    is a regularised incomplete gamma function, ``P(X <= c) = Q(c + 1, a)``; then ``C = B / (1 - (a/c)(1 - B))``. A
    recursion over the servers, or the paper's sum of logarithms, takes as many steps as there are slots.

    References
    ----------
    A. K. Erlang (1917); Cooper, Introduction to Queueing Theory, 2nd ed. (1981), eq. 3.5.6 and 4.2.
    """
    utilization = erlangs / servers
    if utilization >= 1:
        return 1.0
    log_probability = servers * math.log(erlangs) - erlangs - math.lgamma(servers + 1)
    loss = math.exp(log_probability) / float(special.gammaincc(servers + 1, erlangs))
    return loss / (1 - utilization * (1 - loss))


def wait_p99_s(servers: int, arrival_rate_rps: float, service_s: float, service_variation: float) -> float:
    """P99 of the wait for a slot, s: ``ln(C / 0.01) (1 + C_s^2) / (2 (c mu - lambda))``; infinite where unstable.

    Parameters
    ----------
    servers : int
        Slots of all GPUs of the pool.
    arrival_rate_rps : float
    service_s : float
        Mean, s.
    service_variation : float
        Squared coefficient of variation of the service time.

    References
    ----------
    arXiv 2603.16514, eq. 6.
    """
    spare_rps = servers / service_s - arrival_rate_rps
    if spare_rps <= 0:
        return math.inf
    waits = erlang_c(servers, arrival_rate_rps * service_s)
    if waits <= _LATE:
        return 0.0
    return math.log(waits / _LATE) * (1 + service_variation) / (2 * spare_rps)
