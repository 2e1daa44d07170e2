"""Coefficients of the iteration time from what requests saw, and a check of them in the simulator."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.optimize import nnls

from fleetopt.errors import InputError
from fleetopt.profiles.iterations import COEFFICIENTS
from fleetopt.profiles.overlaps import work_of_answers
from fleetopt.profiles.profile import GpuProfile
from fleetopt.simulator import Fleet, Pool, simulate
from fleetopt.workload.trace import Trace, trace_from_frame

REQUEST_COLUMNS = {
    "arrival_s": "when the request arrived, s",
    "prompt_tokens": "length of its prompt, tokens",
    "output_tokens": "length of its answer, tokens",
    "ttft_s": "time to first token, s; or first_token_s, on the clock of arrival_s",
    "e2e_s": "time from arrival to the last token, s; or finish_s, on the clock of arrival_s",
}
"""What a table of requests has to hold."""
_PREFILL_ONLY = {
    "base_s": "prefill_only_base_s",
    "per_prefill_token_s": "prefill_only_per_token_s",
    "per_prefill_attention_s": "prefill_only_per_attention_s",
}
_FEWEST = 50
_SHORTEST = 8
"""Answers of fewer tokens than this are not used: their ends, an iteration or so, weigh too much."""
_UNDETERMINED = 0.25
"""A relative standard error above this says that the requests do not fix a coefficient."""
_ROUNDS = 8
_HOPELESS = 0.25
"""A median error end to end above this is no fit."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ObservedRequests:
    """Requests of one replica and what they saw.

    Attributes
    ----------
    trace : Trace
    ttft_s, e2e_s : np.ndarray
        float64[n], seconds from arrival to the first and to the last token.
    """

    trace: Trace
    ttft_s: np.ndarray
    e2e_s: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFit:
    """A fitted profile and how well it reproduces the requests.

    Attributes
    ----------
    profile : GpuProfile
        The start profile with new coefficients.
    standard_errors : mapping
        Relative standard error of each coefficient that was fitted.
    held : tuple of str
        Coefficients that stay at the start profile's value, since these requests do not determine them.
    answers, idle : int
        How many answers, and how many prompts that met an idle replica, the fit is made of.
    ttft_error, e2e_error : float
        Of the fitted profile in the simulator: median over requests of the absolute relative error.
    ttft_p99_error, e2e_p99_error : float
        The same, relative error of the 99th percentile, signed.
    """

    profile: GpuProfile
    standard_errors: Mapping[str, float]
    held: tuple[str, ...]
    answers: int
    idle: int
    ttft_error: float
    e2e_error: float
    ttft_p99_error: float
    e2e_p99_error: float


def observed_from_frame(frame: pl.DataFrame, where: str) -> ObservedRequests:
    """Read a table of requests, see :data:`REQUEST_COLUMNS`; it need not be sorted.

    Raises
    ------
    InputError
        If a column is missing or makes no sense, or the requests are of several replicas.
    """
    for name, absolute in (("ttft_s", "first_token_s"), ("e2e_s", "finish_s")):
        if name not in frame.columns and {absolute, "arrival_s"} <= set(frame.columns):
            frame = frame.with_columns((pl.col(absolute) - pl.col("arrival_s")).alias(name))
    missing = [name for name in REQUEST_COLUMNS if name not in frame.columns]
    if missing:
        raise InputError(f"{where}: no column '{missing[0]}'; a table of requests has {', '.join(REQUEST_COLUMNS)}")
    for name in ("arrival_s", "ttft_s", "e2e_s"):
        if not frame[name].dtype.is_numeric():
            raise InputError(f"{where}: column '{name}': is {frame[name].dtype}, not a number")
    if len(frame) < _FEWEST:
        raise InputError(f"{where}: {len(frame)} requests; a fit takes at least {_FEWEST}")
    _require_one_replica(frame, where)
    frame = frame.sort("arrival_s", maintain_order=True)
    trace = trace_from_frame(frame.select("arrival_s", "prompt_tokens", "output_tokens"), where)
    ttft_s, e2e_s = (frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in ("ttft_s", "e2e_s"))
    if not (np.isfinite(ttft_s) & np.isfinite(e2e_s) & (ttft_s > 0) & (e2e_s >= ttft_s)).all():
        raise InputError(f"{where}: every request needs 0 < ttft_s <= e2e_s; leave out those that were not served")
    return ObservedRequests(trace=trace, ttft_s=np.asarray(ttft_s), e2e_s=np.asarray(e2e_s))


def _require_one_replica(frame: pl.DataFrame, where: str) -> None:
    """What runs beside a request is known only among the requests of its own replica."""
    keys = [name for name in ("pool", "replica") if name in frame.columns]
    if keys and frame.select(keys).n_unique() > 1:
        raise InputError(f"{where}: requests of several replicas (columns {', '.join(keys)}); keep those of one")


def fit_requests(observed: ObservedRequests, start: GpuProfile) -> RequestFit:
    """Estimate the coefficients from how long answers took and what was computed beside them.

    Parameters
    ----------
    observed : ObservedRequests
        All requests of one replica over a stretch of time.
    start : GpuProfile
        Its capacity and limits are taken as they are, and so are the coefficients that the requests do not determine,
        and the ratio of its ``prefill_only_*`` coefficients to the others.

    Returns
    -------
    RequestFit

    Raises
    ------
    InputError
        If the start profile does not hold the longest request, too few requests can be used, or nothing fits them.

    Notes
    -----
    From its first to its last token a request of m + 1 tokens sees m iterations. They last, together, ``W m + a (tokens
    decoded beside and by it) + b (context that those read) + p (prompt tokens prefilled meanwhile) + q (their
    attention)``: linear in the coefficients. Which tokens those are follows from the requests that overlap with it, see
    :func:`fleetopt.profiles.overlaps.work_of_answers`. A request that meets an idle replica adds its TTFT, ``chunks W'
    + p' k + q' k^2 / 2``. Reweighted non-negative least squares; standard errors from the linear model, which takes
    requests as independent and so is too sure of itself. A coefficient whose relative standard error is above 25 % is
    held at the start profile's value and the others are fitted again. The simulator, which is no part of the fit, then
    runs the same arrivals with the result. Preemption is not in the model: a time with much of it is refused.

    Of what the simulator made with known coefficients, a busy replica gives W, b and p back within 2 %, a and q within
    10 %; one that idles now and then within 1 % and 3 %. Noisy clocks make it worse, and near saturation W takes over
    what belongs to a: trust the check in the simulator, not a coefficient by itself.
    """
    longest = int(observed.trace.total_tokens.max())
    if longest > start.context_limit_tokens:
        raise InputError(
            f"profile {start.name}: holds {start.context_limit_tokens:,} tokens per request, the longest has "
            f"{longest:,}"
        )
    answers, answer_s, iterations = _answers(observed)
    prompts, prompt_s = _idle_prompts(observed, start)
    if len(answers) + len(prompts) < _FEWEST:
        raise InputError(
            f"{len(answers)} answers of at least {_SHORTEST + 1} tokens and {len(prompts)} prompts that met an idle "
            f"replica; a fit takes {_FEWEST}"
        )
    work, taken_s = np.vstack([answers, prompts]), np.concatenate([answer_s, prompt_s])
    weight = np.concatenate([np.sqrt(iterations), np.ones(len(prompts))]) / taken_s
    begin = np.array([getattr(start, name) for name in COEFFICIENTS])
    values, errors, is_free = _fit(work, taken_s, weight, begin)
    profile = _profile(start, values)
    ttft_s, e2e_s = _simulated(observed.trace, profile)
    e2e_error = float(np.median(np.abs(e2e_s / observed.e2e_s - 1)))
    if e2e_error > _HOPELESS:
        raise InputError(
            f"no coefficients explain these requests: the best are off by {e2e_error:.0%} end to end in the median; "
            "take all requests of one replica, of a time when it neither preempts nor pauses"
        )
    return RequestFit(
        profile=profile,
        standard_errors={name: float(error) for name, error in zip(COEFFICIENTS, errors, strict=True) if error >= 0},
        held=tuple(name for name, free in zip(COEFFICIENTS, is_free, strict=True) if not free),
        answers=len(answers),
        idle=len(prompts),
        ttft_error=float(np.median(np.abs(ttft_s / observed.ttft_s - 1))),
        e2e_error=e2e_error,
        ttft_p99_error=float(np.quantile(ttft_s, 0.99) / np.quantile(observed.ttft_s, 0.99) - 1),
        e2e_p99_error=float(np.quantile(e2e_s, 0.99) / np.quantile(observed.e2e_s, 0.99) - 1),
    )


def _answers(observed: ObservedRequests) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What was computed between first and last token, float64[n, 5], how long that took, and in how many iterations."""
    trace = observed.trace
    first_s, last_s = trace.arrival_s + observed.ttft_s, trace.arrival_s + observed.e2e_s
    used = np.flatnonzero((trace.output_tokens > _SHORTEST) & (last_s > first_s))
    rows = work_of_answers(trace.arrival_s, first_s, last_s, trace.prompt_tokens, trace.output_tokens, used)
    return rows, (last_s - first_s)[used], rows[:, 0]


def _idle_prompts(observed: ObservedRequests, start: GpuProfile) -> tuple[np.ndarray, np.ndarray]:
    """The same of prompts that met an idle replica and were alone until their first token."""
    arrival_s = observed.trace.arrival_s
    first_s, last_s = arrival_s + observed.ttft_s, arrival_s + observed.e2e_s
    busy_until_s = np.concatenate([[-np.inf], np.maximum.accumulate(last_s)[:-1]])
    next_s = np.concatenate([arrival_s[1:], [np.inf]])
    alone = (busy_until_s < arrival_s) & (next_s >= first_s)
    prompt = observed.trace.prompt_tokens[alone].astype(np.float64)
    chunks = np.ceil(prompt / min(start.max_chunk_tokens, start.max_batched_tokens))
    rows = np.zeros((len(prompt), len(COEFFICIENTS)))
    for name, values in (
        ("base_s", chunks),
        ("per_prefill_token_s", prompt),
        ("per_prefill_attention_s", prompt**2 / 2),
    ):
        rows[:, COEFFICIENTS.index(name)] = values * _prefill_only_ratio(start, name)
    return rows, observed.ttft_s[alone]


def _prefill_only_ratio(start: GpuProfile, name: str) -> float:
    """A coefficient of iterations without decode, over that of iterations with it."""
    value = float(getattr(start, name))
    return float(getattr(start, _PREFILL_ONLY[name])) / value if value > 0 else 1.0


def _fit(
    work: np.ndarray, taken_s: np.ndarray, weight: np.ndarray, begin: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients, their relative standard errors (-1 where held), and which are fitted; five of each."""
    is_free: np.ndarray = np.any(work != 0, axis=0)
    while True:
        values, errors = _reweighted(work, taken_s, weight, begin, is_free)
        worst = int(np.argmax(errors))
        if errors[worst] <= _UNDETERMINED or is_free.sum() == 1:
            return values, errors, is_free
        is_free = is_free.copy()
        is_free[worst] = False


def _reweighted(
    work: np.ndarray, taken_s: np.ndarray, weight: np.ndarray, begin: np.ndarray, is_free: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Huber's loss by reweighting: what preemption or a pause has stretched does not bend the line."""
    scale = np.maximum(np.abs(work).max(axis=0), 1e-300)
    target = (taken_s - work[:, ~is_free] @ begin[~is_free]) * weight
    columns = work[:, is_free] / scale[is_free] * weight[:, None]
    trust = np.ones(len(taken_s))
    for _ in range(_ROUNDS):
        root = np.sqrt(trust)
        solution, _ = nnls(columns * root[:, None], target * root)
        missed = target - columns @ solution
        spread = max(float(np.median(np.abs(missed))) / 0.6745, 1e-12)
        trust = np.minimum(1.0, 1.345 * spread / np.maximum(np.abs(missed), 1e-300))
    values = begin.copy()
    values[is_free] = solution / scale[is_free]
    weighted = columns * np.sqrt(trust)[:, None]
    freedom = max(1, len(taken_s) - int(is_free.sum()))
    variance = float(np.sum(trust * missed**2)) / freedom
    deviation = np.sqrt(variance * np.diag(np.linalg.pinv(weighted.T @ weighted)))
    errors = np.full(len(begin), -1.0)
    errors[is_free] = np.where(solution > 0, deviation / np.maximum(solution, 1e-300), np.inf)
    return values, errors


def _profile(start: GpuProfile, values: np.ndarray) -> GpuProfile:
    changes = {}
    for name, value in zip(COEFFICIENTS, values.tolist(), strict=True):
        changes[name] = float(f"{value:.4g}")
        if name in _PREFILL_ONLY:
            changes[_PREFILL_ONLY[name]] = float(f"{value * _prefill_only_ratio(start, name):.4g}")
    return start.model_copy(update=changes)


def _simulated(trace: Trace, profile: GpuProfile) -> tuple[np.ndarray, np.ndarray]:
    """TTFT and end-to-end time of each request on one replica, s."""
    pool = Pool("all", profile, 1, profile.context_limit_tokens)
    result = simulate(trace, Fleet(pools=(pool,), router="least-loaded"))
    return result.first_token_s - result.arrival_s, result.finish_s - result.arrival_s
