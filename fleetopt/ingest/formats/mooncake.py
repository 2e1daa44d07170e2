"""Mooncake traces (Qin et al., FAST 2025): JSON lines with a relative clock in milliseconds.

The same fields open the lines of tools that add text to them, and JSON can hold any field at all, so no raw line of
this format is ever kept.
"""

import json
from datetime import timedelta
from typing import Any, Final

import polars as pl

from fleetopt.ingest.formats.base import PARSED_SCHEMA, Clock, LogFormat, Parser
from fleetopt.ingest.reasons import MAX_TOKENS
from fleetopt.schemas import UTC_MICROSECONDS

_TIME, _PROMPT, _OUTPUT = "timestamp", "input_length", "output_length"
_MAX_OFFSET_MS: Final = int(timedelta(days=366 * 230).total_seconds() * 1000)

Record = tuple[int | None, int | None, int | None, str | None]
"""Offset from the start of the clock (ms), prompt and output length (tokens), reason."""


class _NotJsonError(ValueError):
    pass


class _RepeatedFieldError(ValueError):
    pass


def _refuse_constant(name: str) -> None:
    raise _NotJsonError(name)


def _read_integer(digits: str) -> int:
    # Python refuses integers of thousands of digits; all that matters of them is that they are too large.
    return int(digits[:25])


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _RepeatedFieldError
    return fields


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique_fields, parse_constant=_refuse_constant, parse_int=_read_integer
)
_PLAIN_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique_fields, parse_constant=_refuse_constant)


def _decode(line: str) -> Any:
    try:
        return _PLAIN_DECODER.decode(line)
    except (json.JSONDecodeError, _NotJsonError, _RepeatedFieldError):
        raise
    except ValueError:
        return _DECODER.decode(line)


def _read_record(line: str) -> Record:
    try:
        fields = _decode(line)
    except _RepeatedFieldError:
        return None, None, None, "repeated_field"
    except (ValueError, RecursionError):
        return None, None, None, "not_json"
    if not isinstance(fields, dict):
        return None, None, None, "not_an_object"
    time, prompt, output = fields.get(_TIME), fields.get(_PROMPT), fields.get(_OUTPUT)
    time_reason = _time_reason(time)
    reason = time_reason or _length_reason(prompt) or _length_reason(output)
    return time if time_reason is None else None, *((prompt, output) if reason is None else (None, None)), reason


def _time_reason(value: object) -> str | None:
    if value is None:
        return "missing_field"
    if type(value) is not int or value < 0:
        return "bad_time"
    return "time_out_of_range" if value > _MAX_OFFSET_MS else None


def _length_reason(value: object) -> str | None:
    if value is None:
        return "missing_field"
    if type(value) is not int:  # a bool is an int to isinstance
        return "bad_number"
    if value < 1:
        return "negative_tokens" if value < 0 else "zero_tokens"
    return "out_of_range" if value > MAX_TOKENS else None


def _parser(clock: Clock) -> Parser:
    def parse(text: pl.Series) -> pl.DataFrame:
        records = [_read_record(line) for line in text.to_list()]
        schema = {"offset_ms": pl.Int64, "prompt_tokens": pl.Int64, "output_tokens": pl.Int64, "reason": pl.String}
        start = pl.lit(clock.start).dt.convert_time_zone("UTC").cast(UTC_MICROSECONDS)
        return (
            pl.DataFrame(records, schema=schema, orient="row")
            .with_columns(
                arrival_time=start + pl.duration(milliseconds="offset_ms"),
                ttft_s=pl.lit(None, dtype=pl.Float64),
                is_header=pl.lit(False),
                keeps_text=pl.lit(False),
            )
            .select(PARSED_SCHEMA.names())
        )

    return parse


def _recognises(lines: list[bytes]) -> bool:
    return any(_has_fields(line) for line in lines)


def _has_fields(line: bytes) -> bool:
    try:
        fields = _decode(line.decode())
    except (ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and {_TIME, _PROMPT, _OUTPUT} <= fields.keys()


MOONCAKE = LogFormat(
    name="mooncake",
    description="JSON lines of the Mooncake traces: timestamp (ms from a declared start), input_length, output_length.",
    example='{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, 48]}',
    holds_text=True,
    has_relative_clock=True,
    recognises=_recognises,
    parser=_parser,
)
