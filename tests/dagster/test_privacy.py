"""What people wrote, and who they are, is nowhere in what a run writes: not in tables, pages, events or error texts."""

import re
import shutil
import sqlite3
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from fleetopt.ingest.formats import detect_format, sample_of_lines
from pipelines.build import build_defs
from pipelines.resources.settings import load_settings

SAMPLES = Path(__file__).parents[2] / "data" / "samples"
PROMPT = "please-keep-this-private"
WHO = re.compile(rb"(?<![a-z])(?:user|team|tenant|sess|conv)-[0-9a-z]+")
"""How the samples name tenants and sessions."""

FLEET = """
[fleet.assistant]
model = "m"
slo_ttft_p99_s = 4.0
profiles = ["a100-llama2-7b"]
max_context_tokens = 65536
"""
CSV = f"""when,in,out,prompt,user
2026-10-05 08:00:01,12,3,{PROMPT},user-1
2026-10-05 08:00:02,many,3,{PROMPT},user-2
{PROMPT}
2026-10-05 08:00:03,13,3,"{PROMPT}
"""
MAPPING = """[source.own.mapping]
container = "csv"
time = "when"
prompt_tokens = "in"
output_tokens = "out"
tenant = "user"
"""


def samples():
    """Samples that hold text, format by format."""
    files = (file for file in SAMPLES.iterdir() if file.suffix in {".csv", ".jsonl"})
    return sorted(file for file in files if PROMPT.encode() in file.read_bytes())


@pytest.fixture
def project(tmp_path):
    """A project that reads every sample with text, one of them with lines that are broken in the middle of it."""
    text = "[pipeline]\nfirst_day = 2026-10-01\nmax_quarantined_fraction = 1.0\n"
    (tmp_path / "logs").mkdir()
    for file in samples():
        name, content = file.stem.lower(), file.read_bytes()
        broken = content.replace(b"please-keep", b'please-keep"}', 1) if file.suffix == ".jsonl" else b""
        (tmp_path / "logs" / file.name).write_bytes(content + b"\n" + broken)
        log_format = detect_format(sample_of_lines(content))
        start = "clock_start = 2026-10-05T00:00:00Z\n" if log_format.mapping.time.is_relative else ""
        text += (
            f'\n[source.{name}]\npath = "logs/{file.name}"\nformat = "{log_format.name}"\nmodels = ["*"]\n{start}'
            'archetype = "chat"\nfleet = "assistant"\n'
        )
    (tmp_path / "logs" / "own.csv").write_text(CSV)
    text += (
        f'\n[source.own]\npath = "logs/own.csv"\nformat = "mapping"\narchetype = "chat"\nfleet = "assistant"\n{MAPPING}'
    )
    (tmp_path / "fleetopt.toml").write_text(text + FLEET)
    return load_settings(tmp_path / "fleetopt.toml", tmp_path / "data")


def contents(path):
    """What a file holds, as bytes: of Parquet and SQLite what is stored in it."""
    yield path.read_bytes()
    if path.suffix == ".parquet":
        frame = pl.read_parquet(path, hive_partitioning=False)
        yield frame.select(pl.all().cast(pl.String)).write_csv().encode()
    if path.suffix == ".db":
        with sqlite3.connect(path) as database:
            yield "\n".join(database.iterdump()).encode()


@pytest.mark.slow
def test_text_tenants_and_sessions_are_nowhere(project, tmp_path, capfd):
    assert len(samples()) >= 6
    shutil.copytree(SAMPLES, tmp_path / "untouched")
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "home")) as instance:
        job = build_defs(project).resolve_job_def("ingest_day")
        days = [date(2026, 10, 5)]
        for day in days:
            result = job.execute_in_process(partition_key=str(day), instance=instance, raise_on_error=False)
            events = "\n".join(str(event) for event in result.all_events)
    written = [file for folder in ("data", "home") for file in (tmp_path / folder).rglob("*") if file.is_file()]
    assert any(file.suffix == ".parquet" for file in written)
    said = capfd.readouterr()
    for where, content in [
        *((str(file), content) for file in written for content in contents(file)),
        ("events", events.encode()),
        ("output", (said.out + said.err).encode()),
    ]:
        assert PROMPT.encode() not in content, where
        assert not WHO.search(content), (where, WHO.search(content))
