"""`bascule merge --with-git`: git and Bascule land together, or neither does, also when killed in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bascule as api
from bascule.history import Workspace
from bascule.project.tandem import pending
from tests.cli.conftest import Said, bascule, folder

__all__ = ["bascule", "folder"]

Bascule = Callable[..., Said]
SOURCE = Path(api.__file__).parents[1]


def git(*arguments: str, folder: Path | None = None) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, cwd=folder)
    return done.stdout.strip()


def head(name: str = "main") -> str:
    return Workspace.open(Path.cwd()).history.resolve(name).id


@pytest.fixture
def both(folder: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository and a workspace, each with a branch `dev` that is one commit ahead; git stands on main."""
    for name, value in (("NAME", "Ana"), ("EMAIL", "ana@example.org")):
        for role in ("AUTHOR", "COMMITTER"):
            monkeypatch.setenv(f"GIT_{role}_{name}", value)
    git("init", "-q", "-b", "main")
    Workspace.create(folder).close()
    (folder / ".gitignore").write_text(".bascule\n*.csv\n")
    (folder / "code.sql").write_text("select 1\n")
    (folder / "other.sql").write_text("select 1\n")
    git("add", ".")
    git("commit", "-q", "-m", "Begin")
    (folder / "rows.csv").write_text("id,size\n1,2\n2,3\n")
    assert bascule("ingest", "rows", "rows.csv", "--key", "id").code == 0
    assert bascule("switch", "dev", "--create").code == 0
    (folder / "more.csv").write_text("id,size\n3,4\n")
    assert bascule("ingest", "rows", "more.csv").code == 0
    (folder / "code.sql").write_text("select 2\n")
    (folder / "new.sql").write_text("select 3\n")
    git("add", ".")
    git("commit", "-q", "-m", "Work")
    git("switch", "-q", "main")
    return folder


def both_merged() -> bool:
    """Whether both are; that neither is half is asserted."""
    data = [commit for commit in Workspace.open(Path.cwd()).history.log("main") if "git" in commit.meta]
    merged = "Bascule-Commit: " in git("log", "--format=%B", "main")
    assert bool(data) == merged
    if merged:
        assert git("merge-base", "main", data[0].meta["git"]["commit"]) == data[0].meta["git"]["commit"]
    return merged


@pytest.mark.slow
def test_both_land(both: Path, bascule: Bascule) -> None:
    dev = head("dev")
    done = bascule("merge", "dev", "--with-git", "--json").json()
    assert done["git"] == git("rev-parse", "main")
    assert git("log", "-1", "--format=%P", "main").split() == [git("rev-parse", "main~1"), git("rev-parse", "dev")]
    assert f"Bascule-Commit: {dev}" in git("log", "-1", "--format=%B", "main")
    commit = Workspace.open(both).history.resolve("main")
    assert commit.meta["git"] == {"commit": done["git"], "ref": "refs/heads/main", "source": git("rev-parse", "dev")}
    assert (both / "code.sql").read_text() == "select 2\n"  # the files of whoever stands there follow
    assert (both / "new.sql").exists()
    assert git("status", "--porcelain") == ""
    assert both_merged()
    assert not (both / ".bascule" / "merge-with-git.json").exists()
    assert bascule("merge", "dev", "--with-git").code == 0  # again: both have everything
    assert git("rev-parse", "main") == done["git"]


@pytest.mark.slow
def test_from_another_branch_and_squashed(both: Path, bascule: Bascule) -> None:
    git("switch", "-q", "dev")
    assert bascule("merge", "dev", "main", "--with-git", "--squash", "-m", "Ship it").code == 0
    assert git("log", "-1", "--format=%P", "main") == git("rev-parse", "main~1")
    assert git("log", "-1", "--format=%s", "main") == "Ship it"
    assert git("show", "main:code.sql") == "select 2"
    assert git("status", "--porcelain") == ""
    assert both_merged()


@pytest.mark.slow
def test_files_in_another_working_tree_follow(both: Path, bascule: Bascule, tmp_path: Path) -> None:
    git("switch", "-q", "dev")
    other = tmp_path.parent / f"{tmp_path.name}-tree"
    git("worktree", "add", "-q", str(other), "main")
    assert bascule("merge", "dev", "main", "--with-git").code == 0
    assert (other / "code.sql").read_text() == "select 2\n"
    assert git("status", "--porcelain", folder=other) == ""


@pytest.mark.slow
def test_a_conflict_in_git_stops_both(both: Path, bascule: Bascule) -> None:
    (both / "code.sql").write_text("select 9\n")
    git("commit", "-q", "-am", "Else")
    before = head(), git("rev-parse", "main")
    said = bascule("merge", "dev", "--with-git")
    assert said.code == 1
    assert "both changed code.sql" in said.err
    assert "git switch dev; git merge main" in said.err
    assert (head(), git("rev-parse", "main")) == before
    assert git("status", "--porcelain") == ""


@pytest.mark.slow
def test_a_refusal_of_the_data_stops_both(both: Path, bascule: Bascule) -> None:
    assert bascule("table", "drop", "rows", "--branch", "dev").code == 0
    (both / "again.csv").write_text("id,size\n7,7\n")
    assert bascule("ingest", "rows", "again.csv").code == 0
    before = head(), git("rev-parse", "main")
    said = bascule("merge", "dev", "--with-git")
    assert said.code == 1
    assert "tables/rows" in said.err
    assert (head(), git("rev-parse", "main")) == before
    assert git("status", "--porcelain") == ""
    assert pending(Workspace.open(both)) is None


@pytest.mark.slow
def test_changed_files_in_the_way_stop_both(both: Path, bascule: Bascule) -> None:
    (both / "code.sql").write_text("unsaved\n")
    before = head(), git("rev-parse", "main")
    said = bascule("merge", "dev", "--with-git")
    assert said.code == 2
    assert "git stash" in said.err
    assert (head(), git("rev-parse", "main")) == before
    assert (both / "code.sql").read_text() == "unsaved\n"
    (both / "code.sql").write_text("select 1\n")
    (both / "other.sql").write_text("unsaved\n")  # not in the way
    assert bascule("merge", "dev", "--with-git").code == 0
    assert (both / "other.sql").read_text() == "unsaved\n"


@pytest.mark.slow
def test_mistakes_are_told(both: Path, bascule: Bascule, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert bascule("branch", "alone").code == 0
    said = bascule("merge", "alone", "--with-git")
    assert said.code == 2
    assert "no git branch named 'alone'" in said.err
    git("merge", "-q", "--no-commit", "--no-ff", "dev")
    said = bascule("merge", "dev", "--with-git")
    assert said.code == 2
    assert "A git merge is under way" in said.err


def test_without_a_repository(folder: Path, bascule: Bascule) -> None:
    Workspace.create(folder).close()
    assert bascule("branch", "dev").code == 0
    said = bascule("merge", "dev", "main", "--with-git")
    assert said.code == 2
    assert "is in no git repository" in said.err


@pytest.mark.slow
def test_only_one_side_is_new(both: Path, bascule: Bascule) -> None:
    assert bascule("merge", "dev").code == 0  # the data alone
    data = head()
    assert bascule("merge", "dev", "--with-git").code == 0
    assert head() == data
    assert git("show", "main:code.sql") == "select 2"
    assert (both / "code.sql").read_text() == "select 2\n"
    assert bascule("ingest", "rows", "rows.csv", "--branch", "dev").code == 0
    (both / "last.csv").write_text("id,size\n9,9\n")
    assert bascule("ingest", "rows", "last.csv", "--branch", "dev").code == 0
    code = git("rev-parse", "main")
    assert bascule("merge", "dev", "--with-git").code == 0  # git has everything
    assert git("rev-parse", "main") == code
    assert head() != data


KILLS = {
    "before it lands": ("Pair", "hold", "before"),
    "with git's branch locked": ("Pair", "hold", "after"),
    "between the two": ("Pair", "finish", "before"),
    "before the files": ("moving", "files_follow", "before"),
    "before the journal is gone": ("journal", "clear", "before"),
}


def killed(where: tuple[str, str, str], *arguments: str) -> None:
    """Run a command that is killed at a place."""
    holder, name, when = where
    script = f"""
        import os, signal, sys
        from bascule.project.tandem import journal, moving, pair
        from bascule.project.tandem.pair import Pair
        was = {holder}.{name}
        def die(*a, **k):
            if "{when}" == "after":
                was(*a, **k)
            os.kill(os.getpid(), signal.SIGKILL)
        {holder}.{name} = die
        from bascule.cli.main import run
        sys.exit(run({list(arguments)!r}))
    """
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("where", KILLS.values(), ids=KILLS)
def test_killed_anywhere_the_next_command_settles(
    both: Path, bascule: Bascule, where: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(where, "merge", "dev", "--with-git")
    landed = where[1] != "hold"
    found = {row["subject"]: row for row in bascule("doctor", "--json").json()["findings"]}["merge with git"]
    assert found["level"] == "note"
    assert ("is finished now" if landed else "nothing was changed") in found["message"]
    assert both_merged() == landed
    assert git("status", "--porcelain") == ""
    assert pending(Workspace.open(both)) is None
    assert {row["action"] for row in bascule("audit", "log", "--json").json()} >= {"merge-with-git"}
    assert bascule("merge", "dev", "--with-git").code == 0
    assert both_merged()
    assert git("show", "main:code.sql") == "select 2"
    assert (both / "code.sql").read_text() == "select 2\n"
    git("commit", "-q", "--allow-empty", "-m", "Nothing is locked")


@pytest.mark.slow
def test_a_stale_lock_of_a_dead_machine_is_removed(both: Path, bascule: Bascule) -> None:
    killed(KILLS["between the two"], "merge", "dev", "--with-git")
    half = pending(Workspace.open(both))
    assert half is not None
    (both / ".git" / "refs" / "heads" / "main.lock").write_text(half.after + "\n")
    assert bascule("status").code == 0
    assert both_merged()


@pytest.mark.slow
def test_git_moved_before_it_could_be_finished(both: Path, bascule: Bascule) -> None:
    killed(KILLS["between the two"], "merge", "dev", "--with-git")
    (both / "other.sql").write_text("select 8\n")
    git("commit", "-q", "-am", "Somebody else")
    assert bascule("status").code == 0
    assert git("show", "main:code.sql") == "select 2"
    assert git("show", "main:other.sql") == "select 8"
    assert (both / "code.sql").read_text() == "select 2\n"
    assert git("status", "--porcelain") == ""


@pytest.mark.slow
def test_git_moved_against_it(both: Path, bascule: Bascule) -> None:
    killed(KILLS["between the two"], "merge", "dev", "--with-git")
    (both / "code.sql").write_text("select 8\n")
    git("commit", "-q", "-am", "Somebody else")
    said = bascule("doctor", "--json")
    assert said.code == 1
    found = {row["subject"]: row for row in said.json()["findings"]}["merge with git"]
    assert found["level"] == "damage"
    assert "both changed code.sql" in found["message"]
    said = bascule("merge", "dev", "--with-git")
    assert said.code != 0
    git("merge", "-q", "-s", "ours", "-m", "Settled by hand", "dev")
    assert bascule("doctor").code == 0
    assert pending(Workspace.open(both)) is None


@pytest.mark.slow
def test_git_moves_while_checks_run(both: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch) -> None:
    from bascule.project import publishing

    check = publishing.check_staged

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        git("commit", "-q", "--allow-empty", "-m", "Somebody else")
        return check(*arguments, **options)

    monkeypatch.setattr(publishing, "check_staged", meanwhile)
    before = head()
    said = bascule("merge", "dev", "--with-git")
    assert said.code == 1
    assert "moved or is locked" in said.err
    assert "Repeat the merge" in said.err
    assert head() == before
    assert pending(Workspace.open(both)) is None
