"""The sensor notices files that are new or changed, asks for their days, and does a bounded amount of work."""

import json
import os
from datetime import date, timedelta

import dagster as dg
import pytest

from pipelines import sensors
from tests.dagster.project import CONFIG, DAYS, Project, azure_lines

UNDATED = CONFIG.replace("chat/{date}.csv", "chat/*.csv").replace("agent/{date}.jsonl", "agent/*.jsonl")


@pytest.fixture(autouse=True)
def _day_after(monkeypatch):
    monkeypatch.setattr(sensors, "_today", lambda: DAYS[-1] + timedelta(days=1))


class Ticks:
    """A sensor's ticks, each with the cursor of the one before."""

    def __init__(self, project, instance):
        self.project, self.instance, self.cursor = project, instance, None

    def __call__(self):
        """Run keys by day."""
        context = dg.build_sensor_context(
            instance=self.instance,
            definitions=self.project.defs,
            resources=dict(self.project.defs.resources),
            cursor=self.cursor,
        )
        result = self.project.defs.resolve_sensor_def("new_files").evaluate_tick(context)
        self.cursor, self.skipped = result.cursor, result.skip_message
        return {request.partition_key: request.run_key for request in result.run_requests}


@pytest.fixture
def tick(project, instance):
    return Ticks(project, instance)


def test_new_days_are_asked_for_once_the_latest_first(project, tick, instance):
    assert list(tick()) == [str(day) for day in reversed(DAYS)]
    assert tick() == {}
    for day in DAYS:
        assert project.ingest(day, instance).success
    assert tick() == {}
    assert tick.skipped == "no landing file of the 3 days looked at is new"
    assert json.loads(tick.cursor) == {"older": None, "asked": {}}


def test_an_incomplete_day_is_left_to_the_schedule(project, tick):
    late = project.landing("agent", DAYS[1])
    content = late.read_bytes()
    late.unlink()
    assert set(tick()) == {str(DAYS[0]), str(DAYS[2])}
    late.write_bytes(content)
    assert set(tick()) == {str(DAYS[1])}


def test_the_day_of_a_late_or_changed_file_is_asked_for_again(project, tick, instance):
    late = project.landing("agent", DAYS[1])
    content = late.read_bytes()
    late.unlink()
    for day in DAYS:
        project.ingest(day, instance)
    assert tick() == {}
    late.write_bytes(content)
    requested = tick()
    assert set(requested) == {str(DAYS[1])}
    assert project.ingest(DAYS[1], instance).success
    assert tick() == {}
    os.utime(late, ns=(1, 1))
    again = tick()
    assert set(again) == {str(DAYS[1])}
    assert again != requested
    late.unlink()  # logs are deleted some day: that is no change
    assert tick() == {}


def test_a_file_without_a_date_brings_the_days_of_its_lines(tmp_path, instance):
    (tmp_path / "fleetopt.toml").write_text(UNDATED)
    project = Project(tmp_path)
    for day in DAYS:
        project.land(day)
    for source in ("chat", "agent"):
        project.landing(source, DAYS[0]).unlink()
    tick = Ticks(project, instance)
    assert set(tick()) == {str(DAYS[2])}  # nobody has read the files: one day is asked for, which reads them
    assert tick() == {}
    assert project.ingest(DAYS[2], instance).success
    assert set(tick()) == {str(DAYS[1])}  # now it is known that one of them is of this day, and none of the first
    assert project.ingest(DAYS[1], instance).success
    assert tick() == {}
    lines = [*azure_lines(DAYS[0], 3), *azure_lines(DAYS[1], 3)]
    new = project.landing("chat", date(2020, 1, 1))  # its name says nothing
    new.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(lines))
    assert set(tick()) == {str(DAYS[2])}
    assert project.ingest(DAYS[2], instance).success
    assert set(tick()) == {str(DAYS[0]), str(DAYS[1])}


def test_a_source_that_cannot_be_reached_does_not_hide_the_others(project, tick, instance):
    for day in DAYS:
        assert project.ingest(day, instance).success
    for day in DAYS:
        project.landing("agent", day).unlink()
    chat = project.landing("chat", DAYS[0])
    chat.write_bytes(chat.read_bytes() + b"\r\n" + azure_lines(DAYS[0], 50)[-1].encode())
    assert set(tick()) == {str(DAYS[0])}
    assert project.ingest(DAYS[0], instance).success is False
    assert tick() == {}
    assert "source.agent.path: no file matches" in tick.skipped


def test_older_days_are_looked_at_in_turn(project, tick, instance, monkeypatch):
    monkeypatch.setattr(sensors, "OLDER_DAYS", 2)
    monkeypatch.setattr(sensors, "_today", lambda: DAYS[-1] + timedelta(days=4))  # the window is past all of them
    assert set(tick()) == {str(DAYS[1]), str(DAYS[2])}
    assert set(tick()) == {str(DAYS[0])}
    assert json.loads(tick.cursor)["older"] == str(DAYS[0])
    for day in DAYS:
        assert project.ingest(day, instance).success
    assert tick() == tick() == {}
    os.utime(project.landing("chat", DAYS[0]), ns=(1, 1))
    assert {**tick(), **tick()}.keys() == {str(DAYS[0])}


def test_a_tick_asks_for_few_days(tick, monkeypatch):
    monkeypatch.setattr(sensors, "MAX_REQUESTS", 2)
    assert list(tick()) == [str(DAYS[2]), str(DAYS[1])]
    assert list(tick()) == [str(DAYS[0])]


def test_days_that_are_not_over_are_left_alone(tick, monkeypatch):
    monkeypatch.setattr(sensors, "_today", lambda: DAYS[1])
    assert set(tick()) == {str(DAYS[0])}
