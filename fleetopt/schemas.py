"""Schema of every table: names, types, units and meaning. The single source; nothing is written that differs from it.

Only types that Delta stores unchanged are used: String, Int32, Int64, Float64, Boolean, Date and
Datetime("us", "UTC"). Every table has a ``day`` (UTC) and is partitioned by it.
"""

from dataclasses import dataclass

import polars as pl

UTC_MICROSECONDS = pl.Datetime("us", "UTC")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its type, and what a reader of the table has to know."""

    name: str
    dtype: pl.DataType | type[pl.DataType]
    meaning: str
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its columns in order, and the columns that identify a row."""

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def schema(self) -> pl.Schema:
        """The Polars schema, in column order."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the columns that must not be null."""
        return tuple(column.name for column in self.columns if not column.nullable)


_DAY = Column("day", pl.Date, "UTC day")
_SOURCE = Column("source", pl.String, "declared source of the logs")
_FLEET = Column("fleet", pl.String, "fleet that serves the request; one per served model")
_ARCHETYPE = Column("archetype", pl.String, "traffic class: chat, code, agent ...")
_FILE = Column("file", pl.String, "file or URL the line stands in")
_LINE_NUMBER = Column("line_number", pl.Int64, "line (Parquet: row) in the file, from 1")
_BYTE_OFFSET = Column(
    "byte_offset", pl.Int64, "offset of the line in the decompressed file, bytes; null: Parquet", nullable=True
)
_BYTE_LENGTH = Column("byte_length", pl.Int64, "length of the line without its line end, bytes", nullable=True)
_RECORD_NUMBER = Column(
    "record_number", pl.Int32, "record in the line, from 1; above 1 only where a line holds several"
)
_RECORD_HASH = Column("record_hash", pl.String, "keyed 128-bit hash of the record's bytes, hex")
_RAW_TEXT = Column("raw_text", pl.String, "the line itself; only for formats that cannot hold prompts", nullable=True)
_VERSION = Column("version", pl.String, "recommendation this row belongs to")

OBSERVED = (
    Column("ttft_s", pl.Float64, "observed time to first token, s", nullable=True),
    Column("e2e_s", pl.Float64, "observed time from arrival to the last token, s", nullable=True),
    Column("queue_s", pl.Float64, "observed time in the queue, s", nullable=True),
    Column("cached_tokens", pl.Int64, "prompt tokens that came from a prefix cache", nullable=True),
    Column("finish_reason", pl.String, "why the output ended: stop, length, ...", nullable=True),
    Column("model", pl.String, "model that the log names", nullable=True),
    Column("tenant", pl.String, "keyed hash of the tenant, hex", nullable=True),
    Column("session", pl.String, "keyed hash of the session, hex", nullable=True),
)
"""What a log says of a request beyond its lengths; null where the format does not hold it."""

_PLACE = (_FILE, _LINE_NUMBER, _RECORD_NUMBER)
_PLACE_KEY = ("source", "file", "line_number", "record_number")

RAW_REQUESTS = Table(
    "raw_requests",
    "The records of a day, parsed, each with its place; one that could not be used has a reason. Repeats are kept.",
    (
        _DAY,
        _SOURCE,
        *_PLACE,
        _BYTE_OFFSET,
        _BYTE_LENGTH,
        Column("arrival_time", UTC_MICROSECONDS, "arrival, UTC", nullable=True),
        Column("is_finish_time", pl.Boolean, "whether that is the finish, for want of a duration", nullable=True),
        Column("prompt_tokens", pl.Int64, "prompt length, tokens", nullable=True),
        Column("output_tokens", pl.Int64, "output length, tokens", nullable=True),
        Column(
            "outcome",
            pl.String,
            "served, failed, aborted, cache_hit or other_model; null where there is a reason",
            nullable=True,
        ),
        *OBSERVED,
        Column("archetype", pl.String, "traffic class that the line itself names", nullable=True),
        Column("key_hi", pl.Int64, "keyed 128-bit hash that tells a repeat, of the id or else the record: upper half"),
        Column("key_lo", pl.Int64, "lower half of it"),
        Column("has_id", pl.Boolean, "whether it is the hash of an id"),
        Column("reason", pl.String, "why the record could not be used; null when it could", nullable=True),
        _RAW_TEXT,
    ),
    key=_PLACE_KEY,
)

_REQUEST_COLUMNS = (
    _DAY,
    _SOURCE,
    _FLEET,
    _ARCHETYPE,
    Column("arrival_time", UTC_MICROSECONDS, "arrival, UTC"),
    Column("prompt_tokens", pl.Int64, "prompt length, tokens"),
    Column("output_tokens", pl.Int64, "output length, tokens"),
    *OBSERVED,
    *_PLACE,
)

STG_REQUESTS = Table(
    "stg_requests",
    "Requests of a day that GPUs served: typed, UTC, each once; not yet audited.",
    _REQUEST_COLUMNS,
    key=_PLACE_KEY,
)

UNSERVED_REQUESTS = Table(
    "unserved_requests",
    "Requests of a day that are no demand on the fleet's GPUs: failed, aborted, answered by a cache, of another model.",
    (
        _DAY,
        _SOURCE,
        _FLEET,
        _ARCHETYPE,
        Column("outcome", pl.String, "failed, aborted, cache_hit or other_model"),
        Column("arrival_time", UTC_MICROSECONDS, "arrival, UTC"),
        Column("prompt_tokens", pl.Int64, "prompt length, tokens, where it is known", nullable=True),
        Column("output_tokens", pl.Int64, "output length, tokens, where it is known", nullable=True),
        *OBSERVED,
        *_PLACE,
    ),
    key=_PLACE_KEY,
)

QUARANTINED_REQUESTS = Table(
    "quarantined_requests",
    "Records that could not be used, each once: where it stands, why, and a keyed hash of it.",
    (
        _DAY,
        _SOURCE,
        *_PLACE,
        Column("file_hash", pl.String, "SHA-256 of the file as it lies, hex"),
        _BYTE_OFFSET,
        _BYTE_LENGTH,
        Column("reason", pl.String, "why"),
        _RECORD_HASH,
        _RAW_TEXT,
    ),
    key=_PLACE_KEY,
)

STG_QUALITY = Table(
    "stg_quality",
    "Balance of a day per source: lines = requests + duplicates + quarantined, and what is unusual about them.",
    (
        _DAY,
        _SOURCE,
        Column("format", pl.String, "log format"),
        Column("files", pl.Int64, "files the day's lines came from"),
        Column("lines", pl.Int64, "records; headers and other lines that are none apart"),
        Column("requests", pl.Int64, "requests, served or not"),
        Column("duplicates", pl.Int64, "records that repeat another, usable or not; each counts once"),
        Column("quarantined", pl.Int64, "records that could not be used, each once"),
        Column("unusable_lines", pl.Int64, "the same with repeats"),
        Column("failed", pl.Int64, "of the requests, those that failed"),
        Column("aborted", pl.Int64, "of the requests, those that were aborted"),
        Column("cache_hits", pl.Int64, "of the requests, those that a cache answered"),
        Column("other_models", pl.Int64, "of the requests, those of models that are not this source's"),
        Column("models", pl.Int64, "models that the source's own requests name; 0: none is named"),
        Column(
            "duplicates_expected",
            pl.Float64,
            "of the duplicates, how many are likely requests of their own that look alike; null where ids tell",
            nullable=True,
        ),
        Column("finish_times", pl.Int64, "requests whose arrival is their finish, for want of a duration"),
        Column("clock_restarts", pl.Int64, "times that a relative clock started again within a file of the day"),
        Column("distinct_arrival_times", pl.Int64, "distinct arrival times of the requests served"),
        Column("time_step_s", pl.Float64, "step that arrival times are rounded to, s; null: none seen", nullable=True),
        Column("prompt_cap_tokens", pl.Int64, "length that prompts pile up at: cut there; null: none", nullable=True),
        Column("prompt_capped_fraction", pl.Float64, "share of prompts in that pile", nullable=True),
        Column("output_cap_tokens", pl.Int64, "length that outputs pile up at; null: none", nullable=True),
        Column("output_capped_fraction", pl.Float64, "share of outputs in that pile", nullable=True),
        Column(
            "fields_absent",
            pl.String,
            "fields that the source's own mapping declares and that none of its lines has, joined by blanks",
            nullable=True,
        ),
        Column("landing_digest", pl.String, "hash of the files' contents and the source's declaration"),
    ),
    key=("day", "source"),
)

CORE_REQUESTS = Table(
    "core_requests",
    "Requests of the days whose blocking checks passed.",
    _REQUEST_COLUMNS,
    key=_PLACE_KEY,
)

CORE_LENGTH_HISTOGRAM = Table(
    "core_length_histogram",
    "Mergeable joint histogram of prompt and output lengths per archetype and hour. A cell keeps the six leading "
    "binary digits of each length (exact below 64 tokens, at most 1/32 wide above), and the sums, so means are exact.",
    (
        _DAY,
        _FLEET,
        _ARCHETYPE,
        Column("hour", pl.Int32, "hour of the UTC day, 0-23"),
        Column("prompt_tokens_lo", pl.Int64, "lower edge of the prompt bin, tokens"),
        Column("output_tokens_lo", pl.Int64, "lower edge of the output bin, tokens"),
        Column("requests", pl.Int64, "requests in the cell"),
        Column("prompt_tokens_sum", pl.Int64, "sum of their prompt lengths, tokens"),
        Column("output_tokens_sum", pl.Int64, "sum of their output lengths, tokens"),
    ),
    key=("day", "fleet", "archetype", "hour", "prompt_tokens_lo", "output_tokens_lo"),
)

CORE_ARRIVALS = Table(
    "core_arrivals",
    "Arrivals per second; seconds without an arrival have no row.",
    (
        _DAY,
        _FLEET,
        _ARCHETYPE,
        _SOURCE,
        Column("second", pl.Int32, "second of the UTC day, 0-86399"),
        Column("requests", pl.Int64, "arrivals in that second"),
    ),
    key=("day", "source", "second"),
)

OUT_LENGTH_CDF = Table(
    "out_length_cdf",
    "Distribution of lengths over the window per archetype, with a simultaneous 95 % band.",
    (
        _DAY,
        _FLEET,
        _ARCHETYPE,
        Column("quantity", pl.String, "prompt_tokens, output_tokens or total_tokens"),
        Column("tokens", pl.Int64, "length, tokens"),
        Column("fraction", pl.Float64, "share of requests of at most that length"),
        Column("fraction_lower", pl.Float64, "lower edge of the band"),
        Column("fraction_upper", pl.Float64, "upper edge of the band"),
    ),
    key=("day", "fleet", "archetype", "quantity", "tokens"),
)

OUT_WORKLOAD_PROFILE = Table(
    "out_workload_profile",
    "What a fleet's window holds: days, rates, lengths, burstiness; a row per archetype and one, 'all', for the fleet.",
    (
        _DAY,
        _FLEET,
        _ARCHETYPE,
        Column("window_start", pl.Date, "first day of the window"),
        Column("window_days", pl.Int64, "days the window asks for"),
        Column("days_held", pl.Int64, "days the window holds: audited, with requests"),
        Column("requests", pl.Int64, "requests in the window"),
        Column("observed_s", pl.Float64, "time observed, first to last arrival of each day, s"),
        Column("mean_rate_rps", pl.Float64, "requests / time observed, 1/s"),
        Column("peak_rate_rps", pl.Float64, "highest rate over the peak window, 1/s"),
        Column("peak_time", UTC_MICROSECONDS, "start of that peak, UTC"),
        Column("peak_rate_upper_rps", pl.Float64, "upper 95 % bound of the peak rate, 1/s"),
        Column("prompt_tokens_mean", pl.Float64, "tokens"),
        Column("output_tokens_mean", pl.Float64, "tokens"),
        Column("total_tokens_p50", pl.Float64, "tokens"),
        Column("total_tokens_p99", pl.Float64, "tokens"),
        Column("idc_1s", pl.Float64, "index of dispersion of counts per second", nullable=True),
        Column("idc_10s", pl.Float64, "the same over 10 s", nullable=True),
        Column("idc_60s", pl.Float64, "the same over 60 s", nullable=True),
    ),
    key=("day", "fleet", "archetype"),
)

OUT_FLEET_CANDIDATES = Table(
    "out_fleet_candidates",
    "Every boundary and compression band that the search sized, with its cost or why it cannot work.",
    (
        _DAY,
        _FLEET,
        Column("boundary_tokens", pl.Int64, "first boundary between pools, tokens; null: one pool", nullable=True),
        Column("second_boundary_tokens", pl.Int64, "second one, tokens; null: no third pool", nullable=True),
        Column("gamma", pl.Float64, "compression band: requests up to gamma x boundary are compressed"),
        Column("is_feasible", pl.Boolean, "whether the target can be met"),
        Column("reason", pl.String, "why not", nullable=True),
        Column("replicas", pl.Int64, "replicas of all pools", nullable=True),
        Column("usd_per_hour", pl.Float64, "USD per hour", nullable=True),
        Column("is_chosen", pl.Boolean, "the plan"),
    ),
    key=("day", "fleet", "boundary_tokens", "second_boundary_tokens", "gamma"),
)

OUT_FLEET_RECOMMENDATION = Table(
    "out_fleet_recommendation",
    "The recommendation of the day, a row per fleet; the document holds all of it.",
    (
        _DAY,
        _FLEET,
        _VERSION,
        Column("status", pl.String, "feasible or infeasible"),
        Column("verdict", pl.String, "confirmed, refuted, undecided; none where there is no plan"),
        Column("reason", pl.String, "why there is no plan; empty where there is one"),
        Column("days_held", pl.Int64, "audited days that the plan learned from"),
        Column("planned_rate_rps", pl.Float64, "rate planned for, 1/s"),
        Column("slo_ttft_p99_s", pl.Float64, "target of the P99 time to first token, s"),
        Column("boundary_tokens", pl.Int64, "first boundary between pools, tokens; null: one pool", nullable=True),
        Column("second_boundary_tokens", pl.Int64, "second one, tokens; null: no third pool", nullable=True),
        Column("gamma", pl.Float64, "compression band", nullable=True),
        Column("replicas", pl.Int64, "replicas of all pools, spares included", nullable=True),
        Column("gpus", pl.Int64, "GPUs of all pools, spares included", nullable=True),
        Column("usd_per_hour", pl.Float64, "USD per hour", nullable=True),
        Column("document", pl.String, "the recommendation as canonical JSON"),
    ),
    key=("day", "fleet"),
)

OUT_SIMULATION_SUMMARY = Table(
    "out_simulation_summary",
    "What the simulator says of a plan, per scenario and pool, beside what the planner predicted.",
    (
        _DAY,
        _FLEET,
        _VERSION,
        Column(
            "scenario",
            pl.String,
            "replay: the day's own requests; poisson_peak: a Poisson stream at the planned peak",
        ),
        Column("pool", pl.String, "pool"),
        Column("replicas", pl.Int64, "replicas simulated: the spares are down"),
        Column("replications", pl.Int64, "independent replications"),
        Column("requests", pl.Int64, "requests simulated"),
        Column("rejected", pl.Int64, "requests over the context limit"),
        Column("ttft_p99_s", pl.Float64, "P99 time to first token, s", nullable=True),
        Column("ttft_p99_lower_s", pl.Float64, "lower 95 % bound, s", nullable=True),
        Column("ttft_p99_upper_s", pl.Float64, "upper 95 % bound, s", nullable=True),
        Column("slot_utilization", pl.Float64, "mean running / slots, over all time", nullable=True),
        Column("kv_utilization", pl.Float64, "mean KV blocks held / KV blocks, over all time", nullable=True),
        Column("busy", pl.Float64, "share of time in an iteration", nullable=True),
        Column("preemptions", pl.Int64, "preemptions"),
        Column("predicted_ttft_p99_s", pl.Float64, "what the planner predicted, s", nullable=True),
        Column("predicted_slot_utilization", pl.Float64, "what the planner predicted", nullable=True),
        Column("verdict", pl.String, "confirmed, refuted or undecided"),
    ),
    key=("day", "fleet", "scenario", "pool"),
)

OUT_ACCURACY_REPORT = Table(
    "out_accuracy_report",
    "How well yesterday's recommendation held on today's traffic: predicted, simulated, observed.",
    (
        _DAY,
        _FLEET,
        _VERSION,
        Column("recommended_day", pl.Date, "day of the recommendation that is judged"),
        Column("slo_ttft_p99_s", pl.Float64, "its target of the P99 time to first token, s"),
        Column("pool", pl.String, "pool"),
        Column("measure", pl.String, "ttft_p99_s or slot_utilization"),
        Column("predicted", pl.Float64, "planner, at its planned peak", nullable=True),
        Column("published", pl.Float64, "the published model of the same pool there", nullable=True),
        Column("simulated", pl.Float64, "replay of today's requests on yesterday's plan", nullable=True),
        Column("observed", pl.Float64, "in the logs, where they hold it", nullable=True),
        Column("verdict", pl.String, "held, missed or undecided against the target"),
    ),
    key=("day", "fleet", "pool", "measure"),
)

TABLES = {
    table.name: table
    for table in (
        RAW_REQUESTS,
        STG_REQUESTS,
        UNSERVED_REQUESTS,
        QUARANTINED_REQUESTS,
        STG_QUALITY,
        CORE_REQUESTS,
        CORE_LENGTH_HISTOGRAM,
        CORE_ARRIVALS,
        OUT_LENGTH_CDF,
        OUT_WORKLOAD_PROFILE,
        OUT_FLEET_CANDIDATES,
        OUT_FLEET_RECOMMENDATION,
        OUT_SIMULATION_SUMMARY,
        OUT_ACCURACY_REPORT,
    )
}

TRACE_SCHEMA = pl.Schema(
    [
        ("arrival_time", UTC_MICROSECONDS),
        ("arrival_s", pl.Float64),
        ("prompt_tokens", pl.Int64),
        ("output_tokens", pl.Int64),
        ("archetype", pl.String),
        *((column.name, column.dtype) for column in OBSERVED),
    ]
)
"""Columns of ``requests.parquet``: arrival in UTC and in seconds from the first request, lengths, archetype, and what
was observed of it, where the log holds that."""
