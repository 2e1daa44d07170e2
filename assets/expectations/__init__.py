"""Great Expectations suites as code: one module per layer, each suite a function that returns fresh objects."""

from collections.abc import Callable
from datetime import date

import great_expectations as gx

from assets.expectations.outputs import (
    out_fleet_recommendation_suite,
    out_length_cdf_suite,
    out_simulation_summary_suite,
    out_workload_profile_suite,
)
from assets.expectations.staging import stg_requests_suite
from fleetopt.config import Config

SuiteBuilder = Callable[[Config, date], gx.ExpectationSuite]

SUITES: dict[str, SuiteBuilder] = {
    "stg_requests": stg_requests_suite,
    "out_length_cdf": out_length_cdf_suite,
    "out_workload_profile": out_workload_profile_suite,
    "out_simulation_summary": out_simulation_summary_suite,
    "out_fleet_recommendation": out_fleet_recommendation_suite,
}
"""Table -> its suite. Every table in here gets a blocking check and a page in the Data Docs."""
