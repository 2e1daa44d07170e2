"""The table of the evidence of plans: counts, failures first, and records that come back as they were."""

import json
from dataclasses import replace

from fleetopt.reporting.plans import (
    cell_from_record,
    cell_record,
    failures,
    failures_first,
    plans_json,
    plans_markdown,
    plans_table,
    summary,
)
from tests.unit.reporting.plan_cells import AS_IT_CAME, CELLS, INFEASIBLE, NOT_CONFIRMED, REPAIRED, TOO_DEAR
from tests.unit.reporting.test_simulation_tables import printed, words


def test_what_came_out_is_told_in_three_sentences() -> None:
    held, dearer, repaired = summary(CELLS)
    assert held.startswith("3 of 5 cells pass: 3 of 4 plans are confirmed by simulation, and 1 of 1 cells")
    assert "8.3 % more" in dearer
    assert "25.0 % at most; for 2 of 3 no cheaper" in dearer
    assert repaired.startswith("As the model gave them 1 of 4 plans hold; verification added replicas to 3,")
    assert repaired.endswith("to 1.")


def test_a_plan_fails_beyond_five_per_cent_and_one_replica() -> None:
    assert [cell.is_passed for cell in CELLS] == [True, True, False, False, True]
    one_replica = replace(REPAIRED, cheapest_usd_per_hour=18.0)
    assert one_replica.excess > 0.05
    assert one_replica.is_passed
    large = replace(REPAIRED, verified_usd_per_hour=208.0, cheapest_usd_per_hour=200.0)
    assert large.is_passed
    assert not replace(large, verified_usd_per_hour=212.0).is_passed
    assert not replace(INFEASIBLE, is_infeasible_proved=False).is_passed


def test_failures_come_first_and_are_told_in_words() -> None:
    assert failures_first(CELLS)[:2] == [TOO_DEAR, NOT_CONFIRMED]
    dear, open_ = failures(CELLS)
    assert "10 a100 costs 25.0 % more than 4 + 4 a100, B 4096, gamma 1.5" in dear
    assert "is undecided: all pool" in open_


def test_the_table_fits_80_columns() -> None:
    text = printed(plans_table(CELLS))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    rows = [line.split() for line in text.splitlines() if line.startswith("azure ")]
    assert [row[3] for row in rows] == ["6", "7", "1.5", "3", "0.9"]
    assert "Failed: azure, a100, 20 req/s, 6 x" in words(text)


def test_markdown_holds_every_cell_and_json_no_nan() -> None:
    text = plans_markdown(CELLS)
    assert text.count("\n| azure |") == 5
    assert "In 1 cells some simulations of the reference were too short" in text
    found = json.loads(plans_json(CELLS))
    assert len(found["cells"]) == 5
    assert found["cells"][4]["excess"] is None


def test_a_record_comes_back_as_the_cell_that_it_was() -> None:
    for cell in CELLS:
        record = json.loads(json.dumps(cell_record(cell)))
        assert cell_record(cell_from_record(record)) == record
    assert cell_from_record(cell_record(AS_IT_CAME)) == AS_IT_CAME
