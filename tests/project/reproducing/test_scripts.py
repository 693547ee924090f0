"""A tracked script is done again from its records, or it is told why not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import update
from tests.project.reproducing.conftest import Bascule, Tracked, git

from bascule.catalog.schema import runs
from bascule.errors import InputError
from bascule.history import Workspace
from bascule.project.reproducing import data
from bascule.project.reproducing.recorded import Recorded
from bascule.registry import external
from bascule.tracking import find_run
from bascule.verbs import open as open_project

PRESENT = ("--environment", "present")


def change_environment(folder: Path, run: str, change: Callable[[dict[str, Any]], None]) -> None:
    workspace = Workspace.open(folder)
    told = msgspec.json.decode(find_run(workspace, run)["environment_json"])
    change(told)
    with workspace.catalog.write() as conn:
        conn.execute(update(runs).where(runs.c.id == run).values(environment_json=json.dumps(told)))
    workspace.close()


def state(folder: Path) -> dict[str, bytes]:
    """The project's files, but for the workspace and git's own."""
    found = (path for path in folder.rglob("*") if path.is_file())
    names = ((path.relative_to(folder), path) for path in found)
    return {str(name): path.read_bytes() for name, path in names if name.parts[0] not in (".bascule", ".git")}


@pytest.mark.slow
def test_code_and_data_come_back_as_they_were(sums: Path, bascule: Bascule, tracked: Tracked) -> None:
    run = tracked("sums.py")
    project = open_project(sums)
    project.files("numbers").add(sums / "data")
    with project.workspace.catalog.write() as conn:  # the run saw the state that has the set
        head = project.workspace.history.resolve("main").id
        conn.execute(update(runs).where(runs.c.id == run).values(commit_id=head))
    project.close()
    (sums / "helper.py").unlink()
    (sums / "sums.py").write_text("raise SystemExit('another script')")
    git(sums, "commit", "-qam", "another")
    (sums / "data" / "numbers.csv").write_text("7\n")
    (sums / "notes.txt").write_text("new since")
    before = state(sums)

    done = bascule("reproduce", run, *PRESENT, "--keep", "again", "--json")

    assert done.code == 0, done.err
    found = done.json()
    assert (found["verdict"], found["of"], found["differing"]) == ("identical", run, [])
    assert {one["path"]: one["verdict"] for one in found["compared"]} == {"out/sum.json": "identical"}
    again = sums / "again"
    assert (again / "picture.bin").read_bytes() == b"\0\1"  # of git's commit: no text
    assert (again / "helper.py").read_text() == "factor = 3\n"
    assert not (again / "notes.txt").exists()
    assert json.loads((again / "out" / "sum.json").read_text())["sum"] == 23.25
    git(sums, "worktree", "remove", "--force", "again")
    assert state(sums) == before
    new = open_project(sums).read_run(found["run_id"])
    assert (new["run"]["kind"], new["tags"]["reproduces"], new["run"]["branch"]) == ("reproduce", run, "main")
    assert open_project(sums).read_run(run)["reproductions"] == {found["run_id"]: "identical"}
    assert [ref.name for ref in open_project(sums).branches()] == ["main"]


@pytest.mark.slow
def test_data_that_changed_are_named(sums: Path, bascule: Bascule, tracked: Tracked) -> None:
    run = tracked("sums.py")
    shutil.rmtree(sums / "out")
    (sums / "data" / "numbers.csv").write_text("1.5\n2.25\n5\n")
    refused = bascule("reproduce", run, *PRESENT)
    assert refused.code == 2
    assert "data/numbers.csv was " in refused.err
    assert "--data present" in refused.err
    (sums / "data" / "numbers.csv").unlink()
    assert "is not there" in bascule("reproduce", run, *PRESENT).err
    (sums / "data" / "numbers.csv").write_text("1.5\n2.25\n5\n")
    done = bascule("reproduce", run, *PRESENT, "--data", "present")
    assert done.code == 1
    assert "data data/numbers.csv: " in done.out.partition("What differs:")[2]
    assert "the former content is not kept" in done.out


@pytest.mark.slow
def test_code_that_is_gone_is_told(sums: Path, bascule: Bascule, tracked: Tracked) -> None:
    dirty = tracked("sums.py")
    git(sums, "add", ".")
    git(sums, "commit", "-qm", "all")
    clean = tracked("sums.py")
    workspace = Workspace.open(sums)
    for run in (dirty, clean):
        workspace.store.delete(find_run(workspace, run)["code_snapshot"])
    refused = bascule("reproduce", dirty, *PRESENT)
    assert refused.code == 2
    assert "there were changes beside it" in refused.err
    done = bascule("reproduce", clean, *PRESENT)
    assert done.code == 0, done.err
    assert "taken from git's commit" in done.out
    workspace.store.delete(find_run(workspace, clean)["code_snapshot"])  # doing it again kept it anew
    shutil.rmtree(sums / ".git")
    refused = bascule("reproduce", clean, *PRESENT)
    assert "gone from the store, and git's commit" in refused.err
    workspace.close()


@pytest.mark.slow
def test_a_script_without_a_seed_is_told_to_be_so(sums: Path, bascule: Bascule, tracked: Tracked) -> None:
    # SciPy makes a generator with a seed of its own when it is imported: none of the script's.
    (sums / "draw.py").write_text("import random, scipy.stats\nopen('drawn.txt', 'w').write(str(random.random()))\n")
    run = tracked("draw.py")
    done = bascule("reproduce", run, *PRESENT)
    assert done.code == 1
    assert "drawn.txt: different, greatest difference" in done.out
    assert "the command is not deterministic. No seed was recorded" in done.out
    assert "Environment variables, the clock and the network are no terms" in done.out
    again = bascule("reproduce", "last", *PRESENT, "--json").json()
    assert again["of"] == run  # and not the reproduction
    assert open_project(sums).read_run(again["run_id"])["run"]["name"] == "reproduce draw.py"


@pytest.mark.slow
def test_seeds_and_threads_are_set_as_they_were(sums: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "import os\nopen('env.txt', 'w').write(f'{hash(\"a\")} {os.environ.get(\"OMP_NUM_THREADS\")}')\n"
    (sums / "environment.py").write_text(text)
    import subprocess

    words = [sys.executable, "-m", "bascule", "track", "--json", sys.executable, "environment.py"]
    import os

    variables = {**os.environ, "PYTHONHASHSEED": "5", "OMP_NUM_THREADS": "3"}
    done = subprocess.run(words, cwd=sums, env=variables, capture_output=True, check=True)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    again = bascule("reproduce", json.loads(done.stdout)["run_id"], *PRESENT, "--json")
    assert again.json()["verdict"] == "identical", again
    assert "PYTHONHASHSEED = 5" in again.json()["seeds"]


def _wheel(folder: Path, version: str) -> None:
    folder.mkdir()
    info = f"tiny-{version}.dist-info"
    with zipfile.ZipFile(folder / f"tiny-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.py", f"VERSION = '{version}'\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", f"tiny.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


@pytest.mark.slow
def test_the_recorded_environment_is_made_anew(
    sums: Path, bascule: Bascule, tracked: Tracked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is said to have had tiny 1.5, which this environment lacks: only in the one that uv makes it is there."""
    (sums / "which.py").write_text(
        "try:\n    from tiny import VERSION\nexcept ImportError:\n    VERSION = 'none'\n"
        "open('which.txt', 'w').write(VERSION)\n"
    )
    run = tracked("which.py")
    change_environment(sums, run, lambda told: told.update(packages={"tiny": "1.5", "bascule": "0.1.0"}))
    _wheel(tmp_path / "wheels", "1.5")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "wheels"))
    done = bascule("reproduce", run, "--keep", "again", "--json")
    assert (sums / "again" / "which.txt").read_text() == "1.5"
    assert done.json()["differing"] == []
    assert len([one for one in (sums / ".bascule" / "environments").iterdir() if one.is_dir()]) == 1

    change_environment(sums, run, lambda told: told.update(packages={"tiny": "9.9"}))
    refused = bascule("reproduce", run)
    assert refused.code == 3
    assert "tiny" in refused.err
    assert "--environment present" in refused.err
    present = bascule("reproduce", run, *PRESENT, "--json")
    assert ["package tiny", "9.9", "absent"] in present.json()["differing"]
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(sys, "executable", shutil.which("python3", path="/usr/bin:/bin") or "/usr/bin/python3")
    refused = bascule("reproduce", run)
    assert (refused.code, "uv is not installed" in refused.err) == (3, True)


@pytest.mark.slow
def test_a_script_does_not_write_where_it_ran_first(
    sums: Path,
    bascule: Bascule,
    tracked: Tracked,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (sums / "away.py").write_text("import sys\nopen(sys.argv[1], 'w').write('made')\n")
    outside = tmp_path_factory.mktemp("away") / "elsewhere.txt"
    run = tracked("away.py", str(outside))
    outside.write_text("the user's")
    refused = bascule("reproduce", run, *PRESENT)
    assert (refused.code, "outside of its project" in refused.err) == (2, True)
    assert outside.read_text() == "the user's"

    run = tracked("away.py", str(sums / "inside.txt"))
    refused = bascule("reproduce", run, *PRESENT)
    assert (refused.code, "by an absolute path" in refused.err) == (2, True)

    # Where no text names the folder, the interpreter's writes are refused, and others are undone.
    monkeypatch.setenv("PLACE", str(sums))
    (sums / "hidden.py").write_text(
        "import os, subprocess, sys\nplace = os.environ['PLACE'] + '/hidden.txt'\n"
        "if len(sys.argv) > 1:\n    subprocess.run(['sh', '-c', f'echo $$ > {place}'])\n"
        "try:\n    open(place, 'a').close()\nexcept PermissionError as error:\n    sys.exit(str(error))\n"
    )
    run = tracked("hidden.py")
    (sums / "hidden.txt").write_text("the user's")
    done = bascule("reproduce", run, *PRESENT)
    assert done.code == 1
    assert "belongs to the project" in done.err
    assert "exit code: 0 then, 1 now" in done.out
    assert (sums / "hidden.txt").read_text() == "the user's"
    run = tracked("hidden.py", "by-a-shell")
    (sums / "hidden.txt").write_text("the user's")
    done = bascule("reproduce", run, *PRESENT)
    assert "it was put back as it was" in done.out
    assert (sums / "hidden.txt").read_text() == "the user's"


@pytest.mark.slow
def test_the_lake_is_read_as_it_was(sums: Path, bascule: Bascule, tracked: Tracked) -> None:
    rows = sums / "rows.csv"
    rows.write_text("n\n1\n2\n")
    assert bascule("table", "create", "counted", rows).code == 0
    text = "import bascule\nopen('n.txt', 'w').write(str(bascule.sql('select sum(n) s from counted')[0]['s']))\n"
    (sums / "ask.py").write_text(text)
    run = tracked("ask.py")
    assert bascule("table", "append", "counted", "--sql", "select 40 as n").code == 0
    assert bascule("reproduce", run, *PRESENT).code == 0


@pytest.mark.slow
def test_what_cannot_be_repeated_is_told(sums: Path, bascule: Bascule) -> None:
    rows = sums / "rows.csv"
    rows.write_text("n\n1\n")
    assert bascule("ingest", "counted", rows).code == 0
    for words, text in [
        (("last",), "made no model version"),
        (("run_9",), "no run named 'run_9'"),
        (("nothing",), "no run named 'nothing'"),
        (("nothing@3",), "no model named 'nothing'"),
        (("last", "--environment", "other"), "environment is 'other'"),
        (("last", "--data", "other"), "data is 'other'"),
        (("last", "--tolerance", "-1"), "tolerance is -1"),
        (("last", "--tolerance", "nan"), "tolerance is nan"),
    ]:
        done = bascule("reproduce", *words)
        assert (done.code, text in done.err) == (2, True), (words, done)
    (sums / "full").mkdir()
    (sums / "full" / "x").touch()
    (sums / "quick.py").write_text("print(1)\n")
    assert bascule("track", "--json", sys.executable, "quick.py").code == 0
    with pytest.raises(InputError, match="not an empty folder"):
        open_project(sums).reproduce("last", environment="present", keep=sums / "full")


@pytest.mark.slow
def test_a_registered_model_of_a_tracked_run_is_done_again(sums: Path, bascule: Bascule, tracked: Tracked) -> None:
    """As a client registers it, by the run that made it; the latest version when none is in production."""
    run = tracked("sums.py")
    workspace = Workspace.open(sums)
    external.create_model(workspace, "main", "my sums", author="ana")
    for made_by in ("", run):
        external.create_version(workspace, "main", "my sums", {"run_id": made_by}, artifact="", author="ana")
    workspace.close()
    done = bascule("reproduce", "my sums", *PRESENT, "--json")
    assert done.code == 0, done.err
    assert [done.json()[key] for key in ("model", "version", "of", "verdict")] == ["my sums", 2, run, "identical"]
    refused = bascule("reproduce", "my sums@1")
    assert (refused.code, "not trained by a recorded run" in refused.err) == (2, True)
    assert bascule("reproduce", "my sums", "9").code == 2


def test_a_database_that_was_read_by_a_query_is_brought_as_it_was(local_workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "q.db").write_bytes(b"as it is now")
    version = local_workspace.store.put(b"as it was")
    inputs = [("sqlite:///q.db#0123", "rows-1"), ("q.db", version)]
    run = Recorded(
        row={"id": "run_a", "commit_id": None}, environment={}, params={}, tags={}, inputs=inputs, outputs=[], points={}
    )
    (tmp_path / "again").mkdir()
    assert data.bring(local_workspace, run, tmp_path, tmp_path / "again", "recorded", []) == [
        ("data q.db", version, version)
    ]
    assert (tmp_path / "again" / "q.db").read_bytes() == b"as it was"


@pytest.mark.slow
def test_kept_code_does_not_leave_its_folder(sums: Path, bascule: Bascule, tracked: Tracked) -> None:
    run = tracked("sums.py")
    workspace = Workspace.open(sums)
    listing = json.dumps({"../../escaped.py": workspace.store.put(b"print(1)")}).encode()
    with workspace.catalog.write() as conn:
        conn.execute(update(runs).where(runs.c.id == run).values(code_snapshot=workspace.store.put(listing)))
    workspace.close()
    refused = bascule("reproduce", run, *PRESENT, "--keep", "again/deep/er")
    assert (refused.code, "leads out of the project's folder" in refused.err) == (2, True)
    assert not list(sums.rglob("escaped.py"))


@pytest.mark.slow
def test_what_was_not_noted_is_told_to_be_missing(sums: Path, bascule: Bascule, tracked: Tracked) -> None:
    (sums / "data" / "hidden.txt").write_text("1")
    (sums / "sub.py").write_text("import subprocess, sys\nsys.exit(subprocess.call(['cat', 'data/hidden.txt']))\n")
    run = tracked("sub.py")
    done = bascule("reproduce", run, *PRESENT)
    assert done.code == 1
    assert "exit code: 0 then, 1 now" in done.out
    assert "is not noted and was not brought" in done.out


@pytest.mark.slow
@pytest.mark.parametrize("way", ["doctor", "gc", "reproduce"])
def test_what_a_killed_reproduction_leaves_is_cleared_away(
    sums: Path, bascule: Bascule, tracked: Tracked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    slow = "import pathlib, time\nif (pathlib.Path.cwd().parents[1] / 'slow').exists():\n"
    (sums / "wait.py").write_text(f"{slow}    open('begun', 'w').close()\n    time.sleep(60)\nprint(1)\n")
    run = tracked("wait.py")
    (temporary / "slow").touch()
    command = [sys.executable, "-m", "bascule", "reproduce", run, *PRESENT]
    process = subprocess.Popen(command, cwd=sums, start_new_session=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(temporary.glob("*/project/begun")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (temporary / "slow").unlink()
    before = {path.name for path in temporary.glob("bascule-reproduce-*")}
    assert len(before) == 1
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert "reproduce/" in bascule("branch").out
    done = bascule(way, *([run, *PRESENT] if way == "reproduce" else []))
    assert done.code == 0, done.err
    assert "reproduce/" not in bascule("branch").out
    assert not list(temporary.glob("bascule-reproduce-*"))
    assert not list((sums / ".bascule" / "reproducing").iterdir())
    assert len(git(sums, "worktree", "list").splitlines()) == 1
