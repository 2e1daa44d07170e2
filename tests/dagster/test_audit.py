"""The audit of a staged day: counts that share no code with staging, and findings in one sentence each."""

import re
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.audit import (
    balance_finding,
    key_finding,
    models_finding,
    notes_finding,
    presence_finding,
    quarantine_finding,
)
from assets.checks import undeclared_models
from assets.recount import Recount, recount
from fleetopt.config import Source
from fleetopt.ingest.parts import PART_SCHEMA, PartsWriter
from fleetopt.ingest.quality import QualityCount
from fleetopt.ingest.staging import stage
from fleetopt.schemas import STG_QUALITY, STG_REQUESTS, UNSERVED_REQUESTS
from tests.dagster.test_day_writer import requests
from tests.dagster.test_tables import DAY

START = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)


def records(rows) -> pl.DataFrame:
    """Raw records from (key, second or None, reason or None, has id)."""
    known = [
        {
            "file": "a.csv",
            "line_number": n,
            "record_number": 1,
            "arrival_time": None if second is None else START + timedelta(seconds=second),
            "is_finish_time": False,
            "prompt_tokens": None if reason else 5,
            "output_tokens": None if reason else 5,
            "outcome": None if reason else ("failed" if key == 3 else "served"),
            "key_hi": key,
            "key_lo": key * 7_000_000_000_000_000_001 % 2**63,
            "has_id": has_id,
            "reason": reason,
        }
        for n, (key, second, reason, has_id) in enumerate(rows, 1)
    ]
    frame = pl.DataFrame(known, schema_overrides=dict(PART_SCHEMA))
    missing = [
        pl.lit(None, dtype=dtype).alias(name) for name, dtype in PART_SCHEMA.items() if name not in frame.columns
    ]
    return frame.with_columns(missing).select(PART_SCHEMA.names()) if known else PART_SCHEMA.to_frame()


def parts_of(place, rows, part_rows=4):
    with PartsWriter(place, part_rows) as writer:
        frame = records(rows)
        for begin in range(0, frame.height, 3):
            writer.add(frame.slice(begin, 3))
        return writer.finish("parts")


def staged(parts, horizon_s=10.0):
    """Quality row and tables, as staging makes them."""
    count = QualityCount()
    frames = {"stg_requests": [], "unserved_requests": [], "quarantined_requests": []}
    for each in stage(parts, DAY, horizon_s=horizon_s, max_rows=5):
        count.add(each)
        for name, rows in zip(frames, (each.requests, each.unserved, each.quarantined), strict=True):
            frames[name].append(rows.with_columns(source=pl.lit("chat")))
    row = count.row(day=DAY, source="chat", format_name="azure", files=1, clock_restarts=0, landing_digest="")
    empty = PART_SCHEMA.to_frame().with_columns(source=pl.lit("chat"))
    return row, {name: pl.concat([empty.clear(), *found]).lazy() for name, found in frames.items()}


def balance(parts, row, tables, **changed):
    counts = {name: rows.collect().height for name, rows in tables.items()}
    arguments = {
        "read": {"chat": parts.rows},
        "recounts": {"chat": recount(parts)},
        "tables": tables,
        "committed": counts,
        "quality": row.lazy(),
    }
    return balance_finding(**(arguments | changed))


ROWS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.none() | st.integers(0, 3).map(lambda n: n * 3600) | st.integers(0, 4),
        st.sampled_from([None, None, "bad_number", "zero_tokens"]),
    ).map(lambda row: (*row[:2], row[2] or (None if row[1] is not None else "bad_time"))),
    max_size=14,
)


@settings(max_examples=25, deadline=None)
@given(ROWS, st.sampled_from(["none", "all", "some"]))
def test_what_staging_makes_of_any_day_is_in_balance(tmp_path_factory, rows, with_ids):
    has_id = {"none": lambda n: False, "all": lambda n: True, "some": lambda n: n % 2 == 0}[with_ids]
    parts = parts_of(tmp_path_factory.mktemp("p"), [(*row, has_id(n)) for n, row in enumerate(rows)])
    row, tables = staged(parts)
    found = balance(parts, row, tables)
    assert found.passed, found.summary
    counts = row.row(0, named=True)
    assert found.figures["lines"] == counts["requests"] + counts["duplicates"] + counts["quarantined"] == len(rows)


DAY_ROWS = [
    (0, 1, None, False),
    (0, 1, None, False),
    (1, 2, None, False),
    (3, 9, None, False),
    (2, None, "bad_time", False),
]


@pytest.fixture
def a_day(tmp_path):
    parts = parts_of(tmp_path, DAY_ROWS)
    return parts, *staged(parts)


def test_a_good_day_says_how_its_records_are_used(a_day):
    assert balance(*a_day).summary == "5 lines = 3 requests + 1 duplicates + 1 quarantined"
    assert recount(a_day[0]) == Recount(5, 1, 3, 1, has_ids=False)


@pytest.mark.parametrize(
    ("column", "by", "said"),
    [
        ("lines", 1, "6 lines, but 5 requests [+] duplicates [+] quarantined"),
        ("requests", -1, "2 requests, but 3 rows of both tables of them"),
        ("duplicates", 1, "5 lines, but 6 requests [+] duplicates [+] quarantined"),
        ("quarantined", 1, "2 quarantined, but 1 rows of quarantined_requests"),
        ("unusable_lines", 1, "1 unusable records in the raw files, but 2 unusable lines"),
        ("failed", 1, "2 requests not served, but 1 rows of unserved_requests"),
    ],
)
def test_a_count_that_is_wrong_is_named(a_day, column, by, said):
    parts, row, tables = a_day
    found = balance(parts, row.with_columns(pl.col(column) + by), tables)
    assert not found.passed
    assert "source chat: " in found.summary
    with_all = "; ".join(found.figures["problems"])
    assert re.search(said, with_all), with_all


@pytest.mark.parametrize("table", ["stg_requests", "unserved_requests", "quarantined_requests"])
def test_a_row_that_is_lost_or_doubled_is_caught(a_day, table):
    parts, row, tables = a_day
    for changed in (tables[table].head(0), pl.concat([tables[table], tables[table].head(1)])):
        assert not balance(parts, row, tables | {table: changed}).passed


def test_a_repeat_that_passes_for_a_request_is_caught_although_all_sums_agree(a_day):
    parts, row, tables = a_day
    doubled = pl.concat([tables["stg_requests"], tables["stg_requests"].head(1)])
    counted = row.with_columns(pl.col("requests") + 1, pl.col("duplicates") - 1)
    found = balance(parts, counted, tables | {"stg_requests": doubled})
    assert found.summary == "source chat: 4 requests, but 3 distinct usable records in the raw files"


def test_with_ids_more_requests_than_distinct_records_are_caught(tmp_path):
    parts = parts_of(tmp_path, [(key, second, reason, True) for key, second, reason, _ in DAY_ROWS])
    row, tables = staged(parts)
    assert balance(parts, row, tables).passed
    doubled = pl.concat([tables["stg_requests"], tables["stg_requests"].head(1)])
    counted = row.with_columns(pl.col("requests") + 1, pl.col("duplicates") - 1)
    found = balance(parts, counted, tables | {"stg_requests": doubled})
    assert found.summary == "source chat: 4 requests, more than the 3 distinct usable records in the raw files"


def test_records_lost_between_log_and_raw_files_and_rows_that_no_commit_counts_are_caught(a_day):
    parts, row, tables = a_day
    assert balance(parts, row, tables, read={"chat": 6}).summary == (
        "source chat: 6 records read, but 5 records in the raw files"
    )
    committed = {name: rows.collect().height for name, rows in tables.items()} | {"stg_requests": 9}
    assert balance(parts, row, tables, committed=committed).summary == (
        "stg_requests: its files hold 2 rows, the commits say 9"
    )
    assert not balance(parts, row.clear(), tables).passed
    assert not balance(parts, row, tables, recounts={}).passed


def test_a_recount_is_the_same_however_the_day_is_cut(a_day, monkeypatch):
    parts = a_day[0]
    whole = recount(parts)
    cut = parts.slices
    monkeypatch.setattr(type(parts), "slices", lambda self: cut(1))
    assert recount(parts) == whole


def test_files_without_a_usable_line_are_named_with_their_first_reason(tmp_path):
    rows = [(n, None, "bad_time" if n else "nul_byte", False) for n in range(5)]
    raw = {"chat": parts_of(tmp_path, rows)}
    found = presence_finding(DAY, raw, {}, {}, {"chat": set()})
    assert found.summary == "source chat: none of the 5 lines of a.csv could be used (nul_byte)"
    raw["code"] = parts_of(tmp_path / "good", DAY_ROWS)
    assert not presence_finding(DAY, raw, {}, {}, {"chat": {"b.csv"}, "code": {"a.csv"}}).passed
    good = presence_finding(DAY, raw, {}, {}, {"chat": {"a.csv"}, "code": {"a.csv"}})
    assert (good.passed, good.figures["files"]) == (True, 2), "lines of other days in the file are good"
    assert presence_finding(DAY, {}, {}, {}, {}).summary == f"no source has a request on {DAY}"


def test_the_share_of_unusable_lines_counts_repeats(tmp_path, a_day):
    assert quarantine_finding(a_day[1].lazy(), {"chat": a_day[0]}, 0.2).passed
    rows = [(1, 0, "bad_number", False), (2, 0, "bad_number", False), *[(3, 0, "zero_tokens", False)] * 3]
    parts = parts_of(tmp_path / "bad", rows)
    found = quarantine_finding(staged(parts)[0].lazy(), {"chat": parts}, 0.2)
    assert found.summary == (
        "source chat: 5 of 5 lines (100.0%) could not be used, at most 20.0% may; most often: zero_tokens in a.csv"
    )


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 7, 100])
def test_repeated_places_are_counted_across_batches(batch_rows):
    rows = requests(10).with_columns(arrival_time=pl.lit(START + timedelta(seconds=3)).cast(pl.Datetime("us", "UTC")))
    rows = pl.concat(
        [requests(3), rows.slice(3, 4), rows.slice(3, 1), rows.slice(4, 1), rows.slice(3, 1), requests(10).tail(3)]
    )
    found = key_finding(rows.lazy(), "stg_requests", STG_REQUESTS.key, batch_rows)
    assert found.summary == "stg_requests: 3 of 13 rows repeat a (source, file, line_number, record_number)"
    good = key_finding(requests(10).lazy(), "stg_requests", STG_REQUESTS.key, batch_rows)
    assert (good.passed, good.figures["rows"]) == (True, 10)
    assert key_finding(requests(0).lazy(), "stg_requests", STG_REQUESTS.key, batch_rows).passed


def test_models_that_are_mixed_without_being_declared_fail_the_day():
    declared = Source(path="a", format="azure", archetype="chat", fleet="f", models=["*"])
    sources = {"chat": replace_models(declared, ()), "open": declared}
    served = requests(3).with_columns(model=pl.Series(["a", "b", None]))
    failed = pl.DataFrame(
        [{"source": "chat", "model": "c"}, {"source": "open", "model": "d"}],
        schema_overrides=dict(UNSERVED_REQUESTS.schema),
    )
    quality = pl.LazyFrame({"source": ["chat", "open"], "models": [3, 2]})
    tables = [served.lazy(), failed.lazy()]
    named = undeclared_models(sources, tables, quality)
    assert named == {"chat": ["a", "b", "c"]}
    found = models_finding(named)
    assert not found.passed
    assert found.summary == (
        "source chat: its requests name 3 models (a, b, c), and a fleet serves one; write "
        'models = ["a"] in [source.chat] to keep those of others apart, or models = ["*"] if one fleet serves all of '
        "them"
    )
    assert undeclared_models(sources, tables, quality.with_columns(models=1)) == {}
    assert models_finding({}).passed


def replace_models(source, models):
    return source.model_copy(update={"models": models})


QUIET = {
    **dict.fromkeys(STG_QUALITY.schema, 0),
    "day": DAY,
    "source": "chat",
    "format": "azure",
    "landing_digest": "",
    **dict.fromkeys(
        [
            "duplicates_expected",
            "time_step_s",
            "prompt_cap_tokens",
            "prompt_capped_fraction",
            "output_cap_tokens",
            "output_capped_fraction",
            "fields_absent",
        ]
    ),
}


def test_a_day_without_oddities_has_no_notes():
    assert notes_finding(pl.LazyFrame([QUIET], schema=STG_QUALITY.schema)).passed


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"clock_restarts": 2}, "its clock starts again 2 times"),
        ({"time_step_s": 3.0, "distinct_arrival_times": 40}, "in steps of 3 s (40 distinct ones)"),
        ({"prompt_cap_tokens": 7437, "prompt_capped_fraction": 0.04}, "4.0% of the prompts pile up at 7,437 tokens"),
        ({"output_cap_tokens": 4096, "output_capped_fraction": 0.5}, "50.0% of the outputs pile up at 4,096 tokens"),
        ({"finish_times": 7}, "the finish is taken for the arrival of 7 requests"),
        ({"duplicates_expected": 11.6, "duplicates": 14}, "about 12 of the 14 duplicates are likely"),
    ],
)
def test_an_oddity_is_a_note_of_one_sentence(odd, said):
    found = notes_finding(pl.LazyFrame([QUIET | odd], schema=STG_QUALITY.schema))
    assert not found.passed
    assert found.figures["notes"] == 1
    assert said in found.summary
