"""Random problems with every constraint, small enough to be evaluated exhaustively."""

import numpy as np
from hypothesis import strategies as st

from fleetopt.planner.problem import Offer, Problem, Slo
from fleetopt.profiles import load_profile
from fleetopt.workload.lengths import make_lengths
from fleetopt.workload.processes import gamma_arrivals, markov_modulated_arrivals
from fleetopt.workload.replay import replayed_arrivals

FAST = load_profile("a100-llama2-7b")
SLOW = FAST.model_copy(
    update={
        "name": "half",
        "base_s": 2 * FAST.base_s,
        "per_prefill_token_s": 2 * FAST.per_prefill_token_s,
        "kv_blocks": FAST.kv_blocks // 2,
        "max_context_tokens": 8 * FAST.kv_blocks,
        "gpus_per_replica": 2,
        "usd_per_gpu_hour": FAST.usd_per_gpu_hour / 5,
    }
)
SPELLS = replayed_arrivals(
    markov_modulated_arrivals(np.array([2.0, 40.0]), np.array([4.0, 1.0]), 20_000, np.random.default_rng(1))
)
"""Spells of a second or so in which requests come twenty times as fast as in between."""
CLUMPS = replayed_arrivals(gamma_arrivals(1.0, 3.0, 20_000, np.random.default_rng(2)))


@st.composite
def lengths(draw):
    """A dozen to some dozens of points, equal ones among them, part of them compressible."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(12, 40))
    prompt = np.clip(rng.lognormal(6.5, rng.uniform(0.3, 1.5), n), 2, 12_000).round()
    output = np.clip(rng.lognormal(4.5, 0.8, n), 1, 800).round()
    compressible = draw(st.sampled_from([1.0, 0.5, 0.0]))
    fraction = compressible if compressible < 1 else np.where(rng.random(n) < 0.7, 1.0, rng.random(n))
    return make_lengths(prompt, output, rng.integers(1, 50, n), fraction)


@st.composite
def offers(draw):
    """One offer or two, with limits, commitments, nodes and availability."""
    profiles = draw(st.sampled_from([(FAST,), (SLOW,), (FAST, SLOW)]))
    return tuple(
        Offer(
            profile=profile,
            max_gpus=draw(st.none() | st.none() | st.integers(4, 80)),
            committed_gpus=draw(st.integers(0, 12)),
            committed_usd_per_gpu_hour=draw(st.sampled_from([0.0, 0.5, 1.0])) * profile.usd_per_gpu_hour,
            gpus_per_node=draw(st.sampled_from([1, 1, 4, 8])),
            availability=draw(st.sampled_from([1.0, 0.95, 0.6])),
        )
        for profile in profiles
    )


@st.composite
def problems(draw, max_pools=3, arrivals=(None,)):
    """A problem; the boundaries are few, some of them where requests lie, some anywhere."""
    drawn = draw(lengths())
    pools = draw(st.integers(1, max_pools))
    totals = [int(total) for total in drawn.total_tokens]
    names = st.sampled_from(["all", "short", "middle", "long"])
    near = st.sampled_from(totals) | st.integers(2, 13_000)
    return Problem(
        lengths=drawn,
        arrival_rate_rps=draw(st.sampled_from([0.1, 5.0, 40.0, 150.0, 400.0])) * draw(st.floats(1.0, 2.0)),
        slo=Slo(
            ttft_p99_s=draw(st.floats(1.0, 10.0)),
            tpot_p99_s=draw(st.sampled_from([float("inf"), float("inf"), 0.05, 0.025])),
            pool_ttft_p99_s=draw(st.dictionaries(names, st.floats(0.5, 9.0), max_size=2)),
        ),
        offers=draw(offers()),
        max_context_tokens=int(drawn.total_tokens[-1]),
        boundaries_tokens=tuple(draw(st.lists(near, min_size=1, max_size=4 if pools < 3 else 3))),
        max_utilization=draw(st.sampled_from([1.0, 0.85, 0.5])),
        spare_replicas=draw(st.sampled_from([0, 0, 1, 2])),
        min_replicas=draw(st.sampled_from([1, 1, 3])),
        max_pools=pools,
        max_gamma=draw(st.sampled_from([1.0, 1.5, 3.0])),
        gamma_step=0.5,
        usd_per_compressed_request=draw(st.sampled_from([0.0, 0.0, 1e-6, 1e-4])),
        slot_mode=draw(st.sampled_from(["statistical", "worst-case"])),
        arrivals=draw(st.sampled_from(arrivals)),
    )
