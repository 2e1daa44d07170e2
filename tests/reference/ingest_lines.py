"""The reading of log lines once more: a line at a time, no batches, no frames, standard library only."""

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

WHITESPACE = b" \t\r\n\x0b\x0c"
LIMIT = 10_000_000


def physical_lines(data):
    """List (number, offset, content) of every non-blank line."""
    found, number, start = [], 0, 0
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        number += 1
        first = start + 3 if start == 0 and data[:3] == b"\xef\xbb\xbf" else start
        content = data[first:end]
        if content[-1:] == b"\r":
            content = content[:-1]
        if content.strip(WHITESPACE):
            found.append((number, first, content))
        start = end + 1
    return found


def instants(wall, zone):
    """List every UTC instant at which clocks in the zone show this."""
    shown = set()
    for fold in (0, 1):
        instant = wall.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)
        if instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall:
            shown.add(instant)
    return sorted(shown)


def read_time(text, zone):  # noqa: PLR0911  # one rule a line
    if text == "":
        return None, "missing_field"
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
        return None, "bad_time"
    wall += timedelta(microseconds=int((fraction or "0").ljust(9, "0")[:6]))
    if z:
        return wall.replace(tzinfo=UTC), None
    if sign:
        if int(offset_h) > 14 or int(offset_m or 0) > 59:
            return None, "bad_time"
        offset = timedelta(hours=int(offset_h), minutes=int(offset_m or 0))
        return wall.replace(tzinfo=UTC) - (offset if sign == "+" else -offset), None
    found = instants(wall, zone)
    if len(found) == 1:
        return found[0], None
    return None, "ambiguous_time" if found else "nonexistent_time"


def digits_reason(text):
    if text == "":
        return "missing_field"
    if re.fullmatch("-[0-9]+", text):
        return "negative_tokens"
    if not re.fullmatch("[0-9]+", text):
        return "bad_number"
    return "zero_tokens" if int(text) == 0 else "out_of_range" if int(text) > LIMIT else None


def azure_rows(data, zone):
    header = None
    for number, offset, content in physical_lines(data):
        row = {"line_number": number, "byte_offset": offset, "content": content}
        try:
            text = content.decode()
        except UnicodeDecodeError:
            yield row | {"reason": "nul_byte" if b"\0" in content else "not_utf8"}
            continue
        if "\0" in text:
            yield row | {"reason": "nul_byte"}
            continue
        fields = text.split(",")
        names = [fields[0].removeprefix("\ufeff"), *fields[1:]]
        if all(names.count(name) == 1 for name in ("TIMESTAMP", "ContextTokens", "GeneratedTokens")):
            header = names
        elif header is None:
            yield row | {"reason": "no_header"}
        elif len(fields) != len(header):
            yield row | {"reason": "wrong_field_count"} | kept_text(header, text)
        else:
            named = dict(zip(header, fields, strict=True))
            arrival, reason = read_time(named["TIMESTAMP"], zone)
            prompt, output = named["ContextTokens"], named["GeneratedTokens"]
            reason = reason or digits_reason(prompt) or digits_reason(output)
            yield finished(row, arrival, prompt, output, reason) | (kept_text(header, text) if reason else {})


def kept_text(header, text):
    return {"raw_text": text} if set(header) <= {"TIMESTAMP", "NumImages", "ContextTokens", "GeneratedTokens"} else {}


def mooncake_rows(data, start):
    for number, offset, content in physical_lines(data):
        row = {"line_number": number, "byte_offset": offset, "content": content}
        arrival = prompt = output = None
        if b"\0" in content:
            reason = "nul_byte"
        else:
            try:
                content.decode()
                arrival, prompt, output, reason = read_object(
                    json.loads(content, parse_constant=refuse), content, start
                )
            except UnicodeDecodeError:
                reason = "not_utf8"
            except ValueError:
                reason = "not_json"
        yield finished(row, arrival, prompt, output, reason)


def refuse(name):
    raise ValueError(name)


def read_object(value, content, start):  # noqa: PLR0911  # one rule a line
    if not isinstance(value, dict):
        return None, None, None, "not_an_object"
    pairs = json.loads(content, object_pairs_hook=list)
    if len({key for key, _ in pairs}) != len(pairs):
        return None, None, None, "repeated_field"
    time = value.get("timestamp")
    if time is None:
        return None, None, None, "missing_field"
    if str(time) != json.dumps(time) or isinstance(time, float | bool | list | dict) or time < 0:
        return None, None, None, "bad_time"
    if time > 7_000_000_000_000:
        return None, None, None, "time_out_of_range"
    arrival = start + timedelta(milliseconds=time)
    for length in (value.get("input_length"), value.get("output_length")):
        reason = json_reason(length)
        if reason:
            return arrival, None, None, reason
    return arrival, value["input_length"], value["output_length"], None


def json_reason(value):
    if value is None:
        return "missing_field"
    if isinstance(value, bool | float | str | list | dict):
        return "bad_number"
    return (
        "negative_tokens" if value < 0 else "zero_tokens" if value == 0 else "out_of_range" if value > LIMIT else None
    )


def finished(row, arrival, prompt, output, reason):
    if arrival is not None and not 1970 <= arrival.year <= 2199:
        arrival, reason = None, reason or "time_out_of_range"
    row = row | {"arrival_time": arrival, "reason": reason}
    return row if reason else row | {"prompt_tokens": int(prompt), "output_tokens": int(output)}


def keyed_hash(content, key):
    return hashlib.blake2b(content, key=key, digest_size=16).hexdigest()


def home_days(times, zone, local_date=None):
    """Give the day of each line from the times of all lines of a file (None where unreadable)."""

    def own(time):
        noon = (
            datetime(local_date.year, local_date.month, local_date.day, 12, tzinfo=ZoneInfo(zone))
            if local_date
            else None
        )
        if local_date and time.astimezone(ZoneInfo(zone)).date() != local_date:
            return noon.astimezone(UTC).date()
        return time.astimezone(UTC).date()

    days = []
    for i in range(len(times)):
        above = [time for time in times[: i + 1] if time is not None]
        below = [time for time in times[i:] if time is not None]
        if above:
            days.append(own(above[-1]))
        elif below:
            days.append(own(below[0]))
        elif local_date:
            days.append(
                datetime.combine(local_date, datetime.min.time(), ZoneInfo(zone))
                .replace(hour=12)
                .astimezone(UTC)
                .date()
            )
        else:
            days.append(None)
    return days


def count_non_blank(data):
    return sum(1 for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip(WHITESPACE))
