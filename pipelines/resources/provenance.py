"""What a result was made from: code, packages, versions of the input tables."""

import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipelines.resources.paths import PROJECT_ROOT
from pipelines.resources.tables import TableStore

UNKNOWN = "unknown"
PACKAGES = (
    "fleetopt",
    "dagster",
    "deltalake",
    "great-expectations",
    "numba",
    "numpy",
    "pandas",
    "polars",
    "pyarrow",
    "scipy",
)


@cache
def git_commit(root: Path = PROJECT_ROOT) -> str:
    """Hash of the checkout's commit, with ``+changes`` if tracked files differ; 'unknown' outside a checkout."""
    top = _git(root, "rev-parse", "--show-toplevel")
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    if top is None or commit is None or Path(top).resolve() != root.resolve():
        return UNKNOWN
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if changes else commit


def commit_metadata(run_id: str) -> dict[str, str]:
    """Say in the commit of a table which run and which code made it."""
    return {"dagster_run_id": run_id, "git_commit": git_commit()}


def package_versions() -> dict[str, str]:
    """Versions of the packages that results depend on."""
    return {name: _version(name) for name in PACKAGES}


class Provenance:
    """What a step of this process is made from, to be kept beside its result."""

    def __init__(self, tables: TableStore) -> None:
        self.tables = tables

    def commit_metadata(self, run_id: str) -> dict[str, str]:
        """Say in the commit of a table which run and which code made it."""
        return commit_metadata(run_id)

    def describe(self, input_tables: Iterable[str]) -> dict[str, Any]:
        """Commit, package versions, and Delta versions of the tables that were read, as they stand."""
        return {
            "git_commit": git_commit(),
            "packages": package_versions(),
            "delta_versions": input_versions(self.tables, input_tables),
        }


def input_versions(tables: TableStore, names: Iterable[str]) -> dict[str, int | None]:
    """Delta versions of tables as they stand; None for one that was never written."""
    return {name: tables.version(name) for name in names}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return UNKNOWN


def _git(root: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
