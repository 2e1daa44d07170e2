"""`fleetopt.plan`: a workload in any form, light to import; and the published model beside its answer."""

import doctest
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import fleetopt
from fleetopt.errors import InputError
from fleetopt.planner import ask
from fleetopt.planner.published import published_baseline, published_predictions
from fleetopt.profiles import load_profile
from fleetopt.workload.lengths import lengths_from_cdf
from fleetopt.workload.reference import load_reference
from fleetopt.workload.trace import make_trace

A100 = "a100-llama2-7b"


def test_the_example_runs():
    assert doctest.testmod(ask).failed == 0


def test_importing_the_package_imports_no_planner():
    code = "import sys, fleetopt; print([name for name in ('numba', 'numpy', 'polars') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'plans'"):
        fleetopt.plans  # noqa: B018


def test_a_workload_has_several_forms():
    points = load_reference("azure").points
    asked = {"rate_rps": 20.0, "profiles": [A100], "max_pools": 1}
    by_name = fleetopt.plan("azure", 1.5, **asked)
    by_points = fleetopt.plan(points, fleetopt.Slo(ttft_p99_s=1.5), **asked)
    by_lengths = fleetopt.plan(lengths_from_cdf(points), 1.5, max_context_tokens=65536, **asked)
    assert by_name.plan == by_points.plan == by_lengths.plan
    offer = fleetopt.Offer(profile=load_profile(A100), max_gpus=2)
    none = fleetopt.plan("azure", 1.5, rate_rps=20.0, profiles=[offer])
    assert none.plan is None
    assert none.result.infeasibility
    trace = make_trace(np.arange(3.0), np.array([10, 500, 900]), np.array([5, 5, 5]))
    assert fleetopt.plan(trace, 1.5, **asked).problem.max_context_tokens == 905
    with pytest.raises(InputError, match="nowhere"):
        fleetopt.plan("nowhere", 1.5, **asked)


def test_the_published_model_is_told_to_oversell():
    """Its Azure fleet is 50 GPUs at gamma 2 (arXiv 2603.16514, Table 3); the short pool cannot carry its load."""
    points = load_reference("azure").points
    asked = ask.ask(
        "azure",
        fleetopt.Slo(ttft_p99_s=0.5),
        rate_rps=1000.0,
        offers=(fleetopt.Offer(profile=load_profile("fleetopt-a100")),),
        output_fraction=0.2,
        compressible_fraction=1.0,
        max_context_tokens=None,
        spare_replicas=0,
        max_gamma=2.0,
    )
    found = published_baseline(asked.problem, points)
    assert found is not None
    assert (found.plan.boundary_tokens, found.plan.gamma, found.plan.gpus) == (4096, 2.0, 50)
    assert found.usd_per_hour == pytest.approx(50 * 2.21)
    assert math.isinf(found.sound_ttft_p99_s[0])
    assert found.sound_ttft_p99_s[1] < 0.5


def test_the_published_model_of_our_fleets():
    found = fleetopt.plan("azure", 1.5, rate_rps=100.0, profiles=[A100])
    assert found.published_predictions.keys() == {pool.name for pool in found.plan.pools}
    assert min(each.slot_utilization for each in found.published_predictions.values()) > 0
    pools = (*found.plan.pools, found.plan.pools[-1])
    assert published_predictions(replace(found.plan, pools=pools), found.problem) == {}
