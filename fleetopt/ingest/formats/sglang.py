"""SGLang: its request log as JSON lines, and the file of its metrics export.

Read from source (request_logger.py, request_metrics_exporter.py, req_time_stats.py). The request log
(``--log-requests --log-requests-format json``) has the local time of the server without a zone, at the finish of a
request; the duration beside it gives the arrival. Only its finish events count, the others are other lines.
``SGLANG_LOG_REQUEST_EXCEEDED_MS`` leaves out fast requests, and nothing in the log shows it: plan nothing from those.

The export (``--export-metrics-to-file``) has times only from versions and settings (``--enable-metrics``) that write
``request_received_ts``; without them only the file's name says the hour, and such files are refused.
"""

from fleetopt.ingest.formats.definition import JsonLines, LogFormat
from fleetopt.ingest.formats.sample import any_object_has, any_object_is
from fleetopt.ingest.mapping import Condition, DurationField, Mapping, StatusField, TimeField


def _status(path: str) -> StatusField:
    return StatusField(paths=(path,), served=("stop", "length"), aborted=("abort",))


SGLANG_REQUESTS = LogFormat(
    name="sglang-requests",
    description="SGLang's request log in JSON",
    example='{"timestamp": "2026-10-05T08:00:04.118201", "event": "request.finished", "rid": "7f3a", "out": '
    '{"meta_info": {"prompt_tokens": 743, "completion_tokens": 211, "cached_tokens": 512, "e2e_latency": 3.766, '
    '"finish_reason": {"type": "stop"}}}}',
    container=JsonLines(),
    mapping=Mapping(
        time=TimeField(paths=("timestamp",)),
        time_is="finish",
        e2e=DurationField(paths=("out.meta_info.e2e_latency",)),
        queue=DurationField(paths=("out.meta_info.queue_time",)),
        prompt_tokens=("out.meta_info.prompt_tokens",),
        output_tokens=("out.meta_info.completion_tokens",),
        cached_tokens=("out.meta_info.cached_tokens",),
        request_id=("rid", "out.meta_info.id"),
        finish_reason=("out.meta_info.finish_reason.type",),
        status=_status("out.meta_info.finish_reason.type"),
        only_when=(Condition(paths=("event",), values=("request.finished",)),),
    ),
    holds_text=True,
    recognises=lambda sample: (
        any_object_has(sample, "timestamp", "rid")
        and any_object_is(sample, "event", "request.received", "request.received.openai", "request.finished")
    ),
)

SGLANG_METRICS = LogFormat(
    name="sglang-metrics",
    description="SGLang's metrics export, where it has request_received_ts",
    example='{"request_parameters": "{}", "id": "7f3a", "prompt_tokens": 743, "completion_tokens": 211, '
    '"cached_tokens": 512, "request_received_ts": 1791187200.352, "e2e_latency": 3.766, '
    '"finish_reason": {"type": "stop"}}',
    container=JsonLines(),
    mapping=Mapping(
        time=TimeField(paths=("request_received_ts",), unit="s"),
        finish_time=TimeField(paths=("request_finished_ts", "decode_finished_ts"), unit="s"),
        first_token_time=TimeField(paths=("prefill_finished_ts", "prefill_finished_time"), unit="s"),
        e2e=DurationField(paths=("e2e_latency",)),
        queue=DurationField(paths=("queue_time",)),
        prompt_tokens=("prompt_tokens",),
        output_tokens=("completion_tokens",),
        cached_tokens=("cached_tokens",),
        request_id=("id",),
        finish_reason=("finish_reason.type",),
        status=_status("finish_reason.type"),
    ),
    holds_text=True,
    recognises=lambda sample: any_object_has(sample, "request_parameters", "prompt_tokens", "request_received_ts"),
)
