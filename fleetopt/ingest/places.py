"""Where log files are: local paths and ``file://``, object stores (with globs), and ``http(s)://`` URLs.

Credentials come from the environment (`fleetopt.ingest.stores`). A URL that holds a user or a password is refused, and
what a URL's query holds is masked wherever the URL is shown.
"""

import glob
import http.client
import re
import shutil
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, cast
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from urllib.request import url2pathname, urlopen

from fleetopt.errors import InputError
from fleetopt.ingest import stores

SCHEMES: Final = ("abfss", "file", "gs", "http", "https", "s3")
_HTTP_TIMEOUT_S: Final = 60
_IS_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class Place:
    """A pattern below a local directory, or a URL.

    Attributes
    ----------
    pattern : str
        Path, glob or URL, ``{date}`` still in it.
    root : pathlib.Path or None
        Directory that a local pattern starts at; None for a URL.
    """

    pattern: str
    root: Path | None

    def at(self, date: str) -> "Place":
        """Put something in the place of ``{date}``."""
        return Place(self.pattern.replace("{date}", date), self.root)

    @property
    def can_list(self) -> bool:
        """Whether a pattern can be looked up here; over HTTP it cannot."""
        return self.root is not None or not self.pattern.startswith("http")

    @property
    def shown(self) -> str:
        """The place as it may be written in messages."""
        return shown_url(self.pattern) if self.root is None else str(self.root / self.pattern)


def parse_place(path: str, config_dir: Path, data_dir: Path) -> Place:
    """Read a declared path: ``{data}`` is the data directory, relative paths start at the configuration file.

    Raises
    ------
    InputError
        If the scheme is unknown or a URL holds credentials.
    """
    if path.startswith("{data}/"):
        return Place(path.removeprefix("{data}/"), data_dir)
    path = path.replace("{data}", str(data_dir.absolute()))
    if not _IS_URL.match(path):
        return Place(path.lstrip("/"), Path("/")) if Path(path).is_absolute() else Place(path, config_dir)
    scheme = path.split("://")[0].lower()
    if scheme not in SCHEMES:
        raise InputError(f"unknown scheme '{scheme}://'; known: local paths, {', '.join(f'{s}://' for s in SCHEMES)}")
    if scheme in stores.SCHEMES:
        stores.check_url(path)
        return Place(path, None)
    if "@" in urlsplit(path).netloc:
        raise InputError(f"'{shown_url(path)}' holds credentials in the URL; give them through the environment")
    if scheme == "file":
        return Place(url2pathname(urlsplit(path).path).lstrip("/"), Path("/"))
    return Place(path, None)


def shown_url(url: str) -> str:
    """Return a URL as it may be written anywhere: no user or password, values in the query masked unless ISO dates."""
    if stores.is_stored(url):  # holds neither: `parse_place` has seen to it
        return url
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = urlencode([(key, value if _ISO_DATE.fullmatch(value) else "***") for key, value in pairs], safe="*")
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def shown_file(file: str) -> str:
    """Return a file's name or URL as it may be written anywhere."""
    return shown_url(file) if _IS_URL.match(file) else file


def find_files(place: Place) -> list[str]:
    """List the files that a pattern matches, sorted; hidden ones only where the pattern names them.

    Raises
    ------
    InputError
        If the place cannot be reached.
    """
    if place.root is not None:
        return _find_local(place.root, place.pattern)
    if place.pattern.startswith("http"):
        return [place.pattern] if _exists_http(place.pattern) else []
    return [file.url for file in stores.find_stored(place.pattern)]


def matching(place: Place, files: Collection[str]) -> set[str]:
    """Return those of some files, listed before by a wider pattern, that a pattern matches; a store is not asked again.

    Raises
    ------
    InputError
        If the place cannot be reached.
    """
    if stores.is_stored(place.pattern):
        return {file for file in files if stores.is_match(place.pattern, file)}
    return set(files) & set(find_files(place))


def open_file(file: str) -> BinaryIO:
    """Open a file that `find_files` listed, to be read once from its beginning.

    What comes over HTTP is taken whole to a temporary file first, so that a connection that breaks is an error and
    never a shorter file.

    Raises
    ------
    InputError
        If it is missing or cannot be read.
    """
    if not _IS_URL.match(file):
        try:
            return Path(file).open("rb")
        except OSError as error:
            raise InputError(f"{file}: {(error.strerror or 'cannot be read').lower()}") from error
    if file.startswith("http"):
        return _download(file)
    return stores.open_stored(file)


def stamp(file: str) -> tuple[int | None, int | None]:
    """Return a file's size in bytes and time of change in nanoseconds since 1970; None twice over HTTP.

    Raises
    ------
    InputError
        If it is missing or its place cannot be reached.
    """
    if not _IS_URL.match(file):
        try:
            found = Path(file).stat()
        except OSError as error:
            raise InputError(f"{file}: cannot be read: {(error.strerror or 'no reason given').lower()}") from None
        return found.st_size, found.st_mtime_ns
    if file.startswith("http"):
        return None, None
    if not (stored := stores.find_stored(file)):
        raise InputError(f"{file}: cannot be read: no such file")
    return stored[0].size, stored[0].mtime_ns


def _find_local(root: Path, pattern: str) -> list[str]:
    literal = root / pattern
    if literal.is_file():
        return [str(literal)]
    parts = PurePosixPath(pattern).parts
    n_literal = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    if n_literal == len(parts):
        return []
    found = root.joinpath(*parts[:n_literal]).glob(str(PurePosixPath(*parts[n_literal:])))
    names_hidden = parts[-1].startswith(".")
    return sorted(str(path) for path in found if path.is_file() and (names_hidden or not path.name.startswith(".")))


def _exists_http(url: str) -> bool:
    try:
        with urlopen(url, timeout=_HTTP_TIMEOUT_S):  # noqa: S310  # parse_place admits http and https only
            return True
    except (OSError, ValueError, http.client.HTTPException) as error:
        message = _unreachable(url, error)
        if isinstance(error, HTTPError) and error.code in {404, 410}:
            return False
        raise InputError(message) from None


def _download(url: str) -> BinaryIO:
    target = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115  # handed to the caller open
    try:
        _fetch(url, target)
    except BaseException:
        target.close()
        raise
    target.seek(0)
    return target


def _fetch(url: str, target: BinaryIO) -> None:
    try:
        with urlopen(url, timeout=_HTTP_TIMEOUT_S) as response:  # noqa: S310  # http and https only
            shutil.copyfileobj(response, target)
            announced = response.headers.get("Content-Length")
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InputError(_unreachable(url, error)) from None
    if announced is not None and target.tell() != int(announced):
        raise InputError(f"{shown_url(url)}: broke off after {target.tell()} of {announced} bytes; try again")


def _unreachable(url: str, error: Exception) -> str:
    """Say what went wrong without the error's own text where that could repeat what the URL holds."""
    if isinstance(error, HTTPError):
        error.close()
        detail = f"HTTP status {error.code}"
    elif isinstance(error, URLError) and isinstance(error.reason, OSError):
        detail = (error.reason.strerror or type(error.reason).__name__).lower()
    else:
        detail = type(error).__name__
    return f"{shown_url(url)}: cannot be read: {detail}"
