"""One worker as a process: it is started, asked, watched, and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec

from bascule.errors import InputError
from bascule.serving.workers import wire
from bascule.serving.workers.program import Program
from bascule.serving.workers.spare import END_S, Blank

LOAD_S = 120.0
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
        libraries: what the program imported of those that models are made with.

    Args:
        program: what it runs.
        memory: bytes that it may take; 0 for any.
        blank: a process that waits for a program; a new one when not given.

    Raises:
        InputError: the program cannot be loaded.
        WorkerLost: the process ended, or did not come up in two minutes.
    """

    def __init__(self, program: Program, memory: int = 0, blank: Blank | None = None) -> None:
        self._memory = memory
        made = blank if blank is not None else Blank()
        self._blank, self._link, self._process = made, made.link, made.process
        try:
            self.explains, self.libraries = self.ask(msgspec.structs.asdict(program), LOAD_S)
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
        self._blank.close()

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
