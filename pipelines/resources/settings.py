"""What a run is told from outside: the configuration file, the data directory, the key of the line hashes."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from fleetopt.config import Config, parse_config
from fleetopt.errors import InputError
from fleetopt.ingest.lines import PUBLIC_HASH_KEY
from pipelines.resources.paths import PROJECT_ROOT, DataPaths, data_paths
from pipelines.resources.table_files import parse_root


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration and where it came from.

    Attributes
    ----------
    config : fleetopt.config.Config
    config_path : pathlib.Path
        Relative paths of sources start in its directory.
    paths : DataPaths
    hash_key : bytes
        Key of the line hashes; at most 64 bytes are used by BLAKE2b.
    uses_public_hash_key : bool
        Whether the documented default key is in use.
    """

    config: Config
    config_path: Path
    paths: DataPaths
    hash_key: bytes = field(default=PUBLIC_HASH_KEY, repr=False)
    uses_public_hash_key: bool = True

    @property
    def data_dir(self) -> Path:
        """The data directory."""
        return self.paths.root

    @property
    def tables_root(self) -> Path | str:
        """Where the Delta tables are: a directory, or a URL of an object store."""
        return parse_root(self.config.pipeline.tables, self.config_dir, self.data_dir)

    @property
    def config_dir(self) -> Path:
        """The directory that relative source paths start in."""
        return self.config_path.parent


def load_settings(config_path: Path, data_dir: Path | None = None) -> Settings:
    """Read a configuration file and the environment.

    Parameters
    ----------
    config_path : pathlib.Path
        TOML file.
    data_dir : pathlib.Path, optional
        Data directory; default ``data/`` in the checkout.

    Raises
    ------
    InputError
        The file cannot be read, is not valid, or ``FLEETOPT_HASH_KEY`` cannot be a key.
    """
    try:
        text = config_path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{config_path}: no such configuration file; name one with --config") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{config_path}: cannot read the configuration: {error}") from error
    key = os.environ.get("FLEETOPT_HASH_KEY", "").encode()
    if len(key) > 64:
        raise InputError(f"FLEETOPT_HASH_KEY: {len(key)} bytes; a key has at most 64")
    settings = Settings(
        config=parse_config(text, str(config_path)),
        config_path=config_path.resolve(),
        paths=data_paths(data_dir),
        hash_key=key or PUBLIC_HASH_KEY,
        uses_public_hash_key=not key,
    )
    try:
        _ = settings.tables_root
    except InputError as error:
        raise InputError(f"{config_path}: {error}") from None
    return settings


def settings_from_environment() -> Settings:
    """Read the settings that ``FLEETOPT_CONFIG`` and ``FLEETOPT_DATA`` name, for processes that Dagster starts.

    Without ``FLEETOPT_CONFIG`` it is ``fleetopt.toml`` in the working directory, else the one in the checkout.
    """
    named = os.environ.get("FLEETOPT_CONFIG")
    here = Path("fleetopt.toml")
    config_path = Path(named) if named else here if here.exists() else PROJECT_ROOT / "fleetopt.toml"
    data_dir = os.environ.get("FLEETOPT_DATA")
    return load_settings(config_path, Path(data_dir) if data_dir else None)
