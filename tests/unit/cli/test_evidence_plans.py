"""`fleetopt evidence plans`: which cells it asks for, and that it goes on where it was broken off."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fleetopt.errors import InputError
from fleetopt.evidence import plans
from tests.unit.cli.runs import run, write_requests
from tests.unit.reporting.plan_cells import plan_cell


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict:
    """Cells made by hand instead of minutes of simulation; what was asked for is kept."""
    kept: dict = {}

    def plan_cells(keys, workloads, hardware, seed, *, done, on_progress):
        kept.update(keys=keys, workloads=workloads, hardware=hardware, seed=seed, done=list(done))
        for key in keys:
            if key not in done:
                yield replace(plan_cell(), key=key)

    monkeypatch.setattr(plans, "plan_cells", plan_cells)
    return kept


def test_published_workloads_on_measured_profiles_by_default(asked: dict) -> None:
    text = run("evidence", "plans", "--rate", 20).stdout
    assert set(asked["workloads"]) == {"azure", "lmsys", "agent-heavy"}
    assert [[gpu.name for gpu in gpus] for gpus in asked["hardware"].values()] == [
        ["a100-llama3.1-8b"],
        ["h100-llama3.1-8b"],
        ["a100-llama3.1-8b", "h100-llama3.1-8b"],
    ]
    assert len(asked["keys"]) == 27
    assert "27 of 27 cells pass" in text
    assert asked["workloads"]["azure"].boundaries_tokens[-1] < asked["workloads"]["azure"].max_context_tokens


def test_real_requests_get_round_boundaries(asked: dict, tmp_path: Path) -> None:
    path = write_requests(tmp_path / "a.parquet", n=50)
    run("evidence", "plans", "--requests", f"mine={path}", "--hardware", "a100-llama2-7b", "--share", 0)
    mine = asked["workloads"]["mine"]
    assert set(mine.boundaries_tokens) <= {size for k in range(6, 24) for size in (2**k, 3 * 2 ** (k - 1))}
    assert {key.arrival_rate_rps for key in asked["keys"]} == {20.0}


def test_cells_in_the_file_are_not_run_again(asked: dict, tmp_path: Path) -> None:
    out, table = tmp_path / "cells.jsonl", tmp_path / "plans.md"
    common = ("evidence", "plans", "--workload", "azure", "--hardware", "a100-llama2-7b", "--rate", 20, "--out", out)
    run(*common, "--multiple", 3)
    assert len(out.read_text().splitlines()) == 1
    found = json.loads(run(*common, "--multiple", 3, "--multiple", 6, "--table", table, "--json").stdout)
    assert [key.multiple for key in asked["done"]] == [3.0]
    assert len(out.read_text().splitlines()) == len(found["cells"]) == 2
    assert table.read_text().count("\n| azure |") == 2


def test_bad_input_is_refused_before_anything_runs(asked: dict, tmp_path: Path) -> None:
    (tmp_path / "other.jsonl").write_text('{"a": 1}\n')
    for wrong in (
        ("--share", 2),
        ("--rate", 0),
        ("--multiple", -1),
        ("--hardware", "nothing"),
        ("--workload", "nothing"),
        ("--out", tmp_path / "other.jsonl"),
        ("--table", tmp_path / "no" / "plans.md"),
    ):
        with pytest.raises(InputError):
            run("evidence", "plans", *wrong)
    assert not asked
