"""How a pool's engine is run: the one place where its profile and its work are made from what the problem asks."""

from fleetopt.planner.mixture import PoolMixture
from fleetopt.planner.problem import Problem
from fleetopt.profiles import GpuProfile
from fleetopt.queueing.slots import worst_case_slots
from fleetopt.queueing.work import RequestWork, request_work

_ALL_SLOTS = 0.5


def most_sequences(problem: Problem, profile: GpuProfile, limit_tokens: int) -> int:
    """Most requests that a replica of a pool with that context limit runs at once."""
    if problem.slot_mode == "statistical" or limit_tokens > profile.kv_tokens:
        return profile.max_sequences
    return worst_case_slots(profile, limit_tokens)


def pool_profile(problem: Problem, profile: GpuProfile, limit_tokens: int) -> GpuProfile:
    """Profile as the engine of a pool with that context limit is run."""
    sequences = most_sequences(problem, profile, limit_tokens)
    return profile if sequences == profile.max_sequences else profile.model_copy(update={"max_sequences": sequences})


def pool_work(problem: Problem, profile: GpuProfile, mixture: PoolMixture) -> RequestWork:
    """What a pool's requests ask of a replica of its profile, as :func:`pool_profile` made it."""
    # By the worst case every request fits that the engine runs, so no room is kept for the longer ones.
    overflow = problem.kv_overflow_probability if problem.slot_mode == "statistical" else _ALL_SLOTS
    return request_work(profile, mixture.weight, mixture.prompt_tokens, mixture.output_tokens, overflow)
