"""Coefficients from timed iterations: what they recover, how their error is told, and the shipped file refitted."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fleetopt.errors import InputError
from fleetopt.profiles import load_profile_file
from fleetopt.profiles.iterations import COEFFICIENTS, COLUMNS, Iterations, fit_iterations

TRUE = np.array([9.58e-3, 47.3e-6, 266e-9, 56.6e-6, 5.37e-9])
ROWS = Path(__file__).with_name("h100-llama3.1-8b.csv")
"""The iterations that the shipped profile was fitted to, summed from the kernel times of aiconfigurator-core 0.12.0."""


def made(noise: float = 0.0, seed: int = 3, n: int = 300) -> Iterations:
    """Iterations of known coefficients: a third decode, a third prefill, a third do both."""
    rng = np.random.default_rng(seed)
    sequences = rng.integers(1, 129, n) * (np.arange(n) % 3 != 1)
    prompt = rng.integers(16, 2049, n) * (np.arange(n) % 3 != 0)
    work = Iterations(
        decode_sequences=sequences.astype(float),
        decode_context_tokens=sequences * rng.uniform(100, 4000, n),
        prefill_tokens=prompt.astype(float),
        prefill_attention=prompt * (rng.integers(0, 5000, n) + prompt / 2),
        iteration_s=np.ones(n),
    )
    time_s = work.work @ TRUE * np.exp(rng.normal(0, noise, n))
    return Iterations(**{name: getattr(work, name) for name in COLUMNS if name != "iteration_s"}, iteration_s=time_s)


def values(fit) -> np.ndarray:
    return np.array([fit.coefficients[name] for name in COEFFICIENTS])


def test_exact_iterations_give_the_coefficients_back():
    fit = fit_iterations(made())
    np.testing.assert_allclose(values(fit), TRUE, rtol=5e-4)  # four digits are kept
    assert fit.errors.r2 == pytest.approx(1)
    assert set(fit.errors.by_kind) == {"decode", "prefill", "mixed"}
    assert fit.undetermined == ()


def test_noisy_iterations_give_them_back_and_tell_the_noise():
    fit = fit_iterations(made(noise=0.05, n=6000))
    np.testing.assert_allclose(values(fit), TRUE, rtol=0.06)
    for error in fit.errors.by_kind.values():
        assert error.mean_error == pytest.approx(0.05 * np.sqrt(2 / np.pi), rel=0.1)
        assert abs(error.worst_error) > error.mean_error


def test_no_coefficient_is_below_zero():
    rows = made()
    shrinking = Iterations(
        **{name: getattr(rows, name) for name in COLUMNS if name != "iteration_s"},
        iteration_s=0.1 - 1e-4 * rows.decode_sequences,
    )
    fit = fit_iterations(shrinking)
    assert (values(fit) >= 0).all()
    assert fit.coefficients["per_sequence_s"] == 0


def test_what_never_occurs_is_not_determined():
    rows = made()
    fit = fit_iterations(rows.where(rows.kind == 0))
    assert fit.undetermined == ("per_prefill_token_s", "per_prefill_attention_s")
    assert set(fit.errors.by_kind) == {"decode"}


def test_kinds_weigh_the_same_however_many_there_are():
    rows = made(noise=0.1)
    place = np.concatenate([np.arange(len(rows)), *[np.flatnonzero(rows.kind == 0)] * 20])
    repeated = rows.where(np.sort(place))
    np.testing.assert_allclose(values(fit_iterations(repeated)), values(fit_iterations(rows)), rtol=2e-3)


def test_small_iterations_can_be_left_out_and_their_error_is_told():
    rows = made()
    slow = np.where(rows.tokens < 32, 3.0, 1.0) * rows.iteration_s
    bent = Iterations(**{name: getattr(rows, name) for name in COLUMNS if name != "iteration_s"}, iteration_s=slow)
    fit = fit_iterations(bent, from_tokens=32)
    np.testing.assert_allclose(values(fit), TRUE, rtol=5e-4)
    assert fit.errors.from_tokens == 32
    assert fit.errors.below is not None
    assert fit.errors.below.samples == int((rows.tokens < 32).sum()) > 0
    assert fit.errors.below.mean_error == pytest.approx(2 / 3, abs=1e-3)
    assert fit.errors.mean_error < 0.001


def test_the_error_where_prefill_is_full_is_told_apart():
    rows = made()
    largest = rows.tokens.max()
    is_full = (rows.prefill_tokens > 0) & (rows.tokens >= 0.95 * largest)
    slow = np.where(is_full, 1.25, 1.0) * rows.iteration_s
    bent = Iterations(**{name: getattr(rows, name) for name in COLUMNS if name != "iteration_s"}, iteration_s=slow)
    errors = fit_iterations(bent).errors
    assert errors.fullest is not None
    assert errors.fullest.samples == int(is_full.sum()) > 0
    assert errors.fullest.worst_error < -0.1
    assert errors.fullest.mean_error > errors.mean_error
    assert fit_iterations(rows.where(rows.kind == 0)).errors.fullest is None


def test_the_shipped_profile_is_what_its_iterations_give():
    shipped = load_profile_file("h100-llama3.1-8b")
    fit = fit_iterations(Iterations.from_frame(pl.read_csv(ROWS), ROWS.name))
    for name in COEFFICIENTS:
        assert fit.coefficients[name] == pytest.approx(getattr(shipped.profile, name), rel=2e-4)
    for kind, error in shipped.evidence.fit.by_kind.items():
        again = fit.errors.by_kind[kind]
        assert (again.samples, again.worst_at) == (error.samples, error.worst_at)
        assert again.mean_error == pytest.approx(error.mean_error, abs=2e-4)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda frame: frame.drop("prefill_attention"), "no column 'prefill_attention'"),
        (lambda frame: frame.head(5), "5 iterations; a fit takes at least 8"),
        (lambda frame: frame.with_columns(iteration_s=pl.lit(0.0)), "every iteration takes time"),
        (lambda frame: frame.with_columns(prefill_tokens=pl.lit("many")), "column 'prefill_tokens': is String"),
        (lambda frame: frame.with_columns(decode_sequences=pl.lit(-1)), "row 1: is missing, infinite or negative"),
        (lambda frame: frame.with_columns(iteration_s=pl.lit(None, pl.Float64)), "row 1: is missing"),
    ],
)
def test_a_bad_table_is_one_line(change, expected):
    with pytest.raises(InputError) as caught:
        Iterations.from_frame(change(pl.read_csv(ROWS)), "t.csv")
    assert str(caught.value).startswith("t.csv: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_few_large_iterations_are_bad_input():
    with pytest.raises(InputError, match="at least 100000 tokens"):
        fit_iterations(made(), from_tokens=100_000)
