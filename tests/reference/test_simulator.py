"""An iteration of scheduler `fcfs` and the clock, worked by hand: compiled engine and slow reference alike."""

import numpy as np
import pytest

from fleetopt.simulator import Fleet, Pool
from fleetopt.workload.trace import make_trace
from tests.reference.agreement import one_pool, profile


def test_every_coefficient_of_one_request(run):
    # Prompt 6 in chunks of at most 4, then 2 decode steps (3 output tokens).
    # 4 tokens on empty context: 1 + .5*4 + .25*4*(0 + 2) = 5; 2 on 4: 1 + .5*2 + .25*2*(4 + 1) = 4.5 -> first at 9.5.
    # decode reading token 7, then 8: 1 + 2 + .125*7 = 3.875, and 4 -> 17.375
    fleet = one_pool(
        per_sequence_s=2.0,
        per_context_token_s=0.125,
        per_prefill_token_s=0.5,
        per_prefill_attention_s=0.25,
        max_chunk_tokens=4,
    )
    outcome = run(make_trace([10.0], [6], [3]), fleet)
    assert outcome["first_token_s"] == [19.5]
    assert outcome["finish_s"] == [27.375]
    # held blocks: 1 for 5 s, 2 for 4.5 + 3.875 + 4 s (context 6, 7, 8), of 100 over 17.375 s
    assert outcome["kv"] == [pytest.approx((5 + 2 * 12.375) / 100 / 17.375, rel=1e-12)]
    assert outcome["slot"] == [pytest.approx(1 / 8, rel=1e-12)]
    assert outcome["busy"] == [pytest.approx(1.0, rel=1e-12)]


def test_prefill_only_coefficients_apply_only_without_a_decode_step(run):
    # t=0: prefill 2 alone: 8 + 2*2 = 12 -> A first at 12. B (arrived at 1) is prefilled with A's decode: 1 + .5*2 = 2.
    # both then decode: A's last at 14, B alone 1 -> 15.
    fleet = one_pool(per_prefill_token_s=0.5, prefill_only_base_s=8.0, prefill_only_per_token_s=2.0)
    outcome = run(make_trace([0.0, 1.0], [2, 2], [2, 2]), fleet)
    assert outcome["first_token_s"] == [12.0, 14.0]
    assert outcome["finish_s"] == [14.0, 15.0]


def test_with_the_budget_used_up_nobody_is_admitted(run):
    # Budget 3, one second each. it1: A takes 3 of its 5 tokens. it2: A 2, its first token at 2; B is admitted with 1
    # of 2. it3: A decodes, B takes 1, C is admitted with 1: B's and C's first at 3. it4 and it5: A, B and C decode, no
    # budget is left for D, which arrived at 2.5; A has its 4 tokens at 5. it6: B, C, and D at last: first and only
    # token at 6. B and C, 9 tokens each from 3 on, end at 11.
    fleet = one_pool(max_batched_tokens=3)
    outcome = run(make_trace([0.0, 0.0, 0.0, 2.5], [5, 2, 1, 1], [4, 9, 9, 1]), fleet)
    assert outcome["first_token_s"] == [2.0, 3.0, 3.0, 6.0]
    assert outcome["finish_s"] == [5.0, 11.0, 11.0, 6.0]


def test_decode_steps_and_chunks_share_the_budget(run):
    # Budget 3, 2 s per decode step, .5 per prefill token. A: prompt 3, output 5; B: 1, 3; C: 9, 1.
    # it1 [0, 2.5]: A takes the budget. it2 [2.5, 6.5]: A decodes, B prefills 1, C 1 of 9. it3 [6.5, 12] and
    # it4 [12, 17.5]: A and B decode, C takes 1 each time (3 done); B is done. it5 [17.5, 21.5]: A decodes and is done,
    # C takes 2 (5). it6 [21.5, 24]: C takes 3 (8). it7 [24, 25.5]: C takes the last.
    fleet = one_pool(max_batched_tokens=3, per_sequence_s=2.0, per_prefill_token_s=0.5)
    outcome = run(make_trace([0.0, 0.0, 0.0], [3, 1, 9], [5, 3, 1]), fleet)
    assert outcome["first_token_s"] == [2.5, 6.5, 25.5]
    assert outcome["finish_s"] == [21.5, 17.5, 25.5]


def test_what_a_last_chunk_leaves_of_the_budget_goes_to_the_queue(run):
    # Budget 4, no chunk limit. A: prompt 3; B: prompt 9. it1: A 3, B 1. it2: A decodes 1, B takes 3 (4 done).
    # it3: A 1, B 3 (7). it4: A 1, B 2 -> B first at 4, and C (prompt 1, arrived at 0.5) gets the last 1: first at 4.
    outcome = run(make_trace([0.0, 0.0, 0.5], [3, 9, 1], [4, 1, 1]), one_pool(max_batched_tokens=4))
    assert outcome["first_token_s"] == [1.0, 4.0, 4.0]
    assert outcome["finish_s"] == [4.0, 4.0, 4.0]


def test_a_prompt_may_be_complete_before_an_earlier_one(run):
    # Budget 4, chunks of 3. A: prompt 7; B: 1; C: 2, D: 1. it1: A 3, B 1: B's first. it2: A 3, B decodes, C waits.
    # it3: A 1, its first; B decodes, C 2: all first; D waits. it4: D.
    outcome = run(
        make_trace(np.zeros(4), [7, 1, 2, 1], [1, 3, 1, 1]), one_pool(max_batched_tokens=4, max_chunk_tokens=3)
    )
    assert outcome["first_token_s"] == [3.0, 1.0, 3.0, 4.0]
    assert outcome["finish_s"] == [3.0, 3.0, 3.0, 4.0]
    assert outcome["admitted_s"] == [0.0, 0.0, 2.0, 3.0]
    assert outcome["queue_wait_s"] == [0.0, 0.0, 2.0, 3.0]


def test_more_slots_than_budget(run):
    # Budget 2, 8 slots. it1 and it2: A and B, one token each, C waits. it3: A and B have 3. it4: C.
    outcome = run(make_trace(np.zeros(3), [1, 1, 1], [3, 3, 1]), one_pool(max_batched_tokens=2))
    assert outcome["finish_s"] == [3.0, 3.0, 4.0]


def test_preemption_recomputes_prompt_and_generated_tokens(run):
    # 3 blocks of 2 tokens. A: prompt 2, output 4 (6 tokens in all); B: prompt 2, output 3. One second each iteration,
    # and .25 per prefill token.
    # it1 [0, 2]: both prefill 2: 1 + 1 = 2 -> first tokens at 2; blocks 1 + 1.
    # it2 [2, 3]: A needs a second block (3 tokens): the last free one. B needs one: none, it is the last: preempts
    #   itself. A decodes alone, 1 s -> A has 2 tokens. B had 1 token generated: 2 + 1 = 3 tokens to prefill.
    # it3 [3, 4]: A (4 tokens, fits 2 blocks) decodes; B needs 2 blocks, 1 is free: not admitted. A has 3 tokens.
    # it4 [4, 5]: A reads its 5th token, third block; done at 5.
    # it5 [5, 6.75]: B prefills 3: 1.75; yields its second token. it6 [6.75, 7.75]: its third.
    fleet = one_pool(kv_blocks=3, block_tokens=2, per_prefill_token_s=0.25)
    outcome = run(make_trace([0.0, 0.0], [2, 2], [4, 3]), fleet)
    assert outcome["preemptions"] == [0, 1]
    assert outcome["first_token_s"] == [2.0, 2.0]
    assert outcome["finish_s"] == [5.0, 7.75]
    # B is readmitted to prefill 3 tokens in 2 blocks, and reads its 4th token in the same two.
    block_seconds = 2 * 2 + 2 * 1 + 2 * 1 + 3 * 1 + 2 * 1.75 + 2 * 1
    assert outcome["kv"] == [pytest.approx(block_seconds / 3 / 7.75, rel=1e-12)]


def test_the_preempted_go_to_the_head_of_the_queue_and_nobody_is_admitted_meanwhile(run):
    # 4 blocks of 1 token, A: 1 + 3, B: 1 + 2, C: 1 + 2, D: 1 + 1 waits for a slot (3 at most).
    # it1 [0, 1]: A, B, C prefill 1 each, 3 blocks. it2 [1, 2]: A takes the free block; B needs one: C is preempted, its
    # block goes to B. D may not be admitted (and there is no block). A 2 tokens, B done at 2 (2 blocks free).
    # it3 [2, 3]: A takes a block: done at 3. C is at the head: 1 + 1 generated = 2 tokens need 2 blocks, 1 is free.
    # D would fit, but does not overtake.
    # it4 [3, 4]: C prefills 2, yields its second token, done at 4; D prefills 1, done at 4.
    fleet = one_pool(kv_blocks=4, block_tokens=1, max_sequences=3)
    outcome = run(make_trace([0.0] * 4, [1, 1, 1, 1], [3, 2, 2, 1]), fleet)
    assert outcome["preemptions"] == [0, 0, 1, 0]
    assert outcome["first_token_s"] == [1.0, 1.0, 1.0, 4.0]
    assert outcome["finish_s"] == [3.0, 2.0, 4.0, 4.0]


def test_a_chunk_of_one_generated_token_is_priced_as_a_decode_step(run):
    # 4 blocks of 1 token, chunk 1; A and B: prompt 1, output 3. .25 per prefill token, 4 per decode step.
    # it1 [0, 1.5]: both prefill. it2 [1.5, 10.5]: both decode, 4 blocks. it3 [10.5, 15.5]: A preempts B (2 tokens
    # generated), decodes alone, done. B prefills 1 prompt token again, it4 [15.5, 16.75], and 2 generated ones, one at
    # a time and priced as decode steps, it5 [16.75, 21.75], which yields nothing, and it6 [21.75, 26.75], its last.
    fleet = one_pool(kv_blocks=4, block_tokens=1, max_chunk_tokens=1, per_prefill_token_s=0.25, per_sequence_s=4.0)
    outcome = run(make_trace([0.0, 0.0], [1, 1], [3, 3]), fleet)
    assert outcome["preemptions"] == [0, 1]
    assert outcome["first_token_s"] == [1.5, 1.5]
    assert outcome["finish_s"] == [15.5, 26.75]


def test_simultaneous_events_ends_then_arrivals_then_starts(run):
    # Two replicas. A and B start at 0 and both end at 2. C and D arrive at 2: the ends come first, so both replicas are
    # empty, C goes to replica 0 and D to 1, and both start at 2.
    outcome = run(make_trace([0.0, 0.0, 2.0, 2.0], [1] * 4, [2] * 4), one_pool(replicas=2))
    assert outcome["replica"] == [0, 1, 0, 1]
    assert outcome["first_token_s"] == [1.0, 1.0, 3.0, 3.0]
    # With one replica, what arrives when an iteration ends is in the one that starts then.
    outcome = run(make_trace([0.0, 1.0], [1, 1], [3, 1]), one_pool())
    assert outcome["first_token_s"] == [1.0, 2.0]


def test_least_loaded_counts_waiting_and_running_and_ties_go_to_the_lowest_index(run):
    # Five at 0 on 3 replicas: 0, 1, 2, 0, 1. One sequence at a time, each 1 s: at 1.5 the loads are 1, 1, 0.
    trace = make_trace([0.0] * 5 + [1.5, 1.5], [1] * 7, [1] * 7)
    outcome = run(trace, one_pool(replicas=3, max_sequences=1))
    assert outcome["replica"] == [0, 1, 2, 0, 1, 2, 0]
    assert outcome["finish_s"] == [1.0, 1.0, 1.0, 2.0, 2.0, 2.5, 3.0]


def test_what_cannot_fit_is_rejected_at_arrival_and_disturbs_nobody(run):
    fleet = Fleet((Pool("all", profile(kv_blocks=4), 1, 1000),))  # 16 tokens
    outcome = run(make_trace([0.0, 0.0, 0.0], [15, 16, 4], [1, 1, 1]), fleet)
    assert outcome["is_rejected"] == [False, True, False]
    assert outcome["replica"] == [0, -1, 0]
    np.testing.assert_array_equal(outcome["finish_s"], [1.0, np.nan, 2.0])  # 15 tokens take all 4 blocks
    fleet = Fleet((Pool("all", profile(), 1, 10),))
    assert run(make_trace([0.0, 0.0], [9, 10], [1, 1]), fleet)["is_rejected"] == [False, True]
    fleet = one_pool(max_context_tokens=10)
    assert run(make_trace([0.0, 0.0], [9, 10], [1, 1]), fleet)["is_rejected"] == [False, True]


def test_iterations_that_take_no_time_end(run):
    # Decode steps and the base cost nothing: everything comes out when the prompt is done.
    fleet = one_pool(base_s=0.0, per_prefill_token_s=0.5)
    outcome = run(make_trace([0.0, 0.0], [2, 2], [30, 40]), fleet)
    assert outcome["finish_s"] == [2.0, 2.0]


def test_compress_and_route(run):
    short, long = Pool("short", profile(), 1, 20), Pool("long", profile(), 1, 400)
    fleet = Fleet((short, long), router="compress-and-route", boundaries_tokens=(20,), gamma=1.5)
    trace = make_trace(
        np.zeros(6), [15, 16, 25, 26, 11, 16], [5, 5, 5, 5, 19, 5], [True, True, True, True, True, False]
    )
    outcome = run(trace, fleet)
    # 20 fits; 21 and 30 are compressed to 15 + 5; 31 is above 1.5 x 20; 30 with 19 of output leaves 1; 21 may not be.
    assert outcome["pool"] == [0, 0, 0, 1, 0, 1]
    assert outcome["prompt"] == [15, 15, 15, 26, 1, 16]
