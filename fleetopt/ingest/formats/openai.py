"""Usage records of APIs that are compatible with OpenAI's: responses, logged one a line, with their ``usage``.

Read from gateways' source. Chat and text completions (``prompt_tokens``, ``created``) and responses (``input_tokens``,
``created_at``), at the top of the line, below ``response``, or below ``response.body`` as in the output of batches.
Unverified, and read leniently: the values of ``status``, ``user`` as the tenant. ``created`` is in whole seconds and
has no end beside it, so there are no latencies.

Of a streamed answer only the last piece has a usage, and only when it was asked for; lines without one are counted as
other lines, since they cannot be told from those pieces. Where every piece has one (``continuous_usage_stats``), they
have one id, and count as one request with the lengths of whichever comes first: log the last piece only.
"""

from typing import Final

from fleetopt.ingest.formats.definition import JsonLines, LogFormat, Sample
from fleetopt.ingest.formats.sample import any_object_has
from fleetopt.ingest.mapping import Condition, Mapping, Paths, StatusField, TimeField

_PLACES: Final = ("", "response.", "response.body.")


def _paths(*names: str) -> Paths:
    return tuple(place + name for name in names for place in _PLACES)


def _recognises(sample: Sample) -> bool:
    return any(
        any_object_has(sample, place + time, place + usage, without=("call_type", "rid"))
        for place in _PLACES
        for time, usage in (("created", "usage.prompt_tokens"), ("created_at", "usage.input_tokens"))
    )


OPENAI_USAGE = LogFormat(
    name="openai-usage",
    description="Responses of an OpenAI-compatible API with their usage",
    example='{"id": "chatcmpl-7f3a", "object": "chat.completion", "created": 1791187200, "model": "llama", "usage": '
    '{"prompt_tokens": 743, "completion_tokens": 211, "prompt_tokens_details": {"cached_tokens": 512}}}',
    container=JsonLines(),
    mapping=Mapping(
        time=TimeField(paths=_paths("created", "created_at"), unit="s"),
        prompt_tokens=_paths("usage.prompt_tokens", "usage.input_tokens"),
        output_tokens=_paths("usage.completion_tokens", "usage.output_tokens"),
        cached_tokens=_paths("usage.prompt_tokens_details.cached_tokens", "usage.input_tokens_details.cached_tokens"),
        request_id=("response.body.id", "response.id", "id"),
        model=_paths("model"),
        tenant=_paths("user"),
        finish_reason=_paths("choices.0.finish_reason", "incomplete_details.reason"),
        status=StatusField(
            paths=_paths("status"),
            served=("completed", "incomplete", "success", "200"),
            failed=("failed",),
            aborted=("cancelled",),
        ),
        error=_paths("error"),
        only_when=(Condition(paths=_paths("usage")),),
    ),
    holds_text=True,
    recognises=_recognises,
)
