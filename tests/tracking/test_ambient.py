from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from bascule.catalog.schema import run_io
from bascule.errors import InputError
from bascule.history import Workspace
from bascule.store import digest_of
from bascule.tracking import find_run
from bascule.tracking.ambient import track
from bascule.tracking.reading import read_run

SCRIPT = """
import csv, sys
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
import lightgbm

with open("data.csv") as source:
    rows = [[float(x) for x in row] for row in csv.reader(source)]
x, y = [row[:-1] for row in rows], [int(row[-1]) for row in rows]
model = LogisticRegression(C=0.5).fit(x, y)
print("accuracy", accuracy_score(y, model.predict(x)))
import numpy
lightgbm.train({"objective": "binary", "verbosity": -1, "min_data_in_leaf": 1}, lightgbm.Dataset(numpy.array(x), y), 3)
with open("out.txt", "w") as out:
    out.write("done")
if len(sys.argv) > 1:
    raise RuntimeError("on purpose")
"""


@pytest.fixture
def folder(tmp_path: Path, local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "project"
    (place / "train.py").write_text(SCRIPT)
    (place / "data.csv").write_text("".join(f"{n},{n % 7},{int(n > 20)}\n" for n in range(40)))
    monkeypatch.chdir(place)
    return place


def rows_of(workspace: Workspace, table: Any, run: str) -> list[Any]:
    with workspace.catalog.read() as conn:
        return list(conn.execute(select(table).where(table.c.run_id == run)))


@pytest.mark.slow
def test_an_unchanged_script_is_recorded(local_workspace: Workspace, folder: Path) -> None:
    done = track(local_workspace, folder, [sys.executable, "train.py"], "main")

    assert done.exit_code == 0
    assert done.inputs == {"data.csv": digest_of((folder / "data.csv").read_bytes())}
    assert done.outputs == {"out.txt": digest_of(b"done")}
    assert done.metrics["accuracy_score"] > 0.9
    assert any(local_workspace.store.get(one).startswith(b"tree") for one in done.models)
    recorded = read_run(local_workspace, done.run_id)["params"]
    assert recorded["LogisticRegression.C"] == "0.5"
    assert recorded["LogisticRegression.fit_rows"] == "40"
    assert recorded["lightgbm.objective"] == "binary"
    measured = read_run(local_workspace, done.run_id)["metrics"]
    assert [name for name in measured if not name.startswith("system/")] == ["accuracy_score"]
    assert measured["system/memory_megabytes"] > 1
    assert {row.direction for row in rows_of(local_workspace, run_io, done.run_id)} == {"in", "out"}
    run = find_run(local_workspace, done.run_id)
    assert (run["status"], run["kind"], run["name"]) == ("done", "track", "train.py")
    assert run["code_snapshot"]
    assert list((local_workspace.folder / "journals").iterdir()) == []


@pytest.mark.slow
def test_a_script_that_fails_keeps_its_exit_code_and_says_why(local_workspace: Workspace, folder: Path) -> None:
    done = track(local_workspace, folder, [sys.executable, "train.py", "fail"], "main")
    assert done.exit_code == 1
    assert done.error == "RuntimeError: on purpose"
    assert find_run(local_workspace, done.run_id)["status"] == "failed"


def test_a_script_that_is_killed_leaves_what_it_did(local_workspace: Workspace, folder: Path) -> None:
    (folder / "die.py").write_text("open('data.csv').close()\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    done = track(local_workspace, folder, [sys.executable, "die.py"], "main")
    assert done.exit_code == -9
    assert list(done.inputs) == ["data.csv"]


@pytest.mark.slow
def test_names_that_are_no_text_are_recorded_as_far_as_they_go(local_workspace: Workspace, folder: Path) -> None:
    """Also of a file in the project, in whose repository git lists it."""
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    subprocess.run(["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q",
                    "--allow-empty", "-m", "."], check=True)  # fmt: skip
    (folder / "odd.py").write_text("import os; open(b'odd\\xff.txt', 'wb').write(b'1'); open('after.bin', 'w').close()")
    for _ in range(2):  # the second time git finds the file
        done = track(local_workspace, folder, [sys.executable, "odd.py", "\udcff"], "main")
        assert (done.exit_code, done.problem) == (0, None)
        assert done.outputs.keys() == {"odd\\udcff.txt", "after.bin"}


def test_a_command_that_cannot_start_is_told(local_workspace: Workspace, folder: Path) -> None:
    with pytest.raises(InputError, match="cannot be started"):
        track(local_workspace, folder, ["no-such-program"], "main")
    with pytest.raises(InputError, match="no command"):
        track(local_workspace, folder, [" "], "main")
    with pytest.raises(InputError, match="cannot be started") as error:
        track(local_workspace, folder, ["--jsn", "train.py"], "main")
    assert "no option" in str(error.value.hint)
