"""One replica, slow and obvious: lists and objects, one method per numbered step of an iteration.

The steps are those of continuous batching in vLLM V1 with chunked prefill: 2 serve the running, 3 admit, 4 time of the
iteration, 5 its end. Steps 0 and 1, reject and join the queue, are the gateway's.
"""

import math
from dataclasses import dataclass, field

from fleetopt.simulator import Pool

SARATHI_BUDGET_TOKENS = 512
PREFILL_FIRST_TOKENS = 4096  # most tokens of one prefill iteration of vLLM V0


@dataclass(eq=False)
class Request:
    index: int
    arrival_s: float
    prompt: int
    output: int
    natural_pool: int
    pool: int
    replica: int = -1
    is_rejected: bool = False
    admitted_s: float = math.nan
    first_token_s: float = math.nan
    finish_s: float = math.nan
    preemptions: int = 0
    retries: int = 0
    generated: int = 0
    computed: int = 0  # tokens with their KV in the cache
    blocks: int = 0
    granted: int = 0  # tokens of the present iteration

    @property
    def total(self) -> int:
        return self.prompt + self.output

    @property
    def known(self) -> int:
        """Tokens that exist: the prompt and what has been generated."""
        return self.prompt + self.generated

    @property
    def status(self) -> str:
        if self.is_rejected:
            return "rejected"
        return "unserved" if math.isnan(self.finish_s) else "finished"


@dataclass(eq=False)
class Replica:
    pool: Pool
    pool_index: int
    index: int  # within the pool
    is_up: bool = True
    waiting: list[Request] = field(default_factory=list)
    running: list[Request] = field(default_factory=list)
    start_s: float = math.nan
    end_s: float | None = None  # None between iterations
    running_seconds: float = 0.0
    block_seconds: float = 0.0
    busy_s: float = 0.0
    iterations: int = 0

    # ---- what the router sees ----

    def accepts(self, total: int) -> bool:
        """Step 0."""
        profile = self.pool.profile
        return (
            total <= profile.kv_blocks * profile.block_tokens
            and total <= profile.max_context_tokens
            and total <= self.pool.max_context_tokens
        )

    def load(self) -> int:
        return len(self.waiting) + len(self.running)

    def queued_tokens(self) -> int:
        """Prompt tokens not yet prefilled, and running sequences; a decode step is no prefill."""
        tokens = len(self.running)
        for request in self.waiting:
            tokens += request.known
        for request in self.running:
            is_decode_step = request.known - request.computed == 1 and request.computed >= request.prompt
            tokens += 0 if is_decode_step else request.known - request.computed
        return tokens

    # ---- blocks ----

    def held_blocks(self) -> int:
        return sum(request.blocks for request in self.running)

    def free_blocks(self) -> int:
        return self.pool.profile.kv_blocks - self.held_blocks()

    def blocks_for(self, tokens: int) -> int:
        return math.ceil(tokens / self.pool.profile.block_tokens)

    # ---- an iteration ----

    def start(self, now: float) -> None:
        for request in self.running:
            request.granted = 0
        if self.pool.scheduler == "prefill-first":
            self.start_prefill_first(now)
        else:
            self.start_fcfs(now)
        self.start_s = now
        self.duration_s = self.duration()
        self.end_s = now + self.duration_s

    def start_fcfs(self, now: float) -> None:
        budget, chunk = self.pool.profile.max_batched_tokens, self.pool.profile.max_chunk_tokens
        if self.pool.scheduler == "sarathi":
            budget, chunk = SARATHI_BUDGET_TOKENS, min(chunk, SARATHI_BUDGET_TOKENS)
        self.budget, self.chunk = budget, chunk
        if not self.serve_running():
            self.admit(now)

    def serve_running(self) -> bool:
        """Step 2; True if somebody was preempted."""
        is_anybody_preempted = False
        for request in list(self.running):
            if request not in self.running:  # preempted in favour of one before it
                continue
            tokens = min(request.known - request.computed, self.chunk, self.budget)
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

    def admit(self, now: float) -> None:
        """Step 3."""
        while self.waiting and len(self.running) < self.pool.profile.max_sequences and self.budget > 0:
            tokens = min(self.waiting[0].known, self.chunk, self.budget)
            if self.blocks_for(tokens) > self.free_blocks():
                return
            self.admit_head(now, tokens)
            self.budget -= tokens

    def admit_head(self, now: float, tokens: int) -> None:
        request = self.waiting.pop(0)
        self.running.append(request)
        request.blocks = self.blocks_for(tokens)
        request.granted = tokens
        if math.isnan(request.admitted_s):
            request.admitted_s = now

    def start_prefill_first(self, now: float) -> None:
        """Steps 2 and 3 of vLLM V0: prefill whole prompts if the head of the queue fits, else decode."""
        if not self.can_admit_whole_head():
            self.budget, self.chunk = len(self.running), 1  # one token for everybody
            self.serve_running()
            return
        prefilled = 0
        while self.can_admit_whole_head():
            tokens = self.waiting[0].known
            if prefilled > 0 and prefilled + tokens > PREFILL_FIRST_TOKENS:
                return
            self.admit_head(now, tokens)
            prefilled += tokens

    def can_admit_whole_head(self) -> bool:
        if not self.waiting or len(self.running) >= self.pool.profile.max_sequences:
            return False
        watermark = self.pool.profile.kv_blocks // 100 if self.running else 0
        return self.blocks_for(self.waiting[0].known) + watermark <= self.free_blocks()

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
        self.close_iteration(self.duration_s)
        for request in list(self.running):
            request.computed += request.granted
            if request.computed < request.known:
                continue
            request.generated += 1
            if math.isnan(request.first_token_s):
                request.first_token_s = now
            if request.generated == request.output:
                request.finish_s = now
                self.running.remove(request)

    def close_iteration(self, lasted_s: float) -> None:
        self.end_s = None
        self.iterations += 1
        self.busy_s += lasted_s
        self.running_seconds += len(self.running) * lasted_s
        self.block_seconds += self.held_blocks() * lasted_s

    # ---- failure ----

    def go_down(self, now: float) -> list[Request]:
        """Lose the present iteration and everything in the cache; returns the requests, which start over."""
        if self.end_s is not None:
            self.close_iteration(now - self.start_s)
        lost = self.running + self.waiting
        self.running, self.waiting, self.is_up = [], [], False
        for request in lost:
            request.generated = request.computed = request.blocks = request.granted = 0
            request.retries += 1
        return lost
