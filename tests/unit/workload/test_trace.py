import numpy as np
import polars as pl
import pytest

from fleetopt.errors import InputError
from fleetopt.workload.trace import trace_from_frame


def frame(prompt_tokens: pl.Series, output_tokens: tuple[float, ...] = (1, 2)) -> pl.DataFrame:
    return pl.DataFrame({"arrival_s": [0.0, 1.0], "prompt_tokens": prompt_tokens, "output_tokens": list(output_tokens)})


@pytest.mark.parametrize("dtype", [pl.Int32, pl.UInt64, pl.Float32, pl.Float64, pl.Decimal(10, 2)])
def test_whole_numbers_of_any_type_are_token_counts(dtype: pl.DataType) -> None:
    trace = trace_from_frame(frame(pl.Series([3, 4]).cast(dtype)), "t")
    np.testing.assert_array_equal(trace.prompt_tokens, [3, 4])
    assert trace.prompt_tokens.dtype == np.int64


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([3.0, 4.5]),
        pl.Series([3.0, float("nan")]),
        pl.Series([3.0, float("inf")]),
        pl.Series([3.0, 1e30]),
        pl.Series([3, 2**64 - 1], dtype=pl.UInt64),
        pl.Series([3.0, 4.25]).cast(pl.Decimal(10, 2)),
    ],
)
def test_a_fraction_of_a_token_is_an_error_and_not_cut_off(values: pl.Series) -> None:
    with pytest.raises(InputError, match=r"t: row 1: prompt_tokens is .*; it has to be a whole number of tokens"):
        trace_from_frame(frame(values), "t")
    with pytest.raises(InputError, match=r"t: row 0: output_tokens is 0\.5"):
        trace_from_frame(frame(pl.Series([3, 4]), (0.5, 1)), "t")
