"""Traces made for a simulation: drawn from an arrival process and lengths, or a real one at another rate."""

import math

import numpy as np

from fleetopt.errors import InputError
from fleetopt.workload.lengths import JointLengths, sample
from fleetopt.workload.processes import ArrivalProcess
from fleetopt.workload.trace import Trace, make_trace

_PURPOSES = ("arrivals", "lengths", "compressible")


def synthesize(
    process: ArrivalProcess, lengths: JointLengths, n: int, seed: int, replication: int = 0, where: str = "trace"
) -> Trace:
    """Draw a trace: arrivals from a process, and for each request lengths of their own.

    Parameters
    ----------
    process : ArrivalProcess
        For instance ``partial(poisson_arrivals, 5.0)``.
    lengths : JointLengths
        From a trace, a histogram or a CDF: `fleetopt.workload.lengths`. Prompt and output are drawn together.
    n : int
        Requests.
    seed, replication : int
        Not negative. Every (seed, replication) is another trace, independent of the others.
    where : str
        Name of the trace, for messages.

    Returns
    -------
    Trace

    Raises
    ------
    InputError
        If the process refuses its parameters.

    Notes
    -----
    Arrivals, lengths and compressibility come from streams of their own (``SeedSequence`` with the spawn key (purpose,
    replication)): fleets and policies compared on one seed see the same requests, and another arrival process, or
    another share of compressible requests, leaves the lengths as they are.
    """
    arrivals, drawn, compressible = (
        np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, replication)))
        for purpose in range(len(_PURPOSES))
    )
    return make_trace(process(n, arrivals), *sample(lengths, n, drawn, compressible), where=where)


def scale_rate(trace: Trace, factor: float) -> Trace:
    """Replay a trace faster or slower: every gap between arrivals divided by ``factor``, its burstiness kept.

    Parameters
    ----------
    trace : Trace
    factor : float
        Above 0; 2 doubles the arrival rate. With 1 the times are those of the trace.

    Returns
    -------
    Trace
        The same requests in the same order, each with its own lengths; the first arrives when it did.

    Raises
    ------
    InputError
        If the factor is not a positive number.

    Notes
    -----
    *What is kept.* Everything about the gaps that has no unit: their coefficient of variation, their correlations, and
    so the index of dispersion of intervals; and the index of dispersion of counts I as a function of the expected
    count (Gusella 1991 describes burstiness by these two): with k = ``factor``, I_k(w) = I(k w) in windows of w
    seconds. A Poisson stream stays Poisson. Nothing is drawn or dropped, so what ties lengths to bursts stays too.

    *Why this.* Take the rate as random, with relative fluctuations that last a time T (a Cox process). Two ways to grow
    k-fold mark the ends: k times as many independent users keep I(w), and users who all send k times as much
    at the same moments keep the relative fluctuation of the rate, I_k(w) - 1 = k (I(w) - 1). In windows shorter than
    T / k, where I(w) - 1 is proportional to w, dividing the gaps equals the latter; in windows longer than T, where I
    is flat, the former. Other ways fail the simplest test or lose bursts: repeating each request k times makes batches
    of a Poisson stream, and superposing copies shifted at random, or thinning, moves the gaps towards Poisson.

    *What is not kept.* The clock: bursts last 1/k as long while service takes as long as before, so that overloads of
    about a service time are milder after scaling up, harsher after scaling down, and a day is no longer a day. Sajal
    et al. (2021, 2024) measure this. Stay near 1, or use a log of the rate in question, where that matters.

    References
    ----------
    Gusella, R. (1991), Characterizing the variability of arrival processes with indexes of dispersion, IEEE Journal on
    Selected Areas in Communications 9(2); Sajal et al., TraceSplitter (EuroSys 2021) and TraceUpscaler (EuroSys 2024).
    """
    if not (math.isfinite(factor) and factor > 0):
        raise InputError(f"factor: {factor} is not a positive number")
    if factor == 1 or not len(trace):
        return trace
    first_s = trace.arrival_s[0]
    return make_trace(
        first_s + (trace.arrival_s - first_s) / factor,
        trace.prompt_tokens,
        trace.output_tokens,
        trace.is_compressible,
    )
