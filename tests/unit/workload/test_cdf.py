from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetopt.errors import InputError
from fleetopt.workload.cdf import LengthCdf, Quantity, dkw_half_width, length_cdf, upper_lengths
from fleetopt.workload.histogram import length_histogram
from fleetopt.workload.lengths import lengths_from_histogram
from tests.unit.workload.frames import EPOCH, Row, requests_frame, rows


def hours_of_requests(n_hours: int, per_hour: int, drift: float, seed: int) -> list[Row]:
    rng = np.random.default_rng(seed)
    return [
        (EPOCH + timedelta(hours=hour, seconds=i), max(int(length), 1), 10, "chat", "gateway-a")
        for hour in range(n_hours)
        for i, length in enumerate(rng.lognormal(6 + drift * rng.standard_normal(), 0.8, per_hour))
    ]


@settings(max_examples=60)
@given(rows.filter(len), st.sampled_from(["prompt_tokens", "output_tokens"]))
def test_fractions_are_exact_at_the_upper_edges(requests: list[Row], quantity: Quantity) -> None:
    cdf = length_cdf(length_histogram(requests_frame(requests)), quantity)
    exact = np.array([row[1 if quantity == "prompt_tokens" else 2] for row in requests])
    assert (np.diff(cdf.tokens) > 0).all()
    assert cdf.fraction.tolist() == pytest.approx([np.mean(exact <= t) for t in cdf.tokens])
    assert cdf.fraction[-1] == 1
    assert cdf.n_requests == len(requests)


@settings(max_examples=60)
@given(rows.filter(len))
def test_fractions_of_the_total_are_within_a_bin(requests: list[Row]) -> None:
    cdf = length_cdf(length_histogram(requests_frame(requests)), "total_tokens")
    exact = np.array([prompt + output for _, prompt, output, _, _ in requests])
    for tokens, fraction in zip(cdf.tokens, cdf.fraction, strict=True):
        assert np.mean(exact <= tokens * (1 - 1 / 32) - 1) - 1e-12 <= fraction
        assert fraction <= np.mean(exact <= tokens * (1 + 1 / 32) + 1) + 1e-12


@settings(max_examples=40)
@given(rows.filter(len), st.floats(0.5, 0.99))
def test_band_holds_the_cdf_and_rises(requests: list[Row], confidence: float) -> None:
    cdf = length_cdf(length_histogram(requests_frame(requests)), "prompt_tokens", confidence=confidence)
    assert (cdf.fraction_lower <= cdf.fraction).all()
    assert (cdf.fraction <= cdf.fraction_upper).all()
    for edge in (cdf.fraction_lower, cdf.fraction_upper):
        assert (np.diff(edge) >= 0).all()
        assert edge.min() >= 0
        assert edge.max() <= 1


def test_few_hours_give_sampling_error_alone_and_say_so() -> None:
    cdf = length_cdf(length_histogram(requests_frame(hours_of_requests(11, 50, 0.5, 1))), "prompt_tokens")
    assert cdf.band_method == "sampling error only: 11 hour blocks are too few to see drift"
    assert cdf.fraction - cdf.fraction_lower == pytest.approx(np.minimum(cdf.fraction, dkw_half_width(550)), abs=1e-12)


def test_drift_widens_the_band_and_its_absence_does_not() -> None:
    def widest(drift: float) -> tuple[float, LengthCdf]:
        requests = requests_frame(hours_of_requests(48, 400, drift, 2))
        cdf = length_cdf(length_histogram(requests), "prompt_tokens")
        return float((cdf.fraction_upper - cdf.fraction_lower).max() / 2), cdf

    sampling = dkw_half_width(48 * 400)
    half_width, cdf = widest(0.5)
    assert half_width > 4 * sampling
    assert "48 hour blocks" in cdf.band_method
    assert widest(0.0)[0] < 1.5 * sampling


def test_drift_half_width_against_a_plain_bootstrap_loop() -> None:
    requests = hours_of_requests(14, 30, 0.4, 5)
    cdf = length_cdf(length_histogram(requests_frame(requests)), "prompt_tokens", seed=3)
    by_hour = [
        np.array([r[1] for r in requests if r[0] - EPOCH == timedelta(hours=h) + (r[0] - EPOCH) % timedelta(hours=1)])
        for h in range(14)
    ]
    n, blocks = len(requests), len(by_hour)
    influence = np.array(
        [[((x <= t).sum() - len(x) * f) / n for t, f in zip(cdf.tokens, cdf.fraction, strict=True)] for x in by_hour]
    )
    ratios = []
    for signs in np.random.default_rng(3).choice([-1.0, 1.0], size=(1999, blocks)):
        draw = signs[:, None] * influence
        error = np.sqrt(blocks / (blocks - 1) * ((draw - draw.mean(axis=0)) ** 2).sum(axis=0))
        ratios.append(np.max(np.abs(draw.sum(axis=0))[error > 1e-12] / error[error > 1e-12]))
    critical = np.quantile(ratios, 0.95, method="higher")
    error = np.sqrt(blocks / (blocks - 1) * (influence**2).sum(axis=0))
    half_width = np.maximum(dkw_half_width(n), critical * error)
    lower = np.maximum.accumulate(np.clip(cdf.fraction - half_width, 0, 1))
    assert cdf.fraction_lower == pytest.approx(lower, abs=1e-4)  # the critical value is rounded to 6 digits of z


def test_same_rows_in_any_order_and_same_seed_give_the_same_band() -> None:
    histogram = length_histogram(requests_frame(hours_of_requests(24, 40, 0.3, 4)))
    one = length_cdf(histogram, "total_tokens", seed=1)
    other = length_cdf(histogram.sample(fraction=1, shuffle=True, seed=0), "total_tokens", seed=1)
    for name in ("tokens", "fraction", "fraction_lower", "fraction_upper"):
        assert (getattr(one, name) == getattr(other, name)).all()
        with pytest.raises(ValueError, match="read-only"):
            getattr(one, name)[0] = 0


@settings(max_examples=60)
@given(rows.filter(len), st.floats(0.001, 1))
def test_quantiles_agree_with_sorted_lengths(requests: list[Row], fraction: float) -> None:
    cdf = length_cdf(length_histogram(requests_frame(requests)), "prompt_tokens")
    band = cdf.quantile(fraction)
    ordered = sorted(row[1] for row in requests)
    exact = ordered[int(np.ceil(fraction * len(ordered) - 1e-9)) - 1]
    assert exact <= band.tokens <= exact * (1 + 1 / 32)
    assert band.lower <= band.tokens
    assert band.upper is None or band.upper >= band.tokens


def test_a_high_quantile_of_few_requests_has_no_upper_end() -> None:
    cdf = length_cdf(length_histogram(requests_frame(hours_of_requests(2, 50, 0.0, 1))), "prompt_tokens")
    assert cdf.quantile(0.99).upper is None
    assert cdf.quantile(0.5).upper is not None
    for fraction in (0.0, 1.1, float("nan")):
        with pytest.raises(ValueError, match="fraction"):
            cdf.quantile(fraction)


def test_no_rows_are_an_error() -> None:
    with pytest.raises(InputError, match="no requests"):
        length_cdf(length_histogram(requests_frame([])), "prompt_tokens")


def test_upper_lengths_follow_the_lower_edge_of_the_band() -> None:
    histogram = length_histogram(requests_frame(hours_of_requests(36, 200, 0.3, 6)))
    lengths, cdf = lengths_from_histogram(histogram, {}), length_cdf(histogram, "total_tokens")
    upper = upper_lengths(lengths, cdf)
    assert upper.weight.sum() == pytest.approx(lengths.weight.sum())
    step = lengths.weight.max() / lengths.weight.sum()
    for tokens, lowered in zip(cdf.tokens[:-1], cdf.fraction_lower[:-1], strict=True):
        assert upper.fraction_at_most(tokens) == pytest.approx(lowered, abs=5 * step)
        assert upper.fraction_at_most(tokens) <= lengths.fraction_at_most(tokens) + 1e-12
