"""Compiled code is kept for the sources that it was made of, wherever in the package they stand, and for no others."""

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fleetopt
from fleetopt import compiled as module

PACKAGE = Path(fleetopt.__file__).parent
SOURCES = {
    "__init__.py": "",
    "other/__init__.py": "",
    "other/constants.py": "ADDED = 1.0\n",
    "other/sums.py": """
from numba import njit
from fleetopt.other import constants
_ADDED = constants.ADDED

@njit
def add(value):
    return value + _ADDED
""",
    "other/unused.py": "",
    "kernels.py": """
from numba import njit
from fleetopt.compiled import compiled
from fleetopt.other.sums import (
    add,
)

@compiled()
def kept(value):
    return 2.0 * add(value)

@njit(cache=True)
def kept_by_numba(value):
    return 2.0 * add(value)
""",
}
RUN = """
import errno, importlib, json, sys
from pathlib import Path
from numba.core.caching import IndexDataCacheFile

def outcome(name="kept"):
    for loaded in [loaded for loaded in sys.modules if loaded.split(".")[0] == "fleetopt"]:
        del sys.modules[loaded]
    kernel = getattr(importlib.import_module("fleetopt.kernels"), name)
    return kernel(1.0), sum(kernel.stats.cache_hits.values())

def replace(place, before, after):
    file = Path("fleetopt", place)
    file.write_text(file.read_text().replace(before, after))

def fail(*_):
    raise OSError(errno.ENOSPC, "disk full")

found = {"first": outcome(), "first, by Numba": outcome("kept_by_numba"), "again": outcome()}
replace("other/unused.py", "", "UNUSED = 1")
found["another file changed"] = outcome()
replace("other/sums.py", "value + _ADDED", "value - _ADDED")
found["function changed"] = outcome()
found["function changed, by Numba"] = outcome("kept_by_numba")
replace("other/constants.py", "1.0", "5.0")
found["constant changed"] = outcome()
replace("other/constants.py", "5.0", "1.0")
found["constant as before"] = outcome()
replace("kernels.py", "2.0", "3.0")
save, IndexDataCacheFile._save_data = IndexDataCacheFile._save_data, fail
try:
    outcome()
except OSError:
    found["not saved"] = True
IndexDataCacheFile._save_data = save
found["after a full disk"] = outcome()
print(json.dumps(found))
"""


def twice(value):
    return 2 * value


def test_a_change_in_any_file_that_a_kernel_is_made_of_is_seen(tmp_path):
    for place, source in SOURCES.items():
        file = tmp_path / "fleetopt" / place
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(source)
    shutil.copy(module.__file__, tmp_path / "fleetopt")
    # Without bytecode: Python tells it apart by seconds, and the files change faster.
    command = [sys.executable, "-B", "-c", RUN]
    ran = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert json.loads(ran.stdout) == {
        "first": [4.0, 0],
        "first, by Numba": [4.0, 0],
        "again": [4.0, 1],
        "another file changed": [4.0, 1],
        "function changed": [0.0, 0],
        "function changed, by Numba": [4.0, 1],  # what all this is for
        "constant changed": [-8.0, 0],
        "constant as before": [0.0, 1],
        "not saved": True,
        "after a full disk": [0.0, 0],
    }


def test_kernels_can_be_run_as_plain_python(monkeypatch):
    monkeypatch.setattr("numba.core.config.DISABLE_JIT", 1)
    assert module.compiled()(twice) is twice


def place_of(name: str) -> Path | None:
    """File of a module of the package, None where the name is that of something in a module."""
    path = PACKAGE.parent.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def imported(file: Path) -> Iterator[str]:
    """Names of all that a module imports from the package, but for imports within functions and for types only."""
    todo: list[ast.AST] = [ast.parse(file.read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "fleetopt":
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.split(".")[0] == "fleetopt")
        is_for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not is_for_types and not isinstance(node, ast.FunctionDef):
            todo += ast.iter_child_nodes(node)


def kernels() -> list[str]:
    """Modules with functions that `compiled` keeps."""
    files = (file for file in PACKAGE.rglob("*.py") if "\n@compiled(" in file.read_text())
    return sorted(".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in files)


@pytest.mark.parametrize("name", kernels())
def test_the_stamp_of_a_kernel_covers_all_that_its_module_imports(name):
    wanted, todo = set(), {place_of(name)}
    while todo:
        wanted |= todo
        todo = {place_of(there) for file in todo for there in imported(file)} - wanted - {None}
    assert wanted == {place_of(part) for part in module._parts(name)}


def test_no_kernel_is_kept_in_another_way():
    others = [file for file in PACKAGE.rglob("*.py") if file != Path(module.__file__)]
    assert [file for file in others if "cache=True" in file.read_text()] == []
    assert len(kernels()) > 20
