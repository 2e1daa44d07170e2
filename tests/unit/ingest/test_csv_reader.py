"""Fields of CSV by the names in headers, their faults and keys, in files cut anywhere, against a slow reading."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetopt.ingest.csv_reader import CsvReader
from fleetopt.ingest.fields import ESCAPED, MISSING, NULL, TEXT
from fleetopt.ingest.formats.definition import Csv
from fleetopt.ingest.lines import read_chunks, split_chunk
from fleetopt.ingest.records import FAULTS

KEY = bytes(range(16))
AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def read(data, container, paths, batch_bytes=1 << 20, private=()):
    """Rows: what each record is at each path (None where it is missing), its fault, its key, and what else is said."""
    reader = CsvReader(container, paths, private)
    rows = []
    chunks = read_chunks(
        io.BytesIO(data), batch_bytes=batch_bytes, quoted=container.quoted, delimiter=container.delimiter
    )
    for chunk in chunks:
        fields = reader.prepare(split_chunk(chunk, record_key=KEY))()
        assert fields.paths == paths
        assert fields.is_csv
        for i in range(len(fields.fault)):
            row = {path: value(fields, k, i) for k, path in enumerate(paths)}
            row["key"] = fields.key_hi[i].tobytes() + fields.key_lo[i].tobytes()
            row["fault"], row["is_other"] = FAULTS[fields.fault[i]], bool(fields.is_other[i])
            row["keeps_text"] = bool(fields.keeps_text[i])
            rows.append(row)
    return rows


def value(fields, k, i):
    kind = fields.kind[k, i]
    if kind == MISSING:
        return None
    text = fields.data[fields.start[k, i] : fields.end[k, i]].tobytes()
    assert kind in {NULL, TEXT, ESCAPED}
    assert (kind == NULL) == (text == b"")
    assert (kind == ESCAPED) == (fields.data[fields.start[k, i] - 1] == ord('"') and b'""' in text)
    return (text.replace(b'""', b'"') if kind == ESCAPED else text).decode()


def values(rows, paths):
    return [tuple(row[path] for path in paths) for row in rows if not row["is_other"]]


def test_columns_are_found_by_name_in_any_order():
    data = b"GeneratedTokens,NumImages,TIMESTAMP,ContextTokens\r\n44,0, 2023-11-16 18:15:46 ,374\r\n5,,x,\r\n"
    rows = read(data, Csv(header=AZURE), (*AZURE, "Model"))
    assert [row["is_other"] for row in rows] == [True, False, False]
    assert values(rows, (*AZURE, "Model")) == [(" 2023-11-16 18:15:46 ", "374", "44", None), ("x", "", "5", None)]
    assert all(row["fault"] is None for row in rows)


def test_headers_may_stand_anywhere():
    data = (
        b"2023,1,2\n\xef\xbb\xbfTIMESTAMP,ContextTokens,GeneratedTokens\n2023,3,4\nGeneratedTokens,ContextTokens,TIMESTAMP\n"
        b"6,5,2023\n\xef\xbb\xbfTIMESTAMP,ContextTokens,GeneratedTokens,NumImages\n2023,7,8\n2023,7,8,9\n"
    )
    rows = read(data, Csv(header=AZURE), AZURE)
    assert [row["is_other"] for row in rows] == [False, True, False, True, False, True, False, False]
    nothing = (None, None, None)
    assert values(rows, AZURE) == [nothing, ("2023", "3", "4"), ("2023", "5", "6"), nothing, ("2023", "7", "8")]
    assert [row["fault"] for row in rows if not row["is_other"]] == [
        "no_header",
        None,
        None,
        "wrong_field_count",
        None,
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"TIMESTAMP,ContextTokens",
        b"TIMESTAMP,ContextTokens,GeneratedTokens,ContextTokens",
        b"TIMESTAMP, ContextTokens,GeneratedTokens",
        b"timestamp,ContextTokens,GeneratedTokens",
        b'"TIMESTAMP",ContextTokens,GeneratedTokens',
        b"TIMESTAMP;ContextTokens;GeneratedTokens",
        b"TIMESTAMP,ContextTokens,GeneratedTokens,\xff",
    ],
)
def test_what_is_no_header(line):
    rows = read(line + b"\n1,2,3\n", Csv(header=AZURE), AZURE)
    assert [row["is_other"] for row in rows] == [False, False]
    assert rows[1]["fault"] == "no_header"


def test_a_wanted_column_that_is_there_twice_counts_for_neither():
    rows = read(b"a,b,b\n1,2,3\n", Csv(header=("a",)), ("a", "b"))
    assert rows[1]["fault"] == "repeated_field"
    assert values(rows, ("a", "b")) == [(None, None)]
    rows = read(b"a,c,c\n1,2,3\n", Csv(header=("a",)), ("a", "b"))
    assert values(rows, ("a", "b")) == [("1", None)]


def test_records_without_a_use_of_their_bytes_keep_their_fault():
    rows = read(b"a,b\n1,\xff\n\x00,1\n1,2,\xff\n", Csv(header=("a",)), ("a",))
    assert [row["fault"] for row in rows] == [None, "not_utf8", "nul_byte", "not_utf8"]
    assert values(rows, ("a",)) == [(None,), (None,), (None,)]


def test_keys_tell_equal_bytes_below_other_columns_apart():
    container = Csv(header=("a", "b"))
    rows = read(b"a,b\n1,2\n1,2\nb,a\n1,2\na,b\n1,2\na,b,c\n1,2,3\n", container, ("a", "b"))
    keys = [row["key"] for row in rows if not row["is_other"]]
    assert keys[0] == keys[1] == keys[3] != keys[2]
    quoted = read(b'"a","b"\r\n1,2\r\n', Csv(header=("a", "b"), quoted=True), ("a", "b"))
    assert quoted[1]["key"] == keys[0]


def test_text_is_kept_only_where_every_column_is_known():
    container = Csv(header=("a",), harmless=("n",))
    rows = read(b"a\n1\na,b,n\n1,2,3\na,prompt\n1,2\n", container, ("a", "b"))
    assert [row["keeps_text"] for row in rows if not row["is_other"]] == [True, True, False]
    assert not read(b"1\n", container, ("a", "b"))[0]["keeps_text"]


def test_no_text_is_kept_below_a_header_with_a_column_that_names_people():
    data = b"a,n\n1,2\na,user\n1,acme\nacme\n"
    rows = read(data, Csv(header=("a",), harmless=("n",)), ("a", "user"), private=("user",))
    assert [row["keeps_text"] for row in rows if not row["is_other"]] == [True, False, False]


def test_quoted_fields():
    data = b'"id",text,n\r\n1,"one, ""two""\r\nthree",""\r\n2,,"4"\n3,"a\nb",,\n4,"x"y,1\n'
    paths = ("id", "text", "n")
    rows = read(data, Csv(header=("id", "n"), quoted=True), paths)
    assert values(rows, paths)[:2] == [("1", 'one, "two"\r\nthree', ""), ("2", "", "4")]
    assert [row["fault"] for row in rows] == [None, None, None, "wrong_field_count", "bad_quotes"]


def test_files_that_were_joined_have_a_mark_before_each_quoted_header():
    part = b'\xef\xbb\xbf"a","b,c"\r\n"1","2"\r\n'
    rows = read(part + part, Csv(header=("a",), quoted=True), ("b,c", "a"))
    assert [row["is_other"] for row in rows] == [True, False, True, False]
    assert values(rows, ("a", "b,c")) == [("1", "2"), ("1", "2")]


def test_a_byte_beside_the_delimiter_in_the_code_is_none():
    """A borrow in the subtraction that finds equal bytes, eight at a time, can mark the byte after one too."""
    rows = read(b"a,b\n1,-2\n,--3\n-,-\n", Csv(header=("a", "b")), ("a", "b"))
    assert values(rows, ("a", "b")) == [("1", "-2"), ("", "--3"), ("-", "-")]


def test_another_delimiter():
    rows = read(b"a\tb\n1,5\t2\n", Csv(header=("a", "b"), delimiter="\t"), ("b", "a"))
    assert values(rows, ("b", "a")) == [("2", "1,5")]


def test_a_header_among_many_lines_is_found_wherever_it_stands():
    """The search passes blocks of bytes at a time; a header may stand at any place of them."""
    for n in range(0, 300, 7):
        rows = read(
            b"x" * n + b"\nContextTokens,TIMESTAMP,GeneratedTokens\n1,2,3\n" + b"y" * n, Csv(header=AZURE), AZURE
        )
        assert values(rows, AZURE)[-2 if n else -1] == ("2", "1", "3")


# Against a slow reading


def slow_rows(data, container, paths):
    """Split each record by the standard library, which reads a record of CSV alone as it reads a file."""
    layout = None
    for chunk in read_chunks(io.BytesIO(data), quoted=container.quoted, delimiter=container.delimiter):
        batch = split_chunk(chunk, record_key=KEY)
        for i in range(len(batch)):
            fault, text, is_marked = FAULTS[batch.fault[i]], "", False
            if fault is None:
                text = batch.record(i).decode()
                is_marked = container.quoted and text.startswith('\ufeff"')
                header = fields_of(text.removeprefix("\ufeff"), container)
                if all(header.count(name) == 1 for name in container.header):
                    layout = header
                    yield dict.fromkeys(paths), None, True
                    continue
            if fault is None and layout is None:
                fault = "no_header"
            elif fault is None and any(layout.count(path) > 1 for path in paths):
                fault = "repeated_field"
            elif fault is None and is_marked:
                fault = "bad_quotes"  # a mark is passed before a header only, so the quote stands within a field
            elif fault is None and len(fields_of(text, container)) != len(layout):
                fault = "wrong_field_count"
            row = dict.fromkeys(paths)
            if fault is None:
                row |= {
                    name: text for name, text in zip(layout, fields_of(text, container), strict=True) if name in paths
                }
            yield row, fault, False


def fields_of(text, container):
    if not container.quoted:
        return text.split(container.delimiter)
    # To the standard library a return ends a line, outside of quotes too; here it is a byte like others.
    rows = list(csv.reader([text.replace("\r", "\x01")], delimiter=container.delimiter, strict=True))
    return [each.replace("\x01", "\r") for each in rows[0]] if rows else [""]


_PIECES = st.sampled_from(
    [
        "\n",
        "\n",
        "\r\n",
        ",",
        ",",
        ",",
        ";",
        '"',
        '""',
        '",',
        ',"',
        "a",
        "b",
        "1",
        "é",
        " ",
        "\ufeff",
        "12345678",
        "\r",
        "\0",
    ]
)
_HEADERS = st.sampled_from(["a,b\n", "b,x,a\n", '"a","b"\n', "\ufeffa,b,b2\r\n", "a,b,c,c\n", "b;a\n", "a,b,a\n"])
_FILES = st.lists(st.one_of(_PIECES, _PIECES, _PIECES, _HEADERS), max_size=40).map("".join)


@settings(max_examples=500, deadline=None)
@given(
    text=_FILES,
    batch_bytes=st.integers(1, 60),
    container=st.builds(Csv, header=st.just(("a", "b")), delimiter=st.sampled_from(",,;"), quoted=st.booleans()),
)
def test_any_file_is_read_as_the_slow_reading_does(text, batch_bytes, container):
    data, paths = text.encode(), ("b", "c", "a")
    rows = read(data, container, paths, batch_bytes)
    found = [({path: row[path] for path in paths}, row["fault"], row["is_other"]) for row in rows]
    assert found == list(slow_rows(data, container, paths))
    assert rows == read(data, container, paths)
