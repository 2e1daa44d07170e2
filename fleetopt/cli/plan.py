"""`fleetopt plan`."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleetopt.cli.files import load_profile
from fleetopt.cli.options import JsonOption, require_range
from fleetopt.cli.requests import load_lengths
from fleetopt.errors import InputError

if TYPE_CHECKING:
    from fleetopt.planner.plan import FleetPlan, PlanResult


def plan(
    cdf: Annotated[
        str,
        typer.Option(help="CDF file (JSON), name of a published workload, or requests.parquet.", show_default=False),
    ],
    rate: Annotated[float, typer.Option(help="Arrival rate to plan for, requests/s.", show_default=False)],
    slo_ttft_p99: Annotated[float, typer.Option(help="Target of the P99 time to first token, s.", show_default=False)],
    profile: Annotated[
        list[str], typer.Option(help="GPU profile, name or TOML file; may be given more than once.", show_default=False)
    ],
    output_fraction: Annotated[
        float, typer.Option(help="Share of a total length that is output, where only totals are known.")
    ] = 0.2,
    compressible_fraction: Annotated[
        float, typer.Option(help="Share of requests that may be compressed into the short pool.")
    ] = 1.0,
    max_gamma: Annotated[float, typer.Option(help="Widest compression band; 1 compresses nothing.")] = 1.5,
    max_context: Annotated[
        int | None,
        typer.Option(
            help="Longest request served, tokens; longer ones are refused. Default: the longest there is.",
            show_default=False,
        ),
    ] = None,
    max_utilization: Annotated[float, typer.Option(help="Cap on the load of any resource.")] = 0.85,
    spare_replicas: Annotated[
        int, typer.Option(help="Replicas per pool that may be down; the nightly run plans 1.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Find the cheapest fleet for lengths, a rate and a target."""
    from fleetopt.planner.problem import Offer, Problem, Slo
    from fleetopt.planner.search import plan_fleet, prediction_caveats

    require_range("--output-fraction", output_fraction, 0, 1, open_ends=True)
    require_range("--compressible-fraction", compressible_fraction, 0, 1)
    require_range("--max-utilization", max_utilization, 0, 1, open_ends=True)
    require_range("--max-gamma", max_gamma, 1, 4)
    require_range("--spare-replicas", spare_replicas, 0, 1000)
    if max_context is not None:
        require_range("--max-context", max_context, 2, 1_000_000_000)
    profiles = tuple(load_profile(name) for name in dict.fromkeys(profile))
    unpriced = [gpu.name for gpu in profiles if gpu.usd_per_gpu_hour == 0]
    if unpriced and len(profiles) > 1:
        raise InputError(f"--profile {unpriced[0]}: has no usd_per_gpu_hour; without prices there is no cheapest")
    lengths, longest = load_lengths(cdf, output_fraction, compressible_fraction)
    limit = longest if max_context is None else max_context
    served, rejected = lengths.within_context(limit)
    if len(served) == 0:
        raise InputError(f"--max-context {limit}: every request is longer")
    problem = Problem(
        lengths=served,
        arrival_rate_rps=rate * (1 - rejected),
        slo=Slo(ttft_p99_s=slo_ttft_p99),
        offers=tuple(Offer(profile=gpu) for gpu in profiles),
        max_context_tokens=limit,
        max_utilization=max_utilization,
        spare_replicas=spare_replicas,
        max_gamma=max_gamma,
    )
    result = plan_fleet(problem)
    caveats = prediction_caveats(result.plan, problem) if result.plan else ()
    if as_json:
        print(json.dumps(_plan_json(result) | {"caveats": caveats}))
        return
    from rich.console import Console

    from fleetopt.reporting.terminal import plan_table

    Console().print(plan_table(result, arrival_rate_rps=problem.arrival_rate_rps, slo_ttft_p99_s=slo_ttft_p99))
    print(f"Compressible: {compressible_fraction:.0%} of the requests in the band (--compressible-fraction).")
    for caveat in caveats:
        print(f"Caution, simulate this plan before you trust it: {caveat}.")
    if rejected:
        print(f"{rejected:.3%} of requests are longer than {limit:,} tokens and are refused.")


def _plan_json(result: "PlanResult") -> dict[str, Any]:
    """The plan as the command's JSON contract has it."""
    chosen = result.plan
    return {
        "status": "feasible" if chosen else "infeasible",
        "reason": result.reason,
        "boundaries_tokens": chosen.boundaries_tokens if chosen else None,
        "gamma": chosen.gamma if chosen else None,
        "pools": _pools_json(chosen) if chosen else [],
        "usd_per_hour": _price(chosen) if chosen else None,
        "baselines": {
            name: baseline
            and {
                "boundaries_tokens": baseline.boundaries_tokens,
                "usd_per_hour": _price(baseline),
                "pools": _pools_json(baseline),
            }
            for name, baseline in (("homogeneous", result.homogeneous), ("pool_routing", result.pool_routing))
        },
    }


def _price(fleet_plan: "FleetPlan") -> float | None:
    """Cost of a plan; None where its profile has no price, since nothing costs nothing."""
    return fleet_plan.usd_per_hour or None


def _pools_json(fleet_plan: "FleetPlan") -> list[dict[str, Any]]:
    return [
        {
            "name": pool.name,
            "profile": pool.profile.name,
            "replicas": pool.replicas,
            "spare_replicas": pool.spare_replicas,
            "max_context_tokens": pool.max_context_tokens,
            "arrival_rate_rps": pool.arrival_rate_rps,
            "slot_utilization": pool.slot_utilization,
            "ttft_p99_s": pool.ttft_p99_s,
            "tpot_p99_s": pool.tpot_p99_s,
        }
        for pool in fleet_plan.pools
    ]
