"""A few rows that stand for all of them: where an expectation holds for these, it holds for every row.

Great Expectations takes rows through pandas, which at the size of a day of requests costs more than reading the logs.
Most expectations of a suite do not need that, since the extremes of a column decide them. So a witness is gathered from
**all** rows: for each expectation a few rows of the data that include one which breaks it, if there is any.

* *Not null*: a row with a null, and one with a NaN, if there are such (pandas makes nulls of floats NaN, so Great
  Expectations cannot tell the two apart).
* *Between* (either bound may be missing, either may be strict): the values that pass form an interval, and nulls and
  NaN are passed over. The witness has the rows of the least and of the greatest of the others; if both lie in the
  interval, so does all that lies between them.
* *In set*: a value is judged by itself, and the witness has a row of each distinct value, while they are at most
  `MAX_DISTINCT`.
* *A greater than B*, rows with a missing value ignored: whether a row passes depends on whether A is below, equal to or
  above B. The witness has a row of the first of these that occurs, in that order; it passes only if the others would.
* *At least 0 or 1 rows*: the witness has a row if there is any.

The other way round, rows of the witness are rows of the data, so what fails on it fails on them: the two agree. That
pandas turns integers into floats where there is a null changes nothing below 2**53, and no length is above that.
Anything else, such as an expectation with ``mostly``, is not decided here.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import great_expectations.expectations as gxe
import polars as pl
from great_expectations.expectations.expectation import Expectation

MAX_DISTINCT: Final = 1000
"""A column with more distinct values is no set; an expectation of a set is then run on all rows."""


def is_decided_by_extremes(expectation: Expectation) -> bool:
    """Whether an expectation holds for all rows exactly if it holds for a witness of them; see the module."""
    if getattr(expectation, "row_condition", None) is not None:
        return False
    if type(expectation) is gxe.ExpectTableRowCountToBeBetween:
        return expectation.min_value in {None, 0, 1} and expectation.max_value is None
    if type(expectation) is gxe.ExpectColumnPairValuesAToBeGreaterThanB:
        return expectation.ignore_row_if == "either_value_is_missing" and expectation.mostly == 1
    return type(expectation) in _DECIDING and getattr(expectation, "mostly", None) == 1


class Witness:
    """Gathers the rows that decide expectations, from any number of frames of one schema.

    Parameters
    ----------
    expectations : iterable of Expectation

    Attributes
    ----------
    rows : int
        Rows gathered from.
    """

    def __init__(self, expectations: Iterable[Expectation]) -> None:
        self.rows = 0
        self._expectations = [each for each in expectations if is_decided_by_extremes(each)]
        self._crowded: set[str] = set()
        self._kept: pl.DataFrame | None = None

    def add(self, frame: pl.DataFrame) -> None:
        """Take note of rows."""
        self.rows += frame.height
        kept = self._deciding(frame)
        self._kept = kept if self._kept is None else self._deciding(self._kept.vstack(kept))

    def decides(self, expectation: Expectation) -> bool:
        """Whether the witness decides an expectation for the rows gathered so far."""
        if isinstance(expectation, gxe.ExpectColumnValuesToBeInSet) and expectation.column in self._crowded:
            return False
        return is_decided_by_extremes(expectation)

    def frame(self) -> pl.DataFrame:
        """Return the witness."""
        return pl.DataFrame() if self._kept is None else self._kept

    def _deciding(self, frame: pl.DataFrame) -> pl.DataFrame:
        wanted = pl.concat([pl.Series([0] if frame.height else [], dtype=pl.UInt32), *self._positions(frame)])
        return frame[wanted.unique().sort()]

    def _positions(self, frame: pl.DataFrame) -> Iterator[pl.Series]:
        """Positions of rows, per expectation that is still to be decided and whose columns there are."""
        for expectation in filter(self.decides, self._expectations):
            named = [getattr(expectation, name, None) for name in ("column", "column_A", "column_B")]
            columns = [frame[name] for name in named if name in frame.columns]
            if not columns or not frame.height:
                continue
            found = _DECIDING[type(expectation)](*columns)
            if isinstance(expectation, gxe.ExpectColumnValuesToBeInSet) and len(found) > MAX_DISTINCT:
                self._crowded.add(expectation.column)
                continue
            yield found.drop_nulls().cast(pl.UInt32)


def _missing(column: pl.Series) -> pl.Series:
    marks = [column.is_null()] if column.null_count() else []
    if column.dtype.is_float():
        marks.append(column.is_nan().fill_null(value=False))
    return pl.Series([mark.arg_max() for mark in marks], dtype=pl.UInt32)


def _extremes(column: pl.Series) -> pl.Series:
    if column.null_count() == len(column):
        return pl.Series([], dtype=pl.UInt32)
    numbers = column.fill_nan(None) if column.dtype.is_float() else column.to_physical()  # times as integers: faster
    return pl.Series([numbers.arg_min(), numbers.arg_max()], dtype=pl.UInt32)


def _distinct(column: pl.Series) -> pl.Series:
    # Most labels are the same in all rows of a frame, which is quicker to see than which values there are.
    if column.eq_missing(column.head(1)).all():
        return pl.Series([0], dtype=pl.UInt32)
    return column.arg_unique()


def _least_ordered(a: pl.Series, b: pl.Series) -> pl.Series:
    """Position of a row with a below b; if there is none, of one where they are equal; if none, of one with both."""
    if len(a) in {a.null_count(), b.null_count()}:
        return pl.Series([], dtype=pl.UInt32)
    both = a.is_not_null() & b.is_not_null()
    if a.dtype.is_float():
        both &= a.is_not_nan()
    if b.dtype.is_float():
        both &= b.is_not_nan()
    for holds in (a < b, a == b, both):
        found = holds & both
        if found.any():
            return pl.Series([found.arg_max()], dtype=pl.UInt32)
    return pl.Series([], dtype=pl.UInt32)


_DECIDING: Final[dict[type, Any]] = {
    gxe.ExpectColumnValuesToNotBeNull: _missing,
    gxe.ExpectColumnValuesToBeBetween: _extremes,
    gxe.ExpectColumnValuesToBeInSet: _distinct,
    gxe.ExpectColumnPairValuesAToBeGreaterThanB: _least_ordered,
}
"""Kind of expectation -> positions of the rows that decide it, of its column or columns."""
