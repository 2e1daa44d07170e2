"""What a buyer insists on, each checked by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fleetopt.errors import InputError
from fleetopt.planner.baselines import homogeneous
from fleetopt.planner.problem import Offer, Slo
from fleetopt.planner.provision import Provision
from fleetopt.planner.search import plan_fleet
from fleetopt.planner.surface import cost_surface, round_boundaries, size_cell
from tests.unit.planner.samples import PROFILE, problem

PRICE = PROFILE.usd_per_gpu_hour


def one_pool(**changes):
    """The cheapest fleet of one pool with an offer changed; the rest of the changes are the problem's."""
    offer = {name: changes.pop(name) for name in Offer.__dataclass_fields__ if name in changes}
    asked = problem(rate_rps=60.0, spare_replicas=changes.pop("spare_replicas", 0), **changes)
    return homogeneous(replace(asked, offers=tuple(replace(given, **offer) for given in asked.offers)))


BARE = one_pool()


@pytest.mark.parametrize(
    ("provision", "loaded", "replicas"),
    [
        (Provision(), 7, 7),
        (Provision(spare_replicas=2), 7, 9),
        (Provision(min_replicas=4), 1, 4),
        (Provision(spare_replicas=1, min_replicas=4), 5, 6),
        (Provision(availability=0.95), 95, 100),
        (Provision(availability=0.95), 96, 102),
        (Provision(availability=0.5, spare_replicas=1), 3, 6),
        (Provision(availability=0.9, spare_replicas=3), 9, 12),
    ],
)
def test_replicas_are_the_most_that_spares_availability_and_a_minimum_ask_for(provision, loaded, replicas):
    assert provision.replicas(loaded) == replicas


@pytest.mark.parametrize(
    ("gpus_per_replica", "gpus_per_node", "replicas", "gpus"),
    [(1, 1, 5, 5), (2, 1, 5, 10), (1, 8, 9, 16), (4, 8, 3, 16), (3, 8, 3, 16), (16, 8, 2, 32), (12, 8, 2, 32)],
)
def test_gpus_are_whole_nodes_and_a_replica_does_not_straddle_them(gpus_per_replica, gpus_per_node, replicas, gpus):
    assert Provision(gpus_per_node=gpus_per_node).gpus(replicas, gpus_per_replica) == gpus


def test_nodes_and_availability_are_paid_for_and_the_loaded_replicas_stay():
    loaded = BARE.replicas
    assert BARE.pools[0].loaded_replicas == loaded > 4
    nodes = one_pool(gpus_per_node=8).pools[0]
    assert (nodes.replicas, nodes.gpus) == (loaded, 8 * math.ceil(loaded / 8))
    assert nodes.usd_per_hour == pytest.approx(nodes.gpus * PRICE)
    half = one_pool(availability=0.5)
    assert (half.replicas, half.pools[0].loaded_replicas) == (2 * loaded, loaded)
    assert half.fleet().pools[0].replicas == loaded
    assert one_pool(min_replicas=loaded + 3).replicas == loaded + 3


def test_commitments_are_billed_where_they_are_used_and_the_rest_on_demand():
    gpus = BARE.pools[0].gpus
    some = one_pool(committed_gpus=3, committed_usd_per_gpu_hour=0.4 * PRICE)
    assert some.usd_per_hour == pytest.approx((gpus - 3) * PRICE + 3 * 0.4 * PRICE)
    assert some.commitment_saving_usd_per_hour == pytest.approx(3 * 0.6 * PRICE)
    more = one_pool(committed_gpus=gpus + 50, committed_usd_per_gpu_hour=0.4 * PRICE)
    assert more.usd_per_hour == pytest.approx(gpus * 0.4 * PRICE)


def test_commitments_are_counted_over_all_pools():
    asked = problem(rate_rps=60.0, spare_replicas=0)
    committed = replace(asked, offers=(Offer(profile=PROFILE, committed_gpus=4, committed_usd_per_gpu_hour=0.0),))
    boundary = asked.boundary_candidates[len(asked.boundary_candidates) // 2]
    plan = size_cell(committed, (boundary,), 1.0).plan
    gpus = sum(pool.gpus for pool in plan.pools)
    assert min(pool.gpus for pool in plan.pools) < 4 < gpus
    assert plan.usd_per_hour == pytest.approx((gpus - 4) * PRICE)


def test_compressed_requests_are_paid_for():
    asked = problem(rate_rps=60.0, spare_replicas=0, usd_per_compressed_request=1e-5)
    boundary, gamma = 2048, 1.5
    plan = size_cell(asked, (boundary,), gamma).plan
    lengths = asked.lengths
    total = lengths.total_tokens
    taken = (total > boundary) & (total <= gamma * boundary) & (boundary - lengths.output_tokens >= 1)
    compressed = float((lengths.weight * lengths.compressible_fraction)[taken].sum() / lengths.weight.sum())
    assert compressed > 0
    assert plan.compression_usd_per_hour == pytest.approx(60.0 * compressed * 3600 * 1e-5)
    on_demand = sum(pool.gpus for pool in plan.pools) * PRICE
    assert plan.usd_per_hour == pytest.approx(on_demand + plan.compression_usd_per_hour)


def test_compression_that_costs_more_than_it_saves_is_left_out():
    asked = replace(
        problem(rate_rps=200.0, slo_ttft_p99_s=4.0, spare_replicas=0, slot_mode="worst-case"),
        boundaries_tokens=(2048, 4096),
    )
    free, dear = (plan_fleet(replace(asked, usd_per_compressed_request=usd)).plan for usd in (0.0, 1.0))
    assert free.gamma > 1
    assert dear.gamma == 1


def test_a_limit_on_gpus_holds_over_all_pools_and_moves_the_rest_to_another_type():
    dear = PROFILE.model_copy(update={"name": "dear", "usd_per_gpu_hour": 3 * PRICE})
    asked = problem(rate_rps=120.0, spare_replicas=0, profiles=(PROFILE, dear))
    free = plan_fleet(asked).plan
    assert set(free.gpus_by_profile) == {PROFILE.name}
    limit = sum(free.gpus_by_profile.values()) - 1
    limited = plan_fleet(replace(asked, offers=(Offer(profile=PROFILE, max_gpus=limit), Offer(profile=dear)))).plan
    assert limited.gpus_by_profile[PROFILE.name] <= limit
    assert limited.gpus_by_profile["dear"] > 0
    assert limited.usd_per_hour > free.usd_per_hour


def test_a_target_for_one_pool_is_kept_in_that_pool():
    asked = problem(rate_rps=120.0, spare_replicas=0)
    boundary = 2048
    plain = size_cell(asked, (boundary,), 1.0).plan
    tight = size_cell(replace(asked, slo=Slo(ttft_p99_s=2.0, pool_ttft_p99_s={"short": 0.3})), (boundary,), 1.0).plan
    assert plain.pools[0].ttft_p99_s > 0.3
    assert tight.pools[0].ttft_p99_s <= 0.3 * 1.005
    assert tight.pools[0].binding == "P99 TTFT"
    assert tight.pools[1] == plain.pools[1]


def test_a_target_of_the_time_per_output_token_is_kept():
    tight = one_pool(slo_tpot_p99_s=0.02)
    assert BARE.pools[0].tpot_p99_s > 0.02 >= tight.pools[0].tpot_p99_s
    assert tight.pools[0].binding == "P99 TPOT"
    assert tight.replicas > BARE.replicas


def test_worst_case_slots_run_the_engine_with_as_many_as_surely_fit():
    pool = one_pool(slot_mode="worst-case").pools[0]
    blocks = -(-pool.max_context_tokens // PROFILE.block_tokens)
    assert pool.profile.max_sequences == PROFILE.kv_blocks // blocks < PROFILE.max_sequences
    assert pool.profile.name == PROFILE.name


def test_candidates_are_every_distinct_length_that_leaves_requests_on_both_sides():
    asked = problem()
    total = np.unique(asked.lengths.total_tokens)
    assert asked.boundary_candidates == tuple(int(tokens) for tokens in total[:-1])
    given = replace(asked, boundaries_tokens=(1, 4096, int(total[-1]), 2048, 4096, 10**6))
    assert given.boundary_candidates == (2048, 4096)
    with pytest.raises(InputError, match="least is 1"):
        replace(asked, boundaries_tokens=(0,))


def test_the_surface_says_why_a_cell_has_no_plan():
    asked = replace(problem(rate_rps=20.0, max_gamma=3.0, gamma_step=1.0), boundaries_tokens=(2048,))
    everything = replace(asked.lengths, compressible_fraction=np.ones(len(asked.lengths)))
    longest = int(asked.lengths.total_tokens[-1])
    cells = cost_surface(replace(asked, lengths=everything), (2048, longest - 1))
    empty = [cell for cell in cells if cell.plan is None]
    assert [cell.boundaries_tokens for cell in cells][:1] == [()]
    assert {cell.boundaries_tokens for cell in empty} == {(longest - 1,)}
    assert all("the long pool gets no request" in cell.reason for cell in empty)
    assert set(round_boundaries(asked)) == {2048}


def test_a_limit_on_gpus_holds_for_three_pools_too():
    asked = problem(rate_rps=200.0, slo_ttft_p99_s=4.0, spare_replicas=0, slot_mode="worst-case", max_pools=3)
    asked = replace(asked, boundaries_tokens=(1024, 2048, 4096))
    enough = sum(plan_fleet(asked).plan.gpus_by_profile.values())
    for limit in (enough, enough - 1, enough // 2):
        plan = plan_fleet(replace(asked, offers=(Offer(profile=PROFILE, max_gpus=limit),))).plan
        assert (plan is not None) == (limit >= enough)
