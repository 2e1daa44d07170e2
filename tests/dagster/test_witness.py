"""The rows that stand for all: an expectation says the same of them as of every row."""

import math

import great_expectations as gx
import great_expectations.expectations as gxe
import polars as pl
import pytest
from great_expectations.expectations.row_conditions import Column
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.resources.validation import ExpectationOutcome, Validator, _Runner
from pipelines.resources.witness import MAX_DISTINCT, Witness

ROWS = st.tuples(
    st.none() | st.integers(-3, 3),
    *[st.none() | st.sampled_from([-math.inf, -1.0, -0.0, 0.0, 0.5, 1.0, math.inf, math.nan])] * 2,
    st.none() | st.sampled_from(["a", "b", "c"]),
)
TYPES = {"x": pl.Int64, "f": pl.Float64, "g": pl.Float64, "s": pl.String}
BOUND = st.none() | st.integers(-2, 2)


@st.composite
def frames(draw):
    """Few rows of few values, some columns without any."""
    frame = pl.DataFrame(draw(st.lists(ROWS, max_size=8)), schema=TYPES, orient="row")
    empty = draw(st.sets(st.sampled_from(sorted(TYPES)), max_size=1))
    return frame.with_columns(pl.lit(None, dtype=TYPES[name]).alias(name) for name in empty)


@st.composite
def expectations(draw):
    """Arguments of expectations of every kind that a witness decides."""
    kinds = [(gxe.ExpectTableRowCountToBeBetween, {"min_value": draw(st.integers(0, 1))})]
    for column in ("x", "f", "s"):
        kinds.append((gxe.ExpectColumnValuesToNotBeNull, {"column": column}))
    for column in ("x", "f"):
        low, high = draw(BOUND), draw(BOUND)
        if low is not None or high is not None:
            low, high = (low, high) if low is None or high is None else (min(low, high), max(low, high))
            strict = {"strict_min": draw(st.booleans()), "strict_max": draw(st.booleans())}
            kinds.append(
                (gxe.ExpectColumnValuesToBeBetween, {"column": column, "min_value": low, "max_value": high, **strict})
            )
    kinds.append(
        (
            gxe.ExpectColumnValuesToBeInSet,
            {"column": "s", "value_set": draw(st.sampled_from([["a"], ["a", "b"], ["a", "b", "c"]]))},
        )
    )
    pair = {
        "column_A": "f",
        "column_B": "g",
        "or_equal": draw(st.booleans()),
        "ignore_row_if": "either_value_is_missing",
    }
    kinds.append((gxe.ExpectColumnPairValuesAToBeGreaterThanB, pair))
    return kinds


def build(kinds):
    return lambda: gx.ExpectationSuite("s", expectations=[kind(**arguments) for kind, arguments in kinds])


def all_rows(frame, kinds) -> list[ExpectationOutcome]:
    return _Runner("s").run(frame, build(kinds)())


@settings(max_examples=25, deadline=None)
@given(frames(), expectations(), st.integers(1, 4))
def test_the_witness_says_what_all_rows_say(frame, kinds, chunk_rows):
    expected = all_rows(frame, kinds)
    gathered = Witness(build(kinds)().expectations)
    for start in range(0, max(frame.height, 1), chunk_rows):
        gathered.add(frame.slice(start, chunk_rows))
    assert all(gathered.decides(each) for each in build(kinds)().expectations)
    assert gathered.rows == frame.height
    assert [each.passed for each in all_rows(gathered.frame(), kinds)] == [each.passed for each in expected]


@settings(max_examples=12, deadline=None)
@given(frames(), expectations(), st.integers(1, 4))
def test_outcomes_are_those_of_all_rows_counts_included(frame, kinds, chunk_rows):
    found = Validator(chunk_rows).validate(frame.lazy(), build(kinds)).expectations
    expected = all_rows(frame, kinds)
    figures = [(each.expectation, each.passed, each.rows, each.unexpected) for each in found]
    assert figures == [(each.expectation, each.passed, each.rows, each.unexpected) for each in expected]


@pytest.mark.parametrize("at", [0, 1, 41, 98, 99])
@pytest.mark.parametrize(
    ("column", "bad", "kind"),
    [
        ("x", None, lambda: gxe.ExpectColumnValuesToNotBeNull(column="x")),
        ("f", math.nan, lambda: gxe.ExpectColumnValuesToNotBeNull(column="f")),
        ("x", 5, lambda: gxe.ExpectColumnValuesToBeBetween(column="x", max_value=5, strict_max=True)),
        ("f", -1e-300, lambda: gxe.ExpectColumnValuesToBeBetween(column="f", min_value=0)),
        ("s", "b", lambda: gxe.ExpectColumnValuesToBeInSet(column="s", value_set=["a"])),
        (
            "x",
            1,
            lambda: gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="x", column_B="f", ignore_row_if="either_value_is_missing"
            ),
        ),
    ],
)
def test_one_bad_row_is_in_the_witness_wherever_it_stands(column, bad, kind, at):
    rows = {"x": [2] * 100, "f": [1.0] * 100, "s": ["a"] * 100}
    rows[column][at] = bad
    gathered = Witness([kind()])
    frame = pl.DataFrame(rows)
    gathered.add(frame.head(50))
    gathered.add(frame.tail(50))
    kept = gathered.frame()
    assert kept.height < 10
    (outcome,) = _Runner("s").run(kept, gx.ExpectationSuite("s", expectations=[kind()]))
    assert not outcome.passed


@pytest.mark.parametrize(
    "expectation",
    [
        lambda: gxe.ExpectColumnValuesToBeBetween(column="x", min_value=1, mostly=0.9),
        lambda: gxe.ExpectColumnValuesToBeBetween(column="x", min_value=1, row_condition=Column("s") == "a"),
        lambda: gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="x", column_B="f"),
        lambda: gxe.ExpectTableRowCountToBeBetween(min_value=2),
        lambda: gxe.ExpectTableRowCountToBeBetween(min_value=1, max_value=9),
        lambda: gxe.ExpectColumnMeanToBeBetween(column="x", min_value=0),
        lambda: gxe.ExpectColumnValuesToBeUnique(column="x"),
    ],
)
def test_what_a_witness_cannot_decide_is_left_to_all_rows(expectation):
    assert not Witness([expectation()]).decides(expectation())


def test_a_set_is_decided_until_it_has_too_many_values():
    expectation = gxe.ExpectColumnValuesToBeInSet(column="s", value_set=["1"])
    gathered = Witness([expectation])
    gathered.add(pl.DataFrame({"s": [str(n) for n in range(MAX_DISTINCT)]}))
    assert gathered.decides(expectation)
    gathered.add(pl.DataFrame({"s": ["0"]}))
    assert gathered.decides(expectation)
    gathered.add(pl.DataFrame({"s": ["one more"]}))
    assert not gathered.decides(expectation)
    gathered.add(pl.DataFrame({"s": [f"x{n}" for n in range(10 * MAX_DISTINCT)]}))
    assert gathered.frame().height <= MAX_DISTINCT + 10
