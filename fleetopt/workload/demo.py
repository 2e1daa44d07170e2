"""Made-up request logs of three archetypes, in real log formats, for a first run without logs of one's own.

Days differ in volume (weekly rhythm, slow growth) and hours in length (drift). Most requests come in a few surges in
working hours: so few requests a day, spread evenly, would never load a fleet. Every file holds a few repeated and a
few broken lines, since real logs do.
"""

import json
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np

_DAY_S = 86_400.0
_GROWTH_PER_DAY = 0.004
_N_DUPLICATES = 3
_BLOCK_TOKENS = 512
_SYSTEM_PROMPTS = 8


@dataclass(frozen=True, slots=True)
class _LogNormal:
    """One component of a mixture of lengths: its share, median (tokens) and spread of the logarithm."""

    share: float
    median: float
    sigma: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSource:
    """A source of demo logs.

    Attributes
    ----------
    name : str
        Source and archetype.
    log_format : {"azure", "mooncake"}
        Name of the log format.
    suffix : str
        Ending of a file's name.
    requests_per_day, weekend_factor : float
        Expected on a working day at the start, and what a weekend has of that.
    surge_share : float
        Share of a day's requests that come in surges.
    surges : tuple of (float, float)
        Hour of the day and standard deviation in seconds of each surge; all are equally large.
    prompt, output : tuple of _LogNormal, _LogNormal
        Components of the lengths.
    prompt_limits, output_limit
        Tokens; shorter and longer requests are cut to them.
    """

    name: str
    log_format: Literal["azure", "mooncake"]
    suffix: str
    requests_per_day: float
    weekend_factor: float
    surge_share: float
    surges: tuple[tuple[float, float], ...]
    prompt: tuple[_LogNormal, ...]
    output: _LogNormal
    prompt_limits: tuple[int, int]
    output_limit: int


DEMO_SOURCES: dict[str, DemoSource] = {
    source.name: source
    for source in (
        DemoSource(
            name="chat",
            log_format="azure",
            suffix=".csv",
            requests_per_day=3600,
            weekend_factor=0.7,
            surge_share=0.6,
            surges=((9.1, 90), (13.6, 110), (16.2, 100)),
            prompt=(_LogNormal(0.8, 650, 0.8), _LogNormal(0.2, 2400, 0.7)),
            output=_LogNormal(1.0, 200, 0.8),
            prompt_limits=(8, 14_000),
            output_limit=1500,
        ),
        DemoSource(
            name="code",
            log_format="azure",
            suffix=".csv",
            requests_per_day=3200,
            weekend_factor=0.35,
            surge_share=0.65,
            surges=((9.6, 80), (11.2, 90), (14.4, 80)),
            prompt=(_LogNormal(1.0, 1800, 0.8),),
            output=_LogNormal(1.0, 28, 0.9),
            prompt_limits=(16, 7437),  # longer prompts are cut to the context cap, as in the Azure trace
            output_limit=1000,
        ),
        DemoSource(
            name="agent",
            log_format="mooncake",
            suffix=".jsonl",
            requests_per_day=1500,
            weekend_factor=0.8,
            surge_share=0.6,
            surges=((2.2, 100), (10.4, 90), (15.1, 90)),
            prompt=(
                _LogNormal(0.35, 2600, 0.45),
                _LogNormal(0.25, 5000, 0.5),
                _LogNormal(0.4, 12_000, 0.5),
            ),
            output=_LogNormal(1.0, 300, 0.7),
            prompt_limits=(700, 30_000),
            output_limit=2000,
        ),
    )
}
"""The demo sources by name."""


def demo_day(source_name: str, day: date, *, first_day: date, seed: int) -> bytes:
    """One source's log file of one UTC day.

    Parameters
    ----------
    source_name : str
        A key of `DEMO_SOURCES`.
    day : datetime.date
        Day of the file, not before ``first_day``.
    first_day : datetime.date
        First day of the demo. Growth counts from it, and so do the ``mooncake`` timestamps: milliseconds since its
        midnight, UTC, in the files of every day, so that instant is the one clock start to declare.
    seed : int
        Not negative. Each source and day has a stream of its own.

    Returns
    -------
    bytes
        ``azure``: CSV with CRLF, seven fractional digits, no zone, no line end after the last row. ``mooncake``: JSON
        lines with prefix hashes of 512-token blocks. Less than 1 % of the lines are duplicates or broken.

    Raises
    ------
    ValueError
        If there is no such source or the day is before the first.
    """
    if source_name not in DEMO_SOURCES:
        raise ValueError(f"source_name: no demo source '{source_name}'; there are {', '.join(DEMO_SOURCES)}")
    if day < first_day:
        raise ValueError(f"day: {day} is before the first day, {first_day}")
    source = DEMO_SOURCES[source_name]
    rng = np.random.default_rng([seed, day.toordinal(), list(DEMO_SOURCES).index(source_name)])
    second = _arrival_seconds(source, day, (day - first_day).days, rng)
    prompt, output = _draw_lengths(source, second, rng)
    if source.log_format == "azure":
        lines = _azure_rows(day, second, prompt, output)
        broken = [f"{day} 12:0", f"{day} 10:15:32.1234567,,57", f"{day} 17:03:04.7654321,n/a,12"]
        header, line_end, last_end = ["TIMESTAMP,ContextTokens,GeneratedTokens"], "\r\n", ""
    else:
        lines = _mooncake_rows((day - first_day).days, second, prompt, output, rng)
        broken = [lines[len(lines) // 2][:40], lines[len(lines) // 3].replace("output_length", "output_len")]
        header, line_end, last_end = [], "\n", "\n"
    return (line_end.join(header + _with_flaws(lines, broken, rng)) + last_end).encode("ascii")


def _arrival_seconds(source: DemoSource, day: date, age_days: int, rng: np.random.Generator) -> np.ndarray:
    """Arrival times within the day, float64[n], s, sorted: a smooth daily curve, and surges."""
    weekly = source.weekend_factor if day.weekday() >= 5 else 1.0
    expected = source.requests_per_day * weekly * np.exp(_GROWTH_PER_DAY * age_days)
    volume = rng.lognormal(0.0, 0.05)
    n_smooth = rng.poisson(expected * volume * (1 - source.surge_share))
    minute = np.arange(1440) / 60
    curve = 0.15 + np.exp(-0.5 * ((minute - 11) / 2.2) ** 2) + 0.9 * np.exp(-0.5 * ((minute - 15.5) / 2.0) ** 2)
    rising = np.concatenate(([0.0], np.cumsum(curve) / curve.sum()))
    smooth = np.interp(rng.random(n_smooth), rising, np.linspace(0, _DAY_S, 1441))
    parts = [smooth]
    for hour, spread_s in source.surges:
        n_surge = rng.poisson(expected * volume * source.surge_share / len(source.surges))
        middle = hour * 3600 + rng.normal(0, 300)
        parts.append(np.clip(rng.normal(middle, spread_s, n_surge), 0, _DAY_S - 1))
    return np.sort(np.concatenate(parts))


def _draw_lengths(source: DemoSource, second: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Prompt and output lengths, int64[n]; the medians drift from day to day and from hour to hour."""
    n = len(second)
    drift = rng.normal(0, 0.04) + rng.normal(0, 0.08, 24)[(second // 3600).astype(np.int64)]
    component = rng.choice(len(source.prompt), size=n, p=[part.share for part in source.prompt])
    median = np.array([part.median for part in source.prompt])[component]
    sigma = np.array([part.sigma for part in source.prompt])[component]
    prompt = np.exp(np.log(median) + drift + sigma * rng.standard_normal(n))
    output = source.output.median * np.exp(drift + source.output.sigma * rng.standard_normal(n))
    return (
        np.clip(prompt, *source.prompt_limits).astype(np.int64),
        np.clip(output, 1, source.output_limit).astype(np.int64),
    )


def _azure_rows(day: date, second: np.ndarray, prompt: np.ndarray, output: np.ndarray) -> list[str]:
    ticks = (second * 1e7).astype(np.int64)  # of 100 ns
    whole, fraction = np.divmod(ticks, 10_000_000)
    return [
        f"{day} {s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}.{f:07d},{p},{o}"
        for s, f, p, o in zip(whole.tolist(), fraction.tolist(), prompt.tolist(), output.tolist(), strict=True)
    ]


def _mooncake_rows(
    age_days: int, second: np.ndarray, prompt: np.ndarray, output: np.ndarray, rng: np.random.Generator
) -> list[str]:
    """Rows with block hashes: a common system prompt first, then blocks that no other request has."""
    milliseconds = np.floor(second * 1000).astype(np.int64) + age_days * int(_DAY_S) * 1000
    system_prompt = rng.integers(_SYSTEM_PROMPTS, size=len(second))
    n_own_blocks = (prompt - 1) // _BLOCK_TOKENS
    next_block = _SYSTEM_PROMPTS + age_days * 10_000_000 + np.concatenate(([0], np.cumsum(n_own_blocks)))
    return [
        json.dumps({"timestamp": t, "input_length": p, "output_length": o, "hash_ids": [head, *range(start, stop)]})
        for t, p, o, head, start, stop in zip(
            milliseconds.tolist(),
            prompt.tolist(),
            output.tolist(),
            system_prompt.tolist(),
            next_block[:-1].tolist(),
            next_block[1:].tolist(),
            strict=True,
        )
    ]


def _with_flaws(lines: list[str], broken: list[str], rng: np.random.Generator) -> list[str]:
    """Repeat a few lines right after themselves and put broken ones in between; never first or last."""
    result = list(lines)
    for position in rng.choice(len(lines) - 2, size=_N_DUPLICATES, replace=False).tolist():
        result.insert(position + 1, result[position])
    for line in broken:
        result.insert(int(rng.integers(1, len(result) - 1)), line)
    return result
