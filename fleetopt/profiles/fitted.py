"""A profile whose coefficients were fitted, on top of one that has the capacity, the limits and the price."""

from fleetopt.profiles.evidence import Evidence, FitError, FitErrors, Sources
from fleetopt.profiles.from_requests import RequestFit
from fleetopt.profiles.iterations import COEFFICIENTS, IterationFit
from fleetopt.profiles.profile import GpuProfile, ProfileFile

MEAN_LIMIT, WORST_LIMIT = 0.10, 0.25
"""A profile whose mean error in any kind of iteration, or worst error, is above these says so in its caveat."""


def profile_of_iterations(fit: IterationFit, start: ProfileFile, *, name: str, where: str) -> ProfileFile:
    """Give a profile the coefficients of a fit to timed iterations.

    Parameters
    ----------
    fit : IterationFit
    start : ProfileFile
        For capacity, limits and price, and for coefficients that the iterations say nothing about.
    name : str
    where : str
        The table of iterations, for the source.
    """
    held = fit.undetermined
    values = {key: getattr(start.profile, key) if key in held else fit.coefficients[key] for key in COEFFICIENTS}
    count = sum(error.samples or 0 for error in fit.errors.by_kind.values())
    source = f"fitted to {count} iterations of {where} by least squares of the relative error"
    caveat = "; ".join(text for text in (_held_note(held, start.profile), fit_caveat(fit.errors)) if text)
    return _file(start, values, held, name=name, source=source, caveat=caveat, errors=fit.errors)


def profile_of_requests(fit: RequestFit, start: ProfileFile, *, name: str, where: str) -> ProfileFile:
    """Give a profile the coefficients of a fit to observed requests.

    Parameters
    ----------
    fit : RequestFit
    start : ProfileFile
        What the fit began with.
    name : str
    where : str
        The table of requests, for the source.
    """
    check = (
        f"simulated with it, TTFT is off by {fit.ttft_error:.1%} in the median and {fit.ttft_p99_error:+.1%} at P99, "
        f"end to end {fit.e2e_error:.1%} and {fit.e2e_p99_error:+.1%}"
    )
    source = f"fitted to {fit.answers} answers and {fit.idle} lone prompts of {where}; {check}"
    poor = max(fit.ttft_error, fit.e2e_error) > MEAN_LIMIT or abs(fit.ttft_p99_error) > WORST_LIMIT
    caveat = "; ".join(text for text in (_held_note(fit.held, start.profile), check if poor else "") if text)
    values = fit.profile.model_dump(exclude={"name", "source", "caveat"})
    return _file(start, values, fit.held, name=name, source=source, caveat=caveat, errors=None)


def fit_caveat(errors: FitErrors) -> str:
    """What a recommendation has to say about a fit, empty where it is within the limits."""
    parts = [f"{kind} iterations {_off(error)}" for kind, error in errors.by_kind.items() if _is_poor(error)]
    if errors.below is not None and _is_poor(errors.below):
        parts.append(
            f"iterations of fewer than {errors.from_tokens} tokens, which the fit leaves out, {_off(errors.below)}"
        )
    return "; ".join(parts)


def _is_poor(error: FitError) -> bool:
    return error.mean_error > MEAN_LIMIT or abs(error.worst_error or 0.0) > WORST_LIMIT


def _off(error: FitError) -> str:
    return f"are off by {error.mean_error:.0%} on average and {error.worst_error:+.0%} at worst ({error.worst_at})"


def _held_note(held: tuple[str, ...], start: GpuProfile) -> str:
    if not held:
        return ""
    return f"not determined by what was observed, so taken from {start.name}: {', '.join(held)}"


def _file(
    start: ProfileFile,
    values: dict[str, float],
    held: tuple[str, ...],
    *,
    name: str,
    source: str,
    caveat: str,
    errors: FitErrors | None,
) -> ProfileFile:
    """The start profile with other coefficients; those of iterations without decode follow unless they are given."""
    kept = start.profile.model_dump(exclude={key for key in GpuProfile.model_fields if key.startswith("prefill_only_")})
    profile = GpuProfile.model_validate({**kept, **values, "name": name, "source": source, "caveat": caveat})
    told = start.evidence
    from_start = f"as in {start.profile.name}"
    evidence = Evidence(
        gpu=told.gpu if told else "unknown",
        model=told.model if told else "unknown",
        basis="estimated" if held else "measured",
        sources=Sources(
            timing=source,
            kv=f"{from_start}: {told.sources.kv}" if told else from_start,
            limits=f"{from_start}: {told.sources.limits}" if told else from_start,
            price=f"{from_start}: {told.sources.price}" if told else from_start,
        ),
        fit=errors,
    )
    return ProfileFile(profile, evidence)
