"""Qwen-Bailian traces (Alibaba, 2025): JSON lines with a relative clock in seconds.

Known from their description. ``chat_id`` numbers the requests of one file and starts again in the next, so that it
tells nothing of repeats once files are joined; it is not used as an id. ``type`` becomes the traffic class.
"""

from fleetopt.ingest.formats.definition import JsonLines, LogFormat
from fleetopt.ingest.formats.sample import any_object_has
from fleetopt.ingest.mapping import Mapping, TimeField

QWEN_BAILIAN = LogFormat(
    name="qwen-bailian",
    description="Qwen-Bailian traces of Alibaba: seconds from a declared start",
    example='{"chat_id": 159, "parent_chat_id": -1, "timestamp": 61.114, "input_length": 521, "output_length": 132, '
    '"type": "text", "turn": 1, "hash_ids": [1089, 1090]}',
    container=JsonLines(),
    mapping=Mapping(
        time=TimeField(paths=("timestamp",), unit="s", is_relative=True),
        prompt_tokens=("input_length",),
        output_tokens=("output_length",),
        archetype=("type",),
    ),
    holds_text=True,
    recognises=lambda sample: any_object_has(sample, "chat_id", "timestamp", "input_length"),
)
