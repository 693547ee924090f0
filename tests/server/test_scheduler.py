"""Ticks, jobs and children: what goes on by itself, and how it ends."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select

from bascule.catalog import new_id, now, schema
from bascule.errors import InputError
from bascule.history import Workspace
from bascule.project.watching import judge_all, watch_all
from bascule.server import Scheduler, Tick
from bascule.server.child import INTERRUPT, Child, tethered
from bascule.server.jobs import JobRunner
from bascule.server.supervisor import CRASHED
from bascule.server.ticks import ticks
from tests.server.filled import Filled

SLEEP = "import time; time.sleep(600)"


def wait_for(what: object, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def test_ticks_come_again_and_again_side_by_side(local_workspace: Workspace) -> None:
    counts = {"quick": 0}
    slow = threading.Event()

    def quick(ws: Workspace) -> None:
        counts["quick"] += 1

    made = Scheduler(
        local_workspace,
        [Tick("quick", 0.001, quick), Tick("slow", 0.001, lambda ws: slow.wait(60), slow.set)],
    )
    made.start()
    wait_for(lambda: counts["quick"] > 5)
    made.stop()
    assert slow.is_set()
    after = counts["quick"]
    time.sleep(0.02)
    assert counts["quick"] == after


def test_a_tick_that_fails_is_logged_and_stops_nothing(
    local_workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def failing(ws: Workspace) -> None:
        calls.append(time.monotonic())
        raise InputError("No such thing.") if len(calls) % 2 else RuntimeError("a bug")

    made = Scheduler(local_workspace, [Tick("failing", 0.001, failing)])
    made.start()
    wait_for(lambda: len(calls) >= 5)
    made.stop()
    assert "failing: No such thing." in caplog.text
    assert "a bug" in caplog.text
    assert all(record.exc_info is None for record in caplog.records if record.levelno == logging.WARNING)
    # It waits longer each time: the fourth pause is at least eight times the first one that was asked for.
    assert calls[4] - calls[3] >= 0.008


def test_the_ticks_of_a_server(local_workspace: Workspace, tmp_path: Path) -> None:
    made = ticks(tmp_path)
    assert [tick.name for tick in made] == [
        "log",
        "rollouts",
        "monitors",
        "fills",
        "jobs",
        "bundles",
        "webhooks",
        "skew",
        "streams",
    ]
    scheduler = Scheduler(local_workspace, made)
    assert all(scheduler.run_tick(tick) for tick in made)


def test_the_ticks_look_at_every_branch(copy: Filled, tmp_path: Path) -> None:
    made = {tick.name: tick for tick in ticks(tmp_path)}
    scheduler = Scheduler(copy.ws, list(made.values()))
    assert scheduler.run_tick(made["rollouts"])
    judged = copy.ws.history.get("main", "deployments/delays")["rollout"] is None
    with copy.ws.catalog.read() as conn:
        last = conn.execute(select(schema.rollouts.c.action).order_by(schema.rollouts.c.id.desc())).scalar()
    assert last == ("rollback" if judged else "hold")
    with copy.ws.catalog.write() as conn:
        conn.execute(delete(schema.monitor_points))
    assert scheduler.run_tick(made["monitors"])
    counted = select(schema.monitor_points.c.rows).where(schema.monitor_points.c.measure == "traffic")
    with copy.ws.catalog.read() as conn:
        assert 800 < sum(conn.execute(counted).scalars()) <= 1200


def waiting_job(ws: Workspace) -> str:
    name = new_id("job")
    row = {"id": name, "kind": "retrain", "branch": "main", "spec_json": "{}", "reason": "it drifted"}
    with ws.catalog.write() as conn:
        conn.execute(insert(schema.jobs).values(**row, status="waiting", created_at=now()))
    return name


def status_of(ws: Workspace, job: str) -> str:
    with ws.catalog.read() as conn:
        return str(conn.execute(select(schema.jobs.c.status).where(schema.jobs.c.id == job)).scalar_one())


@pytest.mark.slow
def test_a_job_runs_in_a_process_and_its_failure_is_kept(local_workspace: Workspace, tmp_path: Path) -> None:
    job = waiting_job(local_workspace)
    done = JobRunner(tmp_path).run(local_workspace)
    assert done is not None
    # There is no project in that folder, and the command says so.
    assert (done.id, done.status) == (job, "failed")
    assert "bascule" in done.message
    assert JobRunner(tmp_path).run(local_workspace) is None


def test_stopping_interrupts_a_job_and_leaves_it_to_the_next_server(
    local_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = waiting_job(local_workspace)
    monkeypatch.setattr("bascule.server.jobs.tethered", lambda *_, **__: [sys.executable, "-c", SLEEP])
    runner = JobRunner(tmp_path)
    scheduler = Scheduler(local_workspace, [Tick("jobs", 0.01, runner.run, runner.stop)])
    scheduler.start()
    wait_for(lambda: runner._process is not None)
    scheduler.stop(timeout=60)  # of a busy machine it is not asked to be quick
    assert runner._process is not None
    assert runner._process.poll() is not None
    assert status_of(local_workspace, job) == "running"


@pytest.mark.slow
def test_a_child_that_dies_is_started_again() -> None:
    child = Child("The worker", [sys.executable, "-c", SLEEP])
    child.start()
    try:
        assert child.process is not None
        child.process.kill()
        child.process.wait()

        def again() -> bool:
            child.check()
            return child.starts == 2

        wait_for(again)
        assert child.alive
    finally:
        child.stop()
    assert not child.alive


def test_a_child_that_keeps_dying_is_not_started_in_a_rush(caplog: pytest.LogCaptureFixture) -> None:
    child = Child("The worker", [sys.executable, "-c", "raise SystemExit(7)"])
    child.start()
    assert child.process is not None
    child.process.wait()
    for _ in range(50):
        child.check()
    child.stop()
    assert child.starts == 1
    assert "ended with code 7" in caplog.text


def test_a_child_that_crashes_names_the_signal_and_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    for name, told in (("SIGSEGV", True), ("SIGTERM", False)):
        caplog.clear()
        child = Child(
            "The worker", [sys.executable, "-c", f"import os, signal; os.kill(os.getpid(), signal.{name})"], "Do so."
        )
        child.start()
        assert child.process is not None
        child.process.wait()
        child.check()
        child.stop()
        assert ("was ended by SIGSEGV; it starts again in 0.5 s. Do so." in caplog.text) == told
        assert ("Do so." in caplog.text) == told
    assert "workers = 1" in CRASHED


LASTING = """
import signal, sys, time
def end(*_):
    print("told to end", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", *sys.argv[1:], flush=True)
time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="processes are killed otherwise there")
def test_a_child_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """A parent that is killed cannot stop its child; the pipe that ends with it can."""
    (tmp_path / "lasting.py").write_text(LASTING)
    # The parent starts the child, passes on what it says, and waits for ever.
    parent = f"""
import subprocess, time
from bascule.server.child import tethered
subprocess.Popen(tethered("lasting", "an argument"), stdin=subprocess.PIPE, cwd={str(tmp_path)!r})
time.sleep(600)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready an argument\n"
        process.kill()
        process.wait(20)
        assert process.stdout.read() == "told to end\n"
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(os.name == "nt", reason="a Ctrl-C is no signal there")
def test_a_child_of_a_server_in_the_background_hears_that_it_is_to_end(tmp_path: Path) -> None:
    """A shell has what it starts with `&` ignore Ctrl-C; all processes below it are born so."""
    (tmp_path / "waiting.py").write_text("import time\nprint('ready', flush=True)\ntime.sleep(600)\n")
    command = shlex.join(tethered("waiting", ends_with=INTERRUPT))
    process = subprocess.Popen(
        ["sh", "-c", f"trap '' INT; exec {command}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in process.communicate(timeout=20)[1]
        assert process.returncode == -signal.SIGINT
    finally:
        process.kill()
        process.communicate()


def test_a_child_is_ready_when_it_has_said_so() -> None:
    child = Child("The worker", [sys.executable, "-c", "print('here'); import time; time.sleep(600)"])
    child.start()
    try:
        assert child.wait_until_ready(20)
    finally:
        child.stop()
    dead = Child("The worker", [sys.executable, "-c", ""])
    dead.start()
    assert not dead.wait_until_ready(20)
    dead.stop()


def test_only_branches_that_answer_are_watched(copy: Filled) -> None:
    """A branch has its parent's monitors; that is no reason to measure it, or to retrain by its schedule."""
    copy.ws.history.create_branch("work", "main")
    with copy.ws.catalog.write() as conn:
        conn.execute(delete(schema.monitor_points))
    watched = watch_all(copy.ws)
    assert [one.monitor for one in watched] == ["delays"]
    with copy.ws.catalog.read() as conn:
        branches = conn.execute(select(schema.monitor_points.c.branch).distinct()).scalars().all()
    assert branches == ["main"]


def test_only_rollouts_that_get_traffic_are_judged(copy: Filled) -> None:
    copy.ws.history.create_branch("work", "main")
    judge_all(copy.ws)
    with copy.ws.catalog.read() as conn:
        judged = conn.execute(
            select(schema.rollouts.c.branch).where(schema.rollouts.c.actor == "rollout controller").distinct()
        )
        assert set(judged.scalars()) == {"main"}
