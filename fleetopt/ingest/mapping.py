"""What a log's fields mean: which path holds which quantity, in which unit. Declared by formats and by users."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final, Literal

Paths = tuple[str, ...]
"""Alternatives: the first that holds a value counts.

A path is a column of CSV, or keys of nested JSON objects joined by dots. A dot may also be part of a key, so that
``gen_ai.usage.input_tokens`` finds both, and a number picks from an array."""


_EXPECTED: Final = (
    *("finish_time", "first_token_time", "e2e", "ttft", "queue"),
    *("request_id", "model", "tenant", "session", "finish_reason", "status"),
)
"""Fields that a log has in many lines if it has them at all; errors, cache hits and parents may be absent for days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeField:
    """A time.

    Attributes
    ----------
    paths : tuple of str
    unit : str
        ``"iso"``: text such as 2025-05-01T01:31:14.787Z, with or without zone; ``"s"``, ``"ms"``, ``"us"``, ``"ns"``: a
        number (with or without decimals) since 1970, or since the start of a relative clock; else a strptime pattern.
    is_relative : bool
        Whether it counts from a start that the lines do not hold.
    epoch : datetime.datetime, optional
        What a number counts from, with its zone, where that is not 1970.
    """

    paths: Paths
    unit: str = "iso"
    is_relative: bool = False
    epoch: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DurationField:
    """A duration: a number of seconds, milliseconds, microseconds or nanoseconds."""

    paths: Paths
    unit: Literal["s", "ms", "us", "ns"] = "s"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusField:
    """How a request ended. No value means served; a value in none of the sets is a bad line, so that it is seen.

    Attributes
    ----------
    paths : tuple of str
    served, failed, aborted : tuple of str
        Values, compared without regard to case.
    is_http : bool
        Whether it is an HTTP status instead: below 400 served, 499 and 0 aborted (the client went away), else failed.
    """

    paths: Paths
    served: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    aborted: tuple[str, ...] = ()
    is_http: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Whether a line is what is looked for, by one of its fields.

    Attributes
    ----------
    paths : tuple of str
    values : tuple of str
        What the field may be, exactly as it stands in the line; ``""`` lets it be absent. None at all: any value does.
    """

    paths: Paths
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """Which path holds which quantity.

    Attributes
    ----------
    time : TimeField
        The time of a line, that of arrival or finish as ``time_is`` says. A finish with a duration gives the arrival.
    prompt_tokens, output_tokens, cached_tokens : tuple of str
        Lengths, tokens; cached ones are part of the prompt.
    finish_time, first_token_time : TimeField, optional
        Beside an arrival time; they give end-to-end time and time to first token.
    e2e, ttft, queue : DurationField, optional
        End-to-end time, time to first token, time in the queue.
    request_id : tuple of str
        What tells a repeated line from another request.
    parent_id : tuple of str
        ``request_id`` of the request that this one is a part of: that one is then no request of its own.
    model, tenant, session, finish_reason, archetype : tuple of str
        Labels. Tenant and session are stored as keyed hashes only.
    status : StatusField, optional
    error : tuple of str
        A value here (not null, false or empty) means that the request failed.
    cache_hit : tuple of str
        True here (true, 1, "true", "True") means that no GPU was asked.
    only_when : tuple of Condition
        Lines that do not meet all of them are no requests; they are counted as other lines.
    note_when : tuple of Condition
        Of the other lines, those that say something of a request: ``request_id`` and ``archetype`` are joined to it.
    zero_tokens, missing_tokens : {"failed", "quarantined"}
        What a request is that did not fail otherwise and has a prompt or output of zero tokens, or lacks one of them.
    null_values : tuple of str
        Texts that stand for no value at all, in any field.
    numbers_as_text : bool
        Whether JSON numbers may be quoted.
    """

    time: TimeField
    time_is: Literal["arrival", "finish"] = "arrival"
    prompt_tokens: Paths
    output_tokens: Paths
    cached_tokens: Paths = ()
    finish_time: TimeField | None = None
    first_token_time: TimeField | None = None
    e2e: DurationField | None = None
    ttft: DurationField | None = None
    queue: DurationField | None = None
    request_id: Paths = ()
    parent_id: Paths = ()
    model: Paths = ()
    tenant: Paths = ()
    session: Paths = ()
    finish_reason: Paths = ()
    archetype: Paths = ()
    status: StatusField | None = None
    error: Paths = ()
    cache_hit: Paths = ()
    only_when: tuple[Condition, ...] = ()
    note_when: tuple[Condition, ...] = ()
    zero_tokens: Literal["failed", "quarantined"] = "quarantined"
    missing_tokens: Literal["failed", "quarantined"] = "quarantined"
    null_values: tuple[str, ...] = ()
    numbers_as_text: bool = False

    def optional_fields(self) -> dict[str, Paths]:
        """Declared fields, beyond time and lengths, that a log has in many lines if it has them at all: their paths."""
        declared = {name: getattr(self, name) for name in _EXPECTED}
        found = {name: getattr(value, "paths", value) for name, value in declared.items()}
        return {name: paths for name, paths in found.items() if paths}

    def paths(self) -> Paths:
        """Every path that is looked at, each once, in a fixed order."""
        found: dict[str, None] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if hasattr(value, "paths"):
                found.update(dict.fromkeys(value.paths))
            elif isinstance(value, tuple) and each.name != "null_values":
                for item in value:
                    found.update(dict.fromkeys(item.paths if isinstance(item, Condition) else (item,)))
        return tuple(found)
