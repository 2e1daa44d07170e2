"""Azure LLM inference traces: CSV with a header, one request a line.

The public traces of 2023 (Patel et al., Splitwise, ISCA 2024), 2024 and 2025, and logs written in their shape. Columns
are found by name, so a column more (``NumImages`` in 2025) does no harm. Fields are never quoted.
"""

import numpy as np
import polars as pl

from fleetopt.ingest.formats.base import PARSED_SCHEMA, Clock, LogFormat, Parser
from fleetopt.ingest.formats.fields import token_count, utc_times

_TIME, _PROMPT, _OUTPUT = "TIMESTAMP", "ContextTokens", "GeneratedTokens"
_NEEDED = (_TIME, _PROMPT, _OUTPUT)
_WITHOUT_TEXT = {*_NEEDED, "NumImages"}
_BYTE_ORDER_MARK = "\ufeff"

Layout = tuple[str, ...]


def _layout(line: str) -> Layout | None:
    """Return the columns that a header names; None for a line that is no header."""
    columns = tuple(line.removeprefix(_BYTE_ORDER_MARK).split(","))
    return columns if all(columns.count(name) == 1 for name in _NEEDED) else None


class _AzureParser:
    """Reads the batches of one file; remembers the last header."""

    def __init__(self, clock: Clock) -> None:
        self._timezone = clock.timezone
        self._columns: Layout | None = None

    def __call__(self, text: pl.Series) -> pl.DataFrame:
        """Parse consecutive lines; a header may stand anywhere, as files that were joined together have several."""
        is_header = np.zeros(len(text), dtype=np.bool_)
        candidates = text.str.contains(_PROMPT, literal=True).arg_true().to_list()
        parts, start = [], 0
        for row in candidates:
            columns = _layout(text[row])
            if columns is None:
                continue
            is_header[row] = True
            if columns != self._columns:
                parts.append(self._parse(text[start:row]))
                start, self._columns = row, columns
        parts.append(self._parse(text[start:]))
        return pl.concat(parts).with_columns(pl.Series("is_header", is_header)).select(PARSED_SCHEMA.names())

    def _parse(self, text: pl.Series) -> pl.DataFrame:
        columns = self._columns
        if columns is None or text.is_empty():
            return _without_header(len(text))
        last = len(columns) - 1
        fields = text.str.split_exact(",", last).struct.unnest()
        field = {name: pl.col(f"field_{columns.index(name)}") for name in _NEEDED}
        times = utc_times(fields.select(field[_TIME].fill_null("")).to_series(), self._timezone)
        prompt, prompt_reason = token_count(field[_PROMPT])
        output, output_reason = token_count(field[_OUTPUT])
        has_all_fields = pl.Series("has_all_fields", text.str.count_matches(",", literal=True) == last)
        frame = fields.hstack(times.rename({"reason": "time_reason"})).with_columns(has_all_fields)
        return frame.select(
            arrival_time=pl.when("has_all_fields").then("arrival_time"),
            prompt_tokens=prompt,
            output_tokens=output,
            ttft_s=pl.lit(None, dtype=pl.Float64),
            reason=pl.when(~pl.col("has_all_fields"))
            .then(pl.lit("wrong_field_count"))
            .otherwise(pl.coalesce("time_reason", prompt_reason, output_reason)),
            # A column that we do not know may hold text.
            keeps_text=pl.lit(set(columns) <= _WITHOUT_TEXT),
        )


def _without_header(n_lines: int) -> pl.DataFrame:
    # Their text is not kept: without a header nothing says that this is not a file of prompts.
    known: dict[str, str | bool] = {"reason": "no_header", "keeps_text": False}
    return pl.DataFrame(
        pl.repeat(known.get(name), n_lines, dtype=dtype, eager=True).alias(name)
        for name, dtype in PARSED_SCHEMA.items()
        if name != "is_header"
    )


def _recognises(lines: list[bytes]) -> bool:
    return any(_layout(line.decode("utf-8", "replace")) is not None for line in lines)


def _parser(clock: Clock) -> Parser:
    return _AzureParser(clock)


AZURE = LogFormat(
    name="azure",
    description="CSV of the Azure LLM inference traces: TIMESTAMP, ContextTokens, GeneratedTokens, by name.",
    example="TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44",
    holds_text=False,
    has_relative_clock=False,
    recognises=_recognises,
    parser=_parser,
)
