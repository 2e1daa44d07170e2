"""What `fleetopt plan` prints: the plan by pool, the fleets it is compared with, what makes it the cheapest."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fleetopt.planner.answer import Answer
from fleetopt.planner.frontier import FrontierPoint
from fleetopt.planner.mixture import band_end
from fleetopt.planner.plan import HOURS_PER_YEAR, FleetPlan, PoolPlan
from fleetopt.planner.problem import Problem
from fleetopt.planner.proof import PoolEvidence, Proof
from fleetopt.planner.published import PublishedBaseline
from fleetopt.reporting import formatting
from fleetopt.reporting.certificate import certificate_tables
from fleetopt.reporting.layout import facts, fleet_cells, pool_count, short_names, table
from fleetopt.reporting.wording import ROUTED, left_out


def answer_tables(answer: Answer) -> RenderableType:
    """The plan, its baselines and its certificate; or why there is no plan and what is nearest.

    Parameters
    ----------
    answer : Answer
    """
    heading = Text(problem_heading(answer.problem), style="bold")
    if answer.plan is None:
        return Padding(Group(heading, Text(), *_no_plan(answer)), (1, 0))
    parts: list[RenderableType] = [heading, Text(), _pools_table(answer, answer.plan), Text()]
    types = short_names([offer.profile.name for offer in answer.problem.offers])
    parts += [_facts_table(answer, answer.plan), Text(), _fleets_table(answer, types)]
    if answer.certificate is not None and answer.result.plan is not None:
        parts += [Text(), *certificate_tables(answer.certificate, answer.result.plan, types, answer.result.effort)]
    if answer.frontier:
        parts += [Text(), _frontier_table(answer.frontier, types)]
    parts += [Text(), *(Text(note, style="dim") for note in _notes(answer))]
    return Padding(Group(*parts), (1, 0))


def _no_plan(answer: Answer) -> list[RenderableType]:
    """What rules every plan out, the nearest that does not, and the plan that there is then."""
    found = answer.result.infeasibility
    grid = facts()
    grid.add_row("No plan", Text(f"{answer.result.reason}."))
    if found is None or not found.nearest:
        return [grid]
    grid.add_row("Nearest", Text(f"{found.nearest}."))
    if found.plan is None:
        return [grid]
    grid.add_row("Then", "the plan below")
    return [grid, Text(), _pools_table(answer, found.plan), Text(), _facts_table(answer, found.plan)]


def problem_heading(problem: Problem, varied: str = "") -> str:
    """What was asked: the rate and the targets, but for what is varied (``rate``, ``slo-ttft-p99``, ...)."""
    slo, parts = problem.slo, []
    if varied != "rate":
        parts.append(f"{formatting.three_digits(problem.arrival_rate_rps)} requests/s")
    parts.append("Poisson arrivals" if problem.arrivals is None else "arrivals of the trace")
    if varied != "slo-ttft-p99":
        parts.append(f"P99 time to first token of at most {slo.ttft_p99_s:g} s")
    parts += [f"{target_s:g} s in the {name} pool" for name, target_s in slo.pool_ttft_p99_s.items()]
    if math.isfinite(slo.tpot_p99_s) and varied != "slo-tpot-p99":
        parts.append(f"P99 time per output token of at most {slo.tpot_p99_s:g} s")
    return ", ".join(parts)


def _pools_table(answer: Answer, plan: FleetPlan) -> Table:
    """A column per pool, so that three of them and long names fit 80 columns."""
    made = table("Plan", *(f"{pool.name} pool" if len(plan.pools) > 1 else "one pool" for pool in plan.pools))
    rows: dict[str, Callable[[PoolPlan], str]] = {
        "GPU type": lambda pool: pool.profile.name,
        "Replicas": _replicas,
        "GPUs": lambda pool: formatting.count(pool.gpus),
        "Requests": lambda pool: _requests(pool, plan),
        "Rate": lambda pool: formatting.rate(pool.arrival_rate_rps),
        "Slots used": lambda pool: f"{formatting.percent(pool.slot_utilization)} of {pool.profile.max_sequences}",
        "Fit at once": lambda pool: f"{formatting.count(pool.slots_per_replica)} requests a replica",
        "P99 TTFT": lambda pool: formatting.seconds(pool.ttft_p99_s),
        **_simulated_rows(answer),
        **_published_row(answer),
        "P99 TPOT": lambda pool: formatting.seconds(pool.tpot_p99_s),
        "Set by": lambda pool: pool.binding,
        "Per hour": lambda pool: formatting.usd(pool.usd_per_hour or None),
    }
    for name, cell in rows.items():
        made.add_row(name, *(Text(cell(pool)) for pool in plan.pools))
    return made


def _replicas(pool: PoolPlan) -> str:
    spares = f" ({formatting.count(pool.spare_replicas)} spare)" if pool.spare_replicas else ""
    return f"{formatting.count(pool.replicas)}{spares}"


def _requests(pool: PoolPlan, plan: FleetPlan) -> str:
    """Which lengths go to a pool, tokens."""
    place = plan.pools.index(pool)
    if place == len(plan.boundaries_tokens):
        return f"to {formatting.count(pool.max_context_tokens)} tokens"
    boundary = plan.boundaries_tokens[place]
    text = f"to {formatting.count(boundary)} tokens"
    if plan.gamma > 1:
        text += f", {formatting.count(math.floor(band_end(boundary, plan.gamma)))} compressed"
    return text


def _published_row(answer: Answer) -> dict[str, Callable[[PoolPlan], str]]:
    """The P99 TTFT by the published model; nothing where it says nothing, as of three pools."""
    if answer.plan is None or not answer.published_predictions:
        return {}
    return {"  published says": lambda pool: _published_ttft(answer, pool.name)}


def _published_ttft(answer: Answer, pool: str) -> str:
    found = answer.published_predictions.get(pool)
    if found is None:
        return formatting.MISSING
    return formatting.seconds(found.ttft_p99_s) if math.isfinite(found.ttft_p99_s) else "unstable"


def _simulated_rows(answer: Answer) -> dict[str, Callable[[PoolPlan], str]]:
    """The simulator's P99 TTFT with its interval, and its verdict; nothing where it was not asked."""
    if answer.proof is None:
        return {}

    def row(cell: Callable[[PoolEvidence], str]) -> Callable[[PoolPlan], str]:
        return lambda pool: cell(found) if (found := answer.evidence_of(pool.name)) else formatting.MISSING

    return {
        "  simulated": row(lambda found: formatting.seconds(found.ttft_p99_s)),
        "  95 % interval": row(lambda found: formatting.interval(found.ttft_p99_lower_s, found.ttft_p99_upper_s)),
        "  verdict": row(lambda found: found.verdict),
    }


def _facts_table(answer: Answer, plan: FleetPlan) -> Table:
    """Name and value of what is of the whole fleet."""
    grid = facts()
    if plan.usd_per_hour:
        yearly = formatting.usd(plan.usd_per_hour * HOURS_PER_YEAR)
        grid.add_row("Cost", f"{formatting.usd(plan.usd_per_hour)} per hour, {yearly} per year")
    else:
        grid.add_row("Cost", "unknown: the GPU profile has no price (--price)")
    if plan.commitment_saving_usd_per_hour:
        grid.add_row("", f"committed prices take {formatting.usd(plan.commitment_saving_usd_per_hour)} per hour off")
    if plan.compression_usd_per_hour:
        grid.add_row("", f"compression costs {formatting.usd(plan.compression_usd_per_hour)} of it per hour")
    grid.add_row("Boundary", boundaries(plan.boundaries_tokens))
    grid.add_row("Compression", _band(plan))
    if answer.proof is not None:
        grid.add_row("Simulator", _verdict(answer.proof))
        for repair in answer.proof.repairs:
            grid.add_row("", repair)
    return grid


def _verdict(proof: Proof) -> str:
    """The simulator's verdict on the plan."""
    return {
        "confirmed": "CONFIRMED: in every pool the upper 95 % bound of the P99 is within its target",
        "refuted": "REFUTED: in a pool the lower 95 % bound of the P99 is above its target; do not buy",
        "undecided": "UNDECIDED: in a pool the target lies within the 95 % interval of the P99; do not buy yet",
    }[proof.verdict]


def boundaries(tokens: Iterable[int]) -> str:
    """Boundaries between pools in words."""
    return " and ".join(f"{formatting.count(each)} tokens" for each in tokens) or "none: one pool serves all requests"


def _band(plan: FleetPlan) -> str:
    if not plan.boundaries_tokens:
        return "none: one pool needs no compression"
    if plan.gamma == 1:
        return "gamma 1: nothing is compressed"
    return f"gamma {plan.gamma:g}: compressible requests of up to {plan.gamma:g} x a boundary go below it"


def _fleets_table(answer: Answer, types: Mapping[str, str]) -> Table:
    """A row per fleet: the plan, and what one would buy without it."""
    made = table(
        "Compared with", "Boundary", "Gamma", "Replicas", "Per hour", "Plan saves", right=("Per hour", "Plan saves")
    )
    plan = answer.plan
    made.add_row("this plan", *fleet_cells(plan, types), formatting.MISSING)
    for name, fleet in baselines(answer).items():
        made.add_row(name, *fleet_cells(fleet, types), _saved(plan, fleet.usd_per_hour if fleet else None))
    if answer.published is not None:
        cells = _published_cells(answer.published, types)
        holds = _holds(answer.published, answer.problem)
        made.add_row(
            "published model", *cells, _saved(plan, answer.published.usd_per_hour) if holds else "does not hold"
        )
    return made


def _frontier_table(points: Sequence[FrontierPoint], types: Mapping[str, str]) -> Table:
    """A row per target at which a cheaper plan begins."""
    made = table(
        "Target, P99 TTFT", "Per hour", "Boundary", "Gamma", "Replicas", right=("Target, P99 TTFT", "Per hour")
    )
    for point in points:
        boundary, gamma, replicas, usd = fleet_cells(point.plan, types)
        made.add_row(formatting.seconds(point.ttft_p99_s), usd, boundary, gamma, replicas.replace("\n", ", "))
    return made


def baselines(answer: Answer) -> dict[str, FleetPlan | None]:
    """The fleets that the plan is compared with, by the name that tables give them."""
    return {
        "one pool": answer.homogeneous,
        "two pools, routed": answer.pool_routing,
        "routed, compressed": answer.retrofit,
    }


def _published_cells(baseline: PublishedBaseline, types: Mapping[str, str]) -> tuple[str, ...]:
    plan = baseline.plan
    names = ("short", "long") if len(plan.pools) > 1 else ("all",)
    return (
        formatting.count(plan.boundary_tokens),
        f"{plan.gamma:g}" if plan.boundary_tokens else formatting.MISSING,
        "\n".join(
            pool_count(name, pool.gpus, len(names), types.get(baseline.profile, ""))
            for name, pool in zip(names, plan.pools, strict=True)
        ),
        formatting.usd(baseline.usd_per_hour or None),
    )


def _saved(plan: FleetPlan | None, usd_per_hour: float | None) -> str:
    if plan is None or not usd_per_hour:
        return formatting.MISSING
    return formatting.percent(round(1 - plan.usd_per_hour / usd_per_hour, 9))


def _notes(answer: Answer) -> list[str]:
    """What a reader has to know of the tables."""
    notes = [
        "Predicted by the model with every spare replica down; not simulated (--verify does)."
        if answer.proof is None
        else "Every spare replica is down. The plan, one pool and two routed pools are verified; other fleets are not."
    ]
    searched, chosen = answer.result.plan, answer.plan
    if searched and chosen and (searched.boundaries_tokens, searched.gamma) != (chosen.boundaries_tokens, chosen.gamma):
        boundaries = ", ".join(formatting.count(tokens) for tokens in searched.boundaries_tokens)
        where = f"boundary {boundaries}, gamma {searched.gamma:g}" if boundaries else "one pool"
        notes.append(f"Reasons and other plans are about the model's own plan, before verification: {where}.")
    if unsearched := left_out(answer.routed_effort, ROUTED):
        notes.append(f"Two pools, routed: {unsearched}")
    if answer.published is not None:
        notes.append(published_note(answer.published, answer.problem))
    return notes


def _holds(baseline: PublishedBaseline, problem: Problem) -> bool:
    """Whether the published model's fleet meets the targets by ours; if not, a saving against it means nothing."""
    names = ("short", "long") if len(baseline.plan.pools) > 1 else ("all",)
    late = [
        sound_s > problem.slo.ttft_of(name) for name, sound_s in zip(names, baseline.sound_ttft_p99_s, strict=False)
    ]
    return not any(late) and not baseline.unserved_fraction


def published_note(baseline: PublishedBaseline, problem: Problem) -> str:
    """What the sound model says of the fleet that the published one would buy, in a sentence."""
    names = ("short", "long") if len(baseline.sound_ttft_p99_s) > 1 else ("all",)
    found = []
    if baseline.unserved_fraction:
        found.append(f"it has no pool for the longest {formatting.percent(baseline.unserved_fraction)} of requests")
    for name, claimed, sound_s in zip(names, baseline.plan.pools, baseline.sound_ttft_p99_s, strict=False):
        sound = "cannot carry its load" if math.isinf(sound_s) else f"has {formatting.seconds(sound_s)}"
        late = ", above the target" if math.isfinite(sound_s) and sound_s > problem.slo.ttft_of(name) else ""
        which = "only" if name == "all" else name
        found.append(
            f"its {which} pool, claimed to have a P99 TTFT of {formatting.seconds(claimed.ttft_p99_s)}, {sound}{late}"
        )
    return f"The published model's fleet in our model: {'; '.join(found)}."
