"""The files that procurement reads: the recommendation as JSON, CSV and Parquet, and the JSON Schema of the first."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import resources
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from fleetopt.planner.plan import HOURS_PER_YEAR
from fleetopt.reporting.document import canonical_json

SCHEMA_FILE = "recommendation.schema.json"


@dataclass(frozen=True, slots=True)
class FeedColumn:
    """A column of the CSV and Parquet files."""

    name: str
    dtype: pa.DataType
    meaning: str
    nullable: bool = False


COLUMNS = (
    FeedColumn("fleet", pa.string(), "fleet that the recommendation is for"),
    FeedColumn("model", pa.string(), "model that the fleet serves"),
    FeedColumn("day", pa.date32(), "UTC day of the recommendation"),
    FeedColumn("version", pa.string(), "version of the recommendation: a hash of its content"),
    FeedColumn("verdict", pa.string(), "confirmed, refuted, undecided; none where there is no plan"),
    FeedColumn("verdict_meaning", pa.string(), "the verdict in words"),
    FeedColumn("is_order", pa.bool_(), "whether the row may be ordered: true only if the verdict is confirmed"),
    FeedColumn("order_replicas", pa.int64(), "replicas to order; empty unless confirmed", nullable=True),
    FeedColumn("pool", pa.string(), "pool; empty where there is no plan, like all that follows", nullable=True),
    FeedColumn("gpu_profile", pa.string(), "GPU profile of a replica", nullable=True),
    FeedColumn("replicas", pa.int64(), "replicas of the plan, spares included", nullable=True),
    FeedColumn("spare_replicas", pa.int64(), "replicas of these that may fail", nullable=True),
    FeedColumn("gpus", pa.int64(), "GPUs of the plan, spares included", nullable=True),
    FeedColumn("replicas_upper_band", pa.int64(), "replicas at the upper band of rate and lengths", nullable=True),
    FeedColumn("max_context_tokens", pa.int64(), "longest request that the pool accepts, tokens", nullable=True),
    FeedColumn("boundary_tokens", pa.int64(), "first boundary between pools, tokens; empty: one pool", nullable=True),
    FeedColumn(
        "second_boundary_tokens",
        pa.int64(),
        "boundary between the middle and the long pool, tokens; empty: no third pool",
        nullable=True,
    ),
    FeedColumn("gamma", pa.float64(), "compression band: up to gamma x boundary is compressed", nullable=True),
    FeedColumn("usd_per_hour", pa.float64(), "price of the pool, USD per hour", nullable=True),
    FeedColumn("usd_per_year", pa.float64(), "price of the pool, USD per year of 8,760 hours", nullable=True),
)
"""Columns of ``recommendation.csv`` and ``recommendation.parquet``, in order."""


def feed_files(document: Mapping[str, Any]) -> dict[str, bytes]:
    """The files of one recommendation, by name; equal documents give equal bytes.

    Parameters
    ----------
    document : mapping
        From :func:`fleetopt.reporting.document.build_document`.

    Returns
    -------
    dict of str to bytes
        ``recommendation.json`` (the document), ``recommendation.csv`` and ``recommendation.parquet`` (a row per pool),
        ``recommendation.schema.json`` (JSON Schema 2020-12 of the JSON file).

    Notes
    -----
    Only a confirmed plan is an order. Rows of any other carry ``is_order`` false and no ``order_replicas``; without a
    plan there is a single row that names no pool, since an empty table could be taken for an order of nothing.
    """
    table = feed_table(document)
    return {
        "recommendation.json": canonical_json(dict(document)).encode(),
        "recommendation.csv": _csv(table),
        "recommendation.parquet": _parquet(table),
        SCHEMA_FILE: document_schema(),
    }


def document_schema() -> bytes:
    """The JSON Schema of the recommendation document, UTF-8."""
    return (resources.files("fleetopt.reporting") / SCHEMA_FILE).read_bytes()


def feed_table(document: Mapping[str, Any]) -> pa.Table:
    """The rows of the CSV and Parquet files, with each column's meaning in its metadata."""
    schema = pa.schema(
        [pa.field(column.name, column.dtype, column.nullable, {"description": column.meaning}) for column in COLUMNS]
    )
    plan = document["plan"]
    pools = plan["pools"] if plan else [None]
    return pa.Table.from_pylist([_row(document, pool) for pool in pools], schema=schema)


def _row(document: Mapping[str, Any], pool: Mapping[str, Any] | None) -> dict[str, Any]:
    is_order = document["verdict"] == "confirmed" and pool is not None
    row: dict[str, Any] = {
        **{key: document[key] for key in ("fleet", "model", "version", "verdict", "verdict_meaning")},
        "day": date.fromisoformat(document["day"]),
        "is_order": is_order,
    }
    if pool is None:
        return row
    plan = document["plan"]
    first, second = two_boundaries(plan["boundaries_tokens"])
    same = ("replicas", "spare_replicas", "gpus", "replicas_upper_band", "max_context_tokens", "usd_per_hour")
    return {
        **row,
        **{key: pool[key] for key in same},
        "order_replicas": pool["replicas"] if is_order else None,
        "pool": pool["name"],
        "gpu_profile": pool["profile"]["name"],
        "boundary_tokens": first,
        "second_boundary_tokens": second,
        "gamma": plan["gamma"],
        "usd_per_year": round(pool["usd_per_hour"] * HOURS_PER_YEAR, 6),
    }


def two_boundaries(boundaries_tokens: Sequence[int]) -> tuple[int | None, int | None]:
    """Boundaries of at most three pools as two columns; None where there is none."""
    first, second, *_ = [*boundaries_tokens, None, None]
    return first, second


def _csv(table: pa.Table) -> bytes:
    frame = pl.DataFrame(pl.from_arrow(table))
    return frame.write_csv(line_terminator="\n").encode()


def _parquet(table: pa.Table) -> bytes:
    """Parquet of fixed settings: no compression library, clock or thread has a say in its bytes."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, version="2.6", compression="none", use_dictionary=False, store_schema=True)
    return buffer.getvalue()
