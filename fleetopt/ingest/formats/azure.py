"""Azure LLM inference traces: CSV with a header, one request a line.

The public traces of 2023 (Patel et al., Splitwise, ISCA 2024), 2024 and 2025, and logs written in their shape, seen as
files. Columns are found by name, so a column more (``NumImages`` in 2025) does no harm. Times differ between the years
and within one file: seven fractional digits or none, no zone, ``+00:00`` or ``Z``. Fields are never quoted. A length of
zero is quarantined: these traces hold none, so nothing says what it would mean.
"""

from fleetopt.ingest.formats.definition import Csv, LogFormat
from fleetopt.ingest.formats.sample import names_header
from fleetopt.ingest.mapping import Mapping, TimeField

_CONTAINER = Csv(header=("TIMESTAMP", "ContextTokens", "GeneratedTokens"), harmless=("NumImages",))

AZURE = LogFormat(
    name="azure",
    description="Azure LLM inference traces of 2023, 2024 and 2025",
    example="TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44",
    container=_CONTAINER,
    mapping=Mapping(
        time=TimeField(paths=("TIMESTAMP",)), prompt_tokens=("ContextTokens",), output_tokens=("GeneratedTokens",)
    ),
    holds_text=False,
    recognises=lambda sample: names_header(sample, _CONTAINER),
)
