"""Compilation of kernels, kept from run to run as long as nothing that went into them has changed.

Numba keeps compiled code by the file that a function stands in. It sees no change in another file whose functions that
one calls, or whose constants it uses, and runs what was compiled before. So what is kept here is named after all files
of the package that a kernel's module imports, and that these import.
"""

import re
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from numba import config, njit
from numba.core.caching import IndexDataCacheFile

_PACKAGE = files(__package__)
_IMPORT = re.compile(rf"^(?:from|import) ({__package__}[\w.]*)(?: import (\([^)]*\)|.*))?", re.MULTILINE)


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function that Python calls, as ``numba.njit(cache=True, nogil=True, **options)`` does.

    Functions that only kernels call become part of those, and need no more than ``numba.njit``.

    Parameters
    ----------
    **options
        Of ``numba.njit``, such as ``error_model`` or ``fastmath``.

    Returns
    -------
    Callable
        The decorator.
    """

    def compile_function(function: Callable[..., Any]) -> Any:
        kernel = njit(cache=True, nogil=True, **options)(function)
        if not config.DISABLE_JIT:  # type: ignore[attr-defined]
            # Numba writes its index before the code. Were both named alike for all sources, a full disk or a kill in
            # between would leave an index of new sources with old code.
            kept = kernel._cache
            name = f"{kept._impl.filename_base}.{_sources(function.__module__)[:16]}"
            stamp = kept._cache_file._source_stamp
            kept._cache_file = IndexDataCacheFile(kept.cache_path, name, stamp)  # type: ignore[no-untyped-call]
        return kernel

    return compile_function


@cache
def _sources(module: str) -> str:
    """Hash of all that a module is made of within the package."""
    return sha256(b"".join(_read(part)[0] for part in sorted(_parts(module)))).hexdigest()


def _parts(module: str) -> set[str]:
    """The module itself, what it imports from the package, and what that imports."""
    found: set[str] = set()
    to_read = {module}
    while to_read:
        found |= to_read
        to_read = set().union(*(_read(part)[1] for part in to_read)) - found
    return {part for part in found if _read(part)[0]}


@cache
def _read(module: str) -> tuple[bytes, frozenset[str]]:
    """Hash of a module, and the names that it imports from the package; nothing if it is none of its modules."""
    package, _, place = module.replace(".", "/").partition("/")
    places = (_PACKAGE.joinpath(f"{place}.py"), _PACKAGE.joinpath(place, "__init__.py"))
    file = next((file for file in places if file.is_file()), None)
    if file is None or package != __package__:
        return b"", frozenset()
    content = file.read_bytes()
    found: set[str] = set()
    for source, names in _IMPORT.findall(content.decode()):
        found |= {source, *(f"{source}.{name}" for name in re.findall(r"\w+", names))}
    return sha256(content).digest(), frozenset(found)
