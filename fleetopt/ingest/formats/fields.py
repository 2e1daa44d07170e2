"""Reading of text fields, shared by the formats: token counts and times, a value or the reason why there is none."""

import polars as pl

from fleetopt.ingest.reasons import MAX_TOKENS
from fleetopt.schemas import UTC_MICROSECONDS

# Character classes are spelled out: \d would admit the digits of every script.
_TIME = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
    r"(?:Z|[+-](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?)?$"
)
_ZONE = r"(Z|[+-][0-9]{2}(?::?[0-9]{2})?)$"
_OFFSET = r"^([+-])([0-9]{2}):?([0-9]{2})?$"


def token_count(field: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Read a token count.

    Parameters
    ----------
    field : pl.Expr
        String.

    Returns
    -------
    tuple of pl.Expr, pl.Expr
        Int64, null where there is a reason; the reason or null.
    """
    value = field.cast(pl.Int64, strict=False)
    reason = (
        pl.when(field.str.contains(r"^[0-9]+$"))
        .then(
            pl.when(value.is_null() | (value > MAX_TOKENS))
            .then(pl.lit("out_of_range"))
            .when(value == 0)
            .then(pl.lit("zero_tokens"))
        )
        .when(field.str.contains(r"^-[0-9]+$"))
        .then(pl.lit("negative_tokens"))
        .when(field == "")
        .then(pl.lit("missing_field"))
        .otherwise(pl.lit("bad_number"))
    )
    return pl.when(reason.is_null()).then(value), reason


def utc_times(text: pl.Series, timezone: str) -> pl.DataFrame:
    """Read times such as ``2023-11-16 18:15:46.6805900`` or ``2025-05-01T01:31:14Z``.

    Zero to nine fractional digits, mixed at will, of which six count; with ``Z``, an offset, or neither.

    Parameters
    ----------
    text : pl.Series
        String[n].
    timezone : str
        IANA zone of times that carry none.

    Returns
    -------
    pl.DataFrame
        ``arrival_time`` (UTC, microseconds, null where it cannot be read) and ``reason``, n rows.
    """
    zone = text.str.extract(_ZONE)
    is_readable = text.str.contains(_TIME)
    wall = (
        text.str.head(pl.Series("length", text.str.len_chars().cast(pl.Int64) - zone.str.len_chars().fill_null(0)))
        if zone.null_count() < len(zone)
        else text
    )
    # A second of 60 and an hour of 24 would be read as the next day; the pattern refuses both.
    naive = wall.str.replace("T", " ", literal=True).str.to_datetime(
        "%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False
    )
    frame = pl.DataFrame({"text": text, "zone": zone, "naive": naive, "is_readable": is_readable})
    return frame.select(_utc(timezone), reason=_time_reason(timezone))


def _offset() -> pl.Expr:
    parts = pl.col("zone").str.extract_groups(_OFFSET).struct
    minutes = parts.field("2").cast(pl.Int64) * 60 + parts.field("3").cast(pl.Int64).fill_null(0)
    signed = pl.when(parts.field("1") == "-").then(-minutes).otherwise(minutes)
    return pl.duration(minutes=signed.fill_null(0))


def _local(timezone: str, ambiguous: str = "null") -> pl.Expr:
    return (
        pl.col("naive")
        .dt.replace_time_zone(timezone, ambiguous=pl.lit(ambiguous), non_existent="null")
        .dt.convert_time_zone("UTC")
    )


def _utc(timezone: str) -> pl.Expr:
    return (
        pl.when(~pl.col("is_readable"))
        .then(pl.lit(None, dtype=UTC_MICROSECONDS))
        .when(pl.col("zone").is_not_null())
        .then(pl.col("naive").dt.replace_time_zone("UTC") - _offset())
        .otherwise(_local(timezone))
        .alias("arrival_time")
    )


def _time_reason(timezone: str) -> pl.Expr:
    is_local = pl.col("zone").is_null()
    return (
        pl.when(pl.col("text") == "")
        .then(pl.lit("missing_field"))
        .when(~pl.col("is_readable") | pl.col("naive").is_null())
        .then(pl.lit("bad_time"))
        .when(is_local & _local(timezone, "earliest").is_null())
        .then(pl.lit("nonexistent_time"))
        .when(is_local & _local(timezone).is_null())
        .then(pl.lit("ambiguous_time"))
    )
