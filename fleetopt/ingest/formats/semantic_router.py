"""vLLM Semantic Router: the events of its log, and its replay records.

Read from source (commit 3d48f8c9). Of the log, ``llm_usage`` lines are requests, at their finish: the time has no zone,
and the latency beside it gives the arrival. ``routing_decision`` lines name the decision, which becomes the traffic
class of the request with the same id, wherever in the files that line stands. All other events are other lines. A
request that the semantic cache answered never reached a GPU.

A replay record is written when a request comes and again as it ends: those that are not finished are other lines. A
length that is absent is unknown. Records can hold prompts and answers; no raw line is ever kept.
"""

from fleetopt.ingest.formats.definition import JsonLines, LogFormat
from fleetopt.ingest.formats.sample import any_object_has, any_object_is
from fleetopt.ingest.mapping import Condition, DurationField, Mapping, StatusField, TimeField

SEMANTIC_ROUTER_EVENTS = LogFormat(
    name="semantic-router-events",
    description="Log of vLLM's Semantic Router: usage and decisions, joined by id",
    example='{"ts": "2026-10-05T08:00:04.118", "level": "info", "event": "llm_usage", "request_id": "7f3a", '
    '"model": "llama", "prompt_tokens": 743, "cached_prompt_tokens": 512, "completion_tokens": 211, '
    '"completion_latency_ms": 3766}',
    container=JsonLines(),
    mapping=Mapping(
        time=TimeField(paths=("ts",)),
        time_is="finish",
        e2e=DurationField(paths=("completion_latency_ms",), unit="ms"),
        prompt_tokens=("prompt_tokens",),
        output_tokens=("completion_tokens",),
        cached_tokens=("cached_prompt_tokens",),
        request_id=("request_id",),
        model=("model",),
        archetype=("decision",),
        cache_hit=("from_cache", "cache_hit"),
        only_when=(Condition(paths=("event",), values=("llm_usage",)),),
        note_when=(Condition(paths=("event",), values=("routing_decision",)),),
    ),
    holds_text=True,
    recognises=lambda sample: (
        any_object_has(sample, "ts", "request_id") and any_object_is(sample, "event", "llm_usage", "routing_decision")
    ),
)

_FINISHED = ("completed", "aborted", "failed")

SEMANTIC_ROUTER_REPLAY = LogFormat(
    name="semantic-router-replay",
    description="Replay records of vLLM's Semantic Router",
    example='{"id": "replay-1", "timestamp": "2026-10-05T08:00:00.352Z", "request_id": "7f3a", "decision": "code", '
    '"selected_model": "llama", "lifecycle_state": "completed", "duration_ms": 3766, "prompt_tokens": 743, '
    '"completion_tokens": 211}',
    container=JsonLines(),
    mapping=Mapping(
        time=TimeField(paths=("timestamp",)),
        finish_time=TimeField(paths=("ended_at",)),
        e2e=DurationField(paths=("duration_ms",), unit="ms"),
        prompt_tokens=("prompt_tokens",),
        output_tokens=("completion_tokens",),
        cached_tokens=("cached_prompt_tokens",),
        request_id=("request_id", "id"),
        model=("selected_model",),
        session=("session_id", "conversation_id"),
        archetype=("decision", "category"),
        status=StatusField(paths=("lifecycle_state",), served=("completed",), failed=("failed",), aborted=("aborted",)),
        cache_hit=("from_cache",),
        only_when=(Condition(paths=("lifecycle_state",), values=("", *_FINISHED)),),
    ),
    holds_text=True,
    recognises=lambda sample: (
        any_object_has(sample, "timestamp", "request_id", "selected_model")
        and any_object_is(sample, "lifecycle_state", "unknown", "in_progress", *_FINISHED)
    ),
)
