"""A project in git with one script, tracked in this process, and commands on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Said, bascule, folder, start

from bascule.history import Workspace
from bascule.tracking.ambient import track

__all__ = ["bascule", "folder", "start"]

Bascule = Callable[..., Said]
Tracked = Callable[..., str]
SUMS = """
import json, pathlib, sys
from helper import factor
numbers = [float(line) for line in open("data/numbers.csv")]
total = sum(numbers) * factor
pathlib.Path("out").mkdir(exist_ok=True)
with open("out/sum.json", "w") as out:
    json.dump({"sum": total, "count": len(numbers)}, out)
print(total)
"""


def git(place: Path, *arguments: str) -> str:
    identity = ["-c", "user.email=ana@example.org", "-c", "user.name=Ana"]
    return subprocess.run(["git", *identity, *arguments], cwd=place, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def sums(folder: Path) -> Path:
    """The project: `sums.py` is in git, and then `helper.py` came, which is not; and data, which git ignores."""
    Workspace.create(folder).close()
    (folder / ".gitignore").write_text("data/\nout/\n*.log\n")
    (folder / "sums.py").write_text(SUMS)
    (folder / "picture.bin").write_bytes(b"\0\1")
    (folder / "data").mkdir()
    (folder / "data" / "numbers.csv").write_text("1.5\n2.25\n4\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "sums")
    (folder / "helper.py").write_text("factor = 3\n")
    return folder


@pytest.fixture
def tracked(folder: Path) -> Tracked:
    """Track a script of the folder and return its run's id."""

    def call(*words: str) -> str:
        workspace = Workspace.open(folder)
        done = track(workspace, folder, [sys.executable, *words], "main")
        workspace.close()
        return done.run_id

    return call
