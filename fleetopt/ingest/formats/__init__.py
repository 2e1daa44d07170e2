"""The log formats that can be read, by name. A further format is one module here and one line in `FORMATS`."""

from fleetopt.errors import InputError
from fleetopt.ingest.formats.azure import AZURE
from fleetopt.ingest.formats.burstgpt import BURSTGPT
from fleetopt.ingest.formats.canonical import FLEETOPT
from fleetopt.ingest.formats.definition import Csv, JsonLines, LogFormat, Sample
from fleetopt.ingest.formats.envoy import ENVOY_AI_GATEWAY
from fleetopt.ingest.formats.litellm import LITELLM_PAYLOAD, LITELLM_SPEND
from fleetopt.ingest.formats.mooncake import MOONCAKE
from fleetopt.ingest.formats.openai import OPENAI_USAGE
from fleetopt.ingest.formats.otlp import OTLP
from fleetopt.ingest.formats.qwen import QWEN_BAILIAN
from fleetopt.ingest.formats.refused import REFUSED
from fleetopt.ingest.formats.sample import DETECTION_BYTES, sample_of_lines, sample_of_parquet
from fleetopt.ingest.formats.semantic_router import SEMANTIC_ROUTER_EVENTS, SEMANTIC_ROUTER_REPLAY
from fleetopt.ingest.formats.sglang import SGLANG_METRICS, SGLANG_REQUESTS
from fleetopt.ingest.formats.simulators import SPLITWISE, VIDUR

__all__ = [
    "DETECTION_BYTES",
    "FORMATS",
    "Csv",
    "JsonLines",
    "LogFormat",
    "Sample",
    "detect_format",
    "get_format",
    "sample_of_lines",
    "sample_of_parquet",
]

FORMATS: dict[str, LogFormat] = {
    log_format.name: log_format
    for log_format in (
        AZURE,
        BURSTGPT,
        MOONCAKE,
        QWEN_BAILIAN,
        SPLITWISE,
        VIDUR,
        OTLP,
        OPENAI_USAGE,
        LITELLM_SPEND,
        LITELLM_PAYLOAD,
        ENVOY_AI_GATEWAY,
        SGLANG_REQUESTS,
        SGLANG_METRICS,
        SEMANTIC_ROUTER_EVENTS,
        SEMANTIC_ROUTER_REPLAY,
        FLEETOPT,
    )
}
"""Every known format, in the order in which they are listed."""


def get_format(name: str) -> LogFormat:
    """Return the format of that name.

    Raises
    ------
    InputError
        If there is none; the message lists those that there are, or says why this one cannot be used.
    """
    if name in REFUSED:
        raise InputError(f"log format '{name}' cannot be used: {REFUSED[name].advice}")
    if name not in FORMATS:
        raise InputError(
            f"unknown log format '{name}'; known formats: {', '.join(sorted(FORMATS))}; one of your own is "
            'format = "mapping" in the configuration'
        )
    return FORMATS[name]


def detect_format(sample: Sample) -> LogFormat:
    """Tell a format from the beginning of a file; the file's name plays no part.

    Parameters
    ----------
    sample : Sample
        Made by `sample_of_lines` or `sample_of_parquet`.

    Raises
    ------
    InputError
        If no format, or more than one, knows it, or if it is a log that does not hold what is needed.
    """
    found = [log_format for log_format in FORMATS.values() if log_format.recognises(sample)]
    if len(found) == 1:
        return found[0]
    for refused in REFUSED.values():
        if not found and refused.recognises(sample):
            raise InputError(refused.advice)
    names = ", ".join(sorted(log_format.name for log_format in found or FORMATS.values()))
    own = "" if found else '; or say what its fields mean: format = "mapping" in the configuration'
    raise InputError(
        f"{'more than one' if found else 'no'} known log format fits the first lines; name one of: {names}{own}"
    )
