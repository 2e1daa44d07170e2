"""Every record of a day is a request, a repeat or unusable, whatever the order of lines, files and slices."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from fleetopt.ingest import staging
from fleetopt.ingest.parts import NOTE_SCHEMA, PART_SCHEMA, Parts, PartsWriter
from fleetopt.ingest.staging import Staged, stage

DAY = date(2026, 1, 5)
MIDNIGHT = datetime(2026, 1, 5, tzinfo=UTC)
HORIZON_S = 90
CONTENT = [name for name in PART_SCHEMA if name not in {"file", "line_number", "record_number", "byte_offset"}]

Record = dict[str, Any]


def record(key: int, second: float | None, **values: Any) -> Record:
    """A record at a second of the day; it cannot be used if it has no time."""
    known = {
        **dict.fromkeys(PART_SCHEMA),
        **{"file": "a.csv", "line_number": 1, "record_number": 1, "is_finish_time": False, "outcome": "served"},
        **{"prompt_tokens": 10 + key, "output_tokens": 20 + key, "key_hi": key, "key_lo": key % 3, "has_id": False},
        "arrival_time": None if second is None else MIDNIGHT + timedelta(seconds=second),
    }
    unusable = {"reason": "bad_time", "outcome": None, "prompt_tokens": None, "output_tokens": None}
    return {**known, **(unusable if second is None else {}), **values}


def write(place: Any, records: list[Record], notes: list[Record] = [], part_rows: int = 1000) -> Parts:  # noqa: B006
    """Write records in several steps; each stands on a line of its own."""
    placed = [{**each, "line_number": i} for i, each in enumerate(records, 1)]
    schema = {"time": "arrival_time", "key_hi": "key_hi", "key_lo": "key_lo"}
    with PartsWriter(place, part_rows) as writer:
        for begin in range(0, len(placed), 5):
            writer.add(pl.DataFrame(placed[begin : begin + 5], schema=PART_SCHEMA))
        for note in notes:
            row = {to: note[name] for to, name in schema.items()}
            labels = {name: note[name] for name in ("is_parent", "archetype")}
            writer.add_notes(pl.DataFrame({**row, **labels}, schema=NOTE_SCHEMA))
        return writer.finish(f"parts-{len(list(place.iterdir()))}")


def together(slices: list[Staged]) -> tuple[pl.DataFrame, dict[str, int]]:
    """All rows, apart from where they stand, in the order of their tables; and the counts."""
    tables = [getattr(each, name) for name in ("requests", "unserved", "quarantined") for each in slices]
    counts = {name: sum(getattr(each, name) for each in slices) for name in ("lines", "duplicates", "unusable")}
    return pl.concat([PART_SCHEMA.to_frame(), *tables]).select(CONTENT), counts


def obvious(records: list[Record], before: list[Record]) -> list[tuple[Any, ...]]:
    """The rows that count, by the definition: a list of times per key."""
    groups: dict[tuple[Any, ...], list[tuple[bool, Record]]] = {}
    for is_before, each in [*((True, r) for r in before), *((False, r) for r in records)]:
        key = each["key_hi"], each["reason"], each["has_id"], None if each["has_id"] else each["arrival_time"]
        if not is_before or each["has_id"]:
            groups.setdefault(key, []).append((is_before, each))
    kept = []
    for group in groups.values():
        last = None
        for is_before, each in sorted(group, key=lambda found: (not found[0], _rank(found[1]))):
            time = each["arrival_time"] or MIDNIGHT
            if last is None or time - last > timedelta(seconds=HORIZON_S if each["has_id"] else 0):
                kept.extend([] if is_before else [tuple(each[name] for name in CONTENT)])
            last = time
    return sorted(kept, key=str)


def _rank(each: Record) -> tuple[Any, ...]:
    time = each["arrival_time"] or MIDNIGHT
    return time, -(each["output_tokens"] or 0), each["prompt_tokens"] or 0


seconds = st.one_of(st.none(), st.integers(0, 12).map(lambda n: 30 * n), st.integers(0, 300))
plain = st.builds(record, st.integers(0, 5), seconds)
named = st.builds(
    record,
    st.integers(6, 9),
    seconds.filter(lambda s: s is not None),
    has_id=st.just(True),
    output_tokens=st.integers(1, 3),
)
failed = st.builds(record, st.integers(10, 12), st.integers(0, 300), outcome=st.just("failed"))
lists = st.lists(st.one_of(plain, named, failed), max_size=30)
before = st.lists(st.builds(record, st.integers(6, 9), st.integers(-120, -1), has_id=st.just(True)), max_size=4)


@settings(deadline=None, max_examples=150)
@given(lists, before, st.randoms(use_true_random=False), st.integers(1, 40), st.integers(2, 12))
def test_rows_are_those_of_the_definition(tmp_path_factory, records, yesterday, random, max_rows, part_rows):
    place = tmp_path_factory.mktemp("parts")
    # Bytes say it all where there is no id, so repeats of them differ in nothing.
    staged = list(
        stage(
            write(place, records, part_rows=part_rows),
            DAY,
            horizon_s=HORIZON_S,
            before=write(place, yesterday),
            max_rows=max_rows,
        )
    )
    rows, counts = together(staged)
    assert sorted(rows.rows(), key=str) == obvious(records, yesterday)
    assert counts["lines"] == len(records) == rows.height + counts["duplicates"]
    assert counts["unusable"] == sum(each["reason"] is not None for each in records)

    again = [*records, *random.sample(records, len(records) // 2)]
    random.shuffle(again)
    whole = stage(write(place, again), DAY, horizon_s=HORIZON_S, before=write(place, yesterday))
    rows_again, _ = together(list(whole))
    ordered = ["reason", "outcome", "arrival_time", "key_lo", "key_hi"]
    assert_frame_equal(rows_again.sort(ordered), rows.sort(ordered))


def note(key: int, second: float, *, is_parent: bool = False, archetype: str | None = None) -> Record:
    return {
        "arrival_time": [MIDNIGHT + timedelta(seconds=second)],
        "key_hi": [key],
        "key_lo": [key % 3],
        "is_parent": [is_parent],
        "archetype": [archetype],
    }


def test_a_parent_is_no_request_of_its_own_and_labels_reach_their_request(tmp_path):
    calls = [record(key, 100 * key, has_id=True) for key in (1, 2, 3)]
    repeated = [*calls, record(1, 130, has_id=True)]
    notes = [
        note(1, 150, is_parent=True),
        note(2, 200 + HORIZON_S, archetype="code"),
        note(2, 200 + HORIZON_S, archetype="chat"),
        note(3, 300 + HORIZON_S + 1, archetype="code"),
        note(3, 300 - HORIZON_S - 1, is_parent=True),
    ]
    for max_rows in (1, 100):
        staged = list(stage(write(tmp_path, repeated, notes), DAY, horizon_s=HORIZON_S, max_rows=max_rows))
        rows, counts = together(staged)
        assert rows.select("key_hi", "archetype").rows() == [(2, "chat"), (3, None)]
        assert counts == {"lines": 3, "duplicates": 1, "unusable": 0}


def test_what_was_said_of_a_request_on_the_day_before_reaches_it(tmp_path):
    before = write(tmp_path, [], [note(1, -1, archetype="code"), note(2, -1 - HORIZON_S, archetype="code")])
    parts = write(tmp_path, [record(1, 1, has_id=True), record(2, 1, has_id=True)])
    staged = next(stage(parts, DAY, horizon_s=HORIZON_S, before=before))
    assert sorted(staged.requests.select("key_hi", "archetype").rows()) == [(1, "code"), (2, None)]


def test_a_label_of_its_own_comes_before_that_of_a_note(tmp_path):
    rows = [record(1, 0, has_id=True, archetype="agent")]
    parts = write(tmp_path, rows, [note(1, 1, archetype="code")])
    assert next(stage(parts, DAY, horizon_s=HORIZON_S)).requests["archetype"].to_list() == ["agent"]


def test_rows_of_one_time_stand_in_an_order_that_does_not_depend_on_their_lines(tmp_path):
    rows = [record(key, 60 * (key % 2), key_lo=-key) for key in range(20)]
    orders = [rows, rows[::-1], rows[10:] + rows[:10]]
    first, *others = [together(list(stage(write(tmp_path, each), DAY, horizon_s=0)))[0] for each in orders]
    for other in others:
        assert_frame_equal(first, other)
    assert first["arrival_time"].is_sorted()


def test_a_slice_holds_its_share_whatever_the_times(tmp_path):
    n, share = 20_000, 1000
    one_minute = [record(key, key % 60, key_lo=key) for key in range(n)]
    no_time = [record(key, None, key_lo=key) for key in range(n)]
    for rows in (one_minute, no_time):
        staged = list(stage(write(tmp_path, rows), DAY, horizon_s=HORIZON_S, max_rows=share))
        assert max(each.lines for each in staged) < 1.3 * share
        assert together(staged)[1] == {"lines": n, "duplicates": 0, "unusable": 0 if rows is one_minute else n}


def test_text_counts_as_rows_do(tmp_path):
    rows = [record(key, None, key_lo=key, raw_text="x" * 4096) for key in range(1000)]
    cuts = write(tmp_path, rows).slices(1000)
    assert len(cuts) == 33  # 32 rows' worth of text, and the row itself


def test_one_record_repeated_without_end_is_held_once(tmp_path, monkeypatch):
    held = []
    by_time = staging._by_time
    monkeypatch.setattr(staging, "_by_time", lambda frames: held.append(by_time(frames)) or held[-1])
    rows = [record(1, None)] * 3000 + [record(2, 5)] * 3000
    staged = list(stage(write(tmp_path, rows, part_rows=100), DAY, horizon_s=HORIZON_S, max_rows=200))
    assert together(staged)[1] == {"lines": 6000, "duplicates": 5998, "unusable": 3000}
    assert max(frame.height for frame in held) <= 300


def test_of_repeats_at_one_time_the_longest_output_counts(tmp_path):
    orders = [[1, 3, 2], [3, 1, 2], [2, 1, 3]]
    for outputs in orders:
        rows = [record(1, 10, has_id=True, output_tokens=output, file=f"{output}.csv") for output in outputs]
        staged = next(stage(write(tmp_path, rows), DAY, horizon_s=HORIZON_S))
        assert staged.requests["output_tokens"].to_list() == [3]


def test_an_id_is_known_as_long_in_a_minute_of_many_pieces(tmp_path):
    """Each piece of the second minute meets the ids of the first one."""
    keys = range(12)
    rows = [record(key, second, key_lo=key, has_id=True) for second in (0, 85) for key in keys]
    for max_rows in (1, 3, 5, 100):
        staged = list(stage(write(tmp_path, rows), DAY, horizon_s=HORIZON_S, max_rows=max_rows))
        assert together(staged)[1] == {"lines": 24, "duplicates": 12, "unusable": 0}
