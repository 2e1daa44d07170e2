import pytest

from tests.reference.agreement import Run, run_kernel, run_reference


@pytest.fixture(params=[run_kernel, run_reference], ids=["kernel", "reference"])
def run(request: pytest.FixtureRequest) -> Run:
    return request.param  # type: ignore[no-any-return]
