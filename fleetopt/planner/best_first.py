"""Best first: the cheapest fleets over boundaries, bands and GPU types, as little as possible by the full model.

The cell whose lower bound comes first is sized, pool by pool, and put back with what was found; the first to come up
sized is the optimum.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np

from fleetopt.planner.cells import (
    NO_POOL,
    Cells,
    PoolTable,
    Question,
    Shares,
    ask,
    cells_of_two,
    first_cell,
    most_loaded,
    no_cells,
    precedes,
    price_of,
    shape_of,
)
from fleetopt.planner.fleet import compression_price, fleet_plan, pool_case, rank
from fleetopt.planner.mixture import pool_mixture
from fleetopt.planner.plan import FleetPlan, SearchEffort
from fleetopt.planner.problem import Problem
from fleetopt.planner.sizing import (
    PoolCase,
    PoolRequirements,
    Unfit,
    describe_pool,
    fit_work,
    most_replicas,
    shortfall,
    smallest,
)
from fleetopt.planner.spacing import is_spaced, spaced
from fleetopt.planner.three_pools import cells_of_three
from fleetopt.queueing.work import RequestWork

_KEPT_WORKS = 256
"""Pools whose work is kept, those fitted last: some 10 MiB. Of a large histogram's there may be ten thousand."""
_MOST_OPENED_BETWEEN = 512
"""Cells that are opened of boundaries that others stand for, where a feasible fleet is known: half a second or so."""
_MOST_PAIRS = 1 << 18
"""Cells of three pools that are made at once where every pair of very many boundaries is gone through: some 20 MiB."""
_ANY_USD = float(np.finfo(np.float64).max)
_DEARER = 1.25
"""By how much the price may rise from one attempt to find a feasible fleet of three pools to the next."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """A fleet, sized but not yet described: its pools with their work and loaded replicas."""

    boundaries_tokens: tuple[int, ...]
    gamma: float
    pools: tuple[tuple[PoolCase, RequestWork, int], ...]


def cheapest(
    problem: Problem,
    *,
    fewest_pools: int = 1,
    most_pools: int | None = None,
    gammas: tuple[float, ...] | None = None,
    is_proved: bool = True,
) -> tuple[Choice | None, SearchEffort]:
    """Find the cheapest fleet; None where no fleet is feasible.

    Of very many boundaries not all are searched to the end once a feasible fleet is known. Until then all are, with
    every pair of them for three pools, so that None is a proof.

    Parameters
    ----------
    problem : Problem
    fewest_pools, most_pools : int
        How many pools it may have; at most, by default, as many as the problem says.
    gammas : tuple of float, optional
        Bands to try, increasing from 1, instead of the problem's.
    is_proved : bool
        If not, very many boundaries are not searched to the end either where no fleet is found, which is soon done.

    Returns
    -------
    choice : Choice or None
    effort : SearchEffort
        Tells whether boundaries were left out: see `fleetopt.planner.search.plan_fleet`.
    """
    most_pools = problem.max_pools if most_pools is None else most_pools
    bands = problem.gammas if gammas is None else gammas
    boundaries = problem.boundary_candidates if most_pools > 1 else ()
    few = boundaries if most_pools == 2 else spaced(boundaries)
    search, asked, shares = _search_of_two(problem, few, bands, fewest_pools, min(most_pools, 2))
    if most_pools <= 2:
        found, effort = _with_between(search, is_proved)
        return _chosen(search, found), effort
    n_left_out = len(boundaries) - len(few)
    found = _with_three(search, asked, shares, search.run())
    if found is None and n_left_out and is_proved:
        search, asked, shares = _search_of_two(problem, boundaries, bands, fewest_pools, 2)
        found = _with_any_three(search, asked, shares)
        n_left_out = 0 if found is None else n_left_out
    return _chosen(search, found), search.effort(n_left_out, 0.0)


def _search_of_two(
    problem: Problem, boundaries: tuple[int, ...], bands: tuple[float, ...], fewest_pools: int, most_pools: int
) -> tuple["_Search", Question, Shares]:
    """A search among fleets of one and two pools, and what those of three are made from."""
    asked = ask(problem, boundaries, bands)
    table, cells, shares = cells_of_two(asked, fewest_pools, most_pools)
    return _Search(problem, boundaries, bands, asked.terms, table, cells), asked, shares


def _chosen(search: "_Search", found: int | None) -> Choice | None:
    return None if found is None else search.choice(found)


def _with_between(search: "_Search", is_proved: bool) -> tuple[int | None, SearchEffort]:
    """The first cell: of the boundaries that stand for all, and as far as that is soon done, of all.

    While no feasible cell is known that is as far as it takes, if that there is none is to be proved.
    """
    is_between = search.is_between()
    if not is_between.any():
        return search.run(), search.effort()
    usd = search.cells.usd
    later_usd = usd[is_between]
    usd[is_between] = np.inf
    search.run()
    usd[is_between] = later_usd
    found = search.run(_MOST_OPENED_BETWEEN, until_feasible=is_proved)
    if found is not None or not np.isfinite(usd).any():
        return found, search.effort()
    n_left_out = len(search.boundaries) - int(is_spaced(search.boundaries).sum())
    return search.best, search.effort(n_left_out, float(usd.min()))


def best_plans(problem: Problem, count: int) -> tuple[FleetPlan, ...]:
    """The first so many plans in order of price, no two of the same pools with the same boundaries.

    Plans that differ in gamma alone count once, with the least compression. Of very many boundaries only those that
    stand for all count.

    Parameters
    ----------
    problem : Problem
    count : int
    """
    boundaries = spaced(problem.boundary_candidates) if problem.max_pools > 1 else ()
    search, asked, shares = _search_of_two(problem, boundaries, problem.gammas, 1, min(problem.max_pools, 2))
    found = search.take(count)
    if problem.max_pools > 2:
        most_usd = describe(problem, found[-1]).usd_per_hour if len(found) == count else np.inf
        with_middle, threes, _ = cells_of_three(asked, search.table, shares, most_usd)
        search.extend(with_middle, search.cells, threes)
        found += search.take(count)
    plans = sorted((describe(problem, choice) for choice in found), key=lambda plan: rank(problem, plan))
    return tuple(plans[:count])


def _with_three(search: "_Search", asked: Question, shares: Shares, found: int | None) -> int | None:
    """The first cell when fleets of three pools come to the others.

    Only those that may be as cheap as the best of the others are made. Where there is none, the cheapest come first,
    and dearer ones until one is feasible.
    """
    table, cells = search.table, search.cells
    most_usd = -np.inf if found is None else float(cells.usd[found])
    while True:
        with_middle, threes, next_usd = cells_of_three(asked, table, shares, most_usd)
        search.extend(with_middle, cells, threes)
        best = search.run()
        if best is not None or next_usd == np.inf:
            return best
        most_usd = max(_DEARER * most_usd, next_usd)


def _with_any_three(search: "_Search", asked: Question, shares: Shares) -> int | None:
    """A feasible cell among fleets of up to three pools with any of very many boundaries; None proves that none is.

    Fleets of one and two pools come first. For the others every outer pool is sized once: one that no number of
    replicas makes feasible rules out as many pairs of boundaries as there are boundaries. What is left is gone through
    some pairs at a time, up to the first that hold a feasible cell.
    """
    found, _ = _with_between(search, is_proved=True)
    if found is not None:
        return found
    for is_above in (True, False):
        if not search.size_outer(is_above=is_above):
            return None
    outer, (n_offers, n_boundaries, n_gammas) = search.table, shape_of(asked)
    step = max(1, _MOST_PAIRS // (n_offers**3 * n_boundaries * n_gammas))
    for first in range(0, n_boundaries, step):
        with_middle, threes, _ = cells_of_three(asked, outer, shares, _ANY_USD, (first, first + step))
        search.turn_to(with_middle, threes)
        if (found := search.run()) is not None:
            return found
    return None


@dataclass(eq=False)
class _Search:
    """Best first over cells: what is known of their pools, and what was sized for it."""

    problem: Problem
    boundaries: tuple[int, ...]
    gammas: tuple[float, ...]
    terms: np.ndarray
    table: PoolTable
    cells: Cells
    works: dict[int, tuple[PoolCase, RequestWork]] = field(default_factory=dict)
    """Pools fitted last; others are fitted again where they are needed, which is seldom."""
    fitted: set[int] = field(default_factory=set)
    sized: dict[int, tuple[PoolCase, int]] = field(default_factory=dict)
    complete: set[int] = field(default_factory=set)
    opened: set[int] = field(default_factory=set)
    best: int | None = None
    n_outer_pools: int = field(init=False)
    n_cells_done: int = 0
    n_opened_done: int = 0
    loose: dict[str, bool] = field(default_factory=dict)
    """By name of pool, whether the last bound that was put to the test was too low."""

    def __post_init__(self) -> None:
        self.n_outer_pools = len(self.table.loaded)

    def is_between(self) -> np.ndarray:
        """bool[cell], whether another boundary stands for that of the cell."""
        first = self.cells.pools[:, 0]
        upper = self.table.place[first, 2]
        return ~np.append(is_spaced(self.boundaries), True)[upper]  # the last is for the pool that has no boundary

    def run(self, most_opened: float = np.inf, until_feasible: bool = False) -> int | None:
        """The first cell once all its pools are sized; None if none is feasible, or more than so many are opened.

        With ``until_feasible`` more are opened as long as no feasible one is known.
        """
        most_opened += len(self.opened)
        while (cell := first_cell(self.terms, self.table, self.cells)) >= 0:
            if cell in self.complete:
                return cell
            goes_on = until_feasible and self.best is None
            if len(self.opened) >= most_opened and cell not in self.opened and not goes_on:
                return None
            self.opened.add(cell)
            unsized = [pool for pool in self._pools(cell) if pool not in self.sized]
            if unsized:
                self._size(cell, max(unsized, key=self._promise))
            if all(pool in self.sized for pool in self._pools(cell)):
                self._complete(cell)
        return None

    def take(self, count: int) -> list[Choice]:
        """The next so many cells, complete, that differ in more than gamma; they will not come up again."""
        found: dict[Hashable, Choice] = {}
        while len(found) < count and (cell := self.run()) is not None:
            choice = self.choice(cell)
            kind = choice.boundaries_tokens, tuple((case.offer.profile.name, n) for case, _, n in choice.pools)
            found.setdefault(kind, choice)
            self.cells.extra_usd[cell] = self.cells.usd[cell] = np.inf
            self.best = None
        return list(found.values())

    def extend(self, table: PoolTable, cells: Cells, more: Cells) -> None:
        """Take a table that has other pools behind those of these cells, and more cells behind these.

        What was found out about the pools and cells before them is kept, and entered into the new table.
        """
        n_pools, n_cells = self.n_outer_pools, len(cells.usd)
        self.works = {pool: work for pool, work in self.works.items() if pool < n_pools}
        self.fitted = {pool for pool in self.fitted if pool < n_pools}
        self.sized = {pool: sized for pool, sized in self.sized.items() if pool < n_pools}
        self.complete = {cell for cell in self.complete if cell < n_cells}
        self.best = self.best if self.best in self.complete else None
        table.loaded[:n_pools] = self.table.loaded[:n_pools]
        self.table = table
        self.cells = Cells(*(np.concatenate(pair) for pair in zip(cells, more, strict=True)))

    def turn_to(self, table: PoolTable, cells: Cells) -> None:
        """Take other cells in place of these, none of which is feasible, and a table as :meth:`extend` does."""
        self.n_cells_done += len(self.cells.usd)
        self.n_opened_done += len(self.opened)
        self.opened.clear()
        self.extend(table, no_cells(0), cells)

    def size_outer(self, *, is_above: bool) -> bool:
        """Size every pool below a boundary, or above one; whether any can be."""
        place, loaded = self.table.place, self.table.loaded
        outer = np.flatnonzero(place[:, 1 if is_above else 2] != NO_POOL)
        for pool in outer[(loaded[outer] > 0) & np.isfinite(loaded[outer])].tolist():
            if pool not in self.sized:
                self._size(None, pool)
        return bool(((loaded[outer] > 0) & np.isfinite(loaded[outer])).any())

    def choice(self, cell: int) -> Choice:
        """A complete cell as a fleet."""
        boundaries_tokens, gamma = self._routing(cell)
        return Choice(
            boundaries_tokens=boundaries_tokens,
            gamma=gamma,
            pools=tuple(self._with_work(pool) for pool in self._pools(cell)),
        )

    def _with_work(self, pool: int) -> tuple[PoolCase, RequestWork, int]:
        """A sized pool with its work."""
        self._fit(pool)
        case, work = self.works[pool]
        return case, work, self.sized[pool][1]

    def effort(self, boundaries_left_out: int = 0, least_usd_left_out: float = np.inf) -> SearchEffort:
        """What was done so far; the price holds only if boundaries were left out."""
        return SearchEffort(
            cells=self.n_cells_done + len(self.cells.usd),
            opened=self.n_opened_done + len(self.opened),
            pools_sized=len(self.fitted),
            boundaries_left_out=boundaries_left_out,
            least_usd_left_out=least_usd_left_out if boundaries_left_out else np.inf,
        )

    def _routing(self, cell: int) -> tuple[tuple[int, ...], float]:
        """Boundaries and gamma of a cell."""
        ends = [int(self.table.place[pool, 2]) for pool in self._pools(cell)[:-1]]
        return tuple(self.boundaries[end] for end in ends), self.gammas[int(self.cells.gamma[cell])]

    def _pools(self, cell: int) -> list[int]:
        return [int(pool) for pool in self.cells.pools[cell] if pool != NO_POOL]

    def _promise(self, pool: int) -> tuple[bool, float]:
        """Which of a cell's pools may show soonest that the cell is not the best: the more, the sooner."""
        return self.loose.get(self._pool_name(pool), False), float(self.table.loaded[pool])

    def _size(self, cell: int | None, pool: int) -> None:
        """Size a pool by the full model as far as the cell can still be the best, and note in the table what is found.

        Where not even the most replicas with which it can do, that is all there is to know for now.
        """
        case, work = self._fit(pool)
        if isinstance(work, Unfit):
            self.table.loaded[pool] = np.inf
            return
        rate = case.arrival_rate_rps
        required = PoolRequirements.of(self.problem, case.name, rate)
        limit = most = most_replicas(work, rate, required)
        if cell is not None and self.best is not None:
            most = min(limit, int(most_loaded(cell, pool, self.best, self.terms, self.table, self.cells)))
        known, found = int(self.table.loaded[pool]), None
        # One look at the most that would do spares the way there. The TPOT is not smooth enough to conclude from it.
        looks_hopeless = known < most < limit and self.loose.get(case.name, False) and np.isinf(required.tpot_p99_s)
        if not (looks_hopeless and shortfall(work, rate, most, required) is not None):
            found = smallest(work, rate, required, most)
            self.loose[case.name] = found != known
        if found is None:
            self.table.loaded[pool] = np.inf if most == limit else most + 1
        else:
            self.sized[pool], self.table.loaded[pool] = (case, found), found

    def _pool_name(self, pool: int) -> str:
        _, lower, upper, _, _ = self.table.place[pool]
        return _name(lower != NO_POOL, upper != NO_POOL)

    def _fit(self, pool: int) -> tuple[PoolCase, RequestWork | Unfit]:
        """A pool and its work, or why no number of replicas is enough."""
        if pool in self.works:
            return self.works[pool]
        self.fitted.add(pool)
        index, lower, upper, gamma, offer = (int(entry) for entry in self.table.place[pool])
        ends = [self.boundaries[end] for end in (lower, upper) if end != NO_POOL]
        name = self._pool_name(pool)
        mixture = pool_mixture(self.problem.lengths, ends, self.gammas[gamma], index)
        limit = self.problem.max_context_tokens if upper == NO_POOL else self.boundaries[upper]
        case = pool_case(self.problem, name, self.problem.offers[offer], mixture, limit)
        work = fit_work(self.problem, case, mixture)
        if not isinstance(work, Unfit):
            if len(self.works) == _KEPT_WORKS:
                del self.works[next(iter(self.works))]
            self.works[pool] = case, work
        return case, work

    def _complete(self, cell: int) -> None:
        """Replace what was only bounded of a cell whose pools are sized: how even it is and what compression costs."""
        rates = [self.sized[pool][0].arrival_rate_rps for pool in self._pools(cell)]
        self.cells.evenness[cell] = min(rates) / self.problem.arrival_rate_rps
        self.cells.extra_usd[cell] = compression_price(self.problem, *self._routing(cell))
        self.cells.usd[cell], self.cells.replicas[cell] = price_of(cell, self.terms, self.table, self.cells)
        self.complete.add(cell)
        if self.cells.usd[cell] < np.inf and (self.best is None or precedes(cell, self.best, self.cells)):
            self.best = cell


def _name(has_lower: bool, has_upper: bool) -> str:
    """Name of the pool between two boundaries either of which may be missing."""
    return {(False, False): "all", (False, True): "short", (True, True): "middle", (True, False): "long"}[
        has_lower, has_upper
    ]


def describe(problem: Problem, choice: Choice) -> FleetPlan:
    """The plan that a choice is, with what the model predicts of it."""
    pools = tuple(describe_pool(problem, *sized) for sized in choice.pools)
    return fleet_plan(problem, choice.boundaries_tokens, choice.gamma, pools)
