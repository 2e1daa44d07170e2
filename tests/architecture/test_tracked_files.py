"""Tracked files carry nothing of the machine or the package index that they were made on."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOMES = "|".join(["home", "root", "Users", "tmp", "work", "mnt", "opt", "private"])
MACHINE_PATH = re.compile(rf"(?<![\w./:}}-])/(?:{HOMES})/[A-Za-z0-9_.-]+")
INDEX_ADDRESS = re.compile(r"--(?:extra-)?index-url|--find-links|/simple/|^\s*--trusted-host", re.MULTILINE)
ADDRESS_IN_LOCK = re.compile(r"https?://|file://| @ ")


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def texts() -> dict[str, str]:
    found = {}
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content and path != Path(__file__).resolve():
            found[str(path.relative_to(ROOT))] = content.decode("utf-8", errors="replace")
    return found


def test_no_machine_path():
    found = {name: match.group() for name, text in texts().items() if (match := MACHINE_PATH.search(text))}
    assert found == {}


def test_no_index_address():
    found = {name: match.group() for name, text in texts().items() if (match := INDEX_ADDRESS.search(text))}
    assert found == {}
    assert not ADDRESS_IN_LOCK.search((ROOT / "requirements.lock").read_text())


def test_every_locked_package_has_a_hash():
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text().strip())
    assert entries
    unhashed = [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry]
    assert unhashed == []


def test_the_search_finds_what_it_looks_for():
    assert MACHINE_PATH.search('path = "/home' + '/somebody/x"')
    assert not MACHINE_PATH.search("https://example.org/home/page")
    assert INDEX_ADDRESS.search("--index" + "-url x")
