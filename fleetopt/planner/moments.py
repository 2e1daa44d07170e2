"""Moments of every pool that a boundary and a band can make, for all of them in one pass over the sorted lengths.

A request adds to a pool's moments whatever else is in it, so pools differ by sums: those of the requests up to a
boundary, those of the ones above a band, and what the band adds to either side. The band is walked upwards once per
boundary and read off at each gamma. Sums may be added up in any order.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from fleetopt.compiled import compiled
from fleetopt.planner.mixture import band_end
from fleetopt.profiles import GpuProfile

MOMENTS = 8
REQUESTS, WORK_S, DECODE_S, TOKENS, ITERATIONS, KV_FIRST, KV_SECOND, LATE = range(MOMENTS)
"""Sums over a pool's requests of: 1; GPU time beyond the iterations' base, and of decode alone, s; tokens through the
budget; iterations; KV held and its square, summed over iterations; 1 if late even on an idle replica."""

_SHORTEST_BASE_S = 1e-6
_COEFFICIENTS = 9
_CHUNK, _HALF_BLOCK, _A, _B, _P, _Q, _ALONE_W, _ALONE_P, _ALONE_Q = range(_COEFFICIENTS)
_ANY_ORDER = {"reassoc", "nsz", "contract"}


class Points(NamedTuple):
    """Weighted lengths sorted by total tokens, float64[k] each; see `JointLengths`."""

    weight: np.ndarray
    prompt: np.ndarray
    output: np.ndarray
    compressible: np.ndarray


class Bands(NamedTuple):
    """What boundaries and gammas decide whatever the GPUs are.

    Attributes
    ----------
    compressed : np.ndarray
        float64[b, g], weight of the compressed requests.
    end, left : np.ndarray
        int64[b, g], points up to the end of the band, and how many of the band's points stay above, in part or whole;
        where none does the long pool is what lies above the band.
    """

    compressed: np.ndarray
    end: np.ndarray
    left: np.ndarray


def base_s(profile: GpuProfile) -> float:
    """Base time of an iteration as the model takes it, s: see ``RequestWork.base_s``."""
    return max(profile.base_s, _SHORTEST_BASE_S)


def request_coefficients(profile: GpuProfile) -> tuple[float, ...]:
    """What of a profile decides over a request's moments, nine numbers."""
    return (
        float(min(profile.max_chunk_tokens, profile.max_batched_tokens)),
        profile.block_tokens / 2,
        profile.per_sequence_s,
        profile.per_context_token_s,
        profile.per_prefill_token_s,
        profile.per_prefill_attention_s,
        profile.prefill_only_base_s,
        profile.prefill_only_per_token_s,
        profile.prefill_only_per_attention_s,
    )


@njit(nogil=True, error_model="numpy", inline="always")
def _of_request(prompt, output, c):  # type: ignore[no-untyped-def]  # inlined where it vectorises
    """A request's moments, in order, with its time to first token on an idle replica, s, in the last place."""
    steps = output - 1
    chunks = np.ceil(prompt / c[_CHUNK])
    attention = prompt * prompt / 2
    decode_s = c[_A] * steps + c[_B] * (steps * prompt + output * steps / 2)
    return (
        1.0,
        decode_s + c[_P] * prompt + c[_Q] * attention,
        decode_s,
        prompt + steps,
        chunks + steps,
        chunks * (prompt / 2 + c[_HALF_BLOCK]) + steps * (prompt + output / 2 + c[_HALF_BLOCK]),
        chunks * prompt * prompt / 3 + steps * (prompt * prompt + prompt * output + output * output / 3),
        chunks * c[_ALONE_W] + c[_ALONE_P] * prompt + c[_ALONE_Q] * attention,
    )


@compiled(error_model="numpy", fastmath=_ANY_ORDER)
def request_moments(points: Points, coefficients: np.ndarray) -> np.ndarray:
    """float64[8, k], moments of a request of each point; in place of the last its TTFT on an idle replica, s."""
    moments = np.empty((MOMENTS, len(points.weight)))
    for point in range(len(points.weight)):
        one = _of_request(points.prompt[point], points.output[point], coefficients)
        for i in range(MOMENTS):
            moments[i, point] = one[i]
    return moments


@compiled(error_model="numpy")
def late_share(weight: np.ndarray, prompt: np.ndarray, coefficients: np.ndarray, target_s: float) -> float:
    """Share of a pool's requests that are late even on an idle replica."""
    late, total = 0.0, 0.0
    for point in range(len(weight)):
        total += weight[point]
        if _of_request(prompt[point], 1.0, coefficients)[LATE] > target_s:
            late += weight[point]
    return late / total


@compiled(error_model="numpy", fastmath=_ANY_ORDER)
def add_points(points: Points, requests: np.ndarray, first: int, end: int, target_s: float, sums: np.ndarray) -> None:
    """Add the points from the first up to the end to float64[8] sums.

    Parameters
    ----------
    points : Points
    requests : np.ndarray
        Of :func:`request_moments`.
    first, end : int
    target_s : float
        Of the time to first token, s.
    sums : np.ndarray
    """
    for i in range(LATE):
        one = 0.0
        for point in range(first, end):
            one += points.weight[point] * requests[i, point]
        sums[i] += one
    late = 0.0
    for point in range(first, end):
        late += points.weight[point] if requests[LATE, point] > target_s else 0.0
    sums[LATE] += late


@compiled(error_model="numpy", fastmath=_ANY_ORDER)
def add_compressed(
    points: Points,
    first: int,
    end: int,
    boundary: float,
    taken_boundary: float,
    taken_end: float,
    coefficients: np.ndarray,
    target_s: float,
    sums: np.ndarray,
) -> None:
    """Add what points above a boundary become when they are compressed to it.

    Parameters
    ----------
    points, first, end, coefficients, target_s, sums : see :func:`add_points`
    boundary : float
        Tokens.
    taken_boundary, taken_end : float
        A lower boundary and the end of its band, tokens: what goes there is left out.
    """
    s0, s1, s2, s3, s4, s5, s6, s7 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for point in range(first, end):
        output = points.output[point]
        is_taken = (points.prompt[point] + output <= taken_end) & (taken_boundary - output >= 1)
        fits = (boundary - output >= 1) & (not is_taken)
        share = points.weight[point] * points.compressible[point] if fits else 0.0
        one = _of_request(boundary - output, output, coefficients)
        s0 += share
        s1 += share * one[1]
        s2 += share * one[2]
        s3 += share * one[3]
        s4 += share * one[4]
        s5 += share * one[5]
        s6 += share * one[6]
        s7 += share if one[7] > target_s else 0.0
    for i, one_sum in enumerate((s0, s1, s2, s3, s4, s5, s6, s7)):
        sums[i] += one_sum


@compiled(error_model="numpy")
def add_left(
    points: Points,
    requests: np.ndarray,
    first: int,
    end: int,
    boundary: float,
    gamma: float,
    target_s: float,
    sums: np.ndarray,
) -> int:
    """Add what is left of points when those within ``gamma`` times a lower boundary have been compressed to it.

    Parameters
    ----------
    points, requests, first, end, target_s, sums : see :func:`add_points`
    boundary : float
        The lower boundary, tokens.
    gamma : float

    Returns
    -------
    int
        Of how many points something is left.
    """
    n_left, end_of_band = 0, band_end(boundary, gamma)
    for point in range(first, end):
        output = points.output[point]
        goes_down = points.prompt[point] + output <= end_of_band and boundary - output >= 1
        stays = points.weight[point] - (points.weight[point] * points.compressible[point] if goes_down else 0.0)
        if stays > 0:
            n_left += 1
            for i in range(LATE):
                sums[i] += stays * requests[i, point]
            if requests[LATE, point] > target_s:
                sums[LATE] += stays
    return n_left


@compiled(error_model="numpy")
def outer_moments(
    points: Points,
    requests: np.ndarray,
    boundaries: np.ndarray,
    gammas: np.ndarray,
    coefficients: np.ndarray,
    short_target_s: float,
    long_target_s: float,
    short: np.ndarray,
    long: np.ndarray,
    bands: Bands,
) -> None:
    """Fill in the moments of the pools below and above each boundary.

    The long pool of three is that of two with the same upper boundary: a request that is compressed for the lowest
    boundary would else have been compressed for the upper one.

    Parameters
    ----------
    points : Points
    requests : np.ndarray
        Of :func:`request_moments`.
    boundaries, gammas : np.ndarray
        float64[b] and float64[g], increasing.
    coefficients : np.ndarray
    short_target_s, long_target_s : float
        Targets of the time to first token, s.
    short, long : np.ndarray
        float64[b, g, 8], results.
    bands : Bands
        Results too.
    """
    n_points = len(points.weight)
    below, squeezed, left = np.zeros(MOMENTS), np.zeros(MOMENTS), np.zeros(MOMENTS)
    start = 0
    for b in range(len(boundaries)):
        boundary = boundaries[b]
        before = start
        while start < n_points and points.prompt[start] + points.output[start] <= boundary:
            start += 1
        add_points(points, requests, before, start, short_target_s, below)
        squeezed[:], left[:] = 0.0, 0.0
        point, n_left = start, 0
        for g in range(len(gammas)):
            first = point
            end = band_end(boundary, gammas[g])
            while point < n_points and points.prompt[point] + points.output[point] <= end:
                point += 1
            add_compressed(points, first, point, boundary, -np.inf, -np.inf, coefficients, short_target_s, squeezed)
            n_left += add_left(points, requests, first, point, boundary, np.inf, long_target_s, left)
            short[b, g] = below + squeezed
            long[b, g] = left
            bands.compressed[b, g], bands.end[b, g], bands.left[b, g] = squeezed[REQUESTS], point, n_left
    _add_above(points, requests, long_target_s, long, bands)


@compiled(error_model="numpy")
def _add_above(points: Points, requests: np.ndarray, target_s: float, long: np.ndarray, bands: Bands) -> None:
    """Add to each long pool what lies above its band; the ends are gone through from the longest down."""
    n_points = len(points.weight)
    ends = np.unique(bands.end)
    above = np.zeros((n_points + 1, MOMENTS))
    end = n_points
    for k in range(len(ends) - 1, -1, -1):
        above[ends[k]] = above[end]
        add_points(points, requests, ends[k], end, target_s, above[ends[k]])
        end = ends[k]
    for b in range(bands.end.shape[0]):
        for g in range(bands.end.shape[1]):
            long[b, g] += above[bands.end[b, g]]
