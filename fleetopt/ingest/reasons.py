"""Why a line could not be used: the closed set of reasons, and what each one means."""

REASONS: dict[str, str] = {
    "line_too_long": "The line is longer than 64 MiB; it was hashed and counted but not parsed.",
    "nul_byte": "The line holds a zero byte, as files do after a crash or a full disk.",
    "not_utf8": "The line is not valid UTF-8.",
    "no_header": "No line above this one names the columns that the format needs.",
    "wrong_field_count": "The line has more or fewer fields than the header above it.",
    "not_json": "The line is not one JSON value (NaN and Infinity are not JSON).",
    "not_an_object": "The line is JSON, but not an object.",
    "repeated_field": "The object names a field twice, so it is not known which one counts.",
    "missing_field": "A field that the format needs is absent, empty or null.",
    "bad_time": "The time cannot be read, or is no date that exists.",
    "nonexistent_time": "The local time does not exist: clocks were put forward over it.",
    "ambiguous_time": "The local time happened twice, since clocks were put back, and it carries no offset.",
    "time_out_of_range": "The time lies outside the years 1970 to 2199.",
    "bad_number": "A length is not a plain decimal integer (1e3, 1.0, NaN, true and quoted numbers are not).",
    "negative_tokens": "A length is below zero.",
    "zero_tokens": "A length is zero, which most logs write for a request that failed.",
    "out_of_range": "A length is above 10,000,000 tokens.",
    "outside_day": "The line's local date is not the date in its file's name.",
}
"""Reason -> one sentence. Where several hold, a line has the first that its reading met."""

MAX_TOKENS = 10_000_000
"""Longest prompt or output that is believed, tokens."""
