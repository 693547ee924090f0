"""Locks on files, which the operating system drops when their holder dies, however it dies."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO


class Locked(Exception):
    """Someone else holds the lock; `note` is what they wrote into it."""

    def __init__(self, note: str) -> None:
        super().__init__(note)
        self.note = note


class FileLock:
    """Hold a file for this process: `with FileLock(path):` enters or raises `Locked` at once.

    Args:
        path: the lock file; made when it is not there, and left behind (removing it would let two in).
        note: what others are told about the holder.
    """

    def __init__(self, path: Path, note: str = "") -> None:
        self.path = path
        self.note = note
        self._file: IO[str] | None = None

    def __enter__(self) -> FileLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        held = open(self.path, "a+", encoding="utf-8")
        try:
            _lock(held)
        except OSError:
            held.seek(0)
            note = held.read().strip()
            held.close()
            raise Locked(note) from None
        with suppress(OSError):  # on a full disk it is held without a note
            held.truncate(0)
            os.write(held.fileno(), self.note.encode())
        self._file = held
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None


def _lock(held: IO[str]) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(held.fileno(), 1 << 30, os.SEEK_SET)  # far behind the note, so that others can read it
        msvcrt.locking(held.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(held.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def held(path: Path, *, exclusive: bool, wait: bool = True) -> Iterator[None]:
    """Hold a lock on a file for the length of a block: many may share it, or one has it alone.

    Args:
        path: the file; made when it is not there, in a folder that is.
        wait: for whoever holds it; else `BlockingIOError` is raised at once.
    """
    try:
        import fcntl
    except ImportError:  # a system without advisory locks: writers there take turns by the history's compare-and-swap
        yield
        return
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(handle)
