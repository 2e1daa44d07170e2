"""Requests from options: what they mean, and one line for each way to contradict oneself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fleetopt.cli.requests import RequestOptions, arrival_process, parse_shares, request_source
from fleetopt.errors import InputError

NOTHING = RequestOptions(
    trace=None,
    cdf=None,
    rate=None,
    requests=None,
    arrivals=None,
    output_fraction=0.2,
    compressible_fraction=None,
    seed=0,
    replications=None,
)
DRAWN = replace(NOTHING, cdf="azure", rate=20.0, requests=500)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "requests.parquet"
    pl.DataFrame(
        {
            "arrival_s": [10.0, 11.0, 11.0, 14.0, 20.0],
            "prompt_tokens": [5, 6, 7, 8, 9],
            "output_tokens": [1, 2, 3, 4, 5],
            "archetype": ["chat", "code", "chat", "code", "chat"],
        }
    ).write_parquet(path)
    return path


def test_a_replay_is_the_trace_as_it_is(trace: Path) -> None:
    source = request_source(replace(NOTHING, trace=trace))
    requests = source.make_trace(0)
    assert (source.is_replay, source.replications, source.title) == (True, 1, str(trace))
    assert requests.arrival_s.tolist() == [10.0, 11.0, 11.0, 14.0, 20.0]
    assert requests.prompt_tokens.tolist() == [5, 6, 7, 8, 9]
    assert requests.is_compressible.all()


def test_a_replay_at_another_rate_keeps_the_shape_of_its_gaps(trace: Path) -> None:
    source = request_source(replace(NOTHING, trace=trace, rate=4.0))
    np.testing.assert_allclose(source.make_trace(0).arrival_s, [10.0, 10.1, 10.1, 10.4, 11.0], rtol=1e-12)
    assert source.title.endswith("at 4 requests/s")


def test_compressibility_is_drawn_per_archetype_from_the_seed(trace: Path) -> None:
    def compressible(seed: int, *shares: str) -> list[bool]:
        options = replace(NOTHING, trace=trace, compressible_fraction=list(shares), seed=seed)
        return request_source(options).make_trace(0).is_compressible.tolist()

    assert compressible(0, "0") == [False] * 5
    assert compressible(0, "0", "code=1") == [False, True, False, True, False]
    draws = [compressible(seed, "0.5") for seed in range(20)]
    assert draws == [compressible(seed, "0.5") for seed in range(20)]
    assert 0.3 < np.mean(draws) < 0.7


def test_drawn_requests_differ_by_replication_and_repeat_by_seed() -> None:
    source = request_source(replace(DRAWN, replications=3))
    assert (source.is_replay, source.replications) == (False, 3)
    first, again, second = (source.make_trace(replication) for replication in (0, 0, 1))
    assert len(first) == 500
    np.testing.assert_array_equal(first.arrival_s, again.arrival_s)
    assert not np.array_equal(first.arrival_s, second.arrival_s)
    assert first.arrival_s[-1] == pytest.approx(25.0, rel=0.3)
    assert len(request_source(replace(DRAWN, requests=None)).make_trace(0)) == 10_000


@pytest.mark.parametrize(("text", "cv"), [("poisson", 1.0), ("gamma:3", 3.0), ("weibull:2", 2.0)])
def test_gaps_have_the_rate_and_variation_asked_for(text: str, cv: float) -> None:
    gaps = np.diff(arrival_process(text, 4.0)(200_000, np.random.default_rng(1)))
    assert gaps.mean() == pytest.approx(0.25, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03)


@pytest.mark.parametrize("process", ["rate-curve", "markov-modulated"])
def test_an_arrivals_file_has_the_mean_rate_asked_for(tmp_path: Path, process: str) -> None:
    path = tmp_path / "arrivals.toml"
    path.write_text(f'process = "{process}"\nrelative_rates = [1, 5]\nduration_s = [3, 1.0]\n')
    arrival_s = arrival_process(str(path), 10.0)(100_000, np.random.default_rng(2))
    assert arrival_s[-1] == pytest.approx(10_000, rel=0.03)
    per_second = np.bincount(arrival_s.astype(int))[:-1]
    assert per_second.var() / per_second.mean() > 2.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "known|unknown"),
        ("gamma", "write poisson, gamma:2"),
        ("gamma:x", "'x' is not a number; write for example gamma:2"),
        ("gamma:0", "between 0.001 and 1000"),
        ("gamma:nan", "between 0.001 and 1000"),
        ("pareto:2", "unknown"),
        ("missing.toml", "missing.toml: cannot be read"),
    ],
)
def test_a_wrong_arrival_process_is_one_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        arrival_process(text, 1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("process = ", "not valid TOML"),
        ('process = "x"\nrelative_rates = [1]\nduration_s = [1]', "key 'process': Input should be 'rate-curve' or"),
        ('process = "rate-curve"\nduration_s = [1]', "key 'relative_rates': required key is missing"),
        ('process = "rate-curve"\nrelative_rates = [1, -1]\nduration_s = [1, 1]', "relative_rates: a rate is negative"),
        ('process = "markov-modulated"\nrelative_rates = [1]\nduration_s = [1]', "one state"),
    ],
)
def test_a_wrong_arrivals_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "arrivals.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"arrivals\.toml: .*{message}"):
        arrival_process(str(path), 1.0)


def test_shares_by_name_and_for_all() -> None:
    assert parse_shares([]) == (1.0, {})
    assert parse_shares(["0.5", "chat=0", "a=b=1"]) == (0.5, {"chat": 0.0, "a=b": 1.0})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cdf": None}, "--trace, --cdf: give one of them"),
        ({"trace": Path("x.parquet")}, "--trace, --cdf: give one of them"),
        ({"rate": None}, "--rate: is missing"),
        ({"rate": -1.0}, "--rate -1: has to be above 0"),
        ({"rate": float("nan")}, "--rate nan: has to be above 0"),
        ({"requests": 0}, "--requests 0"),
        ({"replications": 0}, "--replications 0"),
        ({"seed": -1}, "--seed -1"),
        ({"cdf": "nowhere"}, "--cdf nowhere: no such file, nor a published workload"),
        ({"output_fraction": 1.0}, "--output-fraction 1"),
        ({"compressible_fraction": ["2"]}, "--compressible-fraction 2"),
        ({"compressible_fraction": ["x"]}, "--compressible-fraction x: write a share"),
        ({"compressible_fraction": ["a=0.5"]}, "NAME=SHARE: goes with --trace"),
    ],
)
def test_contradictions_are_one_line(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        request_source(replace(DRAWN, **change)).make_trace(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"requests": 5}, "--requests 5: goes with --cdf"),
        ({"arrivals": "poisson"}, "--arrivals poisson: goes with --cdf"),
        ({"replications": 2}, "--replications 2: goes with --cdf"),
        ({"compressible_fraction": ["math=1"]}, "math: no archetype of the trace; there is chat, code"),
    ],
)
def test_a_replay_draws_nothing(trace: Path, change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        request_source(replace(NOTHING, trace=trace, **change))


def test_what_has_no_rate_cannot_be_scaled(tmp_path: Path) -> None:
    path = tmp_path / "once.parquet"
    pl.DataFrame({"arrival_s": [1.0, 1.0], "prompt_tokens": [1, 1], "output_tokens": [1, 1]}).write_parquet(path)
    with pytest.raises(InputError, match="arrive at once"):
        request_source(replace(NOTHING, trace=path, rate=2.0))
    pl.read_parquet(path).clear().write_parquet(path)
    with pytest.raises(InputError, match="holds no requests"):
        request_source(replace(NOTHING, trace=path))
