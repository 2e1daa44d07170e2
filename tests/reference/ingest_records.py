"""The reading of logs once more: any format by its mapping, a record at a time, standard library only.

Slow and obvious on purpose. Times of a relative clock are those of a clock that never starts again.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

WHITESPACE = b" \t\r\n\x0b\x0c"
MARK = b"\xef\xbb\xbf"
LIMIT = 10_000_000
LONGEST_LABEL = 256
LONGEST_DURATION_S = 1_000_000
UNITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LABELS = ("model", "finish_reason", "tenant", "session", "archetype")
NOTHING = dict.fromkeys(
    (
        *("arrival_time", "logged_time", "is_finish_time", "prompt_tokens", "output_tokens", "outcome", "ttft_s"),
        *("e2e_s", "queue_s", "cached_tokens", *LABELS, "id", "parent", "reason", "raw_text"),
    )
)


class Number(str):
    """A JSON number, as it is written."""


@dataclass
class How:
    """What is declared of a log besides its format."""

    timezone: str = "UTC"
    clock_start: datetime | None = None
    time_is: str | None = None
    hash_key: bytes = b"a key"
    models: frozenset[str] | None = None


@dataclass
class Record:
    """One record, found but not read."""

    line_number: int
    content: bytes
    byte_offset: int
    record_number: int = 1
    fault: str | None = None
    is_header: bool = False
    keeps_text: bool = False
    value: Any = field(default=None)


def read_rows(data, log_format, how=None):
    """List what every record of a file means: a dict each, headers and other lines with ``is_other``."""
    how = how or How()
    is_csv = hasattr(log_format.container, "header")
    records = csv_records(data, log_format) if is_csv else json_records(data, log_format)
    rows = []
    for record in records:
        row = NOTHING | {name: getattr(record, name) for name in ("line_number", "record_number", "byte_offset")}
        row |= {"byte_length": len(record.content), "is_other": record.is_header, "is_note": False}
        if record.fault:
            row["reason"] = record.fault
        elif not record.is_header:
            row |= Reading(record.value, log_format.mapping, how, is_csv).row()
        if row["reason"] and record.keeps_text and not log_format.holds_text and len(record.content) <= 4096:
            row["raw_text"] = record.content.decode()
        rows.append(row)
    return rows


# From bytes to records


def physical_lines(data):
    """List (number, offset, content) of every non-blank line."""
    found, number, start = [], 0, 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        number += 1
        first = start + 3 if start == 0 and data[:3] == MARK else start
        content = data[first:end].removesuffix(b"\r")
        if content.strip(WHITESPACE):
            found.append((number, first, content))
        start = end + 1
    return found


def count_non_blank(data):
    return sum(1 for line in data.removeprefix(MARK).split(b"\n") if line.strip(WHITESPACE))


def byte_fault(content):
    if b"\0" in content:
        return "nul_byte"
    try:
        content.decode()
    except UnicodeDecodeError:
        return "not_utf8"
    return None


def quoted_records(data):
    """Like `physical_lines`, with lines joined while a quote is open, and whether the quotes make sense."""
    position, number = 3 if data[:3] == MARK else 0, 1
    while position < len(data):
        for end in [match.start() for match in re.finditer(rb"\n", data) if match.start() >= position] + [len(data)]:
            content = data[position:end].removesuffix(b"\r")
            if split_quoted(content.decode("latin-1")) != "open":
                break
        is_good = isinstance(split_quoted(content.decode("latin-1")), list)
        if not is_good:
            end = data.find(b"\n", position)
            end = len(data) if end < 0 else end
            content = data[position:end].removesuffix(b"\r")
        if content.strip(WHITESPACE):
            yield number, position, content, is_good
        number += data[position : end + 1].count(b"\n")
        position = end + 1


def split_quoted(text, delimiter=","):
    """List the fields of a record by RFC 4180, or say "open" (a quote is) or "bad"."""
    fields, i = [], len("\xef\xbb\xbf") if text.startswith("\xef\xbb\xbf") else 0
    while True:
        if text[i : i + 1] == '"':
            match = re.match(r'"((?:[^"]|"")*)"(?!")', text[i:])
            if match is None:
                return "open"
            value, i = match[1].replace('""', '"'), i + match.end()
            if text[i : i + 1] not in {"", delimiter}:
                return "bad"
        else:
            end = text.find(delimiter, i)
            end = len(text) if end < 0 else end
            value, i = text[i:end], end
            if '"' in value:
                return "bad"
        fields.append(value)
        if i >= len(text):
            return fields
        i += 1


def csv_records(data, log_format):
    container, header = log_format.container, None
    known = {*container.header, *container.harmless, *log_format.mapping.paths()}
    lines = quoted_records(data) if container.quoted else ((*line, True) for line in physical_lines(data))
    for number, offset, content, has_good_quotes in lines:
        record = Record(number, content, offset, fault=byte_fault(content))
        record.fault = record.fault or (None if has_good_quotes else "bad_quotes")
        if record.fault is None:
            text = content.removeprefix(MARK).decode()
            names = split_quoted(text) if container.quoted else text.split(container.delimiter)
            fields = names if container.quoted else content.decode().split(container.delimiter)
            if all(names.count(name) == 1 for name in container.header):
                header, record.is_header = names, True
            elif header is None:
                record.fault = "no_header"
            elif len(fields) != len(header):
                record.fault = "wrong_field_count"
            elif any(header.count(path) > 1 for path in log_format.mapping.paths()):
                record.fault = "repeated_field"
            else:
                record.value = list(zip(header, fields, strict=True))
        record.keeps_text = header is not None and set(header) <= known and record.fault not in {"nul_byte", "not_utf8"}
        yield record


def json_records(data, log_format):
    for number, offset, content in physical_lines(data):
        record = Record(number, content, offset, fault=byte_fault(content))
        if record.fault is None:
            record.value, record.fault = parse(content.decode())
        spans = []
        if log_format.explode is not None and record.fault is None:
            if has_repeats(record.value):
                record.fault = "repeated_field"
            else:
                spans = find_spans(record.value, log_format.mapping.paths())
        parts = [
            Record(number, content, offset, count, "not_an_object" if span is None else None, value=span)
            for count, span in enumerate(spans, start=1)
        ]
        for part in parts or [record]:
            if part.fault is None and any(is_repeated(part.value, path) for path in log_format.mapping.paths()):
                part.fault = "repeated_field"
            yield part


# From JSON to values


def parse(text):
    """Return an object as a list of (key, value), and what is wrong with it."""
    try:
        value = json.loads(text, object_pairs_hook=Pairs, parse_int=Number, parse_float=Number, parse_constant=refuse)
    except (ValueError, RecursionError):
        return None, "not_json"
    return (value, None) if isinstance(value, Pairs) else (None, "not_an_object")


class Pairs(list):
    """A JSON object."""


def refuse(name):
    raise ValueError(name)


def places(value, path):
    """List every value that a path leads to, and whether a key on the way is there twice."""
    if path is None:
        return [value], False
    if isinstance(value, Pairs):
        keys = [key for key, _ in value if f"{path}.".startswith(f"{key}.")]
        inner = [places(each, path[len(key) + 1 :] or None) for key, each in value if key in keys]
        is_twice = len(set(keys)) < len(keys) or any(twice for _, twice in inner)
        return [each for found, _ in inner for each in found], is_twice
    if isinstance(value, list):
        index, _, rest = path.partition(".")
        if re.fullmatch("[0-9]{1,9}", index) and int(index) < len(value):
            return places(value[int(index)], rest or None)
    return [], False


def is_repeated(value, path):
    found, is_twice = places(value, path)
    return is_twice or len(found) > 1


# From spans to flat objects


SCOPES = ("scopeSpans", "scope_spans", "instrumentationLibrarySpans", "instrumentation_library_spans")
MALFORMED = "malformed"


def find_spans(line, wanted):
    """List the spans of a line of OTLP JSON as flat objects; None for what is malformed."""
    return [
        flat_span(span, resource, wanted)
        for resource in elements(line, "resourceSpans", "resource_spans")
        for scope in elements(resource, *SCOPES)
        for span in elements(scope, "spans")
    ]


def has_repeats(value):
    """Whether any object in a value names a field twice."""
    inner = [each for _, each in value] if isinstance(value, Pairs) else value if isinstance(value, list) else []
    is_twice = isinstance(value, Pairs) and len({key for key, _ in value}) < len(value)
    return is_twice or any(map(has_repeats, inner))


def first(pairs, *keys):
    """The value of the first of the keys that has one."""
    known = dict(pairs)
    return next((known[key] for key in keys if known.get(key) is not None), None)


def elements(pairs, *keys):
    """All that the lists of an object hold; what is no list is one element that is malformed."""
    if not isinstance(pairs, Pairs):
        return [MALFORMED]
    lists = [first(pairs, key) for key in keys]
    return [
        each
        for found in lists
        if found is not None
        for each in (found if isinstance(found, list) and not isinstance(found, Pairs) else [MALFORMED])
    ]


def attributes_of(holder):
    """List (key, value), None if one is malformed."""
    found = elements(holder, "attributes")
    if not all(isinstance(each, Pairs) and isinstance(first(each, "key"), str) for each in found):
        return None
    return [(first(each, "key"), first(each, "value")) for each in found]


def flat_span(span, resource, wanted):
    shared = first(resource, "resource") if isinstance(resource, Pairs) else None
    if attributes_of(shared or Pairs()) is None or attributes_of(span) is None:
        return None
    trace, own, parent = (first(span, key, snake) for key, snake in IDS)
    status = first(span, "status")
    flat = [
        ("id", f"{trace}/{own}" if is_id(trace) and is_id(own) else None),
        ("parent", f"{trace}/{parent}" if is_id(trace) and is_id(parent) else None),
        ("startTimeUnixNano", integer(first(span, "startTimeUnixNano", "start_time_unix_nano"))),
        ("endTimeUnixNano", integer(first(span, "endTimeUnixNano", "end_time_unix_nano"))),
        ("status.code", scalar(first(status, "code")) if isinstance(status, Pairs) else None),
    ]
    names = [key for key, _ in flat]
    flat += [(key, attribute(value)) for key, value in attributes_of(span) if key in wanted and key not in names]
    return Pairs(pair for pair in flat if pair[1] is not None)


IDS = (("traceId", "trace_id"), ("spanId", "span_id"), ("parentSpanId", "parent_span_id"))


def is_id(value):
    return isinstance(value, str) and value.strip("0") != ""


def scalar(value):
    return None if isinstance(value, list) else value


def integer(value):
    """A number, where OTLP has it in quotes too."""
    is_integer = isinstance(value, str) and re.fullmatch("-?(0|[1-9][0-9]*)", value)
    return Number(value) if is_integer else scalar(value)


def attribute(value):
    if not isinstance(value, Pairs):
        return None
    text, whole = first(value, "stringValue"), first(value, "intValue", "int_value")
    decimal, values = first(value, "doubleValue", "double_value"), first(value, "arrayValue", "array_value")
    if text is not None:
        return scalar(text)
    if whole is not None:
        return integer(whole)
    if decimal is not None:
        return Number(re.sub(r"\.0+$", "", decimal)) if isinstance(decimal, Number) else scalar(decimal)
    if isinstance(values, Pairs):
        return [each for each in map(attribute, elements(values, "values")) if each is not None]
    return scalar(first(value, "boolValue", "string_value", "bool_value"))


# From values to meaning


class Reading:
    """One record."""

    def __init__(self, value, mapping, how, is_csv):
        self.value, self.mapping, self.how, self.is_csv = value, mapping, how, is_csv
        self.is_text_number = is_csv or mapping.numbers_as_text

    def row(self):
        mapping = self.mapping
        logged, time_reason = self.time(mapping.time)
        row = {
            "logged_time": logged,
            "is_other": not self.meets(mapping.only_when),
            "id": self.label(mapping.request_id),
        }
        row["parent"] = self.label(mapping.parent_id)
        if row["is_other"]:
            row["is_note"] = bool(mapping.note_when) and self.meets(mapping.note_when)
            known = (
                {"archetype": archetype_name(self.label(mapping.archetype))}
                if row["is_note"]
                else {"logged_time": None}
            )
            return row | known
        arrival, time_reason, is_finish, e2e_ns = self.arrival(logged, time_reason)
        row |= {"arrival_time": arrival, "is_finish_time": None if arrival is None else is_finish}
        (prompt, prompt_found), (output, output_found) = map(self.count, (mapping.prompt_tokens, mapping.output_tokens))
        outcome = self.outcome()
        lengths = None
        for found in (prompt_found, output_found):
            if outcome == "served" and found == "missing_field" and mapping.missing_tokens == "failed":
                outcome = "failed"
            if outcome == "served" and found == "zero_tokens" and mapping.zero_tokens == "failed":
                outcome = "failed"
            if outcome == "served":
                lengths = lengths or found
        row["reason"] = time_reason or (None if outcome else "bad_status") or lengths
        if row["reason"]:
            return row
        row |= {"outcome": outcome, "prompt_tokens": prompt, "output_tokens": output}
        return row | self.observed(arrival, is_finish, e2e_ns, prompt)

    def arrival(self, logged, reason):
        e2e_ns = self.duration(self.mapping.e2e)
        if logged is None or (self.how.time_is or self.mapping.time_is) == "arrival":
            return logged, reason, False, e2e_ns
        if e2e_ns is None:
            return logged, reason, True, None
        arrival = logged - timedelta(microseconds=e2e_ns // 1000)
        return (arrival, None, False, e2e_ns) if believed(arrival) else (None, "time_out_of_range", False, e2e_ns)

    def observed(self, arrival, is_finish, e2e_ns, prompt):
        mapping, how = self.mapping, self.how
        is_finish_log = (how.time_is or mapping.time_is) == "finish"
        ttft_ns = self.duration(mapping.ttft)
        if e2e_ns is None and mapping.finish_time and not is_finish_log:
            e2e_ns = since(arrival, self.time(mapping.finish_time)[0])
        if ttft_ns is None and mapping.first_token_time and not is_finish:
            ttft_ns = since(arrival, self.time(mapping.first_token_time)[0])
        cached, _ = self.count(mapping.cached_tokens)
        labels = {name: self.label(getattr(mapping, name)) for name in LABELS}
        return {
            "e2e_s": seconds(e2e_ns),
            "ttft_s": seconds(ttft_ns),
            "queue_s": seconds(self.duration(mapping.queue)),
            "cached_tokens": cached if cached is not None and prompt is not None and cached <= prompt else None,
            "model": short(labels["model"]),
            "finish_reason": short(labels["finish_reason"]),
            "tenant": keyed(labels["tenant"], how.hash_key, b"tenant"),
            "session": keyed(labels["session"], how.hash_key, b"session"),
            "archetype": archetype_name(labels["archetype"]),
        }

    def find(self, paths):
        for path in paths:
            found = [value for key, value in self.value if key == path] if self.is_csv else places(self.value, path)[0]
            if found and found[0] is not None and found[0] != "" and found[0] not in self.mapping.null_values:
                return found[0]
        return None

    def label(self, paths):
        value = self.find(paths)
        if isinstance(value, list):
            value = value[0] if value and not isinstance(value, Pairs) and isinstance(value[0], str) else None
        return {True: "true", False: "false"}[value] if isinstance(value, bool) else value or None

    def meets(self, conditions):
        for condition in conditions:
            if not condition.values and self.find(condition.paths) is None:
                return False
            if condition.values and (self.label(condition.paths) or "") not in condition.values:
                return False
        return True

    def outcome(self):
        mapping, how = self.mapping, self.how
        model = self.label(mapping.model)
        if how.models is not None and model is not None and model not in how.models:
            return "other_model"
        status = self.label(mapping.status.paths) if mapping.status else None
        ending = outcome_of(status, mapping.status) if status is not None else "served"
        if ending != "served":
            return ending
        if self.find(mapping.error) not in (None, False, [], Pairs()):
            return "failed"
        return "cache_hit" if (self.label(mapping.cache_hit) or "").lower() in {"true", "1"} else "served"

    def number(self, value):
        """The text of a value that may be a number."""
        return value if isinstance(value, Number) or (self.is_text_number and isinstance(value, str)) else None

    def count(self, paths):
        value = self.find(paths)
        if value is None:
            return None, "missing_field"
        text = self.number(value)
        if text is None or not re.fullmatch("-?[0-9]+", text):
            return None, "bad_number"
        if not text.strip("-0"):
            return 0, "zero_tokens"
        if text.startswith("-"):
            return None, "negative_tokens"
        digits = text.lstrip("0")
        return (None, "out_of_range") if len(digits) > 8 or int(digits) > LIMIT else (int(digits), None)

    def decimal(self, value, shift):
        """Digits of a number in units of 10^-shift, the rest dropped."""
        text = self.number(value)
        if text is None or not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text):
            return None
        number = Decimal(re.sub(r"[eE]([+-]?)0*([0-9]{6})[0-9]+$", r"e\g<1>\2", text)).normalize()
        if number.adjusted() < -50:
            return 0
        return (-1 if number < 0 else 1) * 10**60 if number.adjusted() > 50 else int(number.scaleb(shift))

    def duration(self, declared):
        value = self.find(declared.paths) if declared else None
        ns = None if value is None else self.decimal(value, 9 - UNITS[declared.unit])
        return ns if ns is not None and 0 <= ns <= LONGEST_DURATION_S * 10**9 else None

    def time(self, declared):
        value = self.find(declared.paths)
        if value is None:
            return None, "missing_field"
        if declared.unit == "iso":
            is_text = isinstance(value, str) and not isinstance(value, Number)
            instant, reason = read_time(value, self.how.timezone) if is_text else (None, "bad_time")
        else:
            instant, reason = self.counted_time(value, declared)
        if instant is None or believed(instant):
            return instant, reason
        return None, "time_out_of_range"

    def counted_time(self, value, declared):
        us = self.decimal(value, 6 - UNITS[declared.unit])
        if us is None or (declared.is_relative and us < 0 and abs(us) <= 10**16):
            return None, "bad_time"
        if abs(us) > 10**16:
            return None, "time_out_of_range"
        try:
            return (self.how.clock_start if declared.is_relative else EPOCH) + timedelta(microseconds=us), None
        except OverflowError:
            return None, "time_out_of_range"


def believed(instant):
    return 1970 <= instant.year <= 2199


def since(arrival, until):
    if until is None:
        return None
    us = (until - arrival) // timedelta(microseconds=1)
    return us * 1000 if 0 <= us <= LONGEST_DURATION_S * 10**6 else None


def seconds(ns):
    return None if ns is None else ns / 1e9


def short(text):
    return text if text is not None and len(text) <= LONGEST_LABEL else None


def archetype_name(text):
    return short(re.sub("[^a-z0-9_-]+", "-", (text or "").lower()).strip("-").lstrip("_-")) or None


def keyed(text, key, purpose):
    return text and hashlib.blake2b(text.encode(), key=key, digest_size=16, person=purpose).hexdigest()


def outcome_of(status, declared):
    if declared.is_http:
        if not re.fullmatch("[0-9]{1,9}", status):
            return None
        return "aborted" if int(status) in {0, 499} else "served" if int(status) < 400 else "failed"
    for outcome in ("served", "failed", "aborted"):
        if status.lower() in [value.lower() for value in getattr(declared, outcome)]:
            return outcome
    return None


def instants(wall, zone):
    """List every UTC instant at which clocks in the zone show this."""
    shown = set()
    for fold in (0, 1):
        instant = wall.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)
        if instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall:
            shown.add(instant)
    return sorted(shown)


def read_time(text, zone):
    match = re.fullmatch(
        r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
        r"(?:(Z)|([+-])([0-9]{2})(?::?([0-9]{2}))?)?",
        text,
    )
    if match is None:
        return None, "bad_time"
    day, hour, minute, second, fraction, z, sign, offset_h, offset_m = match.groups()
    try:
        wall = datetime(*map(int, day.split("-")), int(hour), int(minute), int(second))  # noqa: DTZ001  # zone comes below
    except ValueError:
        return None, "time_out_of_range" if day.startswith("0000") else "bad_time"
    wall += timedelta(microseconds=int((fraction or "0").ljust(9, "0")[:6]))
    if not z and not sign:
        return local_time(wall, zone)
    if int(offset_h or 0) > 14 or int(offset_m or 0) > 59:
        return None, "bad_time"
    offset = timedelta(hours=int(offset_h or 0), minutes=int(offset_m or 0))
    try:
        return wall.replace(tzinfo=UTC) - (-offset if sign == "-" else offset), None
    except OverflowError:
        return None, "time_out_of_range"


def local_time(wall, zone):
    if not 1969 <= wall.year <= 2200:
        return None, "time_out_of_range"
    found = instants(wall, zone)
    if len(found) == 1:
        return found[0], None
    return None, "ambiguous_time" if found else "nonexistent_time"


# Days


def noon_of(local_date, zone):
    noon = datetime(local_date.year, local_date.month, local_date.day, 12, tzinfo=ZoneInfo(zone))
    return noon.astimezone(UTC).date()


def home_days(times, zone, local_date=None):
    """Give the day of each line from the times of all lines of a file (None where unreadable)."""

    def own(time):
        if local_date and time.astimezone(ZoneInfo(zone)).date() != local_date:
            return noon_of(local_date, zone)
        return time.astimezone(UTC).date()

    if local_date:
        return [noon_of(local_date, zone) if time is None else own(time) for time in times]
    days = []
    for i in range(len(times)):
        above = [time for time in times[: i + 1] if time is not None]
        below = [time for time in times[i:] if time is not None]
        if above:
            days.append(own(above[-1]))
        elif below:
            days.append(own(below[0]))
        else:
            days.append(None)
    return days
