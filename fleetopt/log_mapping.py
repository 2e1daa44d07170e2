"""The section ``[source.<name>.mapping]`` of a configuration: a user's own log format, declared without code."""

from collections.abc import Mapping as AnyMapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self

import polars as pl
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    field_validator,
    model_validator,
)

TIME_UNITS: Final = ("iso", "s", "ms", "us", "ns")
_ANY_TIME: Final = datetime(2031, 10, 23, 21, 43, 57, tzinfo=UTC)
_MISREAD: Final = {
    ".%f": "write %.f for decimals of a second",
    "%Z": "names of zones are not read; write %z for an offset, or give the source's timezone",
    "%s": 'write unit = "s" for seconds since 1970',
}
"""What patterns must not hold: it would be read as another time, without a word."""


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _as_table(value: object) -> object:
    return value if isinstance(value, AnyMapping) else {"path": value}


def _one_sign(value: str) -> str:
    if len(value) != 1 or not value.isascii() or value in '"\r\n\0':
        raise ValueError("needs one ASCII character, neither a quote nor a line end")
    return value


Text = Annotated[str, Field(min_length=1)]
Paths = Annotated[tuple[Text, ...], BeforeValidator(_as_list), Field(min_length=1)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_as_list)]


class _Section(BaseModel):
    # White space counts: a delimiter may be a tab, and names of columns are what they are.
    model_config = ConfigDict(frozen=True, extra="forbid")


class LogTime(_Section):
    """A time.

    Attributes
    ----------
    path : str or list of str
        Column, or keys of nested JSON objects joined by dots; of several the first that holds a value counts.
    unit : str
        ``"iso"``: text such as 2025-05-01T01:31:14.787Z, with or without zone; ``"s"``, ``"ms"``, ``"us"``, ``"ns"``: a
        number; or a pattern such as ``"%d/%b/%Y:%H:%M:%S %z"`` (Rust's chrono, as in Polars).
    epoch : datetime.datetime, optional
        What a number counts from; default: 1970.
    is_relative : bool
        Whether a number counts from the source's ``clock_start`` instead.
    """

    path: Paths
    unit: str = "iso"
    epoch: datetime | None = None
    is_relative: StrictBool = False

    @field_validator("unit")
    @classmethod
    def _tells_a_time(cls, unit: str) -> str:
        if unit not in TIME_UNITS:
            check_pattern(unit)
        return unit

    @field_validator("epoch")
    @classmethod
    def _has_zone(cls, epoch: datetime | None) -> datetime | None:
        if epoch is not None and epoch.tzinfo is None:
            raise ValueError("needs a zone, for example 2001-01-01T00:00:00Z")
        return epoch

    @model_validator(mode="after")
    def _only_numbers_count_from_something(self) -> Self:
        if (self.epoch or self.is_relative) and self.unit not in TIME_UNITS[1:]:
            raise ValueError(f"only numbers count from an epoch or a clock's start; unit is '{self.unit}'")
        if self.epoch and self.is_relative:
            raise ValueError("give epoch or is_relative, not both")
        return self


class LogDuration(_Section):
    """A duration: where it is, and its unit."""

    path: Paths
    unit: Literal["s", "ms", "us", "ns"] = "s"


class LogStatus(_Section):
    """How a request ended: where that is, and which values mean what; or that it is an HTTP status."""

    path: Paths
    served: Texts = ()
    failed: Texts = ()
    aborted: Texts = ()
    is_http: StrictBool = False

    @model_validator(mode="after")
    def _says_which_values_mean_what(self) -> Self:
        values = [value.lower() for value in (*self.served, *self.failed, *self.aborted)]
        if bool(values) == self.is_http:
            raise ValueError("give the values of served, failed and aborted, or is_http = true, not both")
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise ValueError(f"'{twice}' is there twice; case does not count")
        return self


class LogCondition(_Section):
    """A field and the values that it may have: ``""`` stands for none, and without any value any will do."""

    path: Paths
    values: Texts = ()


_Time = Annotated[LogTime, BeforeValidator(_as_table)]
_Duration = Annotated[LogDuration, BeforeValidator(_as_table)]


class LogMapping(_Section):
    """Which field of a log holds what. Only ``container``, ``time`` and the two lengths are needed.

    A field is a column of CSV or Parquet, or keys of nested JSON objects joined by dots; in place of one, a list of
    alternatives may stand, of which the first that holds a value counts.

    Attributes
    ----------
    container : {"csv", "jsonl", "parquet"}
    delimiter, quoted
        Of CSV. Without quotes around fields it is read faster.
    header : list of str
        Columns by which a header line of CSV is known. Default: those of time and lengths that have no alternative.
    holds_text : bool
        Whether a line can hold prompts; unless it is said that none can, bad lines are never kept.
    time, finish_time, first_token_time : LogTime
    time_is : {"arrival", "finish"}
        What ``time`` is. A finish with ``e2e`` gives the arrival.
    prompt_tokens, output_tokens, cached_tokens
    e2e, ttft, queue : LogDuration
        End-to-end time, time to first token, time in the queue.
    request_id, parent_id
        What tells repeats; a request that is another's parent is none of its own.
    model, tenant, session, finish_reason, archetype
        Labels. Tenants and sessions are stored as keyed hashes.
    status : LogStatus
    error, cache_hit
        A value in ``error`` means failed; true in ``cache_hit`` means that no GPU was asked.
    only_when, note_when : list of LogCondition
        Lines that are requests; and of the others those that name a request's archetype, joined by ``request_id``.
    zero_tokens, missing_tokens : {"failed", "quarantined"}
        What a request without prompt or output is.
    numbers_as_text : bool
        Whether JSON numbers may be quoted.
    null_values : list of str
        Texts that stand for no value.
    """

    container: Literal["csv", "jsonl", "parquet"]
    delimiter: Annotated[str, AfterValidator(_one_sign)] = ","
    quoted: StrictBool = True
    header: Texts = ()
    holds_text: StrictBool = True
    time: _Time
    time_is: Literal["arrival", "finish"] = "arrival"
    prompt_tokens: Paths
    output_tokens: Paths
    cached_tokens: Paths | None = None
    finish_time: _Time | None = None
    first_token_time: _Time | None = None
    e2e: _Duration | None = None
    ttft: _Duration | None = None
    queue: _Duration | None = None
    request_id: Paths | None = None
    parent_id: Paths | None = None
    model: Paths | None = None
    tenant: Paths | None = None
    session: Paths | None = None
    finish_reason: Paths | None = None
    archetype: Paths | None = None
    status: LogStatus | None = None
    error: Paths | None = None
    cache_hit: Paths | None = None
    only_when: tuple[LogCondition, ...] = ()
    note_when: tuple[LogCondition, ...] = ()
    zero_tokens: Literal["failed", "quarantined"] = "quarantined"
    missing_tokens: Literal["failed", "quarantined"] = "quarantined"
    numbers_as_text: StrictBool = False
    null_values: Texts = ()

    @model_validator(mode="after")
    def _keys_agree(self) -> Self:
        of_csv = {"delimiter", "quoted", "header"} & self.model_fields_set
        if of_csv and self.container != "csv":
            raise ValueError(f"{min(of_csv)} is a key of csv; the container is {self.container}")
        if self.container == "csv" and not self.header_columns:
            raise ValueError("name the columns by which a header line is known in header = [...]")
        if self.note_when and not (self.only_when and self.request_id):
            raise ValueError("note_when needs only_when and request_id")
        for name in ("finish_time", "first_token_time"):
            other: LogTime | None = getattr(self, name)
            if other is not None and other.is_relative != self.time.is_relative:
                raise ValueError(f"{name} and time must both be relative, or neither")
        return self

    @property
    def header_columns(self) -> tuple[str, ...]:
        """Columns by which a header line is known."""
        needed = (self.time.path, self.prompt_tokens, self.output_tokens)
        return self.header or tuple(dict.fromkeys(paths[0] for paths in needed if len(paths) == 1))


def check_pattern(pattern: str) -> None:
    """Raise `ValueError` unless Polars writes and reads times by a pattern, to the minute at least."""
    if "%" not in pattern:
        raise ValueError(f"'{pattern}' is neither one of {', '.join(TIME_UNITS)} nor a pattern with %Y, %m, ...")
    for part, instead in _MISREAD.items():
        if part in pattern.replace("%%", ""):
            raise ValueError(f"'{pattern}': {instead}")
    written = pl.Series([_ANY_TIME], dtype=pl.Datetime("us", "UTC"))
    try:
        read: Any = written.dt.to_string(pattern).str.to_datetime(pattern, time_unit="us", strict=False)[0]
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"'{pattern}' is no pattern that can be read") from error
    if read is None or read.replace(tzinfo=UTC, second=0) != _ANY_TIME.replace(second=0):
        raise ValueError(f"'{pattern}' does not tell year, month, day, hour and minute")
