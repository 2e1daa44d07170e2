"""The cells of three pools: pairs of boundaries, made only as far as their price can matter."""

import numpy as np

from fleetopt.compiled import compiled
from fleetopt.planner.bounds import least_by_budget, least_loaded
from fleetopt.planner.cells import (
    EQUAL_USD,
    SLACK,
    Cells,
    PoolTable,
    Question,
    Shares,
    keep_feasible,
    no_cells,
    outer_pool,
    set_pool,
    shape_of,
)
from fleetopt.planner.mixture import band_end
from fleetopt.planner.moments import MOMENTS, REQUESTS, add_compressed, add_left, request_moments
from fleetopt.planner.provision import fleet_price

_FIRST_ROOM = 1024


def cells_of_three(
    asked: Question, table: PoolTable, shares: Shares, most_usd: float, lower: tuple[int, int] | None = None
) -> tuple[PoolTable, Cells, float]:
    """Cells of three pools whose price may be at most ``most_usd``, USD/h.

    Parameters
    ----------
    asked : Question
    table : PoolTable
    shares : Shares
        Both of `cells_of_two`.
    most_usd : float
    lower : tuple of int, optional
        First lower boundary and the one behind the last; by default all of them.

    Returns
    -------
    table : PoolTable
        The same pools and then the middle ones.
    cells : Cells
    next_usd : float
        Lowest price, USD/h, above which there may be more cells; infinite: none.
    """
    n_offers, n_outer, room = len(asked.terms), len(table.loaded), _FIRST_ROOM
    first, end = (0, len(asked.boundaries)) if lower is None else (lower[0], min(lower[1], len(asked.boundaries)))
    requests = np.array([request_moments(asked.points, row) for row in asked.coefficients])
    while True:
        cells = no_cells(room * n_offers**3)
        both = PoolTable(
            np.concatenate([table.place, np.empty((room * n_offers, 5), dtype=np.int64)]),
            np.concatenate([table.loaded, np.empty(room * n_offers)]),
        )
        filled, pools, next_usd = _fill_three(
            asked, requests, shares, first, end, most_usd + EQUAL_USD, n_outer, both, cells
        )
        if pools <= len(both.loaded):
            known = PoolTable(both.place[:pools], both.loaded[:pools])
            return known, Cells(*(column[:filled] for column in cells)), next_usd
        room = (pools - n_outer) // n_offers


@compiled(error_model="numpy")
def _fill_three(  # noqa: C901  # one loop over cells; what is in it is elsewhere
    asked: Question,
    requests: np.ndarray,
    shares: Shares,
    first_lower: int,
    end_lower: int,
    most_usd: float,
    pools: int,
    table: PoolTable,
    cells: Cells,
) -> tuple[int, int, float]:
    """Fill in cells of three pools and their middle pools; return how many of both there are, and the next price.

    Where there is not enough room the pools are counted on, so that the caller can make it.
    """
    n_offers = len(asked.terms)
    natural, middle = np.empty((n_offers, MOMENTS)), np.empty((n_offers, MOMENTS))
    loaded = np.empty(n_offers)
    next_usd, filled = np.inf, 0
    for lower in range(first_lower, end_lower):
        start = _points_within(asked, 0, asked.boundaries[lower])
        for g in range(len(asked.gammas)):
            natural[:] = 0.0
            point = start
            for upper in range(lower + 1, len(asked.boundaries)):
                end = _points_within(asked, point, asked.boundaries[upper])
                _add_natural(asked, requests, point, end, lower, g, natural)
                point = end
                if shares.long[upper, g] <= 0 or _is_same_as_before(shares, lower, upper, g):
                    continue
                for k in range(n_offers):
                    loaded[k] = least_by_budget(natural[k], asked.rps_per_weight, asked.limits[k])
                usd = _least_price(asked, lower, upper, g, loaded, table)
                if usd > most_usd:
                    next_usd = min(next_usd, usd)
                    continue
                compressed = _bound_middle(asked, point, lower, upper, g, natural, middle, loaded)
                if middle[0, REQUESTS] <= 0:
                    continue
                usd = _least_price(asked, lower, upper, g, loaded, table)
                if usd > most_usd:
                    next_usd = min(next_usd, usd)
                    continue
                pools += n_offers
                if pools > len(table.loaded):
                    continue
                for k in range(n_offers):
                    set_pool(table.place, table.loaded, pools - n_offers + k, 1, lower, upper, g, k, loaded[k])
                smallest = min(shares.short[lower, g], middle[0, REQUESTS], shares.long[upper, g])
                evenness = smallest / shares.total * (1 + SLACK)
                extra_usd = asked.compressed_usd * (shares.bands.compressed[lower, g] + compressed) * (1 - SLACK)
                filled = _fill_offers(
                    asked, lower, upper, g, pools - n_offers, evenness, extra_usd, filled, table, cells
                )
    return filled, pools, next_usd


@compiled()
def _points_within(asked: Question, first: int, boundary: float) -> int:
    """How many points are within a boundary; the first so many are known to be."""
    points = asked.points
    while first < len(points.weight) and points.prompt[first] + points.output[first] <= boundary:
        first += 1
    return first


@compiled()
def _is_same_as_before(shares: Shares, lower: int, upper: int, gamma: int) -> bool:
    """Whether the next smaller gamma compresses the same requests."""
    end = shares.bands.end
    return gamma > 0 and end[lower, gamma] == end[lower, gamma - 1] and end[upper, gamma] == end[upper, gamma - 1]


@compiled(error_model="numpy")
def _add_natural(
    asked: Question, requests: np.ndarray, first: int, end: int, lower: int, gamma: int, natural: np.ndarray
) -> None:
    """Add the points of the middle pool that lie between its boundaries, less what is compressed to the lower one."""
    for k in range(len(asked.terms)):
        add_left(
            asked.points,
            requests[k],
            first,
            end,
            asked.boundaries[lower],
            asked.gammas[gamma],
            asked.targets_s[2],
            natural[k],
        )


@compiled(error_model="numpy")
def _bound_middle(
    asked: Question,
    point: int,
    lower: int,
    upper: int,
    gamma: int,
    natural: np.ndarray,
    middle: np.ndarray,
    loaded: np.ndarray,
) -> float:
    """Moments of the middle pool and the replicas that it needs, by offer; the weight of what is compressed to it."""
    low, high, factor = asked.boundaries[lower], asked.boundaries[upper], asked.gammas[gamma]
    end = _points_within(asked, point, band_end(high, factor))
    squeezed = np.empty(MOMENTS)
    for k in range(len(asked.terms)):
        squeezed[:] = 0.0
        add_compressed(
            asked.points,
            point,
            end,
            high,
            low,
            band_end(low, factor),
            asked.coefficients[k],
            asked.targets_s[2],
            squeezed,
        )
        middle[k] = natural[k] + squeezed
        loaded[k] = least_loaded(
            middle[k], asked.rps_per_weight, asked.sequences[k, upper], asked.context[upper], asked.limits[k]
        )
    return squeezed[REQUESTS]


@compiled(error_model="numpy")
def _least_price(asked: Question, lower: int, upper: int, gamma: int, middle: np.ndarray, table: PoolTable) -> float:
    """Lowest price, USD/h, over the offers of three pools, without that of compression."""
    n_offers = len(asked.terms)
    least_usd = np.inf
    for first in range(n_offers):
        for second in range(n_offers):
            for third in range(n_offers):
                below = table.loaded[outer_pool(shape_of(asked), 0, first, lower, gamma)]
                above = table.loaded[outer_pool(shape_of(asked), 1, third, upper, gamma)]
                usd, _ = fleet_price((below, middle[second], above), (first, second, third), asked.terms)
                least_usd = min(least_usd, usd)
    return least_usd


@compiled(error_model="numpy")
def _fill_offers(
    asked: Question,
    lower: int,
    upper: int,
    gamma: int,
    first_middle: int,
    evenness: float,
    extra_usd: float,
    filled: int,
    table: PoolTable,
    cells: Cells,
) -> int:
    """Fill in a cell for each choice of offers; return how many cells there are."""
    n_offers, start = len(asked.terms), filled
    for first in range(n_offers):
        for second in range(n_offers):
            for third in range(n_offers):
                pools = cells.pools[filled]
                pools[0] = outer_pool(shape_of(asked), 0, first, lower, gamma)
                pools[1] = first_middle + second
                pools[2] = outer_pool(shape_of(asked), 1, third, upper, gamma)
                cells.gamma[filled], cells.evenness[filled], cells.extra_usd[filled] = gamma, evenness, extra_usd
                filled += 1
    return keep_feasible(start, filled, asked.terms, table, cells)
