"""One worker as a process: it is started, asked, watched, and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from bascule.errors import InputError
from bascule.serving.workers import wire
from bascule.serving.workers.program import Program

LOAD_S = 120.0
END_S = 2.0
KILLS = (signal.SIGKILL, signal.SIGTERM)
_PAGE = os.sysconf("SC_PAGE_SIZE")


class WorkerLost(Exception):
    """A worker is gone: it died, hung or grew; the text says which.

    Attributes:
        from_outside: somebody ended it, which may not have been for what it was asked.
    """

    def __init__(self, text: str, from_outside: bool = False) -> None:
        super().__init__(text)
        self.from_outside = from_outside


class WorkerHung(WorkerLost):
    """A worker did not answer in time."""


class StepFailed(Exception):
    """The model or a step failed on what it was given; the worker lives on. The text says which and how."""


class WorkerSlow(StepFailed):
    """It did not answer in time, and its worker was ended."""


class Child:
    """A worker process that has loaded its program.

    Attributes:
        explains: its model tells what each input adds to a score.

    Args:
        program: what it runs.
        memory: bytes that it may take; 0 for any.

    Raises:
        InputError: the program cannot be loaded.
        WorkerLost: the process ended, or did not come up in two minutes.
    """

    def __init__(self, program: Program, memory: int = 0) -> None:
        self._memory = memory
        ours, theirs = socket.socketpair()
        self._link = ours
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        here = str(Path(__file__).resolve().parents[3])
        environment["PYTHONPATH"] = os.pathsep.join([here, *(one for one in [environment.get("PYTHONPATH")] if one)])
        with theirs:
            command = [sys.executable, "-m", "bascule.serving.workers", str(theirs.fileno()), str(os.getpid())]
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno() if _has_file() else subprocess.DEVNULL,  # ours says what was asked of us
                env=environment,
                start_new_session=True,
            )
        try:
            self.explains = bool(self.ask(msgspec.structs.asdict(program), LOAD_S))
        except StepFailed as error:
            self.close()
            raise InputError(f"{program.label()} cannot be loaded: {error}") from None
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def ask(self, message: Any, seconds: float) -> Any:
        """Return what the worker answers.

        Raises:
            InputError: a step refused the rows.
            StepFailed: the model or a step failed.
            WorkerLost: the process is gone, or was ended because it did not answer in time or grew too large.
        """
        try:
            wire.send(self._link, message)
            wire.wait(self._link, time.monotonic() + seconds, self._weigh if self._memory else None)
            kind, *found = wire.receive(self._link)
        except wire.Slow:
            self.close()
            raise WorkerHung(f"its worker did not answer in {seconds:.3g} s and was ended") from None
        except (OSError, EOFError):
            raise WorkerLost(self._ended(), -(self._process.returncode or 0) in KILLS) from None
        if kind == "refused":
            raise InputError(found[0], hint=found[1])
        if kind == "failed":
            raise StepFailed(found[0])
        return found[0]

    def weight(self) -> int:
        """Return the bytes of memory that the process holds; 0 when that cannot be read here."""
        try:
            return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * _PAGE
        except (OSError, IndexError, ValueError):
            return 0

    def is_heavy(self) -> bool:
        """Return whether it holds more than it may."""
        return bool(self._memory) and self.weight() > self._memory

    def close(self) -> None:
        """End the process, whatever it does."""
        self._link.close()
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)

    def _weigh(self) -> None:
        """End a worker that grows while it works; a little more than it may hold is looked at when it is done."""
        if self.weight() > 2 * self._memory:
            self.close()
            raise WorkerLost(f"its worker took more than {2 * self._memory:,} bytes of memory and was ended")

    def _ended(self) -> str:
        try:
            code = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.close()
            return "its worker closed its end and was ended"
        self._link.close()
        if code < 0:
            name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
            return f"its worker was ended by {name}"
        return f"its worker ended with code {code}"


def _has_file() -> bool:
    try:
        sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return False
    return True
