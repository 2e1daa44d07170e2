"""GPUs of a pool by the paper's rule: the wait alone is held against the target, and a load of at most 0.85."""

import math
from dataclasses import dataclass

import numpy as np

from fleetopt.planner.published.calibration import Calibration
from fleetopt.planner.published.gpu import PublishedGpu
from fleetopt.planner.published.waiting import wait_p99_s

_MOST_UTILIZATION = 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPool:
    """A pool, and what the paper says of it.

    Attributes
    ----------
    gpu : PublishedGpu
    gpus : int
    context_tokens : int
        Longest request that a slot is made for.
    slots_per_gpu : int
    arrival_rate_rps : float
    service_s : float
        Mean time of a request in a full batch, s.
    utilization : float
        Mean of the slots that are taken, ``lambda E[S] / c``.
    wait_p99_s : float
        For a slot, s.
    ttft_p99_s : float
        As reported: the P99 wait and the mean prefill on an idle GPU, s.
    """

    gpu: PublishedGpu
    gpus: int
    context_tokens: int
    slots_per_gpu: int
    arrival_rate_rps: float
    service_s: float
    utilization: float
    wait_p99_s: float
    ttft_p99_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolDemand:
    """What is asked of a pool: a rate of requests whose service is known.

    Attributes
    ----------
    gpu : PublishedGpu
    calibration : Calibration
    arrival_rate_rps : float
        Above 0.
    context_tokens : int
        As in `PublishedPool`.
    """

    gpu: PublishedGpu
    calibration: Calibration
    arrival_rate_rps: float
    context_tokens: int


def needed_gpus(demand: PoolDemand, slo_ttft_p99_s: float, node_availability: float) -> int:
    """Fewest GPUs by the rule of the paper's reference code.

    The search starts at one GPU more than carries the load, so that a pool has at least two; what is held against the
    target is the wait alone, without the prefill. GPUs are then divided by the availability of their nodes.

    Parameters
    ----------
    demand : PoolDemand
    slo_ttft_p99_s : float
    node_availability : float
        Share of nodes that are up, above 0 and at most 1.
    """
    throughput_rps = demand.calibration.gpu_throughput_rps
    needed = math.ceil(demand.arrival_rate_rps / throughput_rps) + 1
    while _wait_p99_s(demand, needed) > slo_ttft_p99_s:
        needed += 1
    needed = max(needed, math.ceil(demand.arrival_rate_rps / (throughput_rps * _MOST_UTILIZATION)))
    return math.ceil(needed / node_availability)


def published_pool(demand: PoolDemand, gpus: int) -> PublishedPool:
    """What the paper says of a pool of so many GPUs; its times are infinite where it is unstable by its accounting."""
    wait_s = _wait_p99_s(demand, gpus)
    return PublishedPool(
        gpu=demand.gpu,
        gpus=gpus,
        context_tokens=demand.context_tokens,
        slots_per_gpu=demand.calibration.slots,
        arrival_rate_rps=demand.arrival_rate_rps,
        service_s=demand.calibration.service_s,
        utilization=demand.arrival_rate_rps / (gpus * demand.calibration.gpu_throughput_rps),
        wait_p99_s=wait_s,
        ttft_p99_s=wait_s + demand.calibration.unloaded_prefill_s,
    )


def offered_utilization(
    pool: PublishedPool, weight: np.ndarray, prompt_tokens: np.ndarray, output_tokens: np.ndarray
) -> float:
    """Load of a pool by the paper's own service time, with the requests that the pool really gets; above 1 it fails.

    The paper describes its short pool by the requests that were short before compression, and its long pool by 3,000
    draws above the band.

    Parameters
    ----------
    pool : PublishedPool
    weight, prompt_tokens, output_tokens : np.ndarray
        float64[k], requests and tokens, after compression.
    """
    service_s = pool.gpu.service_s(prompt_tokens, output_tokens, pool.slots_per_gpu)
    mean_s = float(weight @ service_s) / float(weight.sum())
    return pool.arrival_rate_rps * mean_s / (pool.gpus * pool.slots_per_gpu)


def _wait_p99_s(demand: PoolDemand, gpus: int) -> float:
    of = demand.calibration
    return wait_p99_s(gpus * of.slots, demand.arrival_rate_rps, of.service_s, of.service_variation)
