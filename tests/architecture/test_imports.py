"""Imports go one way (pipelines -> assets -> fleetopt); the library stays free of orchestration, clocks and files."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {
    "fleetopt": {"fleetopt"},
    "assets": {"assets", "fleetopt"},
    "pipelines": {"pipelines", "assets", "fleetopt"},
}
NOT_IN_THE_LIBRARY = {"dagster", "great_expectations", "deltalake"}
OBJECT_STORES = ("ingest/stores.py", "imports deltalake.fs")
"""Log files in object stores are reached as tables there are; the library knows nothing of tables all the same."""
CLOCKS = {
    ("time", "time"),
    ("time", "sleep"),
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
}
FILE_MODULES = {"pathlib", "os", "shutil", "tempfile", "glob", "fileinput", "urllib", "socket", "subprocess"}
FILES = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "unlink", "mkdir"}
FILES |= {f"scan_{kind}" for kind in ("parquet", "csv", "ndjson", "ipc", "delta")}
PACKAGE_DATA = {"read_text", "read_bytes", "open"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield node.module or ""
            yield from (f"{node.module}.{name.name}" for name in node.names)


def named(node: ast.expr) -> tuple[str, str]:
    """(owner, name) of ``owner.name`` or ("", name) of a bare name."""
    if isinstance(node, ast.Attribute):
        owner = node.value
        return (owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", ""), node.attr)
    return "", getattr(node, "id", "")


def offences(source: str, *, may_touch_files: bool) -> list[str]:
    """What a module of the library does that it must not."""
    tree = ast.parse(source)
    names = set(imported(tree))
    found = [f"imports {name}" for name in names if name.split(".")[0] in NOT_IN_THE_LIBRARY]
    # How long something took is for commands to say, and is no result; what time it is nobody in the library asks.
    found += [f"imports {name}" for name in names & {"time"} if not (may_touch_files and "time.perf_counter" in names)]
    forbidden = set() if may_touch_files else set(FILES)
    if not may_touch_files:
        found += [f"imports {name}" for name in names & FILE_MODULES]
    if "importlib.resources" in names:  # the package's own data files; other paths would need a module from above
        forbidden -= PACKAGE_DATA
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and named(node) in {("os", "environ"), ("os", "getenv"), *CLOCKS}:
            found.append(".".join(named(node)))
        if isinstance(node, ast.Call) and named(node.func)[1] in forbidden:
            found.append(f"calls {'.'.join(named(node.func))}")
    return found


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_imports_go_one_way(package):
    ours = set(MAY_IMPORT)
    for path in modules(package):
        names = {name.split(".")[0] for name in imported(ast.parse(path.read_text()))} & ours
        assert names <= MAY_IMPORT[package], f"{path.relative_to(ROOT)} imports {names - MAY_IMPORT[package]}"


def test_library_has_no_orchestration_clock_environment_or_files():
    found = {}
    for path in modules("fleetopt"):
        place = path.relative_to(ROOT / "fleetopt")
        may_touch_files = place.parts[0] in {"ingest", "cli"}
        allowed = (
            {OBJECT_STORES[1], f"{OBJECT_STORES[1]}.DeltaStorageHandler"} if str(place) == OBJECT_STORES[0] else set()
        )
        if bad := set(offences(path.read_text(), may_touch_files=may_touch_files)) - allowed:
            found[str(place)] = bad
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "import dagster as dg",
        "from deltalake import DeltaTable",
        "import os\nos.environ['A']",
        "from datetime import datetime\ndatetime.now()",
        "import datetime\ndatetime.date.today()",
        "import time",
        "open('x')",
        "from pathlib import Path\nPath('x').read_text()",
        "import polars as pl\npl.scan_parquet('x')",
    ],
)
def test_the_search_finds_what_it_looks_for(source):
    assert offences(source, may_touch_files=False)


def test_orchestration_packages_wire_nothing_at_import():
    for package in ("assets", "pipelines"):
        body = ast.parse((ROOT / package / "__init__.py").read_text()).body
        assert len(body) == 1, package
        assert isinstance(body[0], ast.Expr), package
