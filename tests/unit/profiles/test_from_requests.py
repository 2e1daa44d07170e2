"""Coefficients from requests with the times that they saw: known profiles come back out of the simulator."""

import numpy as np
import polars as pl
import pytest

from fleetopt.errors import InputError
from fleetopt.profiles import GpuProfile, load_profile
from fleetopt.profiles.from_requests import fit_requests, observed_from_frame
from fleetopt.profiles.iterations import COEFFICIENTS
from fleetopt.simulator import Fleet, Pool, simulate
from fleetopt.workload.trace import make_trace


def requests_of(profile: GpuProfile, rate_rps: float, n: int = 800, prompt_tokens: int | None = None) -> pl.DataFrame:
    """What requests saw on one simulated replica of a profile."""
    rng = np.random.default_rng(7)
    prompt = np.minimum(rng.lognormal(6.5, 1.1, n).astype(int) + 10, 12_000)
    if prompt_tokens is not None:
        prompt = np.full(n, prompt_tokens)
    output = np.minimum(rng.lognormal(4.8, 0.8, n).astype(int) + 1, 1500)
    trace = make_trace(np.cumsum(rng.exponential(1 / rate_rps, n)), prompt, output)
    result = simulate(trace, Fleet(pools=(Pool("all", profile, 1, profile.context_limit_tokens),), router="length"))
    return pl.DataFrame(
        {
            "arrival_s": trace.arrival_s,
            "prompt_tokens": prompt,
            "output_tokens": output,
            "ttft_s": result.first_token_s - trace.arrival_s,
            "e2e_s": result.finish_s - trace.arrival_s,
        }
    )


def like(start: GpuProfile, true: GpuProfile) -> GpuProfile:
    """The limits of one profile with the coefficients of another: limits are what the fit takes from its start."""
    keys = ("kv_blocks", "max_sequences", "max_batched_tokens", "max_chunk_tokens", "max_context_tokens")
    return true.model_copy(update={key: getattr(start, key) for key in keys})


@pytest.mark.parametrize(
    ("true_name", "start_name", "rate_rps", "within"),
    # A quiet replica tells everything; a busy one blurs what ran beside what. The bounds are those that the notes of
    # fit_requests state.
    [
        ("h100-llama3.1-8b", "a100-llama3.1-8b", 1.0, (0.01, 0.03, 0.01, 0.01, 0.03)),
        ("h100-llama3.1-8b", "a100-llama2-7b", 8.0, (0.02, 0.10, 0.02, 0.02, 0.10)),
        ("a100-llama2-7b", "h100-llama3.1-8b", 2.0, (0.02, 0.10, 0.02, 0.02, 0.10)),
    ],
)
def test_a_known_profile_comes_back(true_name, start_name, rate_rps, within):
    start = load_profile(start_name)
    true = like(start, load_profile(true_name))
    fit = fit_requests(observed_from_frame(requests_of(true, rate_rps), "requests"), start)
    assert fit.held == ()
    for name, allowed in zip(COEFFICIENTS, within, strict=True):
        assert getattr(fit.profile, name) == pytest.approx(getattr(true, name), rel=allowed), name
    assert fit.e2e_error < 0.005
    assert abs(fit.e2e_p99_error) < 0.02
    assert abs(fit.ttft_p99_error) < 0.05
    assert fit.profile.kv_blocks == start.kv_blocks


def test_prompts_of_one_length_leave_their_attention_open():
    true, start = load_profile("h100-llama3.1-8b"), load_profile("a100-llama3.1-8b")
    fit = fit_requests(observed_from_frame(requests_of(true, 4.0, prompt_tokens=600), "requests"), start)
    assert len(fit.held) >= 1
    assert set(fit.held) <= {"per_prefill_token_s", "per_prefill_attention_s"}
    for name in fit.held:
        assert getattr(fit.profile, name) == pytest.approx(getattr(start, name), rel=1e-3)
        assert name not in fit.standard_errors
    assert fit.profile.base_s == pytest.approx(true.base_s, rel=0.03)


def test_a_few_stalled_requests_do_not_bend_the_fit():
    true, start = load_profile("h100-llama3.1-8b"), load_profile("a100-llama3.1-8b")
    frame = requests_of(true, 1.0).with_row_index()
    stalled = frame.with_columns(e2e_s=pl.col("e2e_s") + pl.when(pl.col("index") % 40 == 0).then(5.0).otherwise(0.0))
    fit = fit_requests(observed_from_frame(stalled, "requests"), start)
    assert fit.profile.base_s == pytest.approx(true.base_s, rel=0.05)
    assert fit.profile.per_prefill_token_s == pytest.approx(true.per_prefill_token_s, rel=0.1)


def test_the_ratio_of_iterations_without_decode_is_that_of_the_start():
    start = load_profile("a100-llama2-7b-v0").model_copy(update={"max_batched_tokens": 2048, "max_chunk_tokens": 2048})
    fit = fit_requests(observed_from_frame(requests_of(start, 0.5), "requests"), start)
    assert fit.profile.prefill_only_base_s / fit.profile.base_s == pytest.approx(1.97 / 10.35, rel=1e-3)
    assert fit.profile.base_s == pytest.approx(start.base_s, rel=0.03)


def test_times_on_the_clock_of_arrivals_are_taken_too():
    frame = requests_of(load_profile("h100-llama3.1-8b"), 4.0, n=80)
    absolute = frame.select(
        "arrival_s",
        "prompt_tokens",
        "output_tokens",
        first_token_s=pl.col("arrival_s") + pl.col("ttft_s"),
        finish_s=pl.col("arrival_s") + pl.col("e2e_s"),
    ).reverse()
    observed, expected = (observed_from_frame(table, "requests") for table in (absolute, frame))
    np.testing.assert_allclose(observed.ttft_s, expected.ttft_s)
    np.testing.assert_allclose(observed.e2e_s, expected.e2e_s)
    assert (observed.trace.prompt_tokens == expected.trace.prompt_tokens).all()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda frame: frame.drop("ttft_s"), "no column 'ttft_s'"),
        (lambda frame: frame.head(20), "20 requests; a fit takes at least 50"),
        (lambda frame: frame.with_columns(e2e_s=pl.lit(0.0)), "0 < ttft_s <= e2e_s"),
        (lambda frame: frame.with_columns(ttft_s=pl.lit(None, pl.Float64)), "0 < ttft_s <= e2e_s"),
        (lambda frame: frame.with_columns(ttft_s=pl.lit("soon")), "column 'ttft_s': is String"),
        (lambda frame: frame.with_row_index("replica"), "requests of several replicas"),
    ],
)
def test_a_bad_table_is_one_line(change, expected):
    frame = requests_of(load_profile("h100-llama3.1-8b"), 4.0, n=60)
    with pytest.raises(InputError) as caught:
        observed_from_frame(change(frame), "t.csv")
    assert str(caught.value).startswith("t.csv: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_start_that_does_not_hold_the_requests_is_bad_input():
    start = load_profile("h100-llama3.1-8b").model_copy(update={"max_context_tokens": 1000})
    frame = requests_of(load_profile("h100-llama3.1-8b"), 4.0, n=60)
    with pytest.raises(InputError, match="holds 1,000 tokens per request"):
        fit_requests(observed_from_frame(frame, "t.csv"), start)


def test_a_replica_that_preempts_all_the_time_is_refused():
    true = load_profile("h100-llama3.1-8b").model_copy(update={"kv_blocks": 800, "max_context_tokens": 12_800})
    frame = requests_of(true, 40.0)
    with pytest.raises(InputError, match="no coefficients explain these requests"):
        fit_requests(observed_from_frame(frame, "t.csv"), load_profile("a100-llama3.1-8b"))


def test_answers_that_are_too_short_are_bad_input():
    frame = requests_of(load_profile("h100-llama3.1-8b"), 50.0, n=60)
    short = frame.with_columns(output_tokens=pl.lit(2))
    with pytest.raises(InputError, match="answers of at least 9 tokens"):
        fit_requests(observed_from_frame(short, "t.csv"), load_profile("a100-llama3.1-8b"))
