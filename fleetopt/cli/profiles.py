"""`fleetopt profiles`: what GPU profiles there are, what stands behind them, and how to get more."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleetopt.cli.files import read_parquet, read_text, require_writable, write_file
from fleetopt.cli.options import JsonOption, require_range
from fleetopt.errors import InputError

if TYPE_CHECKING:
    import polars as pl

    from fleetopt.profiles import ProfileFile

profiles = typer.Typer(help="Show GPU profiles, and make them from measurements.", rich_markup_mode=None)

# The tables that `fit` reads, as `--help` prints them: the library's own lists would cost the import of NumPy.
_ITERATIONS_HELP = (
    "Timed iterations, .csv or .parquet, with the header: decode_sequences, decode_context_tokens (KV context that "
    "they read, summed), prefill_tokens, prefill_attention (sum over prompt chunks of k x (context before + k / 2)), "
    "iteration_s."
)
_REQUESTS_HELP = (
    "Requests of one replica, .csv or .parquet, with the header: arrival_s, prompt_tokens, output_tokens, ttft_s, "
    "e2e_s (or first_token_s and finish_s, on the clock of arrival_s). All of them: what ran beside a request counts."
)
NameOption = Annotated[
    str | None, typer.Option(help="Name of the profile. Default: the file's name.", show_default=False)
]
OutOption = Annotated[Path, typer.Option(help="File of the profile, .toml.", show_default=False)]


@profiles.command("list")
def list_profiles(as_json: JsonOption = False) -> None:
    """Print the profiles that are shipped."""
    from fleetopt.profiles import catalogue_names, load_profile_file
    from fleetopt.reporting.profiles import profiles_json, profiles_table

    files = [load_profile_file(name) for name in catalogue_names()]
    if as_json:
        print(json.dumps(profiles_json(files)))
        return
    from rich.console import Console

    Console().print(profiles_table(files))


@profiles.command()
def show(
    profile: Annotated[str, typer.Argument(help="GPU profile, name or TOML file.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Print a profile: every figure with its source, and the iteration times that follow."""
    from fleetopt.reporting.profiles import profile_json, profile_page

    file = _load(profile)
    if as_json:
        print(json.dumps(profile_json(file)))
        return
    from rich.console import Console

    Console().print(profile_page(file))


@profiles.command("import")
def import_profile(
    model: Annotated[
        str, typer.Argument(help="Model, as on Hugging Face: meta-llama/Meta-Llama-3.1-8B.", show_default=False)
    ],
    gpu: Annotated[str, typer.Option(help="GPU: a100, h100, h200, b200, gb200, l40s, ...", show_default=False)],
    out: OutOption,
    tp: Annotated[int, typer.Option(help="GPUs that a replica spans, by tensor parallelism.")] = 1,
    backend: Annotated[str, typer.Option(help="Engine that was timed: vllm, sglang, trtllm.")] = "vllm",
    max_batched_tokens: Annotated[int, typer.Option(help="Token budget of an iteration.")] = 2048,
    max_sequences: Annotated[int, typer.Option(help="Most sequences running at once.")] = 256,
    memory_fraction: Annotated[float, typer.Option(help="Share of the GPU's memory that the engine may use.")] = 0.9,
    kv_margin: Annotated[float, typer.Option(help="Share of the KV cache to leave out as a margin.")] = 0.02,
    from_tokens: Annotated[
        int | None,
        typer.Option(
            help="Fit to iterations of at least this many tokens. Default: 1; 32 for a mixture of experts.",
            show_default=False,
        ),
    ] = None,
    usd_per_gpu_hour: Annotated[
        float | None,
        typer.Option(help="Price. Default: what FleetOpt publishes (A100, H100), else none.", show_default=False),
    ] = None,
    name: NameOption = None,
) -> None:
    """Make a profile from the measured database of aiconfigurator-core (an extra: fleetopt[profiles])."""
    _require_toml(out)
    require_range("--tp", tp, 1, 64)
    require_range("--max-batched-tokens", max_batched_tokens, 16, 1_048_576)
    require_range("--max-sequences", max_sequences, 1, 65_536)
    require_range("--memory-fraction", memory_fraction, 0, 1, open_ends=True)
    require_range("--kv-margin", kv_margin, 0, 0.9)
    if from_tokens is not None:
        require_range("--from-tokens", from_tokens, 1, max_batched_tokens)
    _require_price(usd_per_gpu_hour)
    from fleetopt.profiles import imported
    from fleetopt.profiles.silicon import BACKENDS, Target, read_silicon

    if backend not in BACKENDS:
        raise InputError(f"--backend {backend}: has to be one of {', '.join(BACKENDS)}")
    target = Target(
        model=model,
        gpu=gpu,
        tensor_parallel=tp,
        backend=backend,
        max_batched_tokens=max_batched_tokens,
        max_sequences=max_sequences,
        memory_fraction=memory_fraction,
        kv_margin=kv_margin,
    )
    file = imported.import_profile(
        target,
        read_silicon(target),
        name=name or out.stem,
        usd_per_gpu_hour=usd_per_gpu_hour,
        from_tokens=from_tokens,
    )
    _write(file, out)


@profiles.command()
def fit(
    start: Annotated[
        str,
        typer.Option(
            help="GPU profile, name or TOML file, for capacity, limits and price, and for what the table leaves open.",
            show_default=False,
        ),
    ],
    out: OutOption,
    iterations: Annotated[Path | None, typer.Option(help=_ITERATIONS_HELP, show_default=False)] = None,
    requests: Annotated[Path | None, typer.Option(help=_REQUESTS_HELP, show_default=False)] = None,
    from_tokens: Annotated[
        int | None,
        typer.Option(
            help="With --iterations: fit to those of at least this many tokens. Default: 1.", show_default=False
        ),
    ] = None,
    usd_per_gpu_hour: Annotated[
        float | None, typer.Option(help="Price. Default: the start profile's.", show_default=False)
    ] = None,
    name: NameOption = None,
) -> None:
    """Fit a profile to a table of timed iterations, or to requests with the times that they saw."""
    _require_toml(out)
    _require_price(usd_per_gpu_hour)
    if from_tokens is not None:
        require_range("--from-tokens", from_tokens, 1, 1_048_576)
    begin = _load(start)
    if iterations is not None and requests is None:
        file = _fitted_to_iterations(iterations, begin, name or out.stem, from_tokens or 1)
    elif requests is not None and iterations is None:
        if from_tokens is not None:
            raise InputError("--from-tokens: is for --iterations")
        file = _fitted_to_requests(requests, begin, name or out.stem)
    else:
        raise InputError("give either --iterations or --requests")
    if usd_per_gpu_hour is not None:
        file = _at_price(file, usd_per_gpu_hour)
    _write(file, out)


def _fitted_to_iterations(path: Path, start: "ProfileFile", name: str, from_tokens: int) -> "ProfileFile":
    from fleetopt.profiles.fitted import profile_of_iterations
    from fleetopt.profiles.iterations import Iterations, fit_iterations

    found = fit_iterations(Iterations.from_frame(_read_table(path), str(path)), from_tokens)
    return profile_of_iterations(found, start, name=name, where=path.name)


def _fitted_to_requests(path: Path, start: "ProfileFile", name: str) -> "ProfileFile":
    from fleetopt.profiles.fitted import profile_of_requests
    from fleetopt.profiles.from_requests import fit_requests, observed_from_frame

    found = fit_requests(observed_from_frame(_read_table(path), str(path)), start.profile)
    for key, error in found.standard_errors.items():
        print(f"{key}: {getattr(found.profile, key):.4g} s, standard error {error:.1%}")
    return profile_of_requests(found, start, name=name, where=path.name)


def _at_price(file: "ProfileFile", usd_per_gpu_hour: float) -> "ProfileFile":
    """The same profile at another price, and that it was given."""
    evidence = file.evidence
    if evidence is not None:
        sources = evidence.sources.model_copy(update={"price": "given with --usd-per-gpu-hour"})
        evidence = evidence.model_copy(update={"sources": sources})
    profile = file.profile.model_copy(update={"usd_per_gpu_hour": usd_per_gpu_hour})
    return file._replace(profile=profile, evidence=evidence)


def _load(name: str) -> "ProfileFile":
    """A profile of the catalogue, or one from a TOML file, with its evidence."""
    from fleetopt.profiles import load_profile_file, parse_profile_file

    if name.endswith(".toml") or "/" in name:
        return parse_profile_file(read_text(Path(name)), name)
    return load_profile_file(name)


def _read_table(path: Path) -> "pl.DataFrame":
    """A CSV or Parquet file."""
    import polars as pl

    if path.suffix != ".csv":
        return read_parquet(path)
    try:
        return pl.read_csv(read_text(path).encode())
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path}: not a readable CSV file ({str(error).splitlines()[0]})") from error


def _require_toml(out: Path) -> None:
    if out.suffix != ".toml":
        raise InputError(f"--out {out}: the name has to end with .toml")
    require_writable(out)


def _require_price(usd_per_gpu_hour: float | None) -> None:
    if usd_per_gpu_hour is not None:
        require_range("--usd-per-gpu-hour", usd_per_gpu_hour, 0, 10_000)


def _write(file: "ProfileFile", out: Path) -> None:
    """Write a profile, and say what a reader of its plans has to know."""
    from fleetopt.profiles.writing import profile_toml
    from fleetopt.reporting.profiles import fit_lines

    content = profile_toml(file).encode()
    write_file(out, lambda temporary: temporary.write_bytes(content))
    profile, evidence = file
    print(f"{profile.name}: {profile.source}")
    if evidence is not None and evidence.fit is not None:
        print("\n".join(fit_lines(evidence.fit)))
    if evidence is not None:
        print(f"KV cache: {profile.kv_tokens:,} tokens; {evidence.sources.kv}")
    if profile.caveat:
        print(f"Caution: {profile.caveat}.")
    if profile.usd_per_gpu_hour == 0:
        print("No price: plans will have no cost; give one with --usd-per-gpu-hour.")
    print(f"written: {out}")
