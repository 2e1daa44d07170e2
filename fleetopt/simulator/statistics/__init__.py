"""How sure a simulation is: warm-up, confidence intervals, paired comparisons, and verdicts that may be "undecided"."""

from fleetopt.simulator.statistics.attainment import SloTargets, meets_slo
from fleetopt.simulator.statistics.bootstrap import block_bootstrap_quantile, paired_block_bootstrap
from fleetopt.simulator.statistics.intervals import (
    Interval,
    PairedDifference,
    batch_means_interval,
    batch_quantile_interval,
    batch_share_interval,
    grouped_share_interval,
    order_statistic_interval,
    paired_interval,
    replication_interval,
    wilson_interval,
)
from fleetopt.simulator.statistics.verdicts import Stability, combined_stability, slo_verdict, stability_verdict
from fleetopt.simulator.statistics.warmup import mser5_cutoff, steady_part

__all__ = [
    "Interval",
    "PairedDifference",
    "SloTargets",
    "Stability",
    "batch_means_interval",
    "batch_quantile_interval",
    "batch_share_interval",
    "block_bootstrap_quantile",
    "combined_stability",
    "grouped_share_interval",
    "meets_slo",
    "mser5_cutoff",
    "order_statistic_interval",
    "paired_block_bootstrap",
    "paired_interval",
    "replication_interval",
    "slo_verdict",
    "stability_verdict",
    "steady_part",
    "wilson_interval",
]
