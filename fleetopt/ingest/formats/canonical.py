"""Our own ``requests.parquet``, as `fleetopt ingest` writes it (`fleetopt.schemas.TRACE_SCHEMA`).

Tenants and sessions are hashes already and are hashed again. The rows have no ids, so rows that are alike in every
column count as one, as everywhere.
"""

from fleetopt.ingest.formats.definition import JsonLines, LogFormat
from fleetopt.ingest.formats.sample import any_object_has
from fleetopt.ingest.mapping import DurationField, Mapping, TimeField

FLEETOPT = LogFormat(
    name="fleetopt",
    description="requests.parquet of `fleetopt ingest`",
    example='{"arrival_time": "2026-10-05T08:00:00.352183Z", "arrival_s": 0.0, "prompt_tokens": 743, '
    '"output_tokens": 211, "archetype": "chat", "ttft_s": 0.452, "model": "llama"}',
    container=JsonLines(),
    mapping=Mapping(
        time=TimeField(paths=("arrival_time",)),
        prompt_tokens=("prompt_tokens",),
        output_tokens=("output_tokens",),
        cached_tokens=("cached_tokens",),
        e2e=DurationField(paths=("e2e_s",)),
        ttft=DurationField(paths=("ttft_s",)),
        queue=DurationField(paths=("queue_s",)),
        model=("model",),
        tenant=("tenant",),
        session=("session",),
        finish_reason=("finish_reason",),
        archetype=("archetype",),
    ),
    holds_text=True,
    recognises=lambda sample: any_object_has(sample, "arrival_time", "arrival_s", "prompt_tokens", "output_tokens"),
)
