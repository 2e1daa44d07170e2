"""The whole night: from landing files to procurement files, with a bad day, a second run, late data."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from importlib import resources
from pathlib import Path

import jsonschema
import polars as pl
import pytest

from assets.frozen import PublishedVersionChangedError
from fleetopt.errors import InputError
from fleetopt.reporting.document import VERDICT_MEANINGS
from pipelines.nightly import Night, Progress, run_night
from pipelines.resources.tables import TableStore
from tests.dagster.project import DAYS, Project, azure_lines

FROZEN = {"recommendation.json", "recommendation.csv", "recommendation.parquet", "recommendation.schema.json"}


def night_of(project: Project, day: date = DAYS[2]) -> Night:
    return run_night(project.settings, day, Progress())


def frozen_bytes(night: Night) -> dict[str, bytes]:
    return {name: (night.fleets[0].feed / name).read_bytes() for name in FROZEN}


@pytest.mark.slow
def test_a_night_publishes_a_plan_with_its_evidence_and_a_second_run_does_nothing(project):
    told: list[str] = []
    days_done: list[tuple[int, int]] = []
    night = run_night(
        project.settings, DAYS[2], Progress(on_days=lambda *done: days_done.append(done), on_message=told.append)
    )
    (fleet,) = night.fleets
    assert night.ingested == tuple(DAYS[:2])
    assert (night.planned, night.failed) == (True, {})
    assert days_done[-1] == (3, 3)
    assert "plan_fleets" in told
    assert {file.name for file in fleet.feed.iterdir()} == FROZEN | {"provenance.json"}
    published = json.loads((fleet.feed / "recommendation.json").read_text())
    jsonschema.validate(published, json.loads((fleet.feed / "recommendation.schema.json").read_text()))
    assert published == fleet.document
    assert published["verdict"] == "confirmed"
    assert published["window"]["days_held"] == 3
    assert published["window"]["requests"] == 3 * 80
    assert {step.step for step in night.steps} >= {"raw_requests", "plan_fleets", "procurement_feed"}
    side = json.loads((fleet.feed / "provenance.json").read_text())
    assert side["delta_versions"]["core_requests"] == TableStore(project.settings.paths.tables).version("core_requests")
    page = fleet.report.read_text()
    assert VERDICT_MEANINGS["confirmed"].split(":")[0] in page
    assert "<svg" in page
    again = night_of(project)
    assert (again.ingested, again.planned) == ((), False)
    assert again.fleets == night.fleets


@pytest.mark.slow
def test_nothing_of_a_corrupt_day_is_published_or_used(project):
    project.write("chat", DAYS[1], b"\x00\xff\x00 not a log\n" * 50)
    night = night_of(project)
    assert list(night.failed) == [DAYS[1]]
    assert "chat" in night.failed[DAYS[1]]
    document = night.fleets[0].document
    assert document["window"]["days_held"] == 2
    assert document["window"]["days_missing"] == [DAYS[1].isoformat()]
    assert document["window"]["requests"] == 2 * 80
    for table in ("core_requests", "core_length_histogram", "core_arrivals"):
        assert project.tables.days(table) == [DAYS[0], DAYS[2]]
    assert not (project.settings.paths.published / "assistant" / DAYS[1].isoformat()).exists()
    assert DAYS[1].isoformat() in night.fleets[0].report.read_text()
    with pytest.raises(InputError, match=f"{DAYS[1]}: nothing is recommended: .*source chat"):
        night_of(project, DAYS[1])


@pytest.mark.slow
def test_the_same_logs_give_the_same_bytes_elsewhere_and_other_logs_supersede_them(project):
    first = night_of(project)
    elsewhere = project.with_other_data("other-data")
    assert frozen_bytes(night_of(elsewhere)) == frozen_bytes(first)
    more = [line.replace(",10", ",11") for line in azure_lines(DAYS[2])]
    project.write("chat", DAYS[2], "\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *more]).encode())
    second = night_of(project)
    assert second.fleets[0].document["version"] != first.fleets[0].document["version"]
    assert frozen_bytes(first).keys() == FROZEN
    mark = first.fleets[0].feed.with_name(first.fleets[0].feed.name + ".superseded.json")
    assert json.loads(mark.read_text())["superseded_by"] == second.fleets[0].document["version"]
    assert not second.fleets[0].feed.with_name(second.fleets[0].feed.name + ".superseded.json").exists()


@pytest.mark.slow
def test_yesterdays_recommendation_is_judged_on_todays_traffic(project):
    yesterday, today = night_of(project, DAYS[1]), night_of(project, DAYS[2])
    rows = project.rows("out_accuracy_report", DAYS[2])
    assert set(rows["version"]) == {yesterday.fleets[0].document["version"]}
    assert set(rows["measure"]) == {"ttft_p99_s", "slot_utilization"}
    assert rows["simulated"].null_count() == 0
    side = json.loads((today.fleets[0].feed / "provenance.json").read_text())
    assert side["difference_to_previous"]["day"] == DAYS[1].isoformat()
    assert project.rows("out_accuracy_report", DAYS[1]).is_empty()
    # What was planned before is no part of a version: the day alone gives the same bytes.
    assert frozen_bytes(night_of(project.with_other_data("alone"))) == frozen_bytes(today)


@pytest.mark.slow
def test_a_recommendation_does_not_outlive_its_day(project):
    planned = night_of(project, DAYS[1]).fleets[0]
    project.write("chat", DAYS[1], b"garbage")
    with pytest.raises(InputError, match="source chat"):
        night_of(project, DAYS[1])
    mark = json.loads(planned.feed.with_name(planned.feed.name + ".superseded.json").read_text())
    assert (mark["superseded_by"], mark["version"]) == (None, planned.document["version"])
    assert project.rows("out_fleet_recommendation", DAYS[1]).is_empty()
    night_of(project)
    assert project.rows("out_accuracy_report", DAYS[2]).is_empty()
    project.land(DAYS[1])
    again = night_of(project, DAYS[1]).fleets[0]
    assert again.feed == planned.feed
    assert not planned.feed.with_name(planned.feed.name + ".superseded.json").exists()


@pytest.mark.slow
def test_a_change_of_a_profile_or_of_what_a_source_declares_is_planned_again(project):
    profile = resources.files("fleetopt.profiles") / "catalogue_files" / "a100-llama2-7b.toml"
    gpu, config = project.root / "gpu.toml", project.root / "fleetopt.toml"
    gpu.write_text(profile.read_text())
    config.write_text(config.read_text().replace('"a100-llama2-7b"', '"gpu.toml"'))
    first = night_of(project)
    gpu.write_text(gpu.read_text().replace("base_s = 9.58e-3", "base_s = 11e-3"))
    second = night_of(project)
    assert second.planned
    assert second.fleets[0].document["version"] != first.fleets[0].document["version"]
    config.write_text(config.read_text().replace('archetype = "agent"', 'archetype = "agent"\ntime = "finish"'))
    third = night_of(Project(project.root))
    assert third.planned
    assert any("the finish is taken for the arrival" in text for text in third.fleets[0].document["limitations"])


@pytest.mark.slow
def test_an_infeasible_target_is_published_as_no_plan(project):
    config = project.root / "fleetopt.toml"
    config.write_text(config.read_text().replace("slo_ttft_p99_s = 2.0", "slo_ttft_p99_s = 0.01"))
    (fleet,) = night_of(project).fleets
    assert (fleet.document["status"], fleet.document["verdict"]) == ("infeasible", "none")
    row = pl.read_csv(fleet.feed / "recommendation.csv").row(0, named=True)
    assert row["is_order"] is False
    assert row["order_replicas"] is None


@pytest.mark.slow
def test_a_frozen_file_that_somebody_changed_is_not_overwritten(project):
    feed = night_of(project).fleets[0].feed
    (feed / "recommendation.csv").write_text("tampered")
    (project.settings.paths.reports / DAYS[2].isoformat() / "assistant.html").unlink()
    with pytest.raises(RuntimeError, match=PublishedVersionChangedError.__name__):
        night_of(project)
    assert (feed / "recommendation.csv").read_text() == "tampered"


@pytest.mark.parametrize(
    ("day", "expected"),
    [(date(2026, 1, 4), "before pipeline.first_day"), (datetime.now(UTC).date(), "is not over yet")],
)
def test_a_day_that_cannot_be_planned_is_refused_before_anything_runs(project, day, expected):
    with pytest.raises(InputError, match=expected):
        night_of(project, day)
    assert not project.settings.paths.tables.exists()


def test_an_unknown_profile_is_refused_by_file_and_key(project):
    fleet = project.settings.config.fleet["assistant"].model_copy(update={"profiles": ["h9000"]})
    config = project.settings.config.model_copy(update={"fleet": {"assistant": fleet}})
    with pytest.raises(InputError, match=r"fleetopt\.toml: key 'fleet\.assistant\.profiles': no GPU profile named"):
        run_night(replace(project.settings, config=config), DAYS[2], Progress())


def test_a_source_whose_path_is_not_there_is_refused_by_key(project):
    for file in (project.root / "landing" / "agent").iterdir():
        file.unlink()
    with pytest.raises(InputError, match=r"source\.agent\.path"):
        night_of(project)
    assert not (Path(project.settings.data_dir) / "published").exists()
