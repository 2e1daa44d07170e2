"""A slow, obvious fleet simulator: lists and objects, nothing shared with the kernel.

It is the definition that the compiled engine has to agree with. At equal times iterations end, replicas come back up,
replicas go down, requests arrive, iterations start.
"""

import math
from dataclasses import dataclass

from fleetopt.simulator import Failure, Fleet
from fleetopt.workload.trace import Trace
from tests.reference.replica import Replica, Request
from tests.reference.router import Router, natural_pool


@dataclass(frozen=True)
class Moment:
    """The fleet after everything that happens at a time; replicas pool by pool."""

    time_s: float
    running: list[int]
    waiting: list[int]
    kv_blocks: list[int]
    held: int


class ReferenceSimulator:
    def __init__(self, trace: Trace, fleet: Fleet, seed: int = 0) -> None:
        self.fleet = fleet
        self.pools = [
            [Replica(pool, pool_index, index) for index in range(pool.replicas)]
            for pool_index, pool in enumerate(fleet.pools)
        ]
        self.replicas = [replica for pool in self.pools for replica in pool]
        self.router = Router(fleet, self.pools, seed)
        self.requests = []
        for i in range(len(trace)):
            prompt, output = int(trace.prompt_tokens[i]), int(trace.output_tokens[i])
            pool, prompt = natural_pool(fleet, prompt, output, bool(trace.is_compressible[i]))
            self.requests.append(Request(i, float(trace.arrival_s[i]), prompt, output, pool, pool))
        self.to_come = list(self.requests)
        self.downs = list(fleet.failures)
        self.ups = [failure for failure in fleet.failures if math.isfinite(failure.up_s)]
        self.held: list[Request] = []  # at the gateway
        self.history: list[Moment] = []
        self.broken_off_s = -math.inf

    def run(self) -> None:
        while (now := self.next_time()) is not None:
            for replica in self.replicas:
                if replica.end_s == now:
                    replica.end(now)
            self.change_replicas(now)
            while self.to_come and self.to_come[0].arrival_s == now:
                self.arrive(self.to_come.pop(0))
            for replica in self.replicas:
                if replica.end_s is None and (replica.waiting or replica.running):
                    replica.start(now)
            self.remember(now)

    def next_time(self) -> float | None:
        times = [replica.end_s for replica in self.replicas if replica.end_s is not None]
        times += [failure.up_s for failure in self.ups]
        times += [failure.down_s for failure in self.downs]
        times += [request.arrival_s for request in self.to_come[:1]]
        return min(times, default=None)

    def arrive(self, request: Request) -> None:
        """Steps 0 and 1."""
        if self.router.is_too_long(request):
            request.is_rejected = True
        else:
            self.route_or_hold(request)

    def route_or_hold(self, request: Request) -> None:
        replica = self.router.choose(request)
        if replica is None:
            request.pool, request.replica = request.natural_pool, -1
            self.held.append(request)
        else:
            request.pool, request.replica = replica.pool_index, replica.index
            replica.waiting.append(request)

    def replica_of(self, failure: Failure) -> Replica:
        return next(
            replica
            for replica in self.replicas
            if replica.pool.name == failure.pool and replica.index == failure.replica
        )

    def change_replicas(self, now: float) -> None:
        """Replicas come back and go down; then requests move: those that were held, if any came back, and the lost."""
        ups = [failure for failure in self.ups if failure.up_s == now]
        downs = [failure for failure in self.downs if failure.down_s == now]
        moving: list[Request] = []
        for failure in ups:
            self.ups.remove(failure)
            self.replica_of(failure).is_up = True
        if ups:
            moving, self.held = self.held, []
        for failure in downs:
            self.downs.remove(failure)
            replica = self.replica_of(failure)
            if replica.end_s is not None:
                self.broken_off_s = now
            moving += replica.go_down(now)
        for request in moving:
            self.route_or_hold(request)

    def remember(self, now: float) -> None:
        self.history.append(
            Moment(
                now,
                [len(replica.running) for replica in self.replicas],
                [len(replica.waiting) for replica in self.replicas],
                [replica.held_blocks() for replica in self.replicas],
                len(self.held),
            )
        )

    def finishes(self) -> list[float]:
        return [request.finish_s for request in self.requests if not math.isnan(request.finish_s)]

    def observed_s(self) -> float:
        last_s = max([*self.finishes(), self.broken_off_s])
        return last_s - self.requests[0].arrival_s if math.isfinite(last_s) else 0.0

    def timeline(self, interval_s: float) -> list[Moment]:
        """The state at the first arrival and every so many seconds, up to the last finish."""
        samples: list[Moment] = []
        first_s, last_s = self.requests[0].arrival_s, max(self.finishes(), default=-math.inf)
        past = 0  # moments up to the sample
        while (time_s := first_s + len(samples) * interval_s) <= last_s:
            while past < len(self.history) and self.history[past].time_s <= time_s:
                past += 1
            then = self.history[past - 1]
            samples.append(Moment(time_s, then.running, then.waiting, then.kv_blocks, then.held))
        return samples


def simulate_reference(trace: Trace, fleet: Fleet, seed: int = 0) -> ReferenceSimulator:
    """Run a trace through a fleet to the end; what became of everything is in the simulator returned."""
    simulator = ReferenceSimulator(trace, fleet, seed)
    simulator.run()
    return simulator
