"""What a log file is, told by its first bytes and never by its name: gzip, Zstandard, Parquet, or text as it lies.

Compressed data that is cut off or damaged makes the whole file unreadable: nothing tells how much of it is missing, and
a file that is still being copied looks just the same. So none of it counts until it can be read to its end.
"""

import hashlib
import io
from typing import BinaryIO, Final, Literal, cast

import pyarrow as pa

from fleetopt.errors import InputError

Kind = Literal["gzip", "zstd", "parquet", "text"]

MAGIC_BYTES: Final = 4
"""How many bytes of a file's head `kind_of` needs."""

_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE: Final = b"\x2a\x4d\x18"
_HASHED_BYTES: Final = 1 << 20


def kind_of(head: bytes) -> Kind:
    """Tell what a file is from its first bytes.

    Parameters
    ----------
    head : bytes
        At least `MAGIC_BYTES`, or all of a shorter file.

    Returns
    -------
    str
        ``"gzip"`` (RFC 1952), ``"zstd"`` (RFC 8878; also one that begins with a skippable frame, as pzstd writes),
        ``"parquet"``, else ``"text"``.
    """
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    is_skippable = 0x50 <= head[0] <= 0x5F if head else False
    if head.startswith(_ZSTD) or (is_skippable and head[1:4] == _ZSTD_SKIPPABLE):
        return "zstd"
    return "parquet" if head.startswith(b"PAR1") else "text"


class HashingStream(io.BufferedIOBase):
    """Reads a file once from its beginning, and hashes it as it lies.

    Parameters
    ----------
    stream : binary file
        At its beginning. Closed with this one.

    Attributes
    ----------
    size : int
        Bytes read so far.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._ahead = b""
        self._digest = hashlib.sha256()
        self.size = 0

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def head(self, n: int) -> bytes:
        """Look at the first bytes, at most n, without reading them; only before the first read."""
        if len(self._ahead) < n:
            self._ahead += self._stream.read(n - len(self._ahead))
        return self._ahead[:n]

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to ``size`` bytes, fewer only at the end; all that is left if it is negative or None."""
        if size is None or size < 0:
            data = self._ahead + self._stream.read()
            self._ahead = b""
        elif self._ahead:
            ahead, self._ahead = self._ahead[:size], self._ahead[size:]
            data = ahead + self._stream.read(size - len(ahead))
        else:
            data = self._stream.read(size)
        self._digest.update(data)
        self.size += len(data)
        return data

    def sha256(self) -> str:
        """SHA-256 of the whole file, hex; what has not been read is read now."""
        while self.read(_HASHED_BYTES):
            pass
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        super().close()


def decompressed(stream: HashingStream, shown: str) -> BinaryIO:
    """Read a file's text: decompressed where its first bytes say that it is compressed, else as it lies.

    Parameters
    ----------
    stream : HashingStream
        At its beginning; closed with the result.
    shown : str
        Name of the file for messages.

    Returns
    -------
    binary file
        Forward only. Several gzip members or Zstandard frames after each other are one text. Reading it raises
        InputError where the data is cut off or damaged.

    Raises
    ------
    InputError
        If it is a Parquet file, which holds no text.
    """
    kind = kind_of(stream.head(MAGIC_BYTES))
    if kind == "parquet":
        raise InputError(f"{shown}: is a Parquet file, and the format is one of text")
    return cast(BinaryIO, stream if kind == "text" else _Decompressed(stream, kind, shown))


class _Decompressed(io.BufferedIOBase):
    def __init__(self, stream: HashingStream, kind: Literal["gzip", "zstd"], shown: str) -> None:
        self._stream = stream
        self._text = pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), kind)
        self._kind = kind
        self._shown = shown

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            return cast(bytes, self._text.read(None if size is None or size < 0 else size))
        except (OSError, pa.ArrowException) as error:
            if getattr(error, "errno", None) is not None:  # of the disk, not of the data
                raise
            is_cut = "Truncated" in str(error)
            raise InputError(
                f"{self._shown}: its {self._kind} data {'ends too early' if is_cut else 'is damaged'} after "
                f"{self._stream.size} bytes; none of the file is used: put it there again, whole"
            ) from None

    def close(self) -> None:
        self._stream.close()
        super().close()
