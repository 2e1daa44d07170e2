"""Out layer, second half: the search, its proof in the simulator, and the recommendation made of both."""

import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from assets.hardware import fleet_offers, running_prices
from assets.inputs import fleet_requests, input_digests
from assets.layers import OUT, WRITE_RETRY
from assets.metadata import OWNERS, column_lineage, copied_from, table_metadata
from assets.partitions import Calendar, partition_day
from assets.window import fleets_in, read_window
from fleetopt.config import Config, Fleet
from fleetopt.planner.answer import cost_cells
from fleetopt.planner.plan import Candidate, Infeasibility, PlanResult
from fleetopt.planner.problem import Problem
from fleetopt.planner.proof import Proof, day_trace
from fleetopt.planner.published import published_predictions
from fleetopt.planner.recommend import Recommendation, recommend
from fleetopt.planner.search import prediction_caveats
from fleetopt.planner.situation import Situation, read_situation
from fleetopt.reporting.document import Document, build_document, canonical_json
from fleetopt.reporting.feed import two_boundaries
from fleetopt.reporting.log_notes import count_notes, log_notes, summed
from fleetopt.schemas import OUT_FLEET_CANDIDATES, OUT_FLEET_RECOMMENDATION, OUT_SIMULATION_SUMMARY, TABLES
from fleetopt.workload.demand import Window
from fleetopt.workload.trace import Trace

_OUTS = ("out_fleet_candidates", "out_simulation_summary", "out_fleet_recommendation")


def build_planning_assets(calendar: Calendar) -> list[dg.AssetsDefinition]:
    """Define the assets that plan."""

    @dg.multi_asset(
        name="plan_fleets",
        ins={
            "core_length_histogram": dg.AssetIn(partition_mapping=calendar.window),
            "core_arrivals": dg.AssetIn(partition_mapping=calendar.window),
            "stg_quality": dg.AssetIn(partition_mapping=calendar.window),
            "core_requests": dg.AssetIn(),
        },
        outs={name: _out(name) for name in _OUTS},
        partitions_def=calendar.daily,
        group_name=OUT,
        retry_policy=WRITE_RETRY,
        required_resource_keys={"settings", "tables"},
        pool="simulator",
    )
    def plan_fleets(
        context: dg.AssetExecutionContext,
        core_length_histogram: pl.LazyFrame,
        core_arrivals: pl.LazyFrame,
        stg_quality: pl.LazyFrame,
        core_requests: pl.LazyFrame,
    ) -> Iterator[dg.Output[pl.DataFrame]]:
        """Plan every fleet that had requests on the day, and prove the plans."""
        planner = _Planner(
            context,
            core_length_histogram.collect(),
            core_arrivals.collect(),
            stg_quality.collect(),
            core_requests.collect(),
        )
        fleets = [planner.plan(name) for name in planner.fleets]
        for table, rows in zip(_OUTS, zip(*fleets, strict=True), strict=True):
            yield dg.Output(pl.concat(rows), table)

    return [plan_fleets]


class _Planner:
    """One night's inputs, and the plan of each fleet made from them."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        histogram: pl.DataFrame,
        arrivals: pl.DataFrame,
        quality: pl.DataFrame,
        requests: pl.DataFrame,
    ) -> None:
        self.context = context
        self.settings = context.resources.settings
        self.config: Config = self.settings.config
        self.day = partition_day(context)
        self.fleets = fleets_in(histogram, self.day, self.config)
        self.arrivals, self.quality, self.requests = arrivals, quality, requests

    def plan(self, name: str) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """Rows of the three output tables for one fleet."""
        fleet, seed = self.config.fleet[name], self.config.pipeline.seed
        histogram, requests = self.fleets[name], fleet_requests(self.requests, name)
        arrivals = self.arrivals.filter(pl.col("fleet") == name)
        quality = self.quality.filter(pl.col("source").is_in(list(self.config.sources_of(name))))
        window = read_window(histogram, self.day, self.config.pipeline)
        offers = fleet_offers(fleet, name, self.settings.config_path)
        situation = read_situation(histogram, arrivals, fleet, offers, seed)
        found = self._recommend(name, window, situation, requests_trace(requests, fleet, seed))
        plan, problem = found.proof and found.proof.plan, situation.problem
        document = build_document(
            fleet_name=name,
            fleet=fleet,
            day=self.day,
            window=window,
            demand=situation.demand,
            band_method=situation.band_method,
            rejected_fraction=situation.rejected_fraction,
            usd_per_replica_hour=running_prices(fleet, name, self.settings.config_path),
            recommendation=found,
            inputs=input_digests(histogram, arrivals, quality, requests, self.settings, name),
            caveats=self._caveats(name, window, quality, situation.rejected_fraction),
            seed=seed,
            prediction_caveats=prediction_caveats(plan, problem) if plan and problem else (),
            published=published_predictions(plan, problem) if plan and problem else {},
        )
        return (
            _candidate_rows(self.day, name, found.result, problem),
            _simulation_rows(self.day, name, document["version"], found.proof),
            _recommendation_row(self.day, document),
        )

    def _recommend(self, name: str, window: Window, situation: Situation, day: Trace) -> Recommendation:
        """Search and prove; or say why there is nothing to search."""
        pipeline, reason = self.config.pipeline, ""
        if len(window.days_held) < pipeline.min_window_days:
            reason = (
                f"the window holds {len(window.days_held)} audited days of this fleet, "
                f"pipeline.min_window_days asks for {pipeline.min_window_days}"
            )
        elif situation.problem is None or situation.upper is None:
            limit = self.config.fleet[name].max_context_tokens
            reason = f"every request is longer than the fleet's max_context_tokens of {limit:,}"
        else:
            return recommend(
                situation.problem,
                situation.upper,
                day,
                pipeline.seed,
                lambda message: self.context.log.info(f"{name}: {message}"),
            )
        nothing = PlanResult(plan=None, infeasibility=Infeasibility(binding=reason))
        return Recommendation(result=nothing, replicas_upper_band={})

    def _caveats(self, name: str, window: Window, quality: pl.DataFrame, rejected_fraction: float) -> list[str]:
        """What is unusual about the fleet's logs, in sentences."""
        caveats = []
        if rejected_fraction > 0:
            caveats.append(
                f"{rejected_fraction:.3%} of the window's requests are longer than "
                f"{self.config.fleet[name].max_context_tokens:,} tokens: the fleet refuses them."
            )
        held = quality.filter(pl.col("day").is_in(window.days_held))
        for source in self.config.sources_of(name):
            days = held.filter(pl.col("source") == source).to_dicts()
            if days:
                row = summed(days)
                caveats += [f"Source {source}: {note}." for note in (*count_notes(row), *log_notes(row))]
        return caveats


def requests_trace(requests: pl.DataFrame, fleet: Fleet, seed: int) -> Trace:
    """The rows of a day as a trace that starts at 0."""
    arrival = requests["arrival_time"]
    prompt, output = requests["prompt_tokens"].to_numpy(), requests["output_tokens"].to_numpy()
    fraction = fleet.compression.compressible_fraction
    compressible = np.array([fraction.get(archetype, 0.0) for archetype in requests["archetype"]])
    # What the model refuses for its length is not saved by compression.
    compressible[prompt + output > fleet.max_context_tokens] = 0.0
    return day_trace(
        (arrival - arrival.min()).dt.total_microseconds().to_numpy() / 1e6, prompt, output, compressible, seed
    )


def latest_document(tables: Any, fleet: str, *, before: date) -> Document | None:
    """The fleet's latest recommendation of an earlier day; None if there is none."""
    earlier = (
        tables.read("out_fleet_recommendation")
        .filter((pl.col("fleet") == fleet) & (pl.col("day") < before))
        .sort("day")
        .tail(1)
        .collect()
    )
    document: Document | None = json.loads(earlier["document"][0]) if earlier.height else None
    return document


def _candidate_rows(day: date, fleet: str, result: PlanResult, problem: Problem | None) -> pl.DataFrame:
    """What the search chose from; the plan is that of the search, before repair."""
    columns = ("boundary_tokens", "second_boundary_tokens")
    candidates = cost_cells(problem, result.plan) if problem else ()
    if result.plan is not None and len(result.plan.pools) > 2:
        candidates += (
            Candidate(boundaries_tokens=result.plan.boundaries_tokens, gamma=result.plan.gamma, plan=result.plan),
        )
    rows = [
        {
            "day": day,
            "fleet": fleet,
            **dict(zip(columns, two_boundaries(candidate.boundaries_tokens), strict=True)),
            "gamma": candidate.gamma,
            "is_feasible": candidate.plan is not None,
            "reason": candidate.reason or None,
            "replicas": candidate.plan.replicas if candidate.plan else None,
            "usd_per_hour": candidate.plan.usd_per_hour if candidate.plan else None,
            "is_chosen": candidate.plan is not None and candidate.plan == result.plan,
        }
        for candidate in candidates
    ]
    return pl.DataFrame(rows, schema=OUT_FLEET_CANDIDATES.schema)


def _simulation_rows(day: date, fleet: str, version: str, proof: Proof | None) -> pl.DataFrame:
    """What the simulator said of the recommended plan, beside its prediction."""
    if proof is None:
        return OUT_SIMULATION_SUMMARY.schema.to_frame()
    predicted = {pool.name: pool for pool in proof.plan.pools}
    rows = [
        {
            "day": day,
            "fleet": fleet,
            "version": version,
            "scenario": item.scenario,
            "pool": item.pool,
            "replicas": item.replicas,
            "replications": item.replications,
            "requests": item.requests,
            "rejected": item.rejected,
            "ttft_p99_s": item.ttft_p99_s,
            "ttft_p99_lower_s": item.ttft_p99_lower_s,
            "ttft_p99_upper_s": item.ttft_p99_upper_s,
            "slot_utilization": item.slot_utilization,
            "kv_utilization": item.kv_utilization,
            "busy": item.busy,
            "preemptions": item.preemptions,
            "predicted_ttft_p99_s": predicted[item.pool].ttft_p99_s,
            "predicted_slot_utilization": predicted[item.pool].slot_utilization,
            "verdict": item.verdict,
        }
        for item in proof.evidence
    ]
    floats = pl.selectors.float()
    frame = pl.DataFrame(rows, schema=OUT_SIMULATION_SUMMARY.schema)
    return frame.with_columns(pl.when(floats.is_finite()).then(floats))


def _recommendation_row(day: date, document: Document) -> pl.DataFrame:
    plan = document["plan"]
    first, second = two_boundaries(plan["boundaries_tokens"] if plan else ())
    row = {
        "day": day,
        "fleet": document["fleet"],
        "version": document["version"],
        "status": document["status"],
        "verdict": document["verdict"],
        "reason": document["reason"],
        "days_held": document["window"]["days_held"],
        "planned_rate_rps": document["demand"]["planned_rate_rps"],
        "slo_ttft_p99_s": document["target"]["ttft_p99_s"],
        "boundary_tokens": first,
        "second_boundary_tokens": second,
        "gamma": plan and plan["gamma"],
        "replicas": plan and plan["replicas"],
        "gpus": plan and sum(pool["gpus"] for pool in plan["pools"]),
        "usd_per_hour": plan and plan["usd_per_hour"],
        "document": canonical_json(document),
    }
    return pl.DataFrame([row], schema=OUT_FLEET_RECOMMENDATION.schema)


def _out(name: str) -> dg.AssetOut:
    lineage = column_lineage(
        copied_from("core_requests", "fleet") | {"day": [("core_length_histogram", "day"), ("core_arrivals", "day")]}
    )
    return dg.AssetOut(
        io_manager_key="io_manager",
        description=TABLES[name].description,
        owners=OWNERS,
        kinds={"polars", "deltalake", "python"},
        code_version="1",
        metadata=table_metadata(name, lineage),
    )
