"""Time of the queueing model of a pool: ``python -m tests.benchmarks.model_speed``.

Published lengths, the measured profile with room for all of them, 1, 8 and 64 replicas at five loads. Tables of a
mixture are made before; every time is the least of several calls, of the processor; medians and largest over the cells.
Target of the issue that asked for it: means in microseconds, a distribution within about a millisecond.
"""

import time
from collections.abc import Callable
from statistics import median

from fleetopt.profiles import load_profile
from fleetopt.queueing.equilibrium import pool_state
from fleetopt.queueing.pool import predict_pool
from fleetopt.queueing.stability import stability_limit_rps
from fleetopt.queueing.work import request_work
from fleetopt.workload.lengths import lengths_from_cdf
from fleetopt.workload.reference import load_reference, reference_names

LOADS, REPLICAS, REPEATS = (0.1, 0.3, 0.5, 0.7, 0.85), (1, 8, 64), 5
KV_BLOCKS = 71_936


def least_ms(call: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        call()
        times.append(1e3 * (time.process_time() - start))
    return min(times)


def main() -> None:
    profile = load_profile("a100-llama2-7b")
    room = {"kv_blocks": KV_BLOCKS, "max_context_tokens": KV_BLOCKS * profile.block_tokens}
    means_ms, p99_ms = [], []
    for name in reference_names():
        lengths = lengths_from_cdf(load_reference(name).points, 0.2, 1.0, name)
        work = request_work(
            profile.model_copy(update=room), lengths.weight, lengths.prompt_tokens, lengths.output_tokens
        )
        for replicas in REPLICAS:
            for load in LOADS:
                rate_rps = load * replicas * stability_limit_rps(work)
                if predict_pool(work, rate_rps, replicas) is None:
                    continue
                means_ms.append(least_ms(lambda w=work, r=rate_rps, n=replicas: pool_state(w, r, n)))
                p99_ms.append(
                    least_ms(lambda w=work, r=rate_rps, n=replicas: predict_pool(w, r, n).ttft.quantile(0.99))
                )
    print(f"{len(means_ms)} cells; means {median(means_ms):.2f} ms (at most {max(means_ms):.2f}), ", end="")
    print(f"P99 TTFT with them {median(p99_ms):.2f} ms (at most {max(p99_ms):.2f})")


if __name__ == "__main__":
    main()
