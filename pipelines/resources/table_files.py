"""Files of the tables, below a local directory or a URL of an object store.

Of a store, credentials, region and endpoint come from the environment alone; Polars and Delta read it themselves, so
that no object of ours ever holds a secret that could reach a log or a table. See `fleetopt.ingest.stores`.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import polars as pl
from pyarrow import fs

from fleetopt.errors import InputError
from fleetopt.ingest.columns import write_columns
from fleetopt.ingest.stores import SCHEMES, check_url, file_system

_ROW_GROUP_ROWS = 1 << 16
"""Polars reads several row groups ahead: with four times as many rows, looking at a day takes 0.3 GiB more."""


def parse_root(place: str, config_dir: Path, data_dir: Path) -> Path | str:
    """Read where the tables are declared to be: ``{data}`` is the data directory, a URL is one of an object store.

    Raises
    ------
    InputError
        If the scheme is unknown, or the URL holds more than a bucket and a path.
    """
    place = place.replace("{data}", str(data_dir))
    scheme, mark, _ = place.partition("://")
    if not mark:
        return config_dir / place
    if scheme not in SCHEMES:
        known = ", ".join(f"{known}://" for known in SCHEMES)
        raise InputError(f"pipeline.tables: unknown scheme '{scheme}://'; known: local paths, {known}")
    try:
        check_url(place)
    except InputError as error:
        raise InputError(f"pipeline.tables: {error}") from None
    return place.rstrip("/")


class TableFiles:
    """Files by their path below a root.

    Parameters
    ----------
    root : pathlib.Path or str
        A local directory, or a URL.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = root

    def uri(self, path: str) -> str:
        """Where a file or directory is, as Polars and Delta take it: a local path or a URL."""
        return f"{self.root}/{path}"

    def shown(self, path: str) -> str:
        """Where it is, as a URI that may be written anywhere."""
        return (self.root / path).absolute().as_uri() if isinstance(self.root, Path) else self.uri(path)

    def write(self, frame: pl.DataFrame, path: str) -> int:
        """Write a frame as a Parquet file; returns its size, bytes."""
        filesystem, place = self._locate(path)
        if isinstance(self.root, Path):
            filesystem.create_dir(place.rpartition("/")[0])
        write_columns(frame, place, row_group_rows=_ROW_GROUP_ROWS, filesystem=filesystem)
        return int(filesystem.get_file_info(place).size)

    def duplicate(self, path: str, new_path: str) -> None:
        """Give a file that is never changed a second name: a hard link, or a copy that the store makes itself."""
        filesystem, old = self._locate(path)
        _, new = self._locate(new_path)
        if isinstance(self.root, Path):
            filesystem.create_dir(new.rpartition("/")[0])
            try:
                os.link(old, new)
            except OSError:  # another disk, or a file system without links
                filesystem.copy_file(old, new)
            return
        # The store copies by itself. Of deltalake 1.6 the public method names an argument wrongly and always fails.
        filesystem.handler._handler.copy_file(old, new)

    def remove(self, paths: Iterable[str]) -> None:
        """Delete files; those that are not there are passed over."""
        for path in filter(self.is_there, paths):
            filesystem, place = self._locate(path)
            filesystem.delete_file(place)

    def is_there(self, path: str) -> bool:
        """Whether there is a file."""
        filesystem, place = self._locate(path)
        return bool(filesystem.get_file_info(place).type == fs.FileType.File)

    def _locate(self, path: str) -> tuple[fs.FileSystem, str]:
        if isinstance(self.root, Path):
            return fs.LocalFileSystem(), self.uri(path)
        return file_system(self.uri(path))
