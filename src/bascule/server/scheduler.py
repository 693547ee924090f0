"""The scheduler: calls what is due, again and again, and never stops because something failed."""

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
        stop: called from another thread when the scheduler ends while `run` may be running: makes it come back soon.
    """

    name: str
    every: float
    run: Callable[[Workspace], object]
    stop: Callable[[], None] = lambda: None


class Scheduler:
    """Runs ticks until it is stopped, each in a thread of its own: a training holds up no rollout.

    A tick that fails waits longer each time, up to 64 times as long.
    """

    def __init__(self, workspace: Workspace, ticks: Sequence[Tick]) -> None:
        self.workspace = workspace
        self.ticks = ticks
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(tick,), name=f"bascule-{tick.name}", daemon=True)
            for tick in ticks
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = 10) -> None:
        """End all ticks: those that run are asked to come back, and waited for."""
        self._stopping.set()
        for tick in self.ticks:
            tick.stop()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
                if thread.is_alive():
                    log.warning("%s did not end within %s s", thread.name, timeout)

    def run_tick(self, tick: Tick) -> bool:
        """Run one tick now and return whether it succeeded. What it raises is logged."""
        try:
            tick.run(self.workspace)
        except BasculeError as error:
            log.warning("%s: %s %s", tick.name, error.message, error.hint)
        except Exception:
            log.exception("%s failed", tick.name)
        else:
            return True
        return False

    def _repeat(self, tick: Tick) -> None:
        wait = tick.every
        while not self._stopping.is_set():
            wait = tick.every if self.run_tick(tick) else min(wait * 2, tick.every * MAX_BACKOFF)
            self._stopping.wait(wait)
