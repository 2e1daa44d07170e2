"""`fleetopt profiles`: what it prints and writes, and how it ends on bad input."""

import json
import sys
from pathlib import Path

import polars as pl
import pytest

from fleetopt.cli.files import load_profile
from fleetopt.errors import InputError
from fleetopt.profiles import catalogue_names, load_profile_file
from fleetopt.profiles.iterations import COEFFICIENTS, COLUMNS
from fleetopt.reporting.profiles import profile_json, profiles_json
from tests.unit.cli.runs import json_of, run
from tests.unit.profiles.test_from_requests import requests_of

ROWS = Path(__file__).with_name("h100-llama3.1-8b.csv")


def test_list_has_a_line_for_each_profile():
    lines = run("profiles", "list").stdout.splitlines()
    for name in catalogue_names():
        line = next(line for line in lines if line.split() and line.split()[0] == name)
        assert load_profile_file(name).evidence.basis in line
    assert max(len(line) for line in lines) <= 80
    assert not any("…" in line for line in lines)


def test_list_as_json_has_the_figures():
    listed = {profile["name"]: profile for profile in json_of_list()}
    assert set(listed) == set(catalogue_names())
    told = listed["a100-llama2-7b"]
    assert (told["gpus_per_replica"], told["kv_tokens"], told["usd_per_gpu_hour"]) == (1, 118_784, 2.21)
    assert told["decode_64_at_1024_s"] == pytest.approx(9.58e-3 + 64 * (47.3e-6 + 266e-9 * 1024))
    assert told["fit_mean_error"] == 0.029
    assert listed["h200-llama3.1-8b"]["usd_per_gpu_hour"] is None
    assert listed["a100-llama2-70b-tp2"]["decode_64_at_1024_s"] is None  # does not fit


def json_of_list() -> list[dict]:
    result = run("profiles", "list", "--json")
    return json.loads(result.stdout)


def test_show_has_every_figure_with_its_source():
    text = run("profiles", "show", "h100-qwen3-30b-a3b").stdout
    for part in (*COEFFICIENTS, "kv_blocks", "timing:", "price:", "Caution:", "Fit, decode:", "left out"):
        assert part in text


def test_show_as_json_has_the_times():
    shown = json_of("profiles", "show", "a100-llama2-7b")
    times = {(row["sequences"], row["context_tokens"]): row["iteration_s"] for row in shown["decode_iterations"]}
    assert times[1, 128] == pytest.approx(9.58e-3 + 47.3e-6 + 266e-9 * 128)
    assert times[64, 8192] is None
    assert shown["profile"]["kv_blocks"] == 7424
    assert shown["evidence"]["basis"] == "measured"


def test_show_takes_a_file_without_evidence(tmp_path):
    path = tmp_path / "mine.toml"
    bare = "\n".join(
        line
        for line in """
name = "mine"
base_s = 0.01
per_sequence_s = 1e-5
per_context_token_s = 1e-7
per_prefill_token_s = 5e-5
per_prefill_attention_s = 1e-9
kv_blocks = 1000
block_tokens = 16
max_sequences = 8
max_batched_tokens = 512
""".splitlines()
    )
    path.write_text(bare)
    assert "no source given" in run("profiles", "show", path).stdout
    assert json_of("profiles", "show", path)["evidence"] is None


def test_json_of_a_file_without_evidence_is_null_where_it_does_not_know():
    file = load_profile_file("a100-llama2-7b")._replace(evidence=None)
    assert profiles_json([file])[0]["gpu"] is None
    assert profile_json(file)["evidence"] is None


def test_fit_to_iterations_writes_a_profile(tmp_path):
    out = tmp_path / "fitted.toml"
    text = run("profiles", "fit", "--iterations", ROWS, "--start", "a100-llama3.1-8b", "--out", out).stdout
    profile, shipped = load_profile(str(out)), load_profile("h100-llama3.1-8b")
    for name in COEFFICIENTS:
        assert getattr(profile, name) == pytest.approx(getattr(shipped, name), rel=2e-4)
    assert profile.prefill_only_base_s == profile.base_s
    assert (profile.name, profile.usd_per_gpu_hour) == ("fitted", 2.21)
    assert "Fit, prefill: mean error 7.8 %" in text
    assert "363 iterations of h100-llama3.1-8b.csv" in profile.source


def test_fit_keeps_what_the_iterations_leave_open_and_says_so(tmp_path):
    table, out = tmp_path / "decode.parquet", tmp_path / "fitted.toml"
    pl.read_csv(ROWS).filter(pl.col("prefill_tokens") == 0).write_parquet(table)
    arguments = ("--iterations", table, "--start", "a100-llama3.1-8b", "--usd-per-gpu-hour", 3, "--name", "mine")
    run("profiles", "fit", *arguments, "--out", out)
    profile, start = load_profile(str(out)), load_profile("a100-llama3.1-8b")
    assert profile.per_prefill_token_s == start.per_prefill_token_s
    assert "taken from a100-llama3.1-8b: per_prefill_token_s, per_prefill_attention_s" in profile.caveat
    assert (profile.name, profile.usd_per_gpu_hour) == ("mine", 3.0)
    shown = json_of("profiles", "show", out)["evidence"]
    assert (shown["basis"], shown["sources"]["price"]) == ("estimated", "given with --usd-per-gpu-hour")


def test_fit_to_requests_writes_a_profile_and_tells_how_sure_it_is(tmp_path):
    table, out = tmp_path / "requests.csv", tmp_path / "fitted.toml"
    true = load_profile("h100-llama3.1-8b")
    requests_of(true, 1.0, n=400).write_csv(table)
    text = run("profiles", "fit", "--requests", table, "--start", "a100-llama3.1-8b", "--out", out).stdout
    assert load_profile(str(out)).base_s == pytest.approx(true.base_s, rel=0.02)
    assert "base_s: 0.0061" in text
    assert "standard error" in text
    assert "simulated with it, TTFT is off by" in load_profile(str(out)).source


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["show", "nothing"], "no GPU profile named 'nothing'"),
        (["show", "nothing.toml"], "nothing.toml: cannot be read"),
        (["fit", "--start", "a100-llama2-7b", "--out", "x.toml"], "either --iterations or --requests"),
        (["fit", "--start", "a100-llama2-7b", "--out", "x.txt"], "has to end with .toml"),
        (["fit", "--start", "a100-llama2-7b", "--iterations", "no.csv", "--out", "x.toml"], "no.csv: cannot be read"),
        (["fit", "--start", "a100-llama2-7b", "--requests", "no.parquet", "--out", "x.toml"], "no such file"),
        (["import", "m", "--gpu", "h100", "--out", "x.toml", "--tp", "0"], "--tp 0: has to be between 1 and 64"),
        (["import", "m", "--gpu", "h100", "--out", "no/x.toml"], "there is no directory no"),
        (["import", "m", "--gpu", "h100", "--out", "x.toml", "--backend", "x"], "one of vllm, sglang, trtllm"),
        (["import", "m", "--gpu", "h100", "--out", "x.toml", "--usd-per-gpu-hour", "-1"], "--usd-per-gpu-hour -1"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(arguments, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        run("profiles", *arguments)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_is_no_table_is_one_line(tmp_path):
    table, out = tmp_path / "t.csv", tmp_path / "x.toml"
    table.write_text("a,b\n1,2,3,4\n")
    with pytest.raises(InputError, match="not a readable CSV file"):
        run("profiles", "fit", "--iterations", table, "--start", "a100-llama2-7b", "--out", out)
    assert not out.exists()


def test_import_without_the_package_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "aiconfigurator_core", None)
    with pytest.raises(InputError, match="pip install"):
        run("profiles", "import", "meta-llama/Meta-Llama-3.1-8B", "--gpu", "h100", "--out", tmp_path / "x.toml")
    assert list(tmp_path.iterdir()) == []


def test_import_writes_the_shipped_profile(tmp_path):
    pytest.importorskip("aiconfigurator_core")
    out = tmp_path / "h100-llama3.1-8b.toml"
    text = run("profiles", "import", "meta-llama/Meta-Llama-3.1-8B", "--gpu", "h100", "--out", out).stdout
    assert "Fit, mixed: mean error" in text
    assert load_profile(str(out)) == load_profile("h100-llama3.1-8b")


def test_help_prints_the_header_of_each_table():
    text = " ".join(run("profiles", "fit", "--help").stdout.split())
    for name in (*COLUMNS, "arrival_s", "prompt_tokens", "output_tokens", "ttft_s", "e2e_s"):
        assert name in text
