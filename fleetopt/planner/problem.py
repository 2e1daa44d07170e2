"""What the planner is asked: a workload, its targets, the GPUs that can be had, and what the buyer insists on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from fleetopt.errors import InputError
from fleetopt.profiles import GpuProfile
from fleetopt.workload.dispersion import POISSON, IndexOfDispersion
from fleetopt.workload.lengths import JointLengths
from fleetopt.workload.replay import ReplayedArrivals

POOL_NAMES = {1: ("all",), 2: ("short", "long"), 3: ("short", "middle", "long")}
"""Names of a fleet's pools, short context first, by their number."""

LATE_SHARE = 0.01 + 1e-9
"""Share of a pool's requests that may miss a target, a P99. Exactly 1 % may, whatever the rounding."""

SlotMode = Literal["statistical", "worst-case"]
"""How many requests a replica is taken to hold.

``worst-case``: as many as fit if each were as long as the pool accepts; the engine is run with that limit, and nothing
is ever preempted. ``statistical``: as many as the KV cache holds but for a stated probability, given real lengths.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Targets of the latencies.

    Attributes
    ----------
    ttft_p99_s : float
        Target of the P99 time to first token in every pool, s.
    tpot_p99_s : float
        Target of the P99 time per output token after the first in every pool, s; infinite: none.
    pool_ttft_p99_s : mapping of str to float
        Targets of the P99 time to first token of pools by name that take the place of the one for all, s.
    """

    ttft_p99_s: float
    tpot_p99_s: float = math.inf
    pool_ttft_p99_s: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = set(self.pool_ttft_p99_s) - {name for names in POOL_NAMES.values() for name in names}
        if unknown:
            raise InputError(f"target for pool '{min(unknown)}': pools are called all, short, middle and long")
        targets = {"P99 TTFT": self.ttft_p99_s}
        targets |= {f"P99 TTFT of pool '{name}'": value for name, value in self.pool_ttft_p99_s.items()}
        for what, value in targets.items():
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"the target of the {what} must be finite and above 0 s, not {value:g}")
        if not self.tpot_p99_s > 0:
            raise InputError(f"the target of the P99 TPOT must be above 0 s, not {self.tpot_p99_s:g}")

    def ttft_of(self, pool: str) -> float:
        """Target of the P99 time to first token of a pool, s."""
        return self.pool_ttft_p99_s.get(pool, self.ttft_p99_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A GPU type that can be had, at which price and how many of it.

    Attributes
    ----------
    profile : GpuProfile
        Its ``usd_per_gpu_hour`` is the price on demand.
    max_gpus : int or None
        Most GPUs of this type over all pools; None: no limit.
    committed_gpus : int
        So many of them are billed at the committed price where they are used; the rest on demand.
    committed_usd_per_gpu_hour : float
        The committed price, not above that on demand.
    gpus_per_node : int
        GPUs are bought in whole nodes of this many per pool; 1: singly.
    availability : float
        Share of the time that a replica is up; a pool is inflated by its reciprocal (arXiv 2603.16514, node_avail).
    """

    profile: GpuProfile
    max_gpus: int | None = None
    committed_gpus: int = 0
    committed_usd_per_gpu_hour: float = 0.0
    gpus_per_node: int = 1
    availability: float = 1.0

    def __post_init__(self) -> None:
        name, price = self.profile.name, self.profile.usd_per_gpu_hour
        if self.max_gpus is not None and self.max_gpus < 0:
            raise InputError(f"{name}: max_gpus is {self.max_gpus}; it cannot be negative")
        if self.committed_gpus < 0:
            raise InputError(f"{name}: committed_gpus is {self.committed_gpus}; it cannot be negative")
        if self.committed_gpus and not 0 <= self.committed_usd_per_gpu_hour <= price:
            raise InputError(
                f"{name}: the committed price of {self.committed_usd_per_gpu_hour:g} USD per GPU-hour is not between 0 "
                f"and the price on demand of {price:g}"
            )
        if self.gpus_per_node < 1:
            raise InputError(f"{name}: gpus_per_node is {self.gpus_per_node}; the least is 1")
        if not 0 < self.availability <= 1:
            raise InputError(f"{name}: availability is {self.availability:g}; it lies above 0 and up to 1")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """A workload, its targets and the hardware to choose from.

    Attributes
    ----------
    lengths : JointLengths
        Lengths of the fleet's requests; none longer than ``max_context_tokens``.
    arrival_rate_rps : float
        Rate to plan for, 1/s.
    slo : Slo
    offers : tuple of Offer
    max_context_tokens : int
        Longest request that the fleet accepts.
    boundaries_tokens : tuple of int or None
        Candidates for boundaries between pools, tokens; None: every distinct length.
    max_utilization : float
        Cap on the load of any resource of a pool, as a share of its capacity.
    spare_replicas : int
        Replicas per pool that may be down while the targets hold.
    min_replicas : int
        Fewest replicas of a pool, spares included.
    max_pools : int
        1 to 3.
    max_gamma, gamma_step : float
        Widest compression band, and the step of the search in it.
    usd_per_compressed_request : float
        What compressing one request costs, USD.
    slot_mode : {"statistical", "worst-case"}
    kv_overflow_probability : float
        Of ``statistical`` slots.
    arrivals : ReplayedArrivals or None
        The bursts to plan for, at the planned rate; None: Poisson arrivals. Lengths are independent of them.
    """

    lengths: JointLengths
    arrival_rate_rps: float
    slo: Slo
    offers: tuple[Offer, ...]
    max_context_tokens: int
    boundaries_tokens: tuple[int, ...] | None = None
    max_utilization: float = 0.85
    spare_replicas: int = 1
    min_replicas: int = 1
    max_pools: int = 2
    max_gamma: float = 1.5
    gamma_step: float = 0.1
    usd_per_compressed_request: float = 0.0
    slot_mode: SlotMode = "statistical"
    kv_overflow_probability: float = 0.01
    arrivals: ReplayedArrivals | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.arrival_rate_rps) and self.arrival_rate_rps > 0):
            raise InputError(f"the arrival rate must be finite and above 0 requests/s, not {self.arrival_rate_rps:g}")
        if not self.offers:
            raise InputError("no GPU profile to choose from")
        names = [offer.profile.name for offer in self.offers]
        if len(set(names)) < len(names):
            raise InputError(f"GPU profile '{max(names, key=names.count)}' is offered more than once")
        if not 0 < self.max_utilization <= 1:
            raise InputError(f"max_utilization is {self.max_utilization:g}; it lies above 0 and up to 1")
        if self.spare_replicas < 0 or self.min_replicas < 1:
            raise InputError("spare_replicas cannot be negative, and min_replicas is at least 1")
        if self.max_pools not in POOL_NAMES:
            raise InputError(f"max_pools is {self.max_pools}; a fleet has one to three pools")
        self._check_compression()
        if not 0 < self.kv_overflow_probability <= 0.5:
            raise InputError(f"kv_overflow_probability is {self.kv_overflow_probability:g}; the most is 0.5")

    def _check_compression(self) -> None:
        if not (self.max_gamma >= 1 and self.gamma_step > 0):
            raise InputError("max_gamma is at least 1 and gamma_step above 0")
        if not (math.isfinite(self.usd_per_compressed_request) and self.usd_per_compressed_request >= 0):
            raise InputError("usd_per_compressed_request must be finite and cannot be negative")
        if self.boundaries_tokens is not None and min(self.boundaries_tokens, default=1) < 1:
            raise InputError(f"a boundary of {min(self.boundaries_tokens)} tokens; the least is 1")

    def dispersion_of(self, pool_rate_rps: float) -> IndexOfDispersion:
        """Index of dispersion of the arrivals at a pool that gets a share of all, by its rate, 1/s."""
        if self.arrivals is None:
            return POISSON
        share = min(1.0, pool_rate_rps / self.arrival_rate_rps)
        return self.arrivals.dispersion_at(self.arrival_rate_rps).thinned(share)

    @property
    def boundary_candidates(self) -> tuple[int, ...]:
        """Boundaries to try, increasing: those that leave requests on both sides, uncompressed."""
        total = self.lengths.total_tokens
        given = self.boundaries_tokens
        candidates = np.unique(np.floor(total) if given is None else np.asarray(given, dtype=np.float64))
        splits = (candidates >= total[0]) & (candidates < total[-1]) & (candidates < self.max_context_tokens)
        return tuple(candidates[splits].astype(np.int64).tolist())

    @property
    def gammas(self) -> tuple[float, ...]:
        """Compression bands to try: 1 and then in steps up to the cap."""
        steps = int((self.max_gamma - 1) / self.gamma_step + 1e-9)
        return tuple(round(1 + step * self.gamma_step, 10) for step in range(steps + 1))
