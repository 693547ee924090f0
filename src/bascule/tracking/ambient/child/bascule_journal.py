"""A journal: what a watched process says of itself, appended to a file of its own on local disk, record by record.

A record is its payload's length and CRC-32 (both unsigned, 32 bits, little-endian) and the payload: a JSON object, or
`P` and a block of points in columns. So a file that is cut at any byte is read to its last whole record. Each process
has its own file: a fork begins another one. Nothing here raises into the script: what cannot be written is counted, and
the count is written when the disk takes it again.
"""

from __future__ import annotations

import json
import os
import struct
import threading
import time
import weakref
import zlib
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

SUFFIX = ".journal"
HEAD = struct.Struct("<II")
BLOCK = struct.Struct("<cII")  # P, how many points, length of the JSON list of their labels
POINTS = b"P"
BETWEEN = "\0"
# Points are buffered for at most so many nanoseconds, and never more than so many.
LATEST = 50_000_000
MOST_POINTS = 8_192
# A record that says it is longer is no record.
MOST_BYTES = 1 << 28


class Journal:
    """The journal of this process. Any number of threads may write to it.

    Attributes:
        folder: of the session, where each process's file lies.
        waiting: points that are not written yet: (label, value, step, at). The label is the metric's name, after the
            run's id and `BETWEEN` when it is another run than the session's own.
        due: when they are to be written, in nanoseconds since 1970 UTC.
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
        # Lists take appends and slices in one step each, whatever threads there are.
        self.waiting: list[tuple[str, float, int, int]] = []
        self.due = 0
        self._flusher: threading.Thread | None = None
        self._closing = threading.Event()
        self._delay = LATEST

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
        self.waiting.append((f"{run}{BETWEEN}{key}" if run else key, value, step, at))
        if at >= self.due or len(self.waiting) >= MOST_POINTS:
            self.flush()

    def points(self, run: str, key: str, values: Sequence[float], steps: Iterable[int], at: int) -> None:
        """Add many points of one metric, told at one time."""
        self.flush()
        label = f"{run}{BETWEEN}{key}" if run else key
        block = array("d", values)
        marks = array("q", steps)
        for start in range(0, len(block), MOST_POINTS):
            part = block[start : start + MOST_POINTS]
            count = len(part)
            self._write_block(
                [label], array("I", bytes(4 * count)), array("q", [at]) * count, marks[start : start + count], part
            )

    def flush(self) -> None:
        """Write the points that wait."""
        waiting = self.waiting
        if self._flusher is None and self._delay:
            self._start_flusher()
        with self._lock:
            rows = waiting[:MOST_POINTS]
            del waiting[: len(rows)]
            self.due = time.time_ns() + self._delay
            if not rows:
                return
            try:
                labels, values, steps, times = zip(*rows, strict=True)
                places = {label: place for place, label in enumerate(dict.fromkeys(labels))}
                marks = array("I", map(places.__getitem__, labels))
                self._write_block(list(places), marks, array("q", times), array("q", steps), array("d", values))
            except Exception:
                self._lost += len(rows)

    def close(self) -> None:
        """Write what waits and give the file back; what is noted afterwards begins another one."""
        self._closing.set()
        while self.waiting:
            self.flush()
        with self._lock:
            if self._lost:
                self._append(b"", 0)
            if self._file >= 0 and self._is_ours():
                os.close(self._file)
            self._file = -1

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
                self._flusher = threading.Thread(target=self._flush_often, name="bascule-journal", daemon=True)
                self._flusher.start()

    def _flush_often(self) -> None:
        while not self._closing.wait(LATEST / 1e9):
            if self.waiting:
                self.flush()


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
        journal._delay = 0


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
