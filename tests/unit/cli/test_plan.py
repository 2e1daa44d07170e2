"""`fleetopt plan` and `whatif` on a bursty trace: which arrivals were planned for, and what was left out."""

import numpy as np
import polars as pl
import pytest

from fleetopt.workload.processes import markov_modulated_arrivals
from tests.unit.cli.runs import json_of, run


@pytest.fixture
def asked(tmp_path):
    """Options of a question about a trace whose rate jumps between 1 and 20 requests/s."""
    rng = np.random.default_rng(4)
    path = tmp_path / "requests.parquet"
    arrival_s = markov_modulated_arrivals(np.array([1.0, 20.0]), np.array([5.0, 1.0]), 5000, rng)
    prompt = rng.choice([200, 900, 3000], 5000)
    pl.DataFrame({"arrival_s": arrival_s, "prompt_tokens": prompt, "output_tokens": prompt // 20}).write_parquet(path)
    return ("--cdf", path, "--slo-ttft-p99", 1.5, "--profile", "a100-llama2-7b", "--max-pools", 1)


def test_the_page_says_which_arrivals_were_planned_for(asked):
    plain = " ".join(run("plan", *asked, "--rate", 20).output.split())
    bursty = " ".join(run("plan", *asked, "--rate", 20, "--burstiness", "trace").output.split())
    assert "requests/s, Poisson arrivals, P99 time to first token of at most 1.5 s" in plain
    assert "requests/s, arrivals of the trace, P99 time to first token" in bursty
    assert "The arrivals of --cdf are bursty: at this rate counts in 10 s vary" in plain
    assert "are bursty" not in bursty


def test_json_says_it_too_and_bursts_take_more(asked):
    plain, bursty = (json_of("plan", *asked, "--rate", 20, "--burstiness", each) for each in ("poisson", "trace"))
    assert [found["problem"]["arrivals"] for found in (plain, bursty)] == ["poisson", "trace"]
    assert plain["problem"]["index_of_dispersion_10s"] == bursty["problem"]["index_of_dispersion_10s"] > 2
    assert plain["replicas"] < bursty["replicas"]


def test_whatif_takes_the_same_option(asked):
    sweep = ("--sweep", "rate=10:40:2")
    plain, bursty = (json_of("whatif", *asked, *sweep, "--burstiness", each) for each in ("poisson", "trace"))
    assert (plain["arrivals"], bursty["arrivals"]) == ("poisson", "trace")
    replicas = [[point["replicas"] for point in found["points"]] for found in (plain, bursty)]
    assert all(few <= many for few, many in zip(*replicas, strict=True))
    assert sum(replicas[0]) < sum(replicas[1])
    assert "are bursty" in " ".join(run("whatif", *asked, *sweep).output.split())
