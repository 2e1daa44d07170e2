"""The assembled project: it loads, its graph is guarded, and it is started when it should be."""

from datetime import UTC, date, datetime

import dagster as dg
import pytest

from assets.checks import night_finding
from pipelines.instance import open_instance
from pipelines.resources.settings import PUBLIC_HASH_KEY, load_settings, settings_from_environment
from tests.dagster.project import CONFIG, DAYS, TABLES_OF_A_DAY, Project


def keys(selection: dg.AssetSelection, defs: dg.Definitions) -> set[str]:
    return {key.to_user_string() for key in selection.resolve(defs.resolve_asset_graph())}


def test_definitions_load_without_landing_files(tmp_path):
    (tmp_path / "fleetopt.toml").write_text(CONFIG)
    project = Project(tmp_path)
    dg.Definitions.validate_loadable(project.defs)


def test_ingest_day_is_raw_to_the_sums(project):
    job = project.defs.resolve_job_def("ingest_day")
    selected = {key.to_user_string() for key in job.asset_layer.selected_asset_keys}
    assert selected == {"raw_requests", *TABLES_OF_A_DAY}
    checks = (
        {key.name for key in job.asset_layer.selected_asset_check_keys}
        if hasattr(job.asset_layer, "selected_asset_check_keys")
        else {key.name for key in job.asset_layer.asset_graph.asset_check_keys}
    )
    assert "yesterday_is_in_core" not in checks


def test_nightly_is_everything(project):
    job = project.defs.resolve_job_def("nightly")
    selected = {key.to_user_string() for key in job.asset_layer.selected_asset_keys}
    assert selected == {key.to_user_string() for key in project.defs.resolve_all_asset_keys()}


def test_every_asset_is_described_owned_and_grouped(project):
    for spec in project.defs.resolve_all_asset_specs():
        name = spec.key.to_user_string()
        assert spec.description, name
        assert spec.owners, name
        assert spec.kinds, name
        assert spec.code_version, name
        assert spec.group_name in {"raw", "staging", "core", "out", "published"}, name


def test_tables_carry_their_columns_and_lineage(project):
    specs = {spec.key.to_user_string(): spec for spec in project.defs.resolve_all_asset_specs()}
    for table in TABLES_OF_A_DAY:
        assert specs[table].metadata["dagster/column_schema"].columns, table
        assert specs[table].metadata["dagster/column_lineage"].deps_by_column, table


def test_checks_of_partitioned_assets_are_partitioned_and_staging_ones_block(project):
    specs = {
        (spec.asset_key.to_user_string(), spec.name): spec
        for check in project.defs.asset_checks
        for spec in check.check_specs
    }
    night = specs.pop(("core_requests", "yesterday_is_in_core"))
    assert night.partitions_def is None
    assert {name for asset, name in specs if asset == "stg_requests"} == {
        "schema",
        "line_balance",
        "sources_present",
        "quarantined_fraction",
        "key_is_unique",
        "models_declared",
        "quality_notes",
        "expectations",
    }
    assert not specs.pop(("stg_requests", "quality_notes")).blocking
    for name, spec in specs.items():
        assert spec.blocking, name
        assert spec.partitions_def.start.date() == DAYS[0], name


def test_core_is_noticed_when_it_is_late(project):
    spec = next(s for s in project.defs.resolve_all_asset_specs() if s.key == dg.AssetKey("core_requests"))
    assert spec.freshness_policy.deadline_cron == "0 6 * * *"
    assert night_finding(DAYS[1], [DAYS[0]]).passed is False
    assert "2026-01-06 is not in core" in night_finding(DAYS[1], [DAYS[0]]).summary
    assert night_finding(DAYS[1], DAYS).passed
    assert night_finding(None, []).passed


def test_night_watch_fails_when_yesterday_is_not_in_core(project, instance):
    job = project.defs.resolve_job_def("night_watch")
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    (check,) = result.get_asset_check_evaluations()
    assert check.check_name == "yesterday_is_in_core"
    assert not check.passed


@pytest.mark.filterwarnings("ignore:Function `JobDefinition.run_request_for_partition`:DeprecationWarning")
def test_schedule_requests_the_day_before(project, instance):
    schedule = project.defs.resolve_schedule_def("nightly_at_3_utc")
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=datetime(2026, 1, 10, 3, tzinfo=UTC),
        repository_def=project.defs.get_repository_def(),
    )
    (request,) = schedule.evaluate_tick(context).run_requests
    assert request.partition_key == "2026-01-09"
    assert schedule.cron_schedule == "0 3 * * *"
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING


def test_instance_is_in_the_data_directory(project, monkeypatch):
    for name in ("DAGSTER_HOME", "FLEETOPT_CONFIG", "FLEETOPT_DATA"):
        monkeypatch.setenv(name, "")
    with open_instance(project.settings) as instance:
        assert project.ingest(DAYS[0], instance).success
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_max_runtime_seconds == 4 * 60 * 60
    storage = project.settings.paths.dagster
    assert (storage / "history/runs.db").exists()
    assert "data/dagster\n" not in (storage / "dagster.yaml").read_text()
    same = settings_from_environment()
    assert (same.config_path, same.data_dir) == (project.settings.config_path, project.settings.data_dir)


def test_public_hash_key_is_flagged(project, monkeypatch):
    monkeypatch.delenv("FLEETOPT_HASH_KEY", raising=False)
    settings = load_settings(project.root / "fleetopt.toml")
    assert settings.uses_public_hash_key
    assert settings.hash_key == PUBLIC_HASH_KEY
    assert PUBLIC_HASH_KEY.decode() not in repr(settings)


def test_first_day_comes_from_the_configuration(project):
    spec = next(s for s in project.defs.resolve_all_asset_specs() if s.key == dg.AssetKey("raw_requests"))
    assert spec.partitions_def.start.date() == date(2026, 1, 5)
