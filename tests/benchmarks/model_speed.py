"""Time of the queueing model of a pool: ``python -m tests.benchmarks.model_speed``.

Published lengths, the measured profile with room for all of them, 1, 2, 8 and 64 replicas at four loads, and large
pools; small and large token budgets. Every time is the median of several calls; medians and largest over the cells.
``fresh``: lengths to the probability of a late first token, with the loads; ``tables made``: the same of lengths that
were measured before; ``P99``: state and P99 of the time to first token, tables made.
"""

import time
from collections.abc import Callable
from statistics import median

from fleetopt.profiles import load_profile
from fleetopt.queueing.pool import predict_pool
from fleetopt.queueing.stability import stability_limit_rps
from fleetopt.queueing.ttft import pool_loads
from fleetopt.queueing.work import request_work
from fleetopt.workload.lengths import lengths_from_cdf
from fleetopt.workload.reference import load_reference, reference_names

LOADS, REPLICAS, REPEATS = (0.3, 0.5, 0.7, 0.85), (1, 2, 8, 64, 1000), 25
KV_BLOCKS = 71_936
BUDGETS = {"budget 512": (512, 512), "budget 8192": (8192, 8192)}


def median_us(call: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(1e6 * (time.perf_counter() - start))
    return median(times)


def main() -> None:
    room = {"kv_blocks": KV_BLOCKS, "max_context_tokens": KV_BLOCKS * 16}
    for budget, (tokens, chunk) in BUDGETS.items():
        profile = load_profile("a100-llama2-7b").model_copy(
            update={**room, "max_batched_tokens": tokens, "max_chunk_tokens": chunk}
        )
        found: dict[str, list[float]] = {"work": [], "fresh": [], "tables made": [], "means": [], "P99": []}
        for name in reference_names():
            lengths = lengths_from_cdf(load_reference(name).points, 0.2, 1.0, name)
            given = (profile, lengths.weight, lengths.prompt_tokens, lengths.output_tokens)
            work = request_work(*given)
            found["work"].append(median_us(lambda g=given: request_work(*g)))
            for replicas in REPLICAS:
                for load in LOADS:
                    rate_rps = load * replicas * stability_limit_rps(work)
                    prediction = predict_pool(work, rate_rps, replicas)
                    if prediction is None:
                        continue
                    cell = (rate_rps, replicas, prediction.ttft.quantile(0.99))
                    found["fresh"].append(median_us(lambda g=given, c=cell: pool_loads(request_work(*g), *c)))
                    found["tables made"].append(median_us(lambda w=work, c=cell: pool_loads(w, *c)))
                    found["means"].append(median_us(lambda w=work, c=cell: predict_pool(w, *c[:2])))
                    found["P99"].append(median_us(lambda w=work, c=cell: predict_pool(w, *c[:2]).ttft.quantile(0.99)))
        figures = ", ".join(f"{what} {median(us):.0f} (at most {max(us):.0f})" for what, us in found.items())
        print(f"{budget}, {len(found['fresh'])} cells, us: {figures}")


if __name__ == "__main__":
    main()
