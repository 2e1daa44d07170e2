"""Great Expectations on Polars frames: all rows, in bounded memory, and errors of ours never taken for bad data."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

import great_expectations as gx
import polars as pl
from great_expectations.core.batch_definition import BatchDefinition
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

from pipelines.resources.witness import Witness

CHUNK_ROWS = 1 << 19
_MAX_EXAMPLES = 3
_RESULT_FORMAT = {"result_format": "BASIC", "partial_unexpected_count": _MAX_EXAMPLES}


class ValidationMachineryError(Exception):
    """An expectation could not be evaluated. That says nothing about the data."""


@dataclass(frozen=True, slots=True)
class ExpectationOutcome:
    """One expectation over all rows.

    Attributes
    ----------
    expectation : str
        Kind and arguments, for people.
    passed : bool
    rows : int
        Rows looked at.
    unexpected : int
        Rows that break it; for an expectation on the table as a whole 1 or 0.
    examples : tuple
        A few unexpected values.
    """

    expectation: str
    passed: bool
    rows: int
    unexpected: int
    examples: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class SuiteOutcome:
    """A suite over all rows of a frame."""

    suite: str
    rows: int
    expectations: tuple[ExpectationOutcome, ...]

    @property
    def passed(self) -> bool:
        """Whether every expectation holds."""
        return all(outcome.passed for outcome in self.expectations)

    @property
    def failures(self) -> tuple[ExpectationOutcome, ...]:
        """The expectations that do not hold."""
        return tuple(outcome for outcome in self.expectations if not outcome.passed)


class Validator:
    """Runs suites on all rows, in memory that does not grow with their number.

    A few rows that are gathered from all of them (`pipelines.resources.witness`) decide most expectations. Only those
    that fail on the witness, and those that it cannot decide, are run on the rows themselves, through pandas and in
    chunks, so that the rows that break them are counted and shown.

    Suites therefore hold expectations on single rows (their counts add up), and on the table only a lower bound of
    the row count, which holds for the whole if it holds for a part. Uniqueness over all rows is checked in Polars.
    """

    def __init__(self, chunk_rows: int = CHUNK_ROWS) -> None:
        self.chunk_rows = chunk_rows

    def validate(self, frame: pl.LazyFrame, build_suite: Callable[[], gx.ExpectationSuite]) -> SuiteOutcome:
        """Run a suite on every row of a frame.

        Parameters
        ----------
        frame : polars.LazyFrame
        build_suite : callable
            Returns a fresh suite: an expectation can belong to one suite only, so suites are not shared.

        Raises
        ------
        ValidationMachineryError
            An expectation raised instead of answering.
        """
        suite = build_suite()
        runner = _Runner(suite.name)
        witness = Witness(suite.expectations)
        for chunk in self._chunks(frame.select(suite_columns(suite, frame))):
            witness.add(chunk)
        decidable = [witness.decides(expectation) for expectation in suite.expectations]
        outcomes = runner.run(witness.frame(), _part(build_suite(), decidable))
        proved = {
            n: replace(outcome, rows=witness.rows if outcome.rows else 0)
            for n, outcome in zip(_positions(decidable), outcomes, strict=True)
            if outcome.passed
        }
        is_open = [n not in proved for n in range(len(decidable))]
        counted = self._count(frame, build_suite, is_open, runner) if any(is_open) else {}
        both = proved | counted
        return SuiteOutcome(suite.name, witness.rows, tuple(both[n] for n in range(len(decidable))))

    def _count(
        self,
        frame: pl.LazyFrame,
        build_suite: Callable[[], gx.ExpectationSuite],
        is_open: Sequence[bool],
        runner: "_Runner",
    ) -> dict[int, ExpectationOutcome]:
        """Run some expectations of a suite on all rows; outcomes by their position in the suite."""
        totals: list[ExpectationOutcome] = []
        columns = suite_columns(_part(build_suite(), is_open), frame)
        for chunk in self._chunks(frame.select(columns)):
            outcomes = runner.run(chunk, _part(build_suite(), is_open))
            totals = [_add(a, b) for a, b in zip(totals, outcomes, strict=True)] if totals else outcomes
        return dict(zip(_positions(is_open), totals, strict=True))

    def _chunks(self, frame: pl.LazyFrame) -> Iterator[pl.DataFrame]:
        empty = True
        for chunk in frame.collect_batches(chunk_size=self.chunk_rows, maintain_order=True):
            if chunk.height:
                empty = False
                yield chunk
        if empty:
            yield frame.collect_schema().to_frame()


def suite_columns(suite: gx.ExpectationSuite, frame: pl.LazyFrame) -> list[str]:
    """Columns of a frame that a suite looks at; one column at least, so that rows can be counted."""
    named: set[str] = set()
    for expectation in suite.expectations:
        for attribute in ("column", "column_A", "column_B"):
            named.add(getattr(expectation, attribute, None) or "")
        named.update(getattr(expectation, "column_list", None) or ())
    names = frame.collect_schema().names()
    return [name for name in names if name in named] or names[:1]


def quiet(context: Any) -> Any:
    """Turn off the progress bars and the usage statistics of a Great Expectations context."""
    context.config.analytics_enabled = False
    context.config.progress_bars = {"globally": False, "metric_calculations": False}
    return context


def _part(suite: gx.ExpectationSuite, is_wanted: Sequence[bool]) -> gx.ExpectationSuite:
    """Leave in a suite the expectations at some positions only."""
    suite.expectations = list(compress(suite.expectations, is_wanted))
    return suite


def _positions(is_wanted: Sequence[bool]) -> list[int]:
    return list(compress(range(len(is_wanted)), is_wanted))


class _Runner:
    """Great Expectations on one frame after another."""

    def __init__(self, suite_name: str) -> None:
        self.suite_name = suite_name
        # The default ephemeral context leaves a temporary directory behind for pages that nobody builds.
        stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
        config = DataContextConfig(store_backend_defaults=stores)
        context = quiet(gx.get_context(mode="ephemeral", project_config=config))
        asset = context.data_sources.add_pandas("frames").add_dataframe_asset("chunk")
        self._batches: BatchDefinition[Any] = asset.add_batch_definition_whole_dataframe("rows")

    def run(self, rows: pl.DataFrame, suite: gx.ExpectationSuite) -> list[ExpectationOutcome]:
        """Give the outcome of each expectation, in the order of the suite."""
        if not suite.expectations:
            return []
        try:
            batch = self._batches.get_batch({"dataframe": rows.to_pandas()})
            results = batch.validate(suite, result_format=_RESULT_FORMAT).results
        except Exception as error:
            raise ValidationMachineryError(f"suite {self.suite_name} could not be run: {error}") from error
        for result in results:
            for message in raised_exceptions(result):
                raised = f"{_describe(result.expectation_config)} raised instead of answering: {message}"
                raise ValidationMachineryError(f"suite {self.suite_name}: {raised}")
        # Great Expectations answers column by column, whatever the order of the suite.
        found = {outcome.expectation: outcome for outcome in map(_outcome, results)}
        return [found[_describe(expectation.configuration)] for expectation in suite.expectations]


def raised_exceptions(result: ExpectationValidationResult) -> list[str]:
    """Messages of the exceptions inside one result; it holds one record, or one per metric that failed."""
    info = result.exception_info or {}
    records = [info] if "raised_exception" in info else [r for r in info.values() if isinstance(r, dict)]
    return [str(record.get("exception_message")) for record in records if record.get("raised_exception")]


def _describe(config: ExpectationConfiguration | None) -> str:
    assert config is not None  # noqa: S101  # results of a validation always carry it
    arguments = {k: v for k, v in config.kwargs.items() if k != "batch_id" and v is not None}
    inner = ", ".join(f"{key}={value}" for key, value in arguments.items())
    return f"{config.type.removeprefix('expect_')}({inner})"


def _outcome(result: ExpectationValidationResult) -> ExpectationOutcome:
    passed = bool(result.success)
    counts = result.result
    return ExpectationOutcome(
        expectation=_describe(result.expectation_config),
        passed=passed,
        rows=int(counts.get("element_count", 0)),
        unexpected=int(counts.get("unexpected_count", 0 if passed else 1)),
        examples=tuple(counts.get("partial_unexpected_list", ())),
    )


def _add(total: ExpectationOutcome, part: ExpectationOutcome) -> ExpectationOutcome:
    return ExpectationOutcome(
        expectation=total.expectation,
        passed=total.passed and part.passed,
        rows=total.rows + part.rows,
        unexpected=total.unexpected + part.unexpected,
        examples=(*total.examples, *part.examples)[:_MAX_EXAMPLES],
    )
