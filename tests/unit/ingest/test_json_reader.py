"""The JSON reader against Python's own decoder: what is JSON, what is repeated, and where the fields are."""

import json
from typing import NamedTuple

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings

from fleetopt.errors import InputError
from fleetopt.ingest.fields import ESCAPED, FALSE, MISSING, NESTED, NULL, NUMBER, TEXT, TRUE
from fleetopt.ingest.json_reader import JsonReader
from fleetopt.ingest.kernels.json_grammar import MAX_DEPTH
from fleetopt.ingest.records import FAULT_CODE, FAULTS
from tests.unit.ingest.batches import batch_of

PATHS = ("a", "a.b", "a.b.c", "b.0.a", "b.1", "é.a", "a..b", "c.", "😀")


class Number(str):
    __slots__ = ()


class Object(NamedTuple):
    pairs: list


class RepeatedError(ValueError):
    pass


def refuse(name):
    raise ValueError(name)


DECODER = json.JSONDecoder(object_pairs_hook=Object, parse_int=Number, parse_float=Number, parse_constant=refuse)


def follow(value, parts):
    """Every value that the parts of a path lead to, by any grouping of them into keys."""
    if not parts:
        return [value]
    found = []
    if isinstance(value, Object):
        for n in range(1, len(parts) + 1):
            matches = [inner for key, inner in value.pairs if key == ".".join(parts[:n])]
            if len(matches) > 1:
                raise RepeatedError
            found += [each for inner in matches for each in follow(inner, parts[n:])]
    elif isinstance(value, list) and parts[0].isascii() and parts[0].isdigit() and int(parts[0]) < len(value):
        found = follow(value[int(parts[0])], parts[1:])
    if len(found) > 1:
        raise RepeatedError
    return found


def kind_of(value):
    if value is None or isinstance(value, bool):
        return {None: NULL, True: TRUE, False: FALSE}[value]
    if isinstance(value, Number):
        return NUMBER
    return TEXT if isinstance(value, str) else NESTED


def read_slowly(record, paths):
    """The fault of a record, and kind and value at every path."""
    try:
        value = DECODER.decode(record.decode())
    except ValueError:
        return "not_json", {}
    if not isinstance(value, Object):
        return "not_an_object", {}
    fault, found = None, {}
    for path in paths:
        try:
            for each in follow(value, path.split(".")):
                found[path] = kind_of(each), each
        except RepeatedError:
            fault = "repeated_field"
    return fault, found


def decoded(kind, span):
    """The value of a span that the reader found."""
    if kind == TEXT:
        assert b"\\" not in span
        return TEXT, span.decode()
    if kind == ESCAPED:
        assert b"\\" in span
        return TEXT, json.loads(b'"' + span + b'"')
    return kind, DECODER.decode(span.decode())


def read_fast(records, paths=PATHS):
    fields = JsonReader(paths).prepare(batch_of(records))()
    data = fields.data.tobytes()
    for i in range(len(records)):
        found = {
            path: decoded(fields.kind[k, i], data[fields.start[k, i] : fields.end[k, i]])
            for k, path in enumerate(paths)
            if fields.kind[k, i] != MISSING
        }
        yield FAULTS[fields.fault[i]], found


def read_one(record, *paths):
    ((fault, found),) = read_fast([record], paths or PATHS)
    return fault, {path: value for path, (_, value) in found.items()}


def check(records):
    for record, (fault, found) in zip(records, read_fast(records), strict=True):
        assert (fault, found) == read_slowly(record, PATHS), record


KEYS = st.sampled_from(["a", "b", "c", "a.b", "b.c", "a.b.c", "0", "1", "é", "é.a", "", ".b", "😀", "a\ud800", "x"])
SPACE = st.sampled_from(["", "", "", " ", "\t", "\r\n "])
SCALARS = ("0", "-0", "12", "-7", "1.5", "0.0", "1e3", "1E+3", "2.5e-1", "9" * 400, "1e999", "true", "false", "null")
WRONG = (
    *("01", "1.", ".5", "-", "+1", "1e", "1e+", "0x1", "--1", "1_0", "1 1", "NaN", "Infinity", "-Infinity"),
    *("True", "nul", "tru", "[,]", "[1,]", "[1,,1]", "[1 1]", "[01]", "[1.]", "[.1]", "[1e]", "[-]", "{,}", "{1:1}"),
)


@st.composite
def strings(draw, content):
    """A JSON string, some of its characters escaped that need not be."""
    text = draw(content)
    if draw(st.booleans()):
        units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), "<u2")
        return '"{}"'.format("".join(f"\\u{unit:04X}" for unit in units))
    return json.dumps(text, ensure_ascii=draw(st.booleans()))


@st.composite
def scalars(draw):
    """A value, one in forty of them wrong."""
    if draw(st.integers(0, 39)) == 0:
        return draw(st.sampled_from(WRONG))
    return draw(st.sampled_from(SCALARS) | strings(st.text(max_size=8)))


@st.composite
def objects(draw, inner):
    space, pairs = draw(SPACE), draw(st.lists(st.tuples(strings(KEYS), inner), max_size=5))
    return f"{{{space}{f',{space}'.join(f'{key}{space}:{space}{value}' for key, value in pairs)}{space}}}"


@st.composite
def arrays(draw, inner):
    space, values = draw(SPACE), draw(st.lists(inner, max_size=5))
    return f"[{space}{f'{space},'.join(values)}{space}]"


VALUES = st.recursive(scalars(), lambda inner: objects(inner) | arrays(inner), max_leaves=12)


@st.composite
def damaged(draw):
    """A record with some bytes replaced, taken out or put in."""
    text = draw(objects(VALUES))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(text)))
        text = (
            text[:at]
            + draw(st.sampled_from(list('{}[]",:\\0-.eu \x00\x1f\x7f\ufeff')))
            + text[at + draw(st.integers(0, 1)) :]
        )
    return text.encode("utf-8", "surrogatepass")


@settings(max_examples=60, deadline=None)
@given(st.lists(damaged(), min_size=1, max_size=8))
@example([b'{"a":1}', b"", b"{", b'{"a":"\\', b'{"a":"\\u12', b'{"a":tr', b"ue}", b'{"a":1', b"2}", b'{"a":-', b"1}"])
def test_agrees_with_python_on_any_record(records):
    check([record for record in records if is_utf8(record)])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet='{}[]":,\\ab.01eE+-u truefalsn\n').map(str.encode), max_size=20))
def test_agrees_with_python_on_any_characters(records):
    check(records)


RICH = (
    '{"a": {"b": [1, -0.5e+3, "x\\"\\u00e9\\ud83d\\ude00"], "b.c": null}, "\\u0062" :[{"a":true},[ ], {}],\t'
    '"n":[0,10,-7 , 1.25,2E-2], "é": {"a":false}, "a..b":"", "m": [[], {"k": [1, "two"]}]}'
).encode()


def test_agrees_with_python_on_every_beginning_and_end_of_a_record():
    # Each beginning is followed by the rest, so that reading on would find what is missing.
    cuts = range(len(RICH) + 1)
    check([part for cut in cuts for part in (RICH[:cut], RICH[cut:]) if is_utf8(RICH[:cut])])


def test_agrees_with_python_wherever_a_byte_is_replaced_or_put_in():
    others = [bytes([c]) for c in b'{}[]",:\\-+.eE019u \nt\x00\x1f\x7f']
    changed = [RICH[:at] + c + RICH[at + n :] for at in range(len(RICH)) for c in others for n in (0, 1)]
    check([record for record in changed if is_utf8(record)])


@pytest.mark.parametrize("form", ['{"a":%s}', '{"x":[%s]}', '{"a":{"b":[1,%s,2]}}', "%s"])
def test_agrees_with_python_on_right_and_wrong_values(form):
    check([(form % value).encode() for value in (*SCALARS, *WRONG, "[]", "{}", "[ ]", '""', '"\t"', "\ufeff1", "")])


def is_utf8(record):
    try:
        record.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize(
    ("record", "value"),
    [
        (b'{"a.b.c": 1}', "1"),
        (b'{"a": {"b": {"c": 1}}}', "1"),
        (b'{"a.b": {"c": 1}}', "1"),
        (b'{"a": {"b.c": 1}}', "1"),
        (b'{"a": {"b": 2}, "a.b.c": 1}', "1"),
        (b'{"a": 3, "a.b": null, "a.b.c": 1}', "1"),
        (b'{"\\u0061": {"b\\u002ec": 1}}', "1"),
    ],
)
def test_a_path_finds_nested_objects_and_keys_with_dots(record, value):
    assert read_one(record, "a.b.c") == (None, {"a.b.c": value})


@pytest.mark.parametrize(
    "record",
    [
        b'{"a.b": 1, "a.b": 2}',
        b'{"a.b": 1, "a": {"b": 1}}',
        b'{"a": {"b": 1}, "a": {}}',
        b'{"a": {"b": 1}, "\\u0061": 5}',
        b'{"a": {"b": 1, "b": 1}}',
    ],
)
def test_a_field_that_is_found_twice_is_a_fault_and_missing(record):
    assert read_one(record[:-1] + b', "x": 7}', "a.b", "x") == ("repeated_field", {"x": "7"})


def test_repeated_keys_that_lead_nowhere_do_not_matter():
    record = b'{"x": 1, "x": 2, "a": {"y": 1, "y": 2, "b": 3}, "ab": 1, "ab": 1}'
    assert read_one(record, "a.b") == (None, {"a.b": "3"})


def test_numbers_in_a_path_pick_from_arrays_and_name_keys():
    record = b'{"m": [{"r": "x"}, [5, 6]], "0": 8}'
    assert read_one(record, "m.0.r", "m.1.1", "m.1.2", "0", "m.0") == (
        None,
        {"m.0.r": "x", "m.1.1": "6", "0": "8", "m.0": Object([("r", "x")])},
    )


def test_a_field_within_a_wanted_field_is_found_beside_it():
    assert read_one(b'{"a": {"b": [1, {}] } }', "a", "a.b") == (
        None,
        {"a": Object([("b", ["1", Object([])])]), "a.b": ["1", Object([])]},
    )


def test_nesting_ends_somewhere():
    paths = ("x", "a")

    def nested(depth, opening, closing):
        return b'{"x":' + opening * (depth - 1) + b"1" + closing * (depth - 1) + b',"a":2}'

    for opening, closing in ((b"[", b"]"), (b'{"x":', b"}")):
        assert read_one(nested(MAX_DEPTH, opening, closing), *paths)[0] is None
        assert read_one(nested(MAX_DEPTH, opening, closing), "x.x.x.x", "a")[0] is None
        assert read_one(nested(MAX_DEPTH + 1, opening, closing), *paths) == ("not_json", {})
        assert read_one(nested(MAX_DEPTH + 1, opening, closing), "x.x.x.x", "a") == ("not_json", {})
        assert read_one(nested(1_000_000, opening, closing), *paths) == ("not_json", {})


def test_records_with_a_fault_are_left_alone():
    fields = JsonReader(("a",)).prepare(batch_of([b'{"a": 1}', b'{"a": 2}'], fault=[FAULT_CODE["nul_byte"]]))()
    assert fields.fault.tolist() == [FAULT_CODE["nul_byte"], 0]
    assert fields.kind.tolist() == [[MISSING, NUMBER]]
    assert not fields.is_other.any()
    assert not fields.is_csv


def test_paths_that_are_too_many_or_too_long_are_refused():
    JsonReader(tuple(f"a{i}" for i in range(128)))
    with pytest.raises(InputError, match="129 fields"):
        JsonReader(tuple(f"a{i}" for i in range(129)))
    deep, long = ".".join("a" * 32), "a" * 255
    assert read_one(f'{{"{deep}": 1, "{long}": 2}}'.encode(), deep, long) == (None, {deep: "1", long: "2"})
    for path in (f"{deep}.a", f"{long}a"):
        with pytest.raises(InputError, match="too long"):
            JsonReader((path,))
