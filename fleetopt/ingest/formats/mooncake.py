"""Mooncake traces (Qin et al., FAST 2025) and the superset that AIPerf reads: JSON lines with a relative clock.

Seen as files (Mooncake) and in source (AIPerf's models of 2025-10). AIPerf adds ``text_input``, ``delay`` and
``session_id``, and lets lines do without ``timestamp`` or ``output_length``. A line without them is quarantined: a
``delay`` counts from the answer before, so only a replay would say when the request came. No raw line is ever kept,
since it may hold the prompt.
"""

from fleetopt.ingest.formats.definition import JsonLines, LogFormat
from fleetopt.ingest.formats.sample import any_object_has
from fleetopt.ingest.mapping import Mapping, TimeField

MOONCAKE = LogFormat(
    name="mooncake",
    description="Mooncake traces, and those of AIPerf: milliseconds from a declared start",
    example='{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, 48]}',
    container=JsonLines(),
    mapping=Mapping(
        time=TimeField(paths=("timestamp",), unit="ms", is_relative=True),
        prompt_tokens=("input_length",),
        output_tokens=("output_length",),
        session=("session_id",),
    ),
    holds_text=True,
    recognises=lambda sample: any_object_has(sample, "timestamp", "input_length", without=("chat_id",)),
)
