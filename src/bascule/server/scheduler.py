"""The scheduler: calls what is due, one thing after the other, and never stops because one of them failed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bascule.errors import BasculeError
from bascule.history import Workspace

log = logging.getLogger("bascule.scheduler")

MAX_BACKOFF = 64


@dataclass(frozen=True, slots=True)
class Tick:
    """Something to do again and again.

    Attributes:
        every: seconds from the end of one call to the beginning of the next.
        run: the function; what it returns is not looked at.
    """

    name: str
    every: float
    run: Callable[[Workspace], object]


class Scheduler(threading.Thread):
    """One thread that runs ticks until it is stopped. A tick that fails waits longer each time, up to 64 times."""

    def __init__(self, workspace: Workspace, ticks: Sequence[Tick]) -> None:
        super().__init__(name="bascule-scheduler", daemon=True)
        self.workspace = workspace
        self.ticks = ticks
        self._stopping = threading.Event()
        self._failures = {tick.name: 0 for tick in ticks}

    def run(self) -> None:
        """Run what is due; called by `start`."""
        due = {tick.name: 0.0 for tick in self.ticks}
        while not self._stopping.is_set():
            for tick in self.ticks:
                if time.monotonic() >= due[tick.name] and not self._stopping.is_set():
                    self.run_tick(tick)
                    slower = min(2 ** self._failures[tick.name], MAX_BACKOFF)
                    due[tick.name] = time.monotonic() + tick.every * slower
            wait = min(due.values(), default=time.monotonic() + 1) - time.monotonic()
            self._stopping.wait(max(wait, 0.01))

    def run_tick(self, tick: Tick) -> None:
        """Run one tick now. What it raises is logged."""
        try:
            tick.run(self.workspace)
        except BasculeError as error:
            self._failures[tick.name] += 1
            log.warning("%s: %s %s", tick.name, error.message, error.hint)
        except Exception:
            self._failures[tick.name] += 1
            log.exception("%s failed", tick.name)
        else:
            self._failures[tick.name] = 0

    def stop(self, timeout: float = 10) -> None:
        """Let the tick at hand finish, and end."""
        self._stopping.set()
        if self.is_alive():
            self.join(timeout)
