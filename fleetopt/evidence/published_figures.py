"""What arXiv 2603.16514 prints in Tables 3, 5 and 6, and the set-up behind it."""

from dataclasses import dataclass

SLO_TTFT_P99_S = 0.5
MAX_CONTEXT_TOKENS = 65_536
GPU = "fleetopt-a100"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedWorkload:
    """A workload of the paper.

    Attributes
    ----------
    name : str
        As this package ships its CDF.
    boundary_tokens : int
        B_short of Table 2; the paper's tables do not search over it.
    compressible_fraction : float
        p_c, section 4.
    """

    name: str
    boundary_tokens: int
    compressible_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFleet:
    """A fleet that the paper prints.

    Attributes
    ----------
    table : int
    workload : PublishedWorkload
    kind : str
        ``one pool``, ``routing`` (gamma 1), ``retrofit`` (gamma 1.5) or ``FleetOpt`` (gamma searched).
    arrival_rate_rps : float
    gpus : tuple of int
        By pool, short first; of Table 6 all pools together.
    gamma : float
    thousand_usd_per_year : int or None
    saving_pct : float or None
        Against one pool. None is not printed.
    """

    table: int
    workload: PublishedWorkload
    kind: str
    arrival_rate_rps: float
    gpus: tuple[int, ...]
    gamma: float
    thousand_usd_per_year: int | None = None
    saving_pct: float | None = None


AZURE = PublishedWorkload(name="azure", boundary_tokens=4096, compressible_fraction=1.0)
LMSYS = PublishedWorkload(name="lmsys", boundary_tokens=1536, compressible_fraction=1.0)
AGENT_HEAVY = PublishedWorkload(name="agent-heavy", boundary_tokens=8192, compressible_fraction=0.75)
KINDS = ("one pool", "routing", "retrofit", "FleetOpt")


def _table_3(
    workload: PublishedWorkload,
    gammas: tuple[float, ...],
    gpus: tuple[tuple[int, ...], ...],
    thousand_usd: tuple[int, ...],
    savings_pct: tuple[float | None, ...],
) -> tuple[PublishedFleet, ...]:
    """A workload's row: one pool, routing, retrofit, FleetOpt."""
    return tuple(
        PublishedFleet(
            table=3,
            workload=workload,
            kind=kind,
            arrival_rate_rps=1000.0,
            gpus=of_pools,
            gamma=gamma,
            thousand_usd_per_year=usd,
            saving_pct=saving,
        )
        for kind, gamma, of_pools, usd, saving in zip(KINDS, gammas, gpus, thousand_usd, savings_pct, strict=True)
    )


def _table_6(
    rate_rps: float, gamma: float, gpus: tuple[int, int, int], savings_pct: tuple[float, float]
) -> tuple[PublishedFleet, ...]:
    """An arrival rate's row: one pool, routing, FleetOpt."""
    return tuple(
        PublishedFleet(
            table=6,
            workload=AGENT_HEAVY,
            kind=kind,
            arrival_rate_rps=rate_rps,
            gpus=(total,),
            gamma=of_kind,
            saving_pct=saving,
        )
        for kind, of_kind, total, saving in zip(
            ("one pool", "routing", "FleetOpt"), (1.0, 1.0, gamma), gpus, (None, *savings_pct), strict=True
        )
    )


TABLE_3 = (
    *_table_3(
        AZURE,
        (1.0, 1.0, 1.5, 2.0),
        ((284,), (43, 131), (47, 45), (48, 2)),
        (5498, 3369, 1781, 968),
        (None, 38.7, 67.6, 82.4),
    ),
    *_table_3(
        LMSYS,
        (1.0, 1.0, 1.5, 2.0),
        ((139,), (7, 74), (7, 65), (7, 52)),
        (2691, 1568, 1394, 1142),
        (None, 41.7, 48.2, 57.6),
    ),
    *_table_3(
        AGENT_HEAVY,
        (1.0, 1.0, 1.5, 1.5),
        ((2397,), (229, 2037), (255, 1981), (255, 1981)),
        (46405, 43869, 43288, 43288),
        (None, 5.5, 6.7, 6.7),
    ),
)
TABLE_5 = {"azure": (0.848, 0.845), "lmsys": (0.771, 0.845), "agent-heavy": (0.848, 0.850)}
"""Analytic utilisation of the short and the long pool, routing alone."""
TABLE_5_SIMULATED = {"azure": (0.865, 0.847), "lmsys": (0.792, 0.853), "agent-heavy": (0.868, 0.850)}
"""The paper's own discrete-event simulation of the same."""
TABLE_6 = (
    *_table_6(100.0, 1.2, (240, 227, 225), (5.4, 6.2)),
    *_table_6(200.0, 1.5, (480, 454, 448), (5.4, 6.7)),
    *_table_6(500.0, 1.5, (1199, 1134, 1119), (5.4, 6.7)),
    *_table_6(1000.0, 1.5, (2397, 2266, 2236), (5.5, 6.7)),
    *_table_6(2000.0, 1.5, (4794, 4531, 4470), (5.5, 6.8)),
)
