"""The simulator against per-request results of Vidur on the same input.

``python -m tests.benchmarks.outside_simulator INPUT.csv REQUESTS.csv [PROFILE.toml]``: INPUT has the columns
``arrived_at, num_prefill_tokens, num_decode_tokens``, REQUESTS ``ttft_s, e2e_s`` in the same order. One replica, `fcfs`
with the profile's token budget, which is Sarathi's chunk.
"""

import sys
from pathlib import Path

import numpy as np
import polars as pl

from fleetopt.profiles import load_profile, parse_profile
from fleetopt.simulator import Fleet, Pool, simulate
from fleetopt.workload.trace import make_trace


def main(input_csv: str, requests_csv: str, profile_toml: str | None = None) -> None:
    profile = (
        parse_profile(Path(profile_toml).read_text("utf-8"), profile_toml)
        if profile_toml
        else load_profile("a100-llama2-7b")
    )
    given, theirs = pl.read_csv(input_csv), pl.read_csv(requests_csv)
    trace = make_trace(*(given[name].to_numpy() for name in ("arrived_at", "num_prefill_tokens", "num_decode_tokens")))
    ours = simulate(trace, Fleet((Pool("all", profile, 1, profile.context_limit_tokens),)))
    for name, mine in (("ttft_s", ours.ttft_s), ("e2e_s", ours.e2e_s)):
        other = theirs[name].to_numpy()
        median = np.median(np.abs(mine / other - 1))
        p99, other_p99 = np.quantile(mine, 0.99), np.quantile(other, 0.99)
        against = f"P99 {p99:.3f} s, theirs {other_p99:.3f} s ({p99 / other_p99 - 1:+.1%})"
        print(f"{name:7} median difference {median:.2%}   {against}")


if __name__ == "__main__":
    main(*sys.argv[1:])
