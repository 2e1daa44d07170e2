"""Coefficients of the iteration time from a table of timed iterations: non-negative, weighted by relative error."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from scipy.optimize import nnls

from fleetopt.errors import InputError
from fleetopt.profiles.evidence import FitError, FitErrors

COEFFICIENTS = (
    "base_s",
    "per_sequence_s",
    "per_context_token_s",
    "per_prefill_token_s",
    "per_prefill_attention_s",
)
COLUMNS = {
    "decode_sequences": "sequences that decode one token in the iteration",
    "decode_context_tokens": "KV context that they read, all of them together, tokens",
    "prefill_tokens": "prompt tokens computed in the iteration",
    "prefill_attention": "sum over prompt chunks of k x (context before it + k / 2), k tokens long",
    "iteration_s": "how long the iteration took, s",
}
"""What a table of iterations has to hold, in this order."""
KINDS = ("decode", "prefill", "mixed")
_FEWEST = 8
_FULL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Iterations:
    """Timed iterations, float64[n] each; see :data:`COLUMNS`."""

    decode_sequences: np.ndarray
    decode_context_tokens: np.ndarray
    prefill_tokens: np.ndarray
    prefill_attention: np.ndarray
    iteration_s: np.ndarray

    def __len__(self) -> int:
        return len(self.iteration_s)

    @property
    def work(self) -> np.ndarray:
        """What each coefficient is multiplied with, float64[n, 5], in the order of :data:`COEFFICIENTS`."""
        return np.column_stack(
            [
                np.ones(len(self)),
                self.decode_sequences,
                self.decode_context_tokens,
                self.prefill_tokens,
                self.prefill_attention,
            ]
        )

    @property
    def tokens(self) -> np.ndarray:
        """Tokens that an iteration computes, decoded and prefilled together, float64[n]."""
        return self.decode_sequences + self.prefill_tokens

    @property
    def kind(self) -> np.ndarray:
        """Of each iteration, its place in :data:`KINDS`, int64[n]; one that does neither counts as decode."""
        return np.where(self.prefill_tokens == 0, 0, np.where(self.decode_sequences == 0, 1, 2))

    def where(self, keep: np.ndarray) -> Self:
        """Those iterations for which bool[n] says so."""
        return type(self)(**{name: getattr(self, name)[keep] for name in COLUMNS})

    @classmethod
    def from_frame(cls, frame: pl.DataFrame, where: str) -> Self:
        """Read a table with the columns of :data:`COLUMNS`; others are left alone.

        Raises
        ------
        InputError
            If a column is missing, is no number, is negative, or no time is positive.
        """
        missing = [name for name in COLUMNS if name not in frame.columns]
        if missing:
            raise InputError(f"{where}: no column '{missing[0]}'; a table of iterations has {', '.join(COLUMNS)}")
        columns = {name: _numbers(frame[name], f"{where}: column '{name}'") for name in COLUMNS}
        if len(frame) < _FEWEST:
            raise InputError(f"{where}: {len(frame)} iterations; a fit takes at least {_FEWEST}")
        if not (columns["iteration_s"] > 0).all():
            raise InputError(f"{where}: column 'iteration_s': every iteration takes time; remove those of 0 s")
        return cls(**columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class IterationFit:
    """Five coefficients, seconds, and how far the iterations lie from them.

    Attributes
    ----------
    coefficients : mapping
        By the names of :data:`COEFFICIENTS`.
    errors : FitErrors
    undetermined : tuple of str
        Coefficients that the iterations say nothing about, since what they multiply is 0 in all of them.
    """

    coefficients: Mapping[str, float]
    errors: FitErrors
    undetermined: tuple[str, ...]


def fit_iterations(iterations: Iterations, from_tokens: int = 1) -> IterationFit:
    """Least squares of the relative error, no coefficient below 0, each kind of iteration with the same weight.

    Parameters
    ----------
    iterations : Iterations
    from_tokens : int
        Fit to iterations of at least this many tokens; the error of the smaller ones is told apart.

    Returns
    -------
    IterationFit

    Raises
    ------
    InputError
        If too few iterations are that large.

    Notes
    -----
    Decode, prefill and mixed iterations weigh the same however many there are of each, so that the grid on which they
    were measured does not decide which of them the line follows. Lawson and Hanson (1974), non-negative least squares.
    Coefficients have four digits, and the errors are those of the coefficients as they are told.
    """
    fitted = iterations.where(iterations.tokens >= from_tokens)
    if len(fitted) < _FEWEST:
        raise InputError(f"{len(fitted)} iterations of at least {from_tokens} tokens; a fit takes {_FEWEST}")
    work, taken_s = fitted.work, fitted.iteration_s
    count = np.bincount(fitted.kind, minlength=len(KINDS))
    weight = 1 / (taken_s * np.sqrt(count[fitted.kind]))
    scale = np.max(work, axis=0)
    known = scale > 0
    columns = work[:, known] / scale[known] * weight[:, None]
    solution, _ = nnls(columns, taken_s * weight)
    values = np.zeros(len(COEFFICIENTS))
    values[known] = solution / scale[known]
    values = np.array([float(f"{value:.4g}") for value in values])
    return IterationFit(
        coefficients=dict(zip(COEFFICIENTS, values.tolist(), strict=True)),
        errors=fit_errors(iterations, values, from_tokens),
        undetermined=tuple(name for name, is_known in zip(COEFFICIENTS, known, strict=True) if not is_known),
    )


def fit_errors(iterations: Iterations, coefficients: np.ndarray, from_tokens: int = 1) -> FitErrors:
    """Relative errors of a line through iterations, of each kind.

    Parameters
    ----------
    iterations : Iterations
    coefficients : numpy.ndarray
        float64[5], seconds, in the order of :data:`COEFFICIENTS`.
    from_tokens : int
        Iterations of fewer tokens are told apart.
    """
    is_fitted = iterations.tokens >= from_tokens
    taken_s = iterations.iteration_s
    predicted_s = iterations.work @ coefficients
    relative = predicted_s / taken_s - 1
    errors = {
        name: _error(iterations, relative, np.flatnonzero(is_fitted & (iterations.kind == place)))
        for place, name in enumerate(KINDS)
    }
    fitted_s = taken_s[is_fitted]
    spread = np.sum((fitted_s - fitted_s.mean()) ** 2)
    missed = np.sum((fitted_s - predicted_s[is_fitted]) ** 2)
    return FitErrors(
        r2=_short(1 - missed / spread) if spread > 0 else 0.0,
        from_tokens=from_tokens,
        below=_error(iterations, relative, np.flatnonzero(~is_fitted)),
        fullest=_error(iterations, relative, np.flatnonzero(_is_fullest(iterations))),
        **errors,
    )


def _is_fullest(iterations: Iterations) -> np.ndarray:
    """Iterations with prefill that hold as many tokens as any of the table, or nearly so, bool[n]."""
    return (iterations.prefill_tokens > 0) & (iterations.tokens >= _FULL * iterations.tokens.max())


def _error(iterations: Iterations, relative: np.ndarray, places: np.ndarray) -> FitError | None:
    """The error over some of the iterations, None where there are none of them."""
    if len(places) == 0:
        return None
    worst = int(places[np.argmax(np.abs(relative[places]))])
    return FitError(
        samples=len(places),
        mean_error=_short(np.abs(relative[places]).mean()),
        worst_error=_short(relative[worst]),
        worst_at=describe(iterations, worst),
    )


def _short(value: float) -> float:
    """Four decimals: an error is not known better."""
    return round(float(value), 4)


def describe(iterations: Iterations, place: int) -> str:
    """One iteration in words."""
    sequences, tokens = int(iterations.decode_sequences[place]), int(iterations.prefill_tokens[place])
    parts = []
    if sequences:
        context = iterations.decode_context_tokens[place] / sequences
        parts.append(f"{sequences} decoding at {context:,.0f} tokens of context")
    if tokens:
        before = iterations.prefill_attention[place] / tokens - tokens / 2
        after = f" after {before:,.0f}" if before >= 1 else ""
        parts.append(f"{tokens:,} prompt tokens{after}")
    return " with ".join(parts) or "nothing to do"


def _numbers(column: pl.Series, where: str) -> np.ndarray:
    """A column as float64, finite and not negative."""
    if not column.dtype.is_numeric():
        raise InputError(f"{where}: is {column.dtype}, not a number")
    values = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(bad):
        raise InputError(f"{where}: row {bad[0] + 1}: is missing, infinite or negative")
    return np.asarray(values)
