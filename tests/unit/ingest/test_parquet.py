"""Rows of Parquet as records: every type, whatever the size of batches, and one line for what cannot be read."""

import io
import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fleetopt.errors import InputError
from fleetopt.ingest.fields import MISSING
from fleetopt.ingest.json_reader import JsonReader
from fleetopt.ingest.lines import keyed_hashes
from fleetopt.ingest.parquet import read_parquet_batches

KEY = bytes(range(16))
MOMENT = datetime(2025, 5, 1, 1, 31, 14, 787_000, tzinfo=UTC)
LAST = 2**63 - 1


def file_of(table, **options):
    file = io.BytesIO()
    pq.write_table(pa.table(table), file, **options)
    return io.BytesIO(file.getvalue())


def batches(table, *paths, batch_rows=1000, **options):
    file = table if hasattr(table, "read") else file_of(table)
    return list(read_parquet_batches(file, paths=paths, record_key=KEY, batch_rows=batch_rows, **options))


def records(*args, **options):
    return [batch.record(i) for batch in batches(*args, **options) for i in range(len(batch))]


def keys(*args, **options):
    return [
        pair for batch in batches(*args, **options) for pair in zip(batch.key_hi.tolist(), batch.key_lo, strict=True)
    ]


@pytest.mark.parametrize(
    ("dtype", "values", "written"),
    [
        (pa.int64(), [-5, 2**62], ["-5", "4611686018427387904"]),
        (pa.uint64(), [2**64 - 1], ["18446744073709551615"]),
        (pa.float64(), [12.0, 0.5, 1e300, float("nan"), float("-inf")], ["12", "0.5", "1e+300", '"NaN"', '"-inf"']),
        (pa.float32(), [3.0, 0.1], ["3", "0.1"]),
        (pa.decimal128(38, 0), [Decimal("1234567890123456789012")], ["1234567890123456789012"]),
        (pa.decimal128(9, 2), [Decimal("12.00"), Decimal("0.25")], ["12", "0.25"]),
        (pa.bool_(), [True, False], ["true", "false"]),
        (pa.string(), ['a"\\\n\0é'], ['"a\\"\\\\\\n\\u0000é"']),
        (pa.dictionary(pa.int8(), pa.string()), ["a", "b"], ['"a"', '"b"']),
        (pa.binary(), ["é".encode(), b"\xff"], ['"é"', "null"]),
        (pa.binary(2), [b"ab", b"\xff\xff"], ['"ab"', "null"]),
        (pa.date32(), [date(2025, 5, 1)], ['"2025-05-01"']),
        (pa.time64("us"), [time(1, 2, 3, 4)], ['"01:02:03.000004"']),
        (pa.timestamp("ms", "UTC"), [MOMENT], ['"2025-05-01T01:31:14.787+00:00"']),
        (pa.timestamp("us", "Europe/Berlin"), [MOMENT], ['"2025-05-01T01:31:14.787+00:00"']),
        (pa.timestamp("us"), [MOMENT.replace(tzinfo=None)], ['"2025-05-01 01:31:14.787"']),
        (pa.timestamp("ns"), [1, LAST], ['"1970-01-01 00:00:00.000000001"', '"2262-04-11 23:47:16.854775807"']),
        (pa.timestamp("us"), [LAST, -LAST], ["null", "null"]),
        (pa.timestamp("ms", "UTC"), [LAST], ["null"]),
        (pa.date32(), [2**31 - 1], ["null"]),
        (pa.list_(pa.string()), [["stop", None], []], ['["stop",null]', "[]"]),
        (pa.struct([("x", pa.int64()), ("t", pa.timestamp("us"))]), [{"x": 1}], ['{"x":1,"t":null}']),
        (pa.map_(pa.string(), pa.string()), [[("k.x", "1"), ('"', None)], []], ['{"k.x":"1","\\"":null}', "{}"]),
        (pa.null(), [None], ["null"]),
    ],
)
def test_values_are_written_as_json(dtype, values, written):
    expected = [f'{{"a":{text}}}'.encode() for text in [*written, "null"]]
    assert records({"a": pa.array([*values, None], dtype)}, "a") == expected
    for record in expected:
        json.loads(record)


def test_rows_keep_their_places_whatever_the_batches():
    n = 20_000
    table = {"b": range(n), "a": [f"{i}" * (i % 9) for i in range(n)]}
    file = file_of(table, row_group_size=7000)
    (whole,) = batches(file, "a", batch_rows=n)
    expected = [
        json.dumps({"a": a, "b": b}, separators=(",", ":")).encode()
        for a, b in zip(table["a"], table["b"], strict=True)
    ]
    assert [whole.record(i) for i in range(n)] == expected
    for options in ({"batch_rows": 1000}, {"batch_rows": n, "batch_bytes": 1}):
        parts = batches(file, "a", **options)
        assert len(parts) > 2
        assert max(map(len, parts)) <= min(options["batch_rows"], 8192)
        assert [part.record(i) for part in parts for i in range(len(part))] == expected
        assert [number for part in parts for number in part.line_number.tolist()] == list(range(1, n + 1))
        assert [key for part in parts for key in part.key_lo.tolist()] == whole.key_lo.tolist()
        assert sum(part.n_lines for part in parts) == n
    assert set(whole.byte_offset.tolist()) == set(whole.byte_length.tolist()) == {-1}
    assert set(whole.record_number.tolist()) == {1}
    assert not whole.fault.any()


def test_only_columns_that_paths_lead_into_are_read_where_rows_have_ids():
    table = {"id": ["x"], "usage": [{"prompt": 5}], "gen.ai": [7], "prompt": ["secret"], "gen": [1], "usages": [2]}
    (record,) = records(table, "id", "usage.prompt", "gen.ai.b", "other", whole_rows=False)
    assert json.loads(record) == {"id": "x", "usage": {"prompt": 5}, "gen.ai": 7, "gen": 1}


def test_a_key_is_the_hash_of_all_columns_unless_rows_have_ids():
    table = {"a": [1, 1, 1], "server": ["x", "y", "x"]}
    first, second, third = keys(table, "a")
    assert first == third != second
    assert len(set(keys(table, "a", whole_rows=False))) == 1
    (batch,) = batches(table, "a")
    high, low = keyed_hashes(batch.data, batch.start, batch.end, KEY)
    assert keys(table, "a") == list(zip(high.tolist(), low.tolist(), strict=True))


def test_rows_are_equal_in_files_of_another_order_and_of_other_types():
    table = {"a": [1, 2], "t": pa.array([MOMENT, MOMENT], pa.timestamp("us", "UTC")), "n": [3, 4]}
    other = {
        "n": pa.array([3.0, 4.0]),
        "t": pa.array([MOMENT, MOMENT], pa.timestamp("ns", "Asia/Tokyo")),
        "a": pa.array([1, 2], pa.int8()),
    }
    assert records(table, "a") == records(other, "a")
    assert keys(table, "a") == keys(other, "a")


def test_fields_are_found_in_structs_maps_and_columns_with_dots():
    table = {
        "m": pa.array([[("gen_ai.usage.input_tokens", "12")]], pa.map_(pa.string(), pa.string())),
        "s": [{"usage": {"n": [5, 6]}}],
        "gen_ai.usage.output_tokens": [7],
    }
    paths = ("m.gen_ai.usage.input_tokens", "s.usage.n.1", "gen_ai.usage.output_tokens", "no")
    (batch,) = batches(table, *paths)
    fields = JsonReader(paths).prepare(batch)()
    found = [batch.data[fields.start[k, 0] : fields.end[k, 0]].tobytes() for k in range(3)]
    assert found == [b"12", b"6", b"7"]
    assert fields.kind[3, 0] == MISSING


def test_what_polars_writes_is_read():
    frame = pl.DataFrame(
        {"t": [MOMENT], "c": pl.Series(["a"], dtype=pl.Categorical), "u": pl.Series([1], dtype=pl.UInt16)}
    )
    file = io.BytesIO()
    frame.write_parquet(file)
    assert records(file, "t") == [b'{"c":"a","t":"2025-05-01T01:31:14.787+00:00","u":1}']


def test_a_file_without_rows_has_no_batches():
    assert batches({"a": pa.array([], pa.int64())}, "a") == []


UNREADABLE = [
    pa.array([timedelta(seconds=1)]),
    pa.array([[b"x"]]),
    pa.array([[(1, 2)]], pa.map_(pa.int64(), pa.int64())),
    pa.array([Decimal(1)], pa.decimal256(60, 0)),
]


@pytest.mark.parametrize("values", UNREADABLE, ids=lambda values: str(values.type))
def test_a_type_without_meaning_is_refused_where_it_is_wanted(values):
    with pytest.raises(InputError, match=r"column 'a' is of type .+; write it as"):
        batches({"a": values}, "a")
    assert records({"a": values, "b": [1]}, "b") == [b'{"b":1}']


def test_a_file_without_wanted_columns_is_refused():
    with pytest.raises(InputError, match=r"reads none of its columns \(b, c\)"):
        batches({"b": [1], "c": [2]}, "a")


def test_a_column_that_is_there_twice_is_refused():
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(InputError, match="column 'a' is there twice"):
        batches(table, "a")


def damage(content, how):
    start, size = content.index(b"text 7777"), len(content)
    return {
        "empty": b"",
        "text": b"a,b\n1,2\n",
        "truncated": content[: size // 2],
        "no footer": content[:-8] + b"\xff\xff\xff\x7f" + content[-4:],
        "pages": content[:20] + b"\xff" * (size // 2) + content[size // 2 + 20 :],
        "not utf-8": content[:start] + b"\xff" + content[start + 1 :],
    }[how]


@pytest.mark.parametrize("how", ["empty", "text", "truncated", "no footer", "pages", "not utf-8"])
def test_a_damaged_file_is_one_line(how, tmp_path):
    table = {"a": range(10_000), "s": [f"text {i}" for i in range(10_000)]}
    content = file_of(table, compression="none", use_dictionary=False).getvalue()
    path = tmp_path / "log.parquet"
    path.write_bytes(damage(content, how))
    with (
        path.open("rb") as file,
        pytest.raises(InputError, match=r"log\.parquet: no Parquet file that can be read") as error,
    ):
        batches(file, "a", "s")
    assert "\n" not in str(error.value)
