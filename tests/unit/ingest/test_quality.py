"""What a day's quality row says: counts, coincidences, steps in time, piles at a cap."""

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from fleetopt.ingest.parts import PART_SCHEMA, Slice
from fleetopt.ingest.quality import QualityCount
from fleetopt.ingest.staging import Staged
from fleetopt.schemas import STG_QUALITY

START = datetime(2026, 1, 5, tzinfo=UTC)
RNG_SEED = 20260105


def frame(times_us: Any, prompt: Any = None, output: Any = None, **values: Any) -> pl.DataFrame:
    n = len(times_us)
    known = {
        "arrival_time": pl.Series(np.asarray(times_us, dtype=np.int64)).cast(pl.Datetime("us", "UTC")),
        "prompt_tokens": np.asarray(prompt if prompt is not None else np.arange(n) % 977 + 1, dtype=np.int64),
        "output_tokens": np.asarray(output if output is not None else np.arange(n) % 331 + 1, dtype=np.int64),
        **values,
    }
    constants = {"outcome": "served", "has_id": False, "is_finish_time": False}
    return pl.DataFrame(known).with_columns(
        pl.lit(constants.get(name), dtype=dtype).alias(name)
        for name, dtype in PART_SCHEMA.items()
        if name not in known
    ).select(PART_SCHEMA.names())  # fmt: skip


def quality(requests: list[pl.DataFrame], unserved: pl.DataFrame | None = None, **counts: int) -> dict[str, Any]:
    count = QualityCount()
    none = PART_SCHEMA.to_frame()
    for i, rows in enumerate(requests):
        other = unserved if unserved is not None and i == 0 else none
        known = {"lines": rows.height + other.height, "duplicates": 0, "unusable": 0, **counts}
        count.add(Staged(Slice(0, 60_000_000), rows, other, none, **known))
    row = count.row(
        day=date(2026, 1, 5), source="chat", format_name="azure", files=1, clock_restarts=2, landing_digest="d"
    )
    assert row.schema == STG_QUALITY.schema
    return row.row(0, named=True)


def lognormal(rng: np.random.Generator) -> np.ndarray:
    n = int(10 ** rng.uniform(2, 5))
    return np.ceil(rng.lognormal(rng.uniform(2, 9), rng.uniform(0.2, 1.5), n)).astype(np.int64).clip(max=10_000_000)


def test_counts_by_outcome():
    times = np.arange(6) * 1_234_567
    unserved = frame(
        times,
        outcome=["failed", "failed", "aborted", "cache_hit", "other_model", "failed"],
        model=["a", "b", None, "a", "not ours", None],
        is_finish_time=[True] + [False] * 5,
    )
    row = quality([frame(times, model=["a", "b", "a", "a", "c", "a"])], unserved)
    assert (row["requests"], row["lines"], row["failed"], row["aborted"]) == (12, 12, 3, 1)
    assert (row["cache_hits"], row["other_models"], row["models"], row["finish_times"]) == (1, 1, 3, 1)
    assert row["distinct_arrival_times"] == 6
    assert row["clock_restarts"] == 2


def test_a_source_without_records_has_a_row_of_zeros():
    row = quality([])
    assert all(row[name] == 0 for name in ("lines", "requests", "duplicates", "quarantined", "models"))
    assert (row["duplicates_expected"], row["time_step_s"], row["prompt_cap_tokens"]) == (0.0, None, None)


def test_expected_coincidences_are_those_of_a_simulation():
    rng = np.random.default_rng(RNG_SEED)
    n, kinds = 20_000, 40
    times = np.sort(rng.integers(0, 3600, n)) * 1_000_000
    prompt, output = rng.integers(1, kinds + 1, n), rng.integers(1, 6, n)
    pairs = pl.DataFrame({"t": times, "p": prompt, "o": output})
    coincidences = sum(k * (k - 1) // 2 for k in pairs.group_by("t", "p", "o").len()["len"])
    row = quality([frame(times, prompt, output)], duplicates=10**9)
    assert row["duplicates_expected"] == pytest.approx(coincidences, rel=0.1)
    assert quality([frame(times, prompt, output)], duplicates=7)["duplicates_expected"] == 7
    assert quality([frame(times, prompt, output, has_id=[True] * n)], duplicates=7)["duplicates_expected"] is None


@pytest.mark.parametrize("step_s", [0.02, 0.5, 1.0, 3.0, 60.0])
def test_rounded_times_give_their_step(step_s):
    rng = np.random.default_rng(RNG_SEED)
    times = np.sort(rng.integers(0, int(86400 / step_s), 5000)) * round(step_s * 1e6) + 137
    cut = len(times) // 3
    assert quality([frame(times[:cut]), frame(times[cut:])])["time_step_s"] == step_s


def test_batches_on_an_uneven_clock_give_their_step():
    """As in Mooncake's conversation trace: ticks of 3 s, each a millisecond or two off, with ten requests each."""
    rng = np.random.default_rng(RNG_SEED)
    ticks = np.arange(1200) * 3_000_000 + rng.integers(-1, 2, 1200) * 1000
    times = np.sort(rng.choice(ticks, 12_000))
    row = quality([frame(times)])
    assert row["time_step_s"] == 3.0
    assert row["distinct_arrival_times"] == len(np.unique(times))


def test_times_of_a_poisson_process_have_no_step_at_any_rate():
    rng = np.random.default_rng(RNG_SEED)
    for rate in (0.001, 0.1, 1, 30, 1000):
        for rounding in (1, 1000):
            times = np.cumsum(rng.exponential(1e6 / rate, 4000)).astype(np.int64) // rounding * rounding
            assert quality([frame(times)])["time_step_s"] is None, (rate, rounding)


def test_a_load_at_even_distances_has_no_step():
    assert quality([frame(np.arange(1000) * 2_000_000)])["time_step_s"] is None


def test_pieces_of_one_minute_are_looked_at_together():
    times = np.arange(30) * 1_000_000
    pieces = [frame(times), frame(times)]
    count = QualityCount()
    none = PART_SCHEMA.to_frame()
    for i, rows in enumerate(pieces):
        count.add(Staged(Slice(0, 60_000_000, i, 2), rows, none, none, 30, 0, 0))
    row = count.row(day=START.date(), source="s", format_name="f", files=1, clock_restarts=0, landing_digest="")
    assert row["distinct_arrival_times"].item() == 30


def test_smooth_lengths_have_no_cap():
    rng = np.random.default_rng(RNG_SEED)
    found = [quality([frame(np.arange(len(x)) * 7, x, x)])["prompt_cap_tokens"] for x in map(lognormal, [rng] * 200)]
    assert found == [None] * 200


def test_a_cut_distribution_has_its_cap():
    rng = np.random.default_rng(RNG_SEED)
    lengths = np.ceil(rng.lognormal(7, 1, 20_000)).astype(np.int64)
    for cap in (2000, 4096, 8192):
        share = (lengths >= cap).mean()
        row = quality([frame(np.arange(20_000), lengths.clip(max=cap), lengths)])
        assert row["prompt_cap_tokens"] == cap
        assert row["prompt_capped_fraction"] == pytest.approx(share, abs=0.01)
        assert row["output_cap_tokens"] is None


def test_a_pile_spread_over_some_tokens_with_a_few_longer_ones_is_a_cap():
    """As in Azure's code trace: 4 % of the prompts at 7,430 to 7,437 tokens."""
    rng = np.random.default_rng(RNG_SEED)
    body = np.ceil(rng.lognormal(7, 1, 8500)).astype(np.int64)
    piled = 7437 - rng.integers(0, 8, 350)
    lengths = np.concatenate([body[body < 7400], piled, [16_000, 9000]])
    row = quality([frame(np.arange(len(lengths)), lengths, lengths)])
    assert row["prompt_cap_tokens"] == 7437
    assert row["prompt_capped_fraction"] == pytest.approx(350 / len(lengths), abs=0.005)


def test_a_fixed_length_is_no_cap():
    lengths = np.full(1000, 1024)
    row = quality([frame(np.arange(1000), lengths, lengths)])
    assert (row["prompt_cap_tokens"], row["output_cap_tokens"]) == (None, None)


def test_days_do_not_depend_on_their_slices():
    rng = np.random.default_rng(RNG_SEED)
    times = np.cumsum(rng.integers(0, 3, 3000)) * 1_000_000
    whole = frame(times, rng.integers(1, 50, 3000), rng.integers(1, 9, 3000))
    cuts = np.flatnonzero(np.diff(times))[::50] + 1
    parts = [whole[int(a) : int(b)] for a, b in zip([0, *cuts], [*cuts, 3000], strict=True)]
    assert quality(parts) == quality([whole])
