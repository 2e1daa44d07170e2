"""Big log files, made up, for the benchmarks of ingest: written in pieces, so that any size fits in memory."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

DAY = datetime(2025, 11, 1, tzinfo=UTC)
_PIECE_LINES = 1_000_000
_DAY_US = 86_400_000_000


def write_azure(path: Path, n_lines: int, bad_fraction: float = 0.0) -> None:
    """Write a day of lines as the Azure traces have them: in order of time, seven fractional digits."""
    rng = np.random.default_rng(20251101)
    with path.open("wb") as file:
        file.write(b"TIMESTAMP,ContextTokens,GeneratedTokens\n")
        for start in range(0, n_lines, _PIECE_LINES):
            n = min(_PIECE_LINES, n_lines - start)
            first_us, last_us = (_DAY_US * edge // n_lines for edge in (start, start + n))
            arrival = pl.Series("us", np.sort(rng.integers(first_us, last_us, n)))
            lengths = {
                "ContextTokens": 1 + rng.lognormal(7, 1, n).astype(np.int64),
                "GeneratedTokens": 1 + rng.lognormal(5, 1, n).astype(np.int64),
            }
            time = (pl.lit(DAY) + pl.duration(microseconds=arrival)).dt.strftime("%Y-%m-%d %H:%M:%S%.6f") + "0"
            frame = pl.DataFrame(lengths).select(time.alias("TIMESTAMP"), *lengths)
            if bad_fraction:
                is_bad = pl.Series(rng.random(n) < bad_fraction)
                frame = frame.with_columns(
                    ContextTokens=pl.when(is_bad)
                    .then(pl.lit("many"))
                    .otherwise(pl.col("ContextTokens").cast(pl.String))
                )
            frame.write_csv(file, include_header=False)


def write_mooncake(path: Path, n_lines: int) -> None:
    """Write lines as the Mooncake trace has them: some 250 bytes, most of them hashes of blocks, in batches of 3 s."""
    rng = np.random.default_rng(20251102)
    with path.open("w") as file:
        for start in range(0, n_lines, _PIECE_LINES):
            n = min(_PIECE_LINES, n_lines - start)
            offset_ms = np.sort(rng.integers(86_400_000 * start // n_lines, 86_400_000 * (start + n) // n_lines, n))
            prompt = 1 + rng.lognormal(8.7, 1, n).astype(np.int64)
            output = 1 + rng.lognormal(5, 1, n).astype(np.int64)
            hashes = rng.integers(0, 200_000, int((prompt // 512 + 1).sum())).tolist()
            position = 0
            lines = []
            for time_ms, prompt_tokens, output_tokens in zip(
                (offset_ms // 3000 * 3000).tolist(), prompt.tolist(), output.tolist(), strict=True
            ):
                blocks = prompt_tokens // 512 + 1
                record = {
                    "timestamp": time_ms,
                    "input_length": prompt_tokens,
                    "output_length": output_tokens,
                    "hash_ids": hashes[position : position + blocks],
                }
                position += blocks
                lines.append(json.dumps(record) + "\n")
            file.writelines(lines)


def day_config(directory: Path, log_format: str, file_name: str) -> Path:
    """Write a configuration whose one source is a file of the day, and return its path."""
    start = f"clock_start = {DAY:%Y-%m-%dT%H:%M:%SZ}\n" if log_format == "mooncake" else ""
    config = directory / "fleetopt.toml"
    config.write_text(
        f"[pipeline]\nfirst_day = {DAY:%Y-%m-%d}\nmax_quarantined_fraction = 0.5\n\n"
        f'[source.log]\npath = "{file_name}"\nformat = "{log_format}"\n{start}archetype = "chat"\n'
        'fleet = "assistant"\n\n[fleet.assistant]\nmodel = "m"\nslo_ttft_p99_s = 4.0\n'
        'profiles = ["a100-llama2-7b"]\nmax_context_tokens = 65536\n'
    )
    return config
