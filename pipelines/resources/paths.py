"""Where things are: one data directory holds all that a run reads and writes."""

from dataclasses import dataclass
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
"""The checkout (or the place where the package is installed)."""


@dataclass(frozen=True, slots=True)
class DataPaths:
    """The layout below one data directory.

    Attributes
    ----------
    root : pathlib.Path
        The data directory itself; ``{data}`` in a source's path stands for it.
    """

    root: Path

    @property
    def raw(self) -> Path:
        """Immutable Parquet of parsed lines, per source and day."""
        return self.root / "raw"

    @property
    def tables(self) -> Path:
        """Delta tables, one directory per table, unless the configuration names another place."""
        return self.root / "tables"

    @property
    def published(self) -> Path:
        """Frozen procurement files, per day and version."""
        return self.root / "published"

    @property
    def reports(self) -> Path:
        """Reports for people."""
        return self.root / "reports"

    @property
    def expectations(self) -> Path:
        """The Great Expectations project and its Data Docs."""
        return self.root / "gx"

    @property
    def dagster(self) -> Path:
        """Dagster's own storage: runs, events, schedules, step logs."""
        return self.root / "dagster"


def data_paths(data_dir: Path | None = None) -> DataPaths:
    """Build the layout below a data directory, by default ``data/`` in the checkout."""
    return DataPaths((data_dir or PROJECT_ROOT / "data").expanduser().resolve())
