"""What the planner answers."""

import math
from dataclasses import dataclass

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
        Those of them that do not have to carry the load: spares, and what availability or a minimum adds.
    gpus : int
        GPUs to buy, whole nodes of them.
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
    gpus: int
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
    def usd_per_hour(self) -> float:
        """Price of the pool on demand, all its GPUs included."""
        return self.gpus * self.profile.usd_per_gpu_hour


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
    def gpus_by_profile(self) -> dict[str, int]:
        """GPUs to buy of each profile, by its name."""
        gpus: dict[str, int] = {}
        for pool in self.pools:
            gpus[pool.profile.name] = gpus.get(pool.profile.name, 0) + pool.gpus
        return gpus

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
    """Boundaries and a band, sized: the cheapest plan that they allow, or the reason why there is none."""

    boundaries_tokens: tuple[int, ...]
    gamma: float
    plan: FleetPlan | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchEffort:
    """What a search did.

    Attributes
    ----------
    cells : int
        Fleets of boundaries, a band and a GPU type for each pool that are not infeasible by their bounds.
    opened : int
        Those of them of which a pool was sized by the full model; the bounds ruled out the rest.
    pools_sized : int
    boundaries_left_out : int
        Boundaries that were not searched to the end, for there are very many and others are near; 0: the optimum is
        that of all of them. See `plan_fleet`.
    least_usd_left_out : float
        What every fleet with one of these boundaries costs at least, USD/h, by the bounds, which may lie well below
        what it costs: a plan of that price is the cheapest all the same. Infinite where none was left out; 0 for three
        pools, whose pairs of boundaries are too many to be bounded one by one.
    """

    cells: int
    opened: int
    pools_sized: int
    boundaries_left_out: int = 0
    least_usd_left_out: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Infeasibility:
    """Why no plan is feasible, and what would be.

    Attributes
    ----------
    binding : str
        The constraint that rules every plan out, with names and numbers.
    nearest : str
        The least change that makes a plan feasible, in words; empty where none was found.
    ttft_factor, tpot_p99_s, arrival_rate_rps : float or None
        The change as a number: by what to multiply the targets of the TTFT, the least target of the P99 TPOT, s, or the
        highest rate, 1/s; the one that applies.
    plan : FleetPlan or None
        The plan that is feasible then.
    """

    binding: str
    nearest: str = ""
    ttft_factor: float | None = None
    tpot_p99_s: float | None = None
    arrival_rate_rps: float | None = None
    plan: FleetPlan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanResult:
    """The answer: the cheapest plan, or why there is none.

    Attributes
    ----------
    plan : FleetPlan or None
    infeasibility : Infeasibility or None
        Where there is no plan.
    effort : SearchEffort or None
    """

    plan: FleetPlan | None
    infeasibility: Infeasibility | None = None
    effort: SearchEffort | None = None

    @property
    def reason(self) -> str:
        """Why no plan is feasible; empty when there is one."""
        return self.infeasibility.binding if self.infeasibility else ""
