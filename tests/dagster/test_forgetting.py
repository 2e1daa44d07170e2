"""What is forgotten is gone, with its bytes; nothing else goes; and it does not come back."""

import json
import shutil
from datetime import date, timedelta
from types import SimpleNamespace

import dagster as dg
import polars as pl
import pytest
from typer.testing import CliRunner

from fleetopt.errors import InputError
from fleetopt.ingest.labels import keyed_label
from pipelines import forgetting, sensors
from pipelines.cli import app
from pipelines.forgetting import ROW_TABLES, Forgetting
from pipelines.resources.forgotten import Selection
from pipelines.resources.tables import FilesGoneError
from pipelines.resources.watch import Watch
from tests.dagster.project import CONFIG, DAYS, Project, mooncake_lines

AFTER = DAYS[-1] + timedelta(days=1)
COUNTS = ("stg_quality", "core_length_histogram", "core_arrivals")
TENANTS = ("acme", "beta")
OWN_FORMAT = """
[source.agent.mapping]
container = "jsonl"
prompt_tokens = ["input_length"]
output_tokens = ["output_length"]
tenant = ["user"]
[source.agent.mapping.time]
path = "timestamp"
unit = "ms"
is_relative = true
"""


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    """A project of three ingested days; its source ``agent`` has two tenants."""
    root = tmp_path_factory.mktemp("forgetting") / "project"
    root.mkdir()
    config = CONFIG.replace('format = "mooncake"', 'format = "mapping"').replace("[fleet.", f"{OWN_FORMAT}\n[fleet.", 1)
    (root / "fleetopt.toml").write_text(config)
    project = Project(root)
    with dg.DagsterInstance.ephemeral() as instance:
        for day in DAYS:
            project.land(day)
            lines = [json.loads(line) | {"user": TENANTS[i % 2]} for i, line in enumerate(mooncake_lines(day))]
            project.write("agent", day, "".join(json.dumps(line) + "\n" for line in lines).encode())
            assert project.ingest(day, instance).success
    shutil.copytree(root, root.with_name("as_it_was"))
    return project


@pytest.fixture
def tenants(ingested):
    """The same, as it was, in the same place: the raw layer knows its files by their paths."""
    shutil.rmtree(ingested.root)
    shutil.copytree(ingested.root.with_name("as_it_was"), ingested.root)
    return Project(ingested.root)


def forget(project, **selection):
    Forgetting(project.settings, Selection(**{"before": AFTER, **selection})).forget()


def counted(project, table):
    """Rows by day and source."""
    counts = project.tables.read(table).group_by("day", "source").len().collect()
    return {(day, source): n for day, source, n in counts.iter_rows()}


def files_below(project):
    return [path for path in project.settings.data_dir.rglob("*") if path.is_file()]


def files_with(project, text):
    """Files of the data directory that hold a text, Parquet read; Dagster's storage too."""
    found = []
    for path in files_below(project):
        if path.suffix == ".parquet":
            frame = pl.read_parquet(path, hive_partitioning=False).select(pl.selectors.string())
            hits = frame.select(pl.any_horizontal((pl.all() == text).any())).item() if frame.width else False
            constants = path.with_name("parts.json")
            hits = hits or (constants.exists() and text in constants.read_text())
        else:
            hits = text.encode() in path.read_bytes()
        found += [path] if hits else []
    return found


def test_a_day(tenants, instance):
    before = {table: counted(tenants, table) for table in ROW_TABLES}
    counts = {table: tenants.rows(table) for table in COUNTS}
    forget(tenants, first=DAYS[0], before=DAYS[1])
    for table in ROW_TABLES:
        assert counted(tenants, table) == {key: n for key, n in before[table].items() if key[0] != DAYS[0]}
    for table in COUNTS:
        assert tenants.rows(table).equals(counts[table])
    assert not [path for path in files_below(tenants) if f"day={DAYS[0]}" in str(path) and "requests" in str(path)]
    assert not list(tenants.settings.paths.raw.glob(f"*/day={DAYS[0]}"))
    result = tenants.ingest(DAYS[0], instance)
    assert not result.success
    assert tenants.rows("core_length_histogram").equals(counts["core_length_histogram"])


def test_a_source(tenants, instance):
    before = {table: counted(tenants, table) for table in ROW_TABLES}
    forget(tenants, source="agent")
    for table in ROW_TABLES:
        assert counted(tenants, table) == {key: n for key, n in before[table].items() if key[1] != "agent"}
    assert not list(tenants.settings.paths.raw.glob("source=agent/*"))
    assert not [
        path for path in files_with(tenants, "agent") if "requests" in str(path) and "_delta_log" not in str(path)
    ]
    assert tenants.ingest(DAYS[1], instance).success  # the other source is read again, alone
    assert counted(tenants, "core_requests").keys() == {(day, "chat") for day in DAYS}


def test_a_tenant_goes_with_its_bytes_and_does_not_come_back(tenants, instance):
    gone, kept = (keyed_label(name, tenants.settings.hash_key, "tenant") for name in TENANTS)
    before = counted(tenants, "core_requests")
    assert any("raw" in str(path) for path in files_with(tenants, gone))
    forget(tenants, tenant=gone, first=DAYS[1])
    left = counted(tenants, "core_requests")
    for day in DAYS:
        assert left[day, "chat"] == before[day, "chat"]
        assert left[day, "agent"] == (20 if day > DAYS[0] else 40)
    assert {path.name for path in files_with(tenants, gone) if f"day={DAYS[0]}" not in str(path)} == {"forgotten.json"}
    assert files_with(tenants, kept)
    tenants.landing("agent", DAYS[2]).write_bytes(tenants.landing("agent", DAYS[2]).read_bytes() + b"\n")
    assert tenants.ingest(DAYS[2], instance).success
    assert tenants.ingest(DAYS[1], instance).success
    assert counted(tenants, "core_requests") == left
    assert {path.name for path in files_with(tenants, gone) if f"day={DAYS[0]}" not in str(path)} == {"forgotten.json"}
    quality = tenants.rows("stg_quality").filter(pl.col("source") == "agent")
    assert quality["requests"].to_list() == [40, 20, 20]
    (tenants.settings.data_dir / "forgotten.json").write_text("[]")
    assert tenants.ingest(DAYS[2], instance).success
    assert counted(tenants, "core_requests")[DAYS[2], "agent"] == 40


def test_what_was_forgotten_is_neither_missing_nor_new(tenants, monkeypatch):
    monkeypatch.setattr(sensors, "_today", lambda: AFTER)
    forget(tenants, before=DAYS[1])
    forget(tenants, source="agent", first=DAYS[2])
    landing = tenants.defs.resources["landing"]
    for day in DAYS:
        assert not Watch(landing).day(day).is_new
    tenants.landing("agent", DAYS[2]).unlink()
    assert landing.missing_files(DAYS[2]) == {}


def test_other_days_can_still_be_read_as_they_were(tenants):
    version = tenants.tables.version("core_requests")
    forget(tenants, first=DAYS[0], before=DAYS[1])
    old = pl.scan_delta(tenants.tables.uri("core_requests"), version=version)
    assert old.filter(pl.col("day") == DAYS[2]).collect().height == tenants.rows("core_requests", DAYS[2]).height
    with pytest.raises(Exception, match="No such file"):
        old.filter(pl.col("day") == DAYS[0]).collect()


def test_stopped_while_it_deletes_it_leaves_nothing_that_is_not_found_again(tenants, monkeypatch):
    gone = keyed_label(TENANTS[0], tenants.settings.hash_key, "tenant")

    def stop(directory, **_):
        """Delete one file of a directory, the last by name, and no more."""
        max(path for path in directory.rglob("*") if path.is_file()).unlink()
        raise KeyboardInterrupt

    for selection in ({"tenant": gone}, {"source": "agent"}):
        with monkeypatch.context() as patch:
            patch.setattr(forgetting, "shutil", SimpleNamespace(rmtree=stop))
            with pytest.raises(KeyboardInterrupt):
                forget(tenants, **selection)
        landing = tenants.defs.resources["landing"]
        for day in DAYS:
            landing.raw.read("agent", day).collect()  # nothing points to what is gone
        forget(tenants, **selection)
        assert {path.name for path in files_with(tenants, gone)} <= {"forgotten.json"}


def test_what_killed_runs_left_of_a_day_goes_with_a_tenant(tenants):
    folder = tenants.settings.paths.raw / "source=agent" / f"day={DAYS[0]}"
    (folder / ".1.parts").mkdir()
    (folder / ".1.lock").touch()
    (folder / ".1.parts" / "part-00000.parquet").touch()
    forget(tenants, tenant=keyed_label("nobody", tenants.settings.hash_key, "tenant"))
    assert not list(folder.glob(".*"))


def test_a_day_that_is_forgotten_while_it_is_written_stays_forgotten(tenants):
    rows = tenants.rows("stg_requests", DAYS[0])
    with pytest.raises(FilesGoneError, match="was the day forgotten meanwhile"):  # noqa: SIM117
        with tenants.tables.day_writer("stg_requests", DAYS[0]) as writer:
            writer.write(rows)
            forget(tenants, first=DAYS[0], before=DAYS[1])
    assert tenants.rows("stg_requests", DAYS[0]).is_empty()


def test_a_day_whose_files_are_lost_can_be_forgotten(tenants):
    for path in files_below(tenants):
        if "tables/stg_requests/day=2026-01-05" in str(path):
            path.unlink()
    forget(tenants, first=DAYS[0], before=DAYS[1])
    assert set(tenants.rows("stg_requests")["day"]) == set(DAYS[1:])


def test_files_of_others_in_a_table_are_left_alone(tenants):
    other = tenants.settings.data_dir / "tables" / "core_requests" / "README.txt"
    other.touch()
    forget(tenants, source="agent")
    assert other.exists()


def test_twice_is_once(tenants):
    forget(tenants, source="agent")
    files = {path: path.read_bytes() for path in files_below(tenants)}
    forget(tenants, source="agent")
    assert {path: path.read_bytes() for path in files_below(tenants)} == files


def call(project, *arguments, answer=None):
    where = ["--config", str(project.root / "fleetopt.toml"), "--data", str(project.settings.data_dir)]
    return CliRunner().invoke(app, ["forget", *arguments, *where], input=answer)


def test_the_command_says_what_goes_and_asks(tenants):
    before = counted(tenants, "core_requests")
    for result in (call(tenants, "--tenant", "acme", "--dry-run"), call(tenants, "--tenant", "acme", answer="n\n")):
        assert "Deleted" not in result.output
        assert "core_requests: 60 rows of 3 days, 2026-01-05 to 2026-01-07" in result.output
        assert "raw_requests: 60 rows of 3 days" in result.output
        assert counted(tenants, "core_requests") == before
    result = call(tenants, "--tenant", "acme", "--yes")
    assert result.exit_code == 0
    assert "delete them where they are" in result.output
    assert sum(counted(tenants, "core_requests").values()) == sum(before.values()) - 60
    for result in (call(tenants, "--tenant", "acme", "--dry-run"), call(tenants, "--tenant", "acme", answer="n\n")):
        assert "nothing of it is held\nTenants are found by their keyed hash" in result.output
    assert "\nNothing was there to delete; " in call(tenants, "--tenant", "acme", "--yes").output
    assert call(tenants, "--day", str(DAYS[2]), "--source", "chat", "--yes").exit_code == 0
    assert (DAYS[2], "chat") not in counted(tenants, "core_requests")


def test_expired_days(tenants):
    config = tenants.root / "fleetopt.toml"
    config.write_text(config.read_text().replace("window_days = 3", "window_days = 3\nkeep_request_days = 1"))
    assert call(tenants, "--expired", "--yes").exit_code == 0
    assert counted(tenants, "core_requests") == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing is named"),
        (["--day", "2026-01-05", "--before", "2026-01-05"], "give one of them"),
        (["--before", "tomorrow"], "--before tomorrow: not a day"),
        (["--expired"], "declares no pipeline.keep_request_days"),
        (["--source", "nobody"], "there is no source 'nobody'"),
    ],
)
def test_questions_that_make_no_sense(project, arguments, message):
    result = call(project, *arguments)
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


def test_a_broken_list_is_one_line(project):
    project.settings.data_dir.mkdir()
    (project.settings.data_dir / "forgotten.json").write_text('[{"before": "soon"}]')
    with pytest.raises(InputError, match=r"forgotten\.json: is not a list of what was forgotten"):
        project.defs.resources["landing"].is_forgotten(date(2026, 1, 5))
