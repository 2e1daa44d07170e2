"""Each format's fields, with every trap and what it must give."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetopt.errors import InputError
from fleetopt.ingest.formats import FORMATS, detect_format, get_format
from fleetopt.ingest.reasons import REASONS
from tests.unit.ingest.helpers import HEADER, read, read_azure_line, read_mooncake_line

SAMPLES = Path(__file__).parents[3] / "data" / "samples"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-11-16 18:15:46.6805900", datetime(2023, 11, 16, 18, 15, 46, 680590, UTC)),
        ("2023-11-16 18:15:46", datetime(2023, 11, 16, 18, 15, 46, 0, UTC)),
        ("2023-11-16 18:15:46.5", datetime(2023, 11, 16, 18, 15, 46, 500000, UTC)),
        ("2023-11-16 18:15:46.123456789", datetime(2023, 11, 16, 18, 15, 46, 123456, UTC)),
        ("2023-11-16T18:15:46.123Z", datetime(2023, 11, 16, 18, 15, 46, 123000, UTC)),
        ("2023-11-16 18:15:46+00:00", datetime(2023, 11, 16, 18, 15, 46, 0, UTC)),
        ("2023-11-16 18:15:46.25+00:00", datetime(2023, 11, 16, 18, 15, 46, 250000, UTC)),
        ("2023-11-16 18:15:46-0530", datetime(2023, 11, 16, 23, 45, 46, 0, UTC)),
        ("2023-11-16 18:15:46+02", datetime(2023, 11, 16, 16, 15, 46, 0, UTC)),
        ("2024-02-29 00:00:00", datetime(2024, 2, 29, tzinfo=UTC)),
    ],
)
def test_azure_times(text, expected):
    row = read_azure_line(f"{text},374,44".encode())
    assert (row["arrival_time"], row["reason"]) == (expected, None)
    assert (row["prompt_tokens"], row["output_tokens"], row["ttft_s"]) == (374, 44, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2023-02-29 18:15:46", "bad_time"),
        ("2023-11-31 18:15:46", "bad_time"),
        ("2023-13-01 18:15:46", "bad_time"),
        ("2023-11-16 24:00:00", "bad_time"),
        ("2023-11-16 23:59:60", "bad_time"),
        ("2023-11-16 23:60:00", "bad_time"),
        ("2023-11-16", "bad_time"),
        ("2023-11-16 18:15", "bad_time"),
        ("2023-11-16 18:15:46.", "bad_time"),
        ("2023-11-16 18:15:46.1234567890", "bad_time"),
        ("2023-11-16 18:15:46 Z", "bad_time"),
        ("2023-11-16 18:15:46+15:00", "bad_time"),
        ("2023-11-16 18:15:46+0", "bad_time"),
        (" 2023-11-16 18:15:46", "bad_time"),
        ("16/11/2023 18:15:46", "bad_time"),
        ("٢٠٢٣-11-16 18:15:46", "bad_time"),
        ("1700158546", "bad_time"),
        ("", "missing_field"),
        ("1969-12-31 23:59:59", "time_out_of_range"),
        ("0000-01-01 00:00:00", "time_out_of_range"),
        ("2200-01-01 00:00:00", "time_out_of_range"),
        ("9999-12-31 23:59:59-05:00", "time_out_of_range"),
    ],
)
def test_azure_times_that_cannot_be_read(text, reason):
    row = read_azure_line(f"{text},374,44".encode())
    assert (row["arrival_time"], row["reason"]) == (None, reason)


@pytest.mark.parametrize(
    ("text", "timezone", "expected"),
    [
        ("2023-07-01 12:00:00", "Europe/Berlin", datetime(2023, 7, 1, 10, tzinfo=UTC)),
        ("2023-07-01 12:00:00Z", "Europe/Berlin", datetime(2023, 7, 1, 12, tzinfo=UTC)),
        ("2023-03-26 01:59:59", "Europe/Berlin", datetime(2023, 3, 26, 0, 59, 59, tzinfo=UTC)),
        ("2023-03-26 02:00:00", "Europe/Berlin", "nonexistent_time"),
        ("2023-03-26 02:59:59.999", "Europe/Berlin", "nonexistent_time"),
        ("2023-03-26 03:00:00", "Europe/Berlin", datetime(2023, 3, 26, 1, tzinfo=UTC)),
        ("2023-03-26 02:30:00+01:00", "Europe/Berlin", datetime(2023, 3, 26, 1, 30, tzinfo=UTC)),
        ("2023-10-29 01:59:59", "Europe/Berlin", datetime(2023, 10, 28, 23, 59, 59, tzinfo=UTC)),
        ("2023-10-29 02:00:00", "Europe/Berlin", "ambiguous_time"),
        ("2023-10-29 02:30:00+02:00", "Europe/Berlin", datetime(2023, 10, 29, 0, 30, tzinfo=UTC)),
        ("2023-10-29 03:00:00", "Europe/Berlin", datetime(2023, 10, 29, 2, tzinfo=UTC)),
        ("2023-04-02 01:45:00", "Australia/Lord_Howe", "ambiguous_time"),
        ("2023-04-02 01:15:00", "Australia/Lord_Howe", datetime(2023, 4, 1, 14, 15, tzinfo=UTC)),
    ],
)
def test_changes_of_the_clock(text, timezone, expected):
    row = read_azure_line(f"{text},374,44".encode(), timezone=timezone)
    assert expected == (row["reason"] or row["arrival_time"])


LENGTHS = [
    ("1", None),
    ("007", None),
    ("10000000", None),
    ("10000001", "out_of_range"),
    ("9223372036854775808", "out_of_range"),
    ("9" * 40, "out_of_range"),
    ("0", "zero_tokens"),
    ("00", "zero_tokens"),
    ("-1", "negative_tokens"),
    ("-9223372036854775809", "negative_tokens"),
    ("", "missing_field"),
    ("1e3", "bad_number"),
    ("1.0", "bad_number"),
    ("+1", "bad_number"),
    (" 1", "bad_number"),
    ("1 ", "bad_number"),
    ("1_000", "bad_number"),
    ("0x10", "bad_number"),
    ("NaN", "bad_number"),
    ("inf", "bad_number"),
    ("true", "bad_number"),
    ('"374"', "bad_number"),
    ("٣", "bad_number"),
]


@pytest.mark.parametrize(("text", "reason"), LENGTHS)
@pytest.mark.parametrize("line", ["2023-11-16 18:15:46,{},44", "2023-11-16 18:15:46,44,{}"])
def test_azure_lengths(line, text, reason):
    row = read_azure_line(line.format(text).encode())
    assert row["reason"] == reason
    assert row["arrival_time"] is not None
    assert (row["prompt_tokens"] is None) == (row["output_tokens"] is None) == (reason is not None)
    assert row["raw_text"] == (line.format(text) if reason else None)


@pytest.mark.parametrize("line", [b"2023-11-16 18:15:46,374", b"2023-11-16 18:15:46,374,44,", b"x", b",,,,,"])
def test_azure_lines_with_other_field_counts(line):
    row = read_azure_line(line)
    assert (row["reason"], row["arrival_time"]) == ("wrong_field_count", None)


def test_azure_columns_are_found_by_name():
    row = read_azure_line(b"7,44,2025-05-01T01:31:14.787Z,x,374", header=b"N,GeneratedTokens,TIMESTAMP,Y,ContextTokens")
    assert (row["prompt_tokens"], row["output_tokens"], row["reason"]) == (374, 44, None)
    assert row["arrival_time"] == datetime(2025, 5, 1, 1, 31, 14, 787000, UTC)


@pytest.mark.parametrize(
    "header",
    [
        b"timestamp,ContextTokens,GeneratedTokens",
        b"TIMESTAMP,ContextTokens",
        b"TIMESTAMP,ContextTokens,ContextTokens,GeneratedTokens",
        b"TIMESTAMP, ContextTokens,GeneratedTokens",
    ],
)
def test_azure_lines_below_no_header_are_kept_apart_without_their_text(header):
    rows = read(header + b"\n2023-11-16 18:15:46,374,44\nsome prompt")
    assert rows["reason"].to_list() == ["no_header"] * 3
    assert rows["raw_text"].to_list() == [None] * 3


def test_azure_headers_of_joined_files_with_other_columns():
    joined = (
        b"\xef\xbb\xbfTIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:00:00,1,2\r\n"
        b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:00:01,3,4\n"
        b"\xef\xbb\xbfTIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n2025-05-01T00:00:00.000Z,0,5,6\n"
        b"2025-05-01T00:00:01.000Z,5,6\n"
    )
    for batch_bytes in (1, 50, 1000):
        rows = read(joined, batch_bytes=batch_bytes)
        assert rows["line_number"].to_list() == [2, 4, 6, 7]
        assert rows["prompt_tokens"].to_list() == [1, 3, 5, None]
        assert rows["output_tokens"].to_list() == [2, 4, 6, None]
        assert rows["reason"].to_list() == [None, None, None, "wrong_field_count"]


def test_text_of_a_line_with_an_unknown_column_is_not_kept():
    row = read_azure_line(b"2023-11-16 18:15:46,0,44,the prompt", header=HEADER + b",Prompt")
    assert (row["reason"], row["raw_text"]) == ("zero_tokens", None)


def test_mooncake_record():
    row = read_mooncake_line(b'{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46]}')
    assert row["arrival_time"] == datetime(2023, 11, 16, 18, 0, 27, 482000, UTC)
    assert (row["prompt_tokens"], row["output_tokens"], row["ttft_s"], row["reason"]) == (6955, 52, None, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1", None),
        ("0", "zero_tokens"),
        ("-1", "negative_tokens"),
        ("10000000", None),
        ("10000001", "out_of_range"),
        ("9223372036854775808", "out_of_range"),
        ("9" * 5000, "out_of_range"),
        ("-" + "9" * 5000, "negative_tokens"),
        ("null", "missing_field"),
        ("1.0", "bad_number"),
        ("1e3", "bad_number"),
        ("true", "bad_number"),
        ('"374"', "bad_number"),
        ("[374]", "bad_number"),
        ("NaN", "not_json"),
        ("-Infinity", "not_json"),
        ("007", "not_json"),
        ("", "not_json"),
    ],
)
@pytest.mark.parametrize("line", ['"input_length": {}, "output_length": 4', '"input_length": 4, "output_length": {}'])
def test_mooncake_lengths(line, text, reason):
    row = read_mooncake_line(f'{{"timestamp": 5, {line.format(text)}}}'.encode())
    assert row["reason"] == reason
    assert (row["prompt_tokens"] is None) == (row["output_tokens"] is None) == (reason is not None)
    assert (row["arrival_time"] is None) == (reason == "not_json")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"timestamp": -1, "input_length": 3, "output_length": 4}', "bad_time"),
        (b'{"timestamp": 1.5, "input_length": 3, "output_length": 4}', "bad_time"),
        (b'{"timestamp": true, "input_length": 3, "output_length": 4}', "bad_time"),
        (b'{"timestamp": "0", "input_length": 3, "output_length": 4}', "bad_time"),
        (b'{"timestamp": 99999999999999, "input_length": 3, "output_length": 4}', "time_out_of_range"),
        (b'{"timestamp": 6999999999999, "input_length": 3, "output_length": 4}', "time_out_of_range"),
        (b'{"input_length": 3, "output_length": 4}', "missing_field"),
        (b'{"timestamp": 1, "output_length": 4}', "missing_field"),
        (b'{"timestamp": 1, "input_length": 3}', "missing_field"),
        (b'{"timestamp": 1, "input_length": 3, "input_length": 4, "output_length": 4}', "repeated_field"),
        (b'{"timestamp": 1, "input_length": 3, "output_length": 4', "not_json"),
        (b'{"timestamp": 1, "input_length": 3, "output_length": 4}{}', "not_json"),
        (b"[" * 100_000, "not_json"),
        (b"[1, 2, 3]", "not_an_object"),
        (b"3", "not_an_object"),
    ],
)
def test_mooncake_lines_that_cannot_be_used(line, reason):
    row = read_mooncake_line(line)
    assert row["reason"] == reason
    assert (row["prompt_tokens"], row["output_tokens"], row["raw_text"]) == (None, None, None)


def test_mooncake_lines_with_text_are_used_and_their_text_is_never_kept():
    good = read_mooncake_line(b'{"timestamp": 1, "input_length": 3, "output_length": 4, "text_input": "a prompt"}')
    bad = read_mooncake_line(b'{"timestamp": 1, "input_length": 0, "output_length": 4, "text_input": "a prompt"}')
    assert (good["reason"], good["raw_text"]) == (None, None)
    assert (bad["reason"], bad["raw_text"]) == ("zero_tokens", None)


def test_every_reason_is_explained_in_a_sentence():
    assert all(reason.replace("_", "").isalnum() and reason.islower() for reason in REASONS)
    assert all(sentence[0].isupper() and sentence.endswith((".", ").")) for sentence in REASONS.values())


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_format_recognises_and_reads_its_own_example_and_sample(name):
    log_format = get_format(name)
    sample = next(SAMPLES.glob(f"{name}.*")).read_bytes()
    for data in (log_format.example.encode(), sample):
        assert detect_format(data) is log_format
        assert detect_format(data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")) is log_format
        assert detect_format(b"\xef\xbb\xbf" + data) is log_format
        assert read(data, name)["reason"].null_count() == len(read(data, name)) > 0


def test_samples_have_the_shape_of_the_real_files():
    azure = (SAMPLES / "azure.csv").read_bytes()
    assert azure.count(b"\r\n") == azure.count(b"\n") == 40
    assert not azure.endswith(b"\n")
    assert all(len(line.split(b",")[0].rpartition(b".")[2]) == 7 for line in azure.split(b"\r\n")[1:])
    assert len(read((SAMPLES / "mooncake.jsonl").read_bytes(), "mooncake")) == 40


@pytest.mark.parametrize(
    "head", [b"", b"\n\n", b"time,prompt,output\n1,2,3", b'{"timestamp": 3}', b"\x89PNG\r\n\x1a\n"]
)
def test_an_unknown_beginning_is_refused(head):
    with pytest.raises(InputError, match=r"no known log format fits.*azure, mooncake"):
        detect_format(head)


def test_a_beginning_that_two_formats_know_is_refused():
    both = FORMATS["azure"].example + "\n" + FORMATS["mooncake"].example
    with pytest.raises(InputError, match="more than one known log format"):
        detect_format(both.encode())


def test_an_unknown_format_name_is_refused():
    with pytest.raises(InputError, match="unknown log format 'csv'; known formats: azure, mooncake"):
        get_format("csv")
