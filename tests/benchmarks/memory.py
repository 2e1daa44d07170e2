"""Peak memory of ten million requests: ``python -m tests.benchmarks.memory [n_requests]``.

A process of its own draws the requests and simulates them on 24 replicas in one call; printed are its resident set, in
MiB of 2^20 bytes, after the imports, at its peak while drawing, and at its peak while simulating. Target: 2 GiB.
"""

import resource
import subprocess
import sys

TARGET_MIB = 2048.0
REPLICAS, RATE_RPS = 24, 8.5
CHILD = """
import resource, sys, time
from fleetopt.profiles import load_profile
from fleetopt.simulator import Fleet, Pool, simulate
from tests.benchmarks.simulator_speed import chat_trace
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
n, replicas, rate_rps = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
profile = load_profile("a100-llama2-7b")
fleet = Fleet((Pool("all", profile, replicas, profile.context_limit_tokens),))
simulate(chat_trace(100, 1.0, seed=0), fleet)
before = peak()
trace = chat_trace(n, rate_rps * replicas, seed=1)
drawn, start = peak(), time.process_time()
result = simulate(trace, fleet)
print(before, drawn, peak(), time.process_time() - start, len(result) / n)
"""


def main(n_requests: int) -> None:
    command = [sys.executable, "-c", CHILD, str(n_requests), str(REPLICAS), str(RATE_RPS)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    before, drawn, simulated, seconds, _ = (float(figure) for figure in done.stdout.split())
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024 >= simulated
    print(f"{n_requests:,} requests on {REPLICAS} replicas, {seconds:.1f} s of processor time; peak resident set, MiB:")
    print(f"imports {before:,.0f}, requests drawn {drawn:,.0f}, simulated {simulated:,.0f}", end="; ")
    print(f"target {TARGET_MIB:,.0f} {'met' if simulated <= TARGET_MIB else 'MISSED'}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000)
