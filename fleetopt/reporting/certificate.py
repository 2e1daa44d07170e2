"""Why a plan is the cheapest, as tables and as plain values."""

from collections.abc import Mapping

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from fleetopt.planner.certificate import Certificate, CostCliff
from fleetopt.planner.plan import FleetPlan
from fleetopt.reporting import formatting
from fleetopt.reporting.layout import difference, facts, fleet_cells, table

_UNKNOWN = "unknown"
_CENT = 0.005


def certificate_tables(certificate: Certificate, plan: FleetPlan, types: Mapping[str, str]) -> list[RenderableType]:
    """What savings are due to, what more traffic costs, what the boundary is worth, and the next best plans.

    Parameters
    ----------
    certificate : Certificate
    plan : FleetPlan
        The plan that it is of.
    types : mapping of str to str
        What GPU types are called, from `fleetopt.reporting.layout.short_names`.
    """
    parts: list[RenderableType] = [Text("Why this plan, by the model", style="bold")]
    about = facts()
    if certificate.savings:
        about.add_row("Saves", _savings(certificate))
    for margin in certificate.margins:
        name = f"{margin.name.capitalize()} pool" if len(certificate.margins) > 1 else "Rate"
        more, less = _per_rps(margin.usd_per_rps_more), _per_rps(margin.usd_per_rps_less)
        about.add_row(name, f"1 request/s more costs {more} per hour, 1 less saves {less}; set by: {margin.binding}")
    for cliff in certificate.cliffs:
        about.add_row("Cost cliff", _cliff(cliff))
    parts.append(about)
    others = _others(certificate, plan, types)
    return [*parts, Text(), others] if others.row_count else parts


def _savings(certificate: Certificate) -> str:
    """What each cause takes off the price of one pool, in words."""
    if all(abs(saving.usd_per_hour) < _CENT for saving in certificate.savings):
        return "nothing: one pool is as cheap as any fleet"
    texts = [f"{saving.cause} {formatting.usd(saving.usd_per_hour)}" for saving in certificate.savings]
    return f"{', '.join(texts)} per hour, from one pool on"


def _per_rps(usd: float | None) -> str:
    return _UNKNOWN if usd is None else formatting.usd(usd)


def _cliff(cliff: CostCliff) -> str:
    """What a request of the boundary's length costs on either side, in words."""
    below, above = cliff.usd_per_request_below, cliff.usd_per_request_above
    text = f"a request of {formatting.count(cliff.boundary_tokens)} tokens costs"
    if below is None or above is None:
        text += f" {_UNKNOWN}"
    else:
        text += f" {_thousand(below)} in the {cliff.below} pool, {_thousand(above)} in the {cliff.above} pool"
    if cliff.ratio:
        text += f": {formatting.three_digits(cliff.ratio)} times"
    return f"{text}; a replica holds {cliff.slots_below} or {cliff.slots_above} requests"


def _thousand(usd_per_request: float) -> str:
    return f"{formatting.usd(1000 * usd_per_request)} per 1,000"


def _others(certificate: Certificate, plan: FleetPlan, types: Mapping[str, str]) -> Table:
    """A row per plan next to this one: the boundary moved by one candidate, and the next best of all."""
    made = table(
        "Other plans", "Boundary", "Gamma", "Replicas", "Per hour", "Costs more", right=("Per hour", "Costs more")
    )
    for other in certificate.neighbours:
        is_higher = other.boundaries_tokens > plan.boundaries_tokens
        name = "boundary up" if is_higher else "boundary down"
        tokens = "\n".join(formatting.count(each) for each in other.boundaries_tokens)
        usd = formatting.usd(other.usd_per_hour) if other.usd_per_hour is not None else "infeasible"
        made.add_row(
            name, tokens, f"{plan.gamma:g}", formatting.MISSING, usd, difference(other.usd_per_hour, plan.usd_per_hour)
        )
    for place, other_plan in enumerate(certificate.next_best, start=1):
        made.add_row(
            f"next best {place}",
            *fleet_cells(other_plan, types),
            difference(other_plan.usd_per_hour, plan.usd_per_hour),
        )
    return made
