"""Published length distributions that ship with the package, and CDF files of a user's own."""

import json
import tomllib
from dataclasses import dataclass
from importlib import resources

from fleetopt.errors import InputError
from fleetopt.workload.lengths import check_cdf

_FILES = resources.files("fleetopt.workload") / "reference_files"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceCdf:
    """A published CDF of total tokens.

    Attributes
    ----------
    name : str
    points : tuple of (float, float)
        Tokens, increasing, and the share of requests of at most that length.
    source, licence : str
        Where the figures come from.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    source: str
    licence: str


def reference_names() -> list[str]:
    """Names of the shipped CDFs, sorted."""
    return sorted(file.name.removesuffix(".toml") for file in _FILES.iterdir() if file.name.endswith(".toml"))


def load_reference(name: str) -> ReferenceCdf:
    """Return the shipped CDF of that name.

    Raises
    ------
    InputError
        If there is none.
    """
    if name not in reference_names():
        raise InputError(f"no reference workload named '{name}'; shipped: {', '.join(reference_names())}")
    table = tomllib.loads((_FILES / f"{name}.toml").read_text("utf-8"))
    return ReferenceCdf(
        name=name,
        points=_points(table["cdf"], f"{name}.toml"),
        source=table["source"],
        licence=table["licence"],
    )


def parse_cdf(text: str, where: str) -> tuple[tuple[float, float], ...]:
    """Read a CDF of total tokens from JSON: a list of ``[tokens, fraction]``, or an object with it under ``cdf``.

    Parameters
    ----------
    text : str
    where : str
        File name, for messages.

    Returns
    -------
    tuple of (float, float)
        Tokens, increasing, and fractions, the last of them 1.

    Raises
    ------
    InputError
        If the text is not that, or not a CDF (see `fleetopt.workload.lengths.check_cdf`).
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not valid JSON: {error}") from error
    if isinstance(content, dict):
        if "cdf" not in content:
            raise InputError(f"{where}: the object has no key 'cdf'; it should hold [[tokens, fraction], ...]")
        content = content["cdf"]
    return _points(content, where)


def _points(rows: object, where: str) -> tuple[tuple[float, float], ...]:
    if not isinstance(rows, list):
        raise InputError(f"{where}: a CDF is a list of [tokens, fraction], not a {type(rows).__name__}")
    points = tuple(_point(row, number, where) for number, row in enumerate(rows, start=1))
    check_cdf(points, where)
    return points


def _point(row: object, number: int, where: str) -> tuple[float, float]:
    if not isinstance(row, list) or len(row) != 2 or not all(type(value) in (int, float) for value in row):
        raise InputError(f"{where}: point {number} is not a pair of numbers [tokens, fraction]")
    try:
        return float(row[0]), float(row[1])
    except OverflowError as error:
        raise InputError(f"{where}: point {number}: the number is too large") from error
