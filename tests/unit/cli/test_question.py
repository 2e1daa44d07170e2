"""The options of a question: how they are written, what they mean, and one line where they are wrong."""

import json
import math

import numpy as np
import polars as pl
import pytest

from fleetopt.cli.question import Question, ask_question, by_name, unplanned_bursts
from fleetopt.cli.whatif import parse_sweep
from fleetopt.errors import InputError
from tests.unit.cli.runs import run

A100 = "a100-llama2-7b"


def question(**changed: object) -> Question:
    given = {"cdf": "azure", "rate": 10.0, "slo_ttft_p99": ["2.0"], "profile": [A100], **changed}
    return Question(**given)


def test_every_constraint_reaches_the_problem():
    asked = ask_question(
        question(
            slo_ttft_p99=["2.0", "short=1.0"],
            slo_tpot_p99=0.1,
            max_utilization=0.7,
            spare_replicas=1,
            availability=["0.99"],
            price=[f"{A100}=3.0"],
            committed=[f"{A100}=16:1.5"],
            max_gpus=[f"{A100}=64"],
            gpus_per_node=["8"],
            min_replicas=2,
            max_pools=3,
            boundary=[4096, 1024, 4096],
            max_gamma=1.4,
            gamma_step=0.2,
            usd_per_compressed_request=1e-6,
            slots="worst-case",
            kv_overflow=0.001,
        )
    )
    problem = asked.problem
    assert (problem.slo.ttft_p99_s, dict(problem.slo.pool_ttft_p99_s), problem.slo.tpot_p99_s) == (
        2.0,
        {"short": 1.0},
        0.1,
    )
    (offer,) = problem.offers
    assert (offer.profile.usd_per_gpu_hour, offer.max_gpus, offer.gpus_per_node) == (3.0, 64, 8)
    assert (offer.committed_gpus, offer.committed_usd_per_gpu_hour, offer.availability) == (16, 1.5, 0.99)
    assert (problem.max_utilization, problem.spare_replicas, problem.min_replicas, problem.max_pools) == (0.7, 1, 2, 3)
    assert problem.boundaries_tokens == (1024, 4096)
    assert problem.gammas == (1.0, 1.2, 1.4)
    assert (problem.slot_mode, problem.kv_overflow_probability) == ("worst-case", 0.001)
    assert problem.usd_per_compressed_request == 1e-6


def test_breakpoints_of_a_cdf_are_the_candidates_and_a_context_limit_refuses_the_rest():
    asked = ask_question(question())
    assert asked.cdf is not None
    assert asked.problem.boundaries_tokens == tuple(int(tokens) for tokens, _ in asked.cdf[:-1])
    assert asked.rejected_fraction == 0
    cut = ask_question(question(max_context=2048))
    assert 0 < cut.rejected_fraction < 1
    assert cut.problem.arrival_rate_rps == pytest.approx(10.0 * (1 - cut.rejected_fraction))
    assert max(cut.problem.boundaries_tokens or ()) < 2048
    assert math.isinf(cut.problem.slo.tpot_p99_s)


def test_every_length_of_a_trace_is_a_candidate(tmp_path):
    path = tmp_path / "requests.parquet"
    frame = {"arrival_s": np.arange(4.0), "prompt_tokens": [10, 20, 30, 40], "output_tokens": [1, 1, 1, 1]}
    pl.DataFrame(frame).write_parquet(path)
    asked = ask_question(question(cdf=str(path), compressible_fraction=0.5))
    assert (asked.cdf, asked.problem.boundaries_tokens, asked.problem.max_context_tokens) == (None, None, 41)
    assert asked.problem.lengths.compressible_fraction.tolist() == [0.5] * 4


def test_bursts_are_planned_for_where_asked_and_pointed_at_elsewhere(tmp_path):
    path = tmp_path / "requests.parquet"
    arrival_s = np.repeat(np.arange(500.0), 8)  # a clock of eight at once, at 20 requests/s one each 0.4 s
    frame = {"arrival_s": arrival_s, "prompt_tokens": np.full(4000, 500), "output_tokens": np.full(4000, 20)}
    arrival_s[2000:] += 2000.0
    pl.DataFrame(frame).write_parquet(path)
    plain, bursty = (ask_question(question(cdf=str(path), rate=20.0, burstiness=each)) for each in ("poisson", "trace"))
    assert plain.problem.arrivals is None
    assert bursty.problem.arrivals.gaps[:9].tolist() == pytest.approx(
        [0.0] * 7 + [bursty.problem.arrivals.gaps[7], 0.0]
    )
    index = plain.index_of_dispersion_10s
    assert index == bursty.index_of_dispersion_10s > 2
    assert f"vary {index:.3g} times as much" in unplanned_bursts(plain)
    assert unplanned_bursts(bursty) == unplanned_bursts(ask_question(question())) == ""
    with pytest.raises(InputError, match="--burstiness trace: --cdf azure has no arrival times"):
        ask_question(question(burstiness="trace"))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"rate": -1.0}, "--rate -1"),
        ({"rate": math.nan}, "--rate nan"),
        ({"slo_ttft_p99": ["short=1"]}, "--slo-ttft-p99: is missing for all pools"),
        ({"slo_ttft_p99": ["2", "fast=1"]}, "--slo-ttft-p99: target for pool 'fast'"),
        ({"slo_ttft_p99": ["0"]}, "--slo-ttft-p99 0"),
        ({"slo_ttft_p99": ["two"]}, "'two' is not a number"),
        ({"slo_tpot_p99": 0.0}, "--slo-tpot-p99 0"),
        ({"price": ["3.0"]}, f"--price 3: of which profile? Write for example {A100}=3"),
        ({"price": ["h100=3.0"]}, "--price h100=3.0: no profile 'h100'"),
        ({"committed": [f"{A100}=16"]}, f"--committed {A100}=16: write PROFILE=GPUS:USD"),
        ({"committed": [f"{A100}=16:9.0"]}, "committed price of 9"),
        ({"committed": [f"{A100}=1.5:1.0"]}, "'1.5' is not a whole number"),
        ({"max_gpus": [f"{A100}=-4"]}, "finite and not negative"),
        ({"availability": ["0"]}, "--availability 0"),
        ({"availability": [f"{A100}=1.5"]}, "--availability 1.5"),
        ({"gpus_per_node": ["0"]}, "--gpus-per-node 0"),
        ({"max_pools": 4}, "--max-pools 4"),
        ({"boundary": [0]}, "--boundary 0"),
        ({"gamma_step": 0.0}, "--gamma-step 0"),
        ({"kv_overflow": 1.0}, "--kv-overflow 1"),
        ({"profile": [A100, "b200"]}, "b200"),
        ({"cdf": "nowhere.json"}, "nowhere.json"),
        ({"max_context": 2}, "every request is longer"),
    ],
)
def test_a_wrong_value_is_one_line(tmp_path, changed, expected):
    if changed == {"max_context": 2}:
        path = tmp_path / "cdf.json"
        path.write_text(json.dumps([[100, 0.0], [200, 1.0]]))
        changed = {"max_context": 2, "cdf": str(path)}
    with pytest.raises(InputError) as caught:
        ask_question(question(**changed))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_profiles_without_a_price_cannot_be_compared(tmp_path):
    free = tmp_path / "free.toml"
    keys = "base_s = 0.01\nper_sequence_s = 0\nper_context_token_s = 0\nper_prefill_token_s = 1e-4\n"
    keys += "per_prefill_attention_s = 0\nkv_blocks = 9999\nblock_tokens = 16\nmax_sequences = 8\n"
    free.write_text(f'name = "free"\n{keys}max_batched_tokens = 512\n')
    with pytest.raises(InputError, match="--profile free: has no price; give --price free=USD"):
        ask_question(question(profile=[A100, str(free)]))
    asked = ask_question(question(profile=[A100, str(free)], price=["free=1.0"]))
    assert [offer.profile.usd_per_gpu_hour for offer in asked.problem.offers] == [2.21, 1.0]


def test_values_for_everything_and_by_name():
    assert by_name("--x", ["8", "a=4", "b=2"], int) == (8, {"a": 4, "b": 2})
    assert by_name("--x", [], float) == (None, {})


def test_a_sweep_is_even_on_the_axis_that_it_is_drawn_on():
    assert parse_sweep("rate=20:2000:3").values == (20.0, 200.0, 2000.0)
    prices = parse_sweep("price:h100-llama3.1-8b=1:6:6")
    assert (prices.quantity, prices.profile, prices.values) == ("price", "h100-llama3.1-8b", (1, 2, 3, 4, 5, 6))
    assert parse_sweep("gpu").values == ()


@pytest.mark.parametrize(
    "text", ["", "speed=1:2:3", "rate=1:2", "rate=2:1:3", "rate=0:1:3", "rate=1:2:1", "rate=1:2:x", "price=1:2:3"]
)
def test_a_wrong_sweep_is_one_line(text):
    with pytest.raises(InputError, match="--sweep"):
        parse_sweep(text)


def test_help_is_grouped():
    for command in ("plan", "whatif"):
        text = run(command, "--help").output
        heads = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
        assert heads == ["Workload:", "Targets:", "GPUs and prices:", "What may be built:", "Options:"]
        assert max(map(len, text.splitlines())) <= 80
