"""How many GPUs of a pool the sound model asks for at a target."""

import math
from dataclasses import dataclass

import numpy as np

from fleetopt.planner.mixture import PoolMixture
from fleetopt.profiles import GpuProfile
from fleetopt.queueing.pool import predict_pool
from fleetopt.queueing.stability import stability_limit_rps
from fleetopt.queueing.work import RequestWork, request_work

_P99 = 0.99
_MOST_LOAD = 0.85
"""FleetOpt's cap on utilisation, here on the share of the stability limit."""
_MOST_GPUS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededPool:
    """What the sound model asks for.

    Attributes
    ----------
    name : str
    gpus : int or None
        None where no number is enough.
    slots_per_gpu : int
        Limit of running requests that the engine is given.
    unloaded_ttft_p99_s, model_ttft_p99_s : float
        On idle GPUs, and on these, s; the latter nan without them.
    """

    name: str
    gpus: int | None
    slots_per_gpu: int
    unloaded_ttft_p99_s: float
    model_ttft_p99_s: float


def needed_pool(
    name: str, mixture: PoolMixture, arrival_rate_rps: float, profile: GpuProfile, slo_ttft_p99_s: float
) -> NeededPool:
    """Fewest GPUs whose P99 TTFT is within the target, at 85 % of the stability limit or less.

    Parameters
    ----------
    name : str
    mixture : PoolMixture
    arrival_rate_rps : float
        Of the pool.
    profile : GpuProfile
        Its ``max_sequences`` are the slots.
    slo_ttft_p99_s : float
    """
    work = request_work(profile, mixture.weight, mixture.prompt_tokens, mixture.output_tokens)
    unloaded_s = work.unloaded_ttft_quantile_s(_P99)
    gpus = _fewest(work, arrival_rate_rps, slo_ttft_p99_s) if unloaded_s <= slo_ttft_p99_s else None
    prediction = predict_pool(work, arrival_rate_rps, gpus) if gpus else None
    return NeededPool(
        name=name,
        gpus=gpus,
        slots_per_gpu=profile.max_sequences,
        unloaded_ttft_p99_s=unloaded_s,
        model_ttft_p99_s=prediction.ttft.quantile(_P99) if prediction else math.nan,
    )


def _fewest(work: RequestWork, arrival_rate_rps: float, slo_ttft_p99_s: float) -> int | None:
    """Fewest GPUs, by doubling and bisection: the wait and the load only fall with more."""

    def is_enough(gpus: int) -> bool:
        prediction = predict_pool(work, arrival_rate_rps, gpus)
        return prediction is not None and float(prediction.ttft.exceeds(np.array([slo_ttft_p99_s]))[0]) <= 1 - _P99

    low = math.ceil(arrival_rate_rps / (_MOST_LOAD * stability_limit_rps(work))) - 1
    high = low + 1
    while not is_enough(high):
        low, high = high, 2 * high
        if high > _MOST_GPUS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high
