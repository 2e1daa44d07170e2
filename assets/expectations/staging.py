"""Suite of the staged requests of a day: what must hold of every row before the day may be published to core."""

from datetime import date

import great_expectations as gx
import great_expectations.expectations as gxe

from assets.partitions import day_bounds
from fleetopt.config import Config
from fleetopt.schemas import STG_REQUESTS

MAX_TOKENS = 100_000_000
"""No model reads or writes that much in one request; a larger figure is another quantity in the wrong column."""


def stg_requests_suite(config: Config, day: date) -> gx.ExpectationSuite:
    """Expect complete rows of declared sources, lengths and durations that can be, and arrivals within the day.

    Parameters
    ----------
    config : fleetopt.config.Config
        Declares the sources, archetypes and fleets that may occur.
    day : datetime.date
        The partition, UTC.
    """
    start, end = day_bounds(day)
    sources = config.source.values()
    return gx.ExpectationSuite(
        name="stg_requests",
        expectations=[
            gxe.ExpectTableRowCountToBeBetween(min_value=1),
            *(gxe.ExpectColumnValuesToNotBeNull(column=column) for column in STG_REQUESTS.required),
            gxe.ExpectColumnValuesToBeInSet(column="source", value_set=sorted(config.source)),
            gxe.ExpectColumnValuesToBeInSet(column="archetype", value_set=sorted({s.archetype for s in sources})),
            gxe.ExpectColumnValuesToBeInSet(column="fleet", value_set=sorted(config.fleet)),
            gxe.ExpectColumnValuesToBeBetween(column="arrival_time", min_value=start, max_value=end, strict_max=True),
            gxe.ExpectColumnValuesToBeBetween(column="prompt_tokens", min_value=1, max_value=MAX_TOKENS),
            gxe.ExpectColumnValuesToBeBetween(column="output_tokens", min_value=1, max_value=MAX_TOKENS),
            gxe.ExpectColumnValuesToBeBetween(column="cached_tokens", min_value=0),
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="prompt_tokens",
                column_B="cached_tokens",
                or_equal=True,
                ignore_row_if="either_value_is_missing",
            ),
            *(gxe.ExpectColumnValuesToBeBetween(column=name, min_value=0) for name in ("ttft_s", "e2e_s", "queue_s")),
            gxe.ExpectColumnValuesToBeBetween(column="line_number", min_value=1),
            gxe.ExpectColumnValuesToBeBetween(column="record_number", min_value=1),
        ],
    )
