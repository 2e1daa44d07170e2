"""A trace: requests in arrival order, as flat arrays."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from fleetopt.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """Requests in arrival order.

    Attributes
    ----------
    arrival_s : np.ndarray
        float64[n], seconds, not decreasing.
    prompt_tokens, output_tokens : np.ndarray
        int64[n], tokens, at least 1.
    is_compressible : np.ndarray
        bool[n], whether the request may be compressed when it falls into the compression band.
    """

    arrival_s: np.ndarray
    prompt_tokens: np.ndarray
    output_tokens: np.ndarray
    is_compressible: np.ndarray

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def total_tokens(self) -> np.ndarray:
        """int64[n], prompt and output together, tokens."""
        return self.prompt_tokens + self.output_tokens


def make_trace(
    arrival_s: np.ndarray,
    prompt_tokens: np.ndarray,
    output_tokens: np.ndarray,
    is_compressible: np.ndarray | None = None,
    where: str = "trace",
) -> Trace:
    """Check the arrays of a trace and freeze them.

    Raises
    ------
    InputError
        If the lengths of the arrays differ, a time is not finite or decreases, or a length is below 1.
    """
    arrival = np.ascontiguousarray(arrival_s, dtype=np.float64)
    prompt = np.ascontiguousarray(prompt_tokens, dtype=np.int64)
    output = np.ascontiguousarray(output_tokens, dtype=np.int64)
    compressible = (
        np.zeros(len(arrival), dtype=np.bool_)
        if is_compressible is None
        else np.ascontiguousarray(is_compressible, dtype=np.bool_)
    )
    if len({len(arrival), len(prompt), len(output), len(compressible)}) != 1:
        raise InputError(f"{where}: columns differ in length")
    if not np.isfinite(arrival).all():
        raise InputError(f"{where}: row {int(np.argmin(np.isfinite(arrival)))}: arrival_s is not finite")
    if (np.diff(arrival) < 0).any():
        raise InputError(f"{where}: row {int(np.argmax(np.diff(arrival) < 0)) + 1}: arrival_s decreases; sort by it")
    for name, values in (("prompt_tokens", prompt), ("output_tokens", output)):
        if (values < 1).any():
            raise InputError(f"{where}: row {int(np.argmax(values < 1))}: {name} is below 1")
    for array in (arrival, prompt, output, compressible):
        array.setflags(write=False)
    return Trace(arrival_s=arrival, prompt_tokens=prompt, output_tokens=output, is_compressible=compressible)


def trace_from_frame(frame: pl.DataFrame, where: str) -> Trace:
    """Take a trace from a frame with ``arrival_s``, ``prompt_tokens`` and ``output_tokens``.

    Raises
    ------
    InputError
        If a column is missing, not numeric, or holds nulls or bad values; a token count has to be whole.
    """
    for name in ("arrival_s", "prompt_tokens", "output_tokens"):
        if name not in frame.columns:
            raise InputError(f"{where}: column '{name}' is missing")
        if not frame.schema[name].is_numeric():
            raise InputError(f"{where}: column '{name}' is {frame.schema[name]}, not a number")
        if frame[name].null_count():
            raise InputError(f"{where}: column '{name}' holds nulls")
    return make_trace(
        frame["arrival_s"].cast(pl.Float64).to_numpy(),
        _whole_numbers(frame["prompt_tokens"], where),
        _whole_numbers(frame["output_tokens"], where),
        where=where,
    )


def _whole_numbers(column: pl.Series, where: str) -> np.ndarray:
    """int64[n]; a fraction is an error, since cutting it off would make other requests of them."""
    whole = column.cast(pl.Int64, strict=False)
    is_wrong = (whole.is_null() | (whole.cast(pl.Float64) != column.cast(pl.Float64))).to_numpy()
    if is_wrong.any():
        row = int(np.argmax(is_wrong))
        raise InputError(f"{where}: row {row}: {column.name} is {column[row]}; it has to be a whole number of tokens")
    return whole.to_numpy()
