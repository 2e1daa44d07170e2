"""A slow, obvious fleet simulator: lists and objects, one method per numbered step, nothing shared with the kernel.

It is the definition that the compiled engine has to agree with. The steps are those of continuous batching in vLLM V1
with chunked prefill: 0 reject, 1 join the queue, 2 serve the running, 3 admit, 4 time of the iteration, 5 its end.
"""

import math
from dataclasses import dataclass, field

from fleetopt.simulator import Fleet, Pool
from fleetopt.workload.trace import Trace


@dataclass(eq=False)
class Request:
    arrival_s: float
    prompt: int
    output: int
    pool: int
    replica: int = -1
    first_token_s: float = math.nan
    finish_s: float = math.nan
    preemptions: int = 0
    generated: int = 0
    computed: int = 0  # tokens with their KV in the cache
    blocks: int = 0
    granted: int = 0  # tokens of the present iteration

    @property
    def known(self) -> int:
        """Tokens that exist: the prompt and what has been generated."""
        return self.prompt + self.generated


@dataclass(eq=False)
class Replica:
    pool: Pool
    waiting: list[Request] = field(default_factory=list)
    running: list[Request] = field(default_factory=list)
    end_s: float | None = None
    running_seconds: float = 0.0
    block_seconds: float = 0.0
    busy_s: float = 0.0
    iterations: int = 0

    def free_blocks(self) -> int:
        return self.pool.profile.kv_blocks - sum(request.blocks for request in self.running)

    def blocks_for(self, tokens: int) -> int:
        return math.ceil(tokens / self.pool.profile.block_tokens)

    def start(self, now: float) -> None:
        self.budget = self.pool.profile.max_batched_tokens
        for request in self.running:
            request.granted = 0
        if not self.serve_running():
            self.admit()
        duration = self.duration()
        self.end_s = now + duration
        self.busy_s += duration
        self.iterations += 1
        self.running_seconds += len(self.running) * duration
        self.block_seconds += sum(request.blocks for request in self.running) * duration

    def serve_running(self) -> bool:
        """Step 2; True if somebody was preempted."""
        is_anybody_preempted = False
        for request in list(self.running):
            if request not in self.running:  # preempted in favour of one before it
                continue
            tokens = min(request.known - request.computed, self.pool.profile.max_chunk_tokens, self.budget)
            if tokens == 0:
                continue
            wanted = self.blocks_for(request.computed + tokens)
            while request in self.running and wanted - request.blocks > self.free_blocks():
                self.preempt(next(other for other in reversed(self.running) if other.granted == 0))
                is_anybody_preempted = True
            if request in self.running:
                request.blocks = wanted
                request.granted = tokens
                self.budget -= tokens
        return is_anybody_preempted

    def preempt(self, request: Request) -> None:
        self.running.remove(request)
        request.blocks = request.computed = 0
        request.preemptions += 1
        self.waiting.insert(0, request)

    def admit(self) -> None:
        """Step 3."""
        profile = self.pool.profile
        while self.waiting and len(self.running) < profile.max_sequences and self.budget > 0:
            request = self.waiting[0]
            tokens = min(request.known, profile.max_chunk_tokens, self.budget)
            if self.blocks_for(tokens) > self.free_blocks():
                return
            self.waiting.pop(0)
            self.running.append(request)
            request.blocks = self.blocks_for(tokens)
            request.granted = tokens
            self.budget -= tokens

    def duration(self) -> float:
        """Step 4, sequence by sequence."""
        profile = self.pool.profile
        decodes = [r for r in self.running if r.granted == 1 and r.computed >= r.prompt]
        prefills = [r for r in self.running if r.granted > 0 and r not in decodes]
        base, per_token, per_attention = (
            profile.base_s,
            profile.per_prefill_token_s,
            profile.per_prefill_attention_s,
        )
        if prefills and not decodes:
            base, per_token, per_attention = (
                profile.prefill_only_base_s,
                profile.prefill_only_per_token_s,
                profile.prefill_only_per_attention_s,
            )
        total = base
        for r in decodes:
            total += profile.per_sequence_s + profile.per_context_token_s * (r.computed + 1)
        for r in prefills:
            total += per_token * r.granted + per_attention * r.granted * (r.computed + r.granted / 2)
        return total

    def end(self, now: float) -> None:
        """Step 5."""
        self.end_s = None
        for request in list(self.running):
            request.computed += request.granted
            if request.computed < request.known:
                continue
            request.generated += 1
            if request.generated == 1:
                request.first_token_s = now
            if request.generated == request.output:
                request.finish_s = now
                self.running.remove(request)


def choose_pool(fleet: Fleet, prompt: int, output: int, is_compressible: bool) -> tuple[int, int]:
    """Index of the pool, and the prompt as served."""
    if not fleet.boundaries_tokens:
        return 0, prompt
    boundary = fleet.boundaries_tokens[0]
    if prompt + output <= boundary:
        return 0, prompt
    if is_compressible and prompt + output <= fleet.gamma * boundary and boundary - output >= 1:
        return 0, boundary - output
    return 1, prompt


def simulate_reference(trace: Trace, fleet: Fleet) -> tuple[list[Request], list[list[Replica]]]:
    """Every request in trace order, and the replicas of every pool."""
    pools = [[Replica(pool) for _ in range(pool.replicas)] for pool in fleet.pools]
    replicas = [replica for pool in pools for replica in pool]
    requests = []
    for i in range(len(trace)):
        prompt, output = int(trace.prompt_tokens[i]), int(trace.output_tokens[i])
        pool, prompt = choose_pool(fleet, prompt, output, bool(trace.is_compressible[i]))
        requests.append(Request(float(trace.arrival_s[i]), prompt, output, pool))
    to_come = list(requests)
    while True:
        times = [replica.end_s for replica in replicas if replica.end_s is not None]
        times += [request.arrival_s for request in to_come[:1]]
        if not times:
            return requests, pools
        now = min(times)
        for replica in replicas:
            if replica.end_s == now:
                replica.end(now)
        while to_come and to_come[0].arrival_s == now:
            accept(to_come.pop(0), fleet, pools)
        for replica in replicas:
            if replica.end_s is None and (replica.waiting or replica.running):
                replica.start(now)


def accept(request: Request, fleet: Fleet, pools: list[list[Replica]]) -> None:
    """Steps 0 and 1."""
    pool = fleet.pools[request.pool]
    total = request.prompt + request.output
    if total > pool.profile.kv_blocks * pool.profile.block_tokens:
        return
    if total > pool.max_context_tokens or total > pool.profile.max_context_tokens:
        return
    loads = [len(replica.waiting) + len(replica.running) for replica in pools[request.pool]]
    request.replica = loads.index(min(loads))
    pools[request.pool][request.replica].waiting.append(request)
