"""A journal: what a watched process says of itself, appended to a file of its own on local disk, record by record.

A record is its payload's length and CRC-32 (both unsigned, 32 bits, little-endian) and the payload: a JSON object, or
`P` and a block of points in columns. So a file that is cut at any byte is read to its last whole record. Each process
has its own file: a fork begins another one. Nothing here raises into the script: what cannot be written is counted, and
the count is written when the disk takes it again.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import threading
import time
import weakref
import zlib
from array import array
from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from typing import Any

SUFFIX = ".journal"
HEAD = struct.Struct("<II")
BLOCK = struct.Struct("<cII")  # P, how many points, length of the JSON list of their labels
POINTS = b"P"
BETWEEN = "\0"
# Calls are buffered for at most so many nanoseconds, and never more than so many of at most so many points. Each waits
# as so many things in a row: a tuple of each would be one thing more that the garbage collector looks at.
LATEST = 50_000_000
OF_A_CALL = 5
MOST_WAITING = OF_A_CALL * 2_048
MOST_OF_A_CALL = 32
# Of a record.
MOST_POINTS = 8_192
# A record that says it is longer is no record.
MOST_BYTES = 1 << 28


class Journal:
    """The journal of this process. Any number of threads may write to it.

    Attributes:
        folder: of the session, where each process's file lies.
        waiting: calls that are not written yet, each five things: what stands before its metrics' names (the run's id
            and `BETWEEN` when it is another run than the session's own), the name and the value, or a dict of names
            and values, which is the journal's from now on, and None, the step, and the time. They are added in one
            step: `waiting += (…)`.
        most: of these things; with as many, or more, the one who added some writes them: `flush()`.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._begin()
        if hasattr(os, "register_at_fork"):
            this = weakref.ref(self)
            os.register_at_fork(after_in_child=lambda: _forked(this()))

    def _begin(self) -> None:
        # Reentrant: a finalizer or a signal's handler may note something while its own thread is writing.
        self._lock = threading.RLock()
        self._file = -1
        self._place: tuple[int, int] = (0, 0)
        self._size = 0
        self._lost = 0
        # Lists are extended and sliced in one step each, whatever threads there are.
        self.waiting: list[Any] = []
        self.most = 0  # the first call begins the thread that writes the others in time
        self._flusher: threading.Thread | None = None
        self._closing = threading.Event()
        self._may_wait = True

    def note(self, entry: dict[str, Any]) -> bool:
        """Append one entry. It is in the file when this returns, unless the disk does not take it: False."""
        try:
            entry.setdefault("at", time.time_ns() // 1000)
            return self._append(json.dumps(entry, default=str).encode())
        except Exception:
            self._lost += 1
            return False

    def point(self, run: str, key: str, value: float, step: int, at: int) -> None:
        """Add one point; it is in the file within a twentieth of a second. `ActiveRun.log` does the same by itself.

        Args:
            run: whose; the session's own when empty.
            at: nanoseconds since 1970 UTC.
        """
        waiting = self.waiting
        waiting += (f"{run}{BETWEEN}" if run else "", key, value, step, at)
        if len(waiting) >= self.most:
            self.flush()

    def points(self, run: str, key: str, values: Sequence[float], steps: Iterable[int], at: int) -> None:
        """Add many points of one metric, told at one time."""
        self.flush()
        label = f"{run}{BETWEEN}{key}" if run else key
        block, marks = array("d", values), array("q", steps)
        count = len(block)
        self._write_points([label], array("I", bytes(4 * count)), array("q", [at]) * count, marks, block)

    def flush(self) -> None:
        """Write the points that wait."""
        waiting = self.waiting
        if self._flusher is None and self._may_wait:
            self._start_flusher()
        with self._lock:
            count = min(len(waiting), MOST_WAITING)
            # Nothing is called between these two, so no signal's handler that logs too sees what is already taken.
            rows = waiting[:count]
            del waiting[:count]
            self.most = MOST_WAITING if self._flusher and not self._closing.is_set() else 0
            if not rows:
                return
            size = self._size
            try:
                self._write_points(*_columns(rows))
            except Exception:
                self._lost += sum(len(one) if type(one) is dict else 1 for one in rows[1::OF_A_CALL])
            except BaseException:  # a Ctrl-C, or what another signal's handler raises: they wait on
                if not self._is_longer(size):
                    waiting[:0] = rows
                raise

    def close(self) -> None:
        """Write what waits and give the file back; what is noted afterwards begins another one."""
        self._closing.set()
        self.most = 0  # nobody comes back for what is told after this
        while self.waiting:
            self.flush()
        with self._lock:
            if self._lost:
                self._append(b"", 0)
            if self._file >= 0 and self._is_ours():
                os.close(self._file)
            self._file = -1

    def _write_points(self, labels: list[str], marks: array[int], *columns: array[Any]) -> None:
        """Write points: labels, which of them each has, times, steps, values; in several records when they are many."""
        if not marks:
            return
        if len(marks) <= MOST_POINTS:
            self._write_block(labels, marks, *columns)
            return
        for start in range(0, len(marks), MOST_POINTS):
            part = slice(start, start + MOST_POINTS)
            places = {mark: place for place, mark in enumerate(dict.fromkeys(marks[part]))}
            own = array("I", map(places.__getitem__, marks[part]))
            self._write_block([labels[mark] for mark in places], own, *(column[part] for column in columns))

    def _write_block(
        self,
        names: list[str],
        marks: array[int],
        times: array[int],
        steps: array[int],
        values: array[float],
    ) -> None:
        text = json.dumps(names).encode()
        head = BLOCK.pack(POINTS, len(values), len(text))
        body = b"".join((head, text, marks.tobytes(), times.tobytes(), steps.tobytes(), values.tobytes()))
        self._append(body, len(values))

    def _append(self, payload: bytes, entries: int = 1) -> bool:
        """Append one record after the count of those that were lost; an empty one is that count alone."""
        if not self.folder:  # there was no place for a session: nothing is recorded
            return False
        with self._lock:
            try:
                if self._file < 0 or not self._is_ours():
                    self._open()
                if self._lost:
                    self._write(json.dumps({"kind": "lost", "entries": self._lost}).encode())
                    self._lost = 0
                if payload:
                    self._write(payload)
                return True
            except OSError:
                self._lost += entries
                return False

    def _open(self) -> None:
        name = f"{os.getpid()}-{os.urandom(6).hex()}{SUFFIX}"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
        self._file = os.open(os.path.join(self.folder, name), flags, 0o600)
        found = os.fstat(self._file)
        self._place, self._size = (found.st_dev, found.st_ino), 0
        self._write(json.dumps({"kind": "part", "process": this_process(), "at": time.time_ns() // 1000}).encode())

    def _write(self, payload: bytes) -> None:
        record = HEAD.pack(len(payload), zlib.crc32(payload)) + payload
        written = os.write(self._file, record)
        if written != len(record):  # a disk that is full takes a part: what follows must not stand behind a torn record
            os.ftruncate(self._file, self._size)
            raise OSError("short write")
        self._size += written

    def _is_longer(self, size: int) -> bool:
        """Tell whether more than so many bytes are in the file, also those that were written and not yet counted."""
        if self._file < 0:
            return False
        if self._is_ours():
            self._size = os.fstat(self._file).st_size
        return self._size > size

    def _is_ours(self) -> bool:
        """Tell whether the number still means our file: a script may close all files, and open its own under it."""
        try:
            found = os.fstat(self._file)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._place

    def _start_flusher(self) -> None:
        with self._lock:
            if self._flusher is None:
                flusher = threading.Thread(target=self._flush_often, name="bascule-journal", daemon=True)
                with contextlib.suppress(RuntimeError):  # no more threads, or the interpreter ends: nothing waits then
                    flusher.start()
                    self._flusher = flusher

    def _flush_often(self) -> None:
        while not self._closing.wait(LATEST / 1e9):
            if self.waiting:
                self.flush()


def _columns(rows: list[Any]) -> tuple[list[str], array[int], array[int], array[int], array[float]]:
    """Turn calls that waited into labels and columns of points: which label, time, step, value."""
    befores, told, values, steps, times = (rows[place::OF_A_CALL] for place in range(OF_A_CALL))
    if type(told[0]) is str and befores.count(befores[0]) == told.count(told[0]) == len(told):  # one metric alone
        labels, marks = [befores[0] + told[0]], array("I", bytes(4 * len(told)))
        return labels, marks, array("q", times), array("q", steps), array("d", values)
    if values.count(None) < len(told):
        told = [one if type(one) is dict else {one: value} for one, value in zip(told, values, strict=True)]
    return _of_calls(befores, told, steps, times)


def _of_calls(
    befores: list[str], told: list[dict[str, float]], steps: list[int], times: list[int]
) -> tuple[list[str], array[int], array[int], array[int], array[float]]:
    names, size = list(chain.from_iterable(told)), len(told[0])
    values = array("d", chain.from_iterable(map(dict.values, told)))
    if befores.count(befores[0]) == len(told) and names == names[:size] * len(told):  # mostly they say the same metrics
        labels = [befores[0] + name for name in names[:size]]
        marks = array("I", range(size)) * len(told)
        steps, times = (list(chain.from_iterable(zip(*[one] * size, strict=True))) for one in (steps, times))
    else:
        sizes = list(map(len, told))
        befores, steps, times = (list(chain.from_iterable(map(repeat, one, sizes))) for one in (befores, steps, times))
        every = list(map(str.__add__, befores, names))
        labels = list(dict.fromkeys(every))
        marks = array("I", map({label: place for place, label in enumerate(labels)}.__getitem__, every))
    return labels, marks, array("q", times), array("q", steps), values


def _forked(journal: Journal | None) -> None:
    """Begin anew in a fork: what waits is the parent's, and nobody promises this process an orderly end."""
    if journal is not None:
        if journal._file >= 0:
            try:
                if journal._is_ours():
                    os.close(journal._file)
            except OSError:
                pass
        journal._begin()
        journal._may_wait = False


def this_process() -> str:
    """Return the name of this process as the catalog's records have it: host, number and beginning."""
    host = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    pid = os.getpid()
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            fields = stat.read().rpartition(")")[2].split()
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as boot:
            return f"{host}:{pid}:{fields[19]}-{boot.read()[:8]}"
    except (OSError, IndexError):
        return f"{host}:{pid}"
