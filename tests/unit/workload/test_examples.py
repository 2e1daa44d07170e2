import doctest

import pytest

from fleetopt.workload import arrivals, cdf, histogram


@pytest.mark.parametrize("module", [arrivals, cdf, histogram], ids=lambda module: module.__name__)
def test_examples_in_docstrings(module) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0
    assert outcome.failed == 0
