"""Runs that meet another run, a Ctrl-C, a kill or a full disk: nothing is half done, and the next run continues."""

from __future__ import annotations

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
set -e
mount -t tmpfs -o size="$SIZE"k small "$PLACE"
cp -r . "$PLACE"
cd "$PLACE"
set +e
"$PYTHON" -m bascule run > "$OUT/first.out" 2> "$OUT/first.err"
echo $? > "$OUT/first"
mount -o remount,size=200m "$PLACE"
"$PYTHON" -m bascule doctor > "$OUT/doctor.out" 2>&1
echo $? > "$OUT/doctor"
"$PYTHON" -m bascule run > "$OUT/second.out" 2> "$OUT/second.err"
echo $? > "$OUT/second"
"$PYTHON" -m bascule audit verify > /dev/null 2>&1
echo $? > "$OUT/audit"
"""


def can_mount() -> bool:
    """Tell whether this user may mount inside a namespace of its own."""
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="no file system can be mounted here")
@pytest.mark.parametrize("size", [100, 1000, 2070])
def test_a_full_disk_stops_a_run_and_the_next_one_continues(parcels: Path, tmp_path_factory: Any, size: int) -> None:
    """`size` is how many KiB are left: each is met in another step."""
    taken = int(subprocess.check_output(["du", "-sk", str(parcels)]).split()[0])
    out, place = tmp_path_factory.mktemp("out"), tmp_path_factory.mktemp("small")
    environment = {
        **os.environ,
        "PYTHONPATH": str(SOURCE),
        "PYTHON": sys.executable,
        "SIZE": str(taken + size),
        "PLACE": str(place),
        "OUT": str(out),
    }
    command = ["unshare", "-Urm", "sh", "-c", MOUNTED]
    subprocess.run(command, cwd=parcels, env=environment, check=True, capture_output=True)
    codes = {name: int((out / name).read_text()) for name in ("first", "doctor", "second", "audit")}
    said = (out / "first.err").read_text()
    assert codes == {"first": 3, "doctor": 0, "second": 0, "audit": 0}, said + (out / "doctor.out").read_text()
    assert "Traceback" not in said
    assert "full" in said or "No space left" in said
    assert "ree some space" in said
    assert "steps ran" in (out / "second.out").read_text()


BEGUN = """\
mount -t tmpfs -o size="$SIZE"k small "$PLACE"
"$PYTHON" -m bascule init data --label "orders.minutes_late > 15" --into "$PLACE" > "$OUT/first.out" 2> "$OUT/first.err"
echo $? > "$OUT/first"
find "$PLACE" -mindepth 1 > "$OUT/left"
mount -o remount,size=20m "$PLACE"
"$PYTHON" -m bascule init data --label "orders.minutes_late > 15" --into "$PLACE" > /dev/null 2> "$OUT/second.err"
echo $? > "$OUT/second"
"""


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="no file system can be mounted here")
@pytest.mark.parametrize("size", [8, 200])
def test_a_full_disk_leaves_no_half_project(parcels: Path, tmp_path_factory: Any, size: int) -> None:
    """`size` is what the project's disk has, in KiB: too little for its files, or for its workspace."""
    out, place = tmp_path_factory.mktemp("out"), tmp_path_factory.mktemp("small")
    paths = {"PLACE": str(place), "OUT": str(out), "PYTHONPATH": str(SOURCE), "PYTHON": sys.executable}
    command = ["unshare", "-Urm", "sh", "-c", BEGUN]
    environment = {**os.environ, **paths, "SIZE": str(size)}
    subprocess.run(command, cwd=parcels, env=environment, check=True, capture_output=True)
    said = (out / "first.err").read_text()
    assert (out / "first").read_text() == "3\n", said
    assert (out / "left").read_text() == ""
    assert "No space left" in said or "full" in said
    assert "Traceback" not in said
    assert (out / "second").read_text() == "0\n", (out / "second.err").read_text()


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
