"""What records mean: times, lengths, outcomes, observations and labels, by mappings."""

from datetime import UTC, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetopt.errors import InputError
from fleetopt.ingest.interpret import Interpretation, interpret
from fleetopt.ingest.labels import MAX_LABEL_CHARS, archetype_name, keyed_label
from fleetopt.ingest.mapping import Condition, DurationField, Mapping, StatusField, TimeField
from fleetopt.ingest.parsed import PARSED_SCHEMA
from fleetopt.ingest.reasons import REASONS
from tests.unit.ingest.fields import ABSENT, Written, fields_of

KEY = b"a key"
NOON = datetime(2025, 5, 1, 12, tzinfo=UTC)
NOON_TEXT = "2025-05-01 12:00:00"
START = datetime(2025, 5, 1, tzinfo=UTC)
DAY_S = 86_400


def mapping(**options):
    given = {"time": TimeField(paths=("t",)), "prompt_tokens": ("p",), "output_tokens": ("o",)}
    return Mapping(**given | options)


def read(columns, declared=None, *, is_csv=False, faults=None, others=(), **how):
    """Rows that records mean; time, prompt and output are good where they are not given."""
    n = max(map(len, columns.values()), default=1)
    declared = declared or mapping()
    columns = {"t": [NOON_TEXT] * n, "p": [374] * n, "o": [44] * n} | columns
    if is_csv:
        columns = {path: [str(each) if type(each) is int else each for each in of] for path, of in columns.items()}
    columns |= {path: [ABSENT] * n for path in declared.paths() if path not in columns}
    fields = fields_of(columns, is_csv=is_csv, faults=faults, others=others)
    frame = interpret(fields, declared, Interpretation(hash_key=KEY, **how))
    assert frame.schema == PARSED_SCHEMA
    assert set(frame["reason"].drop_nulls()) <= set(REASONS)
    return frame


def read_one(columns, declared=None, **options):
    return read({path: [value] for path, value in columns.items()}, declared, **options).row(0, named=True)


def test_a_plain_request():
    row = read_one({})
    assert row == dict.fromkeys(PARSED_SCHEMA.names()) | {
        "arrival_time": NOON,
        "logged_time": NOON,
        "is_finish_time": False,
        "prompt_tokens": 374,
        "output_tokens": 44,
        "outcome": "served",
        "is_other": False,
    }


# Reasons


def test_the_first_of_record_time_status_prompt_and_output_gives_the_reason():
    declared = mapping(status=StatusField(paths=("s",), served=("ok",)))
    bad = {"t": "yesterday", "s": "what", "p": -1, "o": 0}
    reasons = []
    for good in range(5):
        values = {path: value for k, (path, value) in enumerate(bad.items()) if k >= good}
        reasons.append(read_one(values, declared)["reason"])
    assert reasons == ["bad_time", "bad_status", "negative_tokens", "zero_tokens", None]
    assert read_one(bad, declared, faults={0: "not_json"})["reason"] == "not_json"


def test_faults_and_headers_harm_no_neighbour():
    declared = mapping(
        time=TimeField(paths=("t",), unit="%Y-%m-%d %H:%M:%S"), model=("m",), request_id=("i",), error=("e",)
    )
    frame = read({"t": [NOON_TEXT] * 4, "m": ["a"] * 4, "i": ["r"] * 4}, declared, faults={1: "nul_byte"}, others=[2])
    assert frame["reason"].to_list() == [None, "nul_byte", None, None]
    assert frame["is_other"].to_list() == [False, False, True, False]
    assert frame["outcome"].to_list() == ["served", None, None, "served"]
    for name in ("arrival_time", "logged_time", "prompt_tokens", "model", "is_finish_time"):
        assert frame[name].is_null().to_list() == [False, True, True, False], name


def test_of_a_quarantined_record_time_and_id_are_given_and_nothing_else():
    declared = mapping(model=("m",), request_id=("i",), e2e=DurationField(paths=("d",)))
    row = read_one({"p": "x", "m": "a", "i": "r-1", "d": 1}, declared)
    given = {name for name, value in row.items() if value is not None}
    assert given == {"arrival_time", "logged_time", "is_finish_time", "id_hi", "id_lo", "reason", "is_other"}


@pytest.mark.parametrize(
    ("value", "reason", "of_csv"),
    [
        (10_000_000, None, None),
        (10_000_001, "out_of_range", "out_of_range"),
        (2**63, "out_of_range", "out_of_range"),
        (0, "zero_tokens", "zero_tokens"),
        (-1, "negative_tokens", "negative_tokens"),
        ("374", "bad_number", None),
        ("007", "bad_number", None),
        ("1e3", "bad_number", "bad_number"),
        (Written("1e3"), "bad_number", "bad_number"),
        (Written("1.0"), "bad_number", "bad_number"),
        ("NaN", "bad_number", "bad_number"),
        (" 1", "bad_number", "bad_number"),
        ("\u0663", "bad_number", "bad_number"),
        ('"374"', "bad_number", "bad_number"),
        (True, "bad_number", "bad_number"),
        ([374], "bad_number", "bad_number"),
        ("", "missing_field", "missing_field"),
        (None, "missing_field", "missing_field"),
        (ABSENT, "missing_field", "missing_field"),
    ],
)
@pytest.mark.parametrize("path", ["p", "o"])
def test_lengths(value, reason, of_csv, path):
    assert read_one({path: value})["reason"] == reason
    assert read_one({path: value}, is_csv=True)["reason"] == of_csv


def test_json_numbers_may_be_quoted_where_the_format_says_so():
    declared = mapping(numbers_as_text=True, e2e=DurationField(paths=("d",)))
    row = read_one({"p": "374", "d": "1.5"}, declared)
    assert (row["prompt_tokens"], row["e2e_s"], row["reason"]) == (374, 1.5, None)
    assert read_one({"p": "3\u0001"}, declared)["reason"] == "bad_number"


# Which field holds a value


def test_the_first_field_that_holds_a_value_counts():
    declared = mapping(prompt_tokens=("new", "p", "old"), null_values=("-", "NULL"))
    rows = [
        {"new": 1, "p": 2, "old": 3},
        {"new": None, "p": 2, "old": 3},
        {"new": ABSENT, "p": "", "old": 3},
        {"new": "-", "p": "NULL", "old": 3},
        {"new": "-", "p": "NULL", "old": "-"},
        {"new": "x", "p": 2, "old": 3},
    ]
    frame = read({path: [row[path] for row in rows] for path in ("new", "p", "old")}, declared)
    assert frame["prompt_tokens"].to_list() == [1, 2, 3, 3, None, None]
    assert frame["reason"].to_list() == [None, None, None, None, "missing_field", "bad_number"]


# Times


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [
        ("s", 1746100800, NOON),
        ("s", Written("1746100800.1234567"), NOON + timedelta(microseconds=123456)),
        ("s", Written("1.7461008e9"), NOON),
        ("ms", 1746100800123, NOON + timedelta(milliseconds=123)),
        ("ms", Written("1746100800000.25"), NOON + timedelta(microseconds=250)),
        ("us", 1746100800000001, NOON + timedelta(microseconds=1)),
        ("ns", 1746100800000001999, NOON + timedelta(microseconds=1)),
        ("s", -1, "time_out_of_range"),
        ("s", 7_258_118_399, datetime(2199, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("s", 7_258_118_400, "time_out_of_range"),
        ("s", Written("9" * 400), "time_out_of_range"),
        ("s", "1746100800", "bad_time"),
        ("s", True, "bad_time"),
        ("s", None, "missing_field"),
        ("%d/%m/%Y %H:%M:%S%.f", "01/05/2025 12:00:00.25", NOON + timedelta(microseconds=250_000)),
        ("%d/%m/%Y %H:%M:%S%.f", "2025-05-01 12:00:00", "bad_time"),
        ("%d/%m/%Y %H:%M:%S%.f", 5, "bad_time"),
        ("%d/%m/%Y %H:%M:%S%.f", ABSENT, "missing_field"),
        ("%d/%b/%Y:%H:%M:%S %z", "01/May/2025:14:00:00 +0200", NOON),
        ("iso", "2025-05-01T14:00:00+02:00", NOON),
        ("iso", "1969-12-31 23:59:59.999999", "time_out_of_range"),
        ("iso", "0000-01-01 00:00:00", "time_out_of_range"),
        ("iso", "2199-12-31 23:59:59.999999", datetime(2199, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ("iso", "9999-12-31 23:59:59-05:00", "time_out_of_range"),
    ],
)
def test_times(unit, value, expected):
    row = read_one({"t": value}, mapping(time=TimeField(paths=("t",), unit=unit)))
    assert (row["reason"] or row["arrival_time"]) == expected
    assert (row["arrival_time"] is None) == (row["reason"] is not None)


def test_numbers_may_count_from_another_epoch():
    field = TimeField(paths=("t",), unit="s", epoch=datetime(2001, 1, 1, tzinfo=UTC))
    assert read_one({"t": -1}, mapping(time=field))["arrival_time"] == datetime(2000, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_a_relative_clock_counts_from_its_declared_start():
    declared = mapping(time=TimeField(paths=("t",), unit="ms", is_relative=True))
    values = [0, 27482, Written("0.5"), Written("1e-05"), -1, 10**16, Written("1" * 30)]
    frame = read({"t": values}, declared, clock_start=START.astimezone(ZoneInfo("Asia/Kolkata")))
    after_us = [0, 27_482_000, 500, 0]
    assert frame["arrival_time"].to_list()[:4] == [START + timedelta(microseconds=us) for us in after_us]
    assert frame["reason"].to_list()[4:] == ["bad_time", "time_out_of_range", "time_out_of_range"]
    with pytest.raises(InputError, match="its lines do not hold; declare it"):
        read({"t": values}, declared)


@pytest.mark.parametrize(
    ("text", "timezone", "expected"),
    [
        ("2023-07-01 12:00:00", "Europe/Berlin", datetime(2023, 7, 1, 10, tzinfo=UTC)),
        ("2023-07-01 12:00:00Z", "Europe/Berlin", datetime(2023, 7, 1, 12, tzinfo=UTC)),
        ("2023-03-26 01:59:59.999999", "Europe/Berlin", datetime(2023, 3, 26, 0, 59, 59, 999999, tzinfo=UTC)),
        ("2023-03-26 02:00:00", "Europe/Berlin", "nonexistent_time"),
        ("2023-03-26 02:59:59.999", "Europe/Berlin", "nonexistent_time"),
        ("2023-03-26 03:00:00", "Europe/Berlin", datetime(2023, 3, 26, 1, tzinfo=UTC)),
        ("2023-03-26 02:30:00+01:00", "Europe/Berlin", datetime(2023, 3, 26, 1, 30, tzinfo=UTC)),
        ("2023-10-29 01:59:59", "Europe/Berlin", datetime(2023, 10, 28, 23, 59, 59, tzinfo=UTC)),
        ("2023-10-29 02:00:00", "Europe/Berlin", "ambiguous_time"),
        ("2023-10-29 03:00:00", "Europe/Berlin", datetime(2023, 10, 29, 2, tzinfo=UTC)),
        ("2023-04-02 01:45:00", "Australia/Lord_Howe", "ambiguous_time"),
        ("2023-04-02 01:15:00", "Australia/Lord_Howe", datetime(2023, 4, 1, 14, 15, tzinfo=UTC)),
        # The clocks of Monrovia went from 44 min 30 s behind to none behind: within a quarter of an hour.
        ("1972-01-07 00:44:29", "Africa/Monrovia", "nonexistent_time"),
        ("1972-01-07 00:44:30", "Africa/Monrovia", datetime(1972, 1, 7, 0, 44, 30, tzinfo=UTC)),
        ("1969-12-31 20:00:00", "America/New_York", datetime(1970, 1, 1, 1, tzinfo=UTC)),
        ("1970-01-01 00:30:00", "Europe/Berlin", "time_out_of_range"),
        ("0001-01-01 00:00:00", "Europe/Berlin", "time_out_of_range"),
    ],
)
def test_changes_of_the_clock(text, timezone, expected):
    row = read_one({"t": text}, timezone=timezone)
    assert (row["reason"] or row["arrival_time"]) == expected
    pattern = mapping(time=TimeField(paths=("t",), unit="%Y-%m-%d %H:%M:%S%.f"))
    if text[-1].isdigit() and "+" not in text:
        assert read_one({"t": text}, pattern, timezone=timezone) == row


def instants(wall, zone):
    """Every UTC instant at which clocks in the zone show this."""
    shown = {wall.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC) for fold in (0, 1)}
    return [each for each in shown if each.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.datetimes(datetime(1970, 1, 3), datetime(2199, 12, 29)), min_size=1, max_size=6),  # noqa: DTZ001
    st.lists(st.integers(-2 * DAY_S, 2 * DAY_S), min_size=1, max_size=6),
    st.sampled_from(["Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Africa/Monrovia", "Australia/Lord_Howe"]),
)
def test_local_times_are_those_of_the_standard_library(walls, offsets, zone):
    # Half of them around a change of the clocks, which random times hardly meet.
    change = datetime(2023, 10, 29, 3)  # noqa: DTZ001
    walls = walls + [change + timedelta(seconds=each) for each in offsets]
    frame = read({"t": [f"{wall:%Y-%m-%d %H:%M:%S.%f}" for wall in walls]}, timezone=zone)
    for wall, row in zip(walls, frame.iter_rows(named=True), strict=True):
        found = instants(wall, zone)
        if len(found) == 1:
            assert row["arrival_time"] == found[0]
        else:
            assert row["reason"] == ("ambiguous_time" if found else "nonexistent_time")


# Finish times and durations

TIMES = mapping(
    finish_time=TimeField(paths=("f",)),
    first_token_time=TimeField(paths=("1",)),
    e2e=DurationField(paths=("d",), unit="ms"),
    ttft=DurationField(paths=("x",)),
    queue=DurationField(paths=("q",), unit="us"),
)


def test_durations_come_from_the_log_or_from_its_times():
    row = read_one({"f": "2025-05-01 12:00:02.5", "1": "2025-05-01 12:00:00.25"}, TIMES)
    assert (row["e2e_s"], row["ttft_s"], row["queue_s"]) == (2.5, 0.25, None)
    measured = {"f": "2025-05-01 12:00:02.5", "1": NOON_TEXT, "d": 1234, "x": Written("0.1234567891"), "q": 15}
    row = read_one(measured, TIMES)
    assert (row["e2e_s"], row["ttft_s"], row["queue_s"]) == (1.234, 0.123456789, 0.000015)
    assert row["reason"] is None


@pytest.mark.parametrize("value", [-1, "1", True, [1], Written("1e14"), "NaN"])
def test_durations_that_cannot_be_are_null(value):
    row = read_one({"d": value, "x": value, "q": value, "f": "2025-05-01 11:59:59", "1": "2026-05-01 12:00:00"}, TIMES)
    assert (row["e2e_s"], row["ttft_s"], row["queue_s"]) == (None, None, None)
    assert (row["reason"], row["outcome"]) == (None, "served")


def test_a_finish_with_a_duration_gives_the_arrival():
    frame = read({"d": [2500, None, -1, 10**12]}, TIMES, time_is="finish")
    assert frame["arrival_time"].to_list() == [NOON - timedelta(seconds=2.5), NOON, NOON, NOON]
    assert frame["is_finish_time"].to_list() == [False, True, True, True]
    assert frame["logged_time"].to_list() == [NOON] * 4
    assert frame["e2e_s"].to_list() == [2.5, None, None, None]
    frame = read({"d": [2500]}, TIMES)
    assert (frame["arrival_time"][0], frame["is_finish_time"][0]) == (NOON, False)


def test_the_first_token_of_a_request_whose_arrival_is_unknown_says_nothing():
    frame = read({"d": [2500, None], "1": [NOON_TEXT] * 2}, TIMES, time_is="finish")
    assert frame["ttft_s"].to_list() == [2.5, None]


def test_an_arrival_before_1970_is_out_of_range_as_its_finish_is_not():
    row = read_one({"t": "1970-01-01 00:00:01", "d": 2000}, TIMES, time_is="finish")
    assert (row["reason"], row["arrival_time"]) == ("time_out_of_range", None)
    assert row["logged_time"] == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


def test_cached_tokens_are_part_of_the_prompt():
    frame = read({"p": [100] * 5, "c": [0, 100, 101, "x", None]}, mapping(cached_tokens=("c",)))
    assert frame["cached_tokens"].to_list() == [0, 100, None, None, None]
    assert frame["reason"].null_count() == 5


# Outcomes

STATUS = StatusField(paths=("s",), served=("success",), failed=("failure", "error"), aborted=("cancelled",))
ENDINGS = mapping(status=STATUS, error=("e",), cache_hit=("c",), model=("m",))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "served"),
        ({"s": "Success"}, "served"),
        ({"s": "FAILURE"}, "failed"),
        ({"s": "cancelled", "e": "x", "c": True}, "aborted"),
        ({"e": "timeout"}, "failed"),
        ({"e": {"code": 5}}, "failed"),
        ({"s": "success", "e": "timeout", "c": True}, "failed"),
        ({"e": {}}, "served"),
        ({"e": []}, "served"),
        ({"e": False}, "served"),
        ({"e": ""}, "served"),
        ({"e": None}, "served"),
        ({"c": True}, "cache_hit"),
        ({"c": 1}, "cache_hit"),
        ({"c": "True"}, "cache_hit"),
        ({"c": "true"}, "cache_hit"),
        ({"c": False}, "served"),
        ({"c": "False"}, "served"),
        ({"c": "None"}, "served"),
        ({"c": 0}, "served"),
        ({"m": "mine"}, "served"),
        ({"m": "other", "s": "failure"}, "other_model"),
        ({"m": "other", "s": "unheard"}, "other_model"),
        ({"m": None}, "served"),
    ],
)
def test_outcomes(values, expected):
    row = read_one(values, ENDINGS, models=frozenset({"mine"}))
    assert (row["outcome"], row["reason"]) == (expected, None)


def test_a_status_that_nobody_declared_is_seen():
    row = read_one({"s": "unheard"}, ENDINGS)
    assert (row["outcome"], row["reason"]) == (None, "bad_status")


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, "served"), ("200", "served"), (399, "served"), (400, "failed"), (503, "failed"), (499, "aborted"),
     (0, "aborted"), (None, "served"), ("OK", "bad_status"), (Written("2e2"), "bad_status"), (-1, "bad_status")],
)  # fmt: skip
def test_http_status(status, expected):
    row = read_one({"s": status}, mapping(status=StatusField(paths=("s",), is_http=True)))
    assert (row["outcome"] or row["reason"]) == expected


@pytest.mark.parametrize("values", [{"s": "failure"}, {"s": "cancelled"}, {"c": True}, {"m": "other"}])
def test_requests_that_no_gpu_served_need_no_lengths_but_a_time(values):
    options = {"models": frozenset({"mine"})}
    for prompt, output in product([5, 0, None, "x", -1], repeat=2):
        row = read_one(values | {"p": prompt, "o": output}, ENDINGS, **options)
        assert row["reason"] is None
        assert row["outcome"] != "served"
        assert row["prompt_tokens"] == (prompt if prompt in {5, 0} else None)
        assert row["output_tokens"] == (output if output in {5, 0} else None)
    row = read_one(values | {"t": "never"}, ENDINGS, **options)
    assert (row["reason"], row["outcome"]) == ("bad_time", None)


@pytest.mark.parametrize(
    ("zero", "missing", "prompt", "output", "expected"),
    [
        ("failed", "quarantined", 0, 5, "failed"),
        ("failed", "quarantined", 5, 0, "failed"),
        ("failed", "quarantined", None, 5, "missing_field"),
        ("quarantined", "failed", 5, None, "failed"),
        ("quarantined", "failed", 0, 5, "zero_tokens"),
        ("failed", "failed", "x", 0, "bad_number"),
        ("failed", "failed", 0, "x", "failed"),
        ("failed", "failed", 5, -1, "negative_tokens"),
    ],
)
def test_what_zero_and_missing_lengths_are(zero, missing, prompt, output, expected):
    row = read_one({"p": prompt, "o": output}, mapping(zero_tokens=zero, missing_tokens=missing))
    assert (row["outcome"] or row["reason"]) == expected


# Lines that are no requests


def test_other_lines_and_notes():
    declared = mapping(
        only_when=(Condition(paths=("event",), values=("usage", "done")),),
        note_when=(Condition(paths=("event",), values=("decision",)),),
        request_id=("i",),
        archetype=("a",),
        model=("m",),
    )
    n = 4
    values = {"event": ["usage", "decision", "start", None], "i": ["r"] * n, "a": ["Code!"] * n, "m": ["x"] * n}
    frame = read(values | {"p": [5, None, None, None]}, declared)
    assert frame["is_other"].to_list() == [False, True, True, True]
    assert frame["archetype"].to_list() == ["code", "code", None, None]
    assert frame["logged_time"].to_list() == [NOON, NOON, None, None]
    assert frame["id_hi"].is_not_null().to_list() == [True, True, False, False]
    assert frame["id_hi"][0] == frame["id_hi"][1]
    for name in ("arrival_time", "prompt_tokens", "outcome", "model", "is_finish_time"):
        assert frame[name].is_not_null().to_list() == [True, False, False, False], name
    assert frame["reason"].null_count() == n


def test_conditions():
    def is_request(value, *values):
        return not read_one({"x": value}, mapping(only_when=(Condition(paths=("x",), values=values),)))["is_other"]

    assert [is_request(each) for each in ("a", 0, False, {"a": 1}, None, "", ABSENT)] == [True] * 4 + [False] * 3
    assert [is_request(each, "a", "1") for each in ("a", "A", 1, "1", True, None)] == [
        True,
        False,
        True,
        True,
        False,
        False,
    ]
    assert [is_request(each, "a", "") for each in ("a", "b", None, ABSENT)] == [True, False, True, True]


# Labels and ids


def test_labels():
    declared = mapping(model=("m",), finish_reason=("f",), archetype=("a",), null_values=("-",))
    values = ["stop", 'a "quoted" \u0001 text', ["stop", "length"], [], [1], {"type": "stop"}, 7, True, None, "-", ""]
    expected = ["stop", 'a "quoted" \u0001 text', "stop", None, "1", None, "7", "true", None, None, None]
    frame = read({"m": values, "f": values, "a": values}, declared)
    assert frame["model"].to_list() == expected
    assert frame["finish_reason"].to_list() == expected
    assert frame["archetype"].to_list() == [each and archetype_name(each) for each in expected]
    texts = ["stop", 'a "quoted", text', "", "-"]
    assert read({"m": texts}, declared, is_csv=True)["model"].to_list() == [*texts[:2], None, None]


def test_many_labels_are_told_apart():
    values = [f"label-{i % 5000 * 7919 % 5000}" for i in range(12_000)]
    assert read({"m": values}, mapping(model=("m",)))["model"].to_list() == values


def test_what_is_too_long_for_a_label_is_not_kept():
    frame = read({"m": ["x" * MAX_LABEL_CHARS, "x" * (MAX_LABEL_CHARS + 1)]}, mapping(model=("m",)))
    assert frame["model"].to_list() == ["x" * MAX_LABEL_CHARS, None]


@pytest.mark.parametrize(
    ("text", "name"),
    [("chat", "chat"), ("Code Review!", "code-review"), ("_x", "x"), ("--", None), ("\u00e9", None), ("a/b c", "a-b-c"),
     ("x" * 300, None)],
)  # fmt: skip
def test_archetypes_get_names_that_configurations_accept(text, name):
    assert archetype_name(text) == name


@given(st.text())
def test_names_of_archetypes_fit_the_pattern(text):
    name = archetype_name(text)
    assert name is None or pl.Series([name]).str.contains(r"^[a-z0-9][a-z0-9_-]*$").all()


def test_tenants_and_sessions_are_keyed_hashes():
    declared = mapping(tenant=("a",), session=("b",))
    frame = read({"a": ["t-1", "t-1", 5, "5", None], "b": ["t-1", "t-2", 5, "", ABSENT]}, declared)
    tenants, sessions = frame["tenant"].to_list(), frame["session"].to_list()
    assert tenants[0] == tenants[1] == keyed_label("t-1", KEY, "tenant")
    assert tenants[2] == tenants[3] == keyed_label("5", KEY, "tenant")
    assert (tenants[4], sessions[3], sessions[4]) == (None, None, None)
    assert sessions[0] == keyed_label("t-1", KEY, "session") != tenants[0]
    assert keyed_label("t-1", b"another key", "tenant") != tenants[0]
    assert len(tenants[0]) == 32


def test_ids_of_requests_and_of_their_parents_meet():
    declared = mapping(request_id=("i",), parent_id=("p_id",), null_values=("-1",))
    frame = read({"i": ["a", "b", "a\u0001", 7, None, ""], "p_id": [-1, "a", "b", "7", "a\u0001", None]}, declared)
    ids = list(frame.select("id_hi", "id_lo").iter_rows())
    parents = list(frame.select("parent_hi", "parent_lo").iter_rows())
    assert parents == [(None, None), ids[0], ids[1], ids[3], ids[2], (None, None)]
    assert ids[4:] == [(None, None)] * 2
    assert len(set(ids)) == 5
    other = read({"i": ["a"]}, mapping(request_id=("i",)))
    assert other.row(0, named=True)["id_hi"] == ids[0][0]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(["a", "b", "ab", "", None, "a\u0001", 'q"']) | st.text(max_size=3), min_size=1))
def test_labels_do_not_depend_on_their_neighbours(values):
    declared = mapping(model=("m",), tenant=("m",))
    together = read({"m": values}, declared)
    alone = pl.concat([read({"m": [value]}, declared) for value in values])
    assert together.equals(alone)
    assert together["model"].to_list() == [value or None for value in values]
