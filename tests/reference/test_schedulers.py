"""Schedulers `sarathi` and `prefill-first`, worked by hand: for the compiled engine and for the slow reference."""

import numpy as np
import pytest

from fleetopt.workload.trace import make_trace
from tests.reference.agreement import one_pool

# ---- sarathi: fcfs with a budget of 512 ----


def test_sarathi_has_a_budget_of_512_whatever_the_profile_says(run):
    # Prompts 300 and 300, one second each iteration: 300 + 212, then 88. A budget of 64 would take ten iterations.
    trace = make_trace([0.0, 0.0], [300, 300], [1, 1])
    shape = {"kv_blocks": 1000, "max_batched_tokens": 64, "max_chunk_tokens": 600}
    assert run(trace, one_pool(scheduler="sarathi", **shape))["finish_s"] == [1.0, 2.0]
    # A budget of 2,000 would take one, and does with fcfs.
    shape |= {"max_batched_tokens": 2000}
    assert run(trace, one_pool(scheduler="sarathi", **shape))["finish_s"] == [1.0, 2.0]
    assert run(trace, one_pool(scheduler="fcfs", **shape))["finish_s"] == [1.0, 1.0]


def test_sarathi_cuts_chunks_at_the_limit_of_the_profile_or_at_512(run):
    # 513 tokens: 512 + 1. In chunks of 100 at most: 6 iterations, and of the budget 412 is left to the second.
    trace = make_trace([0.0, 0.0], [513, 400], [1, 1])
    shape = {"kv_blocks": 1000, "max_batched_tokens": 2000}
    assert run(trace, one_pool(scheduler="sarathi", **shape))["finish_s"] == [2.0, 2.0]
    assert run(trace, one_pool(scheduler="sarathi", **shape, max_chunk_tokens=100))["finish_s"] == [6.0, 4.0]


# ---- prefill-first: vLLM V0 ----


def test_prefill_first_prefills_whole_prompts_while_the_running_do_nothing(run):
    # A: prompt 6, output 3, at 0. B: 10, 2, at .5. Budget and chunk limit of the profile play no part.
    # it1: .5 + .25*6 + .0625*6*3 = 3.125: A's first. it2: B: .5 + .25*10 + .0625*10*5 = 6.125 -> 9.25: B's first.
    # it3: both decode, contexts 7 and 11: 1 + 2*2 + .125*18 = 7.25 -> 16.5: B is done. it4: A, context 8: 4 -> 20.5.
    fleet = one_pool(
        scheduler="prefill-first",
        per_sequence_s=2.0,
        per_context_token_s=0.125,
        per_prefill_token_s=64.0,
        per_prefill_attention_s=64.0,
        prefill_only_base_s=0.5,
        prefill_only_per_token_s=0.25,
        prefill_only_per_attention_s=0.0625,
        max_batched_tokens=4,
        max_chunk_tokens=2,
    )
    outcome = run(make_trace([0.0, 0.5], [6, 10], [3, 2]), fleet)
    assert outcome["admitted_s"] == [0.0, 3.125]
    assert outcome["first_token_s"] == [3.125, 9.25]
    assert outcome["finish_s"] == [20.5, 16.5]
    assert outcome["iterations"] == [4]
    # A sequence holds its slot and its blocks through the prefill of another. A: 2 blocks, B: 3.
    running_seconds = 1 * 3.125 + 2 * 6.125 + 2 * 7.25 + 1 * 4
    block_seconds = 2 * 3.125 + 5 * 6.125 + 5 * 7.25 + 2 * 4
    assert outcome["slot"] == [pytest.approx(running_seconds / 8 / 20.5, rel=1e-12)]
    assert outcome["kv"] == [pytest.approx(block_seconds / 100 / 20.5, rel=1e-12)]


def test_prefill_first_prefills_at_most_4096_tokens_in_one_iteration(run):
    # it1: 4000 + 96. it2: 1; the 5,000 would be too many, and what is behind it does not overtake. it3: 5,000, longer
    # than the cap, alone. it4: 10.
    fleet = one_pool(scheduler="prefill-first", kv_blocks=400, block_tokens=64)
    outcome = run(make_trace(np.zeros(5), [4000, 96, 1, 5000, 10], [1] * 5), fleet)
    assert outcome["finish_s"] == [1.0, 1.0, 2.0, 3.0, 4.0]


def test_prefill_first_admits_no_more_than_the_slots(run):
    # Two at once, 2 tokens each: it1 A and B, it2 they decode, it3 C, it4 C decodes.
    fleet = one_pool(scheduler="prefill-first", max_sequences=2)
    assert run(make_trace(np.zeros(3), [3, 3, 3], [2, 2, 2]), fleet)["finish_s"] == [2.0, 2.0, 4.0]


def test_prefill_first_keeps_a_watermark_of_one_percent_of_the_blocks(run):
    # 200 blocks of one token, so 2 stay free. A holds 190. B of 8 is admitted with it; of 9 it waits until A is done.
    fleet = one_pool(scheduler="prefill-first", kv_blocks=200, block_tokens=1)
    assert run(make_trace([0.0, 0.0], [190, 8], [3, 1]), fleet)["finish_s"] == [3.0, 1.0]
    assert run(make_trace([0.0, 0.0], [190, 9], [3, 1]), fleet)["finish_s"] == [3.0, 4.0]
    # With 199 blocks one stays free.
    fleet = one_pool(scheduler="prefill-first", kv_blocks=199, block_tokens=1)
    assert run(make_trace([0.0, 0.0], [190, 8], [3, 1]), fleet)["finish_s"] == [3.0, 1.0]
    assert run(make_trace([0.0, 0.0], [190, 9], [3, 1]), fleet)["finish_s"] == [3.0, 4.0]


def test_prefill_first_waives_the_watermark_where_nothing_runs(run):
    # 199 + 2 > 200, but alone it may; and only the first of an iteration: 150 + 49 leave 1 free, 150 + 48 leave 2.
    fleet = one_pool(scheduler="prefill-first", kv_blocks=200, block_tokens=1)
    assert run(make_trace([0.0], [199], [1]), fleet)["finish_s"] == [1.0]
    assert run(make_trace([0.0, 0.0], [150, 49], [1, 1]), fleet)["finish_s"] == [1.0, 2.0]
    assert run(make_trace([0.0, 0.0], [150, 48], [1, 1]), fleet)["finish_s"] == [1.0, 1.0]


def test_prefill_first_decodes_with_no_budget(run):
    # Budget 1, and three decode at once.
    fleet = one_pool(scheduler="prefill-first", max_batched_tokens=1)
    assert run(make_trace(np.zeros(3), [1, 5, 9], [3, 3, 3]), fleet)["finish_s"] == [3.0, 3.0, 3.0]


def test_prefill_first_preempts_the_last_admitted_and_prefills_all_its_tokens_again(run):
    # 4 blocks of 1 token; A and B: prompt 1, output 3; .25 per prefill token.
    # it1 [0, 1.5]: both. it2 [1.5, 2.5]: both decode, 4 blocks. it3 [2.5, 3.5]: A preempts B, and is done.
    # it4 [3.5, 5.25]: B prefills 1 + 2 tokens and yields its last.
    fleet = one_pool(scheduler="prefill-first", kv_blocks=4, block_tokens=1, per_prefill_token_s=0.25)
    outcome = run(make_trace([0.0, 0.0], [1, 1], [3, 3]), fleet)
    assert outcome["preemptions"] == [0, 1]
    assert outcome["first_token_s"] == [1.5, 1.5]
    assert outcome["finish_s"] == [3.5, 5.25]
    assert outcome["admitted_s"] == [0.0, 0.0]  # the first time
    assert outcome["iterations"] == [4]


def test_prefill_first_puts_the_preempted_at_the_head_and_admits_nobody_in_a_decode_iteration(run):
    # 5 blocks of 1 token. A, B: prompt 1, output 3; C: prompt 1, output 1, arrives at 2.5.
    # it1 [0, 1]: A, B. it2 [1, 2]: 4 blocks. it3 [2, 3]: A takes the fifth, B needs one and preempts itself: 2 free,
    # B generated 2; A is done at 3. it4 [3, 4]: B, 3 tokens, and C, 1: both done at 4.
    fleet = one_pool(scheduler="prefill-first", kv_blocks=5, block_tokens=1)
    outcome = run(make_trace([0.0, 0.0, 2.5], [1, 1, 1], [3, 3, 1]), fleet)
    assert outcome["preemptions"] == [0, 1, 0]
    assert outcome["finish_s"] == [3.0, 4.0, 4.0]
    # With D before it, of 3 tokens, which would fit: C and D behind B in the queue do not overtake.
    # A: prompt 1, output 4: after it3 A holds 3, 2 are free, and B needs 3. it4 [3, 4]: A takes its fourth, done at 4.
    outcome = run(make_trace([0.0, 0.0, 2.5], [1, 1, 1], [4, 3, 1]), fleet)
    assert outcome["finish_s"] == [4.0, 5.0, 5.0]
