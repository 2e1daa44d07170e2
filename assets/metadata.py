"""Metadata that assets carry: column schema and lineage, from ``fleetopt.schemas``."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from fleetopt.schemas import TABLES, Table

OWNERS = ["team:data"]


def column_schema(table: Table) -> dg.TableSchema:
    """Give Dagster's form of a table's schema: name, type, meaning and whether it may be null, per column."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=str(column.dtype),
                description=column.meaning,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for column in table.columns
        ]
    )


def column_lineage(sources: Mapping[str, Sequence[tuple[str, str]]]) -> dg.TableColumnLineage:
    """Give the lineage of a table's columns.

    Parameters
    ----------
    sources : mapping
        Column -> the (table, column) pairs that it is computed from.
    """
    return dg.TableColumnLineage(
        deps_by_column={
            column: [dg.TableColumnDep(asset_key=dg.AssetKey(table), column_name=name) for table, name in origins]
            for column, origins in sources.items()
        }
    )


def copied_from(table: str, *columns: str) -> dict[str, list[tuple[str, str]]]:
    """Lineage of columns that are taken from another table under their own names."""
    return {column: [(table, column)] for column in columns}


def table_metadata(name: str, lineage: dg.TableColumnLineage | None = None) -> dict[str, object]:
    """Definition metadata of an asset that is a table: its schema, and its columns' lineage where it is given."""
    metadata: dict[str, object] = {
        "dagster/column_schema": column_schema(TABLES[name]),
        "key": ", ".join(TABLES[name].key),
    }
    if lineage is not None:
        metadata["dagster/column_lineage"] = lineage
    return metadata


def written_metadata(
    name: str, uri: str, rows: int, version: int, lineage: dg.TableColumnLineage | None = None
) -> dict[str, Any]:
    """Metadata of a materialization: what was written to a table, and where.

    Parameters
    ----------
    name : str
        Table.
    uri : str
        Where it is.
    rows, version : int
        Rows of the partition, and the table's Delta version with them.
    lineage : dagster.TableColumnLineage, optional
    """
    return {
        "rows": rows,
        "delta_version": version,
        "dagster/partition_row_count": rows,
        "dagster/uri": uri,
        "dagster/column_schema": column_schema(TABLES[name]),
        **({"dagster/column_lineage": lineage} if lineage else {}),
    }
