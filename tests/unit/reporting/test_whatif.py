"""Sweeps as tables, figures and JSON."""

import io
import json

import pytest
from rich.console import Console

from fleetopt.planner.whatif import SweepPoint
from fleetopt.reporting.drawing import figure_bytes
from fleetopt.reporting.whatif import whatif_figure, whatif_json, whatif_table
from tests.unit.reporting.answers import PROBLEM
from tests.unit.reporting.samples import INFEASIBLE_REASON, ONE_POOL, ROUTED, THREE_POOLS, TWO_POOLS


def point(value, plan, change="", reason="") -> SweepPoint:
    return SweepPoint(value=value, plan=plan, homogeneous=ONE_POOL if plan else None, reason=reason, change=change)


POINTS = (
    point(0.5, None, reason=INFEASIBLE_REASON),
    point(1.0, THREE_POOLS, "feasible"),
    point(2.0, TWO_POOLS, "two pools"),
    point(4.0, ROUTED, "no compression"),
    point(8.0, ONE_POOL, "one pool"),
)
GPUS = tuple(point(f"gpu-{index}", each.plan, reason=each.reason) for index, each in enumerate(POINTS))


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("quantity", ["rate", "slo-ttft-p99", "slo-tpot-p99", "price", "gpu"])
def test_a_table_fits_and_marks_changes(width, quantity):
    stream = io.StringIO()
    points = GPUS if quantity == "gpu" else POINTS
    Console(file=stream, width=width, no_color=True).print(whatif_table(points, PROBLEM, quantity, "h100"))
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "$56.28" in text
    assert INFEASIBLE_REASON in " ".join(text.split("No plan at")[1].split())
    assert ("no compression" in " ".join(text.split())) == (quantity != "gpu")


def test_json_has_a_fleet_per_point():
    found = whatif_json(POINTS, PROBLEM, "slo-ttft-p99", "")
    assert (found["sweep"], found["profile"]) == ("slo-ttft-p99", None)
    first, second, *_ = found["points"]
    assert first.keys() == second.keys()
    assert (first["status"], first["reason"], first["pools"]) == ("infeasible", INFEASIBLE_REASON, [])
    assert (second["change"], second["boundaries_tokens"]) == ("feasible", [4096, 16384])
    assert second["homogeneous_usd_per_hour"] == pytest.approx(92.46)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("quantity", ["rate", "slo-ttft-p99", "slo-tpot-p99", "price", "gpu"])
def test_a_figure_of_every_quantity(quantity):
    figure = whatif_figure(GPUS if quantity == "gpu" else POINTS, PROBLEM, quantity, "h100")
    cost, replicas, boundary, gamma = figure.axes
    plan = next(line for line in cost.get_lines() if line.get_label() == "plan")
    assert plan.get_ydata()[2] == pytest.approx(56.28)
    assert {line.get_label() for line in replicas.get_lines()} >= {"one pool", "short pool", "middle pool", "long pool"}
    marks = [text.get_text() for text in cost.texts]
    assert marks == ([] if quantity == "gpu" else ["feasible", "two pools", "no compression", "one pool"])
    assert boundary.get_ylabel() == "boundary,\ntokens"
    assert gamma.get_xlabel() or quantity == "gpu"
    assert figure_bytes(figure, "svg", "whatif").startswith(b"<svg")


def test_a_figure_of_one_pool_throughout():
    figure = whatif_figure((point(1.0, ONE_POOL), point(2.0, ONE_POOL)), PROBLEM, "rate", "")
    assert "one pool throughout" in [text.get_text() for text in figure.axes[2].texts]
