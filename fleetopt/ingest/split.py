"""Requests, duplicates and quarantined lines: every line is exactly one of them."""

from typing import NamedTuple

import polars as pl


class Split(NamedTuple):
    """Lines, parted.

    Attributes
    ----------
    requests, quarantined : pl.DataFrame
        Rows of the raw table.
    duplicates : dict
        Source -> lines that repeat a record of that source byte for byte.
    """

    requests: pl.DataFrame
    duplicates: dict[str, int]
    quarantined: pl.DataFrame


def split_requests(raw: pl.DataFrame) -> Split:
    """Part the lines of the raw table.

    A line with a reason is quarantined. Of usable lines with the same record hash within a source, the first by file
    and line number is the request and the others are duplicates.

    Parameters
    ----------
    raw : pl.DataFrame
        Rows of `fleetopt.schemas.RAW_REQUESTS`, in any order.

    Returns
    -------
    Split
        Frames sorted by source, file and line number; every source of ``raw`` has a count of duplicates.
    """
    return split_in_order(raw.sort("source", "file", "line_number"))


def split_in_order(raw: pl.DataFrame) -> Split:
    """Do the same with the first in the order of the rows."""
    usable = raw.filter(pl.col("reason").is_null())
    requests = usable.unique(["source", "record_hash"], keep="first", maintain_order=True)
    n_usable, n_requests = (dict(frame["source"].value_counts().iter_rows()) for frame in (usable, requests))
    duplicates = {
        source: n_usable.get(source, 0) - n_requests.get(source, 0) for source in raw["source"].unique().sort()
    }
    return Split(requests, duplicates, raw.filter(pl.col("reason").is_not_null()))
