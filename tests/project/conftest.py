"""A small project, as it is written and as it is after its first run, and a way to say what a mistake must not do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from bascule.cli.main import run
from bascule.history import Workspace
from bascule.lake import doctor
from tests.cli.conftest import Said, bascule, folder, start
from tests.project.parcels import write_project

__all__ = ["bascule", "folder", "start"]

Bascule = Callable[..., Said]


@pytest.fixture
def parcels(folder: Path) -> Path:
    """The project as it is written, with an empty workspace; the test stands in it."""
    Workspace.create(write_project(folder)).close()
    return folder


@pytest.fixture(scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _run_once(tmp_path_factory.getbasetemp())


@cache  # a module that imports the fixture has one of its own, and pytest makes it again
def _run_once(base: Path) -> Path:
    place = base / "finished"
    place.mkdir()
    Workspace.create(write_project(place)).close()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("BASCULE_USER", "ana@example.org")
        patch.setenv("GIT_CEILING_DIRECTORIES", str(place.parent))
        assert run(["run", "--quiet"]) == 0
    return place


@pytest.fixture
def trained(_finished: Path, folder: Path) -> Path:
    """A copy of the project after its first run: version 1 of the model is in production on main."""
    shutil.copytree(_finished, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture
def refused(bascule: Bascule, folder: Path) -> Callable[..., Said]:
    """Run a command that must be refused: with this exit code and these words, and without changing anything.

    Branches of refused batches may stay, since they are there to be looked at. No file of a table is left behind that
    belongs to no state.
    """

    def call(*arguments: object, code: int, words: tuple[str, ...]) -> Said:
        workspace = Workspace.open(folder)
        before = heads(workspace)
        said = bascule(*arguments)
        assert said.code == code, said
        for word in words:
            assert word in said.err, f"{word!r} is not in: {said.err}"
        assert heads(workspace) == before
        report = doctor.check(workspace)
        assert not report.problems
        assert not report.orphans
        workspace.close()
        return said

    return call


def heads(workspace: Workspace) -> dict[str, str]:
    """Return where every branch and tag is, but those of refused batches."""
    refs = [*workspace.history.branches(), *workspace.history.tags()]
    return {ref.name: ref.head for ref in refs if not ref.name.startswith("ingest/")}
