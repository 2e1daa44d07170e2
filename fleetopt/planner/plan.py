"""What the planner is asked and what it answers."""

from dataclasses import dataclass, field

from fleetopt.profiles import GpuProfile
from fleetopt.simulator import Fleet, Pool
from fleetopt.workload.lengths import JointLengths

HOURS_PER_YEAR = 8760


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """A workload, a target and the hardware to choose from.

    Attributes
    ----------
    lengths : JointLengths
        Lengths of the fleet's requests; none longer than ``max_context_tokens``.
    arrival_rate_rps : float
        Rate to plan for, 1/s.
    slo_ttft_p99_s : float
        Target of the P99 time to first token in every pool, s.
    profiles : tuple of GpuProfile
    max_context_tokens : int
        Longest request that the fleet accepts.
    max_utilization : float
        Cap on the load of any resource of a pool, as a share of its capacity.
    spare_replicas : int
        Replicas per pool that may be down while the target holds.
    max_gamma : float
        Widest compression band.
    """

    lengths: JointLengths
    arrival_rate_rps: float
    slo_ttft_p99_s: float
    profiles: tuple[GpuProfile, ...]
    max_context_tokens: int
    max_utilization: float = 0.85
    spare_replicas: int = 1
    max_gamma: float = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPlan:
    """A pool of the plan, and what the model predicts of it at the planned rate with its spares down.

    Attributes
    ----------
    name : str
        ``all`` where the fleet has one pool, else ``short`` or ``long``.
    profile : GpuProfile
    replicas : int
        Replicas to run, spares included.
    spare_replicas : int
    max_context_tokens : int
    arrival_rate_rps : float
    slots_per_replica : int
        Requests that fit at once.
    slot_utilization : float
        Mean running requests / slots of the engine (``max_sequences``).
    kv_utilization : float
    ttft_p99_s, tpot_p99_s : float
    residence_s : float
        Mean time from admission to the last token, s.
    binding : str
        What sets the number of replicas.
    """

    name: str
    profile: GpuProfile
    replicas: int
    spare_replicas: int
    max_context_tokens: int
    arrival_rate_rps: float
    slots_per_replica: int
    slot_utilization: float
    kv_utilization: float
    ttft_p99_s: float
    tpot_p99_s: float
    residence_s: float
    binding: str

    @property
    def loaded_replicas(self) -> int:
        """Replicas that carry the load when all spares are down."""
        return self.replicas - self.spare_replicas

    @property
    def gpus(self) -> int:
        """GPUs of the pool, spares included."""
        return self.replicas * self.profile.gpus_per_replica

    @property
    def usd_per_hour(self) -> float:
        """Price of the pool, spares included."""
        return self.replicas * self.profile.usd_per_replica_hour


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """Pools, short first, and how requests are routed to them."""

    pools: tuple[PoolPlan, ...]
    boundary_tokens: int | None
    gamma: float

    @property
    def usd_per_hour(self) -> float:
        """Price of the fleet, spares included."""
        return sum(pool.usd_per_hour for pool in self.pools)

    @property
    def replicas(self) -> int:
        """Replicas of all pools, spares included."""
        return sum(pool.replicas for pool in self.pools)

    def fleet(self, *, spares_down: bool = True) -> Fleet:
        """The fleet that the simulator runs; by default with every spare replica down."""
        return Fleet(
            pools=tuple(
                Pool(
                    name=pool.name,
                    profile=pool.profile,
                    replicas=pool.loaded_replicas if spares_down else pool.replicas,
                    max_context_tokens=pool.max_context_tokens,
                )
                for pool in self.pools
            ),
            router="compress-and-route" if self.gamma > 1.0 else "length",
            boundaries_tokens=() if self.boundary_tokens is None else (self.boundary_tokens,),
            gamma=self.gamma,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One boundary and band that the search sized: a plan, or the reason why there is none."""

    boundary_tokens: int | None
    gamma: float
    plan: FleetPlan | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanResult:
    """The answer: the cheapest plan, or why there is none, with the baselines beside it.

    Attributes
    ----------
    plan : FleetPlan or None
    reason : str
        Why no plan is feasible; empty when there is one.
    homogeneous : FleetPlan or None
        The cheapest fleet of one pool.
    pool_routing : FleetPlan or None
        The cheapest fleet of two pools without compression.
    candidates : tuple of Candidate
        All that was sized.
    """

    plan: FleetPlan | None
    reason: str = ""
    homogeneous: FleetPlan | None = None
    pool_routing: FleetPlan | None = None
    candidates: tuple[Candidate, ...] = field(default=(), repr=False)
