"""A log file as it lies: hashed while it is read, decompressed by what is in it, not by its name."""

import gzip
import hashlib
import io
import shutil
import tempfile
import zlib
from contextlib import ExitStack
from types import TracebackType
from typing import BinaryIO, Final, Self, cast

import pyarrow as pa

from fleetopt.errors import InputError
from fleetopt.ingest.places import open_file, shown_file

_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_MAGIC_BYTES: Final = 4
_BLOCK_BYTES: Final = 1 << 20


class LogFile:
    """One file, to be read once from its beginning. A context manager.

    Attributes
    ----------
    stream : BinaryIO
        The decompressed file; of Parquet, one that can seek.
    is_parquet : bool

    Raises
    ------
    InputError
        If it cannot be opened. While it is read: if its compressed data are damaged or cut off.
    """

    def __init__(self, file: str) -> None:
        self._shown = shown_file(file)
        with ExitStack() as opened:
            raw = opened.enter_context(open_file(file))
            self._hashing = _HashingStream(raw)
            buffered = io.BufferedReader(self._hashing, _BLOCK_BYTES)
            magic = buffered.peek(_MAGIC_BYTES)[:_MAGIC_BYTES]
            self.is_parquet = magic == _PARQUET
            if self.is_parquet:
                self.stream = self._seekable(raw, buffered, opened)
            else:
                self.stream = self._decompressed(magic, buffered)
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
        return self._hashing.position

    def sha256(self) -> str:
        """SHA-256 of the file as it lies, hex; reads what was not read yet."""
        while self._hashing.read(_BLOCK_BYTES):
            pass
        return self._hashing.digest.hexdigest()

    def _decompressed(self, magic: bytes, raw: io.BufferedReader) -> BinaryIO:
        if magic.startswith(_GZIP):
            return cast(BinaryIO, _Checked(gzip.GzipFile(fileobj=raw), self._shown, "gzip"))
        if magic == _ZSTD:
            plain = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")
            return cast(BinaryIO, _Checked(plain, self._shown, "zstd"))
        return cast(BinaryIO, raw)

    def _seekable(self, raw: BinaryIO, buffered: io.BufferedReader, opened: ExitStack) -> BinaryIO:
        """Read the whole file once for its hash; what cannot seek is copied to the disk along the way."""
        if raw.seekable():
            self.sha256()
            raw.seek(0)
            return raw
        copy = cast(BinaryIO, opened.enter_context(tempfile.TemporaryFile()))
        shutil.copyfileobj(buffered, copy, _BLOCK_BYTES)
        copy.seek(0)
        return copy


class _HashingStream(io.RawIOBase):
    """Hashes what is read from a stream."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        block = self._stream.read(len(buffer))
        buffer[: len(block)] = block
        self.digest.update(block)
        self.position += len(block)
        return len(block)


class _Checked(io.RawIOBase):
    """A decompressed stream whose failures are the file's."""

    def __init__(self, stream: BinaryIO, shown: str, compression: str) -> None:
        self._stream, self._shown, self._compression = stream, shown, compression

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        try:
            block = self._stream.read(len(buffer))
        except (EOFError, OSError, zlib.error, pa.ArrowException) as error:
            raise InputError(
                f"{self._shown}: its {self._compression} data are damaged or cut off; nothing of it is used, fetch it again"
            ) from error
        buffer[: len(block)] = block
        return len(block)
