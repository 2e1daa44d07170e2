"""The requests that `simulate` and `compare` run, and the lengths that `plan` plans for, from the options."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fleetopt.cli.files import read_parquet, read_text
from fleetopt.cli.options import require_range
from fleetopt.errors import InputError, one_line

if TYPE_CHECKING:
    import polars as pl

    from fleetopt.workload.lengths import JointLengths
    from fleetopt.workload.processes import ArrivalProcess
    from fleetopt.workload.trace import Trace

WARM_UP_NOTE = (
    "Latencies and targets leave out requests that arrived while the fleet filled up (MSER-5, at least 10 mean times "
    "in the system) or emptied (the last 3). Use is of the whole run."
)
RATE_CURVE_NOTE = (
    "The rate follows a curve: nothing is cut as warm-up, and the verdict, made for a steady rate, says little."
)

_DEFAULT_REQUESTS = 10_000

TraceOption = Annotated[
    Path | None,
    typer.Option(help="Requests to replay: requests.parquet, as `fleetopt ingest` writes it.", show_default=False),
]
CdfOption = Annotated[
    str | None,
    typer.Option(
        help="Lengths to draw requests from, instead of --trace: CDF file (JSON), name of a published workload, or "
        "requests.parquet.",
        show_default=False,
    ),
]
RateOption = Annotated[
    float | None,
    typer.Option(
        help="Mean arrival rate, requests/s; of a rate curve over all of it, and a short run sees only how it begins. "
        "With --trace its gaps are scaled to it, burstiness kept.",
        show_default=False,
    ),
]
CountOption = Annotated[
    int | None,
    typer.Option("--requests", help=f"Requests to draw. Default: {_DEFAULT_REQUESTS:,}.", show_default=False),
]
ArrivalsOption = Annotated[
    str | None,
    typer.Option(
        help="How drawn requests arrive: poisson, gamma:CV or weibull:CV (CV: coefficient of variation of the gaps), "
        "or a TOML file with a rate curve or a Markov-modulated process. Default: poisson.",
        show_default=False,
    ),
]
OutputFractionOption = Annotated[
    float, typer.Option(help="Share of a total length that is output, where only totals are known.")
]
CompressibleOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Share of requests that may be compressed, 0 to 1; NAME=SHARE for an archetype of the trace; may be given "
        "more than once. Default: 1.",
        show_default=False,
    ),
]
SeedOption = Annotated[int, typer.Option(help="Of all that is random.")]
ReplicationsOption = Annotated[
    int | None,
    typer.Option(
        help="Independent draws; figures are their means with 95 % intervals. Default: 1.", show_default=False
    ),
]


@dataclass(frozen=True, slots=True)
class RequestSource:
    """Requests of a run.

    Attributes
    ----------
    title : str
        What they are, for headings.
    make_trace : callable
        Takes the index of a replication, returns its trace.
    replications : int
    is_replay : bool
        Whether they are real requests, the same each time.
    is_steady : bool
        Whether they arrive at one mean rate, so that a run has a warm-up to cut. A rate curve has none: what looks like
        a warm-up is its peak.
    routing_seed : int
        Of what routers draw at random in the first replication.
    """

    title: str
    make_trace: "Callable[[int], Trace]"
    replications: int
    is_replay: bool
    is_steady: bool
    routing_seed: int

    @property
    def notes(self) -> tuple[str, ...]:
        """What to say below figures of drawn requests."""
        if self.is_replay:
            return ()
        return (WARM_UP_NOTE,) if self.is_steady else (RATE_CURVE_NOTE,)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOptions:
    """Values of the options above, None where not given."""

    trace: Path | None
    cdf: str | None
    rate: float | None
    requests: int | None
    arrivals: str | None
    output_fraction: float
    compressible_fraction: list[str] | None
    seed: int
    replications: int | None


def request_source(options: RequestOptions) -> RequestSource:
    """Find out which requests the options mean.

    Raises
    ------
    InputError
        If they contradict each other, or a file or value is wrong.
    """
    if (options.trace is None) == (options.cdf is None):
        raise InputError("--trace, --cdf: give one of them: requests to replay, or lengths to draw requests from")
    require_range("--seed", options.seed, 0, 2**63 - 1)
    if options.rate is not None and not (isfinite(options.rate) and options.rate > 0):
        raise InputError(f"--rate {options.rate:g}: has to be above 0 requests/s")
    return _replayed(options, options.trace) if options.trace is not None else _drawn(options, str(options.cdf))


def load_workload(cdf: str) -> "str | tuple[tuple[float, float], ...] | Trace":
    """What an option names: a published workload, by its name; the points of a CDF file; or a trace.

    Raises
    ------
    InputError
        If there is nothing of that name, or it is wrong.
    """
    from fleetopt.workload.reference import parse_cdf, reference_names
    from fleetopt.workload.trace import trace_from_frame

    if cdf in reference_names():
        return cdf
    path = Path(cdf)
    if not cdf or not path.exists():
        raise InputError(f"--cdf {cdf}: no such file, nor a published workload ({', '.join(reference_names())})")
    if path.suffix == ".parquet":
        return trace_from_frame(read_parquet(path), cdf)
    return parse_cdf(read_text(path), cdf)


def load_lengths(cdf: str, output_fraction: float, compressible_fraction: float) -> "tuple[JointLengths, int]":
    """Lengths of what an option names (see `load_workload`), and the longest there can be.

    Raises
    ------
    InputError
        If there is nothing of that name, or it is wrong.
    """
    from fleetopt.workload.forms import lengths_of

    require_range("--output-fraction", output_fraction, 0, 1, open_ends=True)
    lengths, points = lengths_of(load_workload(cdf), output_fraction, compressible_fraction, cdf)
    return lengths, max(2, ceil(points[-1][0] if points else lengths.total_tokens[-1]))


def _replayed(options: RequestOptions, path: Path) -> RequestSource:
    from fleetopt.workload.trace import trace_from_frame

    for option, value in (
        ("--requests", options.requests),
        ("--arrivals", options.arrivals),
        ("--replications", options.replications),
    ):
        if value is not None:
            raise InputError(f"{option} {value}: goes with --cdf; a replay of --trace is the same each time")
    frame = read_parquet(path)
    trace = trace_from_frame(frame, str(path))
    if not len(trace):
        raise InputError(f"{path}: holds no requests")
    title = str(path)
    if options.rate is not None:
        trace, title = _at_rate(trace, options.rate, path), f"{title} at {options.rate:g} requests/s"
    trace = _with_compressible(trace, frame, options.compressible_fraction, options.seed)
    return RequestSource(title, lambda _: trace, 1, is_replay=True, is_steady=False, routing_seed=options.seed)


def _at_rate(trace: "Trace", rate_rps: float, path: Path) -> "Trace":
    from fleetopt.workload.synthesis import scale_rate

    span_s = float(trace.arrival_s[-1] - trace.arrival_s[0])
    if span_s == 0.0:
        raise InputError(f"--rate {rate_rps:g}: all requests of {path} arrive at once, which has no rate to scale")
    return scale_rate(trace, rate_rps * span_s / (len(trace) - 1))


def _drawn(options: RequestOptions, cdf: str) -> RequestSource:
    from fleetopt.simulator.replications import routing_seed
    from fleetopt.workload.processes import rate_curve_arrivals
    from fleetopt.workload.synthesis import synthesize

    if options.rate is None:
        raise InputError("--rate: is missing; --cdf needs a mean arrival rate in requests/s")
    n = _DEFAULT_REQUESTS if options.requests is None else options.requests
    require_range("--requests", n, 1, 1_000_000_000)
    replications = 1 if options.replications is None else options.replications
    require_range("--replications", replications, 1, 10_000)
    everywhere, by_name = parse_shares(options.compressible_fraction or [])
    if by_name:
        raise InputError("--compressible-fraction NAME=SHARE: goes with --trace; drawn requests have no archetype")
    lengths, _ = load_lengths(cdf, options.output_fraction, everywhere)
    arrivals = options.arrivals or "poisson"
    process = arrival_process(arrivals, options.rate)

    def make_trace(replication: int) -> "Trace":
        return synthesize(process, lengths, n, options.seed, replication, where=cdf)

    each = f"{replications:,} x " if replications > 1 else ""
    title = f"{each}{n:,} requests of {cdf} at {options.rate:g}/s, {arrivals} arrivals"
    seed = routing_seed(options.seed, 0)
    is_steady = getattr(process, "func", None) is not rate_curve_arrivals
    return RequestSource(title, make_trace, replications, is_replay=False, is_steady=is_steady, routing_seed=seed)


def arrival_process(text: str, rate_rps: float) -> "ArrivalProcess":
    """The process that ``--arrivals`` names, at a mean rate.

    Parameters
    ----------
    text : str
        ``poisson``, ``gamma:CV``, ``weibull:CV`` or a TOML file.
    rate_rps : float

    Raises
    ------
    InputError
        If it is none of them, or a parameter is wrong.
    """
    from fleetopt.workload.processes import gamma_arrivals, poisson_arrivals, weibull_arrivals

    kind, separator, parameter = text.partition(":")
    if text == "poisson":
        return partial(poisson_arrivals, rate_rps)
    if text.endswith(".toml"):
        return _process_of_file(Path(text), rate_rps)
    renewal = {"gamma": gamma_arrivals, "weibull": weibull_arrivals}
    if kind not in renewal or not separator:
        raise InputError(f"--arrivals {text}: unknown; write poisson, gamma:2, weibull:2 or the name of a TOML file")
    try:
        cv = float(parameter)
    except ValueError as error:
        raise InputError(f"--arrivals {text}: '{parameter}' is not a number; write for example {kind}:2") from error
    if not 0.001 <= cv <= 1000:
        raise InputError(f"--arrivals {text}: the coefficient of variation has to be between 0.001 and 1000")
    return partial(renewal[kind], rate_rps, cv)


def _process_of_file(path: Path, rate_rps: float) -> "ArrivalProcess":
    """A rate curve or a Markov-modulated process; its rates are relative, and scaled to the mean that is asked for."""
    import numpy as np
    from pydantic import BaseModel, ConfigDict, ValidationError

    from fleetopt.workload.processes import markov_modulated_arrivals, rate_curve_arrivals

    class ArrivalsFile(BaseModel):
        model_config = ConfigDict(extra="forbid")

        process: Literal["rate-curve", "markov-modulated"]
        relative_rates: list[float]
        duration_s: list[float]

    try:
        table = ArrivalsFile.model_validate(tomllib.loads(read_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}") from error
    except ValidationError as error:
        raise InputError(one_line(error, str(path))) from error
    rates, duration_s = np.array(table.relative_rates), np.array(table.duration_s)
    generate = rate_curve_arrivals if table.process == "rate-curve" else markov_modulated_arrivals
    try:
        generate(rates, duration_s, 0, np.random.default_rng(0))  # checks the numbers, draws nothing
    except InputError as error:
        raise InputError(f"{path}: {str(error).replace('rates_rps', 'relative_rates')}") from error
    # Both spend time in a state in proportion to its duration: visits to the states of a chain are equally likely here.
    mean = float(np.average(rates, weights=duration_s))
    return partial(generate, rates * (rate_rps / mean), duration_s)


def _with_compressible(trace: "Trace", frame: "pl.DataFrame", shares: list[str] | None, seed: int) -> "Trace":
    """Draw which requests of a trace may be compressed, from a stream of its own."""
    import numpy as np

    from fleetopt.workload.trace import make_trace

    everywhere, by_name = parse_shares(shares or [])
    share = np.full(len(trace), everywhere)
    if by_name:
        archetypes = frame["archetype"].cast(str).to_numpy() if "archetype" in frame.columns else np.array(["all"])
        for name, value in by_name.items():
            if name not in archetypes:
                known = ", ".join(sorted(set(archetypes)))
                raise InputError(f"--compressible-fraction {name}: no archetype of the trace; there is {known}")
            share[archetypes == name] = value
    draws = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2, 0))).random(len(trace))
    return make_trace(trace.arrival_s, trace.prompt_tokens, trace.output_tokens, draws < share)


def parse_shares(texts: list[str]) -> tuple[float, dict[str, float]]:
    """Shares written as ``0.8`` (of all) and ``name=0.8``: that of all, 1 if not given, and those by name.

    Raises
    ------
    InputError
        If one is not a number between 0 and 1.
    """
    everywhere, by_name = 1.0, {}
    for text in texts:
        name, separator, number = text.rpartition("=")
        try:
            share = float(number)
        except ValueError as error:
            raise InputError(f"--compressible-fraction {text}: write a share such as 0.8, or chat=0.8") from error
        require_range("--compressible-fraction", share, 0, 1)
        if separator:
            by_name[name] = share
        else:
            everywhere = share
    return everywhere, by_name
