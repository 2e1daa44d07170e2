"""What each pool gets: against the simulator's own routing, request by request."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetopt.planner.mixture import split
from fleetopt.profiles import load_profile
from fleetopt.simulator import Fleet, Pool, route
from fleetopt.workload.lengths import lengths_from_trace, make_lengths
from fleetopt.workload.trace import make_trace

PROFILE = load_profile("a100-llama2-7b")
lengths = st.tuples(st.integers(1, 900), st.integers(1, 300), st.booleans())


@settings(deadline=None)  # the first call compiles
@given(
    requests=st.lists(lengths, min_size=1, max_size=60),
    boundaries=st.lists(st.integers(2, 1000), min_size=1, max_size=2, unique=True).map(sorted),
    gamma=st.sampled_from([1.0, 1.3, 1.4, 2.0]),
)
def test_pools_get_what_the_simulator_routes_to_them(requests, boundaries, gamma):
    prompt, output, is_compressible = (np.array(column) for column in zip(*requests, strict=True))
    trace = make_trace(np.arange(len(requests)), prompt, output, is_compressible)
    fleet = Fleet(
        pools=tuple(Pool(f"pool {limit}", PROFILE, 1, limit) for limit in (*boundaries, 2000)),
        router="compress-and-route",
        boundaries_tokens=tuple(boundaries),
        gamma=gamma,
    )
    routing = route(trace, fleet)
    for pool, mixture in enumerate(split(lengths_from_trace(trace), boundaries, gamma)):
        is_here = routing.pool == pool
        assert mixture.requests == pytest.approx(is_here.sum(), abs=1e-9)
        assert mixture.weight @ mixture.prompt_tokens == pytest.approx(routing.prompt_tokens[is_here].sum(), abs=1e-6)
        assert mixture.weight @ mixture.output_tokens == pytest.approx(output[is_here].sum(), abs=1e-6)


def test_a_band_ends_on_a_whole_token_whatever_floating_point_makes_of_it():
    # 1.4 x 45 is 62.99999999999999; the simulator compresses a request of 63 tokens.
    lengths = make_lengths(np.array([20.0, 50.0, 51.0]), np.array([13.0, 13.0, 13.0]), np.ones(3), 1.0)
    short, long = split(lengths, (45,), 1.4)
    assert list(short.prompt_tokens) == [20, 32]
    assert list(long.prompt_tokens) == [51]


def test_without_a_boundary_one_pool_gets_all():
    trace = make_trace(np.arange(3), np.array([5, 50, 500]), np.array([1, 2, 3]))
    (mixture,) = split(lengths_from_trace(trace), (), 1.0)
    assert mixture.requests == 3
    assert mixture.weight @ mixture.prompt_tokens == 555
