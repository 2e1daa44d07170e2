"""From the replicas that carry a load to the replicas and GPUs that are bought, and what a fleet of them costs."""

from dataclasses import dataclass

import numpy as np

from fleetopt.compiled import compiled
from fleetopt.planner.problem import Offer, Problem

_SLACK = 1e-12
_TERMS = 9
_SPARES, _LEAST, _AVAILABILITY, _PER_REPLICA, _PER_NODE, _MOST_GPUS, _USD, _COMMITTED, _COMMITTED_USD = range(_TERMS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """How a pool is provisioned beyond the replicas that carry its load.

    Attributes
    ----------
    spare_replicas : int
        Replicas that may be down while the rest carries the load.
    min_replicas : int
        Fewest replicas, spares included.
    availability : float
        Share of the time that a replica is up; as many more are bought (arXiv 2603.16514, node_avail).
    gpus_per_node : int
        GPUs are bought in whole nodes. A replica lies within one node, or takes whole nodes if it is larger.
    """

    spare_replicas: int = 0
    min_replicas: int = 1
    availability: float = 1.0
    gpus_per_node: int = 1

    @classmethod
    def of(cls, problem: Problem, offer: Offer) -> "Provision":
        """What a problem asks of a pool of one offer."""
        return cls(
            spare_replicas=problem.spare_replicas,
            min_replicas=problem.min_replicas,
            availability=offer.availability,
            gpus_per_node=offer.gpus_per_node,
        )

    def replicas(self, loaded: int) -> int:
        """Replicas to run where ``loaded`` of them have to carry the load."""
        return int(_replicas(loaded, self.spare_replicas, self.min_replicas, self.availability))

    def gpus(self, replicas: int, gpus_per_replica: int) -> int:
        """GPUs to buy, whole nodes of them."""
        return int(_gpus(replicas, gpus_per_replica, self.gpus_per_node))


@compiled(error_model="numpy")
def _replicas(loaded: float, spares: float, least: float, availability: float) -> float:
    return max(np.ceil(loaded / availability * (1 - _SLACK)), loaded + spares, least)


@compiled(error_model="numpy")
def _gpus(replicas: float, per_replica: float, per_node: float) -> float:
    if per_replica > per_node:
        return replicas * np.ceil(per_replica / per_node) * per_node
    return np.ceil(replicas / np.floor(per_node / per_replica)) * per_node


def offer_terms(problem: Problem) -> np.ndarray:
    """float64[offer, 9], terms on which each offer's GPUs are had."""
    return np.array(
        [
            (
                problem.spare_replicas,
                problem.min_replicas,
                offer.availability,
                offer.profile.gpus_per_replica,
                offer.gpus_per_node,
                np.inf if offer.max_gpus is None else offer.max_gpus,
                offer.profile.usd_per_gpu_hour,
                offer.committed_gpus,
                offer.committed_usd_per_gpu_hour,
            )
            for offer in problem.offers
        ],
        dtype=np.float64,
    )


@compiled(error_model="numpy")
def fleet_price(
    loaded: tuple[float, float, float], offer: tuple[int, int, int], terms: np.ndarray
) -> tuple[float, float]:
    """Price of a fleet, USD/h, and its replicas; infinite where a pool or a limit on GPUs forbids it.

    Neither ever falls when a pool's loaded replicas rise, in floating point too: every step is a rising function.

    Parameters
    ----------
    loaded : tuple of float
        Replicas that carry the load of each of three pools, at least.
    offer : tuple of int
        Which offer each pool is made of; negative where there are fewer pools.
    terms : np.ndarray
        Of :func:`offer_terms`.
    """
    usd, replicas = 0.0, 0.0
    for k in range(len(terms)):
        gpus = 0.0
        for pool in range(3):
            if offer[pool] == k:
                needed = _replicas(loaded[pool], terms[k, _SPARES], terms[k, _LEAST], terms[k, _AVAILABILITY])
                replicas += needed
                gpus += _gpus(needed, terms[k, _PER_REPLICA], terms[k, _PER_NODE])
        if gpus > terms[k, _MOST_GPUS] or gpus == np.inf:
            return np.inf, np.inf
        committed = min(gpus, terms[k, _COMMITTED])
        usd += (gpus - committed) * terms[k, _USD] + committed * terms[k, _COMMITTED_USD]
    return usd, replicas


def committed_saving_usd_per_hour(problem: Problem, gpus: dict[str, int]) -> float:
    """What committed prices take off those on demand, USD/h, given the GPUs of each profile by its name."""
    return sum(
        min(gpus.get(offer.profile.name, 0), offer.committed_gpus)
        * (offer.profile.usd_per_gpu_hour - offer.committed_usd_per_gpu_hour)
        for offer in problem.offers
    )
