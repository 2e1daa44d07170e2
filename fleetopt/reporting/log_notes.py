"""What is unusual about a source's logs, in sentences: on the day's check, the recommendation and its page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_COUNTS: Final = (
    *("files", "lines", "requests", "duplicates", "quarantined", "unusable_lines"),
    *("failed", "aborted", "cache_hits", "other_models"),
    *("duplicates_expected", "finish_times", "clock_restarts", "distinct_arrival_times"),
)
_NOT_DEMAND: Final = {
    "failed": "failed",
    "aborted": "were aborted",
    "cache_hits": "were answered by a cache",
    "other_models": "were for other models",
}


def summed(days: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One row of quality for several days of a source: counts added, the coarsest clock, the largest piles.

    Parameters
    ----------
    days : sequence of mapping
        Rows of `fleetopt.schemas.STG_QUALITY` of one source, at least one.
    """
    total: dict[str, Any] = {name: sum(day[name] or 0 for day in days) for name in _COUNTS}
    total["time_step_s"] = max(day["time_step_s"] or 0.0 for day in days) or None
    for length in ("prompt", "output"):
        worst = max(days, key=lambda day: day[f"{length}_capped_fraction"] or 0.0)
        for name in (f"{length}_cap_tokens", f"{length}_capped_fraction"):
            total[name] = worst[name]
    absent = [set((day["fields_absent"] or "").split()) for day in days]
    total["fields_absent"] = " ".join(sorted(set.intersection(*absent))) or None
    return total


def log_notes(row: Mapping[str, Any]) -> Iterator[str]:
    """Say what is unusual about a source: nothing of it is wrong, but plans made from it bear it.

    Parameters
    ----------
    row : mapping
        Of `fleetopt.schemas.STG_QUALITY`, or of `summed`.

    Yields
    ------
    str
        Parts of sentences that go on from the source's name.
    """
    if row["requests"] and row["other_models"] == row["requests"]:
        yield "all of its requests are of other models than those it declares, so it adds nothing to the demand"
    if row["fields_absent"]:
        absent = ", ".join(row["fields_absent"].split())
        yield f"its mapping declares {absent}, for which no line has a value: look whether the path is right"
    if row["clock_restarts"]:
        restarts = _counted(row["clock_restarts"], "time")
        yield f"its clock starts again {restarts} within a file; segment_starts says where"
    if row["time_step_s"] is not None:
        yield (
            f"arrival times are in steps of {row['time_step_s']:g} s ({row['distinct_arrival_times']:,} distinct "
            "ones), so bursts within a step are an artefact that a replay takes at face value"
        )
    for length in ("prompt", "output"):
        if row[f"{length}_cap_tokens"] is not None:
            yield (
                f"{row[f'{length}_capped_fraction']:.1%} of the {length}s pile up at {row[f'{length}_cap_tokens']:,} "
                "tokens: they were cut there, and what is longer was never seen"
            )
    if row["finish_times"]:
        yield (
            f"the finish is taken for the arrival of {_counted(row['finish_times'], 'request')}, for want of a "
            "duration, which smooths bursts"
        )
    if (row["duplicates_expected"] or 0) >= 1:
        yield (
            f"about {row['duplicates_expected']:,.0f} of the {row['duplicates']:,} duplicates are likely requests of "
            "their own that look alike; ids would tell"
        )


def count_notes(row: Mapping[str, Any]) -> Iterator[str]:
    """Say which lines are not among the demand; arguments and form as in `log_notes`."""
    if row["duplicates"]:
        yield f"of the lines {row['duplicates']:,} repeat another; each request counts once"
    if row["quarantined"]:
        yield f"of the lines {row['unusable_lines']:,} could not be used and are not demand here"
    unserved = [f"{row[name]:,} {what}" for name, what in _NOT_DEMAND.items() if row[name]]
    if unserved:
        yield f"of its requests {', '.join(unserved)}: no demand on these GPUs"


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
