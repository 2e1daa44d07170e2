"""Numbers and sentences of a recommendation as people read them; the page and the terminal say the same."""

import math
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from fleetopt.planner.plan import SearchEffort
from fleetopt.planner.proof import PEAK, REPLAY
from fleetopt.reporting.formatting import MISSING, count, percent, seconds, usd

SCENARIOS = {PEAK: "planned peak", REPLAY: "day replayed"}
"""Short names of the scenarios."""

ROUTED = "uncompressed fleet of two pools"
_ROUNDING = 1e-6

HEADLINES = {
    "confirmed": "Confirmed: ready to order",
    "refuted": "Refuted: do not buy",
    "undecided": "Undecided: do not buy yet",
    "none": "No plan: nothing to buy",
}


def boundary(plan: Mapping[str, Any]) -> str:
    """The boundary of a plan in words."""
    tokens = plan["boundaries_tokens"]
    return f"{' and '.join(count(each) for each in tokens)} tokens" if tokens else "none: one pool serves all requests"


def band(plan: Mapping[str, Any]) -> str:
    """The compression band of a plan in words."""
    if not plan["boundaries_tokens"]:
        return "none: one pool needs no compression"
    if plan["gamma"] == 1:
        return "gamma 1: nothing is compressed"
    parts = [
        f"up to {count(math.floor(plan['gamma'] * boundary))} tokens go to the {pool['name']} pool"
        for boundary, pool in zip(plan["boundaries_tokens"], plan["pools"], strict=False)
    ]
    return f"gamma {plan['gamma']:g}: compressible requests {', then '.join(parts)}"


def window(document: Mapping[str, Any]) -> str:
    """How many days the window holds of those asked for, and which are missing."""
    days = document["window"]
    text = f"{days['days_held']} of {days['days_asked']} days ({days['first_day']} to {days['last_day']})"
    missing = days["days_missing"]
    if missing:
        text += f"; missing: {', '.join(day_ranges(missing))}"
    if days["days_held"] + len(missing) < days["days_asked"]:
        text += f"; there are no logs from before {days['first_day']}"
    return text


def day_ranges(days: list[str]) -> list[str]:
    """ISO days, in order, with neighbours joined.

    Examples
    --------
    >>> day_ranges(["2023-11-01", "2023-11-02", "2023-11-03", "2023-11-09"])
    ['2023-11-01 to 2023-11-03 (3 days)', '2023-11-09']
    """
    ranges: list[list[date]] = []
    for day in map(date.fromisoformat, days):
        if ranges and day - ranges[-1][-1] == timedelta(days=1):
            ranges[-1].append(day)
        else:
            ranges.append([day])
    return [f"{run[0]} to {run[-1]} ({len(run)} days)" if len(run) > 1 else f"{run[0]}" for run in ranges]


def saving(document: Mapping[str, Any]) -> str:
    """The saving against one pool for all requests; or why none is claimed."""
    saved, plan = document["saving"], document["plan"]
    if saved and not plan["boundaries_tokens"]:
        return "None: one pool for all requests is itself the cheapest fleet found."
    if saved:
        return (
            f"{percent(saved['fraction'])} against one pool for all requests: {usd(saved['usd_per_hour'])} per hour, "
            f"{usd(saved['usd_per_year'])} per year."
        )
    return f"None to claim: {_why_no_saving(document)}."


def _why_no_saving(document: Mapping[str, Any]) -> str:
    homogeneous = document["baselines"]["homogeneous"]
    if document["plan"] is None:
        return "there is no plan"
    if document["verdict"] != "confirmed":
        return f"the plan is {document['verdict']}"
    if homogeneous is None:
        return "no fleet of one pool meets the target, so there is nothing to compare with"
    if homogeneous["verdict"] != "confirmed":
        return f"the fleet of one pool to compare with is itself {homogeneous['verdict']}"
    return "the GPU profiles carry no price"


def left_out(effort: SearchEffort | None, fleets: str = "plan") -> str:
    """Of how many boundaries a search did not go through all fleets, and what these cost at least; empty if of none.

    Parameters
    ----------
    effort : SearchEffort or None
    fleets : str
        What was searched for, in words.
    """
    if effort is None or not effort.boundaries_left_out:
        return ""
    text = f"{count(effort.boundaries_left_out)} boundaries between pools were not searched in full"
    cents = math.floor(100 * effort.least_usd_left_out + _ROUNDING)  # a bound is rounded down
    least_usd = cents / 100 if cents < 100_000 else cents // 100
    if not least_usd:
        return f"{text}: how cheap a {fleets} may be there is not known."
    return f"{text}: by proven bounds no {fleets} below {usd(least_usd)} per hour is possible there."


def published_ttft(published: Mapping[str, Any] | None) -> str:
    """The P99 time to first token by the published model; it has none for a pool that it finds unstable."""
    if published is None:
        return MISSING
    return "unstable" if published["ttft_p99_s"] is None else seconds(published["ttft_p99_s"])


def evidence_of(document: Mapping[str, Any], pool: str, scenario: str) -> Mapping[str, Any] | None:
    """What a scenario says of a pool; None if it was not simulated."""
    return next((e for e in document["evidence"] if (e["pool"], e["scenario"]) == (pool, scenario)), None)
