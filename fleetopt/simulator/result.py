"""What a simulation leaves: one record per request, and how much of each pool was used."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolUtilization:
    """How much of a pool was used, means over its replicas and over all observed time, idle included.

    Observed time runs from the first arrival at the fleet to the last finish. Every figure is nan where it is not
    defined: over no time, or over no iteration.

    Attributes
    ----------
    slot : float
        Mean running sequences / ``max_sequences``.
    kv : float
        Mean KV blocks held / ``kv_blocks``.
    busy : float
        Share of time in an iteration.
    compute : float
        ``1 - base_s / mean_iteration_s``, while busy.
    mean_running : float
        Mean running sequences per replica.
    mean_iteration_s : float
        Mean length of an iteration, seconds.
    iterations : int
        Iterations of all replicas together.
    """

    slot: float
    kv: float
    busy: float
    compute: float
    mean_running: float
    mean_iteration_s: float
    iterations: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timeline:
    """What every replica did over time: m samples of r replicas, those of all pools one after the other.

    Attributes
    ----------
    time_s : np.ndarray
        float64[m], seconds on the clock of the arrivals; a sample is taken after everything that happens then.
    pool_names : tuple of str
    pool, replica : np.ndarray
        int64[r], index into ``pool_names``, and index within the pool.
    running, waiting : np.ndarray
        int32[m, r], sequences running, and requests waiting on the replica.
    kv_blocks : np.ndarray
        int64[m, r], KV blocks held.
    held : np.ndarray
        int64[m], requests that wait at the router because no replica that is up can take them.
    """

    time_s: np.ndarray
    pool_names: tuple[str, ...]
    pool: np.ndarray
    replica: np.ndarray
    running: np.ndarray
    waiting: np.ndarray
    kv_blocks: np.ndarray
    held: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulationResult:
    """What became of each request, arrays of n in trace order; times absolute, on the clock of ``arrival_s``.

    Attributes
    ----------
    pool_names : tuple of str
        Names of the pools, short to long.
    arrival_s : np.ndarray
        float64[n], seconds.
    pool : np.ndarray
        int32[n], index into ``pool_names``: where it was finished; of a rejected or unserved one, where it belongs by
        its length, or 0 if the router looks at all pools.
    replica : np.ndarray
        int32[n], index within the pool; -1 if rejected or unserved.
    admitted_s, first_token_s, finish_s : np.ndarray
        float64[n], seconds, when it was first admitted to an iteration, and when its first and its last output token
        came out; nan if that never happened.
    preemptions, retries : np.ndarray
        int32[n], how often it lost its KV cache to other requests, and how often it lost its replica and started over.
    prompt_tokens, original_prompt_tokens : np.ndarray
        int64[n], the prompt as served, and before compression.
    output_tokens : np.ndarray
        int64[n].
    is_rejected : np.ndarray
        bool[n], longer than the context limit of its pool, or of every pool.
    is_unserved : np.ndarray
        bool[n], accepted, but at the end no replica was up that could take it.
    observed_s : float
        First arrival to last finish, or to the last iteration broken off by a failure, if later, seconds; 0 if there
        was neither.
    utilization : tuple of PoolUtilization
        One per pool.
    timeline : Timeline or None
        If it was asked for.
    """

    pool_names: tuple[str, ...]
    arrival_s: np.ndarray
    pool: np.ndarray
    replica: np.ndarray
    admitted_s: np.ndarray
    first_token_s: np.ndarray
    finish_s: np.ndarray
    preemptions: np.ndarray
    retries: np.ndarray
    prompt_tokens: np.ndarray
    original_prompt_tokens: np.ndarray
    output_tokens: np.ndarray
    is_rejected: np.ndarray
    is_unserved: np.ndarray
    observed_s: float
    utilization: tuple[PoolUtilization, ...]
    timeline: Timeline | None = None

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def n_rejected(self) -> int:
        """Requests that were rejected."""
        return int(self.is_rejected.sum())

    @property
    def status(self) -> np.ndarray:
        """str[n], ``finished``, ``rejected`` or ``unserved``."""
        return np.where(self.is_rejected, "rejected", np.where(self.is_unserved, "unserved", "finished"))

    @property
    def queue_wait_s(self) -> np.ndarray:
        """float64[n], arrival to first admission, seconds; nan if never admitted."""
        queue_wait_s: np.ndarray = self.admitted_s - self.arrival_s
        return queue_wait_s

    @property
    def ttft_s(self) -> np.ndarray:
        """float64[n], time to first token, seconds; nan if there was none."""
        ttft_s: np.ndarray = self.first_token_s - self.arrival_s
        return ttft_s

    @property
    def tpot_s(self) -> np.ndarray:
        """float64[n], mean time per output token after the first, seconds; nan if not finished or of one token."""
        steps = np.where(self.output_tokens > 1, self.output_tokens - 1, np.nan)
        tpot_s: np.ndarray = (self.finish_s - self.first_token_s) / steps
        return tpot_s

    @property
    def e2e_s(self) -> np.ndarray:
        """float64[n], arrival to last token, seconds; nan if not finished."""
        e2e_s: np.ndarray = self.finish_s - self.arrival_s
        return e2e_s

    def pool_mask(self, pool: int) -> np.ndarray:
        """bool[n], the requests that the pool of this index served."""
        is_served: np.ndarray = (self.pool == pool) & (self.replica >= 0)
        return is_served

    def ttft_quantile_s(self, probability: float, pool: int | None = None) -> float:
        """Quantile of the time to first token over the served requests of one pool or of all, seconds.

        It is nan if there are none. Rejected requests have no first token: ``n_rejected`` counts them.
        """
        return _quantile(self.ttft_s[self._served(pool)], probability)

    def tpot_quantile_s(self, probability: float, pool: int | None = None) -> float:
        """Quantile of the time per output token over the served requests of two tokens or more, seconds.

        It is nan if there are none.
        """
        values = self.tpot_s[self._served(pool)]
        return _quantile(values[~np.isnan(values)], probability)

    def _served(self, pool: int | None) -> np.ndarray:
        return self.replica >= 0 if pool is None else self.pool_mask(pool)


def _quantile(values: np.ndarray, probability: float) -> float:
    """The order statistic that is the inverse of the empirical CDF; nan for no values."""
    return float(np.quantile(values, probability, method="inverted_cdf")) if values.size else float("nan")
