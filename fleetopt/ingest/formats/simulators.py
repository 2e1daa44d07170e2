"""Traces of simulators: Splitwise's (Patel et al., ISCA 2024) and Vidur's (Agrawal et al., MLSys 2024).

Seen in source. CSV with a relative clock in seconds. The ``request_id`` of Splitwise numbers the rows of one file and
starts again in the next, so it is not used as an id.
"""

from fleetopt.ingest.formats.definition import Csv, LogFormat
from fleetopt.ingest.formats.sample import names_header
from fleetopt.ingest.mapping import Mapping, TimeField

_SPLITWISE = Csv(
    header=("arrival_timestamp", "prompt_size", "token_size"),
    harmless=("request_id", "request_type", "application_id", "batch_size"),
)
_VIDUR = Csv(
    header=("arrived_at", "num_prefill_tokens", "num_decode_tokens"),
    harmless=("", "num_total_tokens", "pd_ratio", "block_size", "block_hash_ids"),
)

SPLITWISE = LogFormat(
    name="splitwise",
    description="Traces of Splitwise's simulator: seconds from a declared start",
    example="request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size\n"
    "0,2,0,0.5207,1,1155,126",
    container=_SPLITWISE,
    mapping=Mapping(
        time=TimeField(paths=("arrival_timestamp",), unit="s", is_relative=True),
        prompt_tokens=("prompt_size",),
        output_tokens=("token_size",),
    ),
    holds_text=False,
    recognises=lambda sample: names_header(sample, _SPLITWISE),
)

VIDUR = LogFormat(
    name="vidur",
    description="Traces of the Vidur simulator: seconds from a declared start",
    example="arrived_at,num_prefill_tokens,num_decode_tokens\n0.2195,374,44",
    container=_VIDUR,
    mapping=Mapping(
        time=TimeField(paths=("arrived_at",), unit="s", is_relative=True),
        prompt_tokens=("num_prefill_tokens",),
        output_tokens=("num_decode_tokens",),
    ),
    holds_text=False,
    recognises=lambda sample: names_header(sample, _VIDUR),
)
