"""The log formats that can be read, by name. A further format is one module here and one line in `FORMATS`."""

from fleetopt.errors import InputError
from fleetopt.ingest.formats.azure import AZURE
from fleetopt.ingest.formats.definition import Csv, JsonLines, LogFormat, Sample
from fleetopt.ingest.formats.mooncake import MOONCAKE
from fleetopt.ingest.formats.sample import DETECTION_BYTES, sample_of_lines, sample_of_parquet

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

FORMATS: dict[str, LogFormat] = {log_format.name: log_format for log_format in (AZURE, MOONCAKE)}
"""Every known format."""


def get_format(name: str) -> LogFormat:
    """Return the format of that name.

    Raises
    ------
    InputError
        If there is none; the message lists those that there are.
    """
    if name not in FORMATS:
        raise InputError(f"unknown log format '{name}'; known formats: {', '.join(sorted(FORMATS))}")
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
        If no format, or more than one, knows it.
    """
    found = [log_format for log_format in FORMATS.values() if log_format.recognises(sample)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(log_format.name for log_format in found or FORMATS.values()))
    raise InputError(
        f"{'more than one' if found else 'no'} known log format fits the first lines; name one of: {names}"
    )
