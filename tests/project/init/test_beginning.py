"""A project begins whole, with its workspace and its repository, or not at all."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

import fastavro
import pyarrow as pa
import pytest
from pyarrow import feather
from tests.project.init.conftest import WriteCsv

import bascule
from bascule.cli.starting import _told
from bascule.errors import AlreadyExists, EnvironmentProblem, InputError
from bascule.history import Workspace
from bascule.project.beginning import begin_project
from bascule.project.init import begin_repository

ROWS = [(1.5, "x"), (2.5, "z"), (3.5, "x"), (4.5, "z")]


@pytest.fixture
def data(write_csv: WriteCsv, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for key, value in {
        "GIT_CEILING_DIRECTORIES": str(tmp_path.parent),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Ana",
        "GIT_AUTHOR_EMAIL": "ana@example.org",
        "GIT_COMMITTER_NAME": "Ana",
        "GIT_COMMITTER_EMAIL": "ana@example.org",
    }.items():
        monkeypatch.setenv(key, value)
    return write_csv("t.csv", "a y", ROWS)


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_repository_is_made_and_holds_the_text_only(data: Path, tmp_path: Path) -> None:
    report = begin_project(data, "y", tmp_path)
    assert "a git repository was made here, on branch main, and the files were committed" in report.assumptions
    assert git(tmp_path, "branch", "--show-current") == "main"
    assert git(tmp_path, "status", "--porcelain") == ""
    held = set(git(tmp_path, "ls-files").splitlines())
    assert held == {".gitignore", "bascule.toml", "contracts/t.yaml", "features/population.sql"}
    Workspace.open(tmp_path).close()


def test_profiles_are_written_and_stay_out_of_git(data: Path, tmp_path: Path) -> None:
    report = begin_project(data, "y", tmp_path, profile=True)
    assert Path("profiles/t.html") in report.files
    page = (tmp_path / "profiles" / "t.html").read_text("utf-8")
    assert "What could be learned" in page
    assert '<span class="p-word">the label</span>' in page
    assert git(tmp_path, "status", "--porcelain") == ""
    assert not any(one.startswith("profiles") for one in git(tmp_path, "ls-files").splitlines())


def test_a_repository_that_is_there_is_left_alone(data: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "trunk")
    report = begin_project(data, "y", tmp_path)
    assert not any("git" in one for one in report.assumptions)
    assert "bascule.toml" in git(tmp_path, "status", "--porcelain")


def test_without_a_name_nothing_is_committed(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.delenv(key)
    for key, value in {"COUNT": "1", "KEY_0": "user.useConfigOnly", "VALUE_0": "true"}.items():
        monkeypatch.setenv(f"GIT_CONFIG_{key}", value)
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "a.txt").write_text("a")
    assert begin_repository(tmp_path / "project", [Path("a.txt")]).endswith("with nothing committed yet")
    assert (tmp_path / "project" / ".git").is_dir()


def test_without_git_there_is_no_repository(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    begin_project(data, "y", tmp_path)
    assert not (tmp_path / ".git").exists()


def test_git_may_be_left_out(data: Path, tmp_path: Path) -> None:
    begin_project(data, "y", tmp_path, git=False)
    assert not (tmp_path / ".git").exists()


@pytest.mark.slow
def test_a_database_that_does_not_answer_leaves_nothing(data: Path, tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "mine.sql").write_text("select 1")
    with pytest.raises(EnvironmentProblem, match="cannot be used"):
        begin_project(data, "y", tmp_path, catalog="postgresql://nobody@127.0.0.1:1/x")
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert left == {"data", "data/t.csv", "features", "features/mine.sql"}
    assert begin_project(data, "y", tmp_path).task == "binary"


@pytest.mark.slow
def test_what_a_killed_attempt_left_is_finished(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `kill -9` leaves it: some files, one of them half written, and no workspace."""
    begin_project(data, "y", tmp_path / "whole", git=False)
    texts = {path.relative_to(tmp_path / "whole"): path for path in (tmp_path / "whole").rglob("*.*ml")}
    for name in (Path("contracts/t.yaml"),):
        (tmp_path / "cut" / name).parent.mkdir(parents=True)
        (tmp_path / "cut" / name).write_bytes(texts[name].read_bytes()[:100])
    begin_project(data, "y", tmp_path / "cut", git=False)
    assert (tmp_path / "cut/contracts/t.yaml").read_bytes() == texts[Path("contracts/t.yaml")].read_bytes()

    shutil.rmtree(tmp_path / "cut" / ".bascule")
    (tmp_path / "cut" / ".bascule").mkdir()
    report = begin_project(data, "y", tmp_path / "cut", git=False)
    assert report.assumptions == ("the project was here already; its workspace was made",)
    Workspace.open(tmp_path / "cut").close()
    with pytest.raises(AlreadyExists):
        begin_project(data, "y", tmp_path / "cut", git=False)


def test_a_project_that_was_cloned_gets_its_workspace(data: Path, tmp_path: Path) -> None:
    begin_project(data, "y", tmp_path / "first", git=False)
    shutil.copytree(tmp_path / "first", tmp_path / "clone", ignore=shutil.ignore_patterns(".bascule"))
    file = tmp_path / "clone" / "bascule.toml"
    file.write_text(file.read_text() + '\n[workspace]\nurl = "../shared/.bascule"\n')
    said = _told(begin_project(None, None, tmp_path / "clone"))
    assert said == f"The project in {(tmp_path / 'clone').resolve()} has its workspace now.\n\nNext: bascule run"
    Workspace.open(tmp_path / "shared").close()
    assert not (tmp_path / "clone" / ".bascule").exists()
    file = tmp_path / "scripts" / "bascule.toml"
    file.parent.mkdir()
    file.write_text('[project]\nname = "scripts"\n')
    assert _told(begin_project(None, None, file.parent)).endswith("\n\nNext: bascule track python train.py")


@pytest.mark.slow
def test_files_in_every_format_are_tables_and_people_are_known_by_what_they_do(data: Path, tmp_path: Path) -> None:
    (data / "t.csv").unlink()
    people = [{"id": n, "age": 20 + n % 7, "town": "Köln" if n % 2 else "Ulm"} for n in range(1, 41)]
    kinds = [{"name": "id", "type": "long"}, {"name": "age", "type": "long"}, {"name": "town", "type": "string"}]
    with (data / "people.avro").open("wb") as out:
        fastavro.writer(out, {"type": "record", "name": "person", "fields": kinds}, people)
    lines = [f"o{n:05d},{n * 7 % 40 + 1},{n % 9},{n % 2}" for n in range(400)]
    with zipfile.ZipFile(data / "orders.zip", "w") as packed:
        packed.writestr("orders.csv", "order_no,customer,amount,returned\n" + "\n".join(lines) + "\n")
    (data / "notes.csv").write_bytes("note,n\nGrüße,1\nÄpfel,2\n".encode("cp1252"))
    feather.write_feather(pa.table({"town": ["Köln", "Ulm", "Bonn"], "size": [1, 2, 3]}), data / "towns.feather")
    report = begin_project(data, "returned", tmp_path)
    told = "\n".join(report.assumptions)
    assert "table people: 40 rows from one file (people.avro)" in told
    assert "table orders: 400 rows from one file (orders.zip)" in told
    assert "table towns: 3 rows from one file (towns.feather)" in told
    assert "notes.csv is not UTF-8; it is read as cp1252 (Western European)" in told
    assert "people joined by customer = id (100% of the values found)" in told
    with bascule.open(tmp_path) as project:
        assert project.table("folk").create(source=data / "people.avro").rows == 40
        with pytest.raises(InputError, match=r"data holds files of several formats"):
            project.table("all").create(source=data)
