"""A worker process that waits to be given a program, so that one that is lost is replaced at once.

Starting Python and importing what models need takes a second; reading a program takes milliseconds. The spare is a
fresh process that has run nobody's code, and there is one for all versions of a serving process that has workers.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from queue import Empty, SimpleQueue

from bascule.serving.workers import wire

END_S = 2.0
PRELOAD = "preload"
MOST = 4  # that wait at most
KEPT_S = 30.0  # more than one, after one was wanted
# What may be imported before anybody's program says so: the libraries that models are made with.
LIBRARIES = frozenset(("catboost", "lightgbm", "onnxruntime", "pandas", "pyarrow", "scipy", "sklearn", "xgboost"))


class Blank:
    """A worker process without a program. Linux ends it with the thread that makes it.

    Attributes:
        link: its socket.
        libraries: what it imports meanwhile.
    """

    def __init__(self, libraries: frozenset[str] = frozenset()) -> None:
        self.libraries = libraries
        self.link, theirs = socket.socketpair()
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        here = str(Path(__file__).resolve().parents[3])
        environment["PYTHONPATH"] = os.pathsep.join([here, *(one for one in [environment.get("PYTHONPATH")] if one)])
        with theirs:
            command = [sys.executable, "-m", "bascule.serving.workers", str(theirs.fileno()), str(os.getpid())]
            self.process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno() if _has_file() else subprocess.DEVNULL,  # ours says what was asked of us
                env=environment,
                start_new_session=True,
            )
        if libraries:
            with contextlib.suppress(OSError):  # it has ended already: whoever takes it finds that
                wire.send(self.link, [PRELOAD, sorted(libraries)])

    def code(self, seconds: float = 0.0) -> int | None:
        """Return the code that the process has ended with, less than 0 for a signal; None while it runs.

        Until `close` its number stays its own, and that of the group of all that it has started.

        Args:
            seconds: how long to wait for its end.
        """
        until = time.monotonic() + seconds
        while self.process.returncode is None:
            if not hasattr(os, "waitid"):  # pragma: no cover
                return self.process.poll()
            found = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is not None:
                return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
            if time.monotonic() >= until:
                return None
            time.sleep(0.005)
        return self.process.returncode

    def close(self) -> None:
        """End the process, whatever it does, and all that it has started and that stays in its group."""
        self.link.close()
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_S)


class Spare:
    """The processes that wait, and the thread that makes them. It is used from any thread.

    There is one; some more for a while when workers were lost, so that as many as are lost together find one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ready: list[Blank] = []
        self._users = 0
        self._wanted: SimpleQueue[tuple[frozenset[str], int]] | None = None
        atexit.register(self._drop)

    @property
    def pid(self) -> int | None:
        """The number of the process that waits, the oldest of several; None when there is none."""
        ready = self._ready[:1]
        return ready[0].process.pid if ready else None

    def hold(self) -> None:
        """Count a user: a spare is kept as long as there is one."""
        with self._lock:
            self._users += 1

    def release(self) -> None:
        """A user has gone; with the last one the spares go too."""
        with self._lock:
            self._users -= 1
            last = not self._users
        if last:
            self._drop()

    def take(self, most: frozenset[str] = LIBRARIES) -> Blank | None:
        """Return a process that waits, which is the caller's then: the one that was made first; None when there is
        none, or each imported more than these libraries."""
        with self._lock:
            found = next((one for one in self._ready if one.libraries <= most), None)
            if found is not None:
                self._ready.remove(found)
            return found

    def want(self, libraries: Iterable[str], count: int = 1) -> None:
        """Have more made until so many wait, that import these libraries meanwhile; what is more than one goes when
        nobody has wanted any for half a minute."""
        with self._lock:
            if self._wanted is None:
                self._wanted = SimpleQueue()
                threading.Thread(target=self._make, args=(self._wanted,), daemon=True, name="spare-worker").start()
            self._wanted.put((frozenset(libraries) & LIBRARIES, min(count, MOST)))

    def _make(self, wanted: SimpleQueue[tuple[frozenset[str], int]]) -> None:
        while True:
            try:
                libraries, count = wanted.get(timeout=KEPT_S if len(self._ready) > 1 else None)
            except Empty:
                self._drop(keep=1)
                continue
            while self._lacks(count):
                try:
                    made = Blank(libraries)
                except OSError as error:  # without a spare a worker takes longer to come up
                    print(f"bascule serve: no spare worker: {error}", file=sys.stderr, flush=True)
                    break
                with self._lock:
                    used = self._users > 0
                    if used:
                        self._ready.append(made)
                if not used:
                    made.close()

    def _lacks(self, count: int) -> bool:
        with self._lock:
            return len(self._ready) < count and self._users > 0

    def _drop(self, keep: int = 0) -> None:
        with self._lock:
            gone, self._ready = self._ready[keep:], self._ready[:keep]
        for one in gone:
            one.close()


def _has_file() -> bool:
    try:
        sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return False
    return True


SPARE = Spare()
