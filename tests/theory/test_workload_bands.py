"""Coverage of the confidence bands on simulated traffic whose distribution is known."""

from datetime import date

import numpy as np
import polars as pl
import pytest
from scipy import stats

from fleetopt.workload.arrivals import Peak, upper_peak_rate
from fleetopt.workload.cdf import LengthCdf, dkw_half_width, length_cdf
from fleetopt.workload.histogram import bin_lower_edge

N_DATA_SETS = 200
# Fewest of 200 bands that hold the truth, if each does with a chance of 95 %: exceeded with a chance of 99.9 %.
FEWEST = int(stats.binom.ppf(0.001, N_DATA_SETS, 0.95))


def histogram_of_hours(prompt_tokens: np.ndarray) -> pl.DataFrame:
    """Length histogram of int64[hours, requests] prompts; outputs are 1 token."""
    hour = np.repeat(np.arange(len(prompt_tokens)), prompt_tokens.shape[1])
    frame = pl.DataFrame(
        {"hour": hour, "prompt_tokens_lo": bin_lower_edge(prompt_tokens.ravel()), "p": prompt_tokens.ravel()}
    )
    return (
        frame.group_by("hour", "prompt_tokens_lo")
        .agg(requests=pl.len().cast(pl.Int64), prompt_tokens_sum=pl.col("p").sum())
        .with_columns(
            day=pl.lit(date(2026, 3, 1)) + pl.duration(days=pl.col("hour") // 24),
            hour=(pl.col("hour") % 24).cast(pl.Int32),
            output_tokens_lo=pl.lit(1, pl.Int64),
            output_tokens_sum=pl.col("requests"),
        )
    )


def bands(n_hours: int, per_hour: int, drift: float, seed: int) -> list[tuple[LengthCdf, np.ndarray]]:
    """Bands of independent data sets, each with the true CDF at its lengths.

    The log length is normal around an hour's own mean, which is normal as well, so over all hours it is normal with
    the sum of the variances. Rounding up keeps the CDF at whole tokens.
    """
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(N_DATA_SETS):
        mean = 6 + drift * rng.standard_normal((n_hours, 1))
        length = np.exp(mean + 0.8 * rng.standard_normal((n_hours, per_hour)))
        cdf = length_cdf(histogram_of_hours(np.ceil(length).astype(np.int64)), "prompt_tokens", seed=seed)
        result.append((cdf, stats.norm.cdf((np.log(cdf.tokens) - 6) / np.hypot(0.8, drift))))
    return result


def n_covered(results: list[tuple[LengthCdf, np.ndarray]]) -> int:
    return sum(bool(((cdf.fraction_lower <= truth) & (truth <= cdf.fraction_upper)).all()) for cdf, truth in results)


def test_dkw_constant_is_the_limit_of_kolmogorov() -> None:
    n = 10_000
    assert dkw_half_width(n) * np.sqrt(n) == pytest.approx(stats.kstwobign.ppf(0.95), rel=1e-3)
    assert dkw_half_width(n) >= stats.kstwo.ppf(0.95, n)


def test_sampling_band_covers_independent_requests() -> None:
    assert n_covered(bands(n_hours=4, per_hour=150, drift=0.0, seed=11)) >= FEWEST


@pytest.mark.parametrize(("n_hours", "per_hour", "drift"), [(12, 200, 0.2), (48, 150, 0.3)])
def test_only_the_combined_band_covers_hours_that_drift(n_hours: int, per_hour: int, drift: float) -> None:
    results = bands(n_hours, per_hour, drift, seed=12)
    assert n_covered(results) >= FEWEST
    sampling = sum(
        bool((np.abs(cdf.fraction - truth) <= dkw_half_width(cdf.n_requests)).all()) for cdf, truth in results
    )
    assert sampling < 0.6 * N_DATA_SETS


def test_combined_band_of_drifting_hours_is_not_far_too_wide() -> None:
    """A band that always covered would say nothing: it must stay within twice the scatter of the CDF itself."""
    results = bands(n_hours=48, per_hour=150, drift=0.3, seed=13)
    largest_miss = np.quantile([np.abs(cdf.fraction - truth).max() for cdf, truth in results], 0.95)
    width = np.median([(cdf.fraction - cdf.fraction_lower).max() for cdf, _ in results])
    assert largest_miss < 1.5 * width
    assert width < 2 * largest_miss


@pytest.mark.parametrize("mean", [3.0, 40.0, 600.0])
def test_upper_rate_covers_the_rate_of_a_fixed_window(mean: float) -> None:
    n_trials = 4000
    counts = np.random.default_rng(14).poisson(mean, n_trials)
    bounds = {
        count: upper_peak_rate(Peak(rate_rps=count / 60, start_second=0, requests=count, window_s=60))
        for count in set(counts.tolist())
    }
    covered = sum(bounds[count] >= mean / 60 for count in counts.tolist())
    assert covered >= stats.binom.ppf(0.001, n_trials, 0.95)
