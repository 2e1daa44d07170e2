"""The cells of the search: fleets of one to three pools, with a lower bound on the price of each.

A cell is boundaries, a band and an offer for each pool. Its pools are entries of a table that cells share: what one
cell finds out about a pool, all that contain it know. Cells are kept in the order in which ties between them end.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from fleetopt.planner.bounds import INFEASIBLE, least_by_budget, least_loaded, replica_limits
from fleetopt.planner.engine import most_sequences
from fleetopt.planner.moments import (
    MOMENTS,
    REQUESTS,
    add_request,
    add_squeezed,
    all_moments,
    goes_below,
    outer_moments,
    request_coefficients,
    request_moments,
)
from fleetopt.planner.problem import Problem
from fleetopt.planner.provision import fleet_price, offer_terms

_SLACK = 1e-9
_PRICE_SLACK = 2e-9  # prices within 1e-9 USD/h of each other count as equal
_MOST_REPLICAS = 1e9
NO_POOL = -1


class PoolTable(NamedTuple):
    """Pools that cells are made of.

    Attributes
    ----------
    place : np.ndarray
        int64[pool, 5]: index of the pool within its fleet, of the lower and of the upper boundary (-1: none), of gamma,
        and of the offer.
    loaded : np.ndarray
        float64[pool], replicas that carry the load: at least, and exactly once sized; infinite: none can.
    """

    place: np.ndarray
    loaded: np.ndarray


class Cells(NamedTuple):
    """Fleets to choose from; see the module.

    Attributes
    ----------
    pools : np.ndarray
        int64[cell, 3], entries of the table, -1 where there are fewer pools.
    gamma : np.ndarray
        int64[cell], index of gamma.
    evenness : np.ndarray
        float64[cell], share of the requests that the smallest pool gets, at most.
    extra_usd : np.ndarray
        float64[cell], price of compression, USD/h.
    usd, replicas : np.ndarray
        float64[cell], price of the fleet, USD/h, and its replicas; at least.
    """

    pools: np.ndarray
    gamma: np.ndarray
    evenness: np.ndarray
    extra_usd: np.ndarray
    usd: np.ndarray
    replicas: np.ndarray


class Outer(NamedTuple):
    """What cells are made of besides their pools, by boundary and gamma.

    Attributes
    ----------
    short_requests, long_requests, compressed : np.ndarray
        float64[b, g], weight of the requests below and above, and of the compressed ones.
    band : np.ndarray
        int64[b, g, 2], see `outer_moments`.
    total_requests : float
    """

    short_requests: np.ndarray
    long_requests: np.ndarray
    compressed: np.ndarray
    band: np.ndarray
    total_requests: float


@dataclass(frozen=True, eq=False)
class Bounded:
    """A problem as arrays: what kernels need to bound the pools of every cell, offer by offer.

    Attributes
    ----------
    points : tuple of np.ndarray
        Weight, prompt, output and compressible share, float64[k].
    boundaries, gammas : np.ndarray
        Candidates, increasing.
    requests, idle_s : np.ndarray
        float64[offer, k, 8] and float64[offer, k], of `request_moments`.
    coefficients, limits, terms : np.ndarray
        float64[offer, ...], of `request_coefficients`, `replica_limits` and `offer_terms`.
    sequences, context : np.ndarray
        float64[offer, b + 1] and float64[b + 1], most requests running at once, and context limit, of a pool that ends
        at each boundary; the last is the fleet's own limit.
    rps_per_weight, compressed_usd : float
        Arrival rate, 1/s, and price of compression, USD/h, per weight of requests.
    """

    points: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    boundaries: np.ndarray
    gammas: np.ndarray
    requests: np.ndarray
    idle_s: np.ndarray
    coefficients: np.ndarray
    limits: np.ndarray
    terms: np.ndarray
    sequences: np.ndarray
    context: np.ndarray
    rps_per_weight: float
    compressed_usd: float


def bounded(problem: Problem, boundaries: tuple[int, ...], gammas: tuple[float, ...]) -> Bounded:
    """The arrays of a problem."""
    lengths, profiles = problem.lengths, [offer.profile for offer in problem.offers]
    coefficients = np.array([request_coefficients(profile) for profile in profiles])
    requests = [request_moments(lengths.prompt_tokens, lengths.output_tokens, row) for row in coefficients]
    context = (*boundaries, problem.max_context_tokens)
    sequences = np.empty((len(profiles), len(context)))
    for row, profile in zip(sequences, profiles, strict=True):
        same_for_all = problem.slot_mode == "statistical"
        row[:] = profile.max_sequences if same_for_all else [most_sequences(problem, profile, c) for c in context]
    rps_per_weight = problem.arrival_rate_rps / float(lengths.weight.sum())
    return Bounded(
        points=(lengths.weight, lengths.prompt_tokens, lengths.output_tokens, lengths.compressible_fraction),
        boundaries=np.array(boundaries, dtype=np.float64),
        gammas=np.array(gammas),
        requests=requests[0][0][None] if len(requests) == 1 else np.array([moments for moments, _ in requests]),
        idle_s=requests[0][1][None] if len(requests) == 1 else np.array([idle_s for _, idle_s in requests]),
        coefficients=coefficients,
        limits=np.array([replica_limits(problem, profile) for profile in profiles]),
        terms=offer_terms(problem),
        sequences=sequences,
        context=np.array(context, dtype=np.float64),
        rps_per_weight=rps_per_weight,
        compressed_usd=compression_usd_per_hour(problem, rps_per_weight),
    )


def compression_usd_per_hour(problem: Problem, compressed_rps: float) -> float:
    """Price of compressing requests at a rate, USD/h."""
    return problem.usd_per_compressed_request * compressed_rps * 3600


def cells_of_two(
    problem: Problem, arrays: Bounded, fewest_pools: int, most_pools: int
) -> tuple[PoolTable, Cells, Outer]:
    """Cells of one pool and of two, those that no number of replicas makes feasible left out."""
    targets = [problem.slo.ttft_of(name) for name in ("all", "short", "long")]
    n_offers = len(arrays.idle_s)
    n_places = len(arrays.boundaries) * len(arrays.gammas)
    short = np.empty((n_offers, len(arrays.boundaries), len(arrays.gammas), MOMENTS))
    long = np.empty_like(short)
    whole = np.empty((n_offers, MOMENTS))
    for k in range(n_offers):
        whole[k] = all_moments(arrays.points[0], arrays.requests[k], arrays.idle_s[k], targets[0])
        short[k], long[k], compressed, band = outer_moments(
            *arrays.points,
            arrays.requests[k],
            arrays.idle_s[k],
            arrays.boundaries,
            arrays.gammas,
            arrays.coefficients[k],
            targets[1],
            targets[2],
        )
    table = PoolTable(
        place=np.empty((n_offers * (1 + 2 * n_places), 5), dtype=np.int64),
        loaded=np.empty(n_offers * (1 + 2 * n_places)),
    )
    _bound_pools(
        whole,
        short,
        long,
        arrays.sequences,
        arrays.context,
        arrays.rps_per_weight,
        arrays.limits,
        table,
    )
    outer = Outer(short[0, :, :, REQUESTS], long[0, :, :, REQUESTS], compressed, band, float(whole[0, REQUESTS]))
    cells = _no_cells((n_offers if fewest_pools == 1 else 0) + (n_offers**2 * n_places if most_pools > 1 else 0))
    filled = _fill_cells(fewest_pools, most_pools, outer, arrays.compressed_usd, arrays.terms, table, cells)
    return table, Cells(*(column[:filled] for column in cells)), outer


def _no_cells(count: int) -> Cells:
    """Room for as many cells."""
    return Cells(
        pools=np.full((count, 3), NO_POOL, dtype=np.int64),
        gamma=np.empty(count, dtype=np.int64),
        evenness=np.empty(count),
        extra_usd=np.empty(count),
        usd=np.empty(count),
        replicas=np.empty(count),
    )


def cells_of_three(
    problem: Problem, arrays: Bounded, table: PoolTable, outer: Outer, most_usd: float
) -> tuple[PoolTable, Cells, float]:
    """Cells of three pools whose price may be at most ``most_usd``, USD/h.

    Parameters
    ----------
    problem : Problem
    arrays : Bounded
    table : PoolTable
        Of :func:`cells_of_two`.
    outer : Outer
    most_usd : float

    Returns
    -------
    table : PoolTable
        The same pools and then the middle ones.
    cells : Cells
    next_usd : float
        Lowest price, USD/h, above which there may be more cells; infinite: none.
    """
    n_offers, room = len(arrays.terms), 1024
    while True:
        cells = _no_cells(room * n_offers**3)
        middle = PoolTable(place=np.empty((room * n_offers, 5), dtype=np.int64), loaded=np.empty(room * n_offers))
        both = PoolTable(*(np.concatenate(pair) for pair in zip(table, middle, strict=True)))
        filled, pools, next_usd = _fill_three(
            arrays.points,
            arrays.boundaries,
            arrays.gammas,
            arrays.requests,
            arrays.idle_s,
            arrays.coefficients,
            arrays.limits,
            arrays.sequences,
            arrays.context,
            arrays.rps_per_weight,
            problem.slo.ttft_of("middle"),
            arrays.compressed_usd,
            arrays.terms,
            outer,
            most_usd + _PRICE_SLACK,
            len(table.loaded),
            both,
            cells,
        )
        if pools <= len(both.loaded):
            return (
                PoolTable(*(column[:pools] for column in both)),
                Cells(*(column[:filled] for column in cells)),
                next_usd,
            )
        room = (pools - len(table.loaded)) // n_offers


@njit(cache=True, nogil=True)
def _bound_pools(
    whole: np.ndarray,
    short: np.ndarray,
    long: np.ndarray,
    sequences: np.ndarray,
    context: np.ndarray,
    rps_per_weight: float,
    limits: np.ndarray,
    table: PoolTable,
) -> None:
    """Fill in the pools of fleets of one and of two: all, then short, then long, by offer, boundary and gamma."""
    n_offers, n_boundaries, n_gammas, _ = short.shape
    for k in range(n_offers):
        table.place[k] = np.array([0, -1, -1, 0, k])
        table.loaded[k] = least_loaded(whole[k], rps_per_weight, sequences[k, -1], context[-1], limits[k])
        for b in range(n_boundaries):
            for g in range(n_gammas):
                below = _outer_pool(0, k, b, g, n_offers, n_boundaries, n_gammas)
                above = _outer_pool(1, k, b, g, n_offers, n_boundaries, n_gammas)
                place = table.place[below]
                place[0], place[1], place[2], place[3], place[4] = 0, -1, b, g, k
                place = table.place[above]
                place[0], place[1], place[2], place[3], place[4] = 1, b, -1, g, k
                table.loaded[below] = least_loaded(
                    short[k, b, g], rps_per_weight, sequences[k, b], context[b], limits[k]
                )
                table.loaded[above] = least_loaded(
                    long[k, b, g], rps_per_weight, sequences[k, -1], context[-1], limits[k]
                )


@njit(cache=True, nogil=True)
def _fill_cells(
    fewest_pools: int,
    most_pools: int,
    outer: Outer,
    compressed_usd: float,
    terms: np.ndarray,
    table: PoolTable,
    cells: Cells,
) -> int:
    """Fill in the cells that may be feasible, in the order of ties; return how many."""
    n_offers = len(terms)
    n_boundaries, n_gammas = outer.compressed.shape
    band = outer.band
    same_above = np.full((band.max() + 1 if n_boundaries else 0, n_offers), NO_POOL)
    filled = 0
    for k in range(n_offers if fewest_pools == 1 else 0):
        cells.pools[filled, 0] = k
        filled += _priced(filled, 0, 1.0, 0.0, terms, table, cells)
    if most_pools == 1:
        return filled
    for b in range(n_boundaries):
        for g in range(n_gammas):
            smaller = min(outer.short_requests[b, g], outer.long_requests[b, g])
            is_same_as_before = g > 0 and band[b, g, 0] == band[b, g - 1, 0]
            if smaller <= 0 or is_same_as_before:
                continue
            for first in range(n_offers):
                for second in range(n_offers):
                    below = _outer_pool(0, first, b, g, n_offers, n_boundaries, n_gammas)
                    above = _outer_pool(1, second, b, g, n_offers, n_boundaries, n_gammas)
                    if band[b, g, 1] == 0:  # then it is all that lies above the band, whose boundary does not matter
                        known = same_above[band[b, g, 0], second]
                        above = same_above[band[b, g, 0], second] = above if known == NO_POOL else known
                    cells.pools[filled, 0] = below
                    cells.pools[filled, 1] = above
                    evenness = smaller / outer.total_requests * (1 + _SLACK)
                    extra_usd = compressed_usd * outer.compressed[b, g] * (1 - _SLACK)
                    filled += _priced(filled, g, evenness, extra_usd, terms, table, cells)
    return filled


@njit(cache=True, nogil=True)
def _fill_three(
    points: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    boundaries: np.ndarray,
    gammas: np.ndarray,
    requests: np.ndarray,
    idle_s: np.ndarray,
    coefficients: np.ndarray,
    limits: np.ndarray,
    sequences: np.ndarray,
    context: np.ndarray,
    rps_per_weight: float,
    target_s: float,
    compressed_usd: float,
    terms: np.ndarray,
    outer: Outer,
    most_usd: float,
    pools: int,
    table: PoolTable,
    cells: Cells,
) -> tuple[int, int, float]:
    """Fill in cells of three pools and their middle pools; return how many of both there are, and the next price.

    Where there is not enough room the pools are counted on, so that the caller can make it.
    """
    weight, prompt, output, compressible = points
    n_offers, n_boundaries, n_gammas = len(terms), len(boundaries), len(gammas)
    natural, middle = np.zeros((n_offers, MOMENTS)), np.zeros((n_offers, MOMENTS))
    at_least, squeezed = np.empty(n_offers), np.zeros(MOMENTS)
    next_usd, filled = np.inf, 0
    for lower in range(n_boundaries):
        low = boundaries[lower]
        start = 0
        while start < len(weight) and prompt[start] + output[start] <= low:
            start += 1
        for g in range(n_gammas):
            gamma = gammas[g]
            natural[:] = 0.0
            point = start
            for upper in range(lower + 1, n_boundaries):
                while point < len(weight) and prompt[point] + output[point] <= boundaries[upper]:
                    below = goes_below(prompt[point] + output[point], output[point], low, gamma)
                    stays = weight[point] - (weight[point] * compressible[point] if below else 0.0)
                    for k in range(n_offers if stays > 0 else 0):
                        add_request(natural[k], requests[k, point], stays, idle_s[k, point] > target_s)
                    point += 1
                is_same_as_before = (
                    g > 0
                    and outer.band[lower, g, 0] == outer.band[lower, g - 1, 0]
                    and outer.band[upper, g, 0] == outer.band[upper, g - 1, 0]
                )
                if is_same_as_before or outer.long_requests[upper, g] <= 0:
                    continue
                for k in range(n_offers):
                    at_least[k] = least_by_budget(natural[k], rps_per_weight, limits[k])
                usd = _least_price(lower, upper, g, n_boundaries, n_gammas, at_least, terms, table)
                if usd > most_usd:
                    next_usd = min(next_usd, usd)
                    continue
                for k in range(n_offers):
                    squeezed[:] = 0.0
                    add_squeezed(
                        squeezed,
                        weight,
                        prompt,
                        output,
                        compressible,
                        point,
                        boundaries[upper],
                        low,
                        gamma,
                        coefficients[k],
                        target_s,
                    )
                    middle[k] = natural[k] + squeezed
                    at_least[k] = least_loaded(
                        middle[k], rps_per_weight, sequences[k, upper], context[upper], limits[k]
                    )
                if middle[0, REQUESTS] <= 0:
                    continue
                usd = _least_price(lower, upper, g, n_boundaries, n_gammas, at_least, terms, table)
                if usd > most_usd:
                    next_usd = min(next_usd, usd)
                    continue
                first_middle = pools
                pools += n_offers
                if pools > len(table.loaded):
                    continue
                for k in range(n_offers):
                    table.loaded[first_middle + k] = at_least[k]
                    place = table.place[first_middle + k]
                    place[0], place[1], place[2], place[3], place[4] = 1, lower, upper, g, k
                smallest = min(outer.short_requests[lower, g], middle[0, REQUESTS], outer.long_requests[upper, g])
                compressed = outer.compressed[lower, g] + squeezed[REQUESTS]
                evenness = smallest / outer.total_requests * (1 + _SLACK)
                extra_usd = compressed_usd * compressed * (1 - _SLACK)
                for first in range(n_offers):
                    for second in range(n_offers):
                        for third in range(n_offers):
                            entry = cells.pools[filled]
                            entry[0] = _outer_pool(0, first, lower, g, n_offers, n_boundaries, n_gammas)
                            entry[1] = first_middle + second
                            entry[2] = _outer_pool(1, third, upper, g, n_offers, n_boundaries, n_gammas)
                            filled += _priced(filled, g, evenness, extra_usd, terms, table, cells)
    return filled, pools, next_usd


@njit(cache=True, nogil=True)
def _outer_pool(
    is_above: int, offer: int, boundary: int, gamma: int, n_offers: int, n_boundaries: int, n_gammas: int
) -> int:
    """Where the table holds the pool below or above a boundary."""
    return n_offers + ((is_above * n_offers + offer) * n_boundaries + boundary) * n_gammas + gamma


@njit(cache=True, nogil=True)
def _least_price(
    lower: int,
    upper: int,
    gamma: int,
    n_boundaries: int,
    n_gammas: int,
    middle: np.ndarray,
    terms: np.ndarray,
    table: PoolTable,
) -> float:
    """Lowest price, USD/h, over the offers of three pools, without that of compression."""
    n_offers = len(terms)
    loaded, offer = np.empty(3), np.empty(3, dtype=np.int64)
    least_usd = np.inf
    for first in range(n_offers):
        for second in range(n_offers):
            for third in range(n_offers):
                offer[0], offer[1], offer[2] = first, second, third
                loaded[0] = table.loaded[_outer_pool(0, first, lower, gamma, n_offers, n_boundaries, n_gammas)]
                loaded[1] = middle[second]
                loaded[2] = table.loaded[_outer_pool(1, third, upper, gamma, n_offers, n_boundaries, n_gammas)]
                least_usd = min(least_usd, fleet_price(loaded, offer, terms)[0])
    return least_usd


@njit(cache=True, nogil=True)
def _priced(
    cell: int,
    gamma: int,
    evenness: float,
    extra_usd: float,
    terms: np.ndarray,
    table: PoolTable,
    cells: Cells,
) -> int:
    """Fill in a cell whose pools are set; 0 if it cannot be feasible, else 1."""
    cells.gamma[cell], cells.evenness[cell], cells.extra_usd[cell] = gamma, evenness, extra_usd
    cells.usd[cell], cells.replicas[cell] = price_of(cell, terms, table, cells)
    return int(cells.usd[cell] < INFEASIBLE)


@njit(cache=True, nogil=True)
def price_of(cell: int, terms: np.ndarray, table: PoolTable, cells: Cells) -> tuple[float, float]:
    """Price of a cell, USD/h, and its replicas, by what the table knows of its pools."""
    loaded, offer = np.empty(3), np.empty(3, dtype=np.int64)
    n_pools = 0
    for pool in cells.pools[cell]:
        if pool != NO_POOL:
            loaded[n_pools], offer[n_pools] = table.loaded[pool], table.place[pool, 4]
            n_pools += 1
    usd, replicas = fleet_price(loaded[:n_pools], offer[:n_pools], terms)
    return usd + cells.extra_usd[cell], replicas


@njit(cache=True, nogil=True)
def first_cell(terms: np.ndarray, table: PoolTable, cells: Cells) -> int:
    """The cell that is first by what is known; -1 if none is feasible.

    The cheapest; of equal price (to 1e-9 USD/h) the one with fewer replicas, fewer pools, less compression, the more
    even pools, and the first in order. Prices are brought up to date on the way.
    """
    while True:
        first = -1
        for cell in range(len(cells.usd)):
            if cells.usd[cell] < INFEASIBLE and (first < 0 or precedes(cell, first, cells)):
                first = cell
        if first < 0:
            return -1
        usd, replicas = price_of(first, terms, table, cells)
        if usd == cells.usd[first] and replicas == cells.replicas[first]:
            return first
        cells.usd[first], cells.replicas[first] = usd, replicas


@njit(cache=True, nogil=True)
def most_loaded(cell: int, pool: int, best: int, terms: np.ndarray, table: PoolTable, cells: Cells) -> float:
    """Most loaded replicas of one of a cell's pools with which the cell is neither dearer nor larger than another.

    The cell is one that comes before the other by what is known, so that what is known of the pool is few enough.
    """
    known = table.loaded[pool]
    low, high = known, _MOST_REPLICAS
    while high - low > 1:
        middle = min(np.floor((low + high) / 2), 2 * low)  # mostly it is near
        table.loaded[pool] = middle
        usd, replicas = price_of(cell, terms, table, cells)
        usd, best_usd = np.rint(usd * 1e9), np.rint(cells.usd[best] * 1e9)
        if usd < best_usd or (usd == best_usd and replicas <= cells.replicas[best]):
            low = middle
        else:
            high = middle
    table.loaded[pool] = known
    return low


@njit(cache=True, nogil=True)
def precedes(cell: int, other: int, cells: Cells) -> bool:
    """Whether a later cell comes before an earlier one."""
    usd, other_usd = np.rint(cells.usd[cell] * 1e9), np.rint(cells.usd[other] * 1e9)
    if usd != other_usd:
        return usd < other_usd
    if cells.replicas[cell] != cells.replicas[other]:
        return cells.replicas[cell] < cells.replicas[other]
    pools, other_pools = np.sum(cells.pools[cell] != NO_POOL), np.sum(cells.pools[other] != NO_POOL)
    if pools != other_pools:
        return pools < other_pools
    if cells.gamma[cell] != cells.gamma[other]:
        return cells.gamma[cell] < cells.gamma[other]
    return cells.evenness[cell] > cells.evenness[other]
