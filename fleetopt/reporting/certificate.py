"""Why a plan is the cheapest, as tables and as plain values."""

from collections.abc import Mapping

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from fleetopt.planner.certificate import Certificate, CostCliff, PoolMargin
from fleetopt.planner.plan import FleetPlan, SearchEffort
from fleetopt.reporting import formatting
from fleetopt.reporting.layout import difference, facts, fleet_cells, table
from fleetopt.reporting.wording import left_out

_UNKNOWN = "unknown"
_CENT = 0.005


def certificate_tables(
    certificate: Certificate, plan: FleetPlan, types: Mapping[str, str], effort: SearchEffort | None = None
) -> list[RenderableType]:
    """What savings are due to, what more traffic costs, what the boundary is worth, and the next best plans.

    Parameters
    ----------
    certificate : Certificate
    plan : FleetPlan
        The plan that it is of.
    types : mapping of str to str
        What GPU types are called, from `fleetopt.reporting.layout.short_names`.
    effort : SearchEffort, optional
        What the search for the plan did, and what it left out.
    """
    parts: list[RenderableType] = [Text("Why this plan, by the model", style="bold")]
    about = facts()
    if certificate.savings:
        about.add_row("Saves", _savings(certificate))
    for margin in certificate.margins:
        name = f"{margin.name.capitalize()} pool" if len(certificate.margins) > 1 else "Rate"
        about.add_row(name, _margin(margin))
    for cliff in certificate.cliffs:
        about.add_row("Cost cliff", _cliff(cliff))
    if unsearched := left_out(effort):
        about.add_row("Left out", unsearched)
    parts.append(about)
    others = _others(certificate, plan, types)
    return [*parts, Text(), others] if others.row_count else parts


def _savings(certificate: Certificate) -> str:
    """What each cause takes off the price of one pool, in words."""
    if all(abs(saving.usd_per_hour) < _CENT for saving in certificate.savings):
        return "nothing: one pool is as cheap as any fleet"
    texts = [f"{saving.cause} {formatting.usd(saving.usd_per_hour)}" for saving in certificate.savings]
    return f"{', '.join(texts)} per hour, against one pool"


def _margin(margin: PoolMargin) -> str:
    """What a request/s more or less is worth, in words; replicas are whole, so that it is a mean over several."""
    more, less = margin.usd_per_rps_more, margin.usd_per_rps_less
    if more is None:
        return f"what 1 request/s more costs is {_UNKNOWN}"
    text = f"1 request/s more costs {formatting.usd(more)} per hour"
    if less is not None:
        text += f", 1 less saves {formatting.usd(less)}"
    return f"{text} (on average over {formatting.three_digits(margin.step_rps)} requests/s)"


def _cliff(cliff: CostCliff) -> str:
    """What a request of the boundary's length costs on either side, in words."""
    below, above = cliff.usd_per_request_below, cliff.usd_per_request_above
    text = f"1,000 requests of {formatting.count(cliff.boundary_tokens)} tokens cost"
    if below is None or above is None:
        text += f" {_UNKNOWN}"
    else:
        dear = f"{formatting.usd(1000 * above)} in the {cliff.above} one"
        text += f" {formatting.usd(1000 * below)} in the {cliff.below} pool, {dear}"
    if cliff.ratio:
        text += f", {cliff.ratio:.2f} times as much"
    return f"{text}; a replica holds {cliff.slots_below} or {cliff.slots_above} requests"


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
