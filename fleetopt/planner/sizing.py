"""Sizing of one pool: the smallest number of replicas that holds, by the queueing model."""

from dataclasses import dataclass

import numpy as np

from fleetopt.planner.mixture import PoolMixture
from fleetopt.planner.plan import PoolPlan
from fleetopt.profiles import GpuProfile
from fleetopt.queueing.pool import PoolPrediction, predict_pool
from fleetopt.queueing.stability import token_budget_load
from fleetopt.queueing.work import RequestWork, request_work

_P99 = 0.99
_MAX_REPLICAS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRequirements:
    """What a pool has to meet."""

    slo_ttft_p99_s: float
    max_utilization: float
    spare_replicas: int
    max_context_tokens: int


def size_pool(
    name: str,
    mixture: PoolMixture,
    arrival_rate_rps: float,
    profile: GpuProfile,
    requirements: PoolRequirements,
) -> PoolPlan | str:
    """Smallest pool of one profile that meets the target, spares added; or, as text, why there is none.

    Parameters
    ----------
    name : str
    mixture : PoolMixture
    arrival_rate_rps : float
        Rate of the pool, 1/s.
    profile : GpuProfile
    requirements : PoolRequirements
    """
    if profile.context_limit_tokens < requirements.max_context_tokens:
        return (
            f"{profile.name} holds {profile.context_limit_tokens:,} tokens, "
            f"the {name} pool needs {requirements.max_context_tokens:,}"
        )
    work = request_work(profile, mixture.weight, mixture.prompt_tokens, mixture.output_tokens)
    unloaded_s = work.unloaded_ttft_quantile_s(_P99)
    if unloaded_s > requirements.slo_ttft_p99_s:
        return (
            f"the {name} pool's P99 TTFT is {unloaded_s:.3g} s on idle {profile.name} replicas, "
            f"above the target of {requirements.slo_ttft_p99_s:g} s"
        )
    smallest = _smallest(work, arrival_rate_rps, requirements)
    if smallest is None:
        return f"the {name} pool misses the target even with {_MAX_REPLICAS:,} {profile.name} replicas"
    replicas, binding = smallest
    return _describe(name, work, arrival_rate_rps, replicas, requirements, binding)


def resize_pool(pool: PoolPlan, mixture: PoolMixture, loaded_replicas: int, binding: str) -> PoolPlan:
    """The same pool with another number of replicas, and what the model predicts of it.

    Raises
    ------
    ValueError
        If the model finds that number unstable.
    """
    work = request_work(pool.profile, mixture.weight, mixture.prompt_tokens, mixture.output_tokens)
    requirements = PoolRequirements(
        slo_ttft_p99_s=np.inf,
        max_utilization=1.0,
        spare_replicas=pool.spare_replicas,
        max_context_tokens=pool.max_context_tokens,
    )
    return _describe(pool.name, work, pool.arrival_rate_rps, loaded_replicas, requirements, binding)


def _describe(
    name: str,
    work: RequestWork,
    arrival_rate_rps: float,
    replicas: int,
    requirements: PoolRequirements,
    binding: str,
) -> PoolPlan:
    """A pool of ``replicas`` loaded replicas and its spares, with its prediction."""
    prediction = predict_pool(work, arrival_rate_rps, replicas)
    if prediction is None:
        raise ValueError(f"{replicas} replicas of {work.profile.name} are unstable at {arrival_rate_rps:g} requests/s")
    return PoolPlan(
        name=name,
        profile=work.profile,
        replicas=replicas + requirements.spare_replicas,
        spare_replicas=requirements.spare_replicas,
        max_context_tokens=requirements.max_context_tokens,
        arrival_rate_rps=arrival_rate_rps,
        slots_per_replica=work.slots,
        slot_utilization=prediction.state.running / work.profile.max_sequences,
        kv_utilization=prediction.state.kv_utilization,
        ttft_p99_s=prediction.ttft.quantile(_P99),
        tpot_p99_s=_tpot_p99_s(prediction),
        residence_s=work.iterations * prediction.state.iteration_s,
        binding=binding,
    )


def _tpot_p99_s(prediction: PoolPrediction) -> float:
    """P99 time per output token, s; where no request has two tokens, the time of an iteration."""
    quantile_s = prediction.tpot.quantile(_P99)
    return prediction.state.iteration_s if np.isnan(quantile_s) else quantile_s


def _loads(work: RequestWork, prediction: PoolPrediction) -> dict[str, float]:
    """Load of each resource of a replica as a share of its capacity."""
    state = prediction.state
    return {
        "token budget": state.budget_load,
        "prefill": state.prefill_load,
        "slots": state.running / work.slots,
    }


def _shortfall(work: RequestWork, arrival_rate_rps: float, replicas: int, requirements: PoolRequirements) -> str | None:
    """What a number of replicas fails on; None if it meets everything. The cheapest checks come first."""
    if replicas < 1:
        return "one replica is the least"
    budget_load = token_budget_load(work, arrival_rate_rps / replicas)
    if budget_load >= 1:
        return "stability"
    if budget_load > requirements.max_utilization:
        return "load of the token budget"
    prediction = predict_pool(work, arrival_rate_rps, replicas)
    if prediction is None:
        return "stability"
    for resource, load in _loads(work, prediction).items():
        if load > requirements.max_utilization:
            return f"load of the {resource}"
    # One evaluation at the target is cheaper than the quantile, and decides the same.
    late = float(prediction.ttft.exceeds(np.array([requirements.slo_ttft_p99_s]))[0])
    return "P99 TTFT" if late > 1 - _P99 else None


def _smallest(work: RequestWork, arrival_rate_rps: float, requirements: PoolRequirements) -> tuple[int, str] | None:
    """Smallest number of replicas that meets everything, and what one less fails on."""
    high = 1
    while _shortfall(work, arrival_rate_rps, high, requirements) is not None:
        high *= 2
        if high > _MAX_REPLICAS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if _shortfall(work, arrival_rate_rps, middle, requirements) is None:
            high = middle
        else:
            low = middle
    return high, str(_shortfall(work, arrival_rate_rps, high - 1, requirements))
