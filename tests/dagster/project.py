"""A small project on disk: configuration, landing files in two real formats, and runs of its jobs."""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path

import dagster as dg
import polars as pl
from polars.testing import assert_frame_equal

from fleetopt.schemas import TABLES
from pipelines.build import build_defs
from pipelines.resources.settings import Settings, load_settings
from pipelines.resources.tables import TableStore

FIRST_DAY = date(2026, 1, 5)
DAYS = [FIRST_DAY + timedelta(days=n) for n in range(3)]
REQUESTS_PER_FILE = 40
TABLES_OF_A_DAY = (
    "stg_requests",
    "unserved_requests",
    "quarantined_requests",
    "stg_quality",
    "core_requests",
    "core_length_histogram",
    "core_arrivals",
)
CORE_TABLES = TABLES_OF_A_DAY[-3:]

CONFIG = """
[pipeline]
first_day = 2026-01-05
window_days = 3
max_quarantined_fraction = 0.1

[source.chat]
path = "landing/chat/{date}.csv"
format = "azure"
archetype = "chat"
fleet = "assistant"

[source.agent]
path = "landing/agent/{date}.jsonl"
format = "mooncake"
clock_start = 2026-01-05T00:00:00Z
archetype = "agent"
fleet = "assistant"

[fleet.assistant]
model = "llama-2-7b"
slo_ttft_p99_s = 2.0
profiles = ["a100-llama2-7b"]
max_context_tokens = 65536
"""


def azure_lines(day: date, n: int = REQUESTS_PER_FILE) -> list[str]:
    """Rows of the Azure format, one every 30 minutes, all different."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    times = [start + timedelta(minutes=30 * i, microseconds=i) for i in range(n)]
    return [f"{time:%Y-%m-%d %H:%M:%S.%f}0,{100 + 37 * i},{10 + i}" for i, time in enumerate(times)]


def mooncake_lines(day: date, n: int = REQUESTS_PER_FILE) -> list[str]:
    """Rows of the Mooncake format on a clock that starts with the first day."""
    start_ms = (day - FIRST_DAY).days * 86_400_000
    return [
        json.dumps({"timestamp": start_ms + 1_800_000 * i + i, "input_length": 3000 + 61 * i, "output_length": 50 + i})
        for i in range(n)
    ]


@dataclass(frozen=True)
class Project:
    """One configuration and data directory, with the landing files beside them."""

    root: Path
    data_name: str = "data"

    @classmethod
    def create(cls, root: Path) -> "Project":
        project = cls(root)
        (root / "fleetopt.toml").write_text(CONFIG)
        for day in DAYS:
            project.land(day)
        return project

    def land(self, day: date) -> None:
        """Write good logs of a day, with a line that repeats and a broken one."""
        chat = azure_lines(day)
        chat = [*chat[:5], chat[4], *chat[5:], f"{day} 12:00:00.0000000,many,3"]
        header = "TIMESTAMP,ContextTokens,GeneratedTokens"
        self.write("chat", day, "\r\n".join([header, *chat]).encode())
        self.write("agent", day, "".join(line + "\n" for line in mooncake_lines(day)).encode())

    def landing(self, source: str, day: date) -> Path:
        return self.root / "landing" / source / f"{day}.{'csv' if source == 'chat' else 'jsonl'}"

    def write(self, source: str, day: date, content: bytes) -> None:
        path = self.landing(source, day)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def with_other_data(self, data_name: str) -> "Project":
        """The same logs and configuration over another data directory."""
        return Project(self.root, data_name)

    @cached_property
    def settings(self) -> Settings:
        return load_settings(self.root / "fleetopt.toml", self.root / self.data_name)

    @cached_property
    def defs(self) -> dg.Definitions:
        return build_defs(self.settings)

    @cached_property
    def tables(self) -> TableStore:
        return TableStore(self.settings.tables_root)

    def ingest(self, day: date, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
        """Run ``ingest_day`` for a day."""
        job = self.defs.resolve_job_def("ingest_day")
        return job.execute_in_process(partition_key=str(day), instance=instance, raise_on_error=False)

    def rows(self, table: str, day: date | None = None) -> pl.DataFrame:
        """Rows of a table (of a day), in a fixed order."""
        return self.tables.read(table, day, day).collect().sort(TABLES[table].key)


def failed_checks(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Checks that failed: name -> summary."""
    return {
        check.check_name: str(check.metadata["summary"].value)
        for check in result.get_asset_check_evaluations()
        if not check.passed
    }


def assert_same_tables(left: Project, right: Project) -> None:
    """All tables that ingestion writes hold the same rows, types included."""
    for table in TABLES_OF_A_DAY:
        assert_frame_equal(left.rows(table), right.rows(table))
