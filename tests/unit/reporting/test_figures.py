import xml.etree.ElementTree as ET
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import polars as pl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fleetopt.reporting.drawing import png_bytes, svg_text
from fleetopt.reporting.figures import cost_figure, length_cdf_figure, report_figures, ttft_figure
from tests.unit.reporting.samples import ALL_DOCUMENTS, ONE_POOL, TARGET_S, candidates, length_cdf

THREE = {"chat": 700.0, "code": 2600.0, "agent": 9000.0}
TEN = {f"class-{index}": 200.0 * 2**index for index in range(10)}
CASES = {
    "two-pools": ("confirmed", length_cdf(THREE), candidates()),
    "one-pool": ("one-pool", length_cdf({"chat": 700.0, "all": 700.0}), candidates(ONE_POOL, gammas=1)),
    "infeasible": ("infeasible", length_cdf({**THREE, "all": 1500.0}), candidates(None, is_feasible=False)),
    "ten-archetypes": ("refuted", length_cdf(TEN), candidates(gammas=31)),
    "one-row": ("undecided", length_cdf({"chat": 1000.0}, points=1), candidates().head(1)),
}


def figures_of(case: str) -> dict[str, Figure]:
    name, cdf, searched = CASES[case]
    return report_figures(ALL_DOCUMENTS[name], cdf, searched)


def labelled(figure: Figure) -> dict[str, object]:
    return {
        str(line.get_label()).replace("\n", " "): line
        for axes in figure.axes
        for line in [*axes.lines, *axes.patches]
        if not str(line.get_label()).startswith("_")
    }


@pytest.mark.parametrize("case", CASES)
def test_each_case_draws_inside_its_figure_and_covers_no_data(case: str) -> None:
    for name, figure in figures_of(case).items():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        whole = figure.bbox
        legend = figure.legends[0].get_window_extent()
        assert whole.x0 <= legend.x0
        assert legend.x1 <= whole.x1 + 1
        assert figure.legends[0].get_texts() != []
        for axes in figure.axes:
            box = axes.get_window_extent()
            assert not legend.overlaps(box), name
            tight = axes.get_tightbbox()
            assert tight is not None
            assert whole.x0 <= tight.x0 + 1, name
            assert tight.x1 <= whole.x1 + 1, name
            assert box.height > 0.4 * whole.height or name == "ttft"
            assert box.width > 0.35 * whole.width


@pytest.mark.parametrize("case", CASES)
def test_tick_labels_do_not_touch(case: str) -> None:
    for name, figure in figures_of(case).items():
        FigureCanvasAgg(figure).draw()
        for axes in figure.axes:
            low, high = axes.get_xlim()
            labels = [
                label.get_window_extent()
                for label, tick in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)
                if low <= tick <= high
            ]
            assert all(left.x1 < right.x0 for left, right in pairwise(labels)), name


@pytest.mark.parametrize("case", CASES)
def test_svg_is_the_same_every_time_and_self_contained(case: str) -> None:
    first = {name: svg_text(figure, name) for name, figure in figures_of(case).items()}
    assert first == {name: svg_text(figure, name) for name, figure in figures_of(case).items()}
    ids: list[str] = []
    for text in first.values():
        root = ET.fromstring(text)  # noqa: S314 - our own text
        assert root.tag.endswith("svg")
        ids += [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
        links = [value for element in root.iter() for key, value in element.attrib.items() if key.endswith("href")]
        assert all(link.startswith("#") for link in links)
        assert "<style" not in text
    assert len(ids) == len(set(ids))


def test_png_is_a_png() -> None:
    (figure, *_) = figures_of("two-pools").values()
    assert png_bytes(figure).startswith(b"\x89PNG\r\n")
    assert png_bytes(figure) == png_bytes(figure)


def test_drawing_leaves_the_settings_alone() -> None:
    before = dict(mpl.rcParams)
    for name, figure in figures_of("two-pools").items():
        svg_text(figure, name)
    assert dict(mpl.rcParams) == before


def test_the_cdf_is_the_step_function_of_its_rows() -> None:
    cdf = length_cdf(THREE)
    figure = length_cdf_figure(ALL_DOCUMENTS["confirmed"], cdf)
    line = labelled(figure)["code"]
    assert line.get_drawstyle() == "steps-post"
    rows = cdf.filter(pl.col("archetype") == "code")
    tokens, fraction = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    np.testing.assert_array_equal(tokens[1:-1], rows["tokens"])
    np.testing.assert_array_equal(fraction[1:-1], rows["fraction"])
    assert (tokens[0], fraction[0], fraction[-1]) == (rows["tokens"][0], 0.0, 1.0)


def test_the_cdf_marks_boundary_and_band() -> None:
    figure = length_cdf_figure(ALL_DOCUMENTS["confirmed"], length_cdf(THREE))
    found = labelled(figure)
    assert set(found["boundary: 4,096 tokens"].get_xdata()) == {4096}
    band = found["compression band: to 6,144 tokens"].get_extents().transformed(figure.axes[0].transData.inverted())
    assert (band.x0, band.x1) == pytest.approx((4096, 6144))
    assert not any(
        "boundary" in name for name in labelled(length_cdf_figure(ALL_DOCUMENTS["one-pool"], length_cdf(THREE)))
    )


def test_one_archetype_is_not_drawn_twice() -> None:
    figure = length_cdf_figure(ALL_DOCUMENTS["one-pool"], length_cdf({"chat": 700.0, "all": 700.0}))
    assert set(labelled(figure)) == {"chat"}


def test_ten_archetypes_look_different() -> None:
    lines = labelled(length_cdf_figure(ALL_DOCUMENTS["one-pool"], length_cdf(TEN))).values()
    assert len({(line.get_color(), str(line.get_linestyle())) for line in lines}) == 10


def test_the_cost_figure_marks_the_plan_and_one_pool() -> None:
    found = labelled(cost_figure(ALL_DOCUMENTS["confirmed"], candidates()))
    plan = found["plan after simulation: $56.28 per hour"]
    assert (plan.get_xdata()[0], plan.get_ydata()[0]) == (4096, 56.28)
    assert set(found["one pool: $92.46 per hour"].get_ydata()) == {92.46}
    assert [name for name in found if name.startswith("gamma")] == [
        f"gamma {g:g}" for g in (1, 1.1, 1.2, 1.3, 1.4, 1.5)
    ]


def test_the_cost_figure_marks_what_is_infeasible() -> None:
    found = labelled(cost_figure(ALL_DOCUMENTS["confirmed"], candidates()))
    assert list(found["infeasible"].get_xdata()) == [64]
    assert list(found["infeasible for some gamma"].get_xdata()) == [256]


def test_a_very_dear_candidate_does_not_flatten_the_rest() -> None:
    searched = candidates().with_columns(
        usd_per_hour=pl.when(pl.col("boundary_tokens") == 512).then(9000.0).otherwise("usd_per_hour")
    )
    (axes,) = cost_figure(ALL_DOCUMENTS["confirmed"], searched).axes
    assert axes.get_ylim() == (0, pytest.approx(1.05 * 2.5 * 92.46))
    assert axes.get_ylabel() == "USD per hour"


def test_fleets_of_similar_cost_are_told_apart() -> None:
    searched = candidates().with_columns(usd_per_hour=600 + pl.col("usd_per_hour") / 10)
    (axes,) = cost_figure({**ALL_DOCUMENTS["confirmed"], "plan": None}, searched).axes
    low, high = axes.get_ylim()
    assert high - low < 2 * (searched["usd_per_hour"].max() - searched["usd_per_hour"].min())
    assert "does not start at 0" in axes.get_ylabel()


def test_an_infeasible_search_says_so() -> None:
    figure = cost_figure(ALL_DOCUMENTS["infeasible"], candidates(None, is_feasible=False))
    assert "No candidate meets the target" in [text.get_text() for text in figure.axes[0].texts]


def test_the_ttft_figure_shows_shares_target_and_prediction() -> None:
    document = ALL_DOCUMENTS["confirmed"]
    figure = ttft_figure(document)
    short, long = figure.axes
    lines = {str(line.get_label()): line for line in long.lines}
    assert set(lines[f"target: P99 of at most {TARGET_S:g} s"].get_xdata()) == {TARGET_S}
    predicted = lines["predicted P99, planned peak"]
    assert (predicted.get_xdata()[0], predicted.get_ydata()[0]) == (0.442, 0.01)
    peak = lines["simulated, planned peak"]
    item = next(e for e in document["evidence"] if (e["pool"], e["scenario"]) == ("long", "poisson_peak"))
    at_p99 = dict(zip(np.round(peak.get_ydata(), 6), peak.get_xdata(), strict=True))[0.01]
    assert at_p99 == pytest.approx(item["ttft_p99_s"])
    assert [axes.get_title("left") for axes in (short, long)] == [
        f"Time to first token, {p} pool" for p in ("short", "long")
    ]


def test_a_pool_that_no_request_reaches_is_explained() -> None:
    figure = ttft_figure(ALL_DOCUMENTS["undecided"])
    assert any("no request" in text.get_text() for text in figure.axes[1].texts)
    assert not any("no request" in text.get_text() for text in figure.axes[0].texts)


def test_no_evidence_gives_no_ttft_figure() -> None:
    assert list(figures_of("infeasible")) == ["length_cdf", "cost_by_boundary"]
    with pytest.raises(ValueError, match="no evidence"):
        ttft_figure(ALL_DOCUMENTS["infeasible"])


def test_dollar_signs_and_markup_in_names_are_plain_text() -> None:
    text = svg_text(length_cdf_figure(ALL_DOCUMENTS["one-pool"], length_cdf({"a$b$<i>": 700.0})), "length_cdf")
    assert "a$b$<i>" in [element.text for element in ET.fromstring(text).iter()]  # noqa: S314 - our own text
