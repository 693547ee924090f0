"""Signals of a tracked command: whoever of its three processes is sent one, the command gets it, and gets it once.

A terminal and most schedulers send a signal to the whole group: the command has it then. A person, a container or a
service manager sends it to the one process that they know, which is the tracker.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable

# What ends a process that does not expect it, and what programs give a meaning to: schedulers say by SIGUSR1 or
# SIGUSR2 that the time is nearly over.
PASSED = [
    getattr(signal, f"SIG{name}")
    for name in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2")
    if hasattr(signal, f"SIG{name}")
]
# What is sent to a group reaches its processes within this time, in seconds.
TOGETHER_S = 0.25


def ours() -> list[signal.Signals]:
    """Return the signals that this process shall pass on: those that would end it, and whoever's SIGINT and SIGTERM.

    One that is ignored stays ignored, as below `nohup`; the command ignores it, too.
    """
    plain = (signal.SIG_DFL, signal.default_int_handler)
    taken = {number: signal.getsignal(number) for number in PASSED}
    return [
        number
        for number, handler in taken.items()
        if handler in plain or (number in (signal.SIGINT, signal.SIGTERM) and handler not in (signal.SIG_IGN, None))
    ]


def woken() -> int:
    """Return a file descriptor that gives a byte for each signal that this process gets, also when a child ends."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, *ours()):
        signal.signal(number, _go_on)
    return read


class Passing:
    """Passes on to a command what its tracker got and the command did not.

    Args:
        pid: of the command. It must not have been waited for when `pass_on` is called.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._asked: dict[int, float] = {}
        self._heard: dict[int, float] = {}

    def asked(self, numbers: Iterable[int]) -> None:
        """Take signals that the tracker got."""
        self._meet(numbers, self._asked, self._heard)

    def heard(self, numbers: Iterable[int]) -> None:
        """Take signals that this process got. With the tracker's they were meant for the group, the command too."""
        self._meet((number for number in numbers if number != signal.SIGCHLD), self._heard, self._asked)

    def due(self) -> float | None:
        """Return after how many seconds `pass_on` has something to do, or None."""
        waiting = [*self._asked.values(), *self._heard.values()]
        return max(min(waiting) + TOGETHER_S - time.monotonic(), 0.0) if waiting else None

    def pass_on(self) -> None:
        """Send the command what only the tracker got, and a SIGTERM that only this process got.

        A terminal's signals are not taken from here: the tracker may be gone, and the command has them.
        """
        now = time.monotonic()
        for number in [one for one, at in self._asked.items() if now - at >= TOGETHER_S]:
            del self._asked[number]
            self._send(number)
        for number in [one for one, at in self._heard.items() if now - at >= TOGETHER_S]:
            del self._heard[number]
            if number == signal.SIGTERM:
                self._send(number)

    @staticmethod
    def _meet(numbers: Iterable[int], these: dict[int, float], others: dict[int, float]) -> None:
        for number in numbers:
            if others.pop(number, None) is None:
                these[number] = time.monotonic()

    def _send(self, number: int) -> None:
        try:
            os.kill(self._pid, number)
        except ProcessLookupError:
            return


def _go_on(number: int, _: object) -> None:
    """Be woken, and go on."""
