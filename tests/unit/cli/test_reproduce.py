"""`fleetopt reproduce`: how much it asks for, and where the page goes."""

import json
from pathlib import Path

import pytest

from fleetopt.errors import InputError
from fleetopt.evidence import reproduce
from tests.unit.cli.runs import json_of, run
from tests.unit.reporting.reproduction import page


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict:
    """A small page instead of minutes of simulation; what was asked for is kept."""
    kept: dict = {}
    page()

    def small(seed, *, requests, span_s, replications, on_progress):
        kept.update(seed=seed, requests=requests, span_s=span_s, replications=replications)
        on_progress(0, 10, "azure, one pool")
        return page()

    monkeypatch.setattr(reproduce, "reproduce", small)
    return kept


def test_the_page_is_printed_and_written(asked: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = run("reproduce", "--out", "page.md").stdout
    assert "81 of 81 printed figures" in " ".join(text.split())
    assert text.endswith("written: page.md\n")
    assert asked == {"seed": 0, "requests": 1_000_000, "span_s": 1000.0, "replications": 10}
    assert "Made by `fleetopt reproduce --out page.md`." in (tmp_path / "page.md").read_text()


def test_quick_asks_for_less_and_says_so(asked: dict, tmp_path: Path) -> None:
    run("reproduce", "--quick", "--seed", 3, "--out", tmp_path / "page.md")
    assert asked == {"seed": 3, "requests": 100_000, "span_s": 300.0, "replications": 3}
    assert f"`fleetopt reproduce --quick --seed 3 --out {tmp_path}/page.md`" in (tmp_path / "page.md").read_text()


def test_json_on_standard_output_and_in_a_file(asked: dict, tmp_path: Path) -> None:
    found = json_of("reproduce", "--out", tmp_path / "page.json")
    assert len(found["figures"]) == 81
    assert json.loads((tmp_path / "page.json").read_text()) == found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x.pdf"], r"--out x.pdf: the name has to end with \.md or \.json"),
        (["--out", "nowhere/x.md"], "there is no directory nowhere"),
        (["--seed", "-1"], "--seed -1"),
    ],
)
def test_a_wrong_call_is_one_line(asked: dict, arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run("reproduce", *arguments)
