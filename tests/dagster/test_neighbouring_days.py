"""What a day's records say of the days beside it: ids repeated across midnight, requests that finish after it."""

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from assets.audit import presence_finding
from assets.checks import usable_files
from assets.staging import stage_source
from pipelines.resources.raw_files import RawFiles
from pipelines.resources.settings import load_settings
from pipelines.resources.sources import Landing
from pipelines.resources.watch import Watch

DAYS = [date(2026, 1, 5), date(2026, 1, 6)]
MIDNIGHT = datetime(2026, 1, 6, tzinfo=UTC)
CONFIG = """
[pipeline]
first_day = 2026-01-05

[source.calls]
path = "landing/{date}.jsonl"
format = "mapping"
archetype = "chat"
fleet = "assistant"
duplicate_horizon_s = 60

[source.calls.mapping]
container = "jsonl"
time = { path = "t" }
prompt_tokens = ["in"]
output_tokens = ["out"]

[fleet.assistant]
model = "llama-2-7b"
slo_ttft_p99_s = 2.0
profiles = ["a100-llama2-7b"]
max_context_tokens = 65536
"""


class Calls:
    """A source, and its requests: (seconds from midnight, id or duration)."""

    def __init__(self, root, kind, horizon_s=60):
        key = {
            "ids": 'request_id = ["x"]',
            "spans": 'request_id = ["x.id"]\nparent_id = ["x.parent"]',
            "finish": 'time_is = "finish"\ne2e = { path = "x", unit = "s" }',
        }[kind]
        config = CONFIG.replace("prompt_tokens =", f"{key}\nprompt_tokens =")
        (root / "fleetopt.toml").write_text(config.replace("horizon_s = 60", f"horizon_s = {horizon_s}"))
        self.root = root
        settings = load_settings(root / "fleetopt.toml", root / "data")
        self.landing = Landing(settings, RawFiles(settings.paths.raw))

    def write(self, day, *requests):
        path = self.root / "landing" / f"{day}.jsonl"
        path.parent.mkdir(exist_ok=True)
        lines = (
            {"t": (MIDNIGHT + timedelta(seconds=second)).isoformat(), "x": x, "in": i + 5, "out": i + 7}
            for i, (second, x) in enumerate(requests)
        )
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def ingest(self, day):
        return self.landing.ingest("calls", day, "1")

    def is_new(self, day):
        return Watch(self.landing).day(day).is_new

    def staged(self, day):
        """Requests and duplicates of a day."""
        writers = dict.fromkeys(("stg_requests", "unserved_requests", "quarantined_requests"), _Nowhere())
        return stage_source(self.landing, "calls", day, writers).select("requests", "duplicates").row(0)


class _Nowhere:
    def write(self, rows):
        pass


@pytest.mark.parametrize("horizon_s", [60, 5])
def test_an_id_is_told_again_after_midnight(tmp_path, horizon_s):
    calls = Calls(tmp_path, "ids", horizon_s)
    calls.write(DAYS[0], (-7200, "b"), (-10, "a"))
    calls.write(DAYS[1], (5, "a"), (6, "b"), (7200, "c"))
    for day in DAYS:
        calls.ingest(day)
    assert calls.staged(DAYS[0]) == (2, 0)
    assert calls.staged(DAYS[1]) == ((2, 1) if horizon_s == 60 else (3, 0))


def test_late_lines_before_midnight_make_the_next_day_out_of_date(tmp_path):
    calls = Calls(tmp_path, "ids")
    calls.write(DAYS[0], (-7200, "b"), (-10, "a"))
    calls.write(DAYS[1], (5, "a"), (6, "b"), (7200, "c"))
    first = [calls.ingest(day) for day in DAYS][1]
    assert [calls.is_new(day) for day in DAYS] == [False, False]

    calls.write(DAYS[0], (-7200, "b"), (-10, "a"), (-5000, "d"))
    calls.ingest(DAYS[0])
    assert not calls.is_new(DAYS[1])  # nothing that it could repeat

    calls.write(DAYS[0], (-7200, "b"), (-10, "a"), (-5000, "d"), (-3, "b"))
    calls.ingest(DAYS[0])
    assert not calls.is_new(DAYS[0])
    assert calls.is_new(DAYS[1])
    second = calls.ingest(DAYS[1])
    assert (second.raw_id, second.state != first.state) == (first.raw_id, True)
    assert not calls.is_new(DAYS[1])
    assert calls.staged(DAYS[1]) == (1, 2)


def test_a_day_is_out_of_date_when_the_next_file_is_found_to_hold_its_requests(tmp_path):
    calls = Calls(tmp_path, "finish")
    calls.write(DAYS[0], (-5000, 10))
    calls.ingest(DAYS[0])
    calls.write(DAYS[1], (5, 20), (500, 20))
    assert not calls.is_new(DAYS[0])
    calls.ingest(DAYS[1])
    assert calls.is_new(DAYS[0])
    assert calls.ingest(DAYS[0]).lines == 2
    assert not calls.is_new(DAYS[0])

    calls.write(DAYS[1], (5, 20), (500, 20), (600, 20))
    calls.ingest(DAYS[1])
    assert not calls.is_new(DAYS[0]), "the next file grew, but not by requests of this day"
    assert [calls.staged(day) for day in DAYS] == [(2, 0), (2, 0)]


def test_one_bad_line_of_the_next_file_does_not_fail_the_day(tmp_path):
    calls = Calls(tmp_path, "finish")
    calls.write(DAYS[0], (-5000, 10))
    calls.write(DAYS[1], (5, 20), (500, 20))
    path = tmp_path / "landing" / f"{DAYS[1]}.jsonl"
    path.write_text(path.read_text().replace('"in": 5', '"in": -5'))
    pointer = calls.ingest(DAYS[0])
    assert [(state.rows, state.usable) for state in pointer.files] == [(1, 1), (1, 1)]
    raw = {"calls": calls.landing.raw.parts("calls", DAYS[0])}
    assert presence_finding(DAYS[0], raw, {}, {}, {"calls": usable_files(pointer)}).passed


def test_a_part_of_a_request_found_after_midnight_makes_its_day_out_of_date(tmp_path):
    calls = Calls(tmp_path, "spans")
    calls.write(DAYS[0], (-5000, {"id": "a"}), (-5, {"id": "b"}))
    calls.ingest(DAYS[0])
    calls.write(DAYS[1], (5, {"id": "c", "parent": "b"}), (500, {"id": "d"}))
    calls.ingest(DAYS[1])
    assert calls.is_new(DAYS[0])
    calls.ingest(DAYS[0])
    assert not calls.is_new(DAYS[0])
    assert [calls.staged(day) for day in DAYS] == [(1, 0), (2, 0)]


def test_the_next_file_may_be_missing(tmp_path):
    calls = Calls(tmp_path, "finish")
    calls.write(DAYS[0], (-5000, 10))
    assert [state.is_next for state in calls.ingest(DAYS[0]).files] == [False]
    assert calls.landing.missing_files(DAYS[0]) == {}
