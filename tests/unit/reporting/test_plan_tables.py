"""What `fleetopt plan` prints, draws and gives to other programs."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from fleetopt.planner.problem import Offer
from fleetopt.reporting.drawing import figure_bytes
from fleetopt.reporting.plan_figures import cost_map
from fleetopt.reporting.plan_json import NO_FLEET, answer_json, fleet_json
from fleetopt.reporting.plan_tables import answer_tables
from tests.unit.reporting.answers import CERTIFICATE, PUBLISHED, answer, cells
from tests.unit.reporting.samples import LEFT_OUT, ONE_POOL, PROFILE, ROUTED, THREE_POOLS, TWO_POOLS


def printed(renderable: RenderableType, width: int = 80) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, no_color=True, force_terminal=False).print(renderable)
    return stream.getvalue()


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("plan", [ONE_POOL, TWO_POOLS, THREE_POOLS, None])
@pytest.mark.parametrize("is_verified", [False, True])
def test_tables_fit_and_lose_nothing(plan, width, is_verified):
    text = printed(answer_tables(answer(plan, is_verified=is_verified)), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "P99 time to first token of at most 0.5 s, 0.4 s in the short pool" in words(text)


def test_a_plan_beside_what_one_would_buy_without_it():
    text = printed(answer_tables(answer()))
    rows = {line[:18].strip(): line.split() for line in text.splitlines()}
    assert rows["Replicas"] == ["Replicas", "9", "(1", "spare)", "5", "(1", "spare)"]
    assert rows["published says"][-3:] == ["unstable", "0.280", "s"]
    assert words(text).count("256 requests a replica") == 2
    assert rows["this plan"][-2:] == ["$56.28", "-"]
    assert rows["one pool"][-3:] == ["$92.46", "39.1", "%"]
    assert rows["two pools, routed"][-3:] == ["$64.32", "12.5", "%"]
    assert "does not hold" in text
    assert "its short pool, claimed to have a P99 TTFT of 0.0200 s, cannot carry its load" in words(text)
    assert "not simulated (--verify does)" in words(text)


def test_a_published_fleet_that_holds_is_compared_by_price():
    holds = replace(answer(), published=replace(PUBLISHED, sound_ttft_p99_s=(0.39, 0.49)))
    text = printed(answer_tables(holds))
    assert "does not hold" not in text
    late = replace(answer(), published=replace(PUBLISHED, sound_ttft_p99_s=(0.41, 0.49)))
    assert "does not hold" in printed(answer_tables(late))
    unserved = replace(holds, published=replace(holds.published, unserved_fraction=0.01))
    assert "it has no pool for the longest 1.0 % of requests" in words(printed(answer_tables(unserved)))


def test_a_verified_plan_says_what_the_simulator_found():
    text = words(printed(answer_tables(answer(is_verified=True))))
    assert "simulated 0.285 s 0.407 s 95 % interval 0.277 to 0.297 0.394 to 0.423 verdict confirmed confirmed" in text
    assert "CONFIRMED: in every pool the upper 95 % bound" in text


def test_the_certificate_says_why():
    text = words(printed(answer_tables(answer()), 100))
    assert "routing $28.14, compression $8.04, GPU types $0.00 per hour, against one pool" in text
    assert "1 request/s more costs $1.10 per hour, 1 less saves $0.90 (on average over 40.0 requests/s)" in text
    assert "1 request/s more costs $4.40 per hour (on average over 5.00 requests/s)" in text
    assert "4,096 tokens cost $0.40 in the short pool, $1.20 in the long one, 3.00 times as much" in text
    assert "boundary down 3,072 1.5 - $58.00 3.1 %" in text
    assert "boundary up 6,144 1.5 - infeasible -" in text
    assert "next best 1 4,096 1" in text
    found = answer_json(answer())["certificate"]
    assert found["cliffs"][0]["ratio"] == pytest.approx(3.0)
    assert [plan["usd_per_hour"] for plan in found["next_best"]] == pytest.approx([64.32, 92.46])
    assert found["savings"][0] == {"cause": "routing", "usd_per_hour": 28.14}


def test_boundaries_that_were_left_out_are_told():
    found = answer()
    assert "not searched in full" not in words(printed(answer_tables(found)))
    assert answer_json(found)["search"] == {"plan": None, "pool_routing": None}
    large = replace(found, result=replace(found.result, effort=LEFT_OUT))
    sentence = (
        "5,670 boundaries between pools were not searched in full: "
        "by proven bounds no plan below $51.25 per hour is possible there."
    )
    assert f"Left out {sentence}" in words(printed(answer_tables(large)))
    assert "Two pools, routed" not in words(printed(answer_tables(large)))
    told = {"boundaries_left_out": 5670, "least_usd_per_hour_left_out": 51.25, "note": sentence}
    assert answer_json(large)["search"] == {"plan": told, "pool_routing": None}
    routed = replace(found, routed_effort=replace(LEFT_OUT, least_usd_left_out=0.0))
    text = words(printed(answer_tables(routed)))
    assert "Two pools, routed: 5,670 boundaries between pools were not searched in full: how cheap a" in text
    assert answer_json(routed)["search"]["plan"] is None
    assert answer_json(routed)["search"]["pool_routing"]["least_usd_per_hour_left_out"] is None


def test_several_gpu_types_are_told_apart_in_narrow_columns():
    other = PROFILE.model_copy(update={"name": "fleetopt-a100"})
    short, long = TWO_POOLS.pools
    mixed = replace(TWO_POOLS, pools=(short, replace(long, profile=other)))
    found = answer(mixed)
    problem = replace(found.problem, offers=(Offer(profile=PROFILE), Offer(profile=other)))
    text = words(printed(answer_tables(replace(found, problem=problem))))
    assert "short 9 x fleetopt-h100" in text
    named = [PROFILE.model_copy(update={"name": f"{gpu}-llama3.1-8b"}) for gpu in ("h100", "a100")]
    offers = tuple(Offer(profile=profile) for profile in named)
    pools = tuple(replace(pool, profile=profile) for pool, profile in zip(mixed.pools, named, strict=True))
    found = replace(answer(replace(mixed, pools=pools)), problem=replace(problem, offers=offers))
    text = words(printed(answer_tables(found)))
    assert "short 9 x h100" in text
    assert "long 5 x a100" in text


def test_nothing_saved_is_said():
    found = answer(ONE_POOL)
    nothing = replace(CERTIFICATE, savings=tuple(replace(saving, usd_per_hour=0.0) for saving in CERTIFICATE.savings))
    text = words(printed(answer_tables(replace(found, certificate=nothing))))
    assert "nothing: one pool is as cheap as any fleet" in text


def test_price_of_commitments_and_compression():
    text = words(printed(answer_tables(answer(THREE_POOLS))))
    assert "committed prices take $8.04 per hour off" in text
    assert "compression costs $0.37 of it per hour" in text
    assert "4,096 tokens and 16,384 tokens" in text


def test_no_plan_is_a_reason():
    text = words(printed(answer_tables(answer(None))))
    assert "No plan too [b]slow. Nearest a P99 TTFT of 0.61 s is feasible." in text
    assert "$" not in text


def test_json_has_the_same_keys_with_and_without_a_plan():
    found, none = answer_json(answer(is_verified=True), 0.01, 3.5), answer_json(answer(None))
    assert found.keys() == none.keys()
    assert set(NO_FLEET) == set(fleet_json(TWO_POOLS)) <= set(found)
    assert (found["status"], none["status"], none["reason"]) == ("feasible", "infeasible", "too [b]slow")
    assert {key: none[key] for key in NO_FLEET} == NO_FLEET
    assert found["usd_per_hour"] == pytest.approx(56.28)
    assert found["baselines"]["published"]["pools"][0]["sound_ttft_p99_s"] is None
    assert found["published_predictions"]["short"]["ttft_p99_s"] is None
    assert found["verification"]["verdict"] == "confirmed"
    assert found["problem"]["offers"][0]["max_gpus"] == 40
    assert found["problem"]["rejected_fraction"] == 0.01
    assert (found["problem"]["arrivals"], found["problem"]["index_of_dispersion_10s"]) == ("poisson", 3.5)
    assert none["problem"]["index_of_dispersion_10s"] is None
    json.dumps([found, none], allow_nan=False)


def test_nothing_costs_nothing():
    free = ONE_POOL.pools[0].profile.model_copy(update={"usd_per_gpu_hour": 0.0})
    plan = replace(ONE_POOL, pools=(replace(ONE_POOL.pools[0], profile=free),))
    assert fleet_json(plan)["usd_per_hour"] is None
    assert "unknown: the GPU profile has no price" in words(printed(answer_tables(answer(plan))))


def test_the_map_marks_the_optimum_and_hatches_what_has_no_fleet():
    figure = cost_map(tuple(cells()), TWO_POOLS, ONE_POOL, "48.0 requests/s")
    axes, bar = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1,024", "4,096", "16,384"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "1.5"]
    assert "48.0 requests/s" in axes.get_title(loc="left")
    assert "optimum: two pools, $56.28 per hour; one pool: $92.46 per hour" in axes.get_title(loc="left")
    (frame,) = [patch for patch in axes.patches if patch.get_label() == "optimum"]
    assert (frame.get_x(), frame.get_y()) == (0.5, 0.5)
    assert len([patch for patch in axes.patches if patch.get_hatch()]) == 2
    assert [text.get_text() for text in axes.texts] == ["64.3", "64.3", "64.3", "56.3"]
    assert bar.get_ylabel() == "USD per hour"
    assert figure_bytes(figure, "svg", "map").startswith(b"<svg")


@pytest.mark.parametrize("plan", [None, ONE_POOL, ROUTED, THREE_POOLS])
def test_a_map_of_any_plan_and_of_no_cell(plan):
    assert figure_bytes(cost_map((), plan, ONE_POOL, ""), "svg", "map").startswith(b"<svg")
    many = cells(tuple(range(100, 3100, 50)), (1.0, 1.1))
    assert figure_bytes(cost_map(tuple(many), plan, None, ""), "svg", "map").startswith(b"<svg")
