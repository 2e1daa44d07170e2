"""A profile from what the measured database says: coefficients, capacity, sources, a caveat where the fit is poor."""

from collections.abc import Mapping

from fleetopt.profiles.evidence import Evidence, FitErrors, Sources
from fleetopt.profiles.fitted import fit_caveat
from fleetopt.profiles.iterations import fit_iterations
from fleetopt.profiles.profile import GpuProfile, ProfileFile
from fleetopt.profiles.silicon import BLOCK_TOKENS, PACKAGE, Silicon, Target

COMMUNICATION_LIMIT = 0.4
"""Above this share of a full prefill iteration, the timing is more of the node's links than of its GPUs."""
EXPERTS_FROM_TOKENS = 32
"""Each token of a batch calls up other experts until all of them are read: below, time grows as no line does."""
_PRICES_USD: Mapping[str, float] = {"a100_sxm": 2.21, "h100_sxm": 4.02}
_PRICE_SOURCE = "arXiv 2603.16514 (FleetOpt, 2026), USD per GPU-hour"


def import_profile(
    target: Target, silicon: Silicon, *, name: str, usd_per_gpu_hour: float | None, from_tokens: int | None
) -> ProfileFile:
    """Fit a profile to what the database says.

    Parameters
    ----------
    target : Target
    silicon : Silicon
        What :func:`fleetopt.profiles.silicon.read_silicon` found for it.
    name : str
    usd_per_gpu_hour : float or None
        None takes the price that FleetOpt publishes for the GPU, and 0, unknown, where there is none.
    from_tokens : int or None
        Fit to iterations of at least this many tokens; None is 1, and 32 for a mixture of experts.
    """
    if from_tokens is None:
        from_tokens = EXPERTS_FROM_TOKENS if silicon.has_experts else 1
    fit = fit_iterations(silicon.iterations, from_tokens)
    kv_tokens = silicon.kv_blocks * BLOCK_TOKENS
    price, price_source = _price(silicon.system, usd_per_gpu_hour)
    database = f"{PACKAGE} {silicon.package_version} (Apache-2.0), {silicon.system}, {target.backend} "
    database += f"{silicon.backend_version}, {target.model}, tensor parallel {target.tensor_parallel}, {silicon.dtype}"
    profile = GpuProfile.model_validate(
        {
            "name": name,
            **fit.coefficients,
            "kv_blocks": silicon.kv_blocks,
            "block_tokens": BLOCK_TOKENS,
            "max_sequences": target.max_sequences,
            "max_batched_tokens": target.max_batched_tokens,
            "max_context_tokens": min(kv_tokens, silicon.context_limit_tokens),
            "gpus_per_replica": target.tensor_parallel,
            "usd_per_gpu_hour": price,
            "source": f"measured kernel times of {database}; fitted to {len(silicon.iterations)} iterations",
            "caveat": "; ".join(text for text in (_communication_caveat(silicon), fit_caveat(fit.errors)) if text),
        }
    )
    evidence = Evidence(
        gpu=silicon.system,
        model=target.model,
        basis="measured",
        sources=Sources(
            timing=f"{database}; {_grid_note(silicon, fit.errors)}",
            kv=f"{database}: {silicon.memory_note}; whole blocks of {BLOCK_TOKENS} tokens",
            limits=f"sequences and token budget as asked for; context {profile.max_context_tokens:,} tokens: "
            + ("the whole KV cache" if kv_tokens <= silicon.context_limit_tokens else "the model's own limit"),
            price=price_source,
        ),
        fit=fit.errors,
    )
    return ProfileFile(profile=profile, evidence=evidence)


def _communication_caveat(silicon: Silicon) -> str:
    if silicon.communication_share <= COMMUNICATION_LIMIT:
        return ""
    return (
        f"communication between the GPUs is {silicon.communication_share:.0%} of a full iteration of prefill on the "
        "node that was timed; where they are linked better, this is far too slow"
    )


def _price(system: str, usd_per_gpu_hour: float | None) -> tuple[float, str]:
    if usd_per_gpu_hour is not None:
        return usd_per_gpu_hour, "given with --usd-per-gpu-hour"
    if system in _PRICES_USD:
        return _PRICES_USD[system], _PRICE_SOURCE
    return 0.0, "none that can be cited: give one with --usd-per-gpu-hour"


def _grid_note(silicon: Silicon, errors: FitErrors) -> str:
    kinds = ", ".join(f"{error.samples} {kind}" for kind, error in errors.by_kind.items())
    left_out = f", {errors.below.samples} below {errors.from_tokens} tokens left out" if errors.below else ""
    return (
        f"non-negative least squares of the relative error over {kinds} iterations{left_out}; "
        f"{silicon.measured_share:.0%} of their time is timed kernels, the rest (normalisation, activation, embedding) "
        "is computed from bandwidth; work of the processor between iterations is not in it"
    )
