"""Frozen files of published versions, and the marks of those that no longer stand.

``<fleet>/<day>/<version>/`` is written once; ``<version>.superseded.json`` beside it says that the version was replaced
or withdrawn, and by what.
"""

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

from assets.files import write_atomically
from fleetopt.reporting.document import Document
from fleetopt.reporting.feed import feed_files


class PublishedVersionChangedError(Exception):
    """A frozen file is not what was published; somebody changed it, and it is not overwritten."""


def version_directory(root: Path, fleet: str, day: date, version: str) -> Path:
    """Where the files of a version are."""
    return root / fleet / day.isoformat() / version


def publish(directory: Path, document: Document, side: dict[str, Any]) -> None:
    """Write the files of a version, all at once; a version that is there already stays as it is.

    Raises
    ------
    PublishedVersionChangedError
        A file of the version is there and differs.
    """
    files = feed_files(document)
    if directory.exists():
        for name, content in files.items():
            file = directory / name
            if not file.exists() or file.read_bytes() != content:
                raise PublishedVersionChangedError(
                    f"{directory / name}: differs from what version {document['version']} published; frozen files are "
                    "never overwritten: restore it or move the directory away"
                )
        return
    temporary = directory.with_name(f".{directory.name}.{uuid4().hex}")
    temporary.mkdir(parents=True)
    try:
        for name, content in files.items():
            (temporary / name).write_bytes(content)
        (temporary / "provenance.json").write_text(json.dumps(side, indent=2, sort_keys=True) + "\n", "utf-8")
        temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def mark_superseded(directory: Path, at: str) -> None:
    """Mark the other versions of the same fleet and day as replaced by this one, and this one as standing."""
    _mark(directory).unlink(missing_ok=True)
    for other in _versions(directory.parent):
        if other != directory:
            _write_mark(other, directory.name, "the day was planned again from other inputs", at)


def mark_withdrawn(published: Path, day: date, at: str) -> None:
    """Mark every version of a day, of all fleets, as withdrawn: the day is read and audited anew.

    A version that comes out again unchanged is unmarked when it is published.
    """
    for versions in sorted(published.glob(f"*/{day.isoformat()}")):
        for directory in _versions(versions):
            _write_mark(directory, None, "the day was read anew, and not planned again since", at)


def stands_alone(directory: Path) -> bool:
    """Whether a version is there, unmarked, and every other one of its fleet and day is marked."""
    if not directory.is_dir() or _mark(directory).exists():
        return False
    return all(_mark(other).exists() for other in _versions(directory.parent) if other != directory)


def _versions(parent: Path) -> list[Path]:
    return sorted(found for found in parent.iterdir() if found.is_dir() and not found.name.startswith("."))


def _write_mark(directory: Path, by: str | None, reason: str, at: str) -> None:
    notice = {"version": directory.name, "superseded_by": by, "reason": reason, "at": at}
    write_atomically(_mark(directory), (json.dumps(notice, indent=2, sort_keys=True) + "\n").encode())


def _mark(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.superseded.json")
