"""From the fields of a batch of records to times, lengths, outcomes and labels, as a mapping says."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import numpy as np
import polars as pl

from fleetopt.ingest.fields import Fields
from fleetopt.ingest.kernels import numbers
from fleetopt.ingest.labels import Labels, archetype_name, find_ids, find_labels, keyed_label, short_label
from fleetopt.ingest.mapping import DurationField, Mapping, Paths, TimeField
from fleetopt.ingest.outcomes import OUTCOME_CODE, UNKNOWN_OUTCOME, find_outcomes, meets
from fleetopt.ingest.parsed import FAILED, OTHER_MODEL, OUTCOMES, PARSED_SCHEMA, SERVED
from fleetopt.ingest.reasons import MAX_TOKENS, REASON_CODE, REASONS
from fleetopt.ingest.records import FAULTS
from fleetopt.ingest.times import MAX_DURATION_S, Times, in_range, read_durations, read_times
from fleetopt.ingest.values import Quantities
from fleetopt.schemas import UTC_MICROSECONDS

# Polars puts off its own import of numpy to when it first meets an array, and two threads that meet one at the same
# time break that import. So it meets one here, before there are threads.
pl.Series(np.empty(0))

_OF_FAULT: Final = np.array([0, *(REASON_CODE[fault] for fault in FAULTS if fault is not None)], np.uint8)
_OF_COUNT: Final = np.zeros(6, np.uint8)
for _found, _reason in {
    numbers.ABSENT: "missing_field",
    numbers.UNREADABLE: "bad_number",
    numbers.BELOW_ZERO: "negative_tokens",
    numbers.ZERO: "zero_tokens",
    numbers.TOO_LARGE: "out_of_range",
}.items():
    _OF_COUNT[_found] = REASON_CODE[_reason]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpretation:
    """What is declared of a log besides its format.

    Attributes
    ----------
    timezone : str
        IANA zone of times that carry none.
    clock_start : datetime.datetime, optional
        Where a relative clock starts, with a zone.
    time_is : {"arrival", "finish"}, optional
        What the logged time is; None: as the format says.
    hash_key : bytes
        Key of the hashes of ids, tenants and sessions, 1 to 64 bytes.
    models : frozenset of str, optional
        Models whose requests are the source's own; None: all.
    """

    timezone: str = "UTC"
    clock_start: datetime | None = None
    time_is: Literal["arrival", "finish"] | None = None
    hash_key: bytes
    models: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class _Counts:
    """A number of tokens per record: int64[n], and uint8[n] what became of each (`numbers.READ` ...)."""

    value: np.ndarray
    found: np.ndarray

    @property
    def is_known(self) -> np.ndarray:
        return (self.found == numbers.READ) | (self.found == numbers.ZERO)


def interpret(fields: Fields, mapping: Mapping, how: Interpretation) -> pl.DataFrame:
    """Read a batch of records.

    A record that cannot be used has a reason: that of the first of the record as a whole, its time, its status, its
    prompt's length and its output's. Requests that were not served need a readable time only; their lengths are kept
    where they can be read, zero too. A request that names no model is taken for the source's own.

    Whatever else a log says is null where it cannot be read or cannot be: durations below zero, more cached tokens than
    the prompt has, labels too long to be one. Durations are whole nanoseconds; where a log has none, they are the
    differences of its times.

    Parameters
    ----------
    fields : Fields
        Of all ``mapping.paths()``.
    mapping : Mapping
    how : Interpretation

    Returns
    -------
    pl.DataFrame
        `PARSED_SCHEMA`, a row per record, in order.

    Raises
    ------
    InputError
        If the format's clock is relative and has no declared start.
    """
    return _Batch(fields, mapping, how).frame()


class _Batch:
    """One batch, while it is read."""

    def __init__(self, fields: Fields, mapping: Mapping, how: Interpretation) -> None:
        self._mapping, self._how = mapping, how
        self._quantities = Quantities(fields, mapping)
        self._fault = _OF_FAULT[fields.fault]
        is_readable = fields.fault == 0
        self._is_other = fields.is_other & is_readable
        self._is_note = np.zeros(len(self._fault), np.bool_)
        if mapping.only_when:
            is_request = meets(self._quantities, mapping.only_when, how.hash_key)
            if mapping.note_when:
                is_line = is_readable & ~self._is_other & ~is_request
                self._is_note = is_line & meets(self._quantities, mapping.note_when, how.hash_key)
            self._is_other |= is_readable & ~is_request

    def frame(self) -> pl.DataFrame:
        """Read all of it."""
        logged, e2e_ns = self._time(self._mapping.time), self._duration(self._mapping.e2e)
        arrival, is_finish = self._arrival(logged, e2e_ns)
        prompt, output = self._counts(self._mapping.prompt_tokens), self._counts(self._mapping.output_tokens)
        model = self._labels(self._mapping.model)
        reason, outcome = self._judge(arrival, prompt, output, model)
        is_usable = (reason == 0) & ~self._is_other
        columns = {
            "is_other": pl.Series(self._is_other),
            **self._times(logged, arrival, is_finish),
            **self._tokens(prompt, output, is_usable),
            **self._durations(arrival, is_finish, e2e_ns, is_usable),
            **self._label_columns(model, is_usable),
            **self._ids(),
        }
        if not is_usable.all() or (outcome != OUTCOME_CODE[SERVED]).any():
            columns["outcome"] = _named(OUTCOMES, np.where(is_usable, outcome, 0))
            columns["reason"] = _named(tuple(REASONS), np.where(self._is_other, 0, reason))
        same = {"outcome": SERVED, "is_finish_time": is_finish is not None}
        return (
            pl.DataFrame(columns)
            .with_columns(
                pl.lit(same.get(name), dtype=dtype).alias(name)
                for name, dtype in PARSED_SCHEMA.items()
                if name not in columns
            )
            .select(PARSED_SCHEMA.names())
        )

    def _time(self, field: TimeField) -> Times:
        return read_times(self._quantities, field, timezone=self._how.timezone, clock_start=self._how.clock_start)

    def _duration(self, field: DurationField | None) -> np.ndarray | None:
        return None if field is None else read_durations(self._quantities, field)

    def _counts(self, paths: Paths) -> _Counts:
        values, n = self._quantities.find(paths), len(self._fault)
        counts = _Counts(np.empty(n, np.int64), np.empty(n, np.uint8))
        numbers.read_counts(
            *(values.data, values.start, values.end, values.kind, self._quantities.is_text_number),
            *(MAX_TOKENS, counts.value, counts.found),
        )
        return counts

    def _labels(self, paths: Paths) -> Labels | None:
        return find_labels(self._quantities, paths, self._how.hash_key) if paths else None

    def _arrival(self, logged: Times, e2e_ns: np.ndarray | None) -> tuple[Times, np.ndarray | None]:
        """Return the arrivals, and of logs of finish times which of them are such; None: all or none."""
        if not self._is_finish_log:
            return logged, None
        if e2e_ns is None:
            return logged, np.ones(len(self._fault), np.bool_)
        is_finish = e2e_ns < 0
        return in_range(Times(logged.us - np.where(is_finish, 0, e2e_ns // 1000), logged.reason)), is_finish

    @property
    def _is_finish_log(self) -> bool:
        return (self._how.time_is or self._mapping.time_is) == "finish"

    def _judge(
        self, arrival: Times, prompt: _Counts, output: _Counts, model: Labels | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return reasons and outcomes, as codes; the outcome of a record with a reason means nothing."""
        outcome = find_outcomes(self._quantities, self._mapping, self._how.hash_key)
        models = self._how.models
        if models is not None and model is not None:
            outcome[model.among(lambda text: text not in models)] = OUTCOME_CODE[OTHER_MODEL]
        reason = np.where(self._fault, self._fault, arrival.reason)
        reason[(reason == 0) & (outcome == UNKNOWN_OUTCOME)] = REASON_CODE["bad_status"]
        for counts in (prompt, output):
            if not counts.found.any():
                continue
            is_served, is_failure = outcome == OUTCOME_CODE[SERVED], self._is_failure(counts)
            found = np.where(is_served & ~is_failure, _OF_COUNT[counts.found], np.uint8(0))
            reason = np.where(reason, reason, found)
            outcome[is_served & is_failure] = OUTCOME_CODE[FAILED]
        return reason, outcome

    def _is_failure(self, counts: _Counts) -> np.ndarray:
        """Whether lengths are such as the format writes for requests that failed."""
        is_failure = np.zeros(len(self._fault), np.bool_)
        if self._mapping.zero_tokens == "failed":
            is_failure |= counts.found == numbers.ZERO
        if self._mapping.missing_tokens == "failed":
            is_failure |= counts.found == numbers.ABSENT
        return is_failure

    def _times(self, logged: Times, arrival: Times, is_finish: np.ndarray | None) -> dict[str, pl.Series]:
        is_known = arrival.is_known & ~self._is_other
        columns = {"arrival_time": _nullable(arrival.us, is_known).cast(UTC_MICROSECONDS)}
        if logged is arrival and not self._is_note.any():
            columns["logged_time"] = columns["arrival_time"]
        else:
            is_given = logged.is_known & (~self._is_other | self._is_note)
            columns["logged_time"] = _nullable(logged.us, is_given).cast(UTC_MICROSECONDS)
        if is_finish is not None or not is_known.all():
            is_finish = np.zeros(len(is_known), np.bool_) if is_finish is None else is_finish
            columns["is_finish_time"] = _nullable(is_finish, is_known)
        return columns

    def _tokens(self, prompt: _Counts, output: _Counts, is_usable: np.ndarray) -> dict[str, pl.Series]:
        columns = {
            "prompt_tokens": _nullable(prompt.value, prompt.is_known & is_usable),
            "output_tokens": _nullable(output.value, output.is_known & is_usable),
        }
        if self._mapping.cached_tokens:
            cached = self._counts(self._mapping.cached_tokens)
            is_possible = cached.is_known & prompt.is_known & (cached.value <= prompt.value)
            columns["cached_tokens"] = _nullable(cached.value, is_possible & is_usable)
        return columns

    def _durations(
        self, arrival: Times, is_finish: np.ndarray | None, e2e_ns: np.ndarray | None, is_usable: np.ndarray
    ) -> dict[str, pl.Series]:
        mapping = self._mapping
        is_arrival = arrival.is_known if is_finish is None else arrival.is_known & ~is_finish
        found = {
            "e2e_s": (e2e_ns, mapping.finish_time if is_finish is None else None),
            "ttft_s": (self._duration(mapping.ttft), mapping.first_token_time),
            "queue_s": (self._duration(mapping.queue), None),
        }
        columns = {}
        for name, (measured_ns, until) in found.items():
            ns = measured_ns if until is None else _since(arrival.us, is_arrival, self._time(until), measured_ns)
            if ns is not None:
                columns[name] = pl.Series(np.where(is_usable & (ns >= 0), ns / 1e9, np.nan)).fill_nan(None)
        return columns

    def _label_columns(self, model: Labels | None, is_usable: np.ndarray) -> dict[str, pl.Series]:
        mapping, key = self._mapping, self._how.hash_key
        found: dict[str, tuple[Labels | None, Callable[[str], str | None]]] = {
            "model": (model, short_label),
            "finish_reason": (self._labels(mapping.finish_reason), short_label),
            "tenant": (self._labels(mapping.tenant), lambda text: keyed_label(text, key, "tenant")),
            "session": (self._labels(mapping.session), lambda text: keyed_label(text, key, "session")),
            "archetype": (self._labels(mapping.archetype), archetype_name),
        }
        is_named = is_usable | self._is_note
        return {
            name: labels.column(written, is_named if name == "archetype" else is_usable)
            for name, (labels, written) in found.items()
            if labels is not None
        }

    def _ids(self) -> dict[str, pl.Series]:
        columns = {}
        is_request = ~self._is_other
        for name, paths, is_given in (
            ("id", self._mapping.request_id, is_request | self._is_note),
            ("parent", self._mapping.parent_id, is_request),
        ):
            if paths:
                high, low, is_held = find_ids(self._quantities, paths, self._how.hash_key)
                columns[f"{name}_hi"] = _nullable(high, is_held & is_given)
                columns[f"{name}_lo"] = _nullable(low, is_held & is_given)
        return columns


def _since(start_us: np.ndarray, is_known: np.ndarray, until: Times, measured_ns: np.ndarray | None) -> np.ndarray:
    """Durations up to another time, ns, where none were measured; -1: none."""
    us = until.us - start_us
    is_possible = is_known & until.is_known & (us >= 0) & (us <= MAX_DURATION_S * 10**6)
    difference_ns = np.where(is_possible, us * 1000, -1)
    return difference_ns if measured_ns is None else np.where(measured_ns < 0, difference_ns, measured_ns)


def _nullable(values: np.ndarray[Any, Any], is_held: np.ndarray[Any, Any]) -> pl.Series:
    series = pl.Series(values)
    return series if is_held.all() else series.set(pl.Series(~is_held), None)


def _named(names: tuple[str, ...], codes: np.ndarray[Any, Any]) -> pl.Series:
    """Names by their numbers, from 1; null for 0."""
    return pl.Series([None, *names], dtype=pl.String).gather(pl.Series(codes))
