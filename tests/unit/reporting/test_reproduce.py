import json
import math

from fleetopt.reporting.reproduce import fleet_stability, fleet_target, reproduce_markdown, reproduce_page
from fleetopt.reporting.reproduce_json import reproduce_json
from tests.unit.reporting.reproduction import page
from tests.unit.reporting.test_simulation_tables import printed, words


def test_the_page_fits_100_columns_and_cuts_nothing() -> None:
    text = printed(reproduce_page(page()), 100)
    assert "…" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100


def test_it_opens_with_what_reproduces_and_what_does_not_hold() -> None:
    text = words(printed(reproduce_page(page()), 140))
    opening = text[: text.index("Table 3: GPUs")]
    assert "81 of 81 printed figures" in opening
    assert "Not stable: in the simulator 2 of the 3 fleets that compress" in opening
    assert "azure's 48 + 2 GPUs at gamma 2, said to save 82.4 %, is offered 1.62 times" in opening
    assert "grows by 30 % of the arrivals" in opening
    assert "0 of its 2 fleets that are not unstable miss the target of 500 ms" in opening
    assert "Sized soundly, azure at that gamma takes 83 GPUs and not 50" in opening


def test_the_tables_hold_published_and_own_figures_side_by_side() -> None:
    lines = [" ".join(line.split()) for line in printed(reproduce_page(page()), 140).splitlines()]
    for row in (
        "routing 43 + 131 43 + 131 3,369 3,369 38.7 % 38.7 %",
        "FleetOpt 2.0 short 48 256 0.85 1.62 1.44 unstable, +30.3 %",
        "FleetOpt 2.0 short 20 unstable grows missed",
        "azure short 43 0.848 0.848 0.865 0.412 0.400 0.390 to 0.410",
        "FleetOpt 1.2 225 225 0.91 / 0.76 stable 150 / 150 met",
    ):
        assert row in lines


def test_markdown_has_the_command_and_every_row() -> None:
    text = reproduce_markdown(page(), "fleetopt reproduce --out x.md")
    assert "Made by `fleetopt reproduce --out x.md`." in text
    assert text.count("\n## ") == 8
    assert "| azure | FleetOpt 2.0 | 48 + 2 | 48 + 2 | 968 | 968 | 82.4 % | 82.4 % |" in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 7
    assert all(len({row.count("|") for row in table}) == 1 for table in tables)


def test_json_holds_everything_and_no_nan() -> None:
    text = reproduce_json(page())
    assert "NaN" not in text
    assert "Infinity" not in text
    found = json.loads(text)
    assert (len(found["fleets"]), len(found["needed"]), len(found["searched"])) == (7, 6, 2)
    short = found["fleets"][3]["pools"][0]
    assert short["model_ttft_p99_s"] is None
    assert short["simulated"]["verdict"] == found["fleets"][3]["verdict"] == "unstable"
    assert all(figure["is_reproduced"] for figure in found["figures"])
    assert {fleet["gpus"] for fleet in found["needed"] if fleet["fleet"] == "FleetOpt"} == {83}


def test_a_fleet_is_as_good_as_its_worst_pool() -> None:
    routing, retrofit = page().fleets[1:3]
    assert [pool.simulated.stability.verdict for pool in retrofit.pools] == ["unstable", "stable"]
    assert (fleet_stability(retrofit), fleet_target(retrofit)) == ("unstable", "missed")
    assert math.isinf(retrofit.pools[0].model_ttft_p99_s)
    assert (fleet_stability(routing), fleet_target(routing)) == ("stable", "met")
