"""Folders and stores that the tests of file sets stand on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bascule.history import Workspace
from bascule.lake.filesets import FileSet

Fill = Callable[[Mapping[str, bytes]], Path]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "photos"
    made.mkdir()
    return made


@pytest.fixture
def photos(local_workspace: Workspace) -> Callable[..., FileSet]:
    """The set `photos`, anew each time, so that it reads the newest state."""

    def opened(branch: str = "main", at: str | None = None) -> FileSet:
        return FileSet(local_workspace, "photos", branch, at)

    return opened


def fill(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files, old enough to be known by their times from then on."""
    for path, data in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder; links as what they point to."""
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            place = Path(where) / name
            path = place.relative_to(folder).as_posix()
            found[path] = b"-> " + os.readlink(place).encode() if place.is_symlink() else place.read_bytes()
    return found
