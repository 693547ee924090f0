from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import select

from bascule.catalog.schema import run_io
from bascule.errors import CheckFailed, NotFound
from bascule.history import Workspace
from bascule.tracking import capture_code, find_run, recorded, restore_code
from bascule.tracking.code import Code
from bascule.tracking.reading import read_run


@pytest.mark.slow
def test_a_run_keeps_what_it_was_told(workspace: Workspace) -> None:
    with recorded(workspace, name="train", kind="step", branch="main") as run:
        run.params({"rounds": 100, "objective": "binary"})
        run.params({"rounds": 200})
        run.metrics([("loss", 0.5, 0), ("loss", 0.4, 1)])
        run.reads("tables/flights", "abc", rows=3)
        run.writes("models/delays", "def")
    row = find_run(workspace, run.id[:12])
    assert row["status"] == "done"
    assert row["finished_at"] >= row["started_at"]
    told = read_run(workspace, run.id)
    assert told["params"] == {"rounds": "100", "objective": "binary"}
    assert told["metrics"] == {"loss": 0.4}
    with workspace.catalog.read() as conn:
        assert {(r.direction, r.path, r.rows) for r in conn.execute(select(run_io))} == {
            ("in", "tables/flights", 3),
            ("out", "models/delays", None),
        }


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (ValueError("bad"), "failed", "ValueError: bad"),
        (CheckFailed("refused"), "failed", "refused"),
        (KeyboardInterrupt(), "cancelled", "Interrupted"),
    ],
)
def test_a_run_that_ends_badly_says_how(
    local_workspace: Workspace, error: BaseException, status: str, words: str
) -> None:
    def fail() -> None:
        with recorded(local_workspace, name="train", kind="step") as run:
            names.append(run.id)
            raise error

    names: list[str] = []
    with pytest.raises(type(error)):
        fail()
    row = find_run(local_workspace, names[0])
    assert (row["status"], words in row["error"]) == (status, True)


def test_an_unknown_run_is_not_found(local_workspace: Workspace) -> None:
    with pytest.raises(NotFound):
        find_run(local_workspace, "run_none")


def test_code_comes_back_without_git(
    local_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "code"
    (folder / "features").mkdir(parents=True)
    (folder / "features" / "a.sql").write_text("select 1")
    (folder / "bascule.toml").write_text("x = 1")
    (folder / "image.bin").write_bytes(b"\0")
    code = capture_code(folder, local_workspace.store)
    assert code.commit is None
    assert restore_code(code.snapshot, local_workspace.store, tmp_path / "back") == ["bascule.toml", "features/a.sql"]
    assert (tmp_path / "back" / "features" / "a.sql").read_text() == "select 1"


def test_a_dirty_tree_is_said_to_be_dirty(local_workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "a.py").write_text("x = 1")

    def git(*arguments: str) -> None:
        identity = ["-c", "user.email=ana@example.org", "-c", "user.name=Ana"]
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)

    def kept(code: Code) -> list[str]:
        return sorted(json.loads(local_workspace.store.get(code.snapshot)))

    (folder / "fit.R").write_text("lm(y)")
    (folder / "picture.bin").write_bytes(b"\0")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    clean = capture_code(folder, local_workspace.store)
    assert clean.dirty is False
    assert kept(clean) == ["a.py"]
    (folder / "fit.R").write_text("lm(z)")  # of a language that is not known here: what differs from the commit is code
    (folder / "picture.bin").write_bytes(b"\0\1")
    assert kept(capture_code(folder, local_workspace.store)) == ["a.py", "fit.R"]
    (folder / "b.py").write_text("y = 1")
    dirty = capture_code(folder, local_workspace.store)
    assert (dirty.commit, dirty.dirty) == (clean.commit, True)
    assert dirty.snapshot != clean.snapshot
