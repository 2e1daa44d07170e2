"""Commands run inside the test's process, and small inputs for them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from typer.testing import CliRunner, Result

from fleetopt.cli import app

TWO_POOLS = """
router = "compress-and-route"
gamma = 1.5
[[pool]]
name = "short"
profile = "a100-llama2-7b"
replicas = 2
max_context_tokens = 2048
boundary_tokens = 2048
[[pool]]
name = "long"
profile = "a100-llama2-7b"
replicas = 1
max_context_tokens = 8192
[[failure]]
pool = "short"
replica = 1
down_s = 1030.0
up_s = 1060.0
"""


def run(*arguments: object) -> Result:
    """Run a command; what it raises is raised."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def json_of(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def write_requests(path: Path, n: int = 400, rate_rps: float = 4.0, start_s: float = 1000.0) -> Path:
    """Requests of which one is longer than any pool of ``TWO_POOLS`` takes."""
    rng = np.random.default_rng(11)
    prompt = rng.integers(50, 4000, n)
    prompt[n // 2] = 9000
    frame = pl.DataFrame(
        {
            "arrival_s": start_s + np.cumsum(rng.exponential(1 / rate_rps, n)),
            "prompt_tokens": prompt,
            "output_tokens": rng.integers(1, 150, n),
        }
    )
    frame.write_parquet(path)
    return path
