"""What the tests of ingest share."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from fleetopt.ingest.landing import landing_files, read_file
from fleetopt.ingest.lines import BATCH_BYTES
from fleetopt.ingest.parts import PartsWriter

KEY = b"a key"
START = datetime(2023, 11, 16, 18, 0, tzinfo=UTC)
HEADER = b"TIMESTAMP,ContextTokens,GeneratedTokens"


def read_day(name, source, day, *, config_dir, data_dir, hash_key=KEY, batch_bytes=BATCH_BYTES, readings=None):
    """Records of a source and day in order of file and line; ``readings`` is given what was found in each file."""
    with tempfile.TemporaryDirectory() as place, PartsWriter(Path(place)) as writer:
        for found in landing_files(source, name, day, config_dir, data_dir):
            options = {"hash_key": hash_key, "day": day, "writer": writer, "batch_bytes": batch_bytes}
            reading = read_file(found, name, source, **options)
            if readings is not None:
                readings[found.file] = reading
        rows = writer.finish("parts").scan().collect()
    return rows.sort("file", "line_number", "record_number")
