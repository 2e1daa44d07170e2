"""What the audit of a staged day looks at. Each function looks at one thing and answers with a sentence and figures."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from assets.recount import Recount, first_reasons
from fleetopt.reporting.log_notes import log_notes

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
    read: Mapping[str, int],
    recounts: Mapping[str, Recount],
    tables: Mapping[str, pl.LazyFrame],
    committed: Mapping[str, int],
    quality: pl.LazyFrame,
) -> Finding:
    """Count every record again, from the log to the tables, and compare what each step says.

    Parameters
    ----------
    read : mapping
        Source -> records that were read from its logs.
    recounts : mapping
        Source -> what its raw files hold.
    tables : mapping
        The day's ``stg_requests``, ``unserved_requests`` and ``quarantined_requests``.
    committed : mapping
        Table -> rows of the day by what the commits say of its files.
    quality : polars.LazyFrame
        The day's ``stg_quality``.
    """
    held = {table: _rows_by_source(rows) for table, rows in tables.items()}
    counted = {row["source"]: row for row in quality.collect().iter_rows(named=True)}
    sources = sorted(set(read).union(recounts, counted, *held.values()))
    problems = [
        f"source {source}: {problem}"
        for source in sources
        for problem in _imbalances(
            read.get(source, 0),
            recounts.get(source, Recount()),
            {table: rows.get(source, 0) for table, rows in held.items()},
            counted.get(source, {}),
        )
    ]
    problems += [
        f"{table}: its files hold {sum(rows.values())} rows, the commits say {committed[table]}"
        for table, rows in held.items()
        if sum(rows.values()) != committed[table]
    ]
    counts = ("lines", "requests", "duplicates", "quarantined")
    totals = {count: sum(int(row[count]) for row in counted.values()) for count in counts}
    good = "{lines} lines = {requests} requests + {duplicates} duplicates + {quarantined} quarantined".format(**totals)
    return _finding(problems, good, **totals)


def _rows_by_source(rows: pl.LazyFrame) -> dict[str, int]:
    return dict(rows.group_by("source").len().collect(engine="streaming").iter_rows())


def _imbalances(read: int, raw: Recount, held: Mapping[str, int], row: Mapping[str, Any]) -> Iterator[str]:
    """Compare the counts of one source, step by step; see `balance_finding`."""
    count = {name: int(value) for name, value in row.items() if isinstance(value, int)}
    lines, requests, quarantined = (count.get(name, 0) for name in ("lines", "requests", "quarantined"))
    unserved = sum(count.get(name, 0) for name in ("failed", "aborted", "cache_hits", "other_models"))
    equal = [
        ("records read", read, "records in the raw files", raw.records),
        ("unusable records in the raw files", raw.unusable, "unusable lines", count.get("unusable_lines", 0)),
        ("lines", lines, "requests + duplicates + quarantined", requests + count.get("duplicates", 0) + quarantined),
        ("requests", requests, "rows of both tables of them", held["stg_requests"] + held["unserved_requests"]),
        ("requests not served", unserved, "rows of unserved_requests", held["unserved_requests"]),
        ("quarantined", quarantined, "rows of quarantined_requests", held["quarantined_requests"]),
    ]
    at_most = [
        ("lines", lines, "records in the raw files", raw.records),
        ("requests", requests, "distinct usable records in the raw files", raw.distinct_usable),
        ("quarantined", quarantined, "distinct unusable records in the raw files", raw.distinct_unusable),
    ]
    # With ids, a record may repeat one of another time, and be part of another request.
    bounds = (at_most, []) if raw.has_ids else ([], at_most)
    for name, value, other_name, other in [*equal, *bounds[1]]:
        if value != other:
            yield f"{value} {name}, but {other} {other_name}"
    for name, value, other_name, other in bounds[0]:
        if value > other:
            yield f"{value} {name}, more than the {other} {other_name}"


def presence_finding(
    day: date,
    raw: Mapping[str, Any],
    missing_files: Mapping[str, Sequence[str]],
    defects: Mapping[str, Sequence[str]],
    usable_files: Mapping[str, Collection[str]],
) -> Finding:
    """Judge whether every source that should have logs of the day has them.

    Parameters
    ----------
    day : datetime.date
    raw : mapping
        Source -> the day's raw records, `fleetopt.ingest.parts.Parts`.
    missing_files : mapping
        Source -> files that it should have and has not.
    defects : mapping
        Source -> what is wrong with whole files of it, in sentences.
    usable_files : mapping
        Source -> files of which some record can be used, of whatever day: that the few lines of this day cannot be says
        nothing of the file.
    """
    files = {source: _files(parts) for source, parts in sorted(raw.items())}
    problems = [f"source {s}: no file {file} for {day}" for s, names in missing_files.items() for file in names]
    problems += [f"source {source}: {sentence}" for source, found in defects.items() for sentence in found]
    for source, found in files.items():
        useless = found.filter(pl.col("usable") == 0, ~pl.col("file").is_in(list(usable_files[source])))
        lines = dict(useless.select("file", "lines").iter_rows())
        problems += [
            f"source {source}: none of the {lines[file]} lines of {file} could be used ({reason})"
            for file, reason in first_reasons(raw[source], lines)
        ]
    if not any(found["usable"].sum() for found in files.values()) and not problems:
        problems = [f"no source has a request on {day}"]
    n_files = sum(found.height for found in files.values())
    return _finding(problems, f"{n_files} files gave requests", files=n_files)


def _files(parts: Any) -> pl.DataFrame:
    counted: pl.LazyFrame = parts.scan().group_by("file").agg(lines=pl.len(), usable=pl.col("reason").is_null().sum())
    return counted.sort("file").collect(engine="streaming")


def quarantine_finding(quality: pl.LazyFrame, raw: Mapping[str, Any], limit: float) -> Finding:
    """Judge the share of lines of each source that could not be used; repeats of a line count each.

    Parameters
    ----------
    quality : polars.LazyFrame
        The day's ``stg_quality``.
    raw : mapping
        Source -> the day's raw records, `fleetopt.ingest.parts.Parts`.
    limit : float
        Largest share.
    """
    counts = quality.select("source", "lines", "unusable_lines").sort("source").collect()
    problems = []
    for source, lines, unusable in counts.iter_rows():
        if unusable > limit * lines:
            problems.append(
                f"source {source}: {unusable} of {lines} lines ({unusable / lines:.1%}) could not be used, at most "
                f"{limit:.1%} may{_most_frequent(raw[source])}"
            )
    total = int(counts["unusable_lines"].sum())
    good = f"{total} of {int(counts['lines'].sum())} lines could not be used"
    return _finding(problems, good, unusable_lines=total)


def _most_frequent(parts: Any) -> str:
    reasons = (
        parts.scan()
        .filter(pl.col("reason").is_not_null())
        .group_by("reason", "file")
        .len()
        .sort("len", "reason", "file", descending=[True, False, False])
        .head(1)
        .collect(engine="streaming")
    )
    return "".join(f"; most often: {row['reason']} in {row['file']}" for row in reasons.iter_rows(named=True))


def key_finding(requests: pl.LazyFrame, table: str, key: Sequence[str], batch_rows: int = 1 << 20) -> Finding:
    """Judge whether the key names each row once.

    A place in a log has one record, and a record one time. So rows are compared with those of the same time only: in
    the order of the table those are next to each other, and a batch of rows is held at a time.
    """
    rows = repeated = 0
    last = None
    columns = requests.select("arrival_time", *key)
    for batch in columns.collect_batches(chunk_size=batch_rows, maintain_order=True):
        if batch.is_empty():
            continue
        rows += batch.height
        together = batch if last is None else pl.concat([last, batch])
        ties = together.filter(_tied(together["arrival_time"]))
        repeated += ties.height - ties.n_unique()
        if last is not None:
            repeated -= last.height - last.n_unique()
        last = together.filter(pl.col("arrival_time") == together["arrival_time"][-1])
    problems = [f"{table}: {repeated} of {rows} rows repeat a ({', '.join(key)})"] if repeated else []
    return _finding(problems, f"{rows} rows, each with its own ({', '.join(key)})", rows=rows)


def _tied(times: pl.Series) -> pl.Series:
    if not times.is_sorted():
        return times.is_duplicated()
    return (times == times.shift(1)).fill_null(value=False) | (times == times.shift(-1)).fill_null(value=False)


def models_finding(named: Mapping[str, Sequence[str]]) -> Finding:
    """Judge whether a source's requests are of one model, or it is declared which are its own.

    Parameters
    ----------
    named : mapping
        Source that does not declare its models -> models that its requests name.
    """
    problems = [
        f"source {source}: its requests name {len(models)} models ({', '.join(models)}), and a fleet serves one; write "
        f'models = ["{models[0]}"] in [source.{source}] to keep those of others apart, or models = ["*"] if one fleet '
        "serves all of them"
        for source, models in sorted(named.items())
        if len(models) > 1
    ]
    return _finding(problems, "no source mixes models that it does not declare")


def notes_finding(quality: pl.LazyFrame) -> Finding:
    """Say what is unusual about the day's logs: nothing of it is wrong, but plans made from them bear it."""
    rows = quality.sort("source").collect().iter_rows(named=True)
    notes = [f"source {row['source']}: {note}" for row in rows for note in log_notes(row)]
    return _finding(notes, "nothing is unusual about the day's logs", notes=len(notes))
