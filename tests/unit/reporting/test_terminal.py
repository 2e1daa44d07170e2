import io
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from fleetopt.planner.plan import PlanResult
from fleetopt.reporting.terminal import plan_table, recommendation_table
from tests.unit.reporting.samples import ALL_DOCUMENTS, ONE_POOL, ROUTED, TWO_POOLS, document

REPORT, FEED = "data/reports/2023-11-16/demo.html", "data/published/demo/2023-11-16-607571dffe10/"


def printed(renderable: RenderableType, width: int) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, no_color=True, force_terminal=False).print(renderable)
    return stream.getvalue()


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("name", ALL_DOCUMENTS)
def test_a_recommendation_fits_and_loses_nothing(name: str, width: int) -> None:
    text = printed(recommendation_table(ALL_DOCUMENTS[name], report=REPORT, feed=FEED), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    for part in (REPORT, FEED, ALL_DOCUMENTS[name]["version"], ALL_DOCUMENTS[name]["verdict"].upper()):
        assert part in text
    assert "P99 time to first token (TTFT) of at most 0.5 s" in words(text)


@pytest.mark.parametrize("width", [80, 100])
def test_a_confirmed_recommendation(width: int) -> None:
    text = printed(recommendation_table(ALL_DOCUMENTS["confirmed"], report=REPORT, feed=FEED), width)
    for part in ("9 (1)", "5 (1)", "65,536", "6.73/s", "41.2 %", "40.5 %", "0.442 s", "0.407 s", "0.394 to 0.423"):
        assert part in text
    for part in (
        "$56.28 per hour, $493,013 per year",
        "39.1 % against one pool for all requests: $36.18 per hour, $316,937 per year.",
        "gamma 1.5: compressible requests up to 6,144 tokens",
        "CONFIRMED: The simulator confirms the plan",
        "27 of 28 days",
    ):
        assert part in words(text)


def test_a_long_gpu_name_is_not_folded() -> None:
    name = "h100-sxm-llama3-70b-tp4"
    renamed = ALL_DOCUMENTS["confirmed"]
    pools = [{**pool, "profile": {**pool["profile"], "name": name}} for pool in renamed["plan"]["pools"]]
    renamed = {**renamed, "plan": {**renamed["plan"], "pools": pools}}
    assert printed(recommendation_table(renamed, report=REPORT, feed=FEED), 80).count(name) == 2
    long_named = ONE_POOL.pools[0].profile.model_copy(update={"name": name})
    two = replace(TWO_POOLS, pools=tuple(replace(pool, profile=long_named) for pool in TWO_POOLS.pools))
    text = printed(plan_table(PlanResult(plan=two), arrival_rate_rps=48.0, slo_ttft_p99_s=0.5), 80)
    assert text.count(name) == 1


def test_an_infeasible_recommendation_has_no_numbers_to_order() -> None:
    text = printed(recommendation_table(ALL_DOCUMENTS["infeasible"], report=REPORT, feed=FEED), 80)
    assert "NONE: There is no plan to buy" in words(text)
    assert "The all pool's P99 TTFT is 1.2 s" in words(text)
    assert "$" not in text


def test_brackets_are_no_markup() -> None:
    text = printed(recommendation_table(document(model="[red]m[/red]"), report="[b]r", feed="[/b]f"), 100)
    for part in ("[red]m[/red]", "[b]r", "[/b]f"):
        assert part in text


@pytest.mark.parametrize("width", [80, 100])
def test_a_plan_beside_its_baselines(width: int) -> None:
    result = PlanResult(plan=TWO_POOLS, homogeneous=ONE_POOL, pool_routing=ROUTED)
    text = printed(plan_table(result, arrival_rate_rps=47.94, slo_ttft_p99_s=0.5), width)
    assert "…" not in text
    lines = {line.split("  ")[0].strip(): line.split() for line in text.splitlines()}
    assert lines["Cost per hour"][-3:] == ["$56.28", "$92.46", "$64.32"]
    assert lines["Plan saves"][-5:] == ["-", "39.1", "%", "12.5", "%"]
    assert lines["Gamma"][-3:] == ["1.5", "-", "1"]
    assert lines["Replicas"][-5:] == ["short", "9", "23", "short", "10"]
    assert lines["GPU type"][-3:] == ["fleetopt-h100"] * 3


def test_a_plan_without_baselines_and_no_plan() -> None:
    alone = printed(plan_table(PlanResult(plan=ONE_POOL), arrival_rate_rps=48.0, slo_ttft_p99_s=0.5), 80)
    assert "$92.46" in alone
    none = printed(
        plan_table(PlanResult(plan=None, reason="too [b]slow"), arrival_rate_rps=1.0, slo_ttft_p99_s=0.5), 80
    )
    assert "No plan: too [b]slow." in none
