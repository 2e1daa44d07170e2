"""Which requests were served as promised."""

import math
from dataclasses import dataclass

import numpy as np

from fleetopt.errors import InputError
from fleetopt.simulator.result import SimulationResult


@dataclass(frozen=True, slots=True, kw_only=True)
class SloTargets:
    """What a request is promised; None promises nothing.

    Attributes
    ----------
    ttft_s : float or None
        Longest time to first token, s.
    tpot_s : float or None
        Longest mean time per output token after the first, s.

    Raises
    ------
    InputError
        If a target is not a positive number.
    """

    ttft_s: float | None = None
    tpot_s: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("ttft_s", self.ttft_s), ("tpot_s", self.tpot_s)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"target {name}: {value} is not a positive number of seconds")


def meets_slo(result: SimulationResult, targets: SloTargets) -> np.ndarray:
    """Tell which requests were finished within all targets.

    Returns
    -------
    np.ndarray
        bool[n], in trace order. A request that was rejected or never served meets none. A request of one token has no
        time per output token, and so cannot miss that target.
    """
    meets: np.ndarray = ~np.isnan(result.finish_s)
    if targets.ttft_s is not None:
        meets = meets & (result.ttft_s <= targets.ttft_s)
    if targets.tpot_s is not None:
        meets = meets & ((result.tpot_s <= targets.tpot_s) | (result.output_tokens == 1))
    return meets
