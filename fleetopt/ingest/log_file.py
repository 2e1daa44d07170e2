"""A log file, opened to be read once: its text or its Parquet, how far it was read, and its hash as it lies."""

import shutil
import tempfile
from contextlib import ExitStack
from types import TracebackType
from typing import BinaryIO, Final, Self, cast

from fleetopt.ingest.compression import MAGIC_BYTES, HashingStream, decompressed, kind_of
from fleetopt.ingest.places import open_file, shown_file

_COPIED_BYTES: Final = 1 << 20


class LogFile:
    """One file, to be read once from its beginning. A context manager.

    Parameters
    ----------
    file : str
        A name that `fleetopt.ingest.places.find_files` listed.

    Attributes
    ----------
    stream : BinaryIO
        Its text, decompressed; of a Parquet file, the file itself, which can seek.
    is_parquet : bool

    Raises
    ------
    InputError
        If it cannot be opened.
    """

    def __init__(self, file: str) -> None:
        with ExitStack() as opened:
            raw = opened.enter_context(open_file(file))
            self._hashing = HashingStream(raw)
            self.is_parquet = kind_of(self._hashing.head(MAGIC_BYTES)) == "parquet"
            self.stream = (
                self._seekable(raw, opened) if self.is_parquet else decompressed(self._hashing, shown_file(file))
            )
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    @property
    def position(self) -> int:
        """Bytes of the file as it lies that were read so far."""
        return self._hashing.size

    def sha256(self) -> str:
        """SHA-256 of the file as it lies, hex; what has not been read is read now."""
        return self._hashing.sha256()

    def _seekable(self, raw: BinaryIO, opened: ExitStack) -> BinaryIO:
        """Read the whole file once for its hash; what cannot seek is copied to the disk along the way."""
        if raw.seekable():
            self.sha256()
            raw.seek(0)
            return raw
        copy = cast(BinaryIO, opened.enter_context(tempfile.TemporaryFile()))  # noqa: SIM115  # closed with the log
        shutil.copyfileobj(self._hashing, copy, _COPIED_BYTES)
        copy.seek(0)
        return copy
