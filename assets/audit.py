"""What the audit of a staged day looks at. Each function looks at one thing and answers with a sentence and figures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of one check.

    Attributes
    ----------
    passed : bool
    summary : str
        One sentence for a person: source, file and counts where something is wrong.
    figures : mapping
        What the sentence is made from.
    """

    passed: bool
    summary: str
    figures: Mapping[str, Any] = field(default_factory=dict)


def _finding(problems: Sequence[str], good: str, **figures: Any) -> Finding:
    if not problems:
        return Finding(True, good, figures)
    more = f" (and {len(problems) - _EXAMPLES} more)" if len(problems) > _EXAMPLES else ""
    return Finding(False, "; ".join(problems[:_EXAMPLES]) + more, {**figures, "problems": list(problems)})


def schema_finding(differences: Mapping[str, Sequence[str]]) -> Finding:
    """Judge how stored tables differ from their declared schemas (table -> differences)."""
    problems = [f"{table}: {'; '.join(found)}" for table, found in differences.items() if found]
    return _finding(problems, f"{len(differences)} tables have their declared schemas")


def balance_finding(
    raw: pl.LazyFrame, requests: pl.LazyFrame, quarantined: pl.LazyFrame, quality: pl.LazyFrame
) -> Finding:
    """Count every line of the raw layer again, per source, and compare with what staging made of them.

    Lines = requests + duplicates + quarantined. What each should be is computed from the raw lines alone: quarantined
    lines have a reason, requests are the distinct records among the others, duplicates the rest.
    """
    usable = pl.col("reason").is_null()
    expected = raw.group_by("source").agg(
        lines=pl.len(),
        requests=pl.col("record_hash").filter(usable).n_unique(),
        quarantined=(~usable).sum(),
        usable=usable.sum(),
    )
    expected = expected.with_columns(duplicates=pl.col("usable") - pl.col("requests")).drop("usable")
    counts = ("lines", "requests", "duplicates", "quarantined")
    found = {
        "raw": expected,
        "quality": quality.select("source", *counts),
        "tables": requests.group_by("source")
        .agg(requests=pl.len())
        .join(quarantined.group_by("source").agg(quarantined=pl.len()), on="source", how="full", coalesce=True),
    }
    by_source = {
        name: {row["source"]: row for row in frame.collect().iter_rows(named=True)} for name, frame in found.items()
    }
    sources = sorted(set().union(*by_source.values()))
    problems = [
        f"source {source}: the raw lines give {_get(by_source['raw'], source, count)} {count}, "
        f"{where} holds {_get(by_source[where], source, count)}"
        for source in sources
        for where, compared in (("quality", counts), ("tables", ("requests", "quarantined")))
        for count in compared
        if _get(by_source["raw"], source, count) != _get(by_source[where], source, count)
    ]
    totals = {count: sum(_get(by_source["raw"], source, count) for source in sources) for count in counts}
    good = "{lines} lines = {requests} requests + {duplicates} duplicates + {quarantined} quarantined".format(**totals)
    return _finding(problems, good, **totals)


def _get(rows: Mapping[str, Mapping[str, Any]], source: str, count: str) -> int:
    return int(rows.get(source, {}).get(count) or 0)


def presence_finding(
    day: date, raw: pl.LazyFrame, missing_files: Mapping[str, Sequence[str]], defects: Mapping[str, Sequence[str]]
) -> Finding:
    """Judge whether every source that should have logs of the day has them.

    Parameters
    ----------
    day : datetime.date
    raw : polars.LazyFrame
        The day's raw lines of all sources.
    missing_files : mapping
        Source -> files that it should have and has not.
    defects : mapping
        Source -> what is wrong with whole files of it, in sentences.
    """
    files = (
        raw.group_by("source", "file")
        .agg(
            lines=pl.len(),
            usable=pl.col("reason").is_null().sum(),
            reason=pl.col("reason").sort_by("line_number").drop_nulls().first(),
        )
        .sort("source", "file")
        .collect()
    )
    problems = [f"source {s}: no file {file} for {day}" for s, names in missing_files.items() for file in names]
    problems += [f"source {source}: {sentence}" for source, found in defects.items() for sentence in found]
    problems += [
        f"source {row['source']}: none of the {row['lines']} lines of {row['file']} could be used ({row['reason']})"
        for row in files.filter(pl.col("usable") == 0).iter_rows(named=True)
    ]
    if not files["usable"].sum() and not problems:
        problems = [f"no source has a request on {day}"]
    return _finding(problems, f"{files.height} files gave requests", files=files.height)


def quarantine_finding(quality: pl.LazyFrame, quarantined: pl.LazyFrame, limit: float) -> Finding:
    """Judge the share of lines of each source that could not be used."""
    counts = quality.select("source", "lines", "quarantined").sort("source").collect()
    problems = []
    for row in counts.iter_rows(named=True):
        if row["quarantined"] > limit * row["lines"]:
            problems.append(
                f"source {row['source']}: {row['quarantined']} of {row['lines']} lines "
                f"({row['quarantined'] / row['lines']:.1%}) could not be used, at most {limit:.1%} may"
                f"{_most_frequent(quarantined, row['source'])}"
            )
    total = int(counts["quarantined"].sum())
    return _finding(problems, f"{total} of {int(counts['lines'].sum())} lines quarantined", quarantined=total)


def _most_frequent(quarantined: pl.LazyFrame, source: str) -> str:
    reasons = (
        quarantined.filter(pl.col("source") == source)
        .group_by("reason", "file")
        .len()
        .sort("len", "reason", "file", descending=[True, False, False])
        .head(1)
        .collect()
    )
    return "".join(f"; most often: {row['reason']} in {row['file']}" for row in reasons.iter_rows(named=True))


def key_finding(frame: pl.LazyFrame, table: str, key: Iterable[str]) -> Finding:
    """Judge whether the key names each row once."""
    columns = list(key)
    rows, distinct = frame.select(pl.len(), pl.struct(columns).n_unique().alias("distinct")).collect().row(0)
    problems = [f"{table}: {rows - distinct} of {rows} rows repeat a ({', '.join(columns)})"] if rows > distinct else []
    return _finding(problems, f"{rows} rows, each with its own ({', '.join(columns)})", rows=rows)
