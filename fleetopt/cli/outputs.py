"""What `simulate` and `compare` leave: JSON, Parquet files of requests and of the timeline, figures."""

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetopt.cli.files import require_writable, write_file
from fleetopt.errors import InputError

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

    from fleetopt.simulator import Fleet, SimulationResult, Timeline
    from fleetopt.simulator.measures import FleetSummary, SummaryRow

_FIGURE_KINDS = (".svg", ".png", ".pdf")
_COUNTS = ("requests", "rejected", "unserved", "retries", "preemptions")
_JSON_NAMES = {"busy_utilization": "busy", "compute_utilization": "compute"}
"""Keys that are not the name of the metric."""


def require_figure(path: Path | None) -> None:
    """Check, before the work, that a figure can be written there.

    Raises
    ------
    InputError
        If its directory does not exist, or its name does not end like a figure.
    """
    require_writable(path)
    if path is not None and path.suffix not in _FIGURE_KINDS:
        raise InputError(f"--figure {path}: the name has to end with {', '.join(_FIGURE_KINDS)}")


def require_records(option: str, path: Path | None) -> None:
    """Check before a run that a Parquet file can be put there.

    Raises
    ------
    InputError
        If its name has another ending, which would promise another format, or it cannot be written.
    """
    require_writable(path)
    if path is not None and path.suffix != ".parquet":
        raise InputError(f"{option} {path}: is written as Parquet; the name has to end with .parquet")


def require_apart(outputs: dict[str, Path | None], inputs: dict[str, Path | str | None]) -> None:
    """Check that no file is written twice, nor over one that is read.

    Parameters
    ----------
    outputs, inputs : dict
        Paths by option, None where the option is not given.

    Raises
    ------
    InputError
        If two options name the same file.
    """
    taken = {Path(path).resolve(): option for option, path in inputs.items() if path is not None}
    for option, path in outputs.items():
        if path is None:
            continue
        if path.resolve() in taken:
            raise InputError(f"{option} {path}: is the file of {taken[path.resolve()]} too; name another")
        taken[path.resolve()] = option


def write_figure(path: Path, figure: "Figure") -> None:
    """Write a figure as what its name ends with."""
    from fleetopt.reporting.drawing import figure_bytes

    content = figure_bytes(figure, path.suffix[1:], path.stem)
    write_file(path, lambda temporary: temporary.write_bytes(content))


def request_records(result: "SimulationResult") -> "pl.DataFrame":
    """One row per request in the trace's order, times absolute on the trace's clock, null where there is none."""
    import numpy as np
    import polars as pl

    return pl.DataFrame(
        {
            "arrival_s": result.arrival_s,
            "prompt_tokens": result.original_prompt_tokens,
            "output_tokens": result.output_tokens,
            "pool": np.array(result.pool_names)[result.pool],
            "replica": result.replica,
            "first_token_s": result.first_token_s,
            "finish_s": result.finish_s,
            "preemptions": result.preemptions,
            "status": result.status,
            "served_prompt_tokens": result.prompt_tokens,
            "admitted_s": result.admitted_s,
            "retries": result.retries,
        }
    ).with_columns(
        pl.col("first_token_s", "finish_s", "admitted_s").fill_nan(None), pl.col("replica").replace(-1, None)
    )


def timeline_records(timeline: "Timeline", fleet: "Fleet") -> "pl.DataFrame":
    """One row per sample and replica: requests running and waiting, KV blocks held and their share of all."""
    import numpy as np
    import polars as pl

    samples, replicas = timeline.running.shape
    kv_blocks = np.array([pool.profile.kv_blocks for pool in fleet.pools])[timeline.pool]
    return pl.DataFrame(
        {
            "time_s": np.repeat(timeline.time_s, replicas),
            "pool": np.tile(np.array(timeline.pool_names)[timeline.pool], samples),
            "replica": np.tile(timeline.replica, samples),
            "running": timeline.running.ravel(),
            "waiting": timeline.waiting.ravel(),
            "kv_blocks": timeline.kv_blocks.ravel(),
            "kv_utilization": (timeline.kv_blocks / kv_blocks).ravel(),
        }
    )


def summary_json(summary: "FleetSummary", fleet: "Fleet") -> dict[str, Any]:
    """The figures of a fleet as the commands' JSON contract has them: all pools together, then each."""
    return {
        "replications": summary.replications,
        "verdict": summary.stability.verdict,
        "verdict_reason": summary.stability.reason,
        **_figures_json(summary, None),
        "usd_per_hour": fleet.usd_per_hour,
        "pools": [
            {
                "name": pool.name,
                "profile": pool.profile.name,
                "replicas": pool.replicas,
                "scheduler": pool.scheduler,
                "max_context_tokens": pool.context_limit_tokens,
                **_figures_json(summary, pool.name),
            }
            for pool in fleet.pools
        ],
    }


def _figures_json(summary: "FleetSummary", pool: str | None) -> dict[str, Any]:
    """Figures by name, each followed by the ends of its interval where figures of its kind have one."""
    figures: dict[str, Any] = {}
    rows = [row for row in summary.rows if row.pool == pool]
    for row in sorted(rows, key=lambda row: row.metric not in _COUNTS):
        name = json_name(row.metric)
        figures[name] = _count(row.estimate) if row.metric in _COUNTS else finite(row.estimate)
        if _may_have_interval(row, summary.replications):
            stem, unit = (name.removesuffix("_s"), "_s") if name.endswith("_s") else (name, "")
            figures[f"{stem}_lower{unit}"], figures[f"{stem}_upper{unit}"] = finite(row.lower), finite(row.upper)
    return figures


def _may_have_interval(row: "SummaryRow", replications: int) -> bool:
    """Utilisations and counts are of a run as a whole: it takes several runs to know how they vary."""
    return replications > 1 or row.metric == "slo_attainment" or (row.unit == "s" and row.metric != "iteration_mean_s")


def _count(value: float) -> int | float:
    """A count of one run is whole, the mean over several need not be."""
    return int(value) if value == int(value) else value


def json_name(metric: str) -> str:
    """The key of a metric: its name, or the one that it has had from the beginning."""
    return _JSON_NAMES.get(metric, metric)


def finite(value: float) -> float | None:
    """A number as JSON has it: where nothing was served there is no latency, and JSON has no nan."""
    return value if isfinite(value) else None
