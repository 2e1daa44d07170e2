"""A project of three days, and proofs that are quick because their simulations are small."""

from pathlib import Path

import pytest

from fleetopt.planner import trials
from tests.dagster.project import Project


@pytest.fixture(autouse=True)
def _small_simulations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_REQUESTS", 2000)
    monkeypatch.setattr(trials, "_POOL_REQUESTS", 200)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path)
