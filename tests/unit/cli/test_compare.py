"""`fleetopt compare`: fleets or routers on the same requests."""

from pathlib import Path

import pytest

from fleetopt.errors import InputError
from tests.unit.cli.runs import TWO_POOLS, json_of, run, write_requests

ONE_POOL = ("--profile", "a100-llama2-7b", "--replicas", 3)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return write_requests(tmp_path / "requests.parquet")


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.toml"
    path.write_text(TWO_POOLS)
    return path


def test_fleets_on_one_trace_have_the_figures_that_simulate_gives_them(
    trace: Path, fleet: Path, tmp_path: Path
) -> None:
    larger = tmp_path / "larger.toml"
    larger.write_text(TWO_POOLS.replace("replicas = 2", "replicas = 4"))
    comparison = json_of("compare", "--fleet", fleet, "--fleet", larger, "--trace", trace, "--slo-ttft", 1)
    assert comparison["baseline"] == "fleet"
    for name, path in (("fleet", fleet), ("larger", larger)):
        assert comparison["fleets"][name] == json_of("simulate", "--fleet", path, "--trace", trace, "--slo-ttft", 1)
    rows = {row["metric"]: row for row in comparison["differences"]["larger"] if row["pool"] is None}
    for metric, row in rows.items():
        assert row["first"] == pytest.approx(comparison["fleets"]["fleet"][metric]), metric
        assert row["second"] == pytest.approx(comparison["fleets"]["larger"][metric]), metric
    mean = rows["ttft_mean_s"]
    assert mean["lower"] <= mean["difference"] <= mean["upper"] < 0
    assert mean["is_distinguishable"]
    assert rows["rejected"]["difference"] == 0
    assert not rows["rejected"]["is_distinguishable"]


def test_routers_on_drawn_requests(tmp_path: Path) -> None:
    drawn = ("--cdf", "lmsys", "--rate", 6, "--requests", 300, "--replications", 3)
    figure = tmp_path / "differences.svg"
    routers = ("--router", "least-loaded", "--router", "random", "--router", "least-loaded")
    text = run("compare", *ONE_POOL, *routers[:4], *drawn, "--figure", figure).stdout
    assert "random against least-loaded" in text
    assert "Not distinguishable from zero:" in text
    assert figure.read_text().startswith("<svg")
    with pytest.raises(InputError, match="given twice"):
        run("compare", *ONE_POOL, *routers, *drawn)


def test_one_router_is_compared_with_the_fleets_own(trace: Path, fleet: Path) -> None:
    comparison = json_of("compare", "--fleet", fleet, "--router", "length", "--trace", trace)
    assert list(comparison["fleets"]) == ["compress-and-route", "length"]


def test_files_of_one_name_keep_their_paths(trace: Path, fleet: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "fleet.toml"
    other.write_text(TWO_POOLS)
    comparison = json_of("compare", "--fleet", fleet, "--fleet", other, "--trace", trace)
    assert list(comparison["fleets"]) == [str(fleet), str(other)]
    assert all(row["difference"] in {0, None} for row in comparison["differences"][str(other)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name two or more fleets"),
        (["--fleet", "{fleet}"], "name two or more fleets"),
        (["--fleet", "{fleet}", "--fleet", "{fleet}"], "given twice"),
        (["--fleet", "{fleet}", "--fleet", "x.toml", "--router", "length"], "--router length: goes with one fleet"),
        (["--fleet", "{fleet}", "--fleet", "x.toml", "--replicas", "2"], "leave out --profile, --replicas"),
        (["--fleet", "{fleet}", "--replicas", "2", "--router", "length"], "leave out --replicas"),
        ([*ONE_POOL, "--router", "dice"], "unknown router 'dice'"),
        ([*ONE_POOL, "--router", "compress-and-route"], "compresses nothing at gamma 1"),
        (["--router", "random", "--router", "length"], "--fleet: is missing"),
    ],
)
def test_a_wrong_call_is_one_line(trace: Path, fleet: Path, arguments: list, message: str) -> None:
    filled = [str(argument).replace("{fleet}", str(fleet)) for argument in arguments]
    with pytest.raises(InputError, match=message) as caught:
        run("compare", *filled, "--trace", trace)
    assert "\n" not in str(caught.value)
