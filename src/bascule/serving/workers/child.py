"""One worker as a process: it is started, asked, watched, and ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from bascule.errors import InputError
from bascule.serving.case import CRASHED, GREW, HUNG, Kind
from bascule.serving.workers import wire
from bascule.serving.workers.program import Program
from bascule.serving.workers.spare import Blank

LOAD_S = 120.0
GONE_S = 0.5  # that a process may take to end after its socket
KILLS = (signal.SIGKILL, signal.SIGTERM)
_PAGE = os.sysconf("SC_PAGE_SIZE")


class WorkerLost(Exception):
    """A worker is gone: it died, hung or grew; the text says which.

    Attributes:
        kind: what happened, as an incident has it.
        from_outside: somebody ended it, which may not have been for what it was asked.
    """

    kind: Kind = CRASHED

    def __init__(self, text: str, from_outside: bool = False) -> None:
        super().__init__(text)
        self.from_outside = from_outside


class WorkerHung(WorkerLost):
    """A worker did not answer in time."""

    kind = HUNG


class WorkerGrew(WorkerLost):
    """A worker took more memory than it may."""

    kind = GREW


class StepFailed(Exception):
    """The model or a step failed on what it was given; the worker lives on. The text says which and how."""

    whole = True  # the text has the kind of the error, where that is not ours


class WorkerGone(StepFailed):
    """Its worker was lost over it."""

    noted = True  # as what happened to the worker


class WorkerSlow(WorkerGone):
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

    def ask(self, message: Any, seconds: float, anew: Callable[[], float] | None = None) -> Any:
        """Return what the worker answers.

        Args:
            seconds: how long that may take.
            anew: says some times a second how long it may take, counted from the beginning.

        Raises:
            InputError: a step refused the rows.
            StepFailed: the model or a step failed.
            WorkerLost: the process is gone, or was ended because it did not answer in time, answered what is no
                answer, or grew too large.
        """
        began = time.monotonic()
        try:
            data = wire.written(message)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InputError(f"The rows hold what cannot be sent to a worker: {error}") from None
        try:
            self._link.settimeout(seconds)
            wire.send(self._link, data)
            wire.wait(self._link, began + seconds, lambda: self._look(began, anew))
            kind, found, hint = wire.receive(self._link, began + seconds + wire.MOVING_S)
            if kind not in ("ok", "refused", "failed"):
                raise ValueError(kind)
        except wire.Slow as slow:
            self.close()
            urged = 0 < slow.seconds < seconds
            told = f"{slow.seconds:.3g} s, while others waited for it," if urged else f"{seconds:.3g} s"
            raise WorkerHung(f"its worker did not answer in {told} and was ended") from None
        except TimeoutError:
            self.close()
            raise WorkerHung("its worker did not take the rows, or did not finish its answer, and was ended") from None
        except (OSError, EOFError):
            raise self._ended() from None
        except (
            msgspec.MsgspecError,
            ValueError,
            TypeError,
            MemoryError,
            RecursionError,
        ):  # a model may write to whatever is open in its process
            self.close()
            raise WorkerLost("its worker answered what is no message and was ended") from None
        if kind == "refused":
            raise InputError(str(found), hint=str(hint))
        if kind == "failed":
            raise StepFailed(str(found))
        return found

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

    def _look(self, began: float, anew: Callable[[], float] | None) -> None:
        """Look after a worker while it works: end it when it grows much beyond what it may hold (a little more is
        looked at when it is done), see that it has ended though what it started keeps the socket, and that its time is
        over."""
        if self._memory and self.weight() > 2 * self._memory:
            self.close()
            raise WorkerGrew(f"its worker took more than {2 * self._memory:,} bytes of memory and was ended")
        if self._blank.code() is not None and not wire.has_come(self._link):
            raise EOFError
        if anew is not None and time.monotonic() - began >= (seconds := anew()):
            raise wire.Slow(seconds)

    def _ended(self) -> WorkerLost:
        code = self._blank.code(GONE_S)
        self.close()
        if code is None:
            return WorkerLost("its worker closed its end and was ended")
        if code >= 0:
            return WorkerLost(f"its worker ended with code {code}")
        name = signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"
        if -code not in KILLS:
            return WorkerLost(f"its worker was ended by {name}")
        return WorkerLost(f"its worker was ended by {name} from outside, or for want of memory", from_outside=True)
