"""Files that commands read and write."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from fleetopt.errors import InputError

if TYPE_CHECKING:
    import polars as pl

    from fleetopt.profiles import GpuProfile
    from fleetopt.simulator import Fleet


def read_text(path: Path) -> str:
    """Read a UTF-8 text file.

    Raises
    ------
    InputError
        If it cannot be read or is not UTF-8.
    """
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def read_parquet(path: Path) -> "pl.DataFrame":
    """Read a Parquet file.

    Raises
    ------
    InputError
        If there is none, or it is not one.
    """
    import polars as pl

    if not path.is_file():
        raise InputError(f"{path}: {'is a directory; name a file in it' if path.is_dir() else 'no such file'}")
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"{path}: not a readable Parquet file ({error}); `fleetopt ingest` writes requests.parquet from logs"
        ) from error


def require_writable(path: Path | None) -> None:
    """Check that a file can be put there before the work that makes it.

    Raises
    ------
    InputError
        If its directory does not exist, or it is a directory itself.
    """
    if path is None:
        return
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no directory {path.parent}")
    if path.is_dir():
        raise InputError(f"{path}: is a directory; name a file in it")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: the directory {path.parent} is not writable; name another")


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file at once or not at all.

    Parameters
    ----------
    path : Path
    write : callable
        Writes the content to the path that it is given.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    require_writable(path)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or 'the system refuses'}") from error
    finally:
        temporary.unlink(missing_ok=True)


def load_profile(name: str, folder: Path = Path()) -> "GpuProfile":
    """A profile of the catalogue, or one from a TOML file.

    Parameters
    ----------
    name : str
    folder : Path
        Where relative paths start.

    Raises
    ------
    InputError
        If there is none of that name, or the file is missing or wrong.
    """
    from fleetopt.profiles import load_profile, parse_profile

    if name.endswith(".toml") or "/" in name:
        path = folder / name
        return parse_profile(read_text(path), str(path))
    return load_profile(name)


def load_fleet(path: Path) -> "Fleet":
    """A fleet from its file; profiles that it names by path are looked for beside it.

    Raises
    ------
    InputError
        One line that names the file, the key and what to do.
    """
    from fleetopt.simulator.fleet_file import parse_fleet

    return parse_fleet(read_text(path), str(path), lambda name: load_profile(name, path.parent))
