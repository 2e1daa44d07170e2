"""`fleetopt evidence`: commands behind the figures that the project claims of itself."""

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from fleetopt.cli.files import load_profile, read_parquet, require_writable, write_file
from fleetopt.cli.options import MOST_REPLICAS, require_range
from fleetopt.cli.progress import count_progress
from fleetopt.cli.requests import OutputFractionOption, SeedOption, load_lengths
from fleetopt.errors import InputError

if TYPE_CHECKING:
    from fleetopt.evidence.fidelity import FidelityCell
    from fleetopt.profiles import GpuProfile
    from fleetopt.workload.lengths import JointLengths

evidence = typer.Typer(help="Measure what the project claims of itself.", rich_markup_mode=None)

_LARGE_KV_TOKENS = 1_150_976
"""What Llama-2-7B leaves on eight A100 of 80 GB, measured; see the catalogue's source."""
_QUICK_LOADS, _QUICK_REPLICAS = [0.3, 0.7], [1, 8]
_KINDS = (".md", ".csv", ".json")


@evidence.command()
def fidelity(
    workload: Annotated[
        list[str] | None,
        typer.Option(
            help="Published workload; may be given more than once. Default: all, or none where --requests names some.",
            show_default=False,
        ),
    ] = None,
    requests: Annotated[
        list[str] | None,
        typer.Option(
            help="Lengths of real requests, as NAME=requests.parquet; may be given more than once. Files of one name "
            "are taken together.",
            show_default=False,
        ),
    ] = None,
    profile: Annotated[str, typer.Option(help="GPU profile, name or TOML file.")] = "a100-llama2-7b",
    kv_tokens: Annotated[
        int, typer.Option(help="KV cache to give a replica whose own does not hold the longest request twice, tokens.")
    ] = _LARGE_KV_TOKENS,
    replicas: Annotated[
        list[int] | None,
        typer.Option(help="Replicas; may be given more than once. Default: 1, 8, 64.", show_default=False),
    ] = None,
    load: Annotated[
        list[float] | None,
        typer.Option(
            help="Share of the stability limit; may be given more than once. Default: 0.1, 0.3, 0.5, 0.7, 0.85.",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Loads 0.3 and 0.7 on 1 and 8 replicas, where none are given.")
    ] = False,
    output_fraction: OutputFractionOption = 0.2,
    seed: SeedOption = 0,
    out: Annotated[Path | None, typer.Option(help="File of the table: .md, .csv or .json.", show_default=False)] = None,
) -> None:
    """Hold the queueing model against the simulator, cell by cell."""
    from fleetopt.evidence.fidelity import LOADS, REPLICAS, fidelity_cells

    require_writable(out)
    if out is not None and out.suffix not in _KINDS:
        raise InputError(f"--out {out}: the name has to end with {', '.join(_KINDS)}")
    loads = load or (_QUICK_LOADS if quick else list(LOADS))
    counts = replicas or (_QUICK_REPLICAS if quick else list(REPLICAS))
    for value in loads:
        require_range("--load", value, 0, 1, open_ends=True)
    for value in counts:
        require_range("--replicas", value, 1, MOST_REPLICAS)
    require_range("--seed", seed, 0, 2**63 - 1)
    gpu = load_profile(profile)
    workloads = {
        name: (lengths, _with_room(gpu, longest, kv_tokens))
        for name, (lengths, longest) in _lengths(workload, requests or [], output_fraction).items()
    }
    with count_progress("cells", enabled=True) as on_progress:
        cells = list(
            fidelity_cells(workloads, seed, loads=loads, replicas=counts, clock=perf_counter, on_progress=on_progress)
        )
    _print(cells)
    if out is not None:
        content = _content(cells, out.suffix).encode()
        write_file(out, lambda temporary: temporary.write_bytes(content))
        print(f"written: {out}")


def _lengths(
    workloads: list[str] | None, requests: list[str], output_fraction: float
) -> "dict[str, tuple[JointLengths, int]]":
    """Lengths and the longest request, by name: published workloads, then real requests."""
    from fleetopt.workload.reference import reference_names

    published = workloads if workloads is not None else [] if requests else reference_names()
    for name in published:
        if name not in reference_names():
            raise InputError(f"--workload {name}: not published here; there is {', '.join(reference_names())}")
    found = {name: load_lengths(name, output_fraction, 1.0) for name in published}
    for name, paths in _files_by_name(requests).items():
        if name in found:
            raise InputError(f"--requests {name}: is the name of a published workload; take another")
        found[name] = _lengths_of_files(paths)
    return found


def _files_by_name(requests: list[str]) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for text in requests:
        name, separator, path = text.partition("=")
        if not (name and separator and path):
            raise InputError(f"--requests {text}: write NAME=requests.parquet")
        files.setdefault(name, []).append(Path(path))
    return files


def _lengths_of_files(paths: list[Path]) -> "tuple[JointLengths, int]":
    """Lengths of the requests of several files; what counts is the lengths, so their times do not have to fit."""
    import numpy as np

    from fleetopt.workload.lengths import lengths_from_trace
    from fleetopt.workload.trace import make_trace, trace_from_frame

    traces = [trace_from_frame(read_parquet(path), str(path)) for path in paths]
    prompt_tokens, output_tokens = (
        np.concatenate([getattr(trace, name) for trace in traces]) for name in ("prompt_tokens", "output_tokens")
    )
    trace = make_trace(np.zeros(len(prompt_tokens)), prompt_tokens, output_tokens, where=str(paths[0]))
    return lengths_from_trace(trace), int(trace.total_tokens.max())


def _with_room(profile: "GpuProfile", longest_tokens: int, kv_tokens: int) -> "GpuProfile":
    """The profile, with more KV cache where its own does not hold the longest request twice; its name says so."""
    if profile.kv_tokens >= 2 * longest_tokens:
        return profile
    blocks = kv_tokens // profile.block_tokens
    larger = profile.model_copy(
        update={
            "name": f"{profile.name}, {blocks * profile.block_tokens:,} KV tokens",
            "kv_blocks": blocks,
            "max_context_tokens": blocks * profile.block_tokens,
        }
    )
    if larger.kv_tokens < longest_tokens:
        raise InputError(f"--kv-tokens {kv_tokens}: the longest request has {longest_tokens:,}")
    return larger


def _print(cells: "list[FidelityCell]") -> None:
    from rich.console import Console

    from fleetopt.reporting.fidelity import fidelity_table

    Console().print(fidelity_table(cells))


def _content(cells: "list[FidelityCell]", kind: str) -> str:
    from fleetopt.reporting.fidelity import fidelity_csv, fidelity_json, fidelity_markdown

    return {".md": fidelity_markdown, ".csv": fidelity_csv, ".json": fidelity_json}[kind](cells)
