import math
from dataclasses import replace

from fleetopt.reporting.fidelity import fidelity_json, fidelity_markdown, fidelity_table, within_target
from tests.unit.reporting.cells import CELLS, cell
from tests.unit.reporting.test_simulation_tables import printed, words


def test_the_table_fits_80_columns_and_tells_every_miss() -> None:
    text = printed(fidelity_table(CELLS))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    rows = [line.split() for line in text.splitlines() if line.startswith("azure ")]
    assert [row[1:6] for row in rows] == [
        ["8", "0.3", "1.010", "1.010", "1.050"],
        ["8", "0.7", "1.010", "1.010", "1.500*"],
    ]
    assert words(text).count("Miss: azure, 8 replicas, load 0.7") == 2
    assert "Profile a100-llama2-7b: azure." in words(text)


def test_cells_within_target_are_counted() -> None:
    assert within_target(CELLS) == [
        "Iteration: 2 of 2 cells within target",
        "Slots: 2 of 2 cells within target",
        "P99 TTFT: 1 of 2 cells within target",
    ]


def test_a_cell_that_the_model_has_no_equilibrium_for_is_a_miss() -> None:
    lost = cell(math.nan, 0.85)
    lost = replace(lost, figures=tuple(replace(figure, predicted=math.nan) for figure in lost.figures))
    assert "none*" in fidelity_markdown([lost])
    assert '"ttft_p99_s_ratio": null' in fidelity_json([lost])
    assert "NaN" not in fidelity_json([lost])
    assert within_target([lost])[2] == "P99 TTFT: 0 of 1 cells within target"
