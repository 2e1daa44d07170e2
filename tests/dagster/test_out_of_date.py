"""Which days a night reads again: not those that a new file has nothing of."""

import shutil

import pytest

from fleetopt.errors import InputError
from pipelines.nightly import Progress, _NightRun
from tests.dagster.project import DAYS, mooncake_lines


def test_a_new_file_without_a_date_is_read_for_one_day_and_then_for_its_own(project, instance):
    config = project.root / "fleetopt.toml"
    config.write_text(config.read_text().replace("agent/{date}.jsonl", "agent/*.jsonl"))
    for day in DAYS:
        assert project.ingest(day, instance).success
    night = _NightRun(project.settings, Progress())
    assert not any(map(night.is_out_of_date, DAYS))

    late = project.root / "landing" / "agent" / "late.jsonl"
    late.write_text(mooncake_lines(DAYS[2])[3] + "\n")
    assert all(map(night.is_out_of_date, DAYS)), "nobody knows yet which day it is of"
    assert project.ingest(DAYS[0], instance).success
    assert [night.is_out_of_date(day) for day in DAYS] == [False, False, True]
    assert project.ingest(DAYS[2], instance).success
    assert not any(map(night.is_out_of_date, DAYS))

    shutil.rmtree(project.root / "landing" / "agent")
    with pytest.raises(InputError, match=r"source\.agent\.path: no file matches"):
        night.is_out_of_date(DAYS[0])
