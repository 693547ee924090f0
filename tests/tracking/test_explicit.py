"""Runs that a script records by itself: `bascule.run`, `import bascule.ambient`, and notebooks."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

import bascule
from bascule.errors import InputError
from bascule.history import Workspace
from bascule.tracking.curves import history
from bascule.tracking.listing import list_runs
from bascule.tracking.reading import read_run
from bascule.tracking.tracker import Tracker

EXPLICIT = """
import math, threading
import bascule
with bascule.run("try 1", experiment="flights", tags={"team": "a"}, params={"lr": 0.1}) as run:
    for step in range(3):
        run.log(step=step, loss=1 / (step + 1), nan=math.nan)
    run.log(loss=0.25, auto=1)
    run.metrics("curve", [3, 2, 1])
    run.params({"depth": 3, "odd": object}, rate=0.5)
    run.param("depth", 4)
    run.tag("note", "x")
    run.reads("s3://bucket/data", version="7")
    run.text("notes", "kept")
    run.table("rows", [{"a": 1}, {"a": None}])
    run.artifact(b"12", "bytes.bin")
    run.artifact("folder")
    threads = [threading.Thread(target=run.metric, args=(f"t{n}", n)) for n in range(4)]
    [t.start() for t in threads], [t.join() for t in threads]
    with bascule.run("inner") as inner:
        inner.log(acc=1.0)
        inner.reads("folder/one.txt")
        inner.writes("folder/two.txt")
    for bad, what in ((lambda: run.log(loss="x"), ValueError), (lambda: run.artifact(b"", "../x"), ValueError),
                      (lambda: run.artifact("gone"), FileNotFoundError),
                      (lambda: run.metrics("a", [1], [1, 2]), ValueError),
                      (lambda: run.figure("f", 1), TypeError), (lambda: run.table("t", 1), TypeError)):
        try:
            bad()
        except what:
            continue
        raise AssertionError(what)
print(run.id, inner.id)
try:
    with bascule.run("fails") as failing:
        raise KeyError("gone")
except KeyError:
    pass
with bascule.run(id=failing.id) as again:
    again.log(more=1)
print(failing.id)
"""


@pytest.fixture
def folder(tmp_path: Path, local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "project"
    monkeypatch.chdir(place)
    return place


def script(folder: Path, text: str, *before: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(text)
    command = [*before, sys.executable, "script.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)


def steps(workspace: Workspace, run: str, key: str) -> list[tuple[int, float]]:
    return [(one.step, one.value) for one in history(Tracker(workspace), run, key).found]


@pytest.mark.slow
def test_a_run_of_ones_own_says_what_it_is_told(local_workspace: Workspace, folder: Path) -> None:
    (folder / "folder").mkdir()
    (folder / "folder" / "one.txt").write_text("1")
    (folder / "folder" / "two.txt").write_text("2")
    done = script(folder, EXPLICIT)
    assert (done.returncode, done.stderr) == (0, "")
    run, inner, failing = done.stdout.split()
    told = read_run(local_workspace, run)
    assert told["run"]["status"] == "done"
    assert told["params"] | {"odd": ""} == {"lr": "0.1", "depth": "3", "rate": "0.5", "odd": ""}
    assert (told["tags"]["team"], told["tags"]["note"]) == ("a", "x")
    assert steps(local_workspace, run, "loss") == [(0, 1.0), (1, 0.5), (2, 1 / 3), (3, 0.25)]
    assert steps(local_workspace, run, "curve") == [(0, 3.0), (1, 2.0), (2, 1.0)] or set(
        steps(local_workspace, run, "curve")
    ) == {(0, 3.0), (1, 2.0), (2, 1.0)}
    assert math.isnan(told["metrics"]["nan"])
    assert {f"t{n}" for n in range(4)} <= set(told["metrics"])
    assert told["inputs"]["s3://bucket/data"] == "7"
    kept = local_workspace.folder / "artifacts" / str(told["run"]["experiment_id"]) / run / "artifacts"
    assert (kept / "notes.txt").read_text() == "kept"
    assert (kept / "folder" / "one.txt").read_text() == "1"
    assert pyarrow.parquet.read_table(kept / "rows.parquet").to_pylist() == [{"a": 1}, {"a": None}]
    below = read_run(local_workspace, inner)
    assert (below["run"]["parent_id"], below["run"]["status"], below["metrics"]) == (run, "done", {"acc": 1.0})
    assert (list(below["inputs"]), list(below["outputs"])) == (["folder/one.txt"], ["folder/two.txt"])
    assert "folder/two.txt" not in told["outputs"]
    failed = read_run(local_workspace, failing)
    assert (failed["run"]["status"], failed["run"]["error"]) == ("failed", "KeyError: 'gone'")
    assert failed["metrics"]["more"] == 1  # resumed by its id
    assert list((local_workspace.folder / "journals").iterdir()) == []


AMBIENT = """
import bascule.ambient
import multiprocessing, os, random, subprocess, sys
def work(n):
    import bascule
    open(f"w{n}.txt", "w").write("x")
    bascule.active_run().metric(f"w{n}", n)
if __name__ == "__main__":
    random.seed(5)
    print("printed")
    for kind in ("spawn", "fork"):
        one = multiprocessing.get_context(kind).Process(target=work, args=(kind == "fork",))
        one.start(); one.join()
    subprocess.run([sys.executable, "-c", "open('sub.txt', 'w').write('1')"])
    raise ValueError("oops")
"""


@pytest.mark.slow
def test_one_line_records_a_process_and_those_that_it_starts(local_workspace: Workspace, folder: Path) -> None:
    done = script(folder, AMBIENT)
    assert done.returncode == 1
    assert done.stderr.endswith("ValueError: oops\n")
    (row,) = list_runs(local_workspace, 5)
    told = read_run(local_workspace, row["run"])
    assert (row["name"], row["status"], row["error"]) == ("script.py", "failed", "ValueError: oops")
    assert set(told["outputs"]) == {"wTrue.txt", "wFalse.txt", "sub.txt"}
    assert (told["metrics"]["wTrue"], told["metrics"]["wFalse"]) == (1, 0)
    assert told["params"]["random.seed"] == "5"
    assert "script.py" in told["environment"]["sources"]
    assert told["environment"]["trace"][-1] == "ValueError: oops"
    assert told["environment"]["executable"] == sys.executable
    assert local_workspace.store.get(told["tags"]["output"]).startswith(b"printed\n")


@pytest.mark.slow
def test_in_a_tracked_script_runs_are_below_the_scripts(local_workspace: Workspace, folder: Path) -> None:
    text = (
        "import bascule, bascule.ambient\nbascule.active_run().log(own=1)\n"
        "for n in range(2):\n    with bascule.run(f'try {n}', params={'n': n}) as run:\n        run.log(loss=n)\n"
    )
    done = script(folder, text, sys.executable, "-m", "bascule", "track")
    assert done.returncode == 0, done.stderr
    own, *below = sorted((read_run(local_workspace, row["run"]) for row in list_runs(local_workspace, 9)), key=_age)
    assert own["metrics"]["own"] == 1
    assert {run["run"]["parent_id"] for run in below} == {own["run"]["id"]}
    assert [(run["run"]["name"], run["params"], run["metrics"]["loss"]) for run in below] == [
        (f"try {n}", {"n": str(n)}, n) for n in range(2)
    ]


def _age(run: dict[str, Any]) -> str:
    return str(run["run"]["id"])


def test_what_is_no_project_is_told_once_and_the_script_goes_on(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import bascule.ambient\nprint('ran')\n")
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert "there is no project here" in done.stderr
    assert len([*(tmp_path / "state").rglob("session.json")]) == 1
    file = tmp_path / "file"
    file.write_text("")
    full = {**os.environ, "XDG_STATE_HOME": str(file)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=full)
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert done.stderr.startswith("bascule: this run is not recorded:")
    assert len(done.stderr.splitlines()) == 1


REFUSED = """
import bascule
with bascule.run("bad words") as run:
    run.metric("good", 1)
    for bad, what in ((lambda: run.metric("m", 1, 2**70), ValueError), (lambda: run.log(step=2**70, a=1), ValueError),
                      (lambda: run.log(a=None), TypeError), (lambda: run.metric("a\\0b", 1), ValueError),
                      (lambda: run.reads("gone"), FileNotFoundError), (lambda: run.finish("bogus"), ValueError),
                      (lambda: run.text("a", 4), TypeError), (lambda: run.artifact(b"x", "a#b"), ValueError),
                      (lambda: run.artifact(b"x", "x" * 300), ValueError), (lambda: run.params(3), TypeError),
                      (lambda: bascule.run("x", params=3), TypeError)):
        try:
            bad()
        except what:
            continue
        raise AssertionError(what)
    run.metric("m\\ud800", 2)
    run.param("k\\0", "v\\ud800")
    run.reads("folder")
    run.metric("good", 3)
    # What a journal of another version might say.
    import bascule_watch
    bascule_watch.note({"kind": "artifact", "name": "../x", "path": __file__, "size": 1})
    bascule_watch.note({"kind": "finish", "status": "bogus"})
    run._open = False
print(run.id)
"""


@pytest.mark.slow
def test_what_is_none_is_refused_and_never_stops_a_journal(local_workspace: Workspace, folder: Path) -> None:
    (folder / "folder").mkdir()
    (folder / "folder" / "a.bin").write_bytes(b"1")
    done = script(folder, REFUSED)
    assert done.returncode == 0, done.stderr
    told = read_run(local_workspace, done.stdout.strip())
    assert (told["run"]["status"], told["run"]["error"]) == ("failed", "It was closed as 'bogus'.")
    assert told["metrics"]["good"] == 3
    assert told["metrics"]["m\\ud800"] == 2
    assert told["params"] == {"k\\x00": "v\\ud800"}
    assert "folder/a.bin" in told["inputs"]
    assert "'../x'" in told["tags"]["warnings"]


ALL_OR_NOTHING = """
import bascule
with bascule.run("try") as run:
    run.log(a=1, b=1)
    run.log(a=2)
    for bad in ({"a": 9, "b": "x"}, {"b": 9, "a": "x"}, {"b": 9, "x" * 251: 1}):
        try:
            run.log(**bad)
        except ValueError as error:
            print(error)
    for step in (5, None):
        try:
            run.log(step=step, a=9, c="x")
        except ValueError:
            continue
    run.log(a=3, b=2)
    run.metric("x" * 250, 1)
print(run.id)
"""


@pytest.mark.slow
def test_a_call_with_a_value_that_is_none_logs_nothing_and_moves_no_step(
    local_workspace: Workspace, folder: Path
) -> None:
    done = script(folder, ALL_OR_NOTHING)
    assert done.returncode == 0, done.stderr
    assert "has 251 characters; a metric's name has 250 at most" in done.stdout
    run = done.stdout.split()[-1]
    for name, expected in (("a", [(0, 1), (1, 2), (2, 3)]), ("b", [(0, 1), (1, 2)])):
        assert steps(local_workspace, run, name) == expected
    assert read_run(local_workspace, run)["metrics"]["x" * 250] == 1


def test_the_pipelines_words_and_a_runs_do_not_mix(folder: Path) -> None:
    with pytest.raises(InputError, match="pipeline's"):
        bascule.run("try", force="why")
    with pytest.raises(ValueError, match="no run's id"):
        bascule.run(id="../x")


@pytest.mark.slow
def test_what_is_no_notebook_is_told_in_a_line(local_workspace: Workspace, folder: Path) -> None:
    pytest.importorskip("nbclient", reason="the extra notebook is not installed")
    (folder / "work.ipynb").write_text("{nonsense")
    track = [sys.executable, "-m", "bascule", "track", "work.ipynb"]
    done = subprocess.run(track, cwd=folder, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 2
    assert done.stderr.startswith("bascule: work.ipynb is no notebook that can be read: ")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_notebooks_are_executed_or_recorded_as_they_go(local_workspace: Workspace, folder: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="the extra notebook is not installed")
    pytest.importorskip("nbclient", reason="the extra notebook is not installed")
    (folder / "data.csv").write_text("1")
    sources = ["%load_ext bascule", "open('data.csv').read()", "import bascule\nbascule.active_run().log(a=1)", "1 / 0"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nbformat.write(notebook, folder / "work.ipynb")
    track = [sys.executable, "-m", "bascule", "track", "work.ipynb"]
    done = subprocess.run(track, cwd=folder, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 1
    alone = "n = nbformat.read('work.ipynb', 4)\nn.cells.pop()\nnbclient.NotebookClient(n).execute()"
    open_it = [sys.executable, "-c", f"import nbformat, nbclient\n{alone}"]
    subprocess.run(open_it, cwd=folder, capture_output=True, check=True, timeout=99)
    second, first = (read_run(local_workspace, row["run"]) for row in list_runs(local_workspace, 2))
    assert (first["run"]["name"], first["run"]["error"]) == ("work.ipynb", "ZeroDivisionError: division by zero")
    assert second["run"]["status"] == "done"
    artifacts = local_workspace.folder / "artifacts" / "0"
    executed = nbformat.read(artifacts / first["run"]["id"] / "artifacts" / "work.ipynb", 4)
    assert executed.cells[3].outputs[0].ename == "ZeroDivisionError"
    assert all("execution" not in cell.metadata for cell in executed.cells)  # times would never be reproduced
    for run in (first, second):
        assert "data.csv" in run["inputs"]
        assert run["metrics"]["a"] == 1
        cells = (artifacts / run["run"]["id"] / "artifacts" / "cells.py").read_text()
        assert "# In [3]\nimport bascule\n" in cells
