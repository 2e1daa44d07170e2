"""`fleetopt evidence fidelity`: which cells it asks for, and what it makes of them."""

import csv
import json
from pathlib import Path

import pytest

from fleetopt.errors import InputError
from fleetopt.evidence import fidelity
from fleetopt.profiles import load_profile
from tests.unit.cli.runs import run, write_requests
from tests.unit.reporting.cells import CELLS


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict:
    """Hand-made cells instead of minutes of simulation; what was asked for is kept."""
    kept: dict = {}

    def fidelity_cells(workloads, seed, *, loads, replicas, clock, on_progress):
        kept.update(workloads=workloads, seed=seed, loads=list(loads), replicas=list(replicas))
        assert clock() <= clock()
        on_progress(0, len(CELLS), "azure: stability limit")
        return iter(CELLS)

    monkeypatch.setattr(fidelity, "fidelity_cells", fidelity_cells)
    return kept


def test_all_published_workloads_and_the_full_grid_by_default(asked: dict) -> None:
    text = run("evidence", "fidelity").stdout
    assert set(asked["workloads"]) == {"azure", "lmsys", "agent-heavy"}
    assert (asked["loads"], asked["replicas"]) == ([0.1, 0.3, 0.5, 0.7, 0.85], [1, 8, 64])
    assert "P99 TTFT: 1 of 2 cells within target" in text


def test_quick_is_smaller_and_gives_way_to_what_is_asked(asked: dict) -> None:
    run("evidence", "fidelity", "--quick", "--workload", "azure", "--load", 0.4)
    assert (list(asked["workloads"]), asked["loads"], asked["replicas"]) == (["azure"], [0.4], [1, 8])


def test_a_profile_gets_room_for_long_requests_and_says_so(asked: dict, tmp_path: Path) -> None:
    path = write_requests(tmp_path / "a.parquet", n=50)
    run("evidence", "fidelity", "--workload", "lmsys", "--requests", f"mine={path}", "--requests", f"mine={path}")
    (_, of_lmsys), (mine, of_mine) = asked["workloads"]["lmsys"], asked["workloads"]["mine"]
    assert of_mine == load_profile("a100-llama2-7b")
    assert (of_lmsys.name, of_lmsys.kv_tokens) == ("a100-llama2-7b, 1,150,976 KV tokens", 1_150_976)
    assert of_lmsys.context_limit_tokens == 1_150_976
    assert mine.weight.sum() == 100


def test_files_hold_what_was_measured(asked: dict, tmp_path: Path) -> None:
    for ending in ("md", "csv", "json"):
        assert f"written: {tmp_path / 'f'}" in run("evidence", "fidelity", "--out", tmp_path / f"f.{ending}").stdout
    rows = list(csv.DictReader((tmp_path / "f.csv").read_text().splitlines()))
    assert [row["ttft_p99_s_ratio"] for row in rows] == ["1.05", "1.5"]
    found = json.loads((tmp_path / "f.json").read_text())
    assert [cell["ttft_p99_s_is_within"] for cell in found["cells"]] == [True, False]
    assert len(found["misses"]) == 2
    markdown = (tmp_path / "f.md").read_text()
    assert markdown.startswith("| workload |")
    assert "1.500*" in markdown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workload", "x"], "--workload x: not published here; there is agent-heavy, azure, lmsys"),
        (["--requests", "x.parquet"], "write NAME=requests.parquet"),
        (["--requests", "a=x.parquet"], "x.parquet: no such file"),
        (["--requests", "azure=x.parquet", "--workload", "azure"], "--requests azure: is the name of"),
        (["--load", "1"], "--load 1: has to be between 0 and 1, both excluded"),
        (["--replicas", "0"], "--replicas 0"),
        (["--kv-tokens", "100"], "--kv-tokens 100: the longest request has 65,536"),
        (["--out", "x.xlsx"], r"has to end with \.md, \.csv, \.json"),
    ],
)
def test_a_wrong_call_is_one_line(asked: dict, arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run("evidence", "fidelity", *arguments)
