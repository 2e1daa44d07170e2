from html.parser import HTMLParser

import pytest

from fleetopt.reporting.differences import with_previous
from fleetopt.reporting.drawing import svg_text
from fleetopt.reporting.figures import report_figures
from fleetopt.reporting.page import render_page
from tests.unit.reporting.samples import (
    ACCURACY,
    ALL_DOCUMENTS,
    PROVENANCE,
    QUALITY,
    ROUTED,
    candidates,
    document,
    length_cdf,
)

VOID = {"meta", "link", "br", "img", "hr", "input"}
EVIL = '<script>alert("x")</script>'


class Page(HTMLParser):
    """Text, tags and links of a page; tags have to be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for key, value in attrs if key in {"src", "href", "xlink:href", "action"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"style"}:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page(name: str, *, previous=None, **changes) -> Page:
    arguments = {"figures": {}, "accuracy": [], "quality": QUALITY, "provenance": PROVENANCE, **changes}
    return Page(render_page(with_previous(ALL_DOCUMENTS[name], previous), **arguments))


def test_boundaries_that_were_left_out_are_a_limitation() -> None:
    usual, large = ALL_DOCUMENTS["confirmed"]["limitations"], ALL_DOCUMENTS["left-out"]["limitations"]
    for_plan, for_baseline = (text for text in large if text not in usual)
    assert for_plan == (
        "In the search for the plan, 5,670 boundaries between pools were not searched in full: "
        "by proven bounds no plan below $51.25 per hour is possible there."
    )
    assert for_baseline.startswith("In the search for the pool-routing baseline, 5,670 boundaries")
    assert for_plan in page("left-out").text


@pytest.mark.parametrize("name", ALL_DOCUMENTS)
def test_a_page_loads_nothing_and_runs_nothing(name: str) -> None:
    drawn = report_figures(ALL_DOCUMENTS[name], length_cdf({"chat": 700.0}), candidates())
    figures = {key: svg_text(figure, key) for key, figure in drawn.items()}
    shown = page(name, figures=figures, accuracy=ACCURACY)
    assert "svg" in shown.tags
    assert not shown.tags & {"script", "link", "img", "iframe", "object"}
    assert all(link.startswith("#") for link in shown.links)


@pytest.mark.parametrize(
    ("name", "headline"),
    [
        ("confirmed", "Confirmed: ready to order Run 9 x fleetopt-h100 (short pool) and 5 x fleetopt-h100 (long pool)"),
        ("refuted", "Refuted: do not buy Do not buy: the simulator refutes the plan."),
        ("undecided", "Undecided: do not buy yet Do not buy yet:"),
        (
            "infeasible",
            "No plan: nothing to buy No fleet of the declared hardware meets the target: the all pool's P99",
        ),
    ],
)
def test_the_headline_says_the_verdict(name: str, headline: str) -> None:
    assert headline in page(name).text


def test_only_a_confirmed_plan_reads_as_one_to_buy() -> None:
    assert "not to be bought" not in page("confirmed").text
    for name in ("refuted", "undecided"):
        text = page(name).text
        assert "The plan that was tried, not to be bought" in text
        assert "Cost per hour (not confirmed)" in text
        assert f"None to claim: the plan is {name}." in text
        assert "ready to order" not in text


def test_cost_and_saving() -> None:
    text = page("confirmed").text
    for part in ("$56.28", "$493,013", "39.1 %", "$36.18 per hour, $316,937 per year", "4,096 tokens", "6,144 tokens"):
        assert part in text


def test_there_is_a_reason_where_no_saving_is_claimed() -> None:
    assert "one pool for all requests is itself the cheapest fleet found" in page("one-pool").text
    assert "no fleet of one pool meets the target" in page("bare").text


def test_differences() -> None:
    text = page("confirmed", previous=ALL_DOCUMENTS["one-pool"]).text
    assert "pool all: 23 x fleetopt-h100 no longer needed" in text
    assert "Cost per hour: -$48.24" in text
    bare = page("bare").text
    assert "This is the first recommendation for this fleet." in bare
    assert "The configuration declares no running fleet." in bare


def test_an_infeasible_page_tells_nobody_to_drop_a_pool() -> None:
    text = page("infeasible", previous=ALL_DOCUMENTS["confirmed"]).text
    assert "no longer needed" not in text
    assert text.count("Nothing changes: there is no plan.") == 2


def test_predicted_against_simulated() -> None:
    text = page("confirmed").text
    assert "long Poisson stream at the planned peak 4 200,000 10 runs" in text
    assert "10 runs 41.2 % published 84.0 % 40.5 % 0.442 s published 0.282 s 0.407 s 0.394 to 0.423 s confirmed" in text
    assert "no request of the day reaches this pool" in page("undecided").text
    assert "long pool undecided with 4 replicas: 1 added" in page("undecided").text


def test_three_pools_and_what_their_price_holds() -> None:
    text = page("three-pools").text
    assert "Boundary: 4,096 and 16,384 tokens" in text
    assert "up to 6,144 tokens go to the short pool, then up to 24,576 tokens go to the middle pool" in text
    assert "committed prices take $8.04 per hour off" in text
    assert "costs $0.37 per hour" in text
    assert "The prediction is weak here: short pool: KV is scarce [1]." in text
    assert "published unstable" in text


def test_accuracy_of_the_day_before() -> None:
    text = page("confirmed", accuracy=ACCURACY).text
    assert "Version 0123456789ab of 2023-11-15, replayed with the requests of 2023-11-16:" in text
    assert "short P99 TTFT 0.244 s 0.305 s 0.214 s - held" in text
    assert "long slot utilization 31.2 % 39.0 % 8.0 % - held" in text
    assert "There is none: no earlier recommendation" in page("confirmed").text


def test_observed_latency() -> None:
    assert "These logs hold no latencies" in page("confirmed", accuracy=ACCURACY).text
    seen = [{**ACCURACY[0], "observed": 0.2811}]
    text = page("confirmed", accuracy=seen).text
    assert "0.281 s" in text
    assert "hold no latencies" not in text
    assert "their P99 time to first token is 0.290 s" in page("confirmed", observed_ttft_p99_s=0.29).text


def test_data_behind_the_plan() -> None:
    text = page("confirmed").text
    assert "27 of 28 days (2023-10-20 to 2023-11-16); missing: 2023-10-20." in text
    assert "azure-chat 2023-11-16 azure 19,366 19,363 0 3 0" in text
    assert "mooncake-agent 2023-11-16 mooncake 23,608 23,603 12 3 2" in text
    assert "Source mooncake-agent: arrival times are in steps of 3 s (1,181 distinct ones)" in text
    assert "Source azure-code: 4.0% of the prompts pile up at 7,437 tokens" in text
    assert "Source azure-chat:" not in text
    assert "there are no logs from before 2023-10-20" in page("bare").text


def test_the_balance_is_summed_over_days() -> None:
    two_days = [*QUALITY, *({**row, "day": row["day"].replace(day=15)} for row in QUALITY)]
    assert "azure-code 2023-11-15 to 2023-11-16 azure 17,638 17,634 0 0 4" in page("confirmed", quality=two_days).text


def test_technical_details() -> None:
    text = page("confirmed").text
    for part in (
        ALL_DOCUMENTS["confirmed"]["version"],
        "20260316",
        "fddc60d",
        "delta_versions.core_arrivals 12",
        "9f" * 32,
    ):
        assert part in text


def test_user_text_is_escaped() -> None:
    hostile = document(ROUTED, model=EVIL, caveats=(EVIL,))
    quality = [{**QUALITY[0], "source": EVIL, "format": EVIL}]
    accuracy = [{**ACCURACY[0], "pool": EVIL}]
    text = render_page(hostile, figures={}, accuracy=accuracy, quality=quality, provenance={EVIL: {EVIL: [EVIL]}})
    assert "script" not in Page(text).tags
    assert Page(text).text.count('alert("x")') >= 6


def test_a_page_is_the_same_every_time() -> None:
    arguments = {"figures": {}, "accuracy": ACCURACY, "quality": QUALITY, "provenance": PROVENANCE}
    first = render_page(ALL_DOCUMENTS["confirmed"], **arguments)
    assert first == render_page(ALL_DOCUMENTS["confirmed"], **arguments)
