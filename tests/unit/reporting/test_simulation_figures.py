import numpy as np
import pytest
from matplotlib.figure import Figure

from fleetopt.reporting.drawing import exceedance, figure_bytes
from fleetopt.reporting.simulation_figures import comparison_figure, simulation_figure
from fleetopt.simulator import SimulationResult, simulate
from fleetopt.simulator.comparison import compare_on_trace
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
    short = {line.get_label(): line for line in running.lines}["short pool"]
    np.testing.assert_allclose(short.get_ydata(), timeline.running[:, :2].sum(axis=1))
    queued = {line.get_label(): line for line in waiting.lines}
    np.testing.assert_allclose(queued["long pool"].get_ydata(), timeline.waiting[:, 2])
    assert "held at the gateway: no replica is up" in queued  # while the only long replica is down
    held = {line.get_label(): line for line in kv.lines}["short pool"].get_ydata()
    share = timeline.kv_blocks / TWO_POOLS.pools[0].profile.kv_blocks
    is_down = (timeline.time_s >= 30) & (timeline.time_s < 60)
    np.testing.assert_allclose(np.asarray(held)[is_down], share[is_down, 1])
    np.testing.assert_allclose(np.asarray(held)[~is_down], share[~is_down, :2].mean(axis=1))
    marks = {line.get_label(): line for line in ttft.lines}
    p99_s = result.ttft_quantile_s(0.99, pool=0)
    assert marks[f"short pool: P99 {p99_s:.3f} s"].get_xdata()[0] == p99_s
    assert set(marks["target: 0.5 s"].get_xdata()) == {0.5}
    assert [axes.get_title("left") for axes in (arrivals, ttft)] == ["Arrivals", "Time to first token; dots: P99"]
    assert all(axes.get_ylabel() for axes in figure.axes)


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
    assert {line.get_label() for line in levels.lines} == {"two", "one"}
    names = [label.get_text() for label in differences.get_yticklabels()]
    rows = {row.metric: row for row in comparison.differences["one"] if row.pool is None}
    drawn = dict(zip(names, np.asarray(differences.lines[0].get_xdata()), strict=True))
    p50 = rows["ttft_p50_s"]
    assert drawn["TTFT P50"] == pytest.approx(100 * (p50.second / p50.first - 1))
    assert "Within targets" not in names  # there are none
    (bars,) = differences.collections
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
