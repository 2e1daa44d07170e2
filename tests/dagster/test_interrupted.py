"""A run that is killed, starved of disk or crossed by another: the next one leaves the tables of an undisturbed run."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from tests.dagster.project import DAYS, TABLES_OF_A_DAY, Project, assert_same_tables

ROOT = Path(__file__).resolve().parents[2]


def command(project, *options):
    module = [sys.executable, "-m", "tests.dagster.interrupted_run"]
    return [*module, str(project.root), project.data_name, str(DAYS[1]), *map(str, options)]


def run(project, *options):
    return subprocess.run(
        command(project, *options), cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    project = Project.create(tmp_path_factory.mktemp("interrupted"))
    with dg.DagsterInstance.ephemeral() as instance:
        assert all(project.ingest(day, instance).success for day in DAYS[:2])
    return project


@pytest.fixture(scope="module")
def before(undisturbed):
    """A data directory with the first day ingested, to be copied."""
    project = undisturbed.with_other_data("before")
    with dg.DagsterInstance.ephemeral() as instance:
        assert project.ingest(DAYS[0], instance).success
    return project


@pytest.fixture(scope="module")
def extent(before):
    """File events and seconds of a run that nothing disturbs."""
    done = run(copied(before, "extent"))
    assert done.returncode == 0, done.stderr[-2000:]
    events, seconds = done.stdout.split()[-2:]
    return int(events), float(seconds)


def copied(project, name):
    shutil.copytree(project.root / project.data_name, project.root / name)
    return project.with_other_data(name)


def assert_recovers(project, undisturbed, instance):
    for table in TABLES_OF_A_DAY:
        project.rows(table)  # whatever happened, every table can be read
    assert project.ingest(DAYS[1], instance).success
    assert_same_tables(project, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.35, 0.6, 0.85])
def test_killed_at_a_file_event(undisturbed, before, extent, instance, share):
    project = copied(before, f"event-{share}")
    done = run(project, "--kill-at", max(1, round(share * extent[0])))
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert_recovers(project, undisturbed, instance)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_killed_at_any_moment(undisturbed, before, extent, instance, share):
    project = copied(before, f"moment-{share}")
    run(project, "--kill-after", share * extent[1])  # it may have ended before: then this is an undisturbed run
    assert_recovers(project, undisturbed, instance)


@pytest.mark.slow
def test_killed_while_a_day_is_ingested_again(undisturbed, extent, instance):
    project = copied(undisturbed, "again")
    project.write("chat", DAYS[1], project.landing("chat", DAYS[1]).read_bytes() + b"\r\n")
    done = run(project, "--kill-at", round(0.6 * extent[0]))
    project.land(DAYS[1])
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr[-2000:]
    assert_recovers(project, undisturbed, instance)


@pytest.mark.slow
def test_two_runs_at_once(undisturbed, before, instance):
    project = copied(before, "two")
    go = project.root / "go"
    both = [subprocess.Popen(command(project, "--start-when", go), cwd=ROOT, stderr=subprocess.PIPE) for _ in range(2)]
    go.touch()
    endings = [process.communicate(timeout=120)[1] for process in both]
    # One of them may lose the race for a commit, and says so; none of them crashes.
    assert {process.returncode for process in both} <= {0, 1}, endings
    assert_recovers(project, undisturbed, instance)


FULL_DISK = """
mount -t tmpfs -o size=2m tmpfs "$1/full" && cp -r "$1/before/." "$1/full/" || exit 77
dd if=/dev/zero of="$1/full/ballast" bs=1k count=100000 2>/dev/null
truncate -s -"$2"k "$1/full/ballast"
shift 2
"$@"; first=$?
rm "$0/full/ballast"
"$@"; second=$?
cp -r "$0/full/." "$0/full-$FREE_KIB"
echo "$first $second"
"""


@pytest.mark.slow
@pytest.mark.parametrize("free_kib", [0, 64])
def test_a_full_disk(undisturbed, before, instance, free_kib):
    project = undisturbed.with_other_data("full")
    (project.root / "full").mkdir(exist_ok=True)
    script = FULL_DISK.replace('"$0', f'"{project.root}').replace("$FREE_KIB", str(free_kib))
    shell = ["unshare", "-rm", "sh", "-c", script, "full-disk", str(project.root), str(free_kib), *command(project)]
    done = subprocess.run(shell, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no file system of our own can be mounted here: {done.stderr.strip()[:200]}")
    first, second = done.stdout.split()[-2:]
    assert (first, second) == ("1", "0"), done.stderr[-2000:]
    assert_same_tables(project.with_other_data(f"full-{free_kib}"), undisturbed)
