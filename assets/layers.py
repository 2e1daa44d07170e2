"""The layers that data goes through, and what the assets of a layer have in common."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

RAW = "raw"
STAGING = "staging"
CORE = "core"
OUT = "out"
PUBLISHED = "published"

CORE_TABLES = ("core_requests", "core_length_histogram", "core_arrivals")
"""Tables that hold audited days only; a day is withdrawn from all of them before it is staged again."""

PLAN_TABLES = (
    "out_fleet_candidates",
    "out_simulation_summary",
    "out_fleet_recommendation",
    "out_accuracy_report",
)
"""Tables of what was concluded from a day; withdrawn together with it, until it is planned again."""

PROVENANCE_TABLES = (
    "core_requests",
    "core_length_histogram",
    "core_arrivals",
    "stg_quality",
    "out_fleet_recommendation",
)
"""Tables whose versions are kept beside a recommendation."""

READ_RETRY = dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""For steps that read places outside: a store that does not answer may do so in a minute."""

WRITE_RETRY = dg.RetryPolicy(max_retries=2, delay=1)
"""For steps that write tables: a commit that lost against another writer is made again."""


@contextmanager
def full_disk_is_final() -> Iterator[None]:
    """Fail a step at once and in one line where a disk is full: it would be full at the next try too."""
    try:
        yield
    except Exception as error:
        if getattr(error, "errno", None) != errno.ENOSPC and "No space left on device" not in str(error):
            raise
        summary = "no space is left on the disk; make room and run the day again"
        raise dg.Failure(description=summary, metadata={"summary": summary}, allow_retries=False) from error
