r"""LiteLLM: exports of the table SpendLogs, and the standard logging payload that its callbacks write.

The table's columns are read from its schema (litellm schema.prisma), the payload's fields from the documentation.
Unverified, and read leniently: how a client exports the table (CSV with quotes, times without zone, NULL as ``None``,
``NULL`` or ``\N``, or Parquet; `Mapping.null_values`), the values of ``status`` (success, failure), and what else
``call_type`` may be: only the kinds below count, others, such as embeddings, are other lines. A call without a kind
counts, as failed calls can have none.

A length of zero is the table's default, so it means that the call failed or was not metered: such a call is no demand.
``completionStartTime`` is the end of a call that was not streamed: its time to first token is then the end-to-end time.
Tenants are teams, else organizations, users, keys.
"""

from typing import Final

from fleetopt.ingest.formats.definition import Csv, JsonLines, LogFormat
from fleetopt.ingest.formats.sample import any_object_has, names_header
from fleetopt.ingest.mapping import Condition, DurationField, Mapping, StatusField, TimeField

_GENERATES: Final = Condition(
    paths=("call_type",),
    values=(
        "",
        "completion",
        "acompletion",
        "text_completion",
        "atext_completion",
        "responses",
        "aresponses",
        "anthropic_messages",
        "generate_content",
        "agenerate_content",
        "generate_content_stream",
        "agenerate_content_stream",
        "pass_through_endpoint",
        "llm_passthrough_route",
        "allm_passthrough_route",
    ),
)
_STATUS: Final = StatusField(paths=("status",), served=("success",), failed=("failure", "failed", "error"))

_SPEND = Csv(header=("request_id", "call_type", "startTime", "prompt_tokens", "completion_tokens"), quoted=True)

LITELLM_SPEND = LogFormat(
    name="litellm-spend",
    description="LiteLLM's table SpendLogs, exported as CSV or Parquet",
    example="request_id,call_type,startTime,endTime,model_group,prompt_tokens,completion_tokens,cache_hit,status\n"
    'chatcmpl-7f3a,acompletion,2026-10-05 08:00:00.352,2026-10-05 08:00:04.118,"llama",743,211,False,success',
    container=_SPEND,
    mapping=Mapping(
        time=TimeField(paths=("startTime",)),
        finish_time=TimeField(paths=("endTime",)),
        first_token_time=TimeField(paths=("completionStartTime",)),
        e2e=DurationField(paths=("request_duration_ms",), unit="ms"),
        prompt_tokens=("prompt_tokens",),
        output_tokens=("completion_tokens",),
        request_id=("request_id",),
        model=("model_group", "model"),
        tenant=("team_id", "organization_id", "user", "api_key"),
        session=("session_id",),
        status=_STATUS,
        cache_hit=("cache_hit",),
        only_when=(_GENERATES,),
        zero_tokens="failed",
        missing_tokens="failed",
        null_values=("None", "NULL", "null", "\\N"),
        numbers_as_text=True,
    ),
    holds_text=True,
    recognises=lambda sample: names_header(sample, _SPEND) or any_object_has(sample, *_SPEND.header),
)

LITELLM_PAYLOAD = LogFormat(
    name="litellm-payload",
    description="LiteLLM's standard logging payload, a JSON object a line",
    example='{"id": "chatcmpl-7f3a", "call_type": "acompletion", "status": "success", "model_group": "llama", '
    '"prompt_tokens": 743, "completion_tokens": 211, "startTime": 1791187200.352, "endTime": 1791187204.118, '
    '"completionStartTime": 1791187200.804, "cache_hit": false}',
    container=JsonLines(),
    mapping=Mapping(
        time=TimeField(paths=("startTime",), unit="s"),
        finish_time=TimeField(paths=("endTime",), unit="s"),
        first_token_time=TimeField(paths=("completionStartTime",), unit="s"),
        prompt_tokens=("prompt_tokens",),
        output_tokens=("completion_tokens",),
        cached_tokens=("metadata.usage_object.prompt_tokens_details.cached_tokens",),
        request_id=("id",),
        model=("model_group", "model"),
        tenant=(
            "metadata.user_api_key_team_id",
            "metadata.user_api_key_org_id",
            "metadata.user_api_key_user_id",
            "metadata.user_api_key_hash",
        ),
        status=_STATUS,
        cache_hit=("cache_hit",),
        only_when=(_GENERATES,),
        zero_tokens="failed",
        missing_tokens="failed",
    ),
    holds_text=True,
    recognises=lambda sample: any_object_has(
        sample, "id", "call_type", "startTime", "prompt_tokens", without=("request_id",)
    ),
)
