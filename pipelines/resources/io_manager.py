"""The IO manager between assets and their Delta tables: a day out, a day or a window of days in."""

from datetime import date

import dagster as dg
import polars as pl

from assets.metadata import written_metadata
from pipelines.resources.provenance import commit_metadata
from pipelines.resources.tables import TableStore


class DeltaIOManager(dg.IOManager):
    """Stores an asset's frame as its day of the table that is named as the asset.

    A partitioned input is the days that its partition mapping asks for, as one filtered lazy frame: the window of a
    rolling mapping needs no loop over partitions, and days that were never written are simply not in it. A run over
    a range of partitions replaces the range in one commit.
    """

    def __init__(self, tables: TableStore) -> None:
        self.tables = tables

    def handle_output(self, context: dg.OutputContext, obj: pl.DataFrame | pl.LazyFrame) -> None:
        """Write the day (or range of days) of the run and describe what was written."""
        table = context.asset_key.path[-1]
        frame = obj.collect() if isinstance(obj, pl.LazyFrame) else obj
        first_day, last_day = _key_days(context.asset_partition_key_range)
        version = self.tables.write_days(table, first_day, last_day, frame, commit_metadata(context.run_id))
        lineage = (context.definition_metadata or {}).get("dagster/column_lineage")
        context.add_output_metadata(
            written_metadata(table, self.tables.files.shown(table), frame.height, version, lineage)
        )

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame:
        """Scan the days that the input's partitions name; all days where it has none."""
        table = context.asset_key.path[-1]
        if not context.has_asset_partitions:
            return self.tables.read(table)
        return self.tables.read(table, *_key_days(context.asset_partition_key_range))


def _key_days(keys: dg.PartitionKeyRange) -> tuple[date, date]:
    return date.fromisoformat(keys.start), date.fromisoformat(keys.end)
