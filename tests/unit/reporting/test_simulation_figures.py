from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from fleetopt.reporting.drawing import exceedance, figure_bytes
from fleetopt.reporting.formatting import seconds
from fleetopt.reporting.simulation_figures import comparison_figure, simulation_figure
from fleetopt.simulator import Failure, SimulationResult, simulate
from fleetopt.simulator.comparison import compare_on_trace
from fleetopt.simulator.measures import summarize_run
from fleetopt.workload.trace import make_trace
from tests.unit.reporting.runs import ONE_POOL, TWO_POOLS, requests, watched


@pytest.fixture(scope="module")
def result() -> SimulationResult:
    return watched()


@pytest.fixture(scope="module")
def figure(result: SimulationResult) -> Figure:
    return simulation_figure(result, TWO_POOLS, title="demo $x$", slo_ttft_s=0.5)


def test_every_panel_shows_what_its_title_says(result: SimulationResult, figure: Figure) -> None:
    arrivals, running, waiting, kv, ttft = figure.axes
    timeline = result.timeline
    assert timeline is not None
    p99_s = [result.ttft_quantile_s(0.99, pool=pool) for pool in (0, 1)]
    labels = [f"{name} pool: P99 TTFT {seconds(p99)}" for name, p99 in zip(("short", "long"), p99_s, strict=True)]
    short = {line.get_label(): line for line in running.lines}[labels[0]]
    np.testing.assert_allclose(short.get_ydata(), timeline.running[:, :2].sum(axis=1))
    queued = {line.get_label(): line for line in waiting.lines}
    np.testing.assert_allclose(queued[labels[1]].get_ydata(), timeline.waiting[:, 2])
    assert "held at the gateway: no replica is up" in queued  # while the only long replica is down
    held = {line.get_label(): line for line in kv.lines}[labels[0]].get_ydata()
    share = timeline.kv_blocks / TWO_POOLS.pools[0].profile.kv_blocks
    is_down = (timeline.time_s >= 30) & (timeline.time_s < 60)
    np.testing.assert_allclose(np.asarray(held)[is_down], share[is_down, 1])
    np.testing.assert_allclose(np.asarray(held)[~is_down], share[~is_down, :2].mean(axis=1))
    assert [line.get_xdata()[0] for line in ttft.lines if line.get_marker() == "o"] == p99_s
    assert set({line.get_label(): line for line in ttft.lines}["target: 0.5 s"].get_xdata()) == {0.5}
    titles = [axes.get_title("left") for axes in (arrivals, ttft)]
    assert titles == ["Arrivals", "Time to first token of all finished requests; dots: P99"]
    assert all(axes.get_ylabel() for axes in figure.axes)


def test_the_p99_of_the_figure_is_that_of_the_table() -> None:
    result = watched()
    *_, ttft = simulation_figure(result, TWO_POOLS, title="demo", cut_warm_up=True).axes
    summary = summarize_run(result, TWO_POOLS, None, cut_warm_up=True)
    marks = [line.get_xdata()[0] for line in ttft.lines if line.get_marker() == "o"]
    assert marks == [summary.row("ttft_p99_s", name).estimate for name in ("short", "long")]
    assert marks != [result.ttft_quantile_s(0.99, pool=pool) for pool in (0, 1)]
    assert "after the warm-up" in ttft.get_title("left")


def test_a_single_request_has_a_line_and_none_has_no_scale() -> None:
    one = make_trace([0.0], [100], [5], [True])
    result = simulate(one, ONE_POOL, timeline_interval_s=1.0)
    _, _, waiting, _, ttft = simulation_figure(result, ONE_POOL, title="demo").axes
    assert ttft.lines[0].get_ydata()[0] == 1.0
    assert str(ttft.lines[0].get_label()).endswith(" s (of 1)")
    assert waiting.get_ylim() == (0.0, 1.0)
    rejected = simulate(make_trace([0.0], [10**6], [5], [True]), ONE_POOL, timeline_interval_s=1.0)
    *_, ttft = simulation_figure(rejected, ONE_POOL, title="demo").axes
    assert [text.get_text() for text in ttft.texts] == ["no request was served"]
    assert not len(ttft.get_yticks())


@pytest.mark.parametrize("kind", ["svg", "pdf", "png"])
def test_the_same_run_gives_the_same_file(result: SimulationResult, kind: str) -> None:
    content, again = (
        figure_bytes(simulation_figure(result, TWO_POOLS, title="demo $x$", slo_ttft_s=0.5), kind, "a")
        for _ in range(2)
    )
    assert content == again
    if kind == "svg":
        assert b"demo $x$" in content


def test_a_run_needs_a_timeline() -> None:
    with pytest.raises(ValueError, match="no timeline"):
        simulation_figure(simulate(requests(), ONE_POOL), ONE_POOL, title="demo")
    with pytest.raises(ValueError, match="unknown kind of figure 'jpg'"):
        figure_bytes(Figure(), "jpg", "a")


def test_the_differences_are_in_percent_of_the_first_fleet() -> None:
    comparison = compare_on_trace(requests(), {"two": TWO_POOLS, "one": ONE_POOL}, 0)
    levels, differences = comparison_figure(comparison, title="demo").axes
    assert {str(line.get_label()).partition(" (")[0] for line in levels.lines} >= {"two", "one"}
    names = [label.get_text() for label in differences.get_yticklabels()]
    rows = {row.metric: row for row in comparison.differences["one"] if row.pool is None}
    closed, hollow = (np.asarray(line.get_xdata(), dtype=float) for line in differences.lines[:2])
    drawn = dict(zip(names, closed, strict=True))
    p50 = rows["ttft_p50_s"]
    assert drawn["TTFT P50"] == pytest.approx(100 * (p50.second / p50.first - 1))
    assert "Within targets" not in names  # there are none
    assert not any(rows[metric].is_bounded for metric in ("slot_utilization", "kv_utilization"))
    assert np.isnan([drawn["Slots used"], drawn["KV used"]]).all()  # hollow instead
    assert len(hollow) == np.isnan(closed).sum() == 2
    assert differences.lines[1].get_markerfacecolor() == "white"
    bars = differences.collections[0]
    first = bars.get_segments()[0][:, 0]
    np.testing.assert_allclose(first, [100 * p50.lower / p50.first, 100 * p50.upper / p50.first])


def test_exceedance_is_the_share_above_a_value() -> None:
    values = np.array([3.0, 1.0, 2.0, 2.0])
    value, share = exceedance(values)
    assert (value[-1], share[-1]) == (3.0, 0.0)
    assert all((values > v).mean() == s or v == 2.0 for v, s in zip(value, share, strict=True))
    value, share = exceedance(np.arange(100_000.0))
    assert len(value) <= 400
    np.testing.assert_allclose(share, 1 - (value + 1) / 100_000, atol=1e-12)
    assert (np.diff(value) > 0).all()
    assert exceedance(np.empty(0))[0].size == 0


def test_failures_out_of_sight_do_not_stretch_the_panels(result: SimulationResult, figure: Figure) -> None:
    ended, to_come = Failure("short", 0, -1e9, -1e8), Failure("short", 1, 1e8, 1e9)
    further = simulation_figure(
        result, replace(TWO_POOLS, failures=(*TWO_POOLS.failures, ended, to_come)), title="demo"
    )
    assert [axes.get_xlim() for axes in further.axes[:4]] == [axes.get_xlim() for axes in figure.axes[:4]]
    assert [len(axes.patches) for axes in further.axes[:4]] == [len(axes.patches) for axes in figure.axes[:4]]
