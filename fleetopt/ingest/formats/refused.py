"""Logs that are recognised only to say why they cannot be used, and what to log instead."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fleetopt.ingest.formats.definition import Sample
from fleetopt.ingest.formats.sample import any_object_has


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedFormat:
    """A log that does not hold what is needed.

    Attributes
    ----------
    name : str
    advice : str
        One sentence: why, and what to turn on instead.
    recognises : callable
        Whether a file begins like this.
    """

    name: str
    advice: str
    recognises: Callable[[Sample], bool]


def _any_line(pattern: bytes) -> Callable[[Sample], bool]:
    expression = re.compile(pattern)
    return lambda sample: any(expression.search(line) for line in sample.lines)


_VLLM: Final = (
    rb"\b[A-Z]+ \d\d-\d\d \d\d:\d\d:\d\d \[[\w.]+:\d+\] "
    rb"(?:Received request |Added request |Generated response |Engine \d+: Avg prompt throughput|Avg prompt throughput)"
)

_REFUSED: Final = (
    RefusedFormat(
        name="vllm",
        advice="the text log of vLLM has no token counts; start vLLM with --otlp-traces-endpoint and ingest the spans "
        "that the collector's file exporter writes (format 'otlp'), or log the usage of responses at the gateway "
        "(format 'openai-usage')",
        recognises=_any_line(_VLLM),
    ),
    RefusedFormat(
        name="tgi",
        advice="the text log of Text Generation Inference has no token counts; log the usage of its responses at the "
        "gateway (format 'openai-usage')",
        recognises=_any_line(rb"\b(?:text_generation_router|text_generation_launcher)\b"),
    ),
    RefusedFormat(
        name="sglang-text",
        advice="the text log of SGLang cuts its fields short; start SGLang with --log-requests "
        "--log-requests-format json (format 'sglang-requests')",
        recognises=_any_line(rb"\b(?:Receive|Finish): obj=\w+\("),
    ),
    RefusedFormat(
        name="sglang-metrics-without-times",
        advice="this metrics export of SGLang has no times; start SGLang with --enable-metrics, so that lines have "
        "request_received_ts, or with --log-requests --log-requests-format json (format 'sglang-requests')",
        recognises=lambda sample: any_object_has(
            sample, "request_parameters", "prompt_tokens", without=("request_received_ts",)
        ),
    ),
)

REFUSED: dict[str, RefusedFormat] = {refused.name: refused for refused in _REFUSED}
"""Every log that is refused, by name."""
