"""Speed of ingest beside Polars' bare reading, and its memory: ``python -m tests.benchmarks.ingest_speed [options]``.

A day of made-up logs is read in turn, in processes of their own, by

* Polars alone: ``scan_csv(...).sink_parquet(...)`` or ``scan_ndjson(...).sink_parquet(...)``, nothing checked;
* the raw layer: lines parsed, hashed and counted, bad ones quarantined, the file's SHA-256, Parquet written;
* the whole job ``ingest_day``: the raw layer, repeats removed, Delta tables, audit and Great Expectations on all rows,
  core and its histograms.

Each process first does the same with a few lines, so that imports and compilation are not in it. Printed are medians
of wall time over the rounds, the ratio of Polars' to ours, the share of Great Expectations, and peak resident memory
(the kernel's high-water mark). ``--formats azure,mooncake --lines N --rounds R --dirty`` (1 % of lines are bad).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from tests.benchmarks.log_files import day_config, write_azure, write_mooncake

TARGETS = {"raw": 0.35, "all": 0.2}
MEMORY_TARGET_MIB = 1536
ROUNDS = 5
PEAK = """
def peak_mib():  # not ru_maxrss, which also knows what the parent held when it forked
    status = open("/proc/self/status").read()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
"""
BARE = """
import json, sys, time
import polars as pl
scan = pl.scan_csv if sys.argv[1].endswith("csv") else pl.scan_ndjson
scan(sys.argv[2]).sink_parquet(sys.argv[3])
start, used = time.perf_counter(), time.process_time()
scan(sys.argv[1]).sink_parquet(sys.argv[3])
print(json.dumps({"wall_s": time.perf_counter() - start, "processor_s": time.process_time() - used,
                  "peak_mib": peak_mib()}))
"""
OURS = """
import json, sys, time
from datetime import date
from pathlib import Path
import dagster as dg
from assets.raw import CODE_VERSION
from pipelines.build import build_defs
from pipelines.progress import sampled_memory, step_costs
from pipelines.resources.raw_files import RawFiles
from pipelines.resources.settings import load_settings
from pipelines.resources.sources import Landing

def run(what, config, data, day=date(2025, 11, 1)):
    settings = load_settings(Path(config), Path(data))
    if what == "raw":
        start, used = time.perf_counter(), time.process_time()
        Landing(settings, RawFiles(settings.paths.raw)).ingest("log", day, CODE_VERSION)
        return time.perf_counter() - start, time.process_time() - used, 0.0
    job = build_defs(settings).resolve_job_def("ingest_day")
    with dg.DagsterInstance.ephemeral() as instance, sampled_memory() as samples:
        start, used = time.perf_counter(), time.process_time()
        result = job.execute_in_process(instance=instance, partition_key=str(day))
        wall_s, processor_s = time.perf_counter() - start, time.process_time() - used
        steps = step_costs(instance, result.run_id, samples)
    for step in steps:
        print(f"  {step.step}: {step.wall_s:.2f} s, {step.peak_rss_mib:,.0f} MiB", file=sys.stderr)
    return wall_s, processor_s, sum(step.wall_s for step in steps if "expectations" in step.step)

what, config, warm_config, data = sys.argv[1:]
run(what, warm_config, data + "-warm")
wall_s, processor_s, checks_s = run(what, config, data)
print(json.dumps({"wall_s": wall_s, "processor_s": processor_s, "checks_s": checks_s,
                  "peak_mib": peak_mib()}))
"""


def child(code: str, *arguments: object, verbose: bool = False) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", PEAK + code, *map(str, arguments)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr[-4000:])
    if verbose:
        print("\n".join(line for line in done.stderr.splitlines() if line.startswith("  ") and " MiB" in line))
    return json.loads(done.stdout.splitlines()[-1])


def measure(log_format: str, n_lines: int, rounds: int, dirty: bool, steps: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        name = "log.csv" if log_format == "azure" else "log.jsonl"
        configs = []
        for part, lines in (("big", n_lines), ("warm", 20_000)):
            directory = root / part
            directory.mkdir()
            if log_format == "azure":
                write_azure(directory / name, lines, 0.01 if dirty else 0.0)
            else:
                write_mooncake(directory / name, lines)
            configs.append(day_config(directory, log_format, name))
        big, warm = (root / part / name for part in ("big", "warm"))
        taken: dict[str, list[dict[str, float]]] = {"bare": [], "raw": [], "all": []}
        for number in range(rounds):
            taken["bare"].append(child(BARE, big, warm, root / "bare.parquet"))
            for what in ("raw", "all"):
                data = root / f"{what}-{number}"
                taken[what].append(child(OURS, what, *configs, data, verbose=steps and what == "all"))
                subprocess.run(["rm", "-rf", str(data)], check=True)
        report(log_format, n_lines, dirty, taken, big.stat().st_size)


def report(log_format: str, n_lines: int, dirty: bool, taken: dict[str, list[dict[str, float]]], size: int) -> None:
    bare_s, bare_processor_s = (median(run[key] for run in taken["bare"]) for key in ("wall_s", "processor_s"))
    print(
        f"{log_format}, {n_lines:,} lines ({size / 2**20:,.0f} MiB), {'1 % bad' if dirty else 'clean'}; Polars alone "
        f"{bare_s:.2f} s, {bare_processor_s:.2f} s of processor time, "
        f"{max(run['peak_mib'] for run in taken['bare']):,.0f} MiB"
    )
    for what, target in TARGETS.items():
        runs = taken[what]
        wall_s, processor_s, checks_s = (
            median(run[key] for run in runs) for key in ("wall_s", "processor_s", "checks_s")
        )
        peak_mib, ratio = max(run["peak_mib"] for run in runs), bare_s / wall_s
        print(
            f"  {what}: {wall_s:.2f} s, {n_lines / wall_s / 1e6:.2f} million lines/s; ratio {ratio:.2f}, "
            f"target {target} {'met' if ratio >= target else 'MISSED'} "
            f"(of processor times {bare_processor_s / processor_s:.2f}); "
            f"Great Expectations {checks_s:.2f} s ({checks_s / wall_s:.0%}); peak {peak_mib:,.0f} MiB, target "
            f"{MEMORY_TARGET_MIB:,} {'met' if peak_mib <= MEMORY_TARGET_MIB else 'MISSED'}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--formats", default="azure,mooncake")
    parser.add_argument("--lines", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--dirty", action="store_true")
    parser.add_argument("--steps", action="store_true", help="also print what each step of the job takes")
    options = parser.parse_args()
    for log_format in options.formats.split(","):
        measure(log_format, options.lines, options.rounds, options.dirty, options.steps)


if __name__ == "__main__":
    main()
