"""Replicas that fail, and the timeline, worked by hand: for the compiled engine and for the slow reference."""

import math

import numpy as np
import pytest

from fleetopt.simulator import Failure, Fleet
from fleetopt.workload.trace import make_trace
from tests.reference.agreement import one_pool
from tests.reference.test_routers import fleet_of, uniform


def failing(replicas: int, *failures: tuple[float, ...], router: str = "least-loaded", **shape) -> Fleet:
    """One pool, one second an iteration; failures are replica, down, and up unless never."""
    return Fleet(one_pool(replicas, **shape).pools, router, failures=tuple(Failure("all", *each) for each in failures))


def test_a_failure_loses_the_iteration_and_the_request_starts_over_elsewhere(run):
    # A: prompt 4, output 4 on replica 0: tokens at 1 and 2; the third iteration is lost at 2.5. On replica 1: 3.5, 4.5,
    # 5.5, 6.5. Its first token came out at 1 and was streamed then.
    outcome = run(make_trace([0.0], [4], [4]), failing(2, (0, 2.5, 10.0)))
    assert outcome["first_token_s"] == [1.0]
    assert outcome["finish_s"] == [6.5]
    assert outcome["admitted_s"] == [0.0]
    assert (outcome["replica"], outcome["retries"], outcome["preemptions"]) == ([1], [1], [0])
    # The lost iteration counts, and its time up to the failure.
    assert outcome["iterations"] == [7]
    assert outcome["busy"] == [pytest.approx(6.5 / 2 / 6.5, rel=1e-12)]
    assert outcome["slot"] == [pytest.approx(6.5 / 8 / 2 / 6.5, rel=1e-12)]
    block_seconds = 1 * 1 + 2 * 1 + 2 * 0.5 + 1 * 1 + 2 * 3
    assert outcome["kv"] == [pytest.approx(block_seconds / 100 / 2 / 6.5, rel=1e-12)]


def test_requests_of_a_failed_replica_move_in_order_to_the_end_of_the_new_queue(run):
    # One sequence at a time, in turns: A, C, E on replica 0, B and D on 1. At .5 A runs, C and E wait. They end up
    # behind D in that order.
    fleet = failing(2, (0, 0.5), router="round-robin", max_sequences=1)
    outcome = run(make_trace(np.zeros(5), [1] * 5, [1] * 5), fleet)
    assert outcome["replica"] == [1] * 5
    assert outcome["finish_s"] == [3.0, 1.0, 4.0, 2.0, 5.0]
    assert outcome["retries"] == [1, 0, 1, 0, 1]
    assert outcome["admitted_s"] == [0.0, 0.0, 3.0, 1.0, 4.0]
    assert outcome["queue_wait_s"] == [0.0, 0.0, 3.0, 1.0, 4.0]


def test_a_preempted_request_moves_after_the_running_ones(run):
    # 3 blocks of 2 tokens, 2 sequences at a time. A (2 + 4), B (2 + 3) on replica 0, as 1 is down until 1.5; C (1 + 1)
    # arrives at 1.25. In [1, 2] B is preempted. At 1.5 replica 0 fails: A, B, C go to 1, B's token is lost.
    # [1.5, 2.5]: A and B. [2.5, 3.5]: A takes the third block, B is preempted. [3.5, 4.5]: B needs 2 blocks, 1 is free;
    # C does not overtake. [4.5, 5.5]: A takes it, and is done. [5.5, 6.5]: B's second token, and C. [6.5, 7.5]: B.
    fleet = failing(2, (1, -1.0, 1.5), (0, 1.5), kv_blocks=3, block_tokens=2, max_sequences=2)
    outcome = run(make_trace([0.0, 0.0, 1.25], [2, 2, 1], [4, 3, 1]), fleet)
    assert outcome["preemptions"] == [0, 2, 0]
    assert outcome["retries"] == [1, 1, 1]
    assert outcome["first_token_s"] == [1.0, 1.0, 6.5]
    assert outcome["finish_s"] == [5.5, 7.5, 6.5]
    assert outcome["admitted_s"] == [0.0, 0.0, 5.5]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_nothing_moves_to_a_replica_that_fails_at_the_same_time(run, order):
    outcome = run(make_trace([0.0], [1], [2]), failing(3, *((replica, 0.5) for replica in order)))
    assert (outcome["replica"], outcome["retries"], outcome["finish_s"]) == ([2], [1], [2.5])


def test_without_an_eligible_replica_requests_are_held_in_order(run):
    # One replica, one sequence at a time, down in [.5, 3). A had no token yet; B arrives at 1. A at 4 and 5, B at 6.
    outcome = run(make_trace([0.0, 1.0], [1, 1], [2, 1]), failing(1, (0, 0.5, 3.0), max_sequences=1))
    assert outcome["first_token_s"] == [4.0, 6.0]
    assert outcome["finish_s"] == [5.0, 6.0]
    assert outcome["retries"] == [1, 0]
    assert outcome["admitted_s"] == [0.0, 5.0]


def test_what_is_held_for_ever_is_unserved(run):
    # A is done at 1. B arrives at 1, has its first token at 2, is lost at 2.5. C arrives at 3.
    outcome = run(make_trace([0.0, 1.0, 3.0, 3.0], [1, 1, 1, 999], [1, 9, 1, 1]), failing(1, (0, 2.5)))
    assert outcome["status"] == ["finished", "unserved", "unserved", "rejected"]
    assert outcome["is_unserved"] == [False, True, True, False]
    assert outcome["replica"] == [0, -1, -1, -1]
    assert outcome["retries"] == [0, 1, 0, 0]
    np.testing.assert_array_equal(outcome["finish_s"], [1.0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(outcome["first_token_s"], [1.0, 2.0, np.nan, np.nan])
    np.testing.assert_array_equal(outcome["admitted_s"], [0.0, 1.0, np.nan, np.nan])


def test_ends_come_before_ups_before_downs_before_arrivals(run):
    # The iteration that ends as the replica fails is not lost.
    assert run(make_trace([0.0], [1], [2]), failing(1, (0, 2.0)))["finish_s"] == [2.0]
    # Replica 1 is down from before the arrival at 0, and up at 2, before 0 goes down: A moves there and starts at once.
    outcome = run(make_trace([0.0], [1], [3]), failing(2, (0, 2.0), (1, 0.0, 2.0)))
    assert outcome["replica"] == [1]
    assert outcome["finish_s"] == [5.0]
    # What arrives as a replica fails goes to the other; what arrives as it comes back may go there.
    outcome = run(make_trace([0.0, 2.0], [1, 1], [1, 1]), failing(2, (0, 0.0, 2.0)))
    assert outcome["replica"] == [1, 0]


def test_replicas_that_come_back_together_share_what_is_held(run):
    fleet = failing(2, (1, 0.0, 2.0), (0, 0.0, 2.0))
    outcome = run(make_trace([1.0, 1.0, 1.0, 2.0], [1] * 4, [1] * 4), fleet)
    assert outcome["replica"] == [0, 1, 0, 1]


def test_nothing_moves_to_a_replica_that_is_up_and_down_again_at_the_same_time(run):
    outcome = run(make_trace([1.0], [1], [1]), failing(1, (0, 2.0, 4.0), (0, 0.0, 2.0)))
    assert outcome["finish_s"] == [5.0]
    assert outcome["retries"] == [0]
    assert outcome["admitted_s"] == [4.0]


def test_work_that_a_failure_wastes_after_the_last_finish_is_observed_too(run):
    # A is done at 1; B, from 1 on, is lost at 2.5 for ever: busy from 0 to 2.5.
    outcome = run(make_trace([0.0, 1.0], [1, 1], [1, 9]), failing(1, (0, 2.5)))
    assert outcome["observed_s"] == 2.5
    assert outcome["busy"] == [1.0]


def test_a_failed_replica_comes_back_empty(run):
    # A and B on both; 0 fails at .5 and is back at .75: A runs on 1 by then. C, at 1, goes to 0.
    outcome = run(make_trace([0.0, 0.0, 1.0], [9, 9, 9], [3, 3, 1]), failing(2, (0, 0.5, 0.75)))
    assert outcome["replica"] == [1, 1, 0]
    assert outcome["finish_s"] == [4.0, 3.0, 2.0]


def test_round_robin_passes_by_what_is_down(run):
    fleet = failing(3, (1, 0.0, 5.0), router="round-robin")
    outcome = run(make_trace([0.0, 0.0, 0.0, 5.0, 5.0], [1] * 5, [1] * 5), fleet)
    assert outcome["replica"] == [0, 2, 0, 1, 2]


def test_a_retry_draws_again(run):
    # Four replicas: each request draws one. Replica 2 fails at .5; its requests draw among the other three.
    n = 30
    outcome = run(make_trace(np.zeros(n), [1] * n, [9] * n), failing(4, (2, 0.5), router="random"), 11)
    first = [int(uniform(11, i, 0, 0) * 4) for i in range(n)]
    assert 2 in first
    expected = [[0, 1, 3][int(uniform(11, i, 1, 0) * 3)] if at == 2 else at for i, at in enumerate(first)]
    assert outcome["replica"] == expected
    assert outcome["retries"] == [int(at == 2) for at in first]


@pytest.mark.parametrize("router", ["length", "compress-and-route", "spill-over"])
def test_where_a_pool_is_down_its_requests_go_to_the_next_longer_one_that_is_up(run, router):
    # The short pool is down in [1, 3), the middle one in [1, 2). A, of 7 tokens, starts in the short one and moves to
    # the long one at 1. At 1.5 the second and third go there, at 2.5 the fourth to the middle; at 3 the short is back.
    fleet = fleet_of(
        (20, 40, 400),
        router=router,
        boundaries_tokens=(20, 40),
        failures=(Failure("up to 40", 0, 1.0, 2.0), Failure("up to 20", 0, 1.0, 3.0)),
    )
    outcome = run(make_trace([0.0, 1.5, 1.5, 2.5, 3.0], [5, 5, 30, 5, 5], [2] * 5), fleet)
    assert outcome["pool"] == [2, 2, 2, 1, 0]
    assert outcome["retries"] == [1, 0, 0, 0, 0]
    assert outcome["first_token_s"][0] == 1.0
    assert outcome["finish_s"][0] == 3.0


def test_nothing_goes_to_a_shorter_pool(run):
    # The long pool is down until 4: what belongs there waits at the gateway, and what arrives for the short one passes.
    fleet = fleet_of((20, 400), router="length", boundaries_tokens=(20,), failures=(Failure("up to 400", 0, 0.0, 4.0),))
    outcome = run(make_trace([0.0, 1.0], [30, 5], [1, 1]), fleet)
    assert outcome["pool"] == [1, 0]
    assert outcome["finish_s"] == [5.0, 2.0]


def test_spill_over_without_an_own_replica_up(run):
    # The short pool is down. One sequence at a time: A waits in the middle, B in the long one; C finds one waiting in
    # both, and goes to the first that is there.
    fleet = fleet_of(
        (20, 40, 400),
        shape={"max_sequences": 1},
        router="spill-over",
        boundaries_tokens=(20, 40),
        failures=(Failure("up to 20", 0, 0.0),),
    )
    assert run(make_trace(np.zeros(3), [5] * 3, [1] * 3), fleet)["pool"] == [1, 2, 1]


def test_a_compressed_prompt_stays_compressed_through_a_retry(run):
    # 25 tokens are compressed to 15 + 5 in the short pool, which fails at 9, a token out; the long one serves them so.
    fleet = fleet_of(
        (20, 400),
        shape={"per_prefill_token_s": 0.5},
        router="compress-and-route",
        boundaries_tokens=(20,),
        gamma=1.5,
        failures=(Failure("up to 20", 0, 9.0),),
    )
    outcome = run(make_trace([0.0], [20], [5], [True]), fleet)
    assert outcome["prompt"] == [15]
    assert outcome["pool"] == [1]
    # 1 + 7.5 = 8.5: first. Lost at 9. 9 + 8.5 + 4
    assert outcome["first_token_s"] == [8.5]
    assert outcome["finish_s"] == [21.5]


def test_a_request_too_long_for_its_pool_is_rejected_although_the_pool_is_down(run):
    outcome = run(make_trace([0.0, 0.0], [999, 1], [1, 1]), failing(1, (0, 0.0, 2.0)))
    assert outcome["status"] == ["rejected", "finished"]


# ---- the timeline ----


def test_timeline_of_a_queue(run):
    # One sequence at a time. A: 4 + 2, [10, 12]: 1 block, then 2. B: 4 + 1, arrives at 10.5: [12, 13].
    outcome = run(make_trace([10.0, 10.5], [4, 4], [2, 1]), one_pool(max_sequences=1), timeline_interval_s=0.5)
    assert outcome["sample_s"] == [10.0, 10.5, 11.0, 11.5, 12.0, 12.5, 13.0]
    assert outcome["running"] == [[1], [1], [1], [1], [1], [1], [0]]
    assert outcome["waiting"] == [[0], [1], [1], [1], [0], [0], [0]]
    assert outcome["kv_blocks"] == [[1], [1], [2], [2], [1], [1], [0]]
    assert outcome["held"] == [0] * 7


def test_timeline_of_a_failure(run):
    # Replica 1 is down all the time, 0 in [.5, 3): A and B (at 1) are held. Then A runs [3, 4], and B [4, 5].
    fleet = failing(2, (1, -1.0, math.inf), (0, 0.5, 3.0), max_sequences=1)
    outcome = run(make_trace([0.0, 1.0], [5, 5], [1, 1]), fleet, timeline_interval_s=1.0)
    assert outcome["sample_s"] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert outcome["running"] == [[1, 0], [0, 0], [0, 0], [1, 0], [1, 0], [0, 0]]
    assert outcome["waiting"] == [[0, 0], [0, 0], [0, 0], [1, 0], [0, 0], [0, 0]]
    assert outcome["kv_blocks"] == [[2, 0], [0, 0], [0, 0], [2, 0], [2, 0], [0, 0]]
    assert outcome["held"] == [0, 2, 2, 0, 0, 0]


def test_timeline_and_utilization_where_nothing_is_served(run):
    outcome = run(make_trace([1.0, 2.0], [999, 5], [1, 1]), failing(1, (0, 0.0)), timeline_interval_s=1.0)
    assert outcome["status"] == ["rejected", "unserved"]
    assert outcome["observed_s"] == 0.0
    assert outcome["sample_s"] == []
    assert outcome["iterations"] == [0]
    assert np.isnan([outcome["slot"], outcome["kv"], outcome["busy"]]).all()
