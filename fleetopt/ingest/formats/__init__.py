"""The log formats that can be read, by name. A further format is one module here and one line in `FORMATS`."""

from fleetopt.errors import InputError
from fleetopt.ingest.formats.azure import AZURE
from fleetopt.ingest.formats.base import Clock, LogFormat
from fleetopt.ingest.formats.mooncake import MOONCAKE

__all__ = ["DETECTION_BYTES", "FORMATS", "Clock", "LogFormat", "detect_format", "get_format"]

FORMATS: dict[str, LogFormat] = {log_format.name: log_format for log_format in (AZURE, MOONCAKE)}
"""Every known format."""

DETECTION_BYTES = 1 << 20
"""How much of a file's beginning to give to `detect_format`."""

_DETECTION_LINES = 100


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


def detect_format(head: bytes) -> LogFormat:
    """Tell a format from the first bytes of a file; the file's name plays no part.

    Parameters
    ----------
    head : bytes
        The first `DETECTION_BYTES` of the file, or all of it.

    Raises
    ------
    InputError
        If no format, or more than one, knows these lines.
    """
    lines = [line.removesuffix(b"\r") for line in head.removeprefix(b"\xef\xbb\xbf").split(b"\n", _DETECTION_LINES)]
    lines = [line for line in lines[:_DETECTION_LINES] if line.strip()]
    found = [log_format for log_format in FORMATS.values() if log_format.recognises(lines)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(log_format.name for log_format in found or FORMATS.values()))
    raise InputError(
        f"{'more than one' if found else 'no'} known log format fits the first lines; name one of: {names}"
    )
