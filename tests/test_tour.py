"""The README's tour, line by line, as a newcomer types it: in a shell, in a folder of real files."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.slow


def blocks() -> list[list[str]]:
    """Return the indented blocks of the section about the tour, line by line."""
    section = README.partition("## The tour\n")[2].partition("\n## ")[0]
    return [re.findall(r"^    (.+)$", block, re.M) for block in re.findall(r"(?:^    .+\n)+", section, re.M)]


class Shell:
    """A terminal in a checkout, with `bascule` and `python` on the PATH and an empty home."""

    def __init__(self, folder: Path) -> None:
        commands = folder / "bin"
        commands.mkdir()
        for name, words in {"bascule": f"{sys.executable} -m bascule", "python": sys.executable}.items():
            (commands / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
            (commands / name).chmod(0o755)
        (folder / "checkout").mkdir()
        (folder / "checkout" / "examples").symlink_to(ROOT / "examples")
        self.folder = folder / "checkout"
        kept = {name: os.environ[name] for name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE") if name in os.environ}
        self.environment = {
            **kept,
            "PATH": f"{commands}:{os.environ['PATH']}",
            "HOME": str(folder),
            "GIT_CEILING_DIRECTORIES": str(folder.parent),
            "GIT_AUTHOR_NAME": "Ana",
            "GIT_AUTHOR_EMAIL": "ana@example.org",
            "GIT_COMMITTER_NAME": "Ana",
            "GIT_COMMITTER_EMAIL": "ana@example.org",
            "BASCULE_USER": "ana@example.org",
        }

    def type(self, text: str) -> str:
        """Run lines, which must end well, and return what standard output says. The folder stays for the next ones."""
        script = f"set -e\n{text}\npwd > '{self.environment['HOME']}/where'"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        self.folder = Path((Path(self.environment["HOME"]) / "where").read_text(encoding="utf-8").strip())
        return done.stdout


@pytest.mark.timeout(600)
def test_each_line_of_the_tour_runs_as_it_is_written(tmp_path: Path) -> None:
    begin, tour = blocks()
    shell = Shell(tmp_path)
    shell.type("\n".join(begin))
    assert shell.folder == tmp_path / "delays"

    stand_ins = {"MODEL_VERSION": re.findall(r"MODEL_VERSION is `([^`]+)`", README)[0]}
    (asking,) = re.findall(r"`(bascule predict [^`]+)`", README)
    said: dict[str, str] = {}
    for line in tour:
        command = shlex.split(line, comments=True)
        typed = re.sub("|".join(map(re.escape, stand_ins)), lambda found: stand_ins[found[0]], line)
        said[" ".join(command[:2])] = shell.type(typed)
        if command[1] == "merge":
            stand_ins["PREDICTION_ID"] = json.loads(shell.type(f"{asking} --json"))["prediction_id"]

    assert list(said) == [
        *("bascule init", "git switch", "bascule run", "bascule diff", "bascule merge", "bascule rollback"),
        *("bascule explain", "bascule reproduce", "bascule track"),
    ]
    assert "It learns arr_delay > 15 (binary, tabular data)" in said["bascule init"]
    assert "on branch windier-features" in said["bascule run"]
    assert "tables/flights  0 → 85,369 rows" in said["bascule diff"]
    assert "gates passed" in said["bascule diff"]
    assert "deployments/delays serves version 1" in said["bascule merge"]
    assert "Roll back delays" in said["bascule rollback"]
    for word in (stand_ins["PREDICTION_ID"], "delays version 1", "tables/weather", "ana@example.org"):
        assert word in said["bascule explain"]
    assert "Identical: delays version 1 came out byte for byte" in said["bascule reproduce"]
    assert "AUC" in said["bascule track"]
    (tracked,) = [run for run in json.loads(shell.type("bascule runs --json")) if run["kind"] == "track"]
    found = json.loads(shell.type(f"bascule runs {tracked['run']} --json"))
    assert any("flights-2013-04.csv" in name for name in map(str, found["inputs"]))
