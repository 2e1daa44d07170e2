"""The cells of the search: fleets of one to three pools, with a lower bound on the price of each.

A cell is boundaries, a band and an offer for each pool. Its pools are entries of a table that cells share: what one
cell finds out about a pool, all that contain it know. Cells are kept in the order in which ties between them end.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from fleetopt.compiled import compiled
from fleetopt.planner.bounds import INFEASIBLE, least_loaded, replica_limits
from fleetopt.planner.engine import most_sequences
from fleetopt.planner.moments import (
    MOMENTS,
    REQUESTS,
    Bands,
    Points,
    add_points,
    outer_moments,
    request_coefficients,
    request_moments,
)
from fleetopt.planner.problem import Problem
from fleetopt.planner.provision import fleet_price, offer_terms

Shape = tuple[int, int, int]
"""How many offers, boundaries and gammas there are."""

NO_POOL = -1
SLACK = 1e-9
EQUAL_USD = 2e-9
"""Prices that count as equal, to 1e-9 USD/h, are within this."""
_MOST_REPLICAS = 1e9
_INDEX, _LOWER, _UPPER, _GAMMA, _OFFER = range(5)


class Question(NamedTuple):
    """A problem as arrays.

    Attributes
    ----------
    points : Points
    boundaries, gammas : np.ndarray
        Candidates, increasing.
    coefficients, limits, terms : np.ndarray
        float64[offer, ...], of `request_coefficients`, `replica_limits` and `offer_terms`.
    sequences : np.ndarray
        float64[offer, b + 1], most requests that run at once in a pool that ends at each boundary, and in the last.
    context : np.ndarray
        float64[b + 1], context limits of these pools.
    targets_s : np.ndarray
        float64[4], targets of the time to first token of the pools all, short, middle and long, s.
    rps_per_weight, compressed_usd : float
        Arrival rate, 1/s, and price of compression, USD/h, per weight of requests.
    """

    points: Points
    boundaries: np.ndarray
    gammas: np.ndarray
    coefficients: np.ndarray
    limits: np.ndarray
    terms: np.ndarray
    sequences: np.ndarray
    context: np.ndarray
    targets_s: np.ndarray
    rps_per_weight: float
    compressed_usd: float


class PoolTable(NamedTuple):
    """Pools that cells are made of.

    Attributes
    ----------
    place : np.ndarray
        int64[pool, 5]: index of the pool within its fleet, of the lower and of the upper boundary (-1: none), of gamma,
        and of the offer. A long pool is the same in a fleet of three pools; its index is that in one of two.
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
        float64[cell], price of compression, USD/h, at least.
    usd, replicas : np.ndarray
        float64[cell], price of the fleet, USD/h, and its replicas; at least.
    """

    pools: np.ndarray
    gamma: np.ndarray
    evenness: np.ndarray
    extra_usd: np.ndarray
    usd: np.ndarray
    replicas: np.ndarray


class Shares(NamedTuple):
    """Weight of the requests below and above each boundary, float64[b, g], and of all; what bands do."""

    short: np.ndarray
    long: np.ndarray
    total: float
    bands: Bands


def ask(problem: Problem, boundaries: tuple[int, ...], gammas: tuple[float, ...]) -> Question:
    """The arrays of a problem for given candidates."""
    lengths, profiles = problem.lengths, [offer.profile for offer in problem.offers]
    context = (*boundaries, problem.max_context_tokens)
    if problem.slot_mode == "statistical":
        sequences = np.repeat([[float(profile.max_sequences)] for profile in profiles], len(context), axis=1)
    else:
        sequences = np.array([[most_sequences(problem, gpu, c) for c in context] for gpu in profiles], dtype=np.float64)
    rps_per_weight = problem.arrival_rate_rps / float(lengths.weight.sum())
    return Question(
        points=Points(lengths.weight, lengths.prompt_tokens, lengths.output_tokens, lengths.compressible_fraction),
        boundaries=np.array(boundaries, dtype=np.float64),
        gammas=np.array(gammas),
        coefficients=np.array([request_coefficients(profile) for profile in profiles]),
        limits=np.array([replica_limits(problem, profile) for profile in profiles]),
        terms=offer_terms(problem),
        sequences=sequences,
        context=np.array(context, dtype=np.float64),
        targets_s=np.array([problem.slo.ttft_of(name) for name in ("all", "short", "middle", "long")]),
        rps_per_weight=rps_per_weight,
        compressed_usd=compression_usd_per_hour(problem, rps_per_weight),
    )


def compression_usd_per_hour(problem: Problem, compressed_rps: float) -> float:
    """Price of compressing requests at a rate, USD/h."""
    return problem.usd_per_compressed_request * compressed_rps * 3600


@compiled(error_model="numpy")
def cells_of_two(asked: Question, fewest_pools: int, most_pools: int) -> tuple[PoolTable, Cells, Shares]:
    """Cells of one pool and of two, those that no number of replicas makes feasible left out.

    Parameters
    ----------
    asked : Question
    fewest_pools, most_pools : int
        1 or 2.
    """
    n_offers, n_boundaries, n_gammas = len(asked.terms), len(asked.boundaries), len(asked.gammas)
    n_places = n_boundaries * n_gammas
    bands = Bands(
        np.empty((n_boundaries, n_gammas)),
        np.empty((n_boundaries, n_gammas), dtype=np.int64),
        np.empty((n_boundaries, n_gammas), dtype=np.int64),
    )
    short, long = np.empty((n_boundaries, n_gammas, MOMENTS)), np.empty((n_boundaries, n_gammas, MOMENTS))
    n_pools = n_offers * (1 + 2 * n_places)
    table = PoolTable(np.empty((n_pools, 5), dtype=np.int64), np.empty(n_pools))
    whole = np.zeros(MOMENTS)
    for k in range(n_offers):
        requests = request_moments(asked.points, asked.coefficients[k])
        whole[:] = 0.0
        add_points(asked.points, requests, 0, len(asked.points.weight), asked.targets_s[0], whole)
        outer_moments(
            asked.points,
            requests,
            asked.boundaries,
            asked.gammas,
            asked.coefficients[k],
            asked.targets_s[1],
            asked.targets_s[3],
            short,
            long,
            bands,
        )
        _bound_pools(asked, k, whole, short, long, table)
    shares = Shares(short[:, :, REQUESTS].copy(), long[:, :, REQUESTS].copy(), whole[REQUESTS], bands)
    n_cells = (n_offers if fewest_pools == 1 else 0) + (n_offers**2 * n_places if most_pools > 1 else 0)
    cells = no_cells(n_cells)
    filled = 0
    for k in range(n_offers if fewest_pools == 1 else 0):
        cells.pools[k, 0], cells.gamma[k], cells.evenness[k], cells.extra_usd[k] = k, 0, 1.0, 0.0
        filled += 1
    filled = keep_feasible(0, filled, asked.terms, table, cells)
    if most_pools > 1:
        filled = _fill_two(asked, shares, filled, table, cells)
    return (
        table,
        Cells(
            cells.pools[:filled],
            cells.gamma[:filled],
            cells.evenness[:filled],
            cells.extra_usd[:filled],
            cells.usd[:filled],
            cells.replicas[:filled],
        ),
        shares,
    )


@compiled()
def no_cells(count: int) -> Cells:
    """Room for as many cells."""
    return Cells(
        np.full((count, 3), NO_POOL),
        np.empty(count, dtype=np.int64),
        np.empty(count),
        np.empty(count),
        np.empty(count),
        np.empty(count),
    )


@njit(nogil=True)
def shape_of(asked: Question) -> Shape:
    """How many offers, boundaries and gammas there are."""
    return len(asked.terms), len(asked.boundaries), len(asked.gammas)


@compiled()
def outer_pool(shape: Shape, is_above: int, offer: int, boundary: int, gamma: int) -> int:
    """Where the table holds the pool below or above a boundary."""
    n_offers, n_boundaries, n_gammas = shape
    return n_offers + ((is_above * n_offers + offer) * n_boundaries + boundary) * n_gammas + gamma


@compiled()
def set_pool(
    place: np.ndarray,
    loaded: np.ndarray,
    pool: int,
    index: int,
    lower: int,
    upper: int,
    gamma: int,
    offer: int,
    least: float,
) -> None:
    """Enter a pool into the columns of the table."""
    place[pool, _INDEX], place[pool, _LOWER], place[pool, _UPPER] = index, lower, upper
    place[pool, _GAMMA], place[pool, _OFFER] = gamma, offer
    loaded[pool] = least


@compiled(error_model="numpy")
def _bound_pools(
    asked: Question, offer: int, whole: np.ndarray, short: np.ndarray, long: np.ndarray, table: PoolTable
) -> None:
    """Enter an offer's pools of fleets of one and of two."""
    limits, sequences, context = asked.limits[offer], asked.sequences[offer], asked.context
    last, shape, rps_per_weight = len(asked.boundaries), shape_of(asked), asked.rps_per_weight
    place, least = table.place, table.loaded
    loaded = least_loaded(whole, rps_per_weight, sequences[last], context[last], limits)
    set_pool(place, least, offer, 0, NO_POOL, NO_POOL, 0, offer, loaded)
    for b in range(last):
        for g in range(len(asked.gammas)):
            loaded = least_loaded(short[b, g], rps_per_weight, sequences[b], context[b], limits)
            set_pool(place, least, outer_pool(shape, 0, offer, b, g), 0, NO_POOL, b, g, offer, loaded)
            loaded = least_loaded(long[b, g], rps_per_weight, sequences[last], context[last], limits)
            set_pool(place, least, outer_pool(shape, 1, offer, b, g), 1, b, NO_POOL, g, offer, loaded)


@compiled(error_model="numpy")
def _fill_two(asked: Question, shares: Shares, filled: int, table: PoolTable, cells: Cells) -> int:
    """Fill in the cells of two pools behind those that are there; return how many there are."""
    shape = shape_of(asked)
    n_offers, n_boundaries, n_gammas = shape
    end, left, compressed = shares.bands.end, shares.bands.left, shares.bands.compressed
    short, long = shares.short, shares.long
    pools, gamma, evenness, extra_usd = cells.pools, cells.gamma, cells.evenness, cells.extra_usd
    same_above = np.full((len(asked.points.weight) + 1, n_offers), NO_POOL)
    first_filled = filled
    for b in range(n_boundaries):
        for g in range(n_gammas):
            smaller = min(short[b, g], long[b, g])
            if smaller <= 0 or (g > 0 and end[b, g] == end[b, g - 1]):  # a pool is empty; or as with a smaller gamma
                continue
            for first in range(n_offers):
                for second in range(n_offers):
                    above = outer_pool(shape, 1, second, b, g)
                    if left[b, g] == 0:  # then it is all above the band, whose boundary does not matter
                        known = same_above[end[b, g], second]
                        above = above if known == NO_POOL else known
                        same_above[end[b, g], second] = above
                    pools[filled, 0], pools[filled, 1] = outer_pool(shape, 0, first, b, g), above
                    gamma[filled], evenness[filled] = g, smaller / shares.total * (1 + SLACK)
                    extra_usd[filled] = asked.compressed_usd * compressed[b, g] * (1 - SLACK)
                    filled += 1
    return keep_feasible(first_filled, filled, asked.terms, table, cells)


@compiled(error_model="numpy")
def keep_feasible(first: int, end: int, terms: np.ndarray, table: PoolTable, cells: Cells) -> int:
    """Price new cells and close the gaps that those leave which cannot be feasible; return how many there are."""
    place, loaded = table.place, table.loaded
    pools, gamma, evenness, extra_usd = cells.pools, cells.gamma, cells.evenness, cells.extra_usd
    kept = first
    for cell in range(first, end):
        usd, replicas = _price(pools[cell, 0], pools[cell, 1], pools[cell, 2], terms, place, loaded)
        if usd < INFEASIBLE:
            for i in range(3):
                pools[kept, i] = pools[cell, i]
            gamma[kept], evenness[kept], extra_usd[kept] = gamma[cell], evenness[cell], extra_usd[cell]
            cells.usd[kept], cells.replicas[kept] = usd + extra_usd[cell], replicas
            kept += 1
    return kept


@compiled(error_model="numpy")
def price_of(cell: int, terms: np.ndarray, table: PoolTable, cells: Cells) -> tuple[float, float]:
    """Price of a cell, USD/h, and its replicas, by what the table knows of its pools."""
    first, second, third = cells.pools[cell, 0], cells.pools[cell, 1], cells.pools[cell, 2]
    usd, replicas = _price(first, second, third, terms, table.place, table.loaded)
    return usd + cells.extra_usd[cell], replicas


@compiled(error_model="numpy")
def _price(
    first: int, second: int, third: int, terms: np.ndarray, place: np.ndarray, loaded: np.ndarray
) -> tuple[float, float]:
    """Price of up to three pools of the table, USD/h, without compression, and their replicas."""
    return fleet_price(
        (
            loaded[first],
            loaded[second] if second != NO_POOL else 0.0,
            loaded[third] if third != NO_POOL else 0.0,
        ),
        (
            place[first, _OFFER],
            place[second, _OFFER] if second != NO_POOL else NO_POOL,
            place[third, _OFFER] if third != NO_POOL else NO_POOL,
        ),
        terms,
    )


@compiled(error_model="numpy")
def first_cell(terms: np.ndarray, table: PoolTable, cells: Cells) -> int:
    """The cell that is first by what is known; -1 if none is feasible.

    The cheapest; of equal price (to 1e-9 USD/h) the one with fewer replicas, fewer pools, less compression, the more
    even pools, and the first in order. Prices are brought up to date on the way.
    """
    while True:
        first, limit_usd = -1, np.inf
        for cell in range(len(cells.usd)):
            if cells.usd[cell] < limit_usd and (first < 0 or precedes(cell, first, cells)):
                first = cell
                limit_usd = cells.usd[first] + EQUAL_USD
        if first < 0:
            return -1
        usd, replicas = price_of(first, terms, table, cells)
        if usd == cells.usd[first] and replicas == cells.replicas[first]:
            return first
        cells.usd[first], cells.replicas[first] = usd, replicas


@compiled(error_model="numpy")
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


@compiled(error_model="numpy")
def precedes(cell: int, other: int, cells: Cells) -> bool:
    """Whether a later cell comes before an earlier one."""
    usd, other_usd = np.rint(cells.usd[cell] * 1e9), np.rint(cells.usd[other] * 1e9)
    if usd != other_usd:
        return usd < other_usd
    if cells.replicas[cell] != cells.replicas[other]:
        return cells.replicas[cell] < cells.replicas[other]
    if _n_pools(cell, cells) != _n_pools(other, cells):
        return _n_pools(cell, cells) < _n_pools(other, cells)
    if cells.gamma[cell] != cells.gamma[other]:
        return cells.gamma[cell] < cells.gamma[other]
    return cells.evenness[cell] > cells.evenness[other]


@compiled()
def _n_pools(cell: int, cells: Cells) -> int:
    return 1 + (cells.pools[cell, 1] != NO_POOL) + (cells.pools[cell, 2] != NO_POOL)
