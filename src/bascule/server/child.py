"""A process that is kept alive: started again when it dies, and ended with its parent."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

log = logging.getLogger("bascule.server")

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
SETTLED = 30.0
# What a process ends itself by.
CRASHES = {
    getattr(signal, name): name
    for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE")
    if hasattr(signal, name)
}
TETHER = Path(__file__).with_name("tether.py")
STOP = "SIGTERM"
_STOP_NUMBER = getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM)
# As Ctrl-C does, so that what was running is recorded as cancelled.
INTERRUPT = "SIGINT" if os.name != "nt" else STOP


def tethered(module: str, *arguments: str, ends_with: str = STOP) -> list[str]:
    """Return a command that runs a module and ends when its standard input does: see `tether`."""
    return [sys.executable, str(TETHER), ends_with, module, *arguments]


def start(
    command: Sequence[str], *, cwd: Path | None = None, stderr: int | None = None, **environment: str
) -> subprocess.Popen[str]:
    """Start a process with pipes, in a group of its own: a Ctrl-C for this process is not one for that.

    Args:
        stderr: as `Popen` takes it; this process' own when None.
        environment: variables to set.
    """
    group: dict[str, object] = {"start_new_session": True}
    if sys.platform == "win32":  # pragma: no cover
        group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    made: subprocess.Popen[str] = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
        **group,  # type: ignore[call-overload]
    )
    return made


class Child:
    """One process, restarted when it dies, with a pause that doubles while it keeps dying young.

    Attributes:
        ready: set when the process has printed its first line.
        starts: how often it was started.

    Args:
        hint: what is said, too, when code that runs in it has crashed it.
    """

    def __init__(self, name: str, command: Sequence[str], hint: str = "") -> None:
        self.name, self.hint = name, hint
        self.command = list(command)
        self.process: subprocess.Popen[str] | None = None
        self.ready = threading.Event()
        self.starts = 0
        self._started_at = 0.0
        self._pause = FIRST_PAUSE
        self._not_before = 0.0

    def start(self) -> None:
        """Start the process."""
        self.ready.clear()
        self.process = start(self.command)
        assert self.process.stdout is not None
        threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True).start()
        self.starts += 1
        self._started_at = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def wait_until_ready(self, seconds: float) -> bool:
        """Wait for the first line; return False when it died before, or the time is over."""
        deadline = time.monotonic() + seconds
        while not self.ready.wait(0.02):
            if not self.alive or time.monotonic() > deadline:
                return False
        return True

    def check(self) -> None:
        """Start it again if it died and its pause is over. To be called again and again."""
        if self.process is None or self.process.poll() is None:
            return
        moment = time.monotonic()
        if self._not_before == 0.0:
            if moment - self._started_at > SETTLED:
                self._pause = FIRST_PAUSE
            name = CRASHES.get(-self.process.returncode)
            told = f"was ended by {name}" if name else f"ended with code {self.process.returncode}"
            hint = f". {self.hint}" if name and self.hint else ""
            log.warning("%s %s; it starts again in %.1f s%s", self.name, told, self._pause, hint)
            self._not_before = moment + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
        if moment >= self._not_before:
            self._not_before = 0.0
            self._let_go()
            self.start()

    def stop(self, timeout: float = 10) -> None:
        """Ask it to end, wait, and end it by force when it does not."""
        if self.process is None:
            return
        if self.alive:
            self.process.send_signal(_STOP_NUMBER)
        self._let_go()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            log.warning("%s did not end within %s s and is killed", self.name, timeout)
            self.process.kill()
            self.process.wait()

    def _read(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                self.ready.set()
                log.debug("%s: %s", self.name, line.rstrip())

    def _let_go(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
