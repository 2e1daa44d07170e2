"""Which UTC day a line belongs to."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetopt.errors import InputError
from fleetopt.ingest import days as days_module
from fleetopt.ingest.days import home_days, local_dates, noon_day
from fleetopt.ingest.parts import PART_SCHEMA
from fleetopt.schemas import UTC_MICROSECONDS
from tests.reference import ingest_records as reference

DAY = date(2023, 11, 16)
ZONES = ["UTC", "Europe/Berlin", "America/Los_Angeles", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kolkata"]


def _days(times, timezone="UTC", local_date=None, size=2):
    known = {"arrival_time": pl.Series(times, dtype=UTC_MICROSECONDS), "line_number": range(len(times))}
    frame = pl.DataFrame(known).with_columns(logged_time="arrival_time")
    frame = frame.with_columns(
        pl.lit(None, dtype=dtype).alias(name) for name, dtype in PART_SCHEMA.items() if name not in known
    )
    pieces = home_days(frame.iter_slices(size), file="log", timezone=timezone, local_date=local_date)
    days = {line: day for day, rows in pieces for line in rows["line_number"]}
    return [days[line] for line in range(len(times))]


def _at(day, hour):
    return datetime(2023, 11, day, hour, tzinfo=UTC)


def test_lines_without_a_time_go_with_the_one_above_else_with_the_one_below():
    times = [None, None, None, _at(16, 23), None, _at(17, 1), None]
    assert _days(times) == [DAY] * 5 + [date(2023, 11, 17)] * 2


def test_a_file_without_a_readable_time():
    assert _days([None] * 3) == [None] * 3
    assert _days([None] * 3, local_date=DAY) == [DAY] * 3
    assert _days([]) == []


def test_the_head_of_a_file_without_times_is_bounded(monkeypatch):
    monkeypatch.setattr(days_module, "MAX_WAITING_ROWS", 4)
    assert _days([None] * 4 + [_at(17, 1)]) == [date(2023, 11, 17)] * 5
    with pytest.raises(InputError, match="log: none of its first 4 records has a readable time, so no day"):
        _days([None] * 6 + [_at(17, 1)])
    assert _days([None] * 7 + [_at(17, 1)], local_date=DAY) == [DAY] * 8


def test_lines_without_a_time_go_to_the_noon_of_a_file_with_a_date_wherever_they_stand():
    times = [_at(16, 1), None, _at(16, 23)]  # in Los Angeles the 16th ends at 8 o'clock UTC of the 17th
    noon = [_days([times[i] for i in order], "America/Los_Angeles", DAY) for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2))]
    assert noon == [[DAY] * 3] * 3
    assert _days([_at(17, 1), None], "America/Los_Angeles", DAY) == [date(2023, 11, 17), DAY]


def test_lines_of_another_date_go_to_the_noon_of_the_file():
    assert _days([_at(20, 5), None, _at(16, 23), None], local_date=DAY) == [DAY] * 4
    # Noon of the 16th on Kiritimati (UTC+14) is the 15th, 22:00, in UTC.
    assert _days([_at(20, 5), _at(15, 22)], timezone="Pacific/Kiritimati", local_date=DAY) == [date(2023, 11, 15)] * 2
    assert _days([_at(16, 9)], timezone="Pacific/Kiritimati", local_date=DAY) == [DAY]


@pytest.mark.parametrize(
    ("day", "timezone", "expected"),
    [
        (DAY, "UTC", ["2023-11-16"]),
        (DAY, "Europe/Berlin", ["2023-11-16", "2023-11-17"]),
        (DAY, "America/Los_Angeles", ["2023-11-15", "2023-11-16"]),
        (DAY, "Pacific/Kiritimati", ["2023-11-16", "2023-11-17"]),
        # On Apia the 30th of December 2011 was left out; its file, should there be one, goes to its nominal noon.
        (date(2011, 12, 30), "Pacific/Apia", ["2011-12-29", "2011-12-30", "2011-12-31"]),
    ],
)
def test_local_dates_that_overlap_a_day(day, timezone, expected):
    assert [local.isoformat() for local in local_dates(day, timezone)] == expected


@given(
    timezone=st.sampled_from(["Pacific/Apia", *ZONES]),
    day=st.dates(date(2011, 12, 20), date(2024, 1, 10)),
    hour=st.integers(0, 23),
)
def test_a_file_is_read_for_every_day_that_its_lines_can_belong_to(timezone, day, hour):
    instant = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
    local = reference.ZoneInfo(timezone).fromutc(instant.replace(tzinfo=reference.ZoneInfo(timezone))).date()
    assert local in local_dates(day, timezone)
    assert day in local_dates(noon_day(day, timezone), timezone)


@given(
    hours=st.lists(st.none() | st.integers(-40, 60), max_size=12),
    timezone=st.sampled_from(ZONES),
    local_date=st.none() | st.just(DAY),
    size=st.integers(1, 13),
)
def test_days_against_the_slow_rule(hours, timezone, local_date, size):
    times = [None if hour is None else _at(16, 0) + timedelta(hours=hour) for hour in hours]
    assert _days(times, timezone, local_date, size) == reference.home_days(times, timezone, local_date)
