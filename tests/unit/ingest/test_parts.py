"""Parts appear whole or not at all, hold what was put in, and are read in slices of time."""

import errno
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from fleetopt.ingest.parts import PART_SCHEMA, PartsWriter, open_parts

START = datetime(2026, 1, 5, tzinfo=UTC)


def rows(n: int, seed: int = 0) -> pl.DataFrame:
    """Records a few seconds apart in a mixed order, of two files; every tenth has no time."""
    index = pl.Series(range(n)).shuffle(seed)
    frame = pl.DataFrame(
        {
            "line_number": index,
            "file": index.map_elements(lambda i: f"{i % 2}.csv", return_dtype=pl.String),
            "arrival_time": [None if i % 10 == 0 else START + timedelta(seconds=7 * i) for i in index],
            "reason": ["bad_time" if i % 10 == 0 else None for i in index],
            "outcome": [None if i % 10 == 0 else "served" for i in index],
            "key_hi": index,
            "key_lo": index * -3,
        }
    )
    constants = {"record_number": 1, "has_id": False, "is_finish_time": None}
    known = frame.with_columns(
        pl.lit(constants.get(name), dtype=dtype).alias(name)
        for name, dtype in PART_SCHEMA.items()
        if name not in frame.columns
    )
    return known.select(PART_SCHEMA.names())


def written(place: Path, frames: list[pl.DataFrame], part_rows: int = 100) -> Path:
    with PartsWriter(place, part_rows) as writer:
        for frame in frames:
            writer.add(frame)
        return writer.finish("done").directory


def test_what_is_put_in_is_read_again_each_row_in_one_slice(tmp_path):
    whole = rows(1000)
    parts = open_parts(written(tmp_path, [whole.slice(begin, 90) for begin in range(0, 1000, 90)]))
    assert parts.rows == 1000
    assert len(parts.files) > 5
    read = pl.concat([frame for cut in parts.slices(64) for frame in parts.read(cut)])
    for found in (read, parts.scan().collect()):
        assert_frame_equal(found.sort("line_number"), whole.sort("line_number"))
    for cut in parts.slices(64):
        assert sum(frame.height for frame in parts.read(cut)) <= 64 or cut.pieces > 1
    assert [path.name for path in tmp_path.iterdir()] == ["done"]


def test_no_rows_are_parts_too(tmp_path):
    parts = open_parts(written(tmp_path, []))
    assert (parts.rows, parts.slices(), parts.scan().collect().height) == (0, [], 0)
    assert parts.scan().collect_schema() == PART_SCHEMA


def test_what_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match="No space left"):
        written(tmp_path, [rows(300)])
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_writers_of_the_same_state_counts(tmp_path):
    frame = rows(50)
    with PartsWriter(tmp_path) as slow, PartsWriter(tmp_path) as fast:
        slow.add(frame)
        fast.add(frame)
        inode = fast.finish("same").directory.stat().st_ino
        assert slow.finish("same").directory.stat().st_ino == inode
    assert [path.name for path in tmp_path.iterdir()] == ["same"]


KILLED = """
import os, signal, sys
from pathlib import Path
from fleetopt.ingest.parts import PartsWriter
from tests.unit.ingest.test_parts import rows

with PartsWriter(Path(sys.argv[1]), 100) as writer:
    writer.add(rows(300))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_is_removed_and_what_a_live_one_writes_is_not(tmp_path):
    root = Path(__file__).resolve().parents[3]
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=root, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    left = {path.suffix for path in tmp_path.iterdir()}
    assert left == {".parts", ".lock"}
    with PartsWriter(tmp_path) as live:
        live.add(rows(10))
        assert len(list(tmp_path.iterdir())) == 2  # its own
        written(tmp_path, [rows(20)])
        assert live.finish("live").rows == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["done", "live"]
