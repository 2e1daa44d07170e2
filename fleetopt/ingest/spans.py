"""Lines of OTLP JSON, each of many spans, to records of one span: flat objects without any text.

Attributes and events of spans can hold prompts and responses. What is named here is let through, nothing else.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Final, NamedTuple

import numpy as np

from fleetopt.ingest.records import FAULT_CODE, Batch

SPAN_ATTRIBUTES: Final = frozenset(
    {
        "enduser.id",
        "error.type",
        "gen_ai.conversation.id",
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.id",
        "gen_ai.request.max_tokens",
        "gen_ai.request.model",
        "gen_ai.response.finish_reasons",
        "gen_ai.response.id",
        "gen_ai.response.model",
        "gen_ai.system",
        "session.id",
        "user.id",
    }
)
SPAN_ATTRIBUTE_PREFIXES: Final = ("gen_ai.usage.", "gen_ai.latency.")
RESOURCE_ATTRIBUTES: Final = frozenset(
    {"deployment.environment", "deployment.environment.name", "service.name", "service.namespace", "service.version"}
)

_ROOTS: Final = ("resourceSpans", "resource_spans")
_SCOPES: Final = ("scopeSpans", "scope_spans", "instrumentationLibrarySpans", "instrumentation_library_spans")
_IDS: Final = (("traceId", "trace_id"), ("spanId", "span_id"), ("parentSpanId", "parent_span_id"))
_TIMES: Final = (
    ("startTimeUnixNano", ("startTimeUnixNano", "start_time_unix_nano")),
    ("endTimeUnixNano", ("endTimeUnixNano", "end_time_unix_nano")),
)
_NO_SPAN: Final = "null"
"""What a span that cannot be read becomes: a record that is no object."""
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")
_NO_FRACTION: Final = re.compile(r"\.0+$")
_NO_ID: Final = re.compile(r"0*")
_HASH_BYTES: Final = 16


class _Number(str):
    """A JSON number as it is written."""

    __slots__ = ()


class _MalformedError(ValueError):
    """A span, or what should hold spans, is not what OTLP says."""


class _RepeatedFieldError(Exception):
    """An object names a field twice. Not a `ValueError`, which is how the decoder says that it is no JSON."""


class _Record(NamedTuple):
    content: bytes
    line: int
    """Position of its line in the given batch."""
    number: int
    key: bytes
    fault: int


def explode_spans(batch: Batch) -> Batch:
    """Make a record of each span of each line.

    A record is a flat object: ``id`` ("trace/span"), ``parent`` ("trace/parent span"), ``name``, ``kind``,
    ``startTimeUnixNano``, ``endTimeUnixNano``, ``status.code``, the attributes of `SPAN_ATTRIBUTES` and
    `SPAN_ATTRIBUTE_PREFIXES` by their keys, and those of `RESOURCE_ATTRIBUTES` by ``resource.`` and their keys. Lines
    may be in camelCase, as OTLP has them, or snake_case; integers are numbers, whether OTLP quotes them or not.

    A line of no spans, or that is no JSON, stays one record as it is; and so does one in which an object names a field
    twice, with the fault ``repeated_field``. A span, or a list of them, that is malformed becomes a record that is no
    object.

    Parameters
    ----------
    batch : Batch
        A line is a record.

    Returns
    -------
    Batch
        The place of a record is that of its line, ``record_number`` counts the spans of a line. Its key is a hash of
        its bytes (BLAKE2b) under the key of its line: the same in equal lines; in other lines, ids tell equal spans.
    """
    records: list[_Record] = []
    for i in range(len(batch)):
        line, fault = batch.record(i), int(batch.fault[i])
        line_key = batch.key_hi[i].tobytes() + batch.key_lo[i].tobytes()
        spans: list[str] = []
        if fault == 0:
            try:
                spans = _flat_spans(line)
            except _RepeatedFieldError:
                fault = FAULT_CODE["repeated_field"]
        if not spans:
            records.append(_Record(line, i, 1, line_key, fault))
        for number, span in enumerate(spans, start=1):
            text = span.encode()
            key = hashlib.blake2b(text, key=line_key, digest_size=_HASH_BYTES).digest()
            records.append(_Record(text, i, number, key, 0))
    return _batch(records, batch) if records else batch


def _batch(records: list[_Record], lines: Batch) -> Batch:
    content, of_line, numbers, keys, faults = zip(*records, strict=True)
    end = np.cumsum([len(each) for each in content], dtype=np.int64)
    origins = np.array(of_line)
    hashes = np.frombuffer(b"".join(keys), np.int64).reshape(-1, 2)
    return Batch(
        data=np.frombuffer(b"".join(content), np.uint8),
        start=np.concatenate(([0], end[:-1])),
        end=end,
        line_number=lines.line_number[origins],
        record_number=np.array(numbers, np.int32),
        byte_offset=lines.byte_offset[origins],
        byte_length=lines.byte_length[origins],
        key_hi=hashes[:, 0].copy(),
        key_lo=hashes[:, 1].copy(),
        fault=np.array(faults, np.uint8),
        n_lines=lines.n_lines,
    )


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _RepeatedFieldError
    return fields


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique_fields, parse_int=_Number, parse_float=_Number, parse_constant=_refuse_constant
)
_LENIENT_DECODER: Final = json.JSONDecoder(parse_int=_Number, parse_float=_Number, parse_constant=_refuse_constant)


def _flat_spans(line: bytes) -> list[str]:
    """Make a flat object of every span of a line; none if it has none or is no JSON."""
    try:
        value = _decode(line.decode())
    except (ValueError, RecursionError):
        return []
    return list(_spans(value)) if isinstance(value, dict) else []


def _decode(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except _RepeatedFieldError:
        # It is raised before the rest of the line is read, which may show that this is no JSON object at all.
        if isinstance(_LENIENT_DECODER.decode(text), dict):
            raise
        return None


def _spans(line: dict[str, Any]) -> Iterator[str]:
    for resource in _elements(line, *_ROOTS):
        described = _get(resource, "resource") if isinstance(resource, dict) else None
        for scope in _elements(resource, *_SCOPES):
            for span in _elements(scope, "spans"):
                try:
                    yield "{" + ",".join([*_span_fields(span), *_attributes(described or {}, "resource.")]) + "}"
                except _MalformedError:
                    yield _NO_SPAN


def _span_fields(span: Any) -> Iterator[str]:
    if not isinstance(span, dict):
        raise _MalformedError
    trace, own, parent = (_id(span, *names) for names in _IDS)
    if trace and own:
        yield f'"id":{quoted(f"{trace}/{own}")}'
    if trace and parent:
        yield f'"parent":{quoted(f"{trace}/{parent}")}'
    for key in ("name", "kind"):
        if (text := _scalar(_get(span, key))) is not None:
            yield f'"{key}":{text}'
    for key, names in _TIMES:
        if (text := _integer(_get(span, *names))) is not None:
            yield f'"{key}":{text}'
    status = _get(span, "status")
    if isinstance(status, dict) and (text := _scalar(_get(status, "code"))) is not None:
        yield f'"status.code":{text}'
    yield from _attributes(span)


def _attributes(holder: Any, prefix: str = "") -> Iterator[str]:
    """Write the attributes that are let through; those that are there twice, twice."""
    for attribute in _elements(holder, "attributes"):
        key = _get(attribute, "key") if isinstance(attribute, dict) else None
        if not isinstance(key, str):
            raise _MalformedError
        is_wanted = key in RESOURCE_ATTRIBUTES if prefix else _is_let_through(key)
        if is_wanted and (text := _attribute_value(_get(attribute, "value"))) is not None:
            yield f"{quoted(prefix + key)}:{text}"


def _is_let_through(key: str) -> bool:
    return key in SPAN_ATTRIBUTES or key.startswith(SPAN_ATTRIBUTE_PREFIXES)


def _attribute_value(value: Any) -> str | None:
    """Write an OTLP value as JSON; None for kinds that no wanted attribute has."""
    if not isinstance(value, dict):
        return None
    if (text := value.get("stringValue")) is not None:
        return _scalar(text)
    if (number := _get(value, "intValue", "int_value")) is not None:
        return _integer(number)
    if (number := _get(value, "doubleValue", "double_value")) is not None:
        return _NO_FRACTION.sub("", number) if isinstance(number, _Number) else _scalar(number)
    if isinstance(array := _get(value, "arrayValue", "array_value"), dict):
        inner = (_attribute_value(each) for each in _elements(array, "values"))
        return f"[{','.join(text for text in inner if text is not None)}]"
    return _scalar(_get(value, "boolValue", "string_value", "bool_value"))


def _integer(value: Any) -> str | None:
    """Write an integer as JSON, without the quotes that OTLP puts around those of 64 bits."""
    return value if isinstance(value, str) and _INTEGER.fullmatch(value) else _scalar(value)


def _scalar(value: Any) -> str | None:
    """Write a value as JSON; None for null, objects and arrays."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, _Number):
        return value
    return quoted(value) if isinstance(value, str) else None


def _id(span: dict[str, Any], *names: str) -> str | None:
    """Return an id; None if there is none, which zeros mean too."""
    value = _get(span, *names)
    return value if isinstance(value, str) and not _NO_ID.fullmatch(value) else None


def _get(holder: dict[str, Any], *names: str) -> Any:
    """Return the first value that is there and not null."""
    for name in names:
        value = holder.get(name)
        if value is not None:
            return value
    return None


def _elements(holder: Any, *names: str) -> list[Any]:
    """Return all that the lists of an object hold; of what is malformed, one element that is malformed too."""
    if not isinstance(holder, dict):
        return [None]
    elements: list[Any] = []
    for name in names:
        value = holder.get(name)
        if value is not None:
            elements += value if isinstance(value, list) else [None]
    return elements
