"""Formats that users declare in their configuration, in place of a module here."""

from fleetopt.config import Source
from fleetopt.ingest.formats import get_format
from fleetopt.ingest.formats.definition import Csv, JsonLines, LogFormat
from fleetopt.ingest.mapping import Condition, DurationField, Mapping, StatusField, TimeField
from fleetopt.log_mapping import LogCondition, LogDuration, LogMapping, LogStatus, LogTime


def log_format_of(source: Source) -> LogFormat:
    """Return the log format of a source: one of the registry, or that of its mapping.

    Raises
    ------
    InputError
        If there is no format of that name.
    """
    if source.mapping is None:
        return get_format(source.format)
    declared = source.mapping
    csv = Csv(header=declared.header_columns, delimiter=declared.delimiter, quoted=declared.quoted)
    return LogFormat(
        name=source.format,
        description="The source's own format, as its mapping says.",
        example="",
        # Parquet is known by its own first bytes, and read as JSON lines are.
        container=csv if declared.container == "csv" else JsonLines(),
        mapping=mapping_of(declared),
        holds_text=declared.holds_text,
        recognises=lambda sample: False,
    )


def mapping_of(declared: LogMapping) -> Mapping:
    """Return what a declared mapping means."""
    return Mapping(
        time=_time(declared.time),
        time_is=declared.time_is,
        prompt_tokens=declared.prompt_tokens,
        output_tokens=declared.output_tokens,
        cached_tokens=declared.cached_tokens or (),
        finish_time=None if declared.finish_time is None else _time(declared.finish_time),
        first_token_time=None if declared.first_token_time is None else _time(declared.first_token_time),
        e2e=_duration(declared.e2e),
        ttft=_duration(declared.ttft),
        queue=_duration(declared.queue),
        request_id=declared.request_id or (),
        parent_id=declared.parent_id or (),
        model=declared.model or (),
        tenant=declared.tenant or (),
        session=declared.session or (),
        finish_reason=declared.finish_reason or (),
        archetype=declared.archetype or (),
        status=_status(declared.status),
        error=declared.error or (),
        cache_hit=declared.cache_hit or (),
        only_when=_conditions(declared.only_when),
        note_when=_conditions(declared.note_when),
        zero_tokens=declared.zero_tokens,
        missing_tokens=declared.missing_tokens,
        numbers_as_text=declared.numbers_as_text,
        null_values=declared.null_values,
    )


def _time(declared: LogTime) -> TimeField:
    return TimeField(paths=declared.path, unit=declared.unit, is_relative=declared.is_relative, epoch=declared.epoch)


def _duration(declared: LogDuration | None) -> DurationField | None:
    return None if declared is None else DurationField(paths=declared.path, unit=declared.unit)


def _status(declared: LogStatus | None) -> StatusField | None:
    if declared is None:
        return None
    return StatusField(
        paths=declared.path,
        served=declared.served,
        failed=declared.failed,
        aborted=declared.aborted,
        is_http=declared.is_http,
    )


def _conditions(declared: tuple[LogCondition, ...]) -> tuple[Condition, ...]:
    return tuple(Condition(paths=each.path, values=each.values) for each in declared)
