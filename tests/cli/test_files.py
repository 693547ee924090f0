"""The commands over sets of files, as a person uses them."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bascule as api
from bascule.cli.transfer import described
from bascule.history import Workspace
from bascule.lake.filesets import Progress

Bascule = Callable[..., Any]


@pytest.fixture
def project(folder: Path) -> Workspace:
    workspace = Workspace.create(folder)
    photos = folder / "photos"
    (photos / "cats").mkdir(parents=True)
    for number in range(30):
        (photos / "cats" / f"{number:02}.jpg").write_bytes(b"cat %d" % number)
    (photos / "readme.txt").write_bytes(b"\xff\x00 not text")
    return workspace


@pytest.mark.slow
def test_a_day_with_files(project: Workspace, bascule: Bascule, folder: Path) -> None:
    assert "No file sets on main yet; bascule files add NAME FOLDER makes one." in bascule("files", "status").out
    added = bascule("files", "add", "photos", "photos", "-m", "Take the photos in")
    assert "files/photos on main: 31 added; 31 files, 181 bytes now" in added.out
    assert bascule("files", "add", "photos").out.startswith("files/photos has all of it already")
    assert "photos     31  181 bytes" in bascule("files", "status").out
    assert bascule("tag", "v1").code == 0

    (folder / "photos" / "cats" / "07.jpg").write_bytes(b"a dog")
    (folder / "photos" / "cats" / "08.jpg").rename(folder / "photos" / "best.jpg")
    status = bascule("files", "status", "photos")
    assert "1 added, 1 removed, 1 changed" in status.out
    assert "  ~ cats/07.jpg" in status.out
    assert bascule("files", "status", "photos", "--json").json()["clean"] is False
    bascule("files", "add", "photos")
    diff = bascule("files", "diff", "photos", "v1").out
    assert "1 changed, 1 renamed" in diff
    assert "  > cats/08.jpg → best.jpg" in diff
    compared = bascule("diff", "v1").out
    assert "~ files/photos  31 → 31 files, 1 changed, 1 renamed" in compared
    assert "31 files (+0)" in bascule("log").out or "changed files/photos" in bascule("log").out

    out = bascule("files", "checkout", "photos", "old", "--at", "v1", "--only", "cats")
    assert "30 files written" in out.out
    assert (folder / "old" / "cats" / "07.jpg").read_bytes() == b"cat 7"
    assert not (folder / "old" / "readme.txt").exists()

    listed = bascule("files", "list", "photos", "*.jpg", "--at", "v1", "--json").json()
    assert len(listed) == 30
    assert bascule("files", "list", "photos", "readme.txt").out.endswith("11  readme.txt\n")
    said = bascule("files", "cat", "photos", "readme.txt", "--json").json()
    assert base64.b64decode(said["base64"]) == b"\xff\x00 not text"
    assert "30 files of files/photos removed" in bascule("files", "remove", "photos", "*.jpg").out
    assert bascule("sql", "select count(*) as n from files.photos", "--json").json() == [{"n": 1}]
    assert api.open(folder).files("photos", at="v1").read("cats/00.jpg") == b"cat 0"
    assert {finding["level"] for finding in bascule("doctor", "--json").json()["findings"]} == {"ok"}


@pytest.mark.slow
def test_bytes_of_a_file_are_written_as_they_are(project: Workspace, bascule: Bascule, folder: Path) -> None:
    bascule("files", "add", "photos", "photos")
    command = [sys.executable, "-m", "bascule", "files", "cat", "photos", "readme.txt"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=True, env={**os.environ})
    assert done.stdout == b"\xff\x00 not text"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("add", "../x", "photos"), 2, "cannot name a file set"),
        (("add", "photos", "fotos"), 2, "There is no folder"),
        (("add", "photos"), 2, "is not said"),
        (("status", "photos"), 2, "is not said"),
        (("status", "photos", "photos"), 2, "There is no file set named 'photos'"),
        (("checkout", "photos"), 2, "There is no file set named 'photos' on main"),
        (("list", "photos"), 2, "There is no file set named 'photos' on main"),
        (("cat", "photos", "x"), 2, "There is no file set named 'photos' on main"),
        (("remove", "photos"), 2, "There is no file set named 'photos' on main"),
        (("diff", "photos", "main"), 2, "There is no file set named 'photos' on main"),
        (("diff", "photos", "mian"), 2, "There is no branch, tag or commit named 'mian'"),
    ],
)
def test_mistakes_are_told(
    project: Workspace, bascule: Bascule, arguments: tuple[str, ...], code: int, words: str
) -> None:
    said = bascule("files", *arguments)
    assert said.code == code
    assert words in said.err
    assert said.out == ""


def test_progress_is_said_in_a_line() -> None:
    assert described(Progress("Comparing"), 0.0) == "Comparing …"
    assert described(Progress("Adding", 5, 2_000_000), 0.5) == "Adding 5 files, 2.0 MB"
    half = Progress("Writing", 500, 30_000_000, 1000, 90_000_000)
    assert described(half, 10.0) == "Writing 500 of 1,000 files, 30.0 MB, 3 MB/s, 0:20 left"


@pytest.mark.slow
def test_progress_begins_at_once(project: Workspace, folder: Path) -> None:
    command = [sys.executable, "-m", "bascule", "files", "add", "photos", "photos"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert "Adding" in done.stderr


@pytest.mark.slow
def test_a_process_ends_without_a_word_of_its_libraries(folder: Path) -> None:
    """An exit that skips freeing what the query engine holds would make its binding complain."""
    (folder / "t.csv").write_text("a,b\n1,2\n")
    commands = ["init", "."], ["run", "--quiet"], ["sql", "select * from t"], ["profile", "t"], ["track", "true"]
    for arguments in commands:
        command = [sys.executable, "-m", "bascule", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        assert "leaked" not in done.stderr, (arguments, done.stderr)
    # Also one that frees nothing at its end gives the catalog back.
    assert not list((folder / ".bascule").glob("catalog.db-*"))
