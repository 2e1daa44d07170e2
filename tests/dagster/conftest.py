"""Fixtures: a small project of two sources with logs that the tests write."""

from pathlib import Path

import dagster as dg
import pytest

from tests.dagster.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose first three days have good logs."""
    return Project.create(tmp_path)


@pytest.fixture
def instance() -> dg.DagsterInstance:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral
