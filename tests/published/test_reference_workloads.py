"""The shipped CDFs against arXiv 2603.16514, Table 2; tolerance half a unit of the last printed digit."""

import numpy as np
import pytest

from fleetopt.workload.lengths import lengths_from_cdf, make_lengths, sample
from fleetopt.workload.reference import load_reference
from fleetopt.workload.shape import archetype_shape

HALF_A_DIGIT = 0.0005


@pytest.mark.parametrize(
    ("name", "boundary_tokens", "alpha", "beta", "archetypes"),
    [
        ("azure", 4096, 0.898, 0.078, {"I", "II"}),
        ("lmsys", 1536, 0.909, 0.046, {"I", "II"}),
        ("agent-heavy", 8192, 0.740, 0.112, {"II"}),
    ],
)
def test_table_2(name: str, boundary_tokens: int, alpha: float, beta: float, archetypes: set[str]) -> None:
    lengths = lengths_from_cdf(load_reference(name).points)
    result = archetype_shape(lengths, boundary_tokens, gamma=1.5)
    assert result.below_fraction == pytest.approx(alpha, abs=HALF_A_DIGIT)
    assert result.band_fraction == pytest.approx(beta, abs=HALF_A_DIGIT)
    assert result.shape in archetypes


@pytest.mark.parametrize(("name", "boundary_tokens"), [("azure", 4096), ("lmsys", 1536), ("agent-heavy", 8192)])
def test_borderline_share_of_long_requests(name: str, boundary_tokens: int) -> None:
    """Table 2: borderline traffic is 43 to 76 % of the traffic above the threshold."""
    result = archetype_shape(lengths_from_cdf(load_reference(name).points), boundary_tokens)
    assert 0.425 <= result.band_fraction / (1 - result.below_fraction) <= 0.765


def test_code_agents_are_concentrated_above() -> None:
    """The paper's example of archetype III: code agents of 10 to 50 thousand tokens, the band negligible."""
    total = np.geomspace(10_000, 50_000, 200)
    lengths = make_lengths(0.9 * total, 0.1 * total, np.ones(200), 0.0)
    result = archetype_shape(lengths, 4096)
    assert (result.shape, result.band_fraction) == ("III", 0.0)


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
