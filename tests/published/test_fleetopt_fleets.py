"""What becomes of FleetOpt's published fleets: the sound model and the simulator against each other."""

import pytest

from fleetopt.evidence.needed import needed_pool
from fleetopt.evidence.published_figures import SLO_TTFT_P99_S, TABLE_3, TABLE_6, PublishedFleet
from fleetopt.evidence.reproduce import (
    JudgedFleet,
    printed_figures,
    reproduce,
    reproduced_plan,
    workload_lengths,
)
from fleetopt.planner.mixture import split
from fleetopt.planner.published import offered_utilization
from fleetopt.profiles import load_profile
from fleetopt.queueing.pool import predict_pool
from fleetopt.queueing.stability import stability_limit_rps
from fleetopt.queueing.work import request_work


def published(workload: str, kind: str) -> PublishedFleet:
    return next(fleet for fleet in TABLE_3 if (fleet.workload.name, fleet.kind) == (workload, kind))


def judged(workload: str, kind: str) -> JudgedFleet:
    page = reproduce(7, fleets=[published(workload, kind)], requests=120_000, span_s=0.0, replications=2)
    return page.fleets[0]


def test_every_printed_figure_is_reproduced() -> None:
    figures = printed_figures()
    assert [figure.what for figure in figures if not figure.is_reproduced] == []
    # Table 3: 21 pools, 12 prices, 9 savings, 3 gammas; Table 5: 6; Table 6: 15 fleets, 10 savings, 5 gammas.
    assert [sum(figure.table == table for figure in figures) for table in (3, 5, 6)] == [45, 6, 30]


def test_the_azure_fleet_that_saves_most_is_offered_far_more_than_it_carries() -> None:
    """48 + 2 GPUs at gamma 2: the share of arrivals that the backlog keeps is what the sound model says, 1 - 1/load."""
    short, long = judged("azure", "FleetOpt").pools
    assert (short.paper.gpus, long.paper.gpus) == (48, 2)
    assert short.offered_utilization == pytest.approx(1.617, rel=0.01)
    assert short.model_load > 1.4
    assert short.model_ttft_p99_s == float("inf")
    assert short.simulated.stability.verdict == "unstable"
    assert short.simulated.backlog_growth.estimate == pytest.approx(1 - 1 / short.model_load, abs=0.05)


def test_routing_alone_is_stable_with_far_fewer_slots_taken_and_far_later_tokens_than_published() -> None:
    """Table 5 says 0.848 of the short pool's slots; section 5 says 20 and 80 ms."""
    for pool in judged("azure", "routing").pools:
        assert pool.simulated.stability.verdict != "unstable"
        assert pool.model_slot_utilization == pytest.approx(pool.simulated.slot_utilization.estimate, rel=0.08)
        assert pool.model_slot_utilization < 0.85 * pool.paper.utilization
        assert pool.model_ttft_p99_s == pytest.approx(pool.simulated.ttft_p99_s.estimate, rel=0.1)
        assert pool.model_ttft_p99_s > 2 * pool.paper.ttft_p99_s


def test_fewest_gpus_is_the_fewest() -> None:
    """One less misses the target or the load; where idle GPUs are too slow there is no number."""
    fleet = published("azure", "FleetOpt")
    short, _ = split(workload_lengths(fleet.workload), (4096,), 2.0)
    profile = load_profile("fleetopt-a100").model_copy(update={"max_sequences": 256})
    rate = 1000.0 * short.requests
    needed = needed_pool("short", short, rate, profile, SLO_TTFT_P99_S)
    assert needed.gpus is not None
    assert needed.model_ttft_p99_s <= SLO_TTFT_P99_S
    work = request_work(profile, short.weight, short.prompt_tokens, short.output_tokens)
    one_less = predict_pool(work, rate, needed.gpus - 1)
    load_of_one_less = rate / ((needed.gpus - 1) * stability_limit_rps(work))
    plan = reproduced_plan(fleet)
    offered = offered_utilization(plan.short, short.weight, short.prompt_tokens, short.output_tokens)
    assert plan.short.gpus < needed.gpus < plan.short.gpus * offered / 0.85
    assert one_less is None or one_less.ttft.quantile(0.99) > SLO_TTFT_P99_S or load_of_one_less > 0.85
    assert needed_pool("short", short, rate, profile, 0.01).gpus is None


def test_table_6_contains_the_row_of_table_3() -> None:
    assert {sum(fleet.gpus) for fleet in TABLE_3 if fleet.workload.name == "agent-heavy"} == {
        sum(fleet.gpus) for fleet in TABLE_6 if fleet.arrival_rate_rps == 1000
    }
