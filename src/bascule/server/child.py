"""A process that is kept alive: started again when it dies, and ended with its parent."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

log = logging.getLogger("bascule.server")

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
SETTLED = 30.0


class Child:
    """One process, restarted when it dies, with a pause that doubles while it keeps dying young.

    The child gets a pipe as its standard input that ends when this process does, however it does: a child that watches
    for the end cannot be left behind. It does not see Ctrl-C; it is told to stop by `stop`.
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.command = list(command)
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self._started_at = 0.0
        self._pause = FIRST_PAUSE
        self._not_before = 0.0

    def start(self) -> None:
        """Start the process."""
        group: dict[str, object] = {"start_new_session": True}
        if sys.platform == "win32":  # pragma: no cover
            group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, **group)  # type: ignore[call-overload]
        self.starts += 1
        self._started_at = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def check(self) -> None:
        """Start it again if it died and its pause is over. To be called again and again."""
        if self.process is None or self.process.poll() is None:
            return
        moment = time.monotonic()
        if self._not_before == 0.0:
            if moment - self._started_at > SETTLED:
                self._pause = FIRST_PAUSE
            log.warning(
                "%s ended with code %s; it starts again in %.1f s", self.name, self.process.returncode, self._pause
            )
            self._not_before = moment + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
        if moment >= self._not_before:
            self._not_before = 0.0
            self._close_pipe()
            self.start()

    def stop(self, timeout: float = 10) -> None:
        """Ask it to end, wait, and end it by force when it does not."""
        if self.process is None:
            return
        if self.alive:
            self.process.send_signal(_STOP)
        self._close_pipe()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            log.warning("%s did not end within %s s and is killed", self.name, timeout)
            self.process.kill()
            self.process.wait()

    def _close_pipe(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()


_STOP = getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM) if os.name == "nt" else signal.SIGTERM
