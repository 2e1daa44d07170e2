"""Out layer, the end of it: how well yesterday's recommendation held, and the page that people read."""

import base64
import json
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import numpy as np
import polars as pl

from assets.layers import OUT, WRITE_RETRY
from assets.metadata import OWNERS, column_lineage, copied_from, table_metadata
from assets.partitions import Calendar, partition_day
from assets.planning import fleet_requests, latest_document, requests_trace
from fleetopt.accuracy.held import judge
from fleetopt.reporting.document import Document
from fleetopt.reporting.figures import png_bytes, report_figures, svg_text
from fleetopt.reporting.page import render_page
from fleetopt.schemas import OUT_ACCURACY_REPORT

_INPUT_TABLES = ("core_requests", "core_length_histogram", "core_arrivals", "stg_quality", "out_fleet_recommendation")
_LINEAGE = column_lineage(
    {
        "predicted": [("out_fleet_recommendation", "document")],
        "simulated": [("out_fleet_recommendation", "document"), ("core_requests", "prompt_tokens")],
        "observed": [("core_requests", "ttft_s")],
    }
    | copied_from("out_fleet_recommendation", "fleet", "version")
)


def build_report_assets(calendar: Calendar) -> list[dg.AssetsDefinition]:
    """Define the accuracy report."""

    @dg.asset(
        ins={
            "core_requests": dg.AssetIn(),
            "out_fleet_recommendation": dg.AssetIn(),
            "out_length_cdf": dg.AssetIn(),
            "out_fleet_candidates": dg.AssetIn(),
            "stg_quality": dg.AssetIn(partition_mapping=calendar.window),
        },
        deps=["out_simulation_summary"],
        partitions_def=calendar.daily,
        group_name=OUT,
        owners=OWNERS,
        kinds={"polars", "deltalake", "html"},
        code_version="1",
        retry_policy=WRITE_RETRY,
        io_manager_key="io_manager",
        required_resource_keys={"settings", "tables", "provenance"},
        description=OUT_ACCURACY_REPORT.description + " Also writes the page of each recommendation.",
        metadata=table_metadata("out_accuracy_report", _LINEAGE),
    )
    def out_accuracy_report(
        context: dg.AssetExecutionContext,
        core_requests: pl.LazyFrame,
        out_fleet_recommendation: pl.LazyFrame,
        out_length_cdf: pl.LazyFrame,
        out_fleet_candidates: pl.LazyFrame,
        stg_quality: pl.LazyFrame,
    ) -> pl.DataFrame:
        day, resources = partition_day(context), context.resources
        requests, cdf, candidates, quality = (
            frame.collect() for frame in (core_requests, out_length_cdf, out_fleet_candidates, stg_quality)
        )
        provenance = resources.provenance.describe(_INPUT_TABLES)
        judged = []
        for text in out_fleet_recommendation.collect()["document"]:
            document = json.loads(text)
            name = document["fleet"]
            held = _judge_earlier(resources, fleet_requests(requests, name), name, day)
            figures = report_figures(
                document,
                length_cdf=cdf.filter(pl.col("fleet") == name),
                candidates=candidates.filter(pl.col("fleet") == name),
            )
            page = render_page(
                document,
                figures={title: svg_text(figure, title) for title, figure in figures.items()},
                accuracy=held.to_dicts(),
                quality=_quality_of(quality, resources.settings, document),
                provenance=provenance,
                observed_ttft_p99_s=_observed_p99_s(fleet_requests(requests, name)),
            )
            path = report_path(resources.settings.paths.reports, name, day)
            write_page(path, page)
            context.add_output_metadata(
                {f"page of {name}": dg.MetadataValue.path(str(path))}
                | {f"{title} of {name}": _preview(png_bytes(figure)) for title, figure in figures.items()}
            )
            judged.append(held)
        return pl.concat(judged) if judged else OUT_ACCURACY_REPORT.schema.to_frame()

    return [out_accuracy_report]


def report_path(reports: Path, fleet: str, day: date) -> Path:
    """Where the page of a fleet's recommendation of a day is."""
    return reports / day.isoformat() / f"{fleet}.html"


def write_page(path: Path, page: str) -> None:
    """Write a page so that a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        temporary.write_text(page, "utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _judge_earlier(resources: Any, requests: pl.DataFrame, name: str, day: date) -> pl.DataFrame:
    """Replay the day on the fleet's latest earlier recommendation; no rows if there is none."""
    earlier = latest_document(resources.tables, name, before=day)
    if earlier is None:
        return OUT_ACCURACY_REPORT.schema.to_frame()
    config = resources.settings.config
    trace = requests_trace(requests, config.fleet[name], config.pipeline.seed)
    observed = requests["ttft_s"].fill_null(np.nan).to_numpy()
    return judge(earlier, day, trace, observed, config.pipeline.seed)


def _observed_p99_s(requests: pl.DataFrame) -> float | None:
    """P99 time to first token in the day's logs, s; None where they hold none."""
    return requests["ttft_s"].drop_nulls().quantile(0.99, "higher")


def _quality_of(quality: pl.DataFrame, settings: Any, document: Document) -> list[dict[str, Any]]:
    """Line balances of the fleet's sources on the days that the window holds."""
    sources = list(settings.config.sources_of(document["fleet"]))
    missing = [date.fromisoformat(day) for day in document["window"]["days_missing"]]
    rows = quality.filter(pl.col("source").is_in(sources) & ~pl.col("day").is_in(missing))
    return rows.sort("day", "source").to_dicts()


def _preview(png: bytes) -> dg.MarkdownMetadataValue:
    """A figure as Dagster shows it in an asset's metadata."""
    return dg.MetadataValue.md(f"![figure](data:image/png;base64,{base64.b64encode(png).decode()})")
