"""Profiles out of the measured database: what is made of its answer, and, with the package there, the answer itself."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fleetopt.errors import InputError
from fleetopt.profiles import load_profile_file
from fleetopt.profiles.imported import import_profile
from fleetopt.profiles.iterations import COLUMNS, Iterations
from fleetopt.profiles.silicon import Silicon, Target, grid, read_silicon

ROWS = Path(__file__).with_name("h100-llama3.1-8b.csv")
TARGET = Target(model="meta-llama/Meta-Llama-3.1-8B", gpu="h100")


def answer(**changes) -> Silicon:
    known = {
        "iterations": Iterations.from_frame(pl.read_csv(ROWS), ROWS.name),
        "measured_share": 0.94,
        "communication_share": 0.0,
        "kv_blocks": 26_779,
        "system": "h100_sxm",
        "backend_version": "0.24.0",
        "package_version": "0.12.0",
        "dtype": "weights bfloat16",
        "has_experts": False,
        "context_limit_tokens": 131_072,
        "memory_note": "per GPU 80.0 GiB",
    }
    return Silicon(**(known | changes))


def imported(silicon: Silicon, price: float | None = None, from_tokens: int | None = None):
    return import_profile(TARGET, silicon, name="mine", usd_per_gpu_hour=price, from_tokens=from_tokens)


def test_every_figure_has_its_source():
    profile, evidence = imported(answer())
    assert (profile.name, profile.kv_tokens, profile.max_context_tokens) == ("mine", 428_464, 131_072)
    assert profile.caveat == ""
    for part in ("aiconfigurator-core 0.12.0", "h100_sxm", "vllm 0.24.0", "Meta-Llama-3.1-8B", "weights bfloat16"):
        assert part in evidence.sources.timing
        assert part in profile.source
    assert "94% of their time is timed kernels" in evidence.sources.timing
    assert "80.0 GiB" in evidence.sources.kv
    assert "the model's own limit" in evidence.sources.limits
    assert evidence.basis == "measured"


def test_a_small_cache_limits_the_context():
    profile, evidence = imported(answer(kv_blocks=1000))
    assert profile.max_context_tokens == profile.kv_tokens == 16_000
    assert "the whole KV cache" in evidence.sources.limits


def test_prices_are_those_given_or_published_and_never_invented():
    assert imported(answer()).profile.usd_per_gpu_hour == 4.02
    assert "2603.16514" in imported(answer()).evidence.sources.price
    assert imported(answer(), price=1.5).profile.usd_per_gpu_hour == 1.5
    unknown = imported(answer(system="h200_sxm"))
    assert unknown.profile.usd_per_gpu_hour == 0
    assert "--usd-per-gpu-hour" in unknown.evidence.sources.price


def test_a_mixture_of_experts_is_fitted_to_batches_and_says_so():
    rows = answer().iterations
    # As experts do: short iterations are far shorter than the line through the long ones.
    few = np.where(rows.tokens < 32, rows.iteration_s / 3, rows.iteration_s)
    of_experts = Iterations(**{name: getattr(rows, name) for name in COLUMNS if name != "iteration_s"}, iteration_s=few)
    profile, evidence = imported(answer(iterations=of_experts, has_experts=True))
    assert evidence.fit.from_tokens == 32
    below = evidence.fit.below
    assert below.mean_error > 1.5
    assert f"fewer than 32 tokens, which the fit leaves out, are off by {below.mean_error:.0%}" in profile.caveat
    assert f"{below.samples} below 32 tokens left out" in evidence.sources.timing
    dense = imported(answer(iterations=of_experts), from_tokens=1)
    assert dense.evidence.fit.mean_error > evidence.fit.mean_error
    assert "decode iterations are off by" in dense.profile.caveat


def test_a_node_that_waits_for_its_links_says_so():
    assert "communication between the GPUs is 86%" in imported(answer(communication_share=0.86)).profile.caveat


@pytest.mark.parametrize(("budget", "sequences", "kv_tokens"), [(2048, 256, 428_464), (512, 64, 20_000), (16, 1, 4096)])
def test_the_grid_stays_within_the_limits(budget, sequences, kv_tokens):
    target = Target(model="m", gpu="g", max_batched_tokens=budget, max_sequences=sequences)
    points = list(grid(target, kv_tokens))
    assert len(set(points)) == len(points)
    assert {(n > 0, k > 0) for n, _, k, _ in points} == {(True, False), (False, True), (True, True)}
    for n, context, chunk, before in points:
        assert n <= sequences
        assert n + chunk <= budget or chunk == 0
        assert n * context + before + chunk <= kv_tokens


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "aiconfigurator_core", None)
    with pytest.raises(InputError, match=r"pip install 'fleetopt\[profiles\]'"):
        read_silicon(TARGET)


@pytest.fixture(scope="module")
def package():
    """The extra; what needs it is skipped only where it is not installed."""
    return pytest.importorskip("aiconfigurator_core")


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("name", ["h100-llama3.1-8b", "a100-llama3.1-70b-tp4", "h100-qwen3-30b-a3b"])
def test_the_shipped_files_are_what_the_database_gives(name):
    shipped = load_profile_file(name)
    target = Target(
        model=shipped.evidence.model,
        gpu=name.split("-")[0],
        tensor_parallel=shipped.profile.gpus_per_replica,
    )
    again = import_profile(target, read_silicon(target), name=name, usd_per_gpu_hour=None, from_tokens=None)
    assert again == shipped


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model": "meta-llama/Meta-Llama-3.1-9B"}, "near it: meta-llama/Meta-Llama-3.1-8B"),
        ({"gpu": "h900"}, "the database has a100_sxm"),
        ({"model": "meta-llama/Meta-Llama-3.1-70B"}, "no KV budget"),
        ({"memory_fraction": 0.235}, "tokens of KV, less than the 2,048 of one iteration"),
        ({"tensor_parallel": 3}, "divisible by tp_size 3"),
        ({"gpu": "b60", "backend": "trtllm"}, "on b60 the database has vllm"),
    ],
)
def test_what_the_database_does_not_have_is_one_line(changes, expected):
    known = {"model": TARGET.model, "gpu": TARGET.gpu}
    with pytest.raises(InputError) as caught:
        read_silicon(Target(**(known | changes)))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
