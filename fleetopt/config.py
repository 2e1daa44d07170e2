"""The configuration file: sources of logs, fleets to plan, and how the pipeline runs. TOML in, checked models out."""

import re
import tomllib
from datetime import date, datetime
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fleetopt.errors import InputError, one_line
from fleetopt.log_mapping import LogMapping

MAPPED = "mapping"
"""Format of sources that declare it themselves."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
PoolName = Annotated[str, Field(pattern=r"^(all|short|middle|long)$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Pipeline(_Section):
    """How the nightly run works.

    Attributes
    ----------
    first_day : datetime.date
        First daily partition (UTC).
    window_days, min_window_days : int
        Days that a plan learns from, ending with its own; fewer audited days than the minimum give no plan.
    max_quarantined_fraction : float
        A day with a larger share of unusable lines in any source fails its audit.
    seed : int
        Every random stream is derived from it.
    tables : str
        Where the tables are: a directory (``{data}`` stands for the data directory, relative paths start at the
        configuration file) or a URL of an object store: ``s3://``, ``gs://``, ``abfss://``.
    keep_request_days : int, optional
        Days that single requests are kept, the raw layer included; ``fleetopt forget --expired`` deletes older ones.
        Default: for ever.
    """

    first_day: date
    window_days: int = Field(default=28, gt=0)
    min_window_days: int = Field(default=1, gt=0)
    max_quarantined_fraction: Fraction = 0.01
    seed: int = Field(default=20260316, ge=0)
    tables: str = Field(default="{data}/tables", min_length=1)
    keep_request_days: int | None = Field(default=None, gt=0)


class Source(_Section):
    """A declared place that logs come from.

    Attributes
    ----------
    path : str
        File, glob or URL. ``{data}`` stands for the data directory; ``{date}`` for the ISO day of the file in the
        source's time zone, and then a file holds the lines of that day only. Relative paths start at the
        configuration file.
    format : str
        Name of a log format (``fleetopt formats``), or ``"mapping"``.
    mapping : LogMapping, optional
        The source's own format, where ``format`` says so.
    timezone : str
        IANA zone of times that carry none.
    time : {"arrival", "finish"}, optional
        What the logged time is, if not what the format says. A finish is taken for the arrival where the log holds no
        duration, and every recommendation made from such times says so.
    clock_start : datetime.datetime, optional
        Where a relative clock starts; needed by formats that have one.
    segment_starts : list of datetime.datetime
        Where it starts each further time that it begins anew within a file; one that is not given is taken to follow on
        the segment before.
    clock_restart_s : float
        A relative clock begins anew where it jumps back by more than this, s; by less, lines are out of order.
    models : list of str
        Models whose requests are this source's own; those of others are kept apart. ``["*"]``: all that the logs name,
        since one fleet serves them. Empty: none is declared, and logs that name more than one fail their day's checks.
    duplicate_horizon_s : float
        How far apart in time two records can be and still be repeats of each other, s; at most a day, since a day is
        compared with the one before it.
    archetype : str
        Traffic class of the source's requests.
    fleet : str
        Fleet that serves them.
    first_day : datetime.date, optional
        First day that the source has logs of; before it no file is expected. Default: the pipeline's.
    """

    path: str = Field(min_length=1)
    format: str = Field(min_length=1)
    timezone: str = "UTC"
    mapping: LogMapping | None = None
    time: Literal["arrival", "finish"] | None = None
    clock_start: datetime | None = None
    segment_starts: tuple[datetime, ...] = ()
    clock_restart_s: Positive = 300.0
    models: tuple[str, ...] = ()
    duplicate_horizon_s: float = Field(default=3600.0, gt=0, le=86_400, allow_inf_nan=False)
    archetype: Name
    fleet: Name
    first_day: date | None = None

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"unknown time zone '{zone}'; use an IANA name such as Europe/Berlin") from error
        return zone

    @field_validator("clock_start", "segment_starts")
    @classmethod
    def _starts_have_zones(
        cls, value: datetime | tuple[datetime, ...] | None
    ) -> datetime | tuple[datetime, ...] | None:
        starts = value if isinstance(value, tuple) else (value,)
        if any(start is not None and start.tzinfo is None for start in starts):
            raise ValueError("needs a zone, for example 2023-11-16T18:15:00Z")
        return value

    @field_validator("models")
    @classmethod
    def _all_models_or_some(cls, models: tuple[str, ...]) -> tuple[str, ...]:
        if "*" in models and len(models) > 1:
            raise ValueError('"*" stands for all models and needs no others beside it')
        return models

    @model_validator(mode="after")
    def _keys_agree(self) -> Self:
        if (self.format == MAPPED) != (self.mapping is not None):
            raise ValueError(f'format = "{MAPPED}" and a section of that name go together: there is only one of them')
        if self.segment_starts and self.clock_start is None:
            raise ValueError("segment_starts are those after clock_start, which is missing")
        if self.mapping is not None and self.mapping.time.is_relative and self.clock_start is None:
            raise ValueError("the mapping's times are relative: declare clock_start, for example 2023-11-16T18:15:00Z")
        return self

    @field_validator("path")
    @classmethod
    def _known_placeholders(cls, path: str) -> str:
        unknown = set(re.findall(r"\{(.*?)\}", path)) - {"data", "date"}
        if unknown:
            raise ValueError(f"unknown placeholder {{{sorted(unknown)[0]}}}; known: {{data}}, {{date}}")
        return path

    @property
    def is_dated(self) -> bool:
        """Whether a file's name says which day it holds."""
        return "{date}" in self.path

    @property
    def clock_starts(self) -> tuple[datetime, ...]:
        """Where a relative clock starts, and where each time that it begins anew, as far as that is declared."""
        return () if self.clock_start is None else (self.clock_start, *self.segment_starts)

    @property
    def own_models(self) -> frozenset[str] | None:
        """Models whose requests are the source's own; None: all."""
        return None if not self.models or self.models == ("*",) else frozenset(self.models)


class Peak(_Section):
    """The rate to plan for: the highest rate over ``window_s`` seconds in the window, times ``1 + headroom``."""

    window_s: int = Field(default=60, gt=0, le=3600)
    headroom: float = Field(default=0.2, ge=0, allow_inf_nan=False)


class Compression(_Section):
    """Compression of the requests just above the boundary.

    ``max_gamma`` caps the band: 1.5 is the widest for which fidelity has been published (arXiv 2603.16514, Table 7).
    ``gamma_step`` is the step of the search in it. ``compressible_fraction`` gives the share of each archetype's
    requests that may be compressed; an archetype that is not named is never compressed.
    ``usd_per_compressed_request`` is what compressing one costs.
    """

    max_gamma: float = Field(default=1.5, ge=1, le=4)
    gamma_step: float = Field(default=0.1, gt=0, le=1)
    usd_per_compressed_request: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    compressible_fraction: dict[Name, Fraction] = Field(default_factory=dict)


class Supply(_Section):
    """What can be had of a GPU type, and on which terms; every key may be left out.

    Attributes
    ----------
    max_gpus : int or None
        Most GPUs over all pools; None: no limit.
    committed_gpus : int
        So many are billed at ``committed_usd_per_gpu_hour`` where they are used, the rest on demand.
    committed_usd_per_gpu_hour : float
    gpus_per_node : int
        GPUs are bought in whole nodes of this many per pool; 1: singly.
    availability : float
        Share of the time that a replica is up; a pool is inflated by its reciprocal.
    """

    max_gpus: int | None = Field(default=None, ge=0)
    committed_gpus: int = Field(default=0, ge=0)
    committed_usd_per_gpu_hour: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    gpus_per_node: int = Field(default=1, ge=1)
    availability: float = Field(default=1.0, gt=0, le=1)


class RunningPool(_Section):
    """A pool of the fleet that runs today."""

    name: Name
    profile: str
    replicas: int = Field(gt=0)
    max_context_tokens: int = Field(gt=0)


class Fleet(_Section):
    """One served model: its target, the hardware to choose from, prices, and the fleet that runs today.

    Attributes
    ----------
    model : str
        The served model; requests of different models are never planned as one.
    slo_ttft_p99_s : float
        Target of the P99 time to first token, s.
    slo_ttft_p99_s_by_pool : dict
        Targets of single pools (all, short, middle, long) that take its place, s.
    slo_tpot_p99_s : float or None
        Target of the P99 time per output token after the first, s; None: none.
    profiles : list of str
        GPU profiles to choose from: names of shipped ones, or paths to TOML files.
    usd_per_gpu_hour : dict
        Prices that replace those of the profiles.
    max_context_tokens : int
        Longest request that the model accepts, prompt and output together.
    max_utilization : float
        Cap on the load of any resource of a pool, as a share of its capacity.
    spare_replicas : int
        Replicas per pool that may be down while the target still holds.
    min_replicas : int
        Fewest replicas of a pool, spares included.
    max_pools : int
        Most pools, 1 to 3.
    slots : {"statistical", "worst-case"}
        How many requests a replica is taken to hold; see `fleetopt.planner.problem.SlotMode`.
    kv_overflow_probability : float
        Of ``statistical`` slots.
    supply : dict
        What can be had of the profiles, by name.
    peak, compression, running
        See their classes; ``running`` is a list of pools.
    """

    model: str = Field(min_length=1)
    slo_ttft_p99_s: Positive
    slo_ttft_p99_s_by_pool: dict[PoolName, Positive] = Field(default_factory=dict)
    slo_tpot_p99_s: Positive | None = None
    profiles: list[str] = Field(min_length=1)
    usd_per_gpu_hour: dict[str, Positive] = Field(default_factory=dict)
    max_context_tokens: int = Field(gt=1)
    max_utilization: float = Field(default=0.85, gt=0, lt=1)
    spare_replicas: int = Field(default=1, ge=0)
    min_replicas: int = Field(default=1, ge=1)
    max_pools: int = Field(default=2, ge=1, le=3)
    slots: Literal["statistical", "worst-case"] = "statistical"
    kv_overflow_probability: float = Field(default=0.01, gt=0, le=0.5)
    supply: dict[str, Supply] = Field(default_factory=dict)
    peak: Peak = Peak()
    compression: Compression = Compression()
    running: list[RunningPool] = Field(default_factory=list)


class Config(_Section):
    """The whole file."""

    pipeline: Pipeline
    source: dict[Name, Source] = Field(min_length=1)
    fleet: dict[Name, Fleet] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        for name, source in self.source.items():
            if source.fleet not in self.fleet:
                raise ValueError(f"source.{name}.fleet: no [fleet.{source.fleet}] is declared")
        for name, fleet in self.fleet.items():
            for key, named in (("usd_per_gpu_hour", fleet.usd_per_gpu_hour), ("supply", fleet.supply)):
                unknown = set(named) - set(fleet.profiles)
                if unknown:
                    raise ValueError(f"fleet.{name}.{key}.{min(unknown)}: not among the fleet's profiles")
            if not any(source.fleet == name for source in self.source.values()):
                raise ValueError(f"fleet.{name}: no source feeds it")
        return self

    def sources_of(self, fleet: str) -> dict[str, Source]:
        """Sources that feed a fleet, by name."""
        return {name: source for name, source in self.source.items() if source.fleet == fleet}


def parse_config(text: str, where: str) -> Config:
    """Read a configuration from TOML text.

    Parameters
    ----------
    text : str
    where : str
        File name, for messages.

    Raises
    ------
    InputError
        One line that names the file and the key.
    """
    try:
        return Config.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: not valid TOML: {error}") from error
    except ValidationError as error:
        raise InputError(one_line(error, where)) from error
