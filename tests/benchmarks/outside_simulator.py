"""The simulator against per-request results of Vidur (Agrawal et al., MLSys 2024) on the same input, and what remains.

``python -m tests.benchmarks.outside_simulator VIDUR_DIR PROFILES_DIR``. VIDUR_DIR holds ``input_trace_*.csv`` with the
columns ``arrived_at, num_prefill_tokens, num_decode_tokens``, ``*_requests.csv`` with ``ttft_s, e2e_s`` in the same
order, and ``sarathi_q4.75_batches.csv`` with the composition and the time of every iteration of one run; PROFILES_DIR
``a100-llama2-7b.toml`` and ``a100-llama2-7b-v0.toml``. One replica.

The first table is the comparison. The other two say where the difference comes from. Decisions: the slow reference
gets the times of Vidur's iterations instead of its own; then composition, TTFT and end to end can only differ where the
scheduler does. Times: the profile's formula is evaluated on Vidur's iterations, as it is and with the mean context
of the decoding requests rounded up to 64 tokens, as Vidur does; and the runs are repeated with that rounding.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from fleetopt.profiles import GpuProfile, parse_profile
from fleetopt.simulator import Fleet, Pool, simulate
from fleetopt.workload.trace import Trace, make_trace
from tests.reference.replica import Replica
from tests.reference.simulator import ReferenceSimulator, simulate_reference


class Case(NamedTuple):
    requests: str
    trace: str
    scheduler: str
    profile: str
    median_ttft: float  # most that is asked for, relative
    median_e2e: float
    p99_ttft: float


CASES = (
    Case("sarathi_q3", "q3", "sarathi", "a100-llama2-7b", 0.05, 0.03, 0.05),
    Case("sarathi_q4.75", "q4.75", "sarathi", "a100-llama2-7b", 0.05, 0.03, 0.05),
    Case("vllm_q3", "q3", "prefill-first", "a100-llama2-7b-v0", 0.06, 0.03, 0.06),
)
BATCHES = CASES[1]
CONTEXT_STEP_TOKENS = 64


def read_trace(folder: Path, case: Case) -> Trace:
    frame = pl.read_csv(folder / f"input_trace_{case.trace}.csv")
    return make_trace(*(frame[name].to_numpy() for name in ("arrived_at", "num_prefill_tokens", "num_decode_tokens")))


def one_replica(folder: Path, case: Case) -> Fleet:
    path = folder / f"{case.profile}.toml"
    profile = parse_profile(path.read_text("utf-8"), str(path))
    return Fleet((Pool("all", profile, 1, profile.context_limit_tokens, case.scheduler),))


class Difference(NamedTuple):
    """Relative to theirs: medians of the absolute difference per request, the same signed, and of the P99."""

    median_ttft: float
    median_e2e: float
    signed_ttft: float
    signed_e2e: float
    p99_ttft: float


def difference(ttft_s: np.ndarray, e2e_s: np.ndarray, theirs: pl.DataFrame) -> Difference:
    other_s = theirs["ttft_s"].to_numpy()
    ttft, e2e = ttft_s / other_s - 1, e2e_s / theirs["e2e_s"].to_numpy() - 1
    p99 = float(np.quantile(ttft_s, 0.99) / np.quantile(other_s, 0.99) - 1)
    return Difference(*(float(np.median(v)) for v in (np.abs(ttft), np.abs(e2e), ttft, e2e)), p99)


def compare(vidur: Path, profiles: Path) -> None:
    print(f"{'run':14} {'scheduler':14} {'TTFT':>6} {'asked':>6} {'e2e':>6} {'asked':>6} {'P99 TTFT':>9} {'asked':>6}")
    for case in CASES:
        ours = simulate(read_trace(vidur, case), one_replica(profiles, case))
        found = difference(ours.ttft_s, ours.e2e_s, pl.read_csv(vidur / f"{case.requests}_requests.csv"))
        is_met = (
            found.median_ttft <= case.median_ttft
            and found.median_e2e <= case.median_e2e
            and abs(found.p99_ttft) <= case.p99_ttft
        )
        print(
            f"{case.requests:14} {case.scheduler:14} {found.median_ttft:6.2%} {case.median_ttft:6.0%} "
            f"{found.median_e2e:6.2%} {case.median_e2e:6.0%} {found.p99_ttft:+9.2%} {case.p99_ttft:6.0%} "
            f"{'met' if is_met else 'MISSED'}"
        )


class Work(NamedTuple):
    """What an iteration holds."""

    decodes: int
    context_tokens: int
    prefills: int
    prefill_tokens: int
    attention: float


def work_of(replica: Replica) -> Work:
    decodes = [r for r in replica.running if r.granted == 1 and r.computed >= r.prompt]
    prefills = [r for r in replica.running if r.granted > 0 and r not in decodes]
    return Work(
        len(decodes),
        sum(r.computed + 1 for r in decodes),
        len(prefills),
        sum(r.granted for r in prefills),
        sum(r.granted * (r.computed + r.granted / 2) for r in prefills),
    )


def with_durations(duration: Callable[[Replica], float], trace: Trace, fleet: Fleet) -> ReferenceSimulator:
    """Run the slow reference with other iteration times."""
    original = Replica.duration
    Replica.duration = duration  # type: ignore[method-assign]
    try:
        return simulate_reference(trace, fleet)
    finally:
        Replica.duration = original  # type: ignore[method-assign]


def latencies(reference: ReferenceSimulator) -> tuple[np.ndarray, np.ndarray]:
    rows = [(r.first_token_s - r.arrival_s, r.finish_s - r.arrival_s) for r in reference.requests]
    ttft_s, e2e_s = np.array(rows).T
    return ttft_s, e2e_s


def replay(vidur: Path, profiles: Path) -> tuple[np.ndarray, np.ndarray]:
    """Give the reference the times of Vidur's iterations; returns what each held, as ``Work``, and its time."""
    batches = pl.read_csv(vidur / f"{BATCHES.requests}_batches.csv")
    times_s, held = batches["batch_execution_time"].to_numpy(), []

    def theirs(replica: Replica) -> float:
        held.append(work_of(replica))
        return float(times_s[min(len(held), len(times_s)) - 1])

    reference = with_durations(theirs, read_trace(vidur, BATCHES), one_replica(profiles, BATCHES))
    work = np.array(held, dtype=np.float64)
    columns = ("batch_num_decode_tokens", "batch_num_prefill_tokens", "batch_size")
    ours = np.column_stack((work[:, 0], work[:, 3], work[:, 0] + work[:, 2]))
    n = min(len(ours), len(batches))
    is_same = (ours[:n] == batches.select(columns).to_numpy()[:n]).all(axis=1)
    theirs_s = pl.read_csv(vidur / f"{BATCHES.requests}_requests.csv").select("ttft_s", "e2e_s").to_numpy().T
    largest = np.abs(np.array(latencies(reference)) / theirs_s - 1).max()
    print(f"\n{BATCHES.requests} with Vidur's iteration times: {len(ours)} iterations, theirs {len(batches)}; the same")
    print(
        f"composition in {is_same.sum()}; largest relative difference of a request's TTFT or end to end {largest:.2g}"
    )
    return work[:n], times_s[:n]


def formula(profile: GpuProfile, work: np.ndarray, context_step: int = 1) -> np.ndarray:
    """Seconds of iterations that decode; the mean context in steps of so many tokens."""
    decodes, context, _, prefill, attention = work.T
    mean_context = context / np.maximum(decodes, 1)
    if context_step > 1:
        mean_context = np.ceil(mean_context / context_step) * context_step
    return np.asarray(
        profile.base_s
        + profile.per_sequence_s * decodes
        + profile.per_context_token_s * decodes * mean_context
        + profile.per_prefill_token_s * prefill
        + profile.per_prefill_attention_s * attention
    )


def explain_times(profile: GpuProfile, work: np.ndarray, times_s: np.ndarray) -> None:
    is_decode = work[:, 3] == 0
    print(f"\n{'iterations of ' + BATCHES.requests:32} {'share of time':>13} {'mean error':>10} {'total time':>10}")
    for name, chosen in (("decode", is_decode), ("with prefill", ~is_decode), ("all", np.ones_like(is_decode))):
        for rounded, step in (("", 1), (", context rounded", CONTEXT_STEP_TOKENS)):
            ours, theirs = formula(profile, work[chosen], step), times_s[chosen]
            print(
                f"{name + rounded:32} {theirs.sum() / times_s.sum():13.1%} {np.abs(ours / theirs - 1).mean():10.2%} "
                f"{ours.sum() / theirs.sum() - 1:+10.2%}"
            )


def repeat_rounded(vidur: Path, profiles: Path) -> None:
    plain = Replica.duration

    def rounded(replica: Replica) -> float:
        work, profile = work_of(replica), replica.pool.profile
        extra = -(-work.context_tokens // (work.decodes * CONTEXT_STEP_TOKENS)) if work.decodes else 0
        missing = extra * CONTEXT_STEP_TOKENS * work.decodes - work.context_tokens
        return plain(replica) + profile.per_context_token_s * missing

    print(
        f"\n{'signed medians':14} {'TTFT':>8} {'rounded':>8} {'e2e':>8} {'rounded':>8} {'P99 TTFT':>9} {'rounded':>8}"
    )
    for case in CASES:
        trace, fleet = read_trace(vidur, case), one_replica(profiles, case)
        theirs = pl.read_csv(vidur / f"{case.requests}_requests.csv")
        ours = simulate(trace, fleet)
        now = difference(ours.ttft_s, ours.e2e_s, theirs)
        then = difference(*latencies(with_durations(rounded, trace, fleet)), theirs)
        pairs = zip(now[2:], then[2:], strict=True)
        print(f"{case.requests:14} " + " ".join(f"{a:+8.2%} {b:+8.2%}" for a, b in pairs))


def main(vidur_dir: str, profiles_dir: str) -> None:
    vidur, profiles = Path(vidur_dir), Path(profiles_dir)
    compare(vidur, profiles)
    work, times_s = replay(vidur, profiles)
    explain_times(one_replica(profiles, BATCHES).pools[0].profile, work, times_s)
    repeat_rounded(vidur, profiles)


if __name__ == "__main__":
    main(*sys.argv[1:])
