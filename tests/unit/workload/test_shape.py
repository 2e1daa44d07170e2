import numpy as np
import pytest

from fleetopt.workload.lengths import make_lengths
from fleetopt.workload.shape import archetype_shape


@pytest.mark.parametrize(
    ("below", "in_band", "shape"),
    [(92, 5, "I"), (90, 5, "I"), (89, 5, "II"), (50, 30, "II"), (49, 2, "III"), (0, 0, "III")],
)
def test_shape_by_the_share_below_the_boundary(below: int, in_band: int, shape: str) -> None:
    total = np.repeat([1000.0, 1001.0, 1501.0], [below, in_band, 100 - below - in_band])
    lengths = make_lengths(total - 100, np.full(100, 100.0), np.ones(100), 1.0)
    result = archetype_shape(lengths, 1000)
    assert result.shape == shape
    assert result.below_fraction == pytest.approx(below / 100)
    assert result.band_fraction == pytest.approx(in_band / 100)
