"""What is unusual about a source's day, counted while its slices pass: repeats that may be none, steps in time, caps.

All counts are sums over requests or over gaps between their times, so they do not depend on how a day was sliced.
"""

from datetime import date
from typing import Final

import numpy as np
import polars as pl

from fleetopt.ingest.parsed import ABORTED, CACHE_HIT, FAILED, OTHER_MODEL
from fleetopt.ingest.staging import Staged
from fleetopt.schemas import STG_QUALITY

_JOINT_CELLS: Final = 1 << 20
_MIX: Final = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0xD6E8FEB86659FD93))

_FINE_US: Final = 10_000
"""Steps in time up to a hundredth of the shortest scale that burstiness is measured at (1 s) do it no harm."""
_MIN_GAPS: Final = 20
"""Fewer gaps between distinct times cannot tell a step from chance."""
_GAP_BINS: Final = 120_000
"""Gaps between distinct times are counted per millisecond, up to two minutes."""
_SMALL_GAP_FRACTION: Final = 0.01
_STEPPED_FRACTION: Final = 0.95
_REQUESTS_PER_TIME: Final = 2.0
"""A clock that ticks a little unevenly is told by its ticks: nearly all gaps are multiples of the smallest ones, and
many requests share a time. On a continuous clock of any rate the smallest gaps are close to nothing."""
_REGULAR: Final = 1.1
"""Requests per time, and the mean gap in steps, below which times are no rounded ones but evenly spaced."""

_CAP_ROWS: Final = 20
"""A pile has at least so many requests: below, it may be one of the bumps that every sample's tail has."""
_CAP_DENSITY_RATIO: Final = 10.0
"""It is so much denser than the lengths below it; tails of length distributions fall, so theirs is below 1."""
_CAP_FRACTION_ABOVE: Final = 0.001
"""Up to so many requests may be longer: of another model or setting, or with a few tokens of template more."""
_CAP_SPREAD_TOKENS: Final = 8
_CAP_SPREAD_FRACTION: Final = 0.002
"""Half of a pile's width: what fits below a context limit differs by some tokens of template (Azure 2023, code: 4.0 %
of the prompts have 7,430 to 7,437 tokens)."""
_CAP_REFERENCE_FRACTION: Final = 0.75
"""Lengths from this share of the pile's to the pile are what it is compared with."""
_CAP_DISTINCT_BELOW: Final = 16
"""With fewer distinct lengths below, as of load tests of fixed length, there is no distribution to be cut."""


_OUTCOME_COUNTS: Final = {
    "failed": FAILED,
    "aborted": ABORTED,
    "cache_hits": CACHE_HIT,
    "other_models": OTHER_MODEL,
}
_COUNTS: Final = (
    *("lines", "duplicates", "requests", "quarantined", "unusable_lines", "finish_times"),
    *_OUTCOME_COUNTS,
)


class QualityCount:
    """The quality row of a source and day while it grows; see `fleetopt.schemas.STG_QUALITY`."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = dict.fromkeys(_COUNTS, 0)
        self._models: set[str] = set()
        self._served = 0
        self._with_id = 0
        self._lengths = {name: np.zeros(1, dtype=np.int64) for name in ("prompt_tokens", "output_tokens")}
        self._joint = np.zeros(_JOINT_CELLS, dtype=np.int64)
        self._clock = _Clock()

    def add(self, staged: Staged) -> None:
        """Count a slice; all of a day, in order."""
        counts = self._counts
        outcomes = dict(staged.unserved["outcome"].value_counts().iter_rows())
        for name, outcome in _OUTCOME_COUNTS.items():
            counts[name] += outcomes.get(outcome, 0)
        counts["lines"] += staged.lines
        counts["duplicates"] += staged.duplicates
        counts["requests"] += staged.requests.height + staged.unserved.height
        counts["quarantined"] += staged.quarantined.height
        counts["unusable_lines"] += staged.unusable
        own = staged.unserved.filter(pl.col("outcome") != OTHER_MODEL)
        for rows in (staged.requests, own):
            self._models.update(rows["model"].drop_nulls().unique())
        for rows in (staged.requests, staged.unserved):
            counts["finish_times"] += int(rows["is_finish_time"].sum())
        self._add_requests(staged)

    def _add_requests(self, staged: Staged) -> None:
        requests = staged.requests
        self._served += requests.height
        self._with_id += int(requests["has_id"].sum())
        prompt, output = (requests[name].to_numpy() for name in self._lengths)
        for name, tokens in zip(self._lengths, (prompt, output), strict=True):
            self._lengths[name] = _sum(self._lengths[name], np.bincount(tokens))
        self._joint += np.bincount(_cell(prompt, output), minlength=_JOINT_CELLS)
        self._clock.add(requests["arrival_time"].to_physical().to_numpy(), ends=staged.cut.is_last_piece)

    def row(
        self,
        *,
        day: date,
        source: str,
        format_name: str,
        files: int,
        clock_restarts: int,
        landing_digest: str,
        fields_absent: str | None = None,
    ) -> pl.DataFrame:
        """Make the row of `fleetopt.schemas.STG_QUALITY`.

        Parameters
        ----------
        day, source, format_name
            What the row is of.
        files : int
            Files that the day's records came from.
        clock_restarts : int
            Restarts of a relative clock in them.
        landing_digest : str
            Hash of the files' contents and the source's declaration.
        fields_absent : str, optional
            Fields that the source's own mapping declares and that none of its lines has.
        """
        caps = {name: _cap(lengths) for name, lengths in self._lengths.items()}
        values = {
            **self._counts,
            "day": day,
            "source": source,
            "format": format_name,
            "files": files,
            "clock_restarts": clock_restarts,
            "landing_digest": landing_digest,
            "fields_absent": fields_absent,
            "models": len(self._models),
            "duplicates_expected": self._duplicates_expected(),
            "distinct_arrival_times": self._clock.distinct,
            "time_step_s": self._clock.step_s(),
            "prompt_cap_tokens": caps["prompt_tokens"][0],
            "prompt_capped_fraction": caps["prompt_tokens"][1],
            "output_cap_tokens": caps["output_tokens"][0],
            "output_capped_fraction": caps["output_tokens"][1],
        }
        return pl.DataFrame([values], schema=STG_QUALITY.schema)

    def _duplicates_expected(self) -> float | None:
        """Estimate how many requests of their own look like another of the same time: pairs x chance of equal lengths.

        The chance is that of two requests of the day, from a joint count in 2**20 cells, less the share of unequal ones
        that meet in a cell. A log with more in its lines than lengths has fewer such requests; it is an upper estimate.
        """
        if self._served and self._with_id == self._served:
            return None
        if self._served < 2:
            return 0.0
        pairs = self._served * (self._served - 1) / 2
        meeting = float((self._joint * (self._joint - 1)).sum()) / 2 / pairs
        equal = max(0.0, (meeting - 1 / _JOINT_CELLS) / (1 - 1 / _JOINT_CELLS))
        return min(self._clock.pairs * equal, float(self._counts["duplicates"]))


class _Clock:
    """Distinct arrival times, and the gaps between them.

    Attributes
    ----------
    distinct : int
    pairs : int
        Pairs of requests of the same time.
    """

    def __init__(self) -> None:
        self.distinct = 0
        self.pairs = 0
        self._requests = 0
        self._first_us: int | None = None
        self._last_us: int | None = None
        self._gcd_us = 0
        self._gaps = np.zeros(_GAP_BINS, dtype=np.int64)
        self._waiting: list[np.ndarray] = []

    def add(self, times_us: np.ndarray, *, ends: bool) -> None:
        """Count the sorted times of a slice; those of one span come together before they are looked at."""
        self._waiting.append(times_us)
        if not ends:
            return
        times = self._waiting[0] if len(self._waiting) == 1 else np.sort(np.concatenate(self._waiting))
        self._waiting = []
        if not len(times):
            return
        starts = np.flatnonzero(np.concatenate([[True], times[1:] != times[:-1]]))
        alike = np.diff(starts, append=len(times))
        self.distinct += len(starts)
        self.pairs += int((alike * (alike - 1) // 2).sum())
        self._requests += len(times)
        distinct = times[starts]
        if self._first_us is None:
            self._first_us = int(distinct[0])
        if self._last_us is not None:
            distinct = np.concatenate([[self._last_us], distinct])
        self._last_us = int(distinct[-1])
        self._add_gaps(np.diff(distinct))

    def _add_gaps(self, gaps_us: np.ndarray) -> None:
        # Of times in microseconds a few gaps show that they have no step, and the others need not be looked at.
        for some in (gaps_us[:1000], gaps_us[1000:]):
            if len(some) and (self._gcd_us == 0 or self._gcd_us >= _FINE_US):
                self._gcd_us = int(np.gcd(np.gcd.reduce(some), self._gcd_us))
        gaps_ms = (gaps_us + 500) // 1000
        self._gaps += np.bincount(gaps_ms[gaps_ms < _GAP_BINS], minlength=_GAP_BINS)

    def _is_regular(self) -> bool:
        """Whether requests come one by one, nearly all at the same distance, as load tests send them."""
        span_us = (self._last_us or 0) - (self._first_us or 0)
        return self._requests < _REGULAR * self.distinct and span_us < _REGULAR * self._gcd_us * (self.distinct - 1)

    def step_s(self) -> float | None:
        """Step that times are rounded to, s; None where they are as good as continuous."""
        n_gaps = self.distinct - 1
        if n_gaps < _MIN_GAPS:
            return None
        if self._gcd_us >= _FINE_US:
            return None if self._is_regular() else self._gcd_us / 1e6
        smallest_ms = int(np.searchsorted(self._gaps.cumsum(), _SMALL_GAP_FRACTION * n_gaps))
        if (
            smallest_ms * 1000 < _FINE_US
            or smallest_ms >= _GAP_BINS
            or self._requests < _REQUESTS_PER_TIME * self.distinct
        ):
            return None
        step_ms = smallest_ms + int(self._gaps[smallest_ms : smallest_ms * 3 // 2 + 1].argmax())
        gap_ms = np.arange(_GAP_BINS)
        off_ms = np.abs(gap_ms - (gap_ms + step_ms // 2) // step_ms * step_ms)
        is_stepped = off_ms <= max(1, step_ms // 300)
        return step_ms / 1000 if self._gaps[is_stepped].sum() >= _STEPPED_FRACTION * n_gaps else None


def _cap(counts: np.ndarray) -> tuple[int, float] | tuple[None, None]:
    """Find the length that requests pile up at: cut there, so that what is above was never seen.

    Parameters
    ----------
    counts : np.ndarray
        int64[n]: requests of each length.

    Returns
    -------
    tuple
        The highest length of the pile, and the share of requests in it; or twice None.
    """
    total = int(counts.sum())
    if total < _CAP_ROWS:
        return None, None
    above = total - counts.cumsum()
    first = int(np.searchsorted(-above, -_CAP_FRACTION_ABOVE * total))
    peak = first + int(counts[first:].argmax())
    spread = min(max(_CAP_SPREAD_TOKENS, int(_CAP_SPREAD_FRACTION * peak)), peak // 8)
    low, high = peak - spread, min(peak + spread, len(counts) - 1)
    piled = int(counts[low : high + 1].sum())
    below = counts[int(_CAP_REFERENCE_FRACTION * low) : low]
    if piled < _CAP_ROWS or np.count_nonzero(counts[:low]) < _CAP_DISTINCT_BELOW or not len(below):
        return None, None
    if piled / (high - low + 1) < _CAP_DENSITY_RATIO * below.mean():
        return None, None
    return low + int(np.flatnonzero(counts[low : high + 1])[-1]), piled / total


def _cell(prompt: np.ndarray, output: np.ndarray) -> np.ndarray:
    """Spread pairs of lengths evenly over the cells of the joint count."""
    mixed = prompt.astype(np.uint64) * _MIX[0] ^ output.astype(np.uint64) * _MIX[1]
    mixed ^= mixed >> np.uint64(32)
    mixed *= _MIX[2]
    return (mixed >> np.uint64(44)).astype(np.int64)


def _sum(counts: np.ndarray, more: np.ndarray) -> np.ndarray:
    if len(more) > len(counts):
        counts, more = more, counts
    counts[: len(more)] += more
    return counts
