"""Every router, worked by hand: for the compiled engine and for the slow reference. One second an iteration."""

import numpy as np
import pytest

from fleetopt.simulator import Fleet, Pool
from fleetopt.workload.trace import make_trace
from tests.reference.agreement import one_pool, profile
from tests.reference.router import mix


def fleet_of(limits: tuple[int, ...], replicas: tuple[int, ...] = (), shape: dict | None = None, **fleet) -> Fleet:
    counts = replicas or (1,) * len(limits)
    pools = tuple(
        Pool(f"up to {limit}", profile(**(shape or {})), count, limit)
        for limit, count in zip(limits, counts, strict=True)
    )
    return Fleet(pools, **fleet)


def uniform(seed: int, index: int, retries: int, k: int) -> float:
    """A third writing of the draw, in words of 64 bits that overflow."""
    stream = np.random.SeedSequence(seed, spawn_key=(0,)).generate_state(1, np.uint64)
    z = stream + np.array([index * 65536 + 2 * retries + k + 1], np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return int((z ^ (z >> np.uint64(31)))[0] >> np.uint64(11)) / 2**53


# ---- a balancer over all pools ----


def test_a_balancer_chooses_among_the_replicas_of_all_pools_that_accept_the_length(run):
    # Loads short, long: 0 0 -> short; 1 0 -> long; 31 tokens fit only long; 1 2 -> short; 501 tokens fit nowhere.
    fleet = fleet_of((20, 400))
    outcome = run(make_trace(np.zeros(5), [5, 5, 30, 5, 500], [1] * 5), fleet)
    assert outcome["pool"] == [0, 1, 1, 0, 0]
    assert outcome["replica"] == [0, 0, 0, 0, -1]
    assert outcome["status"] == ["finished"] * 4 + ["rejected"]
    assert np.isnan(outcome["admitted_s"][4])


def test_shortest_queue_tokens_counts_prompts_not_yet_prefilled_and_running_sequences(run):
    # One sequence at a time, budget 4. At 0: A of 12 to replica 0; B of 3 to 1; C of 1: 12 against 3 -> 1.
    # At .5, progress not yet counted: 0 has 12 + 1 running; 1 has 3 + 1 running + C's 1 -> D of 1 to 1.
    # At 1.5: 0 has 8 + 1; on 1 B decodes: 0 + 1 running, C 1, D 1: 3 -> E of 7 to 1: 10. F of 1: 9 against 10 -> 0.
    # G: 10 against 10 -> 0. H: 11 against 10 -> 1.
    fleet = one_pool(replicas=2, max_sequences=1, max_batched_tokens=4)
    fleet = Fleet(fleet.pools, router="shortest-queue-tokens")
    arrival_s = [0.0, 0.0, 0.0, 0.5, 1.5, 1.5, 1.5, 1.5]
    outcome = run(make_trace(arrival_s, [12, 3, 1, 1, 7, 1, 1, 1], [5, 5, 1, 1, 1, 1, 1, 1]), fleet)
    assert outcome["replica"] == [0, 1, 1, 1, 1, 0, 0, 1]


def test_shortest_queue_tokens_counts_a_running_sequence_as_one(run):
    # At 0: A of 3 to replica 0, B of 5 to 1, C of 1 and D of 2 to 0. At 1.5 all decode: 3 against 1. Two of 1 to 1;
    # then 3 against 3.
    fleet = Fleet(one_pool(replicas=2).pools, router="shortest-queue-tokens")
    outcome = run(make_trace([0.0] * 4 + [1.5] * 3, [3, 5, 1, 2, 1, 1, 1], [9] * 7), fleet)
    assert outcome["replica"] == [0, 1, 0, 0, 1, 1, 0]


def test_shortest_queue_tokens_counts_what_a_preempted_request_has_to_prefill_again(run):
    # 3 blocks of 2 tokens. At 0: A (2 + 4) to 0; X (4 + 2) to 1; B (2 + 3): 2 against 4 -> 0. In [1, 2] B is preempted
    # with a token generated, A and X decode. At 1.25 0 has 1 + 3 and 1 has 1: Y (2) to 1: 3. At 1.5: 4 against 3 -> 1.
    fleet = Fleet(one_pool(replicas=2, kv_blocks=3, block_tokens=2).pools, router="shortest-queue-tokens")
    outcome = run(make_trace([0.0, 0.0, 0.0, 1.25, 1.5], [2, 4, 2, 2, 1], [4, 2, 3, 1, 1]), fleet)
    assert outcome["preemptions"] == [0, 0, 1, 0, 0]
    assert outcome["replica"] == [0, 1, 0, 1, 1]
    assert outcome["finish_s"] == [4.0, 2.0, 6.0, 3.0, 3.0]


def test_round_robin_goes_on_after_the_last_chosen(run):
    fleet = Fleet(one_pool(replicas=3).pools, router="round-robin")
    outcome = run(make_trace([0.0] * 5 + [10.0, 20.0], [1] * 7, [1] * 7), fleet)
    assert outcome["replica"] == [0, 1, 2, 0, 1, 2, 0]
    # Over two pools, of 2 and 1 replicas: what fits only the last moves the pointer there, and past the others.
    fleet = fleet_of((20, 400), (2, 1), router="round-robin")
    outcome = run(make_trace(np.zeros(7), [5, 30, 5, 5, 5, 5, 30], [1] * 7), fleet)
    assert outcome["pool"] == [0, 1, 0, 0, 1, 0, 1]
    assert outcome["replica"] == [0, 0, 0, 1, 0, 0, 0]


def test_splitmix64_gives_the_published_numbers():
    # The first five of seed 1234567, from Rosetta Code, "Pseudo-random numbers/Splitmix64".
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [mix((1234567 + i * 0x9E3779B97F4A7C15) % 2**64) for i in range(1, 6)] == published


@pytest.mark.parametrize("seed", [0, 7])
def test_random_draws_one_of_the_eligible(run, seed):
    # 3 replicas accept 6 tokens, and only the last 2 accept 31.
    prompts = [5, 30] * 20
    outcome = run(make_trace(np.zeros(40), prompts, [1] * 40), fleet_of((20, 400), (1, 2), router="random"), seed)
    expected = [
        int(uniform(seed, i, 0, 0) * 3) if prompt == 5 else 1 + int(uniform(seed, i, 0, 0) * 2)
        for i, prompt in enumerate(prompts)
    ]
    assert [pool + replica for pool, replica in zip(outcome["pool"], outcome["replica"], strict=True)] == expected
    assert len(set(expected)) == 3


def test_random_is_even_and_follows_the_seed(run):
    fleet = Fleet(one_pool(replicas=4).pools, router="random")
    trace = make_trace(np.arange(2000) * 2.0, [1] * 2000, [1] * 2000)
    first, again, other = (np.array(run(trace, fleet, seed)["replica"]) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert 0.2 < (first == other).mean() < 0.3
    # 500 each, standard deviation 19
    assert np.abs(np.bincount(first, minlength=4) - 500).max() < 5 * 19


def test_power_of_two_takes_the_less_loaded_of_two_drawn(run):
    # All at 0 on 5 replicas: loads only grow, so they can be counted here.
    fleet = Fleet(one_pool(replicas=5).pools, router="power-of-two")
    loads, expected = [0] * 5, []
    for index in range(60):
        first = int(uniform(3, index, 0, 0) * 5)
        second = [i for i in range(5) if i != first][int(uniform(3, index, 0, 1) * 4)]
        low, high = sorted((first, second))
        expected.append(low if loads[low] <= loads[high] else high)
        loads[expected[-1]] += 1
    assert run(make_trace(np.zeros(60), [1] * 60, [1] * 60), fleet, 3)["replica"] == expected
    # With one eligible there is nothing to draw.
    fleet = fleet_of((20, 400), router="power-of-two")
    assert run(make_trace(np.zeros(3), [30] * 3, [1] * 3), fleet)["pool"] == [1, 1, 1]


# ---- the pool by the length ----


def test_length_among_three_pools(run):
    fleet = fleet_of((10, 20, 50), router="length", boundaries_tokens=(10, 20))
    outcome = run(make_trace(np.zeros(6), [9, 10, 19, 20, 49, 50], [1] * 6), fleet)
    assert outcome["pool"] == [0, 1, 1, 2, 2, 2]
    assert outcome["is_rejected"] == [False] * 5 + [True]


def test_each_pool_has_a_round_of_its_own(run):
    fleet = fleet_of((20, 400), (2, 2), router="length", boundaries_tokens=(20,), balancer="round-robin")
    outcome = run(make_trace(np.zeros(6), [5, 30, 5, 5, 30, 30], [1] * 6), fleet)
    assert outcome["pool"] == [0, 1, 0, 0, 1, 1]
    assert outcome["replica"] == [0, 0, 1, 0, 1, 0]


@pytest.mark.parametrize("balancer", ["least-loaded", "shortest-queue-tokens"])
def test_the_balancer_chooses_within_the_pool(run, balancer):
    # Loads of 1 and 1 request, 9 and 2 tokens.
    fleet = fleet_of((20, 400), (2, 1), router="length", boundaries_tokens=(20,), balancer=balancer)
    outcome = run(make_trace(np.zeros(3), [9, 2, 1], [1] * 3), fleet)
    assert outcome["pool"] == [0, 0, 0]
    assert outcome["replica"] == [0, 1, 0 if balancer == "least-loaded" else 1]


def test_compress_and_route_takes_the_lowest_pool_of_several(run):
    fleet = fleet_of((20, 40, 400), router="compress-and-route", boundaries_tokens=(20, 40), gamma=2.0)
    cases = [  # total, output, compressible -> pool, prompt
        (30, 5, True, 0, 15),
        (30, 5, False, 1, 25),
        (30, 25, True, 1, 5),  # pool 0 has no room for the output, and it fits pool 1 as it is
        (40, 5, True, 0, 15),  # 2 x 20 exactly
        (41, 3, True, 1, 37),
        (50, 25, True, 1, 15),
        (80, 39, True, 1, 1),
        (80, 40, True, 2, 40),
        (81, 3, True, 2, 78),
        (20, 5, True, 0, 15),  # fits
    ]
    trace = make_trace(np.zeros(len(cases)), [c[0] - c[1] for c in cases], [c[1] for c in cases], [c[2] for c in cases])
    outcome = run(trace, fleet)
    assert list(zip(outcome["pool"], outcome["prompt"], strict=True)) == [case[3:] for case in cases]


def test_the_edge_of_the_compression_band_is_taken_in_whole_tokens(run):
    # 1.15 x 100 is 114.99... in floating point
    fleet = fleet_of((100, 400), router="compress-and-route", boundaries_tokens=(100,), gamma=1.15)
    outcome = run(make_trace(np.zeros(2), [105, 106], [10, 10], [True, True]), fleet)
    assert outcome["pool"] == [0, 1]


def test_spill_over_goes_on_to_a_longer_pool_while_its_own_has_waiting_requests(run):
    # One sequence at a time. A to D come at 0, when nothing runs yet: A waits in the short pool, so B goes to the
    # middle, C to the long one, and D, with one waiting everywhere, to its own. At .5 A, B and C run and D waits: E to
    # the middle, where nobody waits. F, too long for short, belongs there: to the long one. G finds one waiting in
    # both: its own. H has no longer pool. The last two are like A: one waiting, or more, everywhere.
    fleet = fleet_of((20, 40, 400), shape={"max_sequences": 1}, router="spill-over", boundaries_tokens=(20, 40))
    arrival_s = [0.0] * 4 + [0.5] * 6
    prompts = [5, 5, 5, 5, 5, 30, 30, 100, 5, 5]
    outcome = run(make_trace(arrival_s, prompts, [10] * 10), fleet)
    assert outcome["pool"] == [0, 1, 2, 0, 1, 2, 1, 2, 0, 0]


def test_spill_over_waits_for_as_many_as_it_is_told(run):
    fleet = fleet_of((20, 400), router="spill-over", boundaries_tokens=(20,), spill_waiting=2)
    assert run(make_trace(np.zeros(6), [5] * 6, [1] * 6), fleet)["pool"] == [0, 0, 1, 1, 0, 0]


def test_spill_over_looks_at_the_replica_that_the_balancer_chooses_and_moves_one_pointer(run):
    # Two replicas in each pool, in turns. A: short 0. B: short 1. C would get short 0, where A waits: long 0. D would
    # get short 0 as well: long 1. E: one waits on short 0 and on long 0: its own, short 0. The pointer of the long pool
    # stands at 0 again: F, of 31 tokens, there, and G on long 1.
    fleet = fleet_of((20, 400), (2, 2), router="spill-over", boundaries_tokens=(20,), balancer="round-robin")
    outcome = run(make_trace(np.zeros(7), [5, 5, 5, 5, 5, 30, 30], [1] * 7), fleet)
    assert outcome["pool"] == [0, 0, 1, 1, 0, 1, 1]
    assert outcome["replica"] == [0, 1, 0, 1, 0, 0, 1]


def test_spill_over_passes_by_a_longer_pool_that_does_not_accept_the_length(run):
    # The middle pool accepts 40 by its boundary, the last one only 30.
    fleet = fleet_of((20, 40, 30), router="spill-over", boundaries_tokens=(20, 40))
    outcome = run(make_trace(np.zeros(5), [34, 34, 34, 24, 5], [1] * 5), fleet)
    assert outcome["pool"] == [1, 1, 1, 2, 0]
