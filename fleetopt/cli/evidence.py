"""`fleetopt evidence`: commands behind the figures that the project claims of itself."""

import json
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from fleetopt.cli.files import load_profile, read_parquet, read_text, require_writable, write_file
from fleetopt.cli.options import MOST_REPLICAS, JsonOption, require_range
from fleetopt.cli.progress import count_progress
from fleetopt.cli.requests import OutputFractionOption, SeedOption, load_lengths
from fleetopt.errors import InputError

if TYPE_CHECKING:
    from fleetopt.evidence.fidelity import FidelityCell
    from fleetopt.evidence.plans import PlanCell, Workload
    from fleetopt.profiles import GpuProfile
    from fleetopt.workload.lengths import JointLengths

evidence = typer.Typer(help="Measure what the project claims of itself.", rich_markup_mode=None)

_LARGE_KV_TOKENS = 1_150_976
"""What Llama-2-7B leaves on eight A100 of 80 GB, measured; see the catalogue's source."""
_QUICK_LOADS, _QUICK_REPLICAS = [0.3, 0.7], [1, 8]
_KINDS = (".md", ".csv", ".json")
_HARDWARE = ["a100-llama3.1-8b", "h100-llama3.1-8b", "a100-llama3.1-8b+h100-llama3.1-8b"]


@evidence.command()
def fidelity(
    workload: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Published workload; may be given more than once. Default: all, or none where --requests names some.",
            show_default=False,
        ),
    ] = None,
    requests: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
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


@evidence.command()
def plans(
    workload: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Published workload; may be given more than once. Default: all, or none where --requests names some.",
            show_default=False,
        ),
    ] = None,
    requests: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="Lengths of real requests, as NAME=requests.parquet; may be given more than once.",
            show_default=False,
        ),
    ] = None,
    hardware: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[+NAME]",
            help="GPU profile, or several joined by + to choose from for each pool; may be given more than once. "
            "Default: A100, H100 and both, each with Llama-3.1-8B.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        list[float] | None,
        typer.Option(
            metavar="RPS", help="Requests/s; may be given more than once. Default: 20, 200, 2000.", show_default=False
        ),
    ] = None,
    multiple: Annotated[
        list[float] | None,
        typer.Option(
            metavar="MULTIPLE",
            help="Target as a multiple of the workload's own unloaded P99 TTFT; may be given more than once. "
            "Default: 1.5, 3, 6.",
            show_default=False,
        ),
    ] = None,
    full_rate: Annotated[
        float, typer.Option(metavar="RPS", help="Cells up to this rate are all run, requests/s.")
    ] = 20.0,
    share: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the cells beyond --full-rate, drawn at random.")
    ] = 0.3,
    output_fraction: OutputFractionOption = 0.2,
    seed: SeedOption = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="JSONL file that each cell is added to once it is done; cells that it holds are not run again.",
            show_default=False,
        ),
    ] = None,
    table: Annotated[Path | None, typer.Option(help="Markdown file of the table.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold the planner's plans against the cheapest fleets that the simulator confirms."""
    from fleetopt.evidence.plans import MULTIPLES, RATES_RPS, plan_cells, plan_grid
    from fleetopt.reporting.plans import cell_record, plans_json, plans_markdown

    for path in (out, table):
        require_writable(path)
    require_range("--share", share, 0, 1)
    require_range("--seed", seed, 0, 2**63 - 1)
    for value in rate or []:
        require_range("--rate", value, 0, 1e6, open_ends=True)
    for value in multiple or []:
        require_range("--multiple", value, 0, 1e6, open_ends=True)
    gpus = {name: [load_profile(part) for part in name.split("+")] for name in hardware or _HARDWARE}
    workloads = _workloads(workload, requests or [], output_fraction)
    keys = plan_grid(
        list(workloads),
        list(gpus),
        seed,
        rates_rps=rate or RATES_RPS,
        multiples=multiple or MULTIPLES,
        full_rate_rps=full_rate,
        share=share,
    )
    cells = {cell.key: cell for cell in _cells_in(out)} if out is not None else {}
    with count_progress("cells", enabled=True) as on_progress:
        for cell in plan_cells(keys, workloads, gpus, seed, done=cells, on_progress=on_progress):
            cells[cell.key] = cell
            if out is not None:
                with out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(cell_record(cell)) + "\n")
    asked = [cells[key] for key in keys]
    if table is not None:
        content = plans_markdown(asked).encode()
        write_file(table, lambda temporary: temporary.write_bytes(content))
    if as_json:
        print(plans_json(asked), end="")
    else:
        _print_plans(asked)


def _workloads(workloads: list[str] | None, requests: list[str], output_fraction: float) -> "dict[str, Workload]":
    """Workloads by name; boundaries are the breakpoints of a CDF, for real requests 2^k and 1.5 x 2^k tokens."""
    from fleetopt.evidence.plans import Workload
    from fleetopt.workload.reference import load_reference, reference_names

    grid = sorted({size for k in range(6, 24) for size in (2**k, 3 * 2 ** (k - 1))})
    found = {}
    for name, (lengths, longest) in _lengths(workloads, requests, output_fraction).items():
        steps = [int(tokens) for tokens, _ in load_reference(name).points] if name in reference_names() else grid
        total = lengths.total_tokens
        boundaries = tuple(tokens for tokens in steps if total[0] <= tokens < total[-1])
        found[name] = Workload(name=name, lengths=lengths, boundaries_tokens=boundaries, max_context_tokens=longest)
    return found


def _cells_in(path: Path) -> "list[PlanCell]":
    """Cells of a JSONL file; none where there is no file yet."""
    from fleetopt.reporting.plans import cell_from_record

    if not path.exists():
        return []
    try:
        return [cell_from_record(json.loads(line)) for line in read_text(path).splitlines()]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"--out {path}: holds a line that is no cell of this evidence; name another file") from error


def _print_plans(cells: "list[PlanCell]") -> None:
    from rich.console import Console

    from fleetopt.reporting.plans import plans_table

    Console().print(plans_table(cells))


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
