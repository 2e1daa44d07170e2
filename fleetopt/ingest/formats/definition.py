"""What a log format is: its container, what its fields mean, and how to tell it from others."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fleetopt.ingest.mapping import Mapping
from fleetopt.ingest.records import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Csv:
    """Lines of fields below a header.

    Attributes
    ----------
    header : tuple of str
        A line that has each of these columns once is a header; one may stand anywhere, as joined files have several.
    delimiter : str
    quoted : bool
        Whether fields may be quoted, and then hold delimiters and line ends. Files that do not need it are read faster.
    harmless : tuple of str
        Columns, beside those and the wanted ones, that can hold no text: of files with others no bad line is kept.
    """

    header: tuple[str, ...]
    delimiter: str = ","
    quoted: bool = False
    harmless: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JsonLines:
    """One JSON object per line."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The beginning of a file, as formats are told from it.

    Attributes
    ----------
    lines : list of bytes
        Non-blank lines without their ends; none of a Parquet file.
    objects : list of dict
        JSON objects among the lines, or the first rows of a Parquet file.
    columns : tuple of str
        Columns of a Parquet file; none of lines.
    """

    lines: list[bytes]
    objects: list[dict[str, Any]]
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFormat:
    """One log format. A Parquet file of the same columns is read by the same mapping.

    Attributes
    ----------
    name, description : str
        Name in configurations; one sentence for `fleetopt formats`.
    example : str
        A line, or a header and a line.
    container : Csv or JsonLines
    mapping : Mapping
    holds_text : bool
        Whether a line can hold prompts or other text; if so no raw line is ever kept.
    recognises : callable
        Whether a file begins like this format.
    explode : callable, optional
        Makes several records of a line, where a line holds several. A line of which it can make nothing stays as it is,
        with its fault.
    """

    name: str
    description: str
    example: str
    container: Csv | JsonLines
    mapping: Mapping
    holds_text: bool
    recognises: Callable[[Sample], bool]
    explode: Callable[[Batch], Batch] | None = field(default=None)
