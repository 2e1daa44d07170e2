"""Compilation of the planner's kernels, kept from run to run as long as no file of theirs has changed."""

from collections.abc import Callable
from hashlib import sha256
from importlib.resources import files
from typing import Any

from numba import njit

_SOURCES = sha256(
    b"".join(part.read_bytes() for part in sorted(files(__package__).iterdir(), key=str) if part.name.endswith(".py"))
).hexdigest()


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function without the interpreter's lock, as ``numba.njit(cache=True, nogil=True, **options)`` does.

    Numba keeps compiled code by the date of the file that a function stands in, and does not see a change in another
    file whose functions it calls. So the stamp of what it keeps tells all files of this package too.
    """

    def compile_function(function: Callable[..., Any]) -> Any:
        kernel = njit(cache=True, nogil=True, **options)(function)
        cache_file = kernel._cache._cache_file
        cache_file._source_stamp = (cache_file._source_stamp, _SOURCES)
        return kernel

    return compile_function
