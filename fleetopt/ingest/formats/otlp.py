"""OpenTelemetry spans of the GenAI conventions, as OTLP JSON: a line holds many spans, each becomes a record.

Attribute names are read from the conventions (semantic-conventions, gen-ai-spans, status Development), those before
1.37 and those of vLLM's own spans from source (vllm/tracing.py), so that old and new names both do. Unverified, and
read leniently: names of the tokens that a cache gave, numbers where OTLP has text and the reverse (both occur), span
status by number or name. vLLM's spans have no operation name; a span without one is about a generation if it has token
counts or vLLM's latency. A generation without token counts, which the conventions allow, is quarantined unless it
failed.

Spans nest: an agent's holds those of its calls, a gateway's that of the engine. Only the innermost span about a
generation is a request: one that is the parent of another is none of its own. A span of another kind between the two,
such as that of an HTTP client, hides that they belong together, and both count: then ingest the spans of one service.

Attributes and events can hold prompts; `explode_spans` lets through only the attributes that are named there.
"""

import re
from typing import Final

from fleetopt.ingest.formats.definition import JsonLines, LogFormat, Sample
from fleetopt.ingest.formats.sample import any_object_has
from fleetopt.ingest.mapping import Condition, DurationField, Mapping, StatusField, TimeField
from fleetopt.ingest.spans import explode_spans

_FIRST_KEY: Final = re.compile(rb'\s*\{\s*"resource_?[sS]pans"\s*:')

_INPUT: Final = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
_OUTPUT: Final = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")

_MAPPING: Final = Mapping(
    time=TimeField(paths=("startTimeUnixNano",), unit="ns"),
    finish_time=TimeField(paths=("endTimeUnixNano",), unit="ns"),
    prompt_tokens=_INPUT,
    output_tokens=_OUTPUT,
    cached_tokens=("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens"),
    e2e=DurationField(paths=("gen_ai.latency.e2e",)),
    ttft=DurationField(paths=("gen_ai.latency.time_to_first_token",)),
    queue=DurationField(paths=("gen_ai.latency.time_in_queue",)),
    request_id=("id",),
    parent_id=("parent",),
    model=("gen_ai.response.model", "gen_ai.request.model"),
    tenant=("enduser.id", "user.id"),
    session=("gen_ai.conversation.id", "session.id"),
    finish_reason=("gen_ai.response.finish_reasons",),
    status=StatusField(
        paths=("status.code",),
        served=("0", "1", "STATUS_CODE_UNSET", "STATUS_CODE_OK"),
        failed=("2", "STATUS_CODE_ERROR"),
    ),
    error=("error.type",),
    only_when=(
        Condition(paths=("gen_ai.operation.name",), values=("chat", "text_completion", "generate_content", "")),
        Condition(paths=("gen_ai.operation.name", *_INPUT, *_OUTPUT, "gen_ai.latency.e2e")),
    ),
    numbers_as_text=True,
)


def _recognises(sample: Sample) -> bool:
    # One line can be longer than the sample, and is then no JSON: its first key has to do.
    return any(any_object_has(sample, key) for key in ("resourceSpans", "resource_spans")) or any(
        _FIRST_KEY.match(line) for line in sample.lines
    )


OTLP = LogFormat(
    name="otlp",
    description="OpenTelemetry GenAI spans as OTLP JSON, and those of vLLM",
    example='{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "5b8e", "spanId": "051c", "name": "chat llama", '
    '"startTimeUnixNano": "1791187200000000000", "endTimeUnixNano": "1791187202100000000", "attributes": '
    '[{"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}, '
    '{"key": "gen_ai.usage.input_tokens", "value": {"intValue": "1200"}}, '
    '{"key": "gen_ai.usage.output_tokens", "value": {"intValue": "87"}}]}]}]}]}',
    container=JsonLines(),
    mapping=_MAPPING,
    holds_text=True,
    recognises=_recognises,
    explode=explode_spans,
)
