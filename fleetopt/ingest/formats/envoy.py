"""Envoy AI Gateway: its access log as JSON lines.

Known second-hand, from documents that quote its example configuration. Keys hold dots and are flat; ``duration`` is in
milliseconds. Unverified, and read leniently: a value that Envoy does not have is printed as ``-`` or null, and a number
as number or text. Lines that name neither model nor tokens are of other routes, and are counted as other lines.
``llmRequestCosts`` has to be configured for tokens to be logged; lines without them are quarantined.
"""

from fleetopt.ingest.formats.definition import JsonLines, LogFormat
from fleetopt.ingest.formats.sample import any_object_has
from fleetopt.ingest.mapping import Condition, DurationField, Mapping, StatusField, TimeField

ENVOY_AI_GATEWAY = LogFormat(
    name="envoy-ai-gateway",
    description="Envoy AI Gateway's access log",
    example='{"start_time": "2026-10-05T08:00:00.352Z", "response_code": 200, "duration": 3766, '
    '"gen_ai.request.model": "llama", "gen_ai.usage.input_tokens": "743", "gen_ai.usage.output_tokens": "211"}',
    container=JsonLines(),
    mapping=Mapping(
        time=TimeField(paths=("start_time",)),
        e2e=DurationField(paths=("duration",), unit="ms"),
        prompt_tokens=("gen_ai.usage.input_tokens",),
        output_tokens=("gen_ai.usage.output_tokens",),
        cached_tokens=("gen_ai.usage.cached_input_tokens",),
        model=("gen_ai.response.model", "gen_ai.request.model"),
        session=("session.id",),
        status=StatusField(paths=("response_code",), is_http=True),
        only_when=(Condition(paths=("gen_ai.request.model", "gen_ai.response.model", "gen_ai.usage.input_tokens")),),
        null_values=("-",),
        numbers_as_text=True,
    ),
    holds_text=True,
    recognises=lambda sample: any_object_has(
        sample, "start_time", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"
    ),
)
