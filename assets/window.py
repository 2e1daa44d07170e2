"""The rolling window as it is held: which of its days are in core, and whether they are enough to plan from."""

from datetime import date, timedelta

import dagster as dg
import polars as pl

from fleetopt.config import Pipeline
from fleetopt.workload.demand import Window


def read_window(histogram: pl.DataFrame, day: date, pipeline: Pipeline) -> Window:
    """Say which days of the window that ends with ``day`` the histograms hold.

    Parameters
    ----------
    histogram : pl.DataFrame
        ``schemas.CORE_LENGTH_HISTOGRAM`` rows of the window, all fleets.
    day : datetime.date
        Last day of the window.
    pipeline : fleetopt.config.Pipeline
        Length of the window, its minimum, and the first day there is.

    Raises
    ------
    dagster.Failure
        If fewer days than the declared minimum are held.
    """
    first_day = max(pipeline.first_day, day - timedelta(days=pipeline.window_days - 1))
    days = [first_day + timedelta(days=offset) for offset in range((day - first_day).days + 1)]
    present = set(histogram["day"].unique())
    held = tuple(window_day for window_day in days if window_day in present)
    if len(held) < pipeline.min_window_days:
        raise dg.Failure(
            f"the window of {day} holds {len(held)} audited days, pipeline.min_window_days asks for "
            f"{pipeline.min_window_days}: nothing is planned",
            allow_retries=False,
        )
    return Window(
        first_day=first_day,
        last_day=day,
        days_asked=pipeline.window_days,
        days_held=held,
        days_missing=tuple(window_day for window_day in days if window_day not in present),
    )


def fleets_in(histogram: pl.DataFrame, window: Window) -> list[tuple[str, pl.DataFrame]]:
    """Rows of each fleet that has requests on the window's last day, in order of name.

    A fleet whose sources were silent on the day gets no plan for it.
    """
    today = histogram.filter(pl.col("day") == window.last_day)
    return [(name, histogram.filter(pl.col("fleet") == name)) for name in sorted(today["fleet"].unique())]
