"""Running the jobs that triggers put down: one at a time, in processes that end when the server does."""

from __future__ import annotations

import signal
import subprocess
import threading
from pathlib import Path

from bascule.errors import Busy
from bascule.history import Workspace
from bascule.project.retraining import Done, reclaim, run_next
from bascule.server.child import INTERRUPT, start, tethered

AUTHOR = "scheduler"


class JobRunner:
    """Runs what waits. A job that is cut short stays claimed by this process; the next server takes it up again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False
        self._reclaimed = False

    def run(self, workspace: Workspace) -> Done | None:
        """Do the oldest waiting job and return how it ended; None when no job waits."""
        if not self._reclaimed:
            reclaim(workspace)
            self._reclaimed = True
        return run_next(workspace, self.folder, lambda command: self._launch(workspace, command))

    def stop(self) -> None:
        """Interrupt what runs, as Ctrl-C would, and start nothing more."""
        with self._lock:
            self._stopped = True
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(getattr(signal, INTERRUPT))

    def _launch(self, workspace: Workspace, command: list[str]) -> subprocess.CompletedProcess[str]:
        where = ["--workspace", str(workspace.folder), "--project", str(self.folder)]
        line = tethered("bascule", *command, *where, ends_with=INTERRUPT)
        with self._lock:
            self._demand_running()
            self._process = start(line, cwd=self.folder, stderr=subprocess.PIPE, BASCULE_USER=AUTHOR)
        out, errors = _output(self._process)
        self._demand_running()
        return subprocess.CompletedProcess(line, self._process.returncode, out, errors)

    def _demand_running(self) -> None:
        if self._stopped:
            raise Busy("The server is stopping; the job is taken up again when it starts.")


def _output(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Read what a process says until it ends, without closing its standard input: that would tell it to end."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    errors: list[str] = []
    reading = threading.Thread(target=lambda: errors.append(process.stderr.read()))  # type: ignore[union-attr]
    reading.start()
    with process.stdin, process.stdout, process.stderr:
        out = process.stdout.read()
        reading.join()
        process.wait()
    return out, errors[0]
