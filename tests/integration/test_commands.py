"""The commands as other programs use them: JSON contracts, exit status, one line of error, nothing half-written."""

import json
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fleetopt.schemas import TRACE_SCHEMA

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "data" / "samples"
PLAN = ("plan", "--slo-ttft-p99", "1")
WHATIF = ("whatif", "--cdf", "azure", "--slo-ttft-p99", "1", "--profile", "a100-llama2-7b")
SIMULATE = ("simulate", "--profile", "a100-llama2-7b")


def fleetopt(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from pipelines.cli import main; main()", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def json_of(*arguments: object) -> dict:
    result = fleetopt(*arguments, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def trace(tmp_path):
    rng = np.random.default_rng(5)
    path = tmp_path / "requests.parquet"
    pl.DataFrame(
        {
            "arrival_s": np.cumsum(rng.exponential(0.5, 400)) - 0.0,
            "prompt_tokens": rng.integers(50, 3000, 400),
            "output_tokens": rng.integers(1, 200, 400),
        }
    ).write_parquet(path)
    return path


@pytest.mark.parametrize(
    ("sample", "more"), [("azure.csv", []), ("mooncake.jsonl", ["--start", "2023-11-16T18:15:00Z"])]
)
def test_ingest_balances_and_writes_both_files(tmp_path, sample, more):
    balance = json_of("ingest", SAMPLES / sample, "--format", "auto", "--out", tmp_path / "out", *more)
    assert set(balance) == {"lines", "requests", "duplicates", "quarantined"}
    assert balance["lines"] == balance["requests"] + balance["duplicates"] + balance["quarantined"] > 0
    requests = pl.read_parquet(tmp_path / "out" / "requests.parquet")
    assert requests.schema == TRACE_SCHEMA
    assert requests.height == balance["requests"]
    assert requests["arrival_s"][0] == 0
    assert pl.read_parquet(tmp_path / "out" / "quarantine.parquet").height == balance["quarantined"]


def test_ingest_also_tells_what_is_no_demand(tmp_path):
    balance = json_of("ingest", SAMPLES / "litellm-payload.jsonl", "--out", tmp_path / "out")
    assert balance["unserved"] == {"cache_hit": 1, "failed": 2}
    assert pl.read_parquet(tmp_path / "out" / "requests.parquet").height == balance["requests"] - 3
    assert "examples" not in balance


FLEET_KEYS = {
    "boundaries_tokens",
    "gamma",
    "replicas",
    "gpus",
    "usd_per_hour",
    "usd_per_year",
    "commitment_saving_usd_per_hour",
    "compression_usd_per_hour",
    "pools",
}
PLAN_KEYS = FLEET_KEYS | {
    "status",
    "reason",
    "infeasibility",
    "published_predictions",
    "baselines",
    "search",
    "certificate",
    "frontier",
    "verification",
    "caveats",
    "problem",
}


def test_plan_has_its_documented_keys_and_adds_up(trace, tmp_path):
    figure = tmp_path / "cost.svg"
    asked = ("plan", "--cdf", "azure", "--rate", 100, "--slo-ttft-p99", 1.5, "--profile", "a100-llama2-7b")
    plan = json_of(*asked, "--frontier", "--figure", figure)
    assert set(plan) == PLAN_KEYS
    assert plan["caveats"] == []
    assert plan["search"] == {"plan": None, "pool_routing": None}
    assert set(plan["baselines"]) == {"homogeneous", "pool_routing", "retrofit", "published"}
    assert set(plan["baselines"]["homogeneous"]) == FLEET_KEYS
    assert (plan["status"], plan["infeasibility"], plan["verification"]) == ("feasible", None, None)
    assert sum(pool["replicas"] for pool in plan["pools"]) * 2.21 == pytest.approx(plan["usd_per_hour"])
    assert sum(pool["arrival_rate_rps"] for pool in plan["pools"]) == pytest.approx(100)
    assert all(pool["ttft_p99_s"] <= 1.5 for pool in plan["pools"])
    assert plan["usd_per_hour"] <= plan["baselines"]["homogeneous"]["usd_per_hour"]
    savings = sum(saving["usd_per_hour"] for saving in plan["certificate"]["savings"])
    assert savings == pytest.approx(plan["baselines"]["homogeneous"]["usd_per_hour"] - plan["usd_per_hour"])
    costs = [point["usd_per_hour"] for point in plan["frontier"]]
    assert costs == sorted(costs, reverse=True)
    assert figure.read_text().startswith("<svg")
    of_trace = json_of("plan", "--cdf", trace, "--rate", 5, "--slo-ttft-p99", 1.5, "--profile", "a100-llama2-7b")
    assert of_trace["status"] == "feasible"


def test_an_infeasible_plan_is_an_answer_and_not_an_error(tmp_path):
    cdf = tmp_path / "cdf.json"
    cdf.write_text(json.dumps({"cdf": [[1000, 0.5], [8000, 1.0]]}))
    plan = json_of("plan", "--cdf", cdf, "--rate", 1, "--slo-ttft-p99", 0.05, "--profile", "a100-llama2-7b")
    assert set(plan) == PLAN_KEYS
    assert (plan["status"], plan["pools"], plan["usd_per_hour"]) == ("infeasible", [], None)
    assert "idle" in plan["reason"]
    nearest = 0.05 * plan["infeasibility"]["ttft_factor"]
    assert plan["infeasibility"]["plan"]["pools"]
    asked = ("plan", "--cdf", cdf, "--rate", 1, "--profile", "a100-llama2-7b", "--slo-ttft-p99")
    assert json_of(*asked, 1.02 * nearest)["status"] == "feasible"
    assert json_of(*asked, 0.98 * nearest)["status"] == "infeasible"


def test_a_verified_plan_carries_its_evidence(trace):
    asked = ("--cdf", trace, "--rate", 5, "--slo-ttft-p99", 1.5, "--profile", "a100-llama2-7b", "--max-pools", 1)
    plan = json_of("plan", *asked, "--verify")
    assert plan["verification"]["verdict"] == "confirmed"
    assert [item["pool"] for item in plan["verification"]["evidence"]] == ["all"]
    assert plan["verification"]["evidence"][0]["ttft_p99_upper_s"] <= 1.5


def test_whatif_plans_every_point(tmp_path):
    figure = tmp_path / "rate.png"
    asked = ("--cdf", "azure", "--slo-ttft-p99", 1.5, "--profile", "a100-llama2-7b", "--sweep", "rate=10:40:3")
    found = json_of("whatif", *asked, "--figure", figure)
    assert set(found) == {"sweep", "profile", "arrivals", "points"}
    assert [point["value"] for point in found["points"]] == pytest.approx([10, 20, 40])
    assert all(set(point) >= FLEET_KEYS | {"status", "reason", "change"} for point in found["points"])
    costs = [point["usd_per_hour"] for point in found["points"]]
    assert costs == sorted(costs)
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_simulate_prints_json_alone_and_loads_nothing_that_is_slow_to_import(trace):
    """A first result within 1.5 s depends on what is imported; the time itself is no matter for a test."""
    code = """
import sys
from pipelines.cli import main
try:
    main()
finally:
    print(*(name for name in SLOW if name in sys.modules), file=sys.stderr)
"""
    slow = ("dagster", "great_expectations", "matplotlib", "pandas", "pyarrow", "scipy.optimize", "scipy.stats")
    result = subprocess.run(
        [sys.executable, "-c", code.replace("SLOW", repr(slow)), *SIMULATE, "--trace", trace, "--replicas", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.strip() == ""
    figures = json_of(*SIMULATE, "--trace", trace, "--replicas", 2)
    assert figures["verdict"] in {"stable", "unstable", "undecided"}
    assert figures["requests"] == 400


def test_the_version_is_that_of_the_package():
    result = fleetopt("--version")
    assert (result.returncode, result.stdout) == (0, f"fleetopt {version('fleetopt')}\n")


def readme_commands() -> list[str]:
    text = (ROOT / "README.md").read_text()
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    return [line for line in lines if re.match(r"\.venv/bin/fleetopt (ingest|plan|whatif|simulate|compare) ", line)]


def test_the_commands_of_the_readme_run(tmp_path):
    commands = readme_commands()
    assert len(commands) >= 9
    for command in commands:
        arguments = [argument.replace("sample-out", str(tmp_path)) for argument in shlex.split(command)[1:]]
        result = fleetopt(*arguments)
        assert (result.returncode, result.stderr) == (0, ""), command
    assert (tmp_path / "run.svg").read_text().startswith("<svg")


def test_compare_prints_differences_as_json(trace):
    fleet = SAMPLES / "fleet.toml"
    comparison = json_of("compare", "--fleet", fleet, "--router", "length", "--router", "spill-over", "--trace", trace)
    assert list(comparison["differences"]) == ["spill-over"]
    row = comparison["differences"]["spill-over"][0]
    assert set(row) >= {"metric", "unit", "first", "second", "difference", "lower", "upper", "is_distinguishable"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ingest", "missing.csv", "--out", "{tmp}/o"], "missing.csv"),
        (["ingest", "{tmp}/empty.csv", "--format", "azure", "--out", "{tmp}/o"], "empty.csv"),
        (["ingest", "{samples}/mooncake.jsonl", "--out", "{tmp}/o"], "--start"),
        (["ingest", "{samples}/azure.csv", "--format", "nginx", "--out", "{tmp}/o"], "nginx"),
        ([*PLAN, "--cdf", "nowhere.json", "--rate", "1", "--profile", "a100-llama2-7b"], "nowhere"),
        ([*PLAN, "--cdf", "azure", "--rate", "1", "--profile", "b200"], "b200"),
        ([*PLAN, "--cdf", "azure", "--rate", "-1", "--profile", "a100-llama2-7b"], "-1"),
        (["plan", "--cdf", "azure"], "--rate"),
        ([*PLAN, "--cdf", "azure", "--rate", "1", "--profile", "a100-llama2-7b", "--figure", "{tmp}/o/a.svg"], "a.svg"),
        ([*PLAN, "--cdf", "azure", "--rate", "1", "--profile", "a100-llama2-7b", "--slots", "some"], "--slots"),
        ([*PLAN, "--cdf", "azure", "--rate", "1", "--profile", "a100-llama2-7b", "--price", "2"], "--price"),
        ([*WHATIF, "--sweep", "speed=1:2:3"], "--sweep"),
        ([*WHATIF, "--sweep", "gpu"], "--rate: is missing"),
        ([*WHATIF, "--sweep", "rate=1:2:3", "--rate", "5"], "--rate 5"),
        ([*WHATIF, "--sweep", "rate=1:2:3", "--figure", "{tmp}/a.txt"], ".svg"),
        ([*SIMULATE, "--trace", "{tmp}/empty.csv", "--replicas", "1"], "Parquet"),
        ([*SIMULATE, "--trace", "{trace}", "--replicas", "0"], "replicas"),
        ([*SIMULATE, "--trace", "{trace}", "--replicas", "1", "--router", "x"], "router"),
        (["simulate", "--trace", "{trace}", "--fleet", "{tmp}/none.toml"], "none.toml"),
        (["compare", "--trace", "{trace}", "--fleet", "{samples}/fleet.toml"], "--router"),
        (["nightly", "--config", "{tmp}/none.toml"], "none.toml"),
        (["nightly", "--date", "yesterday"], "--date"),
        (["fly"], "fly"),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path, trace, arguments, expected):
    (tmp_path / "empty.csv").touch()
    places = {"{tmp}": str(tmp_path), "{samples}": str(SAMPLES), "{trace}": str(trace)}
    filled = []
    for argument in arguments:
        for name, place in places.items():
            argument = argument.replace(name, place)  # noqa: PLW2901
        filled.append(argument)
    result = fleetopt(*filled)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert expected in result.stderr
    assert not (tmp_path / "o").exists()
