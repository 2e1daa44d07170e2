"""The layers that data goes through, and what the assets of a layer have in common."""

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
