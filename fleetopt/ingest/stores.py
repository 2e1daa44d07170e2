"""Files in object stores: ``s3://``, ``gs://`` and ``abfss://``, listed and read by deltalake's own support for them.

It is the one that the tables use, so logs and tables are reached with the same variables of the environment:
``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_REGION``, ``AWS_ENDPOINT_URL`` and ``AWS_ALLOW_HTTP`` for other
servers than Amazon's; ``GOOGLE_SERVICE_ACCOUNT`` or ``GOOGLE_APPLICATION_CREDENTIALS``;
``AZURE_STORAGE_ACCOUNT_NAME``, ``AZURE_STORAGE_ACCOUNT_KEY`` and the like. Nothing of them is kept or shown: of a
store's answer a message holds the status only.
"""

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Final, TypeVar, cast

import pyarrow as pa
from pyarrow import fs

from fleetopt.errors import InputError

SCHEMES: Final = ("abfss", "gs", "s3")

_READ_BYTES: Final = 8 << 20
"""Bytes that are asked for at a time."""

_OPTIONS: Final = {"max_retries": "5", "retry_timeout": "60s", "timeout": "60s"}
"""A server that does not answer is given up after minutes, not after an hour."""

_STATUS = re.compile(r"\b[45]\d\d [A-Z][a-z]+(?: [A-Z][a-z]+)*")
_WORDS: Final = (
    ("Connection refused", "connection refused"),
    ("dns error", "the server's name is not known"),
    ("169.254.", "no credentials in the environment"),
    ("credential", "the credentials in the environment are missing, incomplete or wrong"),
    ("Access Key", "the credentials in the environment are missing, incomplete or wrong"),
    ("Account must be", "no account is named, neither in the URL nor in the environment"),
    ("empty path segment", "a name with an empty part ('//') is there, which cannot be listed"),
    ("timed out", "no answer in time"),
    ("error sending request", "no connection"),
)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of an object store: its URL, its bytes, and when it was put there (nanoseconds since 1970)."""

    url: str
    size: int
    mtime_ns: int


def is_stored(url: str) -> bool:
    """Whether a path is a URL of an object store."""
    return url.partition("://")[0] in SCHEMES and "://" in url


def check_url(url: str) -> None:
    """Refuse a URL that names no bucket, or holds more than a bucket and a path.

    Raises
    ------
    InputError
    """
    scheme, _, rest = url.partition("://")
    bucket, _, path = rest.partition("/")
    if ":" in bucket or ("@" in bucket and scheme != "abfss"):
        raise InputError(
            f"{scheme}://...: holds a port or credentials in front of the path; give those through the environment"
        )
    if not bucket or "*" in bucket:
        raise InputError(f"{url}: names no bucket; write {scheme}://bucket/path")
    if "?" in path or "#" in path:
        raise InputError(f"{url.partition('?')[0]}: '?' and '#' cannot stand in a path; options go in the environment")


def find_stored(pattern: str) -> list[StoredFile]:
    """List the files that a URL with ``*`` and ``**`` matches, sorted by URL; hidden ones only where it names them.

    Folders that cannot hold a match are not looked into.

    Raises
    ------
    InputError
        If the store cannot be reached, or does not let us.
    """
    filesystem, root, path = _opened(pattern)
    parts = path.split("/")
    wild = next((i for i, part in enumerate(parts) if "**" in part), len(parts) - 1)

    def found() -> Iterator[StoredFile]:
        for folder in _folders(filesystem, parts[:wild]):
            for info in _infos(filesystem, folder, parts[wild], recursive="**" in parts[wild]):
                if info.type == fs.FileType.File and is_match(path, info.path):
                    yield StoredFile(f"{root}/{info.path}", info.size, info.mtime_ns)

    return _asked(pattern, lambda: sorted(found(), key=lambda file: file.url))


def is_match(pattern: str, url: str) -> bool:
    """Whether a file is of those that `find_stored` lists for a pattern."""
    is_hidden = PurePosixPath(url).name.startswith(".") and not PurePosixPath(pattern).name.startswith(".")
    return re.fullmatch(_regex(pattern), url) is not None and not is_hidden


def open_stored(url: str) -> BinaryIO:
    """Open a file to be read once from its beginning, as it lies. Reading raises InputError where the store fails.

    Raises
    ------
    InputError
        If it is missing or cannot be read.
    """
    filesystem, _, path = _opened(url)
    # No decompression by name: it is told by content.
    file = _asked(url, lambda: filesystem.open_input_stream(path, compression=None))
    return cast(BinaryIO, io.BufferedReader(_Reader(file, url), _READ_BYTES))


def file_system(url: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a URL's bucket, and the path in it."""
    filesystem, _, path = _opened(url)
    return filesystem, path


class _Reader(io.RawIOBase):
    def __init__(self, file: pa.NativeFile, url: str) -> None:
        self._file = file
        self._url = url

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)
        data = _asked(self._url, lambda: self._file.read(len(view)))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _opened(url: str) -> tuple[fs.FileSystem, str, str]:
    """Return the file system of a URL's bucket, the bucket's URL, and the path in it."""
    # Imported here: it takes a while, and those who read files on disks need none of it.
    from deltalake.fs import DeltaStorageHandler  # noqa: PLC0415

    scheme, _, rest = url.partition("://")
    bucket, _, path = rest.partition("/")
    root = f"{scheme}://{bucket}"
    return _asked(url, lambda: fs.PyFileSystem(DeltaStorageHandler(root, options=_OPTIONS))), root, path


def _folders(filesystem: fs.FileSystem, parts: list[str]) -> list[str]:
    """Return the folders that the leading parts of a pattern match."""
    folders = [""]
    for part in parts:
        if "*" not in part:
            folders = [f"{folder}/{part}".lstrip("/") for folder in folders]
            continue
        matches = re.compile(_regex(part)).fullmatch
        folders = [
            info.path
            for folder in folders
            for info in _infos(filesystem, folder, part)
            if info.type == fs.FileType.Directory and matches(PurePosixPath(info.path).name)
        ]
    return folders


def _infos(filesystem: fs.FileSystem, folder: str, part: str, *, recursive: bool = False) -> list[fs.FileInfo]:
    if "*" not in part:
        return cast(list[fs.FileInfo], filesystem.get_file_info([f"{folder}/{part}".lstrip("/")]))
    selector = fs.FileSelector(folder, allow_not_found=True, recursive=recursive)
    return cast(list[fs.FileInfo], filesystem.get_file_info(selector))


def _regex(pattern: str) -> str:
    translated = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    return "".join(translated.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*\*|\*)", pattern))


def _asked(url: str, ask: Callable[[], _T]) -> _T:
    """Ask a store; an answer that is an error becomes one line that says what it is and nothing else."""
    try:
        return ask()
    except FileNotFoundError:
        raise InputError(f"{url}: cannot be read: no such file") from None
    except InputError:
        raise
    except Exception as error:
        text = str(error)
        status = _STATUS.search(text)
        known = next((words for sign, words in _WORDS if sign in text), type(error).__name__)
        raise InputError(f"{url}: cannot be read: {f'status {status[0]}' if status else known}") from None
