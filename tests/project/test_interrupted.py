"""Runs that meet another run, a Ctrl-C, a kill or a full disk: nothing is half done, and the next run continues."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bascule.history import Workspace
from tests.cli.conftest import SOURCE
from tests.project.parcels import PROJECT, SQL, write

Bascule = Callable[..., Any]
PATIENCE = 60
# A trainer that waits as long as there is a file `hold` in the project.
HELD = """\
import time
from pathlib import Path

from bascule.training import load_trainer

def fit(data, settings, progress):
    Path("started").touch()
    while Path("hold").exists():
        time.sleep(0.02)
    return load_trainer("lightgbm")(data, settings, progress)
"""
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")


@pytest.fixture
def held(trained: Path) -> Path:
    """The project with a trainer that waits: a run of it stands in the middle of step `train`."""
    write(trained / "held.py", HELD)
    write(trained / "hold", "")
    write(trained / "bascule.toml", PROJECT.replace("[model]", '[model]\ntrainer = "held:fit"'))
    return trained


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE
    while not path.exists():
        if process.poll() is not None:
            pytest.fail(f"It ended with {process.returncode}: {process.communicate()[1]}")
        assert time.monotonic() < end, f"{path.name} did not come"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_second_run_of_a_branch_is_refused(held: Path, start: Callable[..., Any], bascule: Bascule) -> None:
    first = start("run")
    wait_for(held / "started", first)
    second = bascule("run")
    assert second.code == 3
    assert f"Another run is working on branch 'main' (process {first.pid})." in second.err
    assert "Wait for it to end, or work on another branch." in second.err
    assert bascule("step", "run", "train", "--json").json()["kind"] == "Busy"
    assert bascule("status").code == 0
    assert bascule("branch", "other").code == 0

    (held / "hold").unlink()
    out, err = first.communicate(timeout=PATIENCE)
    assert first.returncode == 0, err
    assert "steps ran" in out
    assert "Nothing to do" in bascule("run").out


@pytest.mark.slow
def test_after_ctrl_c_the_next_run_continues(held: Path, start: Callable[..., Any], bascule: Bascule) -> None:
    write(held / "features/weather.sql", SQL["weather"].replace("rain,", "rain * 10 as rain,"))
    before = state(held)
    process = start("run")
    wait_for(held / "started", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "Interrupted. What was finished is kept; the same command continues." in err
    assert out == ""
    assert state(held) == before
    assert statuses(bascule) == {"parcels": "cancelled", "train": "cancelled"}
    assert bascule("doctor").code == 0

    (held / "hold").unlink()
    steps = {receipt["step"]: receipt["status"] for receipt in bascule("run", "--json").json()["steps"]}
    assert (steps["define"], steps["training-set"], steps["train"], steps["register"]) == (
        "cached",
        "cached",
        "ran",
        "ran",
    )


@pytest.mark.slow
def test_ctrl_c_ends_a_query(trained: Path, bascule: Bascule) -> None:
    """DuckDB says so in its own way, in the middle of its work."""
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    said = bascule("sql", "select count(*) from range(1000000000000) as rows(n) where hash(n) = 3")
    timer.join()
    assert said.code == 130
    assert said.err == "bascule: Interrupted. What was finished is kept; the same command continues.\n"


@pytest.mark.slow
def test_after_a_kill_the_next_run_continues(held: Path, start: Callable[..., Any], bascule: Bascule) -> None:
    before = state(held)
    process = start("run")
    wait_for(held / "started", process)
    process.kill()
    process.communicate()
    assert state(held) == before
    doctor = bascule("doctor")
    assert doctor.code == 0
    assert "2 runs had died and were closed as failed" in doctor.out
    assert statuses(bascule) == {"parcels": "failed", "train": "failed"}

    (held / "hold").unlink()
    assert bascule("run").code == 0
    assert "Nothing to do" in bascule("run").out


@pytest.mark.slow
@pytest.mark.parametrize(
    "step", ["define", "ingest:orders", "ingest:weather", "training-set", "register", "materialise"]
)
def test_a_kill_in_any_step_leaves_a_sound_workspace(
    parcels: Path, start: Callable[..., Any], bascule: Bascule, step: str
) -> None:
    process = start("run")
    for line in process.stderr:
        if line.strip().startswith(f"▸ {step} "):
            break
    time.sleep(random.Random(step).uniform(0, 0.1))
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL

    doctor = bascule("doctor", "--deep")
    assert doctor.code == 0, doctor.out
    assert bascule("audit", "verify").code == 0
    done = bascule("run")
    assert done.code == 0, done.err
    assert "Nothing to do" in bascule("run").out
    workspace = Workspace.open(parcels)
    assert workspace.history.get("main", "tables/orders")["rows"] == 2400
    assert workspace.history.get("main", "models/delays")["aliases"] == {"production": 1}
    workspace.close()


MOUNTED = """\
import json, os, shutil, subprocess, sys
from pathlib import Path
from tests.kills.forked import Commands

place, out, size = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "small", place], check=True)
shutil.copytree(".", place, dirs_exist_ok=True)
commands, said = Commands(place, outputs=out), {}
said["first"] = commands.run("run")
subprocess.run(["mount", "-o", "remount,size=200m", place], check=True)
said["doctor"] = commands.run("doctor")
said["second"] = commands.run("run")
said["audit"] = commands.run("audit", "verify")
commands.close()
print(json.dumps({name: [ended.code, ended.out, ended.err] for name, ended in said.items()}))
"""


def can_mount() -> bool:
    """Tell whether this user may mount inside a namespace of its own."""
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def mounted(script: str, folders: pytest.TempPathFactory, size: int) -> Any:
    """Run a script in a namespace where it may mount a disk of so many KiB; return the document that it prints."""
    places = [str(folders.mktemp(name)) for name in ("small", "out")]
    command = ["unshare", "-Urm", sys.executable, "-c", script, *places, str(size)]
    paths = os.pathsep.join([str(SOURCE), str(Path(__file__).parents[2])])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="no file system can be mounted here")
@pytest.mark.parametrize("size", [100, 1000, 2070])
def test_a_full_disk_stops_a_run_and_the_next_one_continues(
    parcels: Path, tmp_path_factory: pytest.TempPathFactory, size: int
) -> None:
    """`size` is how many KiB are left: each is met in another step."""
    taken = int(subprocess.check_output(["du", "-sk", str(parcels)]).split()[0])
    said = mounted(MOUNTED, tmp_path_factory, taken + size)
    assert [said[name][0] for name in ("first", "doctor", "second", "audit")] == [3, 0, 0, 0], said
    error = said["first"][2]
    assert "Traceback" not in error
    assert "full" in error or "No space left" in error
    assert "ree some space" in error
    assert "steps ran" in said["second"][1]


BEGUN = """\
import json, subprocess, sys
from pathlib import Path
from tests.kills.forked import Commands

place, out, size = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "small", place], check=True)
commands = Commands(Path.cwd(), outputs=Path(out))
words = ("init", "data", "--label", "orders.minutes_late > 15", "--into", place)
first = commands.run(*words)
left = [str(path) for path in Path(place).rglob("*")]
subprocess.run(["mount", "-o", "remount,size=20m", place], check=True)
second = commands.run(*words)
commands.close()
print(json.dumps({"first": [first.code, first.err], "left": left, "second": [second.code, second.err]}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="no file system can be mounted here")
@pytest.mark.parametrize("size", [8, 200])
def test_a_full_disk_leaves_no_half_project(parcels: Path, tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    """`size` is what the project's disk has, in KiB: too little for its files, or for its workspace."""
    said = mounted(BEGUN, tmp_path_factory, size)
    code, error = said["first"]
    assert (code, said["left"]) == (3, []), error
    assert "No space left" in error or "full" in error
    assert "Traceback" not in error
    assert said["second"][0] == 0, said["second"]


@pytest.mark.slow
def test_a_file_that_may_not_grow_stops_a_run(parcels: Path, start: Callable[..., Any], bascule: Bascule) -> None:
    """What a quota does, where no file system can be mounted."""
    most = (parcels / ".bascule" / "catalog.db").stat().st_size + 4096

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    process = start("run", preexec_fn=limit)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3, err
    assert "Traceback" not in err
    assert "full" in err
    assert "Free some space" in err
    assert bascule("doctor").code == 0
    assert bascule("run").code == 0


def statuses(bascule: Bascule) -> dict[str, str]:
    """Return how the last run and its step `train` ended."""
    rows = bascule("runs", "--limit", 4, "--json").json()
    return {row["name"]: row["status"] for row in reversed(rows) if row["name"] in ("parcels", "train")}


def state(folder: Path) -> dict[str, str]:
    """Return what main holds of data and models; definitions follow the files before anything else runs."""
    workspace = Workspace.open(folder)
    found = {p: d for p, d in workspace.history.digests("main").items() if p.startswith(("tables/", "models/"))}
    workspace.close()
    return found
