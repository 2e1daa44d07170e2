"""`fleetopt simulate`: its JSON contract, its files, and one line for each way to call it wrongly."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fleetopt.errors import InputError
from fleetopt.simulator import ROUTERS, SCHEDULERS
from tests.unit.cli.runs import TWO_POOLS, json_of, run, write_requests

FIRST_KEYS = {
    "requests",
    "rejected",
    "verdict",
    "ttft_p50_s",
    "ttft_p99_s",
    "tpot_p50_s",
    "tpot_p99_s",
    "slot_utilization",
    "kv_utilization",
    "busy",
    "preemptions",
}
ONE_POOL = ("--profile", "a100-llama2-7b", "--replicas", 2)
DRAWN = ("--cdf", "azure", "--rate", 4, "--requests", 300)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return write_requests(tmp_path / "requests.parquet")


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.toml"
    path.write_text(TWO_POOLS)
    return path


def test_the_json_agrees_with_the_records_of_the_requests(trace: Path, fleet: Path, tmp_path: Path) -> None:
    out = tmp_path / "records.parquet"
    figures = json_of("simulate", "--trace", trace, "--fleet", fleet, "--slo-ttft", 0.5, "--requests-out", out)
    records, requests = pl.read_parquet(out), pl.read_parquet(trace)
    assert set(figures) >= FIRST_KEYS | {
        "unserved",
        "retries",
        "ttft_p90_s",
        "e2e_p99_s",
        "queue_wait_p50_s",
        "compute",
    }
    assert records.columns[:9] == [
        "arrival_s",
        "prompt_tokens",
        "output_tokens",
        "pool",
        "replica",
        "first_token_s",
        "finish_s",
        "preemptions",
        "status",
    ]
    assert records.columns[9:] == ["served_prompt_tokens", "admitted_s", "retries"]
    assert records.select("arrival_s", "prompt_tokens", "output_tokens").equals(requests)
    finished = records.filter(pl.col("status") == "finished")
    assert (figures["requests"], figures["rejected"]) == (400, 1)
    assert finished.height == 399
    assert (finished["first_token_s"] > finished["arrival_s"]).all()
    assert (finished["admitted_s"] < finished["first_token_s"]).all()
    rejected = records.filter(pl.col("status") == "rejected").row(0, named=True)
    assert [rejected[name] for name in ("replica", "first_token_s", "finish_s", "admitted_s")] == [None] * 4
    ttft_s = (finished["first_token_s"] - finished["arrival_s"]).to_numpy()
    for percent in (50, 90, 99):
        expected = np.quantile(ttft_s, percent / 100, method="inverted_cdf")
        assert figures[f"ttft_p{percent}_s"] == pytest.approx(expected, rel=1e-12)
    assert figures["slo_attainment"] == pytest.approx((ttft_s <= 0.5).sum() / 400)
    assert figures["retries"] == records["retries"].sum() > 0
    assert (records["served_prompt_tokens"] < records["prompt_tokens"]).any()


def test_the_json_has_every_pool(trace: Path, fleet: Path) -> None:
    figures = json_of("simulate", "--trace", trace, "--fleet", fleet)
    short, long = figures["pools"]
    assert (short["name"], short["replicas"], long["name"], long["replicas"]) == ("short", 2, "long", 1)
    assert short["requests"] + long["requests"] == figures["requests"]
    assert figures["usd_per_hour"] == pytest.approx(3 * 2.21)
    assert set(short) - {"name", "profile", "replicas", "scheduler", "max_context_tokens"} <= set(figures)
    one = json_of("simulate", "--trace", trace, *ONE_POOL)
    assert [one["pools"][0][key] for key in ("ttft_p99_s", "busy")] == [one[key] for key in ("ttft_p99_s", "busy")]


def test_what_is_not_defined_is_null(tmp_path: Path) -> None:
    path = tmp_path / "requests.parquet"
    pl.DataFrame({"arrival_s": [0.0], "prompt_tokens": [10**6], "output_tokens": [1]}).write_parquet(path)
    figures = json_of("simulate", "--trace", path, *ONE_POOL)
    assert (figures["requests"], figures["rejected"], figures["verdict"]) == (1, 1, "undecided")
    assert [figures[key] for key in ("ttft_p99_s", "tpot_p50_s", "slot_utilization", "busy")] == [None] * 4
    assert run("simulate", "--trace", path, *ONE_POOL, "--figure", tmp_path / "f.svg").exit_code == 0


def test_the_timeline_has_a_row_per_sample_and_replica(trace: Path, fleet: Path, tmp_path: Path) -> None:
    out = tmp_path / "timeline.parquet"
    asked = ("simulate", "--trace", trace, "--fleet", fleet, "--timeline-out", out)
    assert run(*asked, "--timeline-interval", 5).exit_code == 0
    timeline = pl.read_parquet(out)
    assert timeline.columns == ["time_s", "pool", "replica", "running", "waiting", "kv_blocks", "kv_utilization"]
    samples = timeline["time_s"].unique().sort()
    assert np.allclose(np.diff(samples), 5.0)
    assert samples[0] == pl.read_parquet(trace)["arrival_s"][0]
    assert timeline.height == 3 * len(samples)
    down = timeline.filter(
        (pl.col("pool") == "short") & (pl.col("replica") == 1) & pl.col("time_s").is_between(1030, 1059)
    )
    assert down.height > 4
    assert down.select("running", "waiting", "kv_blocks").sum().row(0) == (0, 0, 0)
    assert timeline["kv_utilization"].is_between(0, 1).all()
    assert run(*asked).exit_code == 0
    assert 590 <= pl.read_parquet(out)["time_s"].n_unique() <= 601


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_a_figure_is_what_its_name_ends_with(trace: Path, fleet: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"run.{ending}"
    result = run("simulate", "--trace", trace, "--fleet", fleet, "--figure", out, "--timeline-interval", 2)
    assert f"written: {out}" in result.stdout
    assert out.read_bytes().startswith({"svg": b"<svg", "png": b"\x89PNG", "pdf": b"%PDF"}[ending])


def test_replications_give_intervals_of_everything(fleet: Path, tmp_path: Path) -> None:
    out = tmp_path / "records.parquet"
    figures = json_of("simulate", *DRAWN, "--fleet", fleet, "--replications", 3, "--requests-out", out)
    assert figures["replications"] == 3
    for stem, unit in (("ttft_mean", "_s"), ("slot_utilization", ""), ("busy", "")):
        low, middle, high = (figures[f"{stem}{end}{unit}"] for end in ("_lower", "", "_upper"))
        assert 0 <= low < middle < high
    assert figures["ttft_p99_lower_s"] is None  # 300 requests are too few for a P99
    once = tmp_path / "once.parquet"
    json_of("simulate", *DRAWN, "--fleet", fleet, "--requests-out", once)
    assert pl.read_parquet(out).equals(pl.read_parquet(once))


@pytest.mark.parametrize("replications", [1, 2])
def test_the_peak_of_a_rate_curve_is_not_cut_as_warm_up(tmp_path: Path, replications: int) -> None:
    curve, out = tmp_path / "curve.toml", tmp_path / "records.parquet"
    curve.write_text('process = "rate-curve"\nrelative_rates = [20, 1]\nduration_s = [60, 2000]\n')
    asked = ("--cdf", "azure", "--rate", 1, "--requests", 2000, "--arrivals", curve, "--requests-out", out)
    asked = (*asked, *ONE_POOL, "--replications", replications, "--slo-ttft", 0.5)
    figures = json_of("simulate", *asked)
    ttft_s = pl.read_parquet(out).select(pl.col("first_token_s") - pl.col("arrival_s")).to_series().to_numpy()
    if replications == 1:
        assert figures["ttft_p90_s"] == pytest.approx(np.quantile(ttft_s, 0.9, method="inverted_cdf"), rel=1e-12)
        assert figures["slo_attainment"] == pytest.approx((ttft_s <= 0.5).mean())
    assert figures["slo_attainment"] == pytest.approx((ttft_s <= 0.5).mean(), abs=0.05)
    text = run("simulate", *asked).stdout
    assert "nothing is cut" in " ".join(text.split())
    assert "MSER" not in text


def test_a_seed_repeats_a_run_and_another_does_not(fleet: Path) -> None:
    first, again, other = (json_of("simulate", *DRAWN, "--fleet", fleet, "--seed", seed) for seed in (1, 1, 2))
    assert first == again
    assert first["ttft_p50_s"] != other["ttft_p50_s"]


def test_the_table_names_what_was_run(trace: Path, fleet: Path) -> None:
    text = run("simulate", "--trace", trace, "--fleet", fleet, "--slo-ttft", 1).stdout
    for part in (
        "fleet.toml",
        "short",
        "long",
        "a100-llama2-7b",
        "TTFT",
        "P99",
        "Busy",
        "Compute",
        "targets",
        "Verdict",
    ):
        assert part in text


def test_the_help_names_every_scheduler_and_router() -> None:
    words = " ".join(run("simulate", "--help").stdout.split()).replace("- ", "-")
    assert [name for name in (*SCHEDULERS, *ROUTERS) if name not in words] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trace", "{trace}"], "--fleet: is missing; .* --profile and --replicas"),
        (["--trace", "{trace}", "--profile", "a100-llama2-7b"], "--replicas: is missing"),
        (["--trace", "{trace}", "--replicas", 2], "--profile: is missing"),
        (["--trace", "{trace}", "--profile", "a100-llama2-7b", "--replicas", 200_000], "200,000: .* 1 and 100,000"),
        (["--trace", "{fleet}", *ONE_POOL], "not a readable Parquet file .*`fleetopt ingest` writes"),
        (["--trace", "{tmp}", *ONE_POOL], "is a directory; name a file in it"),
        (["--trace", "{trace}", *ONE_POOL, "--requests-out", "{trace}"], "is the file of --trace too"),
        (["--trace", "{trace}", *ONE_POOL, "--requests-out", "{tmp}/a.csv"], r"--requests-out .* end with \.parquet"),
        (
            ["--trace", "{trace}", *ONE_POOL, "--requests-out", "{tmp}/a.parquet", "--timeline-out", "{tmp}/a.parquet"],
            "--timeline-out .*: is the file of --requests-out too; name another",
        ),
        (["--trace", "{trace}", "--fleet", "{fleet}", "--router", "length"], "leave out --router"),
        (["--trace", "{trace}", "--fleet", "{fleet}", *ONE_POOL], "leave out --profile, --replicas"),
        (["--fleet", "{fleet}"], "--trace, --cdf: give one of them"),
        (["--trace", "{trace}", "--fleet", "nowhere.toml"], "nowhere.toml: cannot be read"),
        (["--trace", "{trace}", *ONE_POOL, "--scheduler", "x"], "unknown scheduler 'x'"),
        (["--trace", "{trace}", *ONE_POOL, "--timeline-interval", 1], "goes with --timeline-out or --figure"),
        (
            ["--trace", "{trace}", *ONE_POOL, "--timeline-interval", 0, "--figure", "{tmp}/a.svg"],
            "--timeline-interval 0: .* above 0",
        ),
        (["--trace", "{trace}", *ONE_POOL, "--figure", "{tmp}/a.jpg"], r"has to end with \.svg, \.png, \.pdf"),
        (["--trace", "{trace}", *ONE_POOL, "--figure", "{tmp}/no/a.svg"], "there is no directory"),
        (["--trace", "{trace}", *ONE_POOL, "--requests-out", "{tmp}"], "is a directory"),
        (["--trace", "{trace}", *ONE_POOL, "--slo-ttft", 0], "--slo-ttft 0"),
    ],
)
def test_a_wrong_call_is_one_line(trace: Path, fleet: Path, tmp_path: Path, arguments: list, message: str) -> None:
    places = {"{trace}": trace, "{fleet}": fleet}
    filled = [str(places.get(argument, argument)).replace("{tmp}", str(tmp_path)) for argument in arguments]
    with pytest.raises(InputError, match=message) as caught:
        run("simulate", *filled)
    assert "\n" not in str(caught.value)


def test_a_profile_is_found_beside_its_fleet(trace: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    path = tmp_path / "there" / "fleet.toml"
    path.write_text('[[pool]]\nname = "all"\nprofile = "mine.toml"\nreplicas = 1\n')
    with pytest.raises(InputError, match=r"fleet.toml: key 'pool.0.profile': .*there.mine.toml: cannot be read"):
        run("simulate", "--trace", trace, "--fleet", path)
    (path.parent / "mine.toml").write_text("base_s = 1")
    with pytest.raises(InputError, match=r"fleet.toml: key 'pool.0.profile': .*mine.toml: key 'name': required"):
        run("simulate", "--trace", trace, "--fleet", path)
