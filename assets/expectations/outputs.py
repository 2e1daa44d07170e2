"""Suites of the outputs: what must hold of a recommendation and its evidence before they are published."""

from datetime import date

import great_expectations as gx
import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import Expectation

from fleetopt.config import Config
from fleetopt.schemas import (
    OUT_FLEET_RECOMMENDATION,
    OUT_LENGTH_CDF,
    OUT_SIMULATION_SUMMARY,
    OUT_WORKLOAD_PROFILE,
    Table,
)

_VERDICTS = ["confirmed", "refuted", "undecided"]


def out_length_cdf_suite(config: Config, day: date) -> gx.ExpectationSuite:
    """Expect fractions inside their bands, from 0 to 1."""
    return gx.ExpectationSuite(
        name="out_length_cdf",
        expectations=[
            *_complete(OUT_LENGTH_CDF),
            _of_fleets(config),
            gxe.ExpectColumnValuesToBeInSet(
                column="quantity", value_set=["prompt_tokens", "output_tokens", "total_tokens"]
            ),
            gxe.ExpectColumnValuesToBeBetween(column="tokens", min_value=1),
            gxe.ExpectColumnValuesToBeBetween(column="fraction", min_value=0, max_value=1),
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="fraction", column_B="fraction_lower", or_equal=True),
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="fraction_upper", column_B="fraction", or_equal=True),
        ],
    )


def out_workload_profile_suite(config: Config, day: date) -> gx.ExpectationSuite:
    """Expect a peak that is no lower than the mean, and a window that holds days."""
    return gx.ExpectationSuite(
        name="out_workload_profile",
        expectations=[
            *_complete(OUT_WORKLOAD_PROFILE),
            _of_fleets(config),
            gxe.ExpectColumnValuesToBeBetween(column="days_held", min_value=1, max_value=config.pipeline.window_days),
            gxe.ExpectColumnValuesToBeBetween(column="mean_rate_rps", min_value=0, strict_min=True),
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="peak_rate_upper_rps", column_B="peak_rate_rps", or_equal=True
            ),
        ],
    )


def out_fleet_recommendation_suite(config: Config, day: date) -> gx.ExpectationSuite:
    """Expect one complete recommendation per fleet, with a verdict."""
    return gx.ExpectationSuite(
        name="out_fleet_recommendation",
        expectations=[
            *_complete(OUT_FLEET_RECOMMENDATION),
            _of_fleets(config),
            gxe.ExpectColumnValuesToBeInSet(column="status", value_set=["feasible", "infeasible"]),
            gxe.ExpectColumnValuesToBeInSet(column="verdict", value_set=[*_VERDICTS, "none"]),
            gxe.ExpectColumnValuesToMatchRegex(column="version", regex=r"^[0-9a-f]{12}$"),
            gxe.ExpectColumnValuesToBeBetween(column="replicas", min_value=1),
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="gpus", column_B="replicas", or_equal=True),
            gxe.ExpectColumnValuesToBeBetween(column="usd_per_hour", min_value=0),
        ],
    )


def out_simulation_summary_suite(config: Config, day: date) -> gx.ExpectationSuite:
    """Expect utilisations that can be, ordered intervals, and a verdict on every pool."""
    return gx.ExpectationSuite(
        name="out_simulation_summary",
        expectations=[
            *_complete(OUT_SIMULATION_SUMMARY),
            _of_fleets(config),
            gxe.ExpectColumnValuesToBeInSet(column="scenario", value_set=["replay", "poisson_peak"]),
            gxe.ExpectColumnValuesToBeInSet(column="verdict", value_set=_VERDICTS),
            *(
                gxe.ExpectColumnValuesToBeBetween(column=column, min_value=0, max_value=1)
                for column in ("slot_utilization", "kv_utilization", "busy")
            ),
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="ttft_p99_s",
                column_B="ttft_p99_lower_s",
                or_equal=True,
                ignore_row_if="either_value_is_missing",
            ),
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="ttft_p99_upper_s",
                column_B="ttft_p99_s",
                or_equal=True,
                ignore_row_if="either_value_is_missing",
            ),
        ],
    )


def _complete(table: Table) -> list[Expectation]:
    return [gxe.ExpectColumnValuesToNotBeNull(column=column) for column in table.required]


def _of_fleets(config: Config) -> Expectation:
    return gxe.ExpectColumnValuesToBeInSet(column="fleet", value_set=sorted(config.fleet))
