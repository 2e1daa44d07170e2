"""Out layer, the end of it: how well yesterday's recommendation held, and the page that people read."""

import base64
import json
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from assets.files import write_atomically
from assets.inputs import fleet_requests
from assets.layers import OUT, PROVENANCE_TABLES, WRITE_RETRY
from assets.metadata import OWNERS, column_lineage, copied_from, table_metadata
from assets.partitions import Calendar, partition_day
from assets.planning import latest_document, requests_trace
from fleetopt.accuracy.held import judge
from fleetopt.reporting.differences import with_previous
from fleetopt.reporting.document import Document
from fleetopt.reporting.drawing import png_bytes, svg_text
from fleetopt.reporting.figures import report_figures
from fleetopt.reporting.page import render_page
from fleetopt.schemas import OUT_ACCURACY_REPORT

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
        provenance = resources.provenance.describe(PROVENANCE_TABLES)
        judged = []
        for text in out_fleet_recommendation.collect()["document"]:
            document = json.loads(text)
            name = document["fleet"]
            earlier = latest_document(resources.tables, name, before=day)
            held = _judge(earlier, resources, fleet_requests(requests, name), name, day)
            figures = report_figures(
                document,
                length_cdf=cdf.filter(pl.col("fleet") == name),
                candidates=candidates.filter(pl.col("fleet") == name),
            )
            page = render_page(
                with_previous(document, earlier),
                figures={title: svg_text(figure, title) for title, figure in figures.items()},
                accuracy=held.to_dicts(),
                quality=_quality_of(quality, resources.settings, document),
                provenance=provenance,
                observed_ttft_p99_s=_observed_p99_s(fleet_requests(requests, name)),
            )
            path = report_path(resources.settings.paths.reports, name, day)
            write_atomically(path, page.encode())
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


def _judge(earlier: Document | None, resources: Any, requests: pl.DataFrame, name: str, day: date) -> pl.DataFrame:
    """Replay the day on the fleet's latest earlier recommendation; no rows if there is none."""
    if earlier is None:
        return OUT_ACCURACY_REPORT.schema.to_frame()
    config = resources.settings.config
    trace = requests_trace(requests, config.fleet[name], config.pipeline.seed)
    observed = requests["ttft_s"].fill_null(np.nan).to_numpy()
    return judge(earlier, day, trace, observed, config.pipeline.seed)


def _observed_p99_s(requests: pl.DataFrame) -> float | None:
    """P99 time to first token in the day's logs, s; None where they hold none."""
    return requests["ttft_s"].drop_nulls().quantile(0.99, "linear")


def _quality_of(quality: pl.DataFrame, settings: Any, document: Document) -> list[dict[str, Any]]:
    """Line balances of the fleet's sources on the days that the window holds."""
    sources = list(settings.config.sources_of(document["fleet"]))
    missing = [date.fromisoformat(day) for day in document["window"]["days_missing"]]
    rows = quality.filter(pl.col("source").is_in(sources) & ~pl.col("day").is_in(missing))
    return rows.sort("day", "source").to_dicts()


def _preview(png: bytes) -> dg.MarkdownMetadataValue:
    """A figure as Dagster shows it in an asset's metadata."""
    return dg.MetadataValue.md(f"![figure](data:image/png;base64,{base64.b64encode(png).decode()})")
