"""A store that waits by the request: how often it is asked does not grow with the number of files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.lake.filesets.conftest import fill, tree

from bascule.history import Workspace
from bascule.lake.filesets import FileSet
from bascule.store import open_store

pytest_plugins: list[str] = []


class Counted:
    """A store that counts what it is asked, and has no folder."""

    def __init__(self, store: Any) -> None:
        self.store, self.asked, self.url = store, Counter[str](), store.url

    def __getattr__(self, name: str) -> Any:
        def call(*values: Any) -> Any:
            self.asked[name] += 1
            return getattr(self.store, name)(*values)

        return call

    def local_path(self, digest: str) -> None:
        return None


@pytest.mark.slow
def test_the_store_is_not_asked_for_every_file(local_workspace: Workspace, folder: Path, tmp_path: Path) -> None:
    store: Any = Counted(open_store(str(tmp_path / "blobs")))
    local_workspace.__dict__["store"] = store
    fill(folder, {f"d{n % 20}/f{n:05d}": b"%d" % n for n in range(3000)})
    FileSet(local_workspace, "photos").add(folder)
    assert sum(store.asked.values()) < 20, store.asked
    # Many small versions scatter a set over many packs; those are read in pieces too.
    for number in range(5):
        fill(folder, {f"d{n % 20}/f{n:05d}": b"new %d" % n for n in range(number, 3000, 50)})
        FileSet(local_workspace, "photos").add(folder)
    store.asked.clear()
    FileSet(local_workspace, "photos").checkout(tmp_path / "out")
    assert tree(tmp_path / "out") == tree(folder)
    assert sum(store.asked.values()) < 60, store.asked
    store.asked.clear()
    assert FileSet(local_workspace, "photos").status(folder).diff.empty
    assert sum(store.asked.values()) < 30, store.asked


@pytest.mark.slow
def test_a_set_lives_on_s3(s3: str, tmp_path: Path, folder: Path) -> None:
    workspace = Workspace.create(tmp_path / "project", storage=s3)
    try:
        fill(folder, {f"f{n:04d}": b"%d" % n * 50 for n in range(700)} | {"large": bytes(range(256)) * 20_000})
        FileSet(workspace, "photos").add(folder)
        FileSet(workspace, "photos").checkout(tmp_path / "out")
        assert tree(tmp_path / "out") == tree(folder)
        assert FileSet(workspace, "photos").read("f0007") == b"7" * 50
    finally:
        workspace.close()
