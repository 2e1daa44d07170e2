"""The options that `plan` and `whatif` share, in groups, and the question that they make."""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from functools import wraps
from inspect import Parameter, signature
from math import inf, isfinite
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_type_hints

import typer

from fleetopt.cli.files import load_profile
from fleetopt.cli.options import require_range
from fleetopt.cli.requests import load_workload
from fleetopt.errors import InputError

if TYPE_CHECKING:
    from fleetopt.planner.ask import Asked
    from fleetopt.planner.problem import Offer, Slo
    from fleetopt.profiles import GpuProfile

WORKLOAD, TARGETS, SUPPLY, SEARCH = "Workload", "Targets", "GPUs and prices", "What may be built"
"""Groups of the options in ``--help``."""

_MOST = 1_000_000_000
_LEAST_BURSTS = 2.0
"""Index of dispersion from which arrivals are called bursty."""
_Value = TypeVar("_Value", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Values of the options, as they were given."""

    cdf: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="CDF file (JSON), name of a published workload, or requests.parquet.",
            show_default=False,
            rich_help_panel=WORKLOAD,
        ),
    ]
    rate: Annotated[
        float,
        typer.Option(
            metavar="RPS", help="Arrival rate to plan for, requests/s.", show_default=False, rich_help_panel=WORKLOAD
        ),
    ]
    slo_ttft_p99: Annotated[
        list[str],
        typer.Option(
            metavar="[POOL=]SECONDS",
            help="Target of the P99 time to first token in every pool; with POOL= of all, short, middle or long alone; "
            "may be given more than once.",
            show_default=False,
            rich_help_panel=TARGETS,
        ),
    ]
    profile: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="GPU profile, name or TOML file; may be given more than once.",
            show_default=False,
            rich_help_panel=SUPPLY,
        ),
    ]
    burstiness: Annotated[
        Literal["poisson", "trace"],
        typer.Option(
            help="Arrivals to plan for: poisson, independent ones, or trace, those of the requests.parquet that --cdf "
            "names, replayed at the rate.",
            rich_help_panel=WORKLOAD,
        ),
    ] = "poisson"
    output_fraction: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Share of a total length that is output, where only totals are known.",
            rich_help_panel=WORKLOAD,
        ),
    ] = 0.2
    compressible_fraction: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Share of requests that may be compressed into a shorter pool.",
            rich_help_panel=WORKLOAD,
        ),
    ] = 1.0
    max_context: Annotated[
        int | None,
        typer.Option(
            metavar="TOKENS",
            help="Longest request served, tokens; longer ones are refused. Default: the longest there is.",
            show_default=False,
            rich_help_panel=WORKLOAD,
        ),
    ] = None
    slo_tpot_p99: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Target of the P99 time per output token after the first, s. Default: none.",
            show_default=False,
            rich_help_panel=TARGETS,
        ),
    ] = None
    max_utilization: Annotated[
        float, typer.Option(metavar="SHARE", help="Cap on the load of any resource.", rich_help_panel=TARGETS)
    ] = 0.85
    spare_replicas: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Replicas per pool that may be down while the targets hold; the nightly run plans 1.",
            rich_help_panel=TARGETS,
        ),
    ] = 0
    availability: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[PROFILE=]SHARE",
            help="Share of the time that a replica is up; pools grow by its reciprocal. Default: 1.",
            show_default=False,
            rich_help_panel=TARGETS,
        ),
    ] = None
    price: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PROFILE=USD",
            help="Price of a GPU per hour on demand, in place of the profile's.",
            show_default=False,
            rich_help_panel=SUPPLY,
        ),
    ] = None
    committed: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PROFILE=GPUS:USD",
            help="So many GPUs at a committed price per hour where they are used.",
            show_default=False,
            rich_help_panel=SUPPLY,
        ),
    ] = None
    max_gpus: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PROFILE=GPUS",
            help="Most GPUs of a type. Default: no limit.",
            show_default=False,
            rich_help_panel=SUPPLY,
        ),
    ] = None
    gpus_per_node: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[PROFILE=]GPUS",
            help="Pools are bought in whole nodes of so many. Default: 1.",
            show_default=False,
            rich_help_panel=SUPPLY,
        ),
    ] = None
    min_replicas: Annotated[
        int, typer.Option(metavar="N", help="Fewest replicas of a pool, spares included.", rich_help_panel=SEARCH)
    ] = 1
    max_pools: Annotated[int, typer.Option(metavar="N", help="Most pools, 1 to 3.", rich_help_panel=SEARCH)] = 2
    boundary: Annotated[
        list[int] | None,
        typer.Option(
            metavar="TOKENS",
            help="Candidate for a boundary between pools, tokens; may be given more than once. Default: the "
            "breakpoints of a CDF, every length of a trace; with its bursts (--burstiness), 64 of these.",
            show_default=False,
            rich_help_panel=SEARCH,
        ),
    ] = None
    max_gamma: Annotated[
        float,
        typer.Option(metavar="GAMMA", help="Widest compression band; 1 compresses nothing.", rich_help_panel=SEARCH),
    ] = 1.5
    gamma_step: Annotated[
        float, typer.Option(metavar="STEP", help="Step of the search in it.", rich_help_panel=SEARCH)
    ] = 0.1
    usd_per_compressed_request: Annotated[
        float, typer.Option(metavar="USD", help="What compressing one request costs, USD.", rich_help_panel=SEARCH)
    ] = 0.0
    slots: Annotated[
        Literal["statistical", "worst-case"],
        typer.Option(
            help="Requests that a replica is taken to hold: statistical, by real lengths, or worst-case, as if each "
            "were as long as its pool accepts.",
            rich_help_panel=SEARCH,
        ),
    ] = "statistical"
    kv_overflow: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Of statistical slots: share of the time that the KV cache may overflow.",
            rich_help_panel=SEARCH,
        ),
    ] = 0.01


def takes_question(may_lack: tuple[str, ...] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a question beside its own; it gets them as the argument ``question``.

    Parameters
    ----------
    may_lack : tuple of str
        Required options that the command can do without; they are None where they are not given.
    """
    hints = get_type_hints(Question, include_extras=True)
    asked = []
    for field in fields(Question):
        default = Parameter.empty if field.default is MISSING else field.default
        default, hint = (None, _optional(hints[field.name])) if field.name in may_lack else (default, hints[field.name])
        asked.append(Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=hint))
    named = {parameter.name for parameter in asked}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [parameter for parameter in signature(command).parameters.values() if parameter.name != "question"]
        every = [*asked, *(parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in own)]

        @wraps(command)
        def run(**values: Any) -> None:
            question = Question(**{name: values.pop(name) for name in named})
            command(question=question, **values)

        run.__signature__ = signature(command).replace(parameters=every)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in every}
        return run

    return decorate


def _optional(hint: Any) -> Any:
    """The annotation of an option that may be left out."""
    kind, option = get_args(hint)
    return Annotated[kind | None, option]


def ask_question(question: Question) -> "Asked":
    """The problem that the options describe.

    Raises
    ------
    InputError
        If a value is out of range, or a name or file is wrong; one line that names the option.
    """
    from fleetopt.planner.ask import ask
    from fleetopt.workload.trace import Trace

    _check(question)
    workload = load_workload(question.cdf)
    if question.burstiness == "trace" and not isinstance(workload, Trace):
        raise InputError(
            f"--burstiness trace: --cdf {question.cdf} has no arrival times; give a requests.parquet or poisson"
        )
    return ask(
        workload,
        _slo(question),
        rate_rps=question.rate,
        burstiness=question.burstiness,
        offers=_offers(question),
        output_fraction=question.output_fraction,
        compressible_fraction=question.compressible_fraction,
        max_context_tokens=question.max_context,
        spare_replicas=question.spare_replicas,
        boundaries_tokens=tuple(sorted(set(question.boundary))) if question.boundary else None,
        max_utilization=question.max_utilization,
        min_replicas=question.min_replicas,
        max_pools=question.max_pools,
        max_gamma=question.max_gamma,
        gamma_step=question.gamma_step,
        usd_per_compressed_request=question.usd_per_compressed_request,
        slot_mode=question.slots,
        kv_overflow_probability=question.kv_overflow,
    )


def unplanned_bursts(asked: "Asked") -> str:
    """Says that the trace's arrivals are bursty where Poisson ones were planned for; empty elsewhere."""
    index = asked.index_of_dispersion_10s if asked.problem.arrivals is None else None
    if index is None or index <= _LEAST_BURSTS:
        return ""
    return (
        f"The arrivals of --cdf are bursty: at this rate counts in 10 s vary {index:.3g} times as much as those of the "
        "Poisson arrivals planned for (index of dispersion); --burstiness trace plans for them."
    )


def _check(question: Question) -> None:
    """Check what the problem would refuse without the option's name, or would take a very long time for."""
    if not (isfinite(question.rate) and question.rate > 0):
        raise InputError(f"--rate {question.rate:g}: has to be finite and above 0 requests/s")
    require_range("--output-fraction", question.output_fraction, 0, 1, open_ends=True)
    require_range("--compressible-fraction", question.compressible_fraction, 0, 1)
    require_range("--max-utilization", question.max_utilization, 0, 1, open_ends=True)
    require_range("--spare-replicas", question.spare_replicas, 0, 1000)
    require_range("--min-replicas", question.min_replicas, 1, 1000)
    require_range("--max-pools", question.max_pools, 1, 3)
    require_range("--max-gamma", question.max_gamma, 1, 4)
    require_range("--gamma-step", question.gamma_step, 0.01, 3)
    require_range("--usd-per-compressed-request", question.usd_per_compressed_request, 0, 1000)
    require_range("--kv-overflow", question.kv_overflow, 1e-9, 0.5)
    if question.max_context is not None:
        require_range("--max-context", question.max_context, 2, _MOST)
    for boundary in question.boundary or ():
        require_range("--boundary", boundary, 1, _MOST)


def _slo(question: Question) -> "Slo":
    from fleetopt.planner.problem import Slo

    for_all, by_pool = by_name("--slo-ttft-p99", question.slo_ttft_p99, float)
    if for_all is None:
        raise InputError("--slo-ttft-p99: is missing for all pools; give it without a pool too")
    for value in (for_all, *by_pool.values()):
        require_range("--slo-ttft-p99", value, 0, 1e9, open_ends=True)
    tpot_s = inf if question.slo_tpot_p99 is None else question.slo_tpot_p99
    if tpot_s != inf:
        require_range("--slo-tpot-p99", tpot_s, 0, 1e9, open_ends=True)
    try:
        return Slo(ttft_p99_s=for_all, tpot_p99_s=tpot_s, pool_ttft_p99_s=by_pool)
    except InputError as error:
        raise InputError(f"--slo-ttft-p99: {error}") from error


def _offers(question: Question) -> "tuple[Offer, ...]":
    """The GPU types, each with its price, limits and nodes."""
    from fleetopt.planner.problem import Offer

    profiles = [load_profile(name) for name in dict.fromkeys(question.profile)]
    names = [gpu.name for gpu in profiles]
    prices = _of_profiles("--price", question.price, float, names)
    limits = _of_profiles("--max-gpus", question.max_gpus, int, names)
    committed = _committed(question.committed, names)
    node, node_of = by_name("--gpus-per-node", question.gpus_per_node or (), int, names)
    up, up_of = by_name("--availability", question.availability or (), float, names)
    for gpus in (*node_of.values(), *([] if node is None else [node])):
        require_range("--gpus-per-node", gpus, 1, 10_000)
    for share in (*up_of.values(), *([] if up is None else [up])):
        require_range("--availability", share, 0.01, 1)
    offers = []
    for gpu in profiles:
        count, usd = committed.get(gpu.name, (0, 0.0))
        try:
            offer = Offer(
                profile=_priced(gpu, prices.get(gpu.name)),
                max_gpus=limits.get(gpu.name),
                committed_gpus=count,
                committed_usd_per_gpu_hour=usd,
                gpus_per_node=node_of.get(gpu.name, 1 if node is None else node),
                availability=up_of.get(gpu.name, 1.0 if up is None else up),
            )
        except InputError as error:
            raise InputError(f"--profile {error}") from error
        offers.append(offer)
    unpriced = [offer.profile.name for offer in offers if offer.profile.usd_per_gpu_hour == 0]
    if unpriced and len(offers) > 1:
        raise InputError(f"--profile {unpriced[0]}: has no price; give --price {unpriced[0]}=USD")
    return tuple(offers)


def _priced(gpu: "GpuProfile", usd_per_gpu_hour: float | None) -> "GpuProfile":
    if usd_per_gpu_hour is None:
        return gpu
    require_range("--price", usd_per_gpu_hour, 0, 1e6, open_ends=True)
    return gpu.model_copy(update={"usd_per_gpu_hour": usd_per_gpu_hour})


def _committed(texts: list[str] | None, names: list[str]) -> dict[str, tuple[int, float]]:
    """GPUs and price of each ``PROFILE=GPUS:USD``."""
    found = {}
    for text in texts or ():
        name, _, terms = text.rpartition("=")
        count, separator, usd = terms.partition(":")
        if not (name and separator):
            raise InputError(f"--committed {text}: write PROFILE=GPUS:USD, for example {names[0]}=16:1.40")
        gpus = _of_profiles("--committed", [f"{name}={count}"], int, names)[name]
        found[name] = (gpus, _of_profiles("--committed", [f"{name}={usd}"], float, names)[name])
    return found


def _of_profiles(option: str, texts: list[str] | None, kind: type[_Value], names: list[str]) -> dict[str, _Value]:
    """Values by profile; a value without one is refused."""
    everywhere, found = by_name(option, texts or (), kind, names)
    if everywhere is not None:
        raise InputError(f"{option} {everywhere:g}: of which profile? Write for example {names[0]}={everywhere:g}")
    return found


def by_name(
    option: str, texts: list[str] | tuple[str, ...], kind: type[_Value], names: list[str] | None = None
) -> tuple[_Value | None, dict[str, _Value]]:
    """Values written as ``8``, for everything, and as ``NAME=8``.

    Parameters
    ----------
    option : str
        For messages.
    texts : list of str
    kind : type
        int or float.
    names : list of str, optional
        The names there are.

    Returns
    -------
    everywhere : int, float or None
        None if it is not given.
    named : dict

    Raises
    ------
    InputError
        If a value is no number of that kind, or a name is unknown.
    """
    everywhere: _Value | None = None
    named: dict[str, _Value] = {}
    for text in texts:
        name, separator, number = text.rpartition("=")
        try:
            value = kind(number)
        except ValueError as error:
            what = "a whole number" if kind is int else "a number"
            raise InputError(f"{option} {text}: '{number}' is not {what}") from error
        if not isfinite(value) or value < 0:
            raise InputError(f"{option} {text}: has to be finite and not negative")
        if not separator:
            everywhere = value
        elif names is not None and name not in names:
            raise InputError(f"{option} {text}: no profile '{name}' among {', '.join(names)}")
        else:
            named[name] = value
    return everywhere, named
