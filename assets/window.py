"""The rolling window as it is held: which of its days are in core, and which fleets they speak of."""

from datetime import date, timedelta

import dagster as dg
import polars as pl

from fleetopt.config import Config, Pipeline
from fleetopt.workload.demand import Window


def read_window(histogram: pl.DataFrame, day: date, pipeline: Pipeline) -> Window:
    """Say which days of the window that ends with ``day`` a fleet's histograms hold.

    Parameters
    ----------
    histogram : pl.DataFrame
        ``schemas.CORE_LENGTH_HISTOGRAM`` rows of the window, of one fleet.
    day : datetime.date
        Last day of the window.
    pipeline : fleetopt.config.Pipeline
        Length of the window, and the first day there is.
    """
    first_day = max(pipeline.first_day, day - timedelta(days=pipeline.window_days - 1))
    days = [first_day + timedelta(days=offset) for offset in range((day - first_day).days + 1)]
    present = set(histogram["day"].unique())
    return Window(
        first_day=first_day,
        last_day=day,
        days_asked=pipeline.window_days,
        days_held=tuple(window_day for window_day in days if window_day in present),
        days_missing=tuple(window_day for window_day in days if window_day not in present),
    )


def fleets_in(histogram: pl.DataFrame, day: date, config: Config) -> dict[str, pl.DataFrame]:
    """Rows of each declared fleet that has requests on a day, in order of name.

    A fleet whose sources were silent on the day gets no plan for it.

    Raises
    ------
    dagster.Failure
        If there is no such fleet.
    """
    today = set(histogram.filter(pl.col("day") == day)["fleet"].unique())
    names = sorted(today & set(config.fleet))
    if not names:
        raise dg.Failure(
            f"no declared fleet has requests on {day}: nothing is planned",
            metadata={"summary": f"no declared fleet has requests on {day}"},
            allow_retries=False,
        )
    return {name: histogram.filter(pl.col("fleet") == name) for name in names}
