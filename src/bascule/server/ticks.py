"""What `bascule up` does by itself: move logs, judge rollouts, measure monitors, run jobs, consume streams.

Each looks first whether there is anything to do, and loads what does it only then: a server that only tracks runs needs
no engine.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import select

from bascule.catalog.schema import jobs as jobs_table
from bascule.catalog.schema import settings, webhooks
from bascule.history import Workspace
from bascule.server.child import Child, tethered
from bascule.server.scheduler import Tick

LOG_EVERY, ROLLOUTS_EVERY, MONITORS_EVERY, JOBS_EVERY, WEBHOOKS_EVERY = 2.0, 2.0, 10.0, 2.0, 2.0
FILLS_EVERY, STREAMS_EVERY, SKEW_EVERY, BUNDLES_EVERY = 2.0, 1.0, 5.0, 60.0
_SKEW = re.compile(r"\bevery\s*=")
_STREAM = re.compile(r"^\s*\[\s*stream\s*\.", re.MULTILINE)


def ticks(folder: Path) -> list[Tick]:
    """Return the ticks of a project.

    Args:
        folder: the project's folder, where jobs run.
    """
    jobs, streams = _Jobs(folder), _Streams(folder)
    return [
        Tick("log", LOG_EVERY, _move),
        Tick("rollouts", ROLLOUTS_EVERY, _judge),
        Tick("monitors", MONITORS_EVERY, _watch),
        Tick("fills", FILLS_EVERY, _Fills(folder).run),
        Tick("jobs", JOBS_EVERY, jobs.run, jobs.stop),
        Tick("bundles", BUNDLES_EVERY, _withdraw),
        Tick("webhooks", WEBHOOKS_EVERY, _tell),
        Tick("skew", SKEW_EVERY, _Skew(folder).run),
        Tick("streams", STREAMS_EVERY, streams.run, streams.stop),
    ]


def _move(workspace: Workspace) -> None:
    if any(path.is_file() for path in workspace.log_folder.glob("*/*")):
        from bascule.serving.log import move_segments

        move_segments(workspace)


def _judge(workspace: Workspace) -> None:
    if _has_any(workspace, "deployments/"):
        from bascule.project.watching import judge_all

        judge_all(workspace)


def _watch(workspace: Workspace) -> None:
    if _has_any(workspace, "monitors/"):
        from bascule.project.watching import watch_all

        watch_all(workspace)


def _withdraw(workspace: Workspace) -> None:
    """Delete bundles in which a forgotten subject stands, once nothing needs them or they are due."""
    with workspace.catalog.read() as conn:
        if (
            conn.execute(select(settings.c.key).where(settings.c.key.startswith("withdrawal:")).limit(1)).first()
            is None
        ):
            return
    from bascule.project.withdrawing import settle

    settle(workspace)


def _tell(workspace: Workspace) -> None:
    with workspace.catalog.read() as conn:
        if conn.execute(select(webhooks.c.id).limit(1)).first() is None:
            return
    from bascule.server.webhooks import deliver

    deliver(workspace)


class _Streams:
    """Keeps a process alive that consumes the project's streams, once it has one; another when its files change."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._child: Child | None = None
        self._seen: object = None
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, workspace: Workspace) -> None:
        seen = self._files()
        with self._lock:
            if self._stopped:
                return
            if self._child is not None and seen != self._seen:
                self._child.stop()
                self._child = None
            if self._child is not None:
                self._child.check()
            elif seen is not None:
                where = ["--project", str(self._folder), "--workspace", str(workspace.folder), "--branch", "main"]
                self._child = Child("The consumer of streams", tethered("bascule", "stream", "run", *where))
                self._child.start()
            self._seen = seen

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._child is not None:
                self._child.stop()

    def _files(self) -> object:
        """What says that nothing changed; None while the project has no stream."""
        path = self._folder / "bascule.toml"
        try:
            if not _STREAM.search(path.read_text("utf-8")):
                return None
            files = [path, *sorted(path for path in (self._folder / "features").rglob("*") if path.is_file())]
            return [(str(path), path.stat().st_mtime_ns) for path in files]
        except (OSError, UnicodeDecodeError):
            return None


class _Skew:
    """Compares served features with the offline join, once the project says how often."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run: Callable[[Workspace], object] | None = None

    def run(self, workspace: Workspace) -> None:
        if self._run is None:
            try:
                text = (self._folder / "bascule.toml").read_text("utf-8")
            except (OSError, UnicodeDecodeError):
                return
            if "skew" not in text or not _SKEW.search(text):
                return
            from bascule.project.skewing import SkewClock

            self._run = SkewClock(self._folder).run
        self._run(workspace)


class _Fills:
    """Scores rows into tables that fill themselves, once there is one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run: Callable[[Workspace], object] | None = None

    def run(self, workspace: Workspace) -> None:
        if self._run is None:
            if not any(one.get("fills") for _, one in workspace.history.entries("main", "deployments/")):
                return
            from bascule.project.filling import Filler

            self._run = Filler(self._folder).run
        self._run(workspace)


class _Jobs:
    """Runs jobs, once there is one that has not ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run: Callable[[Workspace], object] | None = None
        self._stop: Callable[[], None] = lambda: None
        self._stopped = False

    def run(self, workspace: Workspace) -> None:
        if self._run is None:
            with workspace.catalog.read() as conn:
                open_ones = select(jobs_table.c.id).where(jobs_table.c.status.in_(("waiting", "running", "scheduled")))
                if conn.execute(open_ones.limit(1)).first() is None:
                    return
            from bascule.server.jobs import JobRunner

            runner = JobRunner(self._folder)
            self._run, self._stop = runner.run, runner.stop
            if self._stopped:
                runner.stop()
        self._run(workspace)

    def stop(self) -> None:
        self._stopped = True
        self._stop()


def _has_any(workspace: Workspace, prefix: str) -> bool:
    history = workspace.history
    return any(True for ref in history.branches() for _ in history.entries(ref.head, prefix))
