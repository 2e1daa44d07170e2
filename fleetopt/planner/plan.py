"""What the planner answers."""

from dataclasses import dataclass, field

from fleetopt.profiles import GpuProfile
from fleetopt.simulator import Fleet, Pool

HOURS_PER_YEAR = 8760


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPlan:
    """A pool of the plan, and what the model predicts of it at the planned rate with its spares down.

    Attributes
    ----------
    name : str
        ``all`` where the fleet has one pool, else ``short``, ``middle`` or ``long``.
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
        """Price of the pool on demand, spares included."""
        return self.replicas * self.profile.usd_per_replica_hour


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """Pools, short first, and how requests are routed to them.

    Attributes
    ----------
    pools : tuple of PoolPlan
    boundaries_tokens : tuple of int
        Between neighbouring pools, one fewer than pools.
    gamma : float
        Compression band; 1 compresses nothing.
    commitment_saving_usd_per_hour : float
        What committed prices take off the pools' prices on demand.
    compression_usd_per_hour : float
        What compressing requests costs.
    """

    pools: tuple[PoolPlan, ...]
    boundaries_tokens: tuple[int, ...]
    gamma: float
    commitment_saving_usd_per_hour: float = 0.0
    compression_usd_per_hour: float = 0.0

    @property
    def usd_per_hour(self) -> float:
        """Cost of the fleet, spares included: pools on demand, less commitments, and compression."""
        on_demand = sum(pool.usd_per_hour for pool in self.pools)
        return on_demand - self.commitment_saving_usd_per_hour + self.compression_usd_per_hour

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
            boundaries_tokens=self.boundaries_tokens,
            gamma=self.gamma,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Boundaries and a band that the search sized: a plan, or the reason why there is none."""

    boundaries_tokens: tuple[int, ...]
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
