"""Small problems for the planner's tests."""

import math

import numpy as np

from fleetopt.planner.problem import Offer, Problem, Slo
from fleetopt.profiles import load_profile
from fleetopt.workload.lengths import make_lengths

PROFILE = load_profile("a100-llama2-7b")


def problem(
    *, rate_rps=10.0, slo_ttft_p99_s=2.0, slo_tpot_p99_s=math.inf, profiles=(PROFILE,), seed=0, n=400, **changes
):
    """Chat with a tail of long prompts, half of it compressible."""
    rng = np.random.default_rng(seed)
    prompt = np.clip(rng.lognormal(6.6, 1.0, n), 2, 12_000).round()
    output = np.clip(rng.lognormal(4.8, 0.7, n), 1, 800).round()
    lengths = make_lengths(prompt, output, np.ones(n), 0.5)
    return Problem(
        lengths=lengths,
        arrival_rate_rps=rate_rps,
        slo=Slo(ttft_p99_s=slo_ttft_p99_s, tpot_p99_s=slo_tpot_p99_s),
        offers=tuple(Offer(profile=profile) for profile in profiles),
        max_context_tokens=16_384,
        **changes,
    )
