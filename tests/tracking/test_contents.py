"""What a script read is what it found when it opened it, whatever becomes of the file."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.tracking.test_frameworks import python_with

from bascule.capture import module
from bascule.history import Workspace
from bascule.store import digest_of
from bascule.tracking.ambient import track
from bascule.tracking.ambient.contents import UNKNOWN, Contents, contents_of, digest_if, found_now
from bascule.tracking.ambient.gathering import closing
from bascule.tracking.ambient.session import Session
from bascule.tracking.reading import read_run

SCRIPT = """
import os
for name in ("same", "self", "gone", "replaced", "other", "more"):
    open(name + ".csv").read()
open("self.csv", "w").write("new")
os.remove("gone.csv")
open("new.tmp", "w").write("new")
os.replace("new.tmp", "replaced.csv")
open("more.csv", "a").write("more")
open("both.json", "r+").write("zz")
os.mkdir("made.tmp")
open("made.tmp/one", "w").write("1")
os.rename("made.tmp", "made")
try:
    open("missing.csv")
except FileNotFoundError:
    open("missing.csv", "w").write("1")
os.system("echo by another program > other.csv")
"""
READ = ("same.csv", "self.csv", "gone.csv", "replaced.csv", "more.csv", "both.json")
WROTE = {"self.csv": b"new", "replaced.csv": b"new", "both.json": b"zz:1}", "made/one": b"1", "missing.csv": b"1"}


@pytest.fixture
def project(tmp_path: Path, local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "project"
    for name in (*READ, "other.csv"):
        (place / name).write_text("{a:1}" if name == "both.json" else f"as it was: {name}")
    (place / "train.py").write_text(SCRIPT)
    monkeypatch.chdir(place)
    return place


SQLITE = """
import sqlite3
for name in ("changed.db", "file:same.db?mode=ro", "new.db", ":memory:"):
    with sqlite3.connect(name, uri=True) as base:
        if "same" not in name:
            base.execute("CREATE TABLE u AS SELECT 1 AS a")
        else:
            base.execute("SELECT count(*) FROM t").fetchone()
    base.close()
"""


@pytest.mark.slow
def test_sqlite_s_files_are_known_as_they_were_opened(local_workspace: Workspace, project: Path) -> None:
    before = {}
    for name in ("changed.db", "same.db"):
        with contextlib.closing(sqlite3.connect(project / name)) as base:
            base.execute("CREATE TABLE t AS SELECT 1 AS a")
        before[name] = digest_of((project / name).read_bytes())
    (project / "train.py").write_text(SQLITE)
    done = track(local_workspace, project, [sys.executable, "train.py"], "main")
    assert done.exit_code == 0
    assert done.inputs == before
    assert local_workspace.store.has(before["changed.db"])
    assert done.outputs == {name: digest_of((project / name).read_bytes()) for name in ("changed.db", "new.db")}


LOGGED = """
import sqlite3
base = sqlite3.connect("logged.db")
rows = base.execute("SELECT count(*) FROM t").fetchone()
quiet = sqlite3.connect("quiet.db")
quiet.execute("SELECT count(*) FROM t").fetchone()
base.execute("INSERT INTO t VALUES (7)")
base.commit()
"""


@pytest.mark.slow
def test_what_lies_in_sqlite_s_log_is_read_and_written_too(local_workspace: Workspace, project: Path) -> None:
    others = [sqlite3.connect(project / name) for name in ("logged.db", "quiet.db")]
    for base in others:
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("CREATE TABLE t AS SELECT 1 AS a")
        base.commit()
    before = digest_of((project / "logged.db-wal").read_bytes())
    (project / "train.py").write_text(LOGGED)
    done = track(local_workspace, project, [sys.executable, "train.py"], "main")
    assert done.exit_code == 0
    assert done.inputs["logged.db-wal"] == before
    assert local_workspace.store.has(before)
    assert done.inputs.keys() == {"logged.db", "logged.db-wal", "quiet.db", "quiet.db-wal"}
    assert done.outputs == {name: digest_of((project / name).read_bytes()) for name in ("logged.db", "logged.db-wal")}
    for base in others:
        base.close()


SAFE_OPEN = """
import sys
import numpy
from safetensors import safe_open
if "make" in sys.argv:
    from safetensors.numpy import save_file
    save_file({"a": numpy.zeros(3)}, "weights.safetensors")
    sys.exit()
with safe_open("weights.safetensors", framework="np") as held:
    assert held.get_tensor("a").shape == (3,)
assert isinstance(held, safe_open)  # it is as good as the class that it stands before
safe_open | None
"""


@pytest.mark.slow
def test_what_safetensors_opens_is_an_input(local_workspace: Workspace, project: Path) -> None:
    python = python_with("safetensors", "numpy")
    (project / "train.py").write_text(SAFE_OPEN)
    subprocess.run([python, "train.py", "make"], cwd=project, check=True)
    done = track(local_workspace, project, [python, "train.py"], "main")
    assert done.exit_code == 0
    assert done.inputs == {"weights.safetensors": digest_of((project / "weights.safetensors").read_bytes())}
    assert done.outputs == {}


def test_inputs_are_known_as_they_were_when_they_were_opened(local_workspace: Workspace, project: Path) -> None:
    before = {name: digest_of((project / name).read_bytes()) for name in READ}
    done = track(local_workspace, project, [sys.executable, "train.py"], "main")

    assert done.exit_code == 0
    assert {name: done.inputs[name] for name in READ} == before
    for name in set(READ) - {"same.csv"}:  # what the script itself changed can be had again
        assert local_workspace.store.has(before[name]), name
    # What another program changed is told, and not taken for what was read.
    assert done.inputs["other.csv"].startswith(UNKNOWN)
    assert done.inputs.keys() == {*READ, "other.csv"}
    assert any("other.csv was changed" in line for line in done.warnings)
    assert "other.csv was changed" in read_run(local_workspace, done.run_id)["tags"]["warnings"]
    more = {"more.csv": digest_of(b"as it was: more.csvmore")}
    assert done.outputs == {name: digest_of(data) for name, data in WROTE.items()} | more
    assert not local_workspace.store.has(more["more.csv"])


@pytest.mark.slow
def test_outputs_are_kept_when_that_is_asked(
    local_workspace: Workspace, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No text: text that a quick script rewrites may be in the code, which is read in its first moments.
    (project / "train.py").write_text("import sys; open('out.bin', 'w').write(sys.argv[1])")
    monkeypatch.setenv("BASCULE_KEEP_OUTPUTS", "1")
    track(local_workspace, project, [sys.executable, "train.py", "first"], "main")
    assert local_workspace.store.get(digest_of(b"first")) == b"first"
    monkeypatch.setenv("BASCULE_KEEP_OUTPUTS", "0")
    track(local_workspace, project, [sys.executable, "train.py", "third"], "main")
    assert not local_workspace.store.has(digest_of(b"third"))


def test_what_was_digested_in_time_stays_known(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for who brings the journal in after the one that had digested it is gone."""
    session = Session(Path(module("bascule_session").create(name="x", command=["x"], start=str(project))))
    journal = module("bascule_journal").Journal(str(session.folder))
    path = project / "same.csv"
    for mode in ("r", "r"):
        found = found_now(path)
        journal.note({"kind": "file", "mode": mode, "path": str(path), "found": found})
        contents_of(session.folder).look()
        path.write_text(f"{path.read_text()} and more")
    journal.note({"kind": "warning", "text": "less"})
    journal.close()
    contents_of.cache_clear()
    every, _ = closing(session)
    (told,) = every.values()
    assert [(touch.path, touch.version) for touch in told.touched] == [("same.csv", digest_of(b"as it was: same.csv"))]
    assert "read again" in told.tags_told["warnings"]
    (session.folder / "contents").write_bytes(b'["torn')  # a machine that stopped
    assert Contents(session.folder).content(str(path), found).digest is None


def test_a_file_that_changes_while_it_is_digested_has_no_digest(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    found = found_now(path)
    assert found is not None
    assert digest_if(path, found) == digest_of(b"1")
    path.write_bytes(b"2" * 5)
    assert digest_if(path, found) is None
    assert found_now(tmp_path) is None


def test_the_class_before_safe_open_is_as_good_as_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class SafeOpen:
        def __init__(self, filename: str, framework: str) -> None:
            self.filename = filename

        def keys(self) -> list[str]:
            return [self.filename]

    stands_in: Any = ModuleType("safetensors")
    stands_in.safe_open = SafeOpen
    saved = module("bascule_frameworks.saved_files")
    monkeypatch.setattr(saved, "replaced", lambda *_: None)
    saved.wrap_safe_open(stands_in)
    opened = stands_in.safe_open("no-file", framework="np")
    assert isinstance(opened, stands_in.safe_open)
    assert issubclass(type(opened), stands_in.safe_open)
    assert not issubclass(str, stands_in.safe_open)
    assert stands_in.safe_open.keys(opened) == ["no-file"]
    assert not hasattr(stands_in.safe_open, "nothing")
