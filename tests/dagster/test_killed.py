"""A run that is killed at any moment and started again leaves the tables of an undisturbed run."""

import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from tests.dagster.project import DAYS, TABLES_OF_A_DAY, Project, assert_same_tables

ROOT = Path(__file__).resolve().parents[2]

# Runs the second day in a process of its own that kills itself at the moment that argument 2 names.
RUN = """
import os, signal, sys
from pathlib import Path

import dagster as dg
import polars as pl
import pyarrow as pa

from pipelines.resources import raw_files, tables
from tests.dagster.project import DAYS, Project

moment = sys.argv[2]
project = Project(Path(sys.argv[1]), sys.argv[3])


def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


def nth_write(n, write):
    calls = iter(range(1, 100))
    original = tables.write_deltalake
    tables.write_deltalake = lambda *a, **k: write(original, *a, **k) if next(calls) == n else original(*a, **k)


def halfway(original, path, frame, **options):
    def batches():
        yield from frame.head(frame.height // 2).to_arrow().to_batches()
        die()

    original(path, pa.RecordBatchReader.from_batches(frame.to_arrow().schema, batches()), **options)


if moment == "raw file half written":
    write = pl.DataFrame.write_parquet
    pl.DataFrame.write_parquet = lambda self, path: (path.write_bytes(b"PAR1 and no more"), die())
elif moment == "raw file not yet pointed to":
    raw_files.RawFiles.point_to = die
elif moment.startswith("before write"):
    nth_write(int(moment.split()[-1]), die)
elif moment.startswith("halfway through write"):
    nth_write(int(moment.split()[-1]), halfway)
with dg.DagsterInstance.ephemeral() as instance:
    project.ingest(DAYS[1], instance)
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    project = Project.create(tmp_path_factory.mktemp("killed"))
    with dg.DagsterInstance.ephemeral() as instance:
        assert all(project.ingest(day, instance).success for day in DAYS[:2])
    return project


# Writes of the run in order: 1 stg_requests, 2 quarantined_requests, 3 stg_quality, 4 core_requests, 5 and 6 its sums.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "is_first_time"),
    [
        ("raw file half written", True),
        ("raw file not yet pointed to", True),
        ("halfway through write 1", True),
        ("before write 2", False),
        ("halfway through write 4", True),
        ("halfway through write 5", False),
        ("before write 6", False),
    ],
)
def test_killed_and_started_again(undisturbed, instance, moment, is_first_time):
    killed = undisturbed.with_other_data(f"{moment} {is_first_time}".replace(" ", "-"))
    assert killed.ingest(DAYS[0], instance).success
    if not is_first_time:
        assert killed.ingest(DAYS[1], instance).success
    arguments = [str(killed.root), moment, killed.data_name]
    process = subprocess.run(
        [sys.executable, "-c", RUN, *arguments], cwd=ROOT, capture_output=True, check=False, timeout=120
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()[-2000:]
    for table in TABLES_OF_A_DAY:
        killed.rows(table)
    assert killed.ingest(DAYS[1], instance).success
    assert_same_tables(killed, undisturbed)
