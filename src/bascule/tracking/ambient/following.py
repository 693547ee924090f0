"""The background sender: while a session goes on, its journals are brought in, and its resources are measured."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from bascule.capture import module
from bascule.catalog.ids import now
from bascule.errors import BasculeError
from bascule.store import BlobStore
from bascule.tracking.ambient.bringing import Bringing, Brought, Target, keep_code
from bascule.tracking.ambient.contents import contents_of
from bascule.tracking.ambient.resources import Sampler
from bascule.tracking.ambient.session import Session

_journal = module("bascule_journal")
INTERVAL = 1.0
# Of a run that goes on for long nobody waits for each second.
CALM_INTERVAL = 5.0
# A target that does not answer is asked again after so long, doubled each time, at most.
LONGEST_INTERVAL = 30.0
# At the end: when nothing has moved for so long, the journal stays where it is.
PATIENCE = 10.0
# How much others go before the sender while the script runs: it shall not stand in the way of a script on all cores.
NICENESS = 10
# A target that stands in the way at the end is asked so often.
MOST_TRIES = 3

#: Opens the place to bring journals to, and its store when the code can be kept there right away.
Connect = Callable[[], tuple[Target, BlobStore | None]]


class Following:
    """Follows one session to its end, in a thread. Nothing that goes wrong in it reaches the script.

    While the script runs the thread is one that others go before; the end, which somebody waits for, has another.

    Args:
        samples: measure the processes of the session's owner.
        own: the owner is the script itself, not its supervisor.

    Attributes:
        problem: what stands in the way at the moment, or None.
        moved: counts what was done; who waits sees that something moves.
    """

    def __init__(self, session: Session, connect: Connect, *, samples: bool = True, own: bool = False) -> None:
        self._thread = threading.Thread(target=self._follow, name="bascule-sender", daemon=True)
        self._ending = threading.Thread(target=self._end, name="bascule-ending", daemon=True)
        self._looking = threading.Thread(target=self._look, name="bascule-contents", daemon=True)
        self.session = session
        self.problem: BaseException | None = None
        self.moved = 0
        self._connect = connect
        self._bringing: Bringing | None = None
        self._over = threading.Event()
        self._samples = samples
        self._own = own

    @property
    def brought(self) -> Brought:
        """What was brought in by now."""
        return self._bringing.brought if self._bringing else Brought()

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()
        self._ending.start()
        self._looking.start()

    def is_alive(self) -> bool:
        """Tell whether it still follows, or brings in the end."""
        return self._ending.is_alive()

    def finish(self) -> None:
        """Say that the session's command has ended; wait until its end is in the records, or nothing moves any more."""
        self._over.set()
        try:
            self._wait()
        except KeyboardInterrupt:  # nobody wants to wait; what the command did is in its journal, with its exit code
            return
        if self.brought.finished is not None and self.session.folder.exists() and self.session.is_silent(over=True):
            self.session.remove()

    def _wait(self) -> None:
        seen, since = self.moved, time.monotonic()
        while self.is_alive() and time.monotonic() - since < PATIENCE:
            self._ending.join(0.5)
            if self.moved != seen:
                seen, since = self.moved, time.monotonic()

    def _follow(self) -> None:
        """Bring in what comes, until the script's end."""
        _give_way()
        sampler, journal = None, None
        if self._samples:
            sampler = Sampler(int(self.session.owner.split(":")[1]), own=self._own)
            journal = _journal.Journal(str(self.session.folder))
        wait = INTERVAL
        begun, at = time.monotonic(), 0.0
        while not self._is_over():
            if sampler is not None and journal is not None:
                for key, value in sampler.sample().items():
                    journal.note({"kind": "metric", "key": key, "value": value, "step": now() // 1_000_000})
            if time.monotonic() >= at:
                self._step(False)
                calm = min(INTERVAL + (time.monotonic() - begun) / 20, CALM_INTERVAL)
                wait = min(2 * wait, LONGEST_INTERVAL) if self.problem else calm
                at = time.monotonic() + wait
            self._over.wait(INTERVAL)
        if journal is not None:
            journal.close()

    def _end(self) -> None:
        """Bring in the rest, when there is an end."""
        self._thread.join()
        tried = 0
        while not self._step(True):
            tried += 1
            if tried >= MOST_TRIES and self.problem is not None:
                return
            time.sleep(0.2)

    def _look(self) -> None:
        """Digest what the script reads soon after it has opened it: later it may be another content."""
        _give_way()
        while not self._over.wait(INTERVAL) and self._thread.is_alive():
            with suppress(OSError):
                contents_of(self.session.folder).look(self._over)

    def _is_over(self) -> bool:
        return self._over.is_set() or self.session.has_ended()

    def _step(self, over: bool) -> bool:
        try:
            if self._bringing is None:
                target, store = self._connected()
                keep_code(self.session, store)
                self._bringing = Bringing(self.session, target)
                self.moved += 1
            done = self._bringing.step(over=over)
        except Exception as error:
            self.problem = error
            return False
        self.problem = None
        self.moved += 1
        return done

    def _connected(self) -> tuple[Target, BlobStore | None]:
        try:
            return self._connect()
        except BaseException:
            keep_code(self.session, None)  # the code as it stands now, whenever the target answers
            raise


def _give_way() -> None:
    """Have this thread, and no other one, go behind whoever else wants the processor; where a system can do that."""
    with suppress(OSError, AttributeError):
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def told(problem: BaseException | None) -> str:
    """Return what stands in the way as a sentence."""
    if problem is None:
        return "its records could not be brought in in time"
    return problem.message if isinstance(problem, BasculeError) else f"{type(problem).__name__}: {problem}"
