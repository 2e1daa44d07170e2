"""Why a line could not be used: the closed set of reasons, and what each one means."""

from typing import Final

REASONS: dict[str, str] = {
    "line_too_long": "The line is longer than 16 MiB; it was counted but not read.",
    "nul_byte": "The line holds a zero byte, as files do after a crash or a full disk.",
    "not_utf8": "The line is not valid UTF-8.",
    "no_header": "No line above this one names the columns that the format needs.",
    "wrong_field_count": "The line has more or fewer fields than the header above it.",
    "bad_quotes": "A quote stands inside a field, or is never closed.",
    "not_json": "The line is not one JSON value (NaN and Infinity are not JSON), or nested more than 512 deep.",
    "not_an_object": "The line is JSON, but not an object.",
    "repeated_field": "A field that the format needs is named twice, so it is not known which one counts.",
    "missing_field": "A field that the format needs is absent, empty or null.",
    "bad_time": "The time cannot be read, or is no date that exists.",
    "nonexistent_time": "The local time does not exist: clocks were put forward over it.",
    "ambiguous_time": "The local time happened twice, since clocks were put back, and it carries no offset.",
    "time_out_of_range": "The time lies outside the years 1970 to 2199.",
    "bad_status": "The status is none that the format knows, so whether the request was served is not known.",
    "bad_number": "A length is not a plain decimal integer (1e3, 1.0, NaN, true and quoted numbers are not).",
    "negative_tokens": "A length is below zero.",
    "zero_tokens": "A length is zero, and the format does not write that for requests that failed.",
    "out_of_range": "A length is above 10,000,000 tokens.",
    "outside_day": "The line's local date is not the date in its file's name.",
    "arrived_long_before": "The request arrived more than a date before the one in its file's name, where none looks.",
}
"""Reason -> one sentence. Where several hold, a record has that of the first of: the record as a whole, its time, its
status, its prompt's length, its output's."""

REASON_CODE: Final = {reason: code for code, reason in enumerate(REASONS, start=1)}
"""Reason -> its number in arrays of codes; 0 is no reason."""

MAX_TOKENS = 10_000_000
"""Longest prompt or output that is believed, tokens."""
