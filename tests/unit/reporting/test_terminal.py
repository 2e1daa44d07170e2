import io

import pytest
from rich.console import Console, RenderableType

from fleetopt.reporting.terminal import recommendation_table
from tests.unit.reporting.samples import ALL_DOCUMENTS, document

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


def test_an_infeasible_recommendation_has_no_numbers_to_order() -> None:
    text = printed(recommendation_table(ALL_DOCUMENTS["infeasible"], report=REPORT, feed=FEED), 80)
    assert "NONE: There is no plan to buy" in words(text)
    assert "The all pool's P99 TTFT is 1.2 s" in words(text)
    assert "$" not in text


def test_brackets_are_no_markup() -> None:
    text = printed(recommendation_table(document(model="[red]m[/red]"), report="[b]r", feed="[/b]f"), 100)
    for part in ("[red]m[/red]", "[b]r", "[/b]f"):
        assert part in text
