"""How each request ended: served, failed, aborted or answered by a cache; and which lines are requests at all."""

from collections.abc import Callable
from typing import Final

import numpy as np

from fleetopt.ingest.fields import FALSE, NESTED
from fleetopt.ingest.labels import find_labels, is_value
from fleetopt.ingest.mapping import Condition, Mapping, StatusField
from fleetopt.ingest.parsed import ABORTED, CACHE_HIT, FAILED, OUTCOMES, SERVED
from fleetopt.ingest.values import Quantities

OUTCOME_CODE: Final = {outcome: np.uint8(code) for code, outcome in enumerate(OUTCOMES, start=1)}
UNKNOWN_OUTCOME: Final = np.uint8(0)

_CLIENT_WENT_AWAY: Final = (0, 499)
_MOST_STATUS_DIGITS: Final = 9


def find_outcomes(quantities: Quantities, mapping: Mapping, hash_key: bytes) -> np.ndarray:
    """Say how each request ended, by everything but its model and its lengths.

    Its status counts before an error, and that before a cache hit.

    Returns
    -------
    np.ndarray
        uint8[n]: of `OUTCOME_CODE`; `UNKNOWN_OUTCOME` where the status is none of those that are declared.
    """
    outcome = np.full(len(quantities), OUTCOME_CODE[SERVED])
    if mapping.cache_hit:
        is_hit = find_labels(quantities, mapping.cache_hit, hash_key).among(lambda text: text.lower() in {"true", "1"})
        outcome[is_hit] = OUTCOME_CODE[CACHE_HIT]
    if mapping.error:
        outcome[_has_error(quantities, mapping.error)] = OUTCOME_CODE[FAILED]
    if mapping.status is not None:
        labels = find_labels(quantities, mapping.status.paths, hash_key)
        code_of = np.array([OUTCOME_CODE[SERVED], *map(_reading(mapping.status), labels.texts)], np.uint8)
        status = code_of[labels.codes]
        outcome = np.where(status == OUTCOME_CODE[SERVED], outcome, status)
    return outcome


def meets(quantities: Quantities, conditions: tuple[Condition, ...], hash_key: bytes) -> np.ndarray:
    """Return bool[n]: whether each record meets all conditions."""
    is_met = np.ones(len(quantities), np.bool_)
    for condition in conditions:
        if condition.values:
            labels = find_labels(quantities, condition.paths, hash_key)
            is_met &= labels.among(condition.values.__contains__, absent="" in condition.values)
        else:
            is_met &= is_value(quantities.find(condition.paths))
    return is_met


def _has_error(quantities: Quantities, paths: tuple[str, ...]) -> np.ndarray:
    values = quantities.find(paths)
    has_error = is_value(values) & (values.kind != FALSE)
    nested = np.flatnonzero(values.kind == NESTED)
    has_error[nested] = [bool(text[1:-1].strip()) for text in values.texts(nested)]
    return has_error


def _reading(field: StatusField) -> Callable[[str], np.uint8]:
    if field.is_http:
        return _of_http_status
    outcome_of = {
        value.lower(): OUTCOME_CODE[outcome]
        for outcome, values in ((SERVED, field.served), (FAILED, field.failed), (ABORTED, field.aborted))
        for value in values
    }
    return lambda text: outcome_of.get(text.lower(), UNKNOWN_OUTCOME)


def _of_http_status(text: str) -> np.uint8:
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_STATUS_DIGITS):
        return UNKNOWN_OUTCOME
    status = int(text)
    if status in _CLIENT_WENT_AWAY:
        return OUTCOME_CODE[ABORTED]
    return OUTCOME_CODE[SERVED if status < 400 else FAILED]
