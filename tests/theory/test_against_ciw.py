"""The engine against Ciw, a published queueing simulator, on the same arrivals and services, customer by customer.

G. I. Palmer, V. A. Knight, P. R. Harper, A. L. Hawa (2019), Ciw: an open-source discrete event simulation library,
Journal of Simulation 13(1). Ciw is given the very sequences of arrival and service times, so that nothing is random
but the lengths that both get, and the results are compared per customer.
"""

from typing import Any

import ciw
import numpy as np
import pytest

from tests.theory.queues import fleet_of, poisson, replica, serve

N_CUSTOMERS = 4_000


class OfCustomer(ciw.dists.Distribution):
    """Service times that belong to the customers, whichever node and server they come to."""

    def __init__(self, service_s: np.ndarray) -> None:
        self.service_s = service_s.tolist()

    def sample(self, t: Any = None, ind: Any = None) -> float:
        return float(self.service_s[ind.id_number - 1])


def ciw_records(network: dict[str, Any], arrival_s: np.ndarray, node_class: Any = ciw.Node) -> list[Any]:
    """Run a network whose customers arrive at its first node at the given times; their last records, by arrival."""
    gaps = np.diff(arrival_s, prepend=0.0).tolist()
    others = len(network["number_of_servers"]) - 1
    network = network | {"arrival_distributions": [ciw.dists.Sequential([*gaps, np.inf]), *[None] * others]}
    simulation = ciw.Simulation(ciw.create_network(**network), node_class=node_class)
    simulation.simulate_until_max_customers(len(arrival_s), method="Finish")
    last = {record.id_number: record for record in sorted(simulation.get_all_records(), key=lambda record: record.node)}
    return [last[number] for number in sorted(last)]


def on_the_grid(n: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Arrivals at whole seconds, several at once and none for long; exact in floating point."""
    return np.floor(poisson(rate, n, rng))


@pytest.mark.parametrize("servers", [1, 3, 10])
def test_slots_are_the_servers_of_a_multi_server_queue(servers):
    """G/G/c: iterations of 1 s whatever they hold, c slots, arrivals at whole seconds, so that nobody waits for an end.

    Service is then the number of output tokens, exactly, and a slot that is freed is taken at once.
    """
    rng = np.random.default_rng(servers)
    is_long = rng.random(N_CUSTOMERS) < 0.2
    outputs = np.where(is_long, rng.integers(50, 200, N_CUSTOMERS), rng.geometric(0.1, N_CUSTOMERS))
    arrival_s = on_the_grid(N_CUSTOMERS, 0.85 * servers / outputs.mean(), rng)
    theirs = ciw_records({"number_of_servers": [servers], "service_distributions": [OfCustomer(outputs)]}, arrival_s)
    ours = serve(fleet_of(replica(max_sequences=servers)), arrival_s, outputs)
    assert len(np.unique(arrival_s)) < N_CUSTOMERS
    assert np.mean([record.waiting_time > 0 for record in theirs]) > 0.3
    np.testing.assert_array_equal(ours.first_token_s - 1.0, [record.service_start_date for record in theirs])
    np.testing.assert_array_equal(ours.finish_s, [record.exit_date for record in theirs])


@pytest.mark.parametrize(
    ("router", "theirs"),
    [
        ("least-loaded", lambda nodes: ciw.routing.LoadBalancing(nodes, tie_break="order")),
        ("round-robin", ciw.routing.Cycle),
    ],
)
def test_a_router_over_single_slot_replicas_is_a_network_of_servers(router, theirs):
    """G/G/1 queues in parallel behind a dispatcher that takes no time; a replica with one slot is a server.

    Whole seconds of service and arrivals at any time, so that no two events are simultaneous. Least-loaded counts the
    customer in service and prefers the first of equals, as Ciw's load balancing does if told to.
    """
    rng, servers = np.random.default_rng(11), 5
    outputs = rng.geometric(1.0 / 20.0, N_CUSTOMERS)
    arrival_s = poisson(0.9 * servers / 20.0, N_CUSTOMERS, rng)
    nodes = list(range(2, servers + 2))
    network = {
        "number_of_servers": [float("inf"), *[1] * servers],
        "service_distributions": [ciw.dists.Deterministic(0.0), *[OfCustomer(outputs)] * servers],
        "routing": ciw.routing.NetworkRouting(routers=[theirs(nodes), *[ciw.routing.Leave() for _ in nodes]]),
    }
    records = ciw_records(network, arrival_s)
    ours = serve(fleet_of(replica(max_sequences=1), servers, router), arrival_s, outputs)
    np.testing.assert_array_equal(ours.replica, [record.node - 2 for record in records])
    np.testing.assert_allclose(ours.finish_s, [float(record.exit_date) for record in records], rtol=1e-12)


@pytest.mark.parametrize("slots", [4, 1_000])
def test_a_replica_without_base_time_is_a_processor_sharing_node(slots):
    """W = 0: G/G/1 with processor sharing among at most N, customer by customer (test_processor_sharing.py says why).

    The engine gives out whole tokens and lets customers in between iterations, Ciw shares without a grain. That moves
    a departure by an iteration or two of those who then share, 1 s each, against sojourns of a thousand seconds and
    more; the mean sojourn hardly moves.
    """
    rng = np.random.default_rng(5)
    outputs = np.where(rng.random(N_CUSTOMERS) < 0.1, 2_800, rng.integers(100, 167, N_CUSTOMERS))
    arrival_s = poisson(0.7 / outputs.mean(), N_CUSTOMERS, rng)
    network = {
        "number_of_servers": [slots],
        "service_distributions": [OfCustomer(outputs)],
        "ps_thresholds": [1],
    }
    exit_s = np.array([record.exit_date for record in ciw_records(network, arrival_s, ciw.PSNode)], dtype=np.float64)
    profile = replica(base_s=0.0, per_sequence_s=1.0, per_prefill_token_s=1.0, max_sequences=slots)
    ours = serve(fleet_of(profile), arrival_s, outputs)
    in_system = np.arange(1, N_CUSTOMERS + 1) - np.searchsorted(np.sort(exit_s), arrival_s)
    assert in_system.max() > 10
    assert np.abs(ours.finish_s - exit_s).max() <= 2 * min(slots, in_system.max())
    assert np.median(np.abs(ours.finish_s - exit_s)) < 1.0
    assert ours.e2e_s.mean() == pytest.approx((exit_s - arrival_s).mean(), rel=1e-3)
