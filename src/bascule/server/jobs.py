"""Running the jobs that triggers put down: one at a time, in processes that end when the server does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from bascule.errors import Busy
from bascule.history import Workspace
from bascule.project.retraining import Done, reclaim, run_next

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
                self._process.send_signal(signal.SIGTERM if os.name == "nt" else signal.SIGINT)

    def _launch(self, workspace: Workspace, command: list[str]) -> subprocess.CompletedProcess[str]:
        where = ["--workspace", str(workspace.folder), "--project", str(self.folder)]
        line = [sys.executable, "-m", "bascule", *command, *where]
        with self._lock:
            self._demand_running()
            self._process = subprocess.Popen(
                line,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=self.folder,
                env={**os.environ, "BASCULE_USER": AUTHOR},
                # A Ctrl-C for the server is not one for the job: the server passes it on in its own time.
                start_new_session=os.name != "nt",
            )
        out, errors = self._process.communicate()
        self._demand_running()
        return subprocess.CompletedProcess(line, self._process.returncode, out, errors)

    def _demand_running(self) -> None:
        if self._stopped:
            raise Busy("The server is stopping; the job is taken up again when it starts.")
