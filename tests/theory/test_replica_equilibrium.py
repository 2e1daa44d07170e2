"""The work that a request asks of a replica, and the model's means and tails against the simulator."""

import numpy as np
import pytest

from fleetopt.evidence.fidelity import (
    Figure,
    fidelity_cells,
    measure_cell,
    misses,
    simulated_limit_rps,
)
from fleetopt.profiles import load_profile
from fleetopt.queueing.kernels.response import fluctuation
from fleetopt.queueing.stability import stability_limit_rps
from fleetopt.queueing.work import request_work
from fleetopt.workload.lengths import JointLengths, make_lengths

PROFILE = load_profile("a100-llama2-7b")
LARGE_BUDGET = PROFILE.model_copy(update={"max_batched_tokens": 8192, "max_chunk_tokens": 8192})


def chat_lengths(n: int = 4000, seed: int = 1) -> JointLengths:
    rng = np.random.default_rng(seed)
    prompt = np.clip(rng.lognormal(6.8, 0.9, n), 4, 8000).round()
    return make_lengths(prompt, np.clip(rng.lognormal(5.0, 0.7, n), 2, 1000).round(), np.ones(n), 0.0)


def code_lengths(n: int = 4000, seed: int = 2) -> JointLengths:
    """Long prompts and short outputs: requests wait for each other's prompts, and replicas are often idle."""
    rng = np.random.default_rng(seed)
    prompt = np.clip(rng.lognormal(7.2, 1.0, n), 4, 7500).round()
    return make_lengths(prompt, np.clip(rng.lognormal(2.8, 0.9, n), 1, 500).round(), np.ones(n), 0.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lengths", "profile", "replicas", "load"),
    [
        (chat_lengths(), PROFILE, 1, 0.5),
        (chat_lengths(), PROFILE, 8, 0.7),
        (code_lengths(), PROFILE, 1, 0.3),
        (code_lengths(), PROFILE, 8, 0.5),
        (chat_lengths(), LARGE_BUDGET, 1, 0.3),
        (chat_lengths(), LARGE_BUDGET, 8, 0.5),
        (code_lengths(), LARGE_BUDGET, 8, 0.3),
    ],
)
def test_means_and_p99_ttft_are_within_the_targets_of_the_simulator(lengths, profile, replicas, load):
    """Targets: 3 % in iteration time and slot utilisation; 10 % and the simulator's own half-width in P99 TTFT."""
    limit_rps = stability_limit_rps(request_work(profile, lengths.weight, lengths.prompt_tokens, lengths.output_tokens))
    cell = measure_cell("test", lengths, profile, replicas, load, limit_rps, seed=5, requests=60_000)
    assert cell.is_settled
    assert misses([cell]) == ()
    assert [figure.name for figure in cell.figures if figure.is_within] == [
        "iteration_s",
        "slot_utilization",
        "ttft_p99_s",
    ]
    # No target, but not far off either.
    assert cell.figure("busy").ratio == pytest.approx(1.0, abs=0.02)
    assert cell.figure("kv_utilization").ratio == pytest.approx(1.0, abs=0.1)
    assert cell.figure("ttft_p50_s").ratio == pytest.approx(1.0, abs=0.1)
    assert cell.figure("tpot_p99_s").ratio == pytest.approx(1.0, abs=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("lengths", [chat_lengths(), code_lengths()])
def test_the_model_s_stability_limit_is_that_of_the_simulator(lengths):
    simulated_rps = simulated_limit_rps(lengths, PROFILE, seed=3, requests=40_000)
    work = request_work(PROFILE, lengths.weight, lengths.prompt_tokens, lengths.output_tokens)
    assert stability_limit_rps(work) == pytest.approx(simulated_rps, rel=0.03)


@pytest.mark.slow
def test_cells_come_in_order_with_progress_and_the_same_seed_gives_the_same_cell():
    told = []
    ticks = iter(np.arange(100.0))

    def measured():
        return list(
            fidelity_cells(
                {"code": (code_lengths(), PROFILE)},
                7,
                loads=(0.1, 0.2),
                replicas=(2,),
                requests=15_000,
                workers=2,
                clock=lambda: float(next(ticks)),
                on_progress=lambda done, total, what: told.append((done, total, what)),
            )
        )

    first, second = measured(), measured()
    assert [(cell.workload, cell.replicas, cell.load) for cell in first] == [("code", 2, 0.1), ("code", 2, 0.2)]
    assert [cell.figures for cell in first] == [cell.figures for cell in second]
    assert first[0].arrival_rate_rps == pytest.approx(0.1 * first[0].simulated_limit_rps)
    assert first[0].prediction_ms == 1000.0
    assert told[0] == (0, 2, "code: stability limit")
    assert told[len(told) // 2 - 1] == told[-1] == (2, 2, "done")


def test_a_figure_misses_its_target_by_its_tolerance_and_says_so():
    exact = Figure(name="a", predicted=1.0, simulated=1.0, half_width=0.0, tolerance=0.03)
    off = Figure(name="a", predicted=1.04, simulated=1.0, half_width=0.0, tolerance=0.03)
    unstable = Figure(name="a", predicted=np.nan, simulated=1.0, half_width=0.0, tolerance=0.03)
    free = Figure(name="a", predicted=2.0, simulated=1.0, half_width=0.0)
    assert [figure.is_within for figure in (exact, off, unstable, free)] == [True, False, False, None]


def test_work_of_a_request_is_the_sum_over_its_iterations():
    prompt, output = 1234, 57
    work = request_work(PROFILE, np.ones(1), np.array([float(prompt)]), np.array([float(output)]))
    chunks = [512, 512, 210]
    prefill_s, seen = 0.0, 0
    for chunk in chunks:
        prefill_s += PROFILE.per_prefill_token_s * chunk
        prefill_s += PROFILE.per_prefill_attention_s * chunk * (seen + chunk / 2)
        seen += chunk
    steps_s = [PROFILE.per_sequence_s + PROFILE.per_context_token_s * (prompt + step) for step in range(1, output)]
    assert work.prefill_s == pytest.approx(prefill_s, rel=1e-12)
    assert work.decode_s == pytest.approx(sum(steps_s), rel=1e-12)
    assert work.step_s == pytest.approx(np.mean(steps_s), rel=1e-12)
    assert work.step_variance_s2 == pytest.approx(np.var(steps_s), rel=1e-6)
    assert work.iterations == len(chunks) + output - 1


def test_the_response_of_one_request_integrates_to_its_presence_and_work():
    """Without feedback (rate 0) shot noise of equal pulses: variance = rate of pulses times the sum of squares."""
    work = request_work(PROFILE, np.ones(1), np.array([512.0]), np.array([101.0]))
    moves = fluctuation(work.tables[4], 0.0, 0.05, 0.0, 1.0)
    assert moves.running_variance == pytest.approx(0.05 * 101, rel=0.02)
    steps_s = PROFILE.per_sequence_s + PROFILE.per_context_token_s * (512 + np.arange(1, 101))
    assert moves.decode_variance == pytest.approx(0.05 * (steps_s**2).sum(), rel=0.02)
