"""Lines of spans to records: every span once, in its place, and nothing of it that could be a prompt."""

import json
from pathlib import Path

import numpy as np
import pytest

from fleetopt.ingest.formats.otlp import OTLP
from fleetopt.ingest.json_reader import JsonReader
from fleetopt.ingest.records import FAULTS
from fleetopt.ingest.spans import RESOURCE_ATTRIBUTES, SPAN_ATTRIBUTE_PREFIXES, SPAN_ATTRIBUTES, explode_spans
from tests.unit.ingest.batches import batch_of

SAMPLE = Path(__file__).parents[3] / "data" / "samples" / "otlp.jsonl"


def attributes(**values):
    """Attributes from key=value, a dot written as two underscores."""
    return [{"key": key.replace("__", "."), "value": value} for key, value in values.items()]


def span(own="a1", trace="f0", **fields):
    return {"traceId": trace, "spanId": own, "name": "chat", "startTimeUnixNano": "17", "endTimeUnixNano": 19} | fields


def line_of(*spans, resource=None):
    scopes = {"scopeSpans": [{"spans": list(spans)}]}
    return json.dumps({"resourceSpans": [({} if resource is None else {"resource": resource}) | scopes]}).encode()


def explode(*lines):
    return explode_spans(batch_of(lines))


def objects(*lines):
    batch = explode(*lines)
    return [json.loads(batch.record(i)) for i in range(len(batch))]


def faults_of(batch):
    return [FAULTS[code] for code in JsonReader(("id",)).prepare(batch)().fault]


def test_a_span_becomes_a_flat_object():
    usage = attributes(
        gen_ai__usage__input_tokens={"intValue": "1200"},
        gen_ai__usage__output_tokens={"intValue": 87},
        gen_ai__latency__e2e={"doubleValue": 2.10},
        gen_ai__usage__prompt_tokens={"doubleValue": 1200.0},
        gen_ai__response__finish_reasons={"arrayValue": {"values": [{"stringValue": "stop"}, {"stringValue": "é"}]}},
        gen_ai__request__model={"stringValue": "1200"},
        gen_ai__usage__is_estimated={"boolValue": False},
    )
    line = line_of(
        span(parentSpanId="b2", kind="SPAN_KIND_CLIENT", status={"code": 2, "message": "secret"}, attributes=usage),
        resource={"attributes": attributes(service__name={"stringValue": "gateway"}, host__name={"stringValue": "h"})},
    )
    assert objects(line) == [
        {
            "id": "f0/a1",
            "parent": "f0/b2",
            "name": "chat",
            "kind": "SPAN_KIND_CLIENT",
            "startTimeUnixNano": 17,
            "endTimeUnixNano": 19,
            "status.code": 2,
            "gen_ai.usage.input_tokens": 1200,
            "gen_ai.usage.output_tokens": 87,
            "gen_ai.latency.e2e": 2.1,
            "gen_ai.usage.prompt_tokens": 1200,
            "gen_ai.response.finish_reasons": ["stop", "é"],
            "gen_ai.request.model": "1200",
            "gen_ai.usage.is_estimated": False,
            "resource.service.name": "gateway",
        }
    ]


def test_snake_case_and_the_old_name_of_scopes_are_read_alike():
    values = attributes(
        gen_ai__usage__input_tokens={"intValue": "5"},
        gen_ai__latency__e2e={"doubleValue": 0.5},
        gen_ai__usage__is_estimated={"boolValue": True},
        gen_ai__response__finish_reasons={"arrayValue": {"values": [{"stringValue": "stop"}]}},
    )
    camel = json.loads(line_of(span(parentSpanId="b2", attributes=values)))
    (expected,) = objects(json.dumps(camel).encode())
    snake = json.dumps(camel)
    values = ("intValue", "doubleValue", "boolValue", "arrayValue", "stringValue")
    for name in ("resourceSpans", "scopeSpans", "traceId", "spanId", "parentSpanId", *values):
        snake = snake.replace(name, "".join(f"_{c.lower()}" if c.isupper() else c for c in name))
    snake = snake.replace("startTimeUnixNano", "start_time_unix_nano").replace("endTimeUnixNano", "end_time_unix_nano")
    assert objects(snake.encode()) == [expected]
    assert objects(json.dumps(camel).replace("scopeSpans", "instrumentationLibrarySpans").encode()) == [expected]


def test_both_names_of_a_list_count():
    scopes = {"scopeSpans": [{"spans": [span("a")]}], "instrumentationLibrarySpans": [{"spans": [span("b")]}]}
    line = json.dumps({"resourceSpans": [scopes], "resource_spans": [{"scope_spans": [{"spans": [span("c")]}]}]})
    assert [each["id"] for each in objects(line.encode())] == ["f0/a", "f0/b", "f0/c"]


@pytest.mark.parametrize("parent", [None, "", "0000000000000000"])
def test_a_root_has_no_parent(parent):
    (record,) = objects(line_of(span(parentSpanId=parent)))
    assert "parent" not in record


def test_a_span_without_ids_has_none():
    (record,) = objects(line_of({"name": "chat"}))
    assert record == {"name": "chat"}


def test_a_record_has_the_place_of_its_line_and_its_number_in_it():
    lines = [line_of(span("a"), span("b")), b"{}", line_of(span("c"))]
    batch = explode(*lines)
    given = batch_of(lines)
    assert batch.line_number.tolist() == [1, 1, 2, 3]
    assert batch.record_number.tolist() == [1, 2, 1, 1]
    assert batch.byte_offset.tolist() == given.byte_offset[[0, 0, 1, 2]].tolist()
    assert batch.byte_length.tolist() == given.byte_length[[0, 0, 1, 2]].tolist()
    assert batch.n_lines == 3
    assert batch.record(2) == b"{}"


def test_keys_are_equal_where_line_and_span_are():
    given = batch_of([line_of(span("a"), span("b"), span("a"))] * 2 + [b"{}"])
    given.key_hi[1], given.key_lo[1] = given.key_hi[0], given.key_lo[0]
    batch = explode_spans(given)
    keys = list(zip(batch.key_hi.tolist(), batch.key_lo.tolist(), strict=True))
    assert keys[:3] == keys[3:6]
    assert keys[0] == keys[2] != keys[1]
    assert keys[6] == (given.key_hi[2], given.key_lo[2])
    other = explode_spans(batch_of([b"{}", line_of(span("a"))]))
    assert (other.key_hi[1], other.key_lo[1]) != keys[0]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"resourceSpans": [', "not_json"),
        (b'{"resourceSpans": NaN}', "not_json"),
        (b"[1]", "not_an_object"),
        (b'{"resourceSpans": []}', None),
        (b'{"resourceLogs": [{}]}', None),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": []}]}]}', None),
        (line_of(span()).replace(b'"name"', b'"traceId"') + b"}", "not_json"),
        (b"[" + line_of(span()).replace(b'"name"', b'"traceId"') + b"]", "not_an_object"),
        (line_of(span()).replace(b'"name"', b'"traceId"'), "repeated_field"),
        (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not_json"),
        (b'{"x": ' + b"9" * 10_000 + b"}", None),
    ],
)
def test_a_line_without_spans_stays_as_it_is(line, fault):
    batch = explode(line)
    assert [batch.record(i) for i in range(len(batch))] == [line]
    assert faults_of(batch) == [fault]


@pytest.mark.parametrize(
    "line",
    [
        b'{"resourceSpans": 1}',
        b'{"resourceSpans": [null]}',
        b'{"resourceSpans": [{"scopeSpans": {"spans": []}}]}',
        b'{"resourceSpans": [{"scopeSpans": [7]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": "secret"}]}]}',
        line_of("secret"),
        line_of(span(attributes="secret")),
        line_of(span(attributes=["secret"])),
        line_of(span(attributes=[{"value": {}}])),
        line_of(span(), resource="secret"),
    ],
)
def test_what_is_malformed_is_a_bad_record_beside_the_others(line):
    value = json.loads(line)
    for root in ("resourceSpans", "resource_spans"):
        assert faults_of(explode(json.dumps({root: value["resourceSpans"]}).encode())) == ["not_an_object"]
    if isinstance(value["resourceSpans"], list):
        value["resourceSpans"].append(json.loads(line_of(span()))["resourceSpans"][0])
        batch = explode(json.dumps(value).encode())
        assert faults_of(batch) == ["not_an_object", None]
        assert b"secret" not in batch.data.tobytes()


def test_an_attribute_that_is_there_twice_is_a_repeated_field():
    twice = [*attributes(gen_ai__usage__input_tokens={"intValue": "5"})] * 2
    fields = JsonReader(OTLP.mapping.paths()).prepare(explode(line_of(span(attributes=twice))))()
    assert [FAULTS[code] for code in fields.fault] == ["repeated_field"]


def test_lines_with_a_fault_are_left_alone():
    lines = [line_of(span("a")), line_of(span("b"))]
    batch = explode_spans(batch_of(lines, fault=[2]))
    assert batch.fault.tolist() == [2, 0]
    assert batch.record(0) == lines[0]


def test_nothing_else_passes():
    secret = {"stringValue": "secret"}
    texts = attributes(
        gen_ai__input__messages=secret,
        gen_ai__prompt=secret,
        gen_ai__usage=secret,
        llm__prompts__0__content=secret,
        gen_ai__usage__note={"kvlistValue": {"values": [{"key": "secret", "value": secret}]}},
        gen_ai__usage__bytes={"bytesValue": "secret"},
        resource__service__name=secret,
    )
    noted = {"events": [{"name": "secret", "attributes": texts}], "links": [{"attributes": texts}], "secret": 1}
    line = line_of(span(attributes=texts, status={"message": "secret"}, **noted), resource={"attributes": texts})
    assert b"secret" not in explode(line).data.tobytes()


def test_all_that_the_format_reads_passes():
    own = {"id", "parent", "name", "startTimeUnixNano", "endTimeUnixNano", "status.code"}
    for path in OTLP.mapping.paths():
        assert path in own | SPAN_ATTRIBUTES | {f"resource.{key}" for key in RESOURCE_ATTRIBUTES} or path.startswith(
            SPAN_ATTRIBUTE_PREFIXES
        )


def test_the_sample_loses_no_span():
    lines = [line for line in SAMPLE.read_bytes().splitlines() if line.strip()]
    batch = explode(*lines)
    n_spans = sum(line.count(b'"startTimeUnixNano"') for line in lines)
    assert (batch.start < batch.end).all()
    assert np.unique(batch.line_number).tolist() == list(range(1, len(lines) + 1))
    assert sum(b'"startTimeUnixNano"' in batch.record(i) for i in range(len(batch))) == n_spans
