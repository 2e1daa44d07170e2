"""Sizing of one pool: what the model predicts for a number of replicas, and the smallest number that holds."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from fleetopt.planner.mixture import PoolMixture
from fleetopt.planner.plan import PoolPlan
from fleetopt.profiles import GpuProfile
from fleetopt.queueing.replica import ReplicaState, RequestWork, replica_state, request_work
from fleetopt.queueing.waiting import dispatched_wait, mgc_wait, sum_exceeds

_P99 = 0.01
_MAX_REPLICAS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPrediction:
    """What the model predicts of a pool: loads of its resources, and the tails of TTFT and TPOT."""

    state: ReplicaState
    slots: int
    loads: dict[str, float]
    ttft_p99_s: float
    tpot_p99_s: float


def predict_pool(work: RequestWork, arrival_rate_rps: float, replicas: int) -> PoolPrediction | None:
    """Predict a pool of identical replicas under Poisson arrivals; None where it is unstable.

    The time to first token is the sum of the rest of the running iteration, the wait for a slot (M/G/c over the slots
    of all replicas), the wait for the prefill of others (each replica takes prompts one after the other, as fast as its
    token budget and its decode steps allow; see `dispatched_wait`), and the request's own prefill at the loaded
    iteration time. Its P99 is that of the sum over the mixture, not a sum of P99s.

    Parameters
    ----------
    work : RequestWork
    arrival_rate_rps : float
        Rate of the pool, 1/s.
    replicas : int
    """
    state = replica_state(work, arrival_rate_rps / replicas)
    if state is None or state.running >= work.slots:
        return None
    profile = work.profile
    budget_tokens = max(1.0, profile.max_batched_tokens - state.decoding)
    chunk_tokens = min(work.chunk_tokens, budget_tokens)
    share, prompt = work.prompt_points
    own_work_s = profile.per_prefill_token_s * prompt + profile.per_prefill_attention_s * prompt**2 / 2
    occupied_s = prompt / budget_tokens * state.decode_iteration_s + own_work_s
    mean_s = float(share @ occupied_s)
    prefill_load = arrival_rate_rps * mean_s / replicas
    if prefill_load >= 1:
        return None
    slot_wait = mgc_wait(
        replicas * work.slots, arrival_rate_rps, work.iterations * state.iteration_s, work.iterations_cv2
    )
    prefill_wait = dispatched_wait(replicas, arrival_rate_rps, mean_s, float(share @ occupied_s**2) / mean_s**2 - 1)
    own_s = np.ceil(prompt / chunk_tokens) * state.decode_iteration_s + own_work_s + state.iteration_s / 2

    def exceeds(limit_s: float) -> float:
        return float(share @ sum_exceeds(slot_wait, prefill_wait, limit_s - own_s))

    return PoolPrediction(
        state=state,
        slots=work.slots,
        loads={
            "token budget": state.budget_load,
            "prefill": prefill_load,
            "slots": state.running / work.slots,
        },
        ttft_p99_s=_tail_quantile(exceeds, float(own_s.max())),
        tpot_p99_s=_tpot_p99(work, state, chunk_tokens, arrival_rate_rps / replicas),
    )


def unloaded_ttft_p99_s(work: RequestWork) -> float:
    """P99 time to first token of requests that are alone on their replica, s: no fleet does better."""
    profile = work.profile
    share, prompt = work.prompt_points
    own_s = (
        np.ceil(prompt / work.chunk_tokens) * profile.prefill_only_base_s
        + profile.prefill_only_per_token_s * prompt
        + profile.prefill_only_per_attention_s * prompt**2 / 2
    )
    order = np.argsort(own_s)
    return float(own_s[order][np.searchsorted(np.cumsum(share[order]), 1 - _P99)])


def _tail_quantile(exceeds: Callable[[float], float], start: float) -> float:
    """Solve exceeds(x) = 1 % by bisection, x from 0 upwards."""
    low, high = 0.0, max(start, 1e-6)
    while exceeds(high) > _P99:
        low, high = high, 2 * high
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if exceeds(middle) > _P99 else (low, middle)
    return high


def _tpot_p99(work: RequestWork, state: ReplicaState, chunk_tokens: float, rate: float) -> float:
    """P99 over requests of the mean time per output token, s.

    Iterations with a prefill chunk are longer than those without; a request's mean over its steps is taken as normal.
    """
    share, output = work.output_points
    has_steps = output > 1
    if not has_steps.any():
        return state.iteration_s
    share, steps = share[has_steps] / share[has_steps].sum(), output[has_steps] - 1
    chunks_per_iteration = rate * work.prefill_s / state.busy * state.iteration_s
    full_chunk_s = work.prefill_s / float(work.prompt_points[0] @ work.prompt_points[1]) * chunk_tokens
    with_chunk = min(1.0, chunks_per_iteration / full_chunk_s) if full_chunk_s > 0 else 0.0
    deviation = np.sqrt(with_chunk * (1 - with_chunk)) * full_chunk_s
    if deviation == 0:
        return state.iteration_s

    def exceeds(limit_s: float) -> float:
        return float(share @ stats.norm.sf((limit_s - state.iteration_s) * np.sqrt(steps) / deviation))

    return min(_tail_quantile(exceeds, state.iteration_s), state.decode_iteration_s + full_chunk_s)


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
    unloaded_s = unloaded_ttft_p99_s(work)
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
        ttft_p99_s=prediction.ttft_p99_s,
        tpot_p99_s=prediction.tpot_p99_s,
        residence_s=work.iterations * prediction.state.iteration_s,
        binding=binding,
    )


def _shortfall(work: RequestWork, arrival_rate_rps: float, replicas: int, requirements: PoolRequirements) -> str | None:
    """What a number of replicas fails on; None if it meets everything."""
    if replicas < 1:
        return "one replica is the least"
    prediction = predict_pool(work, arrival_rate_rps, replicas)
    if prediction is None:
        return "stability"
    for resource, load in prediction.loads.items():
        if load > requirements.max_utilization:
            return f"load of the {resource}"
    if prediction.ttft_p99_s > requirements.slo_ttft_p99_s:
        return "P99 TTFT"
    return None


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
