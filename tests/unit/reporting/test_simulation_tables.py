import io
import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from fleetopt.reporting.simulation_tables import comparison_table, difference_sentences, simulation_table
from fleetopt.simulator import Fleet, Pool, simulate
from fleetopt.simulator.comparison import Comparison, ComparisonRow, compare_on_trace
from fleetopt.simulator.measures import FleetSummary, summarize_run
from fleetopt.simulator.statistics import SloTargets, Stability
from tests.unit.reporting.runs import ONE_POOL, PROFILE, TWO_POOLS, requests

TARGETS = SloTargets(ttft_s=0.5)


def printed(renderable: RenderableType, width: int = 80) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, no_color=True, force_terminal=False).print(renderable)
    return stream.getvalue()


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def summary() -> FleetSummary:
    return summarize_run(simulate(requests(), TWO_POOLS), TWO_POOLS, TARGETS, cut_warm_up=False)


@pytest.fixture(scope="module")
def comparison() -> Iterator[Comparison]:
    yield compare_on_trace(requests(), {"two": TWO_POOLS, "one": ONE_POOL}, 0, targets=TARGETS)


def test_a_run_fits_80_columns_and_loses_nothing(summary: FleetSummary) -> None:
    text = printed(simulation_table(summary, TWO_POOLS, title="[b]demo[/b]", notes=("A note.",)))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    lines = [line.split() for line in text.splitlines()]
    assert ["[b]demo[/b]"] in lines
    assert next(line for line in lines if line[:1] == ["all"])[:4] == ["all", "400", "0", "0"]
    assert "2 x a100-llama2-7b" in text
    p99_s = summary.row("ttft_p99_s", "long").estimate
    of_long = next(line for line in lines if line[:1] == ["long"] and "." in line[1])
    assert of_long[-1] == f"{p99_s:.3g}"
    for part in ("TTFT", "TPOT", "End to end", "Queue wait", "Slots", "KV cache", "Busy", "Compute", "A note."):
        assert part in words(text)
    assert summary.stability.verdict.upper() in text
    assert words(summary.stability.reason) in words(text)


def test_missing_intervals_are_said_to_be_missing(summary: FleetSummary) -> None:
    text = words(printed(simulation_table(summary, TWO_POOLS, title="demo")))
    assert "stand below the figures: batches of one run; Wilson over batches of one run. Where none stands: too" in text
    few = summarize_run(simulate(requests(n=20), ONE_POOL), ONE_POOL, None, cut_warm_up=False)
    text = words(printed(simulation_table(few, ONE_POOL, title="demo")))
    assert "No 95 % intervals: too short a run for batches; utilisations of one run." in text
    assert "stand below" not in text


def test_unstable_figures_and_means_are_said_to_be_what_they_are(summary: FleetSummary) -> None:
    many = replace(summary, replications=7, stability=Stability("unstable", "it grows"))
    text = words(printed(simulation_table(many, TWO_POOLS, title="demo")))
    assert "Figures are means over 7 replications." in text
    assert "no steady state" in text


def test_one_pool_is_not_shown_twice() -> None:
    summary = summarize_run(simulate(requests(), ONE_POOL), ONE_POOL, None, cut_warm_up=False)
    text = printed(simulation_table(summary, ONE_POOL, title="demo"))
    assert sum(line.startswith(("TTFT", "TPOT")) for line in text.splitlines()) == 3  # and what they stand for
    assert "targets" not in text


def test_a_long_gpu_name_is_not_folded(summary: FleetSummary) -> None:
    name = "h100-sxm-llama3-70b-tp4"
    pools = tuple(replace(pool, profile=PROFILE.model_copy(update={"name": name})) for pool in TWO_POOLS.pools)
    text = printed(simulation_table(summary, replace(TWO_POOLS, pools=pools), title="demo"))
    assert text.count(name) == 3


def test_a_comparison_fits_80_columns_and_says_what_it_shows(comparison: Comparison) -> None:
    text = printed(comparison_table(comparison, {"two": TWO_POOLS, "one": ONE_POOL}, title="demo", notes=("A note.",)))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    assert "one against two" in text
    assert "$6.63" in text
    rows = {row.metric: row for row in comparison.differences["one"]}
    line = next(line for line in text.splitlines() if line.startswith("TTFT mean, s")).split()
    assert float(line[5]) == pytest.approx(rows["ttft_mean_s"].difference, rel=0.02)
    assert [float(line[6]), float(line[8])] == pytest.approx(
        [rows["ttft_mean_s"].lower, rows["ttft_mean_s"].upper], rel=0.02
    )
    assert "pp" in text
    assert f"95 % intervals of differences: {rows['ttft_mean_s'].method}. -: " in words(text)
    assert "A note." in text


def test_a_fleet_without_a_price_has_none(comparison: Comparison) -> None:
    free = Fleet((Pool("all", PROFILE.model_copy(update={"usd_per_gpu_hour": 0.0}), 3, 8192),))
    text = printed(comparison_table(comparison, {"two": TWO_POOLS, "one": free}, title="demo"))
    assert next(line for line in text.splitlines() if line.startswith("one ")).split()[2] == "-"


def difference(metric: str, lower: float, upper: float, pool: str | None = None) -> ComparisonRow:
    return ComparisonRow(
        pool=pool,
        metric=metric,
        unit="s",
        first=1.0,
        second=2.0,
        difference=(lower + upper) / 2,
        lower=lower,
        upper=upper,
        variance_reduction=math.nan,
        method="made up",
    )


def test_words_follow_the_intervals() -> None:
    rows = [
        difference("ttft_p50_s", -2.0, -1.0),
        difference("ttft_p99_s", 1.0, 2.0),
        difference("tpot_p50_s", -1.0, 1.0),
        difference("tpot_p99_s", -math.inf, math.inf),
        difference("e2e_p50_s", 1.0, 2.0, pool="short"),
        difference("kv_utilization", 1.0, 2.0),
    ]
    assert difference_sentences("new", rows) == [
        "new is lower in: TTFT P50.",
        "new is higher in: TTFT P99.",
        "Not distinguishable from zero: TPOT P50.",
        "Too few requests to say: TPOT P99.",
    ]
    caution = "The fleets did not finish the same requests, and latencies are of finished ones only."
    assert difference_sentences("new", [*rows, difference("rejected", 10.0, 30.0)])[0] == caution
    assert caution not in difference_sentences("new", [*rows, difference("rejected", 0.0, 0.0)])
