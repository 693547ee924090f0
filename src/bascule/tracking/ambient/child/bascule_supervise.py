"""The parent of a tracked command: passes its output on, keeps the end of it, and writes down how it ended.

A small process of its own that needs only the standard library, so that the command is not hurt by whatever happens to
the process that tracks it. Started as `python -I -S bascule_supervise.py SESSION REPORT COMMAND…`; on the socket with
the file descriptor REPORT it says `pid N`, then `exit N`, or `error ERRNO` when the command cannot be started, and is
told the signals that the tracker got: a byte each.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import bascule_journal
import bascule_session
import bascule_signals

# Of what the command prints so much is kept, and at most twice that lies on the disk.
KEPT = 1 << 20
OUTPUT = "output"
GRACE = 0.5


class Kept:
    """The end of what was printed, in two files that take turns."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._names = [os.path.join(folder, f"{OUTPUT}.{number}") for number in (0, 1)]
        self._file = -1
        self._size = KEPT
        self._turn = 1

    def write(self, data: bytes) -> None:
        """Keep a piece; silent when the disk does not take it."""
        if not self._folder:
            return
        try:
            if self._size >= KEPT:
                if self._file >= 0:
                    os.close(self._file)
                self._turn, self._size = 1 - self._turn, 0
                self._file = os.open(self._names[self._turn], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            self._size += os.write(self._file, data)
        except OSError:
            return


class Output:
    """What the command prints, on its way. It never waits for who reads it: a signal may come meanwhile.

    Attributes:
        sinks: where what comes from a file descriptor goes.
    """

    def __init__(self, sinks: dict[int, int], folder: str) -> None:
        self.sinks = sinks
        self._kept = Kept(folder)
        self._waiting: dict[int, memoryview] = {}  # what a sink has not taken yet, by where it comes from

    def open(self) -> tuple[list[int], list[int]]:
        """Return what can be read from, and what something waits for."""
        waiting = self._waiting
        return [one for one in self.sinks if one not in waiting], [self.sinks[one] for one in waiting]

    def go_on(self, ready: list[int], takes: list[int]) -> None:
        """Write to what takes something, and read from what has something."""
        for source in [one for one in self._waiting if self.sinks[one] in takes]:
            self._write(source)
        for source in [one for one in ready if one in self.sinks]:
            data = os.read(source, 65_536)
            if data:
                self._kept.write(data)
                self._waiting[source] = memoryview(data)
            else:
                self._close(source)

    def _write(self, source: int) -> None:
        view = self._waiting[source]
        try:
            view = view[os.write(self.sinks[source], view[: select.PIPE_BUF]) :]  # so much never waits
        except BlockingIOError:
            return
        except BrokenPipeError:  # who read it went away, as `| head` does: the command is told as it would have been
            self._close(source)
            return
        except OSError:  # a terminal that was closed, or a full disk behind a redirection: the command goes on
            view = view[:0]
        if view:
            self._waiting[source] = view
        else:
            del self._waiting[source]

    def _close(self, source: int) -> None:
        os.close(source)
        del self.sinks[source]
        self._waiting.pop(source, None)


def kept_output(folder: str) -> bytes:
    """Return the end of what a session's command printed."""
    found = []
    for number in (0, 1):
        try:
            path = os.path.join(folder, f"{OUTPUT}.{number}")
            with open(path, "rb") as kept:
                found.append((os.stat(path).st_mtime_ns, kept.read()))
        except OSError:
            continue
    return b"".join(data for _, data in sorted(found, key=lambda one: one[0]))[-KEPT:]


def main(folder: str, report: int, command: list[str]) -> None:
    """Run a command to its end."""
    if folder:
        with contextlib.suppress(OSError):
            bascule_session.own(folder)
    journal = bascule_journal.Journal(folder)
    woken = bascule_signals.woken()
    os.set_inheritable(report, False)
    ends = [os.pipe(), os.pipe()]
    pid = _start(command, [write for _, write in ends], report)
    signals = bascule_signals.Passing(pid)
    for _, write in ends:
        os.close(write)
    _say(report, f"pid {pid}")
    output = Output({ends[0][0]: 1, ends[1][0]: 2}, folder)
    told = [report]
    status: int | None = None
    said = False
    while output.sinks or status is None:
        patience = signals.due() if status is None else None if said else GRACE
        reads, writes = output.open()
        ready, takes, _ = select.select([woken, *told, *reads], writes, [], patience)
        if status is not None and not ready and not takes:  # what the command left behind holds its output, or nobody
            _say(report, f"exit {status}")  # reads it: who tracks the command does not wait for that
            said = True
        if woken in ready:
            signals.heard(_read(woken))
        if report in ready:
            numbers = _read(report)
            signals.asked(numbers)
            told = told if numbers else []  # the tracker has gone
        output.go_on(ready, takes)
        if status is None:
            status = _ended(pid, journal, folder)
        if status is None:
            signals.pass_on()
    if not said:
        _say(report, f"exit {status}")


def _ended(pid: int, journal: bascule_journal.Journal, folder: str) -> int | None:
    """Return how the command ended, once it has: its exit code, or the negative number of the signal that killed it."""
    done, code, used = os.wait4(pid, os.WNOHANG)
    if not done:
        return None
    status = os.waitstatus_to_exitcode(code)
    last = {"kind": "exit", "code": status, "cpu_s": used.ru_utime + used.ru_stime}
    if not journal.note(last) and folder:
        bascule_session.note_last(folder, last)
    return status


def _start(command: list[str], outputs: list[int], report: int) -> int:
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
                signal.signal(number, signal.SIG_DFL)
            for target, output in enumerate(outputs, 1):
                os.dup2(output, target)
            os.execvp(command[0], command)
        except OSError as error:
            os.write(tell, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(tell)
    failed = os.read(told, 16)
    os.close(told)
    if failed:
        os.waitpid(pid, 0)
        _say(report, f"error {failed.decode()}")
        os._exit(127)
    return pid


def _read(source: int) -> bytes:
    try:
        return os.read(source, 4096)
    except OSError:
        return b""


def _say(report: int, text: str) -> None:
    try:
        os.write(report, f"{text}\n".encode())
    except OSError:
        return


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
