"""Moments of every pool that a boundary and a band can make, for all of them in one pass over the sorted lengths.

A request adds to a pool's moments whatever else is in it, so pools differ by sums: those of the requests up to a
boundary, those of the ones above a band, and what the band adds to either side. The band is walked upwards once per
boundary and read off at each gamma.
"""

import numpy as np
from numba import njit

from fleetopt.profiles import GpuProfile

MOMENTS = 8
REQUESTS, WORK_S, DECODE_S, TOKENS, ITERATIONS, KV_FIRST, KV_SECOND, LATE = range(MOMENTS)
"""Sums over a pool's requests of: 1; GPU time beyond the iterations' base, and of decode alone, s; tokens through the
budget; iterations; KV held and its square, summed over iterations; 1 if late even on an idle replica."""

_SHORTEST_BASE_S = 1e-6
_COEFFICIENTS = 9
_CHUNK, _HALF_BLOCK, _A, _B, _P, _Q, _ALONE_W, _ALONE_P, _ALONE_Q = range(_COEFFICIENTS)


def base_s(profile: GpuProfile) -> float:
    """Base time of an iteration as the model takes it, s: see ``RequestWork.base_s``."""
    return max(profile.base_s, _SHORTEST_BASE_S)


def request_coefficients(profile: GpuProfile) -> np.ndarray:
    """float64[9], what of a profile decides over a request's moments."""
    return np.array(
        [
            min(profile.max_chunk_tokens, profile.max_batched_tokens),
            profile.block_tokens / 2,
            profile.per_sequence_s,
            profile.per_context_token_s,
            profile.per_prefill_token_s,
            profile.per_prefill_attention_s,
            profile.prefill_only_base_s,
            profile.prefill_only_per_token_s,
            profile.prefill_only_per_attention_s,
        ]
    )


@njit(cache=True, nogil=True)
def _request(prompt: float, output: float, coefficients: np.ndarray, moments: np.ndarray) -> float:
    """Fill in one request's moments but the last; return its time to first token on an idle replica, s."""
    steps = output - 1
    chunks = np.ceil(prompt / coefficients[_CHUNK])
    half_block = coefficients[_HALF_BLOCK]
    attention = prompt * prompt / 2
    decode_s = coefficients[_A] * steps + coefficients[_B] * (steps * prompt + output * steps / 2)
    moments[REQUESTS] = 1.0
    moments[DECODE_S] = decode_s
    moments[WORK_S] = decode_s + coefficients[_P] * prompt + coefficients[_Q] * attention
    moments[TOKENS] = prompt + steps
    moments[ITERATIONS] = chunks + steps
    moments[KV_FIRST] = chunks * (prompt / 2 + half_block) + steps * (prompt + output / 2 + half_block)
    moments[KV_SECOND] = chunks * prompt**2 / 3 + steps * (prompt**2 + prompt * output + output**2 / 3)
    return chunks * coefficients[_ALONE_W] + coefficients[_ALONE_P] * prompt + coefficients[_ALONE_Q] * attention


@njit(cache=True, nogil=True)
def add_request(moments: np.ndarray, request: np.ndarray, weight: float, is_late: bool) -> None:
    """Add a request, or as many as its weight says, to a pool's moments."""
    for i in range(LATE):
        moments[i] += weight * request[i]
    if is_late:
        moments[LATE] += weight


@njit(cache=True, nogil=True)
def request_moments(prompt: np.ndarray, output: np.ndarray, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64[k, 8] and float64[k]: moments of each point's request but the last, and its idle TTFT, s."""
    moments = np.zeros((len(prompt), MOMENTS))
    idle_s = np.empty(len(prompt))
    for point in range(len(prompt)):
        idle_s[point] = _request(prompt[point], output[point], coefficients, moments[point])
    return moments, idle_s


@njit(cache=True, nogil=True)
def all_moments(weight: np.ndarray, requests: np.ndarray, idle_s: np.ndarray, target_s: float) -> np.ndarray:
    """float64[8], moments of all requests in one pool."""
    moments = np.zeros(MOMENTS)
    for point in range(len(weight)):
        add_request(moments, requests[point], weight[point], idle_s[point] > target_s)
    return moments


@njit(cache=True, nogil=True)
def late_share(weight: np.ndarray, prompt: np.ndarray, coefficients: np.ndarray, target_s: float) -> float:
    """Share of a pool's requests that are late even on an idle replica."""
    one = np.zeros(MOMENTS)
    late, total = 0.0, 0.0
    for point in range(len(weight)):
        total += weight[point]
        if _request(prompt[point], 1.0, coefficients, one) > target_s:
            late += weight[point]
    return late / total


@njit(cache=True, nogil=True)
def outer_moments(
    weight: np.ndarray,
    prompt: np.ndarray,
    output: np.ndarray,
    compressible: np.ndarray,
    requests: np.ndarray,
    idle_s: np.ndarray,
    boundaries: np.ndarray,
    gammas: np.ndarray,
    coefficients: np.ndarray,
    short_target_s: float,
    long_target_s: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Moments of the pools below and above each boundary.

    Parameters
    ----------
    weight, prompt, output, compressible : np.ndarray
        float64[k], points sorted by total tokens.
    requests, idle_s : np.ndarray
        Of :func:`request_moments`.
    boundaries, gammas : np.ndarray
        float64[b] and float64[g], increasing.
    coefficients : np.ndarray
    short_target_s, long_target_s : float
        Targets of the time to first token, s.

    Returns
    -------
    short, long : np.ndarray
        float64[b, g, 8]. The long pool of three is that of two with the same upper boundary: a request that is
        compressed for the lowest boundary would else have been compressed for the upper one.
    compressed : np.ndarray
        float64[b, g], weight of the compressed requests.
    band : np.ndarray
        int64[b, g, 2]: points up to the end of the band, and how many of the band's points stay above, in part or
        whole; where none does the long pool is what lies above the band.
    """
    n_points, n_boundaries, n_gammas = len(weight), len(boundaries), len(gammas)
    above = np.zeros((n_points + 1, MOMENTS))
    for point in range(n_points - 1, -1, -1):
        above[point] = above[point + 1]
        add_request(above[point], requests[point], weight[point], idle_s[point] > long_target_s)
    short = np.zeros((n_boundaries, n_gammas, MOMENTS))
    long = np.zeros((n_boundaries, n_gammas, MOMENTS))
    compressed = np.zeros((n_boundaries, n_gammas))
    band = np.zeros((n_boundaries, n_gammas, 2), dtype=np.int64)
    below, squeezed, left, one = np.zeros(MOMENTS), np.zeros(MOMENTS), np.zeros(MOMENTS), np.zeros(MOMENTS)
    start = 0
    for b in range(n_boundaries):
        boundary = boundaries[b]
        while start < n_points and prompt[start] + output[start] <= boundary:
            add_request(below, requests[start], weight[start], idle_s[start] > short_target_s)
            start += 1
        squeezed[:], left[:] = 0.0, 0.0
        point, n_left = start, 0
        for g in range(n_gammas):
            end = gammas[g] * boundary
            while point < n_points and prompt[point] + output[point] <= end:
                share = compressible[point] if boundary - output[point] >= 1 else 0.0
                if share > 0:
                    alone_s = _request(boundary - output[point], output[point], coefficients, one)
                    add_request(squeezed, one, weight[point] * share, alone_s > short_target_s)
                if share < 1:
                    stays = weight[point] - weight[point] * share
                    add_request(left, requests[point], stays, idle_s[point] > long_target_s)
                    n_left += 1
                point += 1
            short[b, g] = below + squeezed
            long[b, g] = above[point] + left
            compressed[b, g] = squeezed[REQUESTS]
            band[b, g, 0], band[b, g, 1] = point, n_left
    return short, long, compressed, band


@njit(cache=True, nogil=True)
def add_squeezed(
    moments: np.ndarray,
    weight: np.ndarray,
    prompt: np.ndarray,
    output: np.ndarray,
    compressible: np.ndarray,
    first: int,
    boundary: float,
    lower_boundary: float,
    gamma: float,
    coefficients: np.ndarray,
    target_s: float,
) -> None:
    """Add what is compressed for the pool below ``boundary`` and not for the one below ``lower_boundary``.

    Parameters
    ----------
    moments : np.ndarray
        float64[8], added to.
    first : int
        First point above the boundary.
    """
    one = np.zeros(MOMENTS)
    for point in range(first, len(weight)):
        total = prompt[point] + output[point]
        if total > gamma * boundary:
            return
        room = boundary - output[point] >= 1 and compressible[point] > 0
        if room and not goes_below(total, output[point], lower_boundary, gamma):
            alone_s = _request(boundary - output[point], output[point], coefficients, one)
            add_request(moments, one, weight[point] * compressible[point], alone_s > target_s)


@njit(cache=True, nogil=True)
def goes_below(total: float, output: float, boundary: float, gamma: float) -> bool:
    """Whether a request above a boundary, if compressible, is compressed to it."""
    return total <= gamma * boundary and boundary - output >= 1
