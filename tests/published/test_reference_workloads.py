"""The shipped CDFs against arXiv 2603.16514, Table 2; tolerance half a unit of the last printed digit."""

import numpy as np
import pytest

from fleetopt.planner.mixture import split
from fleetopt.workload.lengths import lengths_from_cdf, sample
from fleetopt.workload.reference import load_reference

HALF_A_DIGIT = 0.0005


@pytest.mark.parametrize(
    ("name", "boundary_tokens", "alpha", "beta"),
    [("azure", 4096, 0.898, 0.078), ("lmsys", 1536, 0.909, 0.046), ("agent-heavy", 8192, 0.740, 0.112)],
)
def test_table_2(name: str, boundary_tokens: int, alpha: float, beta: float) -> None:
    """Shares below the boundary and in the band, and that the planner routes just these when all is compressible."""
    lengths = lengths_from_cdf(load_reference(name).points)
    below, up_to_band = (lengths.fraction_at_most(tokens) for tokens in (boundary_tokens, 1.5 * boundary_tokens))
    assert below == pytest.approx(alpha, abs=HALF_A_DIGIT)
    assert up_to_band - below == pytest.approx(beta, abs=HALF_A_DIGIT)
    short, long = split(lengths, (boundary_tokens,), 1.5)
    assert short.requests / (short.requests + long.requests) == pytest.approx(alpha + beta, abs=2 * HALF_A_DIGIT)
    # Borderline traffic is 43 to 76 % of the traffic above the threshold.
    assert 0.425 <= (up_to_band - below) / (1 - below) <= 0.765


@pytest.mark.parametrize(
    ("name", "mean", "p90", "p99"), [("azure", 1588, 4242, 7445), ("agent-heavy", 6511, 16_384, 32_768)]
)
def test_moments_of_section_4(name: str, mean: float, p90: float, p99: float) -> None:
    """The paper's statistics are of the raw data; the 18 breakpoints blur them by at most the bin they lie in."""
    reference = load_reference(name)
    prompt, output, _ = sample(lengths_from_cdf(reference.points), 50_000, np.random.default_rng(1))
    total = prompt + output
    edges = np.array([1.0] + [tokens for tokens, _ in reference.points])
    fractions = np.array([0.0] + [fraction for _, fraction in reference.points])
    lowest, highest = (np.diff(fractions) @ side for side in (edges[:-1], edges[1:]))
    assert lowest < mean < highest
    assert lowest < total.mean() < highest
    for quantile, published in ((0.9, p90), (0.99, p99)):
        position = np.searchsorted(edges, published)
        assert edges[position - 1] <= np.quantile(total, quantile) <= edges[min(position + 1, len(edges) - 1)]
