"""BurstGPT traces (Wang et al., 2024): CSV with a relative clock in seconds from midnight of the first day.

Seen as slices of files. Release 3 has two columns more, ``Session ID`` (blank for calls of the API) and
``Elapsed time`` (whole seconds), and starts far from zero. A row of zero tokens is a request that failed. ``Log Type``
says whether it was a conversation or a call of the API, and becomes the traffic class. Fields are never quoted.
"""

from fleetopt.ingest.formats.definition import Csv, LogFormat
from fleetopt.ingest.formats.sample import names_header
from fleetopt.ingest.mapping import DurationField, Mapping, TimeField

_CONTAINER = Csv(
    header=("Timestamp", "Model", "Request tokens", "Response tokens"),
    harmless=("Session ID", "Elapsed time", "Total tokens", "Log Type"),
)

BURSTGPT = LogFormat(
    name="burstgpt",
    description="BurstGPT traces, releases 1 to 3: seconds from a declared start",
    example="Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,472,18,490,Conversation log",
    container=_CONTAINER,
    mapping=Mapping(
        time=TimeField(paths=("Timestamp",), unit="s", is_relative=True),
        prompt_tokens=("Request tokens",),
        output_tokens=("Response tokens",),
        e2e=DurationField(paths=("Elapsed time",)),
        model=("Model",),
        session=("Session ID",),
        archetype=("Log Type",),
        zero_tokens="failed",
    ),
    holds_text=False,
    recognises=lambda sample: names_header(sample, _CONTAINER),
)
