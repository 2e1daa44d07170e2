"""Daily partitions in UTC, and the rolling window of days that a plan learns from.

The first day and the length of the window are configuration. Dagster wants them when an asset is defined, so each
module of assets has one function that defines its assets for a :class:`Calendar`, and ``build_defs`` calls it. The
other ways were tried: reading the configuration at import makes behaviour depend on the environment of the first
import, and replacing the partitions of finished assets (``map_asset_specs``) reaches the assets, but neither their
checks nor the window mappings of their inputs.
"""

import warnings
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import dagster as dg


@dataclass(frozen=True, slots=True)
class Calendar:
    """Which days there are, and which of them a plan learns from.

    Attributes
    ----------
    first_day : datetime.date
        First daily partition, UTC.
    window_days : int
        Days in the rolling window, its last day included.
    """

    first_day: date
    window_days: int

    @property
    def daily(self) -> dg.DailyPartitionsDefinition:
        """One partition per UTC day from the first day to yesterday."""
        return dg.DailyPartitionsDefinition(start_date=self.first_day.isoformat(), timezone="UTC")

    @property
    def window(self) -> dg.TimeWindowPartitionMapping:
        """The ``window_days`` days that end with the partition's own; fewer at the beginning."""
        with warnings.catch_warnings():
            # Marked as beta in Dagster 1.13; without it a window that begins before the first day is an error.
            warnings.simplefilter("ignore", dg.BetaWarning)
            return dg.TimeWindowPartitionMapping(
                start_offset=-(self.window_days - 1), allow_nonexistent_upstream_partitions=True
            )

    def yesterday(self, now: datetime) -> date | None:
        """Return the last day that is over at a moment; None before the first day is."""
        day = now.astimezone(UTC).date() - timedelta(days=1)
        return day if day >= self.first_day else None


def partition_day(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> date:
    """Return the day of the partition that runs."""
    return date.fromisoformat(context.partition_key)


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """Return the first moment of a UTC day and the first after it."""
    start = datetime.combine(day, time.min, tzinfo=UTC)
    return start, start + timedelta(days=1)
