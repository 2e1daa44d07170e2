"""The Great Expectations project on disk, for Data Docs only: the checks themselves need no files."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import great_expectations as gx
import polars as pl
from great_expectations.data_context import FileDataContext

from pipelines.resources.validation import quiet, suite_columns

MAX_ROWS = 250_000
"""Pages show the first rows of a larger day; the blocking checks have looked at all of them."""


@dataclass(frozen=True, slots=True)
class Pages:
    """Data Docs that were built."""

    index: Path
    passed: bool
    rows: int


class DataDocs:
    """Data Docs below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def publish(self, suites: Mapping[str, tuple[pl.LazyFrame, gx.ExpectationSuite]]) -> Pages:
        """Run suites and build pages of the results, in place of those of earlier runs.

        Parameters
        ----------
        suites : mapping
            Table -> (its rows, a fresh suite).
        """
        self._prune()
        context = quiet(gx.get_context(mode="file", project_root_dir=self.root))
        passed, rows = True, 0
        for table, (frame, suite) in suites.items():
            checkpoint = _checkpoint(context, table, suite)
            shown = frame.select(suite_columns(suite, frame)).head(MAX_ROWS).collect(engine="streaming")
            result = checkpoint.run(batch_parameters={"dataframe": shown.to_pandas()})
            passed, rows = passed and bool(result.success), rows + shown.height
        context.build_data_docs()
        return Pages(self.root / "gx/uncommitted/data_docs/local_site/index.html", passed, rows)

    def _prune(self) -> None:
        """Remove stored results and pages; everything that a project needs beside them is code."""
        for kept in ("validations", "data_docs"):
            shutil.rmtree(self.root / "gx/uncommitted" / kept, ignore_errors=True)


def _checkpoint(context: FileDataContext, table: str, suite: gx.ExpectationSuite) -> gx.Checkpoint:
    source = context.data_sources.add_or_update_pandas(table)
    rows = source.add_dataframe_asset("day").add_batch_definition_whole_dataframe("rows")
    validation = gx.ValidationDefinition(name=table, data=rows, suite=context.suites.add_or_update(suite))
    return context.checkpoints.add_or_update(
        gx.Checkpoint(
            name=table,
            validation_definitions=[context.validation_definitions.add_or_update(validation)],
            result_format="SUMMARY",
        )
    )
