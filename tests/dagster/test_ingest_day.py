"""Write, audit, publish: what reaches core, what does not, and what people are told."""

import gzip
import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from assets import staging
from fleetopt.ingest.landing import LandingFile, count_again, read_file
from fleetopt.ingest.parts import PartsWriter
from fleetopt.workload.histogram import bin_lower_edge
from pipelines.resources import sources
from pipelines.resources.sources import LandingChangedError, LinesLostError, check_reading
from pipelines.resources.watch import Watch
from tests.dagster.project import (
    CORE_TABLES,
    DAYS,
    REQUESTS_PER_FILE,
    TABLES_OF_A_DAY,
    Project,
    failed_checks,
    mooncake_lines,
)

GARBAGE = bytes(range(256)) * 40


def test_a_good_day_reaches_core_and_its_sums(project, instance):
    assert project.ingest(DAYS[0], instance).success
    requests = project.rows("core_requests", DAYS[0])
    assert requests.group_by("source").len().sort("source").rows() == [
        ("agent", REQUESTS_PER_FILE),
        ("chat", REQUESTS_PER_FILE),
    ]
    quality = project.rows("stg_quality", DAYS[0])
    counted = quality.select("source", "files", "lines", "requests", "duplicates", "quarantined").rows()
    assert counted == [("agent", 1, 40, 40, 0, 0), ("chat", 1, 42, 40, 1, 1)]
    histogram = project.rows("core_length_histogram", DAYS[0])
    assert histogram["requests"].sum() == 2 * REQUESTS_PER_FILE
    assert histogram["prompt_tokens_sum"].sum() == requests["prompt_tokens"].sum()
    edges = bin_lower_edge(requests["prompt_tokens"].to_numpy())
    assert set(histogram["prompt_tokens_lo"]) == set(edges.tolist())
    assert project.rows("core_arrivals", DAYS[0])["requests"].sum() == 2 * REQUESTS_PER_FILE
    assert project.rows("quarantined_requests", DAYS[0])["line_number"].to_list() == [43]


def test_of_three_days_with_the_second_corrupt_nothing_of_it_is_in_core(project, instance):
    project.write("agent", DAYS[1], GARBAGE)
    results = [project.ingest(day, instance) for day in DAYS]
    assert [result.success for result in results] == [True, False, True]
    for table in CORE_TABLES:
        assert project.tables.days(table) == [DAYS[0], DAYS[2]]
    failures = failed_checks(results[1])
    assert set(failures) == {"sources_present", "quarantined_fraction"}
    assert str(project.landing("agent", DAYS[1])) in failures["sources_present"]
    assert "source agent" in failures["quarantined_fraction"]
    assert DAYS[1] in project.tables.days("quarantined_requests")


def test_a_day_that_turns_corrupt_leaves_core_on_its_next_run(project, instance):
    assert project.ingest(DAYS[0], instance).success
    assert project.ingest(DAYS[1], instance).success
    project.write("chat", DAYS[0], gzip.compress(b"not a log"))
    assert not project.ingest(DAYS[0], instance).success
    for table in CORE_TABLES:
        assert project.tables.days(table) == [DAYS[1]]


def test_a_repaired_day_comes_back(project, instance):
    project.write("agent", DAYS[0], GARBAGE)
    assert not project.ingest(DAYS[0], instance).success
    project.land(DAYS[0])
    assert project.ingest(DAYS[0], instance).success
    assert project.rows("core_requests", DAYS[0]).height == 2 * REQUESTS_PER_FILE


def test_running_a_day_again_changes_nothing(project, instance):
    project.ingest(DAYS[0], instance)
    before = {table: project.rows(table) for table in TABLES_OF_A_DAY}
    project.ingest(DAYS[0], instance)
    for table, rows in before.items():
        assert project.rows(table).equals(rows), table


def test_a_missing_file_is_named(project, instance):
    missing = project.landing("agent", DAYS[1])
    missing.unlink()
    result = project.ingest(DAYS[1], instance)
    assert not result.success
    assert failed_checks(result)["sources_present"] == f"source agent: no file {missing} for {DAYS[1]}"
    assert DAYS[1] not in project.tables.days("core_requests")


def test_a_day_outlives_its_log_files(project, instance):
    assert project.ingest(DAYS[1], instance).success
    before = {table: project.rows(table, DAYS[1]) for table in TABLES_OF_A_DAY}
    project.landing("agent", DAYS[1]).unlink()
    assert project.ingest(DAYS[1], instance).success
    for table, rows in before.items():
        assert_frame_equal(project.rows(table, DAYS[1]), rows)
    chat = project.landing("chat", DAYS[1])
    late = f"\r\n{DAYS[1]} 23:59:00,7,7"
    chat.write_bytes(chat.read_bytes() + late.encode())  # the other source's file is read again
    assert project.ingest(DAYS[1], instance).success
    assert project.rows("core_requests", DAYS[1]).height == before["core_requests"].height + 1


def test_a_reading_that_would_lose_what_a_deleted_file_held_is_refused(project, instance):
    assert project.ingest(DAYS[1], instance).success
    before = project.rows("core_requests", DAYS[1])
    config = project.root / "fleetopt.toml"
    config.write_text(config.read_text().replace('archetype = "agent"', 'archetype = "bot"'))
    agent = project.landing("agent", DAYS[1])
    content = agent.read_bytes()
    agent.unlink()
    again = Project(project.root)
    result = again.ingest(DAYS[1], instance)
    assert not result.success
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert f"{agent} is gone, and without it 0 of the 40 records" in str(failure.step_failure_data)
    assert_frame_equal(again.rows("core_requests", DAYS[1]), before)
    agent.write_bytes(content)
    assert again.ingest(DAYS[1], instance).success
    assert set(again.rows("core_requests", DAYS[1])["archetype"]) == {"bot", "chat"}


def test_a_file_of_other_events_alone_is_no_defect(project, instance):
    config = project.root / "fleetopt.toml"
    config.write_text(config.read_text().replace('"mooncake"\nclock_start = 2026-01-05T00:00:00Z', '"sglang-requests"'))
    event = {"timestamp": f"{DAYS[1]}T10:00:00", "event": "request.received", "rid": "a", "obj": {}}
    project.write("agent", DAYS[1], json.dumps(event).encode() + b"\n")
    result = project.ingest(DAYS[1], instance)
    assert result.success, failed_checks(result)
    assert set(project.rows("core_requests", DAYS[1])["source"]) == {"chat"}


def test_a_mistyped_field_of_a_mapping_is_noted(project, instance):
    config = project.root / "fleetopt.toml"
    mapping = """
[source.agent.mapping]
container = "jsonl"
time = { path = "at", unit = "s" }
prompt_tokens = "in"
output_tokens = "out"
model = "modle"
session = "chat"
"""
    text = config.read_text().replace('"mooncake"\nclock_start = 2026-01-05T00:00:00Z', '"mapping"')
    config.write_text(text.replace("\n[fleet.", f"{mapping}\n[fleet.", 1))
    at = datetime(DAYS[1].year, DAYS[1].month, DAYS[1].day, 12, tzinfo=UTC).timestamp()
    record = {"at": at, "in": 3, "out": 4, "model": "m", "chat": "c"}
    project.write("agent", DAYS[1], json.dumps(record).encode() + b"\n")
    result = project.ingest(DAYS[1], instance)
    assert result.success, failed_checks(result)
    absent = dict(project.rows("stg_quality", DAYS[1]).select("source", "fields_absent").iter_rows())
    assert absent == {"agent": "model", "chat": None}
    assert "source agent: its mapping declares model, for which" in failed_checks(result)["quality_notes"]


def test_a_source_that_starts_later_is_not_missed_before(project, instance):
    config = project.root / "fleetopt.toml"
    config.write_text(config.read_text().replace('archetype = "agent"', f'archetype = "agent"\nfirst_day = {DAYS[1]}'))
    project.landing("agent", DAYS[0]).unlink()
    assert project.ingest(DAYS[0], instance).success
    assert project.ingest(DAYS[1], instance).success
    quality = project.rows("stg_quality").filter(source="agent").select("day", "files", "lines", "requests")
    assert quality.rows() == [(DAYS[0], 0, 0, 0), (DAYS[1], 1, 40, 40)]


def test_a_file_without_lines_is_not_silence(project, instance):
    project.write("chat", DAYS[0], b"TIMESTAMP,ContextTokens,GeneratedTokens\r\n")
    result = project.ingest(DAYS[0], instance)
    assert failed_checks(result) == {
        "sources_present": f"source chat: {project.landing('chat', DAYS[0])} is not empty, but holds no line"
    }


def test_a_file_without_date_or_readable_time_is_not_silence(project, instance):
    config = project.root / "fleetopt.toml"
    config.write_text(config.read_text().replace("agent/{date}.jsonl", "agent/*.jsonl"))
    project.write("agent", DAYS[2], b"no time here\n" * 3)
    result = project.ingest(DAYS[0], instance)
    summary = failed_checks(result)["sources_present"]
    assert str(project.landing("agent", DAYS[2])) in summary
    assert "no line has a readable time" in summary


def test_files_without_dates_in_their_names_give_each_day_its_lines(project, instance):
    config = project.root / "fleetopt.toml"
    config.write_text(config.read_text().replace("agent/{date}.jsonl", "agent/all*.jsonl"))
    lines = [line for day in DAYS for line in mooncake_lines(day)]
    (project.root / "landing/agent/all.jsonl").write_text("\n".join(lines))
    assert all(project.ingest(day, instance).success for day in DAYS)
    assert project.rows("core_requests").filter(source="agent").group_by("day").len().sort("day").rows() == [
        (day, REQUESTS_PER_FILE) for day in DAYS
    ]


def test_a_day_without_any_request_fails(project, instance):
    for source in ("chat", "agent"):
        project.write(source, DAYS[0], b"")
    result = project.ingest(DAYS[0], instance)
    assert failed_checks(result)["sources_present"] == f"no source has a request on {DAYS[0]}"
    assert project.tables.days("core_requests") == []


def test_a_path_that_matches_nothing_fails_the_run_in_words(project, instance):
    project.ingest(DAYS[0], instance)
    for day in DAYS:
        project.landing("agent", day).unlink()
    result = project.ingest(DAYS[0], instance)
    failure = result.get_step_failure_events()[0].event_specific_data.user_failure_data
    assert failure.metadata["summary"].value == failure.description
    assert "source.agent.path" in failure.description
    assert project.tables.days("core_requests") == [DAYS[0]], (
        "what is not readable says nothing of what was read before"
    )


def test_staging_that_loses_a_line_is_caught(project, instance, monkeypatch):
    whole = staging.stage

    def lossy(*args, **kwargs):
        for staged in whole(*args, **kwargs):
            yield replace(staged, requests=staged.requests.head(staged.requests.height - 1))

    monkeypatch.setattr(staging, "stage", lossy)
    result = project.ingest(DAYS[0], instance)
    assert "line_balance" in failed_checks(result)
    assert project.tables.days("core_requests") == []


def test_parser_that_loses_a_line_is_caught(project):
    file = str(project.landing("chat", DAYS[0]))
    source = project.settings.config.source["chat"]
    with PartsWriter(project.root / "parts") as writer:
        found = LandingFile(file, DAYS[0])
        reading = read_file(found, "chat", source, hash_key=b"k", day=DAYS[0], writer=writer)
    check_reading(file, reading, count_again(file), holds_one_day=True)
    with pytest.raises(LinesLostError, match="42 records were parsed, 5 rows are of this day"):
        check_reading(file, replace(reading, rows=5), count_again(file), holds_one_day=True)
    with pytest.raises(LinesLostError, match="42 records were parsed, 43 rows are of this day"):
        check_reading(file, replace(reading, rows=43), count_again(file), holds_one_day=False)
    with pytest.raises(LinesLostError, match="43 lines were counted, 42 were parsed"):
        check_reading(file, replace(reading, lines=42), count_again(file), holds_one_day=True)
    project.write("chat", DAYS[0], b"another file")
    with pytest.raises(LandingChangedError, match="changed while it was read"):
        check_reading(file, reading, count_again(file), holds_one_day=True)


def test_raw_files_are_immutable_and_pointed_to(project):
    landing = project.defs.resources["landing"]
    first = landing.ingest("agent", DAYS[0], "1")
    folder = landing.raw.directory("agent", DAYS[0])
    stamp = (folder / first.raw_id).stat().st_mtime_ns
    assert landing.ingest("agent", DAYS[0], "1") == first
    project.write("agent", DAYS[0], "".join(line + "\n" for line in mooncake_lines(DAYS[0], 7)).encode())
    second = landing.ingest("agent", DAYS[0], "1")
    assert second.raw_id != first.raw_id
    assert landing.raw.read("agent", DAYS[0]).collect().height == 7
    assert landing.raw.parts("agent", DAYS[0]).rows == 7
    assert (folder / first.raw_id).stat().st_mtime_ns == stamp
    project.write("agent", DAYS[0], "".join(line + "\n" for line in mooncake_lines(DAYS[0])).encode())
    assert landing.ingest("agent", DAYS[0], "1").raw_id == first.raw_id
    assert landing.raw.read("agent", DAYS[0]).collect().height == REQUESTS_PER_FILE
    assert {path.name for path in folder.iterdir()} == {first.raw_id, second.raw_id, "current.json"}


def test_a_file_is_parsed_once_unless_its_content_changes(project, monkeypatch):
    landing, read = project.defs.resources["landing"], []
    once = sources.landing.read_file
    monkeypatch.setattr(sources.landing, "read_file", lambda found, *a, **k: read.append(found) or once(found, *a, **k))
    first = landing.ingest("agent", DAYS[0], "1")
    file = project.landing("agent", DAYS[0])
    os.utime(file, ns=(1, 1))
    assert Watch(landing).day(DAYS[0]).is_new
    touched = landing.ingest("agent", DAYS[0], "1")
    assert touched.raw_id == first.raw_id
    assert [state.mtime_ns for state in touched.files] == [1]
    assert len(read) == 1
    same_size = file.read_bytes().replace(b'"output_length": 50', b'"output_length": 99')
    file.write_bytes(same_size)
    os.utime(file, ns=(1, 1))
    assert landing.ingest("agent", DAYS[0], "1").raw_id != first.raw_id
    assert len(read) == 2


def test_a_file_that_changes_while_it_is_read_leaves_nothing(project, monkeypatch):
    landing, once = project.defs.resources["landing"], sources.landing.read_file

    def grow(found, *args, **kwargs):
        reading = once(found, *args, **kwargs)
        with Path(found.file).open("ab") as log:
            log.write(b"\n")
        return reading

    monkeypatch.setattr(sources.landing, "read_file", grow)
    with pytest.raises(LandingChangedError):
        landing.ingest("agent", DAYS[0], "1")
    assert landing.raw.pointer("agent", DAYS[0]) is None
    assert list(landing.raw.directory("agent", DAYS[0]).iterdir()) == []


def test_other_key_or_code_reads_again(project, monkeypatch):
    first = project.defs.resources["landing"].ingest("agent", DAYS[0], "1")
    assert project.defs.resources["landing"].ingest("agent", DAYS[0], "2").raw_id != first.raw_id
    monkeypatch.setenv("FLEETOPT_HASH_KEY", "a key of our own")
    other = project.with_other_data("data")
    assert not other.settings.uses_public_hash_key
    assert other.defs.resources["landing"].ingest("agent", DAYS[0], "1").raw_id != first.raw_id
