"""Where a command works: the project's folder, its workspace, and the branch that is current."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import InputError, NotFound, ProjectFileError
from bascule.history import Workspace
from bascule.project.place import Place
from tests.project.parcels import write

TOML = '[project]\nname = "p"\n'


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BASCULE_WORKSPACE", "BASCULE_BRANCH"):
        monkeypatch.delenv(name, raising=False)


def git(folder: Path, command: str) -> None:
    identity = ["-c", "user.email=ana@example.org", "-c", "user.name=Ana"]
    subprocess.run(["git", *identity, *command.split()], cwd=folder, check=True, capture_output=True)


def test_the_nearest_folder_upwards_is_the_project(folder: Path) -> None:
    write(folder / "bascule.toml", TOML)
    deep = folder / "notebooks" / "old"
    deep.mkdir(parents=True)
    assert Place(deep).folder == folder
    assert Place(deep).file.project.name == "p"
    write(folder / "notebooks" / "bascule.toml", TOML)
    assert Place(deep).folder == folder / "notebooks"


def test_a_workspace_without_a_project_file_is_enough(folder: Path) -> None:
    Workspace.create(folder)
    assert Place(folder).folder == folder
    assert Place(folder).branch == "main"


def test_no_project_is_told(folder: Path) -> None:
    with pytest.raises(NotFound) as missing:
        _ = Place(folder).folder
    assert (
        str(missing.value)
        == missing.value.message
        == (f"There is no project in {folder}: neither it nor a folder above it holds bascule.toml or .bascule/.")
    )
    assert "--project FOLDER" in missing.value.hint
    assert "bascule init DATA --label" in missing.value.hint
    (folder / "parcels").mkdir()
    with pytest.raises(NotFound, match=r"There is no folder .*parcel, and so no project") as missing:
        _ = Place(folder / "parcel").folder
    assert missing.value.hint == "Did you mean 'parcels'?"
    with pytest.raises(NotFound) as missing:
        _ = Place(folder / "nowhere").folder
    assert missing.value.hint.endswith(f"bascule init DATA --label WHAT_IS_LEARNED --into {folder / 'nowhere'}")


def test_a_workspace_is_named_by_the_caller_then_by_the_file(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, other = (tmp_path_factory.mktemp(name) for name in ("shared", "other"))
    write(folder / "bascule.toml", f'{TOML}[workspace]\nurl = "{shared}"\n')
    for place in (folder, shared, other):
        Workspace.create(place)
    assert Place(folder).workspace.folder == shared / ".bascule"
    monkeypatch.setenv("BASCULE_WORKSPACE", str(other))
    assert Place(folder).workspace.folder == other / ".bascule"
    assert Place(folder, workspace=str(folder)).workspace.folder == folder / ".bascule"


def test_a_workspace_that_is_not_there_is_told(folder: Path) -> None:
    write(folder / "bascule.toml", TOML)
    with pytest.raises(NotFound, match="There is no workspace named"):
        _ = Place(folder).workspace
    write(folder / "bascule.toml", '[project]\nname = "p"\n[workspace]\nurl = "https://bascule.example.org"\n')
    with pytest.raises(InputError, match="is a server's address"):
        _ = Place(folder).workspace
    write(folder / "bascule.toml", "[project]\nnam = 1\n")
    with pytest.raises(ProjectFileError, match=r"bascule.toml:2: \[project.nam\]"):
        _ = Place(folder).workspace


def test_the_branch_is_the_callers_then_the_written_one_then_gits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace.create(folder)
    for name in ("asked", "environment", "written"):
        workspace.history.create_branch(name)
    assert Place(folder).branch == "main"
    git(folder, "init -q -b trunk")
    git(folder, "commit -q --allow-empty -m x")
    assert Place(folder).branch == "trunk"
    assert Place(folder).follows_git
    Place(folder).write_down("written")
    assert Place(folder).branch == "written"
    assert not Place(folder).follows_git
    monkeypatch.setenv("BASCULE_BRANCH", "environment")
    assert Place(folder).branch == "environment"
    assert Place(folder, branch="asked").branch == "asked"
    with pytest.raises(NotFound, match="There is no branch named 'aksed'") as missing:
        _ = Place(folder, branch="aksed").branch
    assert missing.value.hint == "Did you mean 'asked'?"


@pytest.mark.parametrize(("named", "known"), [("main", "main"), ("master", "main"), ("rain", "rain")])
def test_gits_branch_is_made_when_it_is_new(folder: Path, named: str, known: str) -> None:
    workspace = Workspace.create(folder)
    workspace.history.commit("main", {"monitors/m": {"kind": "monitor"}}, message="one")
    git(folder, f"init -q -b {named}")
    assert Place(folder).branch == known
    assert workspace.history.resolve(known).id == workspace.history.resolve("main").id


def test_a_detached_head_means_no_branch(folder: Path) -> None:
    """CI checks out commits; what it runs must not land on production by a guess."""
    Workspace.create(folder)
    git(folder, "init -q -b rain")
    git(folder, "commit -q --allow-empty -m x")
    git(folder, "checkout -q --detach")
    with pytest.raises(InputError, match="a detached HEAD") as told:
        _ = Place(folder).branch
    assert "--branch NAME" in told.value.hint
    assert Place(folder, branch="main").branch == "main"
    assert not Place(folder).follows_git
    Place(folder).switch("main")
    assert Place(folder).branch == "main"


def test_the_current_branch_is_not_deleted(folder: Path, bascule: Callable[..., Any]) -> None:
    workspace = Workspace.create(folder)
    assert bascule("switch", "-c", "dev").code == 0
    said = bascule("branch", "--delete", "dev")
    assert said.code == 2
    assert "'dev' is the current branch." in said.err
    assert "bascule switch main" in said.err
    assert "dev" in {ref.name for ref in workspace.history.branches()}
    assert bascule("switch", "main").code == 0
    assert bascule("branch", "--delete", "dev").code == 0


def test_a_workspace_that_is_named_can_stand_alone(tmp_path: Path) -> None:
    alone, elsewhere = tmp_path / "alone", tmp_path / "elsewhere"
    elsewhere.mkdir()
    Workspace.create(alone).close()
    place = Place(elsewhere, str(alone))
    assert (place.folder, place.has_file, place.branch) == (alone, False, "main")
    with pytest.raises(NotFound, match="workspace"):
        _ = Place(elsewhere, str(tmp_path / "nothing")).folder
