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


def size_pool(
    gpu: PublishedGpu,
    calibration: Calibration,
    arrival_rate_rps: float,
    slo_ttft_p99_s: float,
    context_tokens: int,
    node_availability: float,
) -> PublishedPool:
    """Smallest pool by the rule of the paper's reference code.

    The search starts at one GPU more than carries the load, so that a pool has at least two; what is held against the
    target is the wait alone, without the prefill. GPUs are then divided by the availability of their nodes.

    Parameters
    ----------
    gpu : PublishedGpu
    calibration : Calibration
    arrival_rate_rps : float
        Above 0.
    slo_ttft_p99_s : float
    context_tokens : int
    node_availability : float
        Share of nodes that are up, above 0 and at most 1.
    """
    throughput_rps = calibration.gpu_throughput_rps
    needed = math.ceil(arrival_rate_rps / throughput_rps) + 1
    while _wait_p99_s(calibration, needed, arrival_rate_rps) > slo_ttft_p99_s:
        needed += 1
    needed = max(needed, math.ceil(arrival_rate_rps / (throughput_rps * _MOST_UTILIZATION)))
    gpus = math.ceil(needed / node_availability)
    wait_s = _wait_p99_s(calibration, gpus, arrival_rate_rps)
    return PublishedPool(
        gpu=gpu,
        gpus=gpus,
        context_tokens=context_tokens,
        slots_per_gpu=calibration.slots,
        arrival_rate_rps=arrival_rate_rps,
        service_s=calibration.service_s,
        utilization=arrival_rate_rps / (gpus * throughput_rps),
        wait_p99_s=wait_s,
        ttft_p99_s=wait_s + calibration.unloaded_prefill_s,
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


def _wait_p99_s(calibration: Calibration, gpus: int, arrival_rate_rps: float) -> float:
    return wait_p99_s(gpus * calibration.slots, arrival_rate_rps, calibration.service_s, calibration.service_variation)
